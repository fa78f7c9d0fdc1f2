/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_mistake - sentences about settings that can't be
 *
 * Locking     none.
 */
#include "app/config_mistake.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"

enum {
	NAME_BYTES = 64,
	SUGGESTIONS_MAX = 3,
	DISTANCE_MAX = 3, /* letters changed, added or left out */
};

void config_mistake(struct config_sink *sink, const char *place, const char *format, ...)
{
	va_list args;

	fprintf(sink->err, "mmbrokerd: %s: ", place);
	va_start(args, format);
	vfprintf(sink->err, format, args);
	va_end(args);
	fputc('\n', sink->err);
	sink->nr_mistakes++;
}

/* Levenshtein's distance, by rows. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[NAME_BYTES];
	size_t       nr = strlen(b);

	if (nr >= NAME_BYTES)
		return NAME_BYTES;
	for (unsigned int j = 0; j <= nr; j++)
		row[j] = j;
	for (unsigned int i = 1; *a; a++, i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nr; j++) {
			unsigned int change = diagonal + (*a != b[j - 1]);
			unsigned int add = min_t(unsigned int, row[j], row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = min_t(unsigned int, change, add);
		}
	}
	return row[nr];
}

/* A slip of the pen, or the right name in the wrong section. */
static bool is_near(const struct config_key *key, const struct config_setting *s)
{
	unsigned int off = distance(s->name, key->name);

	if (off == 0)
		return true;
	return off <= DISTANCE_MAX && off * 2 < strlen(key->name) &&
	       distance(s->section, key->section) <= DISTANCE_MAX;
}

static void suggest_near(struct config_sink *sink, const struct config_setting *s)
{
	unsigned int nr = 0;

	for (int i = 0; i < NR_CONFIG_KEYS && nr < SUGGESTIONS_MAX; i++) {
		if (is_near(&config_keys[i], s))
			fprintf(sink->err, "%s%s.%s", nr++ ? " or " : "; did you mean ",
				config_keys[i].section, config_keys[i].name);
	}
	if (nr)
		fputc('?', sink->err);
}

static void list_names(struct config_sink *sink, const char *section)
{
	const char *before = "";
	bool        known = false;

	for (int i = 0; i < NR_CONFIG_KEYS; i++)
		known |= strcmp(config_keys[i].section, section) == 0;
	fputs(known ? "; its keys are " : "; the sections are ", sink->err);
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		const struct config_key *k = &config_keys[i];

		if (known && strcmp(k->section, section) == 0)
			fprintf(sink->err, "%s%s", before, k->name);
		else if (!known && (i == 0 || strcmp(k->section, config_keys[i - 1].section) != 0))
			fprintf(sink->err, "%s%s", before, k->section);
		else
			continue;
		before = ", ";
	}
}

int config_setting_key(struct config_sink *sink, const struct config_setting *s)
{
	int key = config_key_find(s->section, s->name);

	if (key >= 0)
		return key;
	fprintf(sink->err, "mmbrokerd: %s: there is no key %s.%s", s->place, s->section, s->name);
	list_names(sink, s->section);
	suggest_near(sink, s);
	fputc('\n', sink->err);
	sink->nr_mistakes++;
	return -1;
}

void config_setting_apply(struct config_sink *sink, int key, const struct config_setting *s)
{
	char expected[CONFIG_EXPECTED_BYTES];
	int  error = config_value_set(sink->config, &config_keys[key], s->value);

	if (error == -ENOMEM) {
		config_mistake(sink, s->place, "out of memory");
	} else if (error) {
		config_value_expected(&config_keys[key], expected);
		config_mistake(sink, s->place, "%s.%s can't be \"%.200s\"; expected %s", s->section,
			       s->name, s->value, expected);
	} else {
		free(sink->config->places[key]);
		sink->config->places[key] = strdup(s->place);
	}
}
