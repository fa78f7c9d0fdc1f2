/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf - what MMB_CONF asks of the library in this process
 *
 * Purpose     See conf.h.
 */
#include "conf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conf conf;

/* Decimal digits and nothing else, 1 to CONF_SAMPLE_MAX; 0: it is no such number. */
static uint32_t parse_number(const char *digits, size_t length)
{
	uint64_t number = 0;

	for (size_t i = 0; i < length; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return 0;
		number = number * 10 + (uint64_t)(digits[i] - '0');
		if (number > CONF_SAMPLE_MAX)
			return 0;
	}
	return (uint32_t)number;
}

static bool parse_word(const char *word, size_t length, struct conf *out)
{
	static const char harden[] = "harden", sample[] = "sample=";
	size_t prefix = sizeof(sample) - 1;
	uint32_t number;

	if (length == sizeof(harden) - 1 && !memcmp(word, harden, length)) {
		out->harden = true;
		return true;
	}
	if (length <= prefix || memcmp(word, sample, prefix))
		return false;
	number = parse_number(word + prefix, length - prefix);
	if (number)
		out->sample = number;
	return number != 0;
}

void conf_parse(const char *text, struct conf *out, char *complaint)
{
	*out = (struct conf){ 0 };
	complaint[0] = 0;
	while (*text) {
		size_t blanks = strspn(text, ", \t");
		size_t length = strcspn(text + blanks, ", \t");

		if (length && !parse_word(text + blanks, length, out) && !complaint[0])
			snprintf(complaint, CONF_COMPLAINT_BYTES,
				 "libmmbroker: MMB_CONF: '%.*s' is ignored; the words are 'harden' "
				 "and 'sample=N' with N from 1 to %d, with commas between",
				 length > 60 ? 60 : (int)length, text + blanks, CONF_SAMPLE_MAX);
		text += blanks + length;
	}
}

static void read_environment(void)
{
	const char *text = secure_getenv("MMB_CONF");
	char complaint[CONF_COMPLAINT_BYTES];

	if (!text)
		return;
	conf_parse(text, &conf, complaint);
	if (complaint[0])
		fprintf(stderr, "%s\n", complaint);
}

void conf_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, read_environment);
}
