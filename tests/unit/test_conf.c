/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_conf - the words of MMB_CONF
 *
 * Not here    What they do (test_harden.c; tests/system/test_harden.c).
 */
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "lib/test.h"

static struct conf parsed;
static char complaint[CONF_COMPLAINT_BYTES];

static bool understands(const char *text)
{
	conf_parse(text, &parsed, complaint);
	return !complaint[0];
}

static void nothing_is_asked(void)
{
	EXPECT(understands(""));
	EXPECT(!parsed.harden && !parsed.sample);
	EXPECT(understands(" ,, "));
	EXPECT(!parsed.harden && !parsed.sample);
}

static void known_words(void)
{
	EXPECT(understands("harden"));
	EXPECT(parsed.harden && !parsed.sample);
	EXPECT(understands("sample=1"));
	EXPECT(!parsed.harden && parsed.sample == 1);
	EXPECT(understands("harden,sample=1000"));
	EXPECT(parsed.harden && parsed.sample == 1000);
	EXPECT(understands("sample=7, harden,"));
	EXPECT(parsed.harden && parsed.sample == 7);
	EXPECT(understands("sample=1073741824"));
	EXPECT_EQ(parsed.sample, CONF_SAMPLE_MAX);
}

static void the_last_number_counts(void)
{
	EXPECT(understands("sample=5,sample=9"));
	EXPECT_EQ(parsed.sample, 9);
}

static void unknown_words_are_named_and_ignored(void)
{
	static const char *const wrong[] = {
		"hardened", "harde", "HARDEN", "harden=1", "sample", "sample=", "sample=0",
		"sample=-1", "sample=1x", "sample=0x10", "sample=1073741825",
		"sample=18446744073709551617", "sample=1000000000000000000000000000", "quarantine",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char quoted[64];

		EXPECT(!understands(wrong[i]));
		EXPECT(!parsed.harden && !parsed.sample);
		snprintf(quoted, sizeof(quoted), "'%s'", wrong[i]);
		EXPECT(strstr(complaint, quoted));
		EXPECT(strstr(complaint, "'harden' and 'sample=N'"));
		EXPECT(!strchr(complaint, '\n'));
	}
}

static void the_others_count_all_the_same(void)
{
	EXPECT(!understands("nothing,harden,sample=x,sample=3"));
	EXPECT(parsed.harden && parsed.sample == 3);
	EXPECT(strstr(complaint, "'nothing'"));
}

static void long_words_fit(void)
{
	char text[4096];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	EXPECT(!understands(text));
	EXPECT(strstr(complaint, "commas between"));
}

static const struct test_case cases[] = {
	{ "an empty MMB_CONF asks for nothing", nothing_is_asked },
	{ "harden and sample=N are known, in any order", known_words },
	{ "of two numbers the last counts", the_last_number_counts },
	{ "a word that isn't known is named, with those that are",
	  unknown_words_are_named_and_ignored },
	{ "the words beside an unknown one count", the_others_count_all_the_same },
	{ "a word of any length makes one short line", long_words_fit },
};
TEST_MAIN(cases)
