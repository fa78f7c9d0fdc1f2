/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_value - one parser a type, found by table
 *
 * Locking     none.
 */
#include "app/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/types.h"
#include "mm/obj/slub_spec.h"

enum { WHEN_LIVE = 1, WHEN_RESTART = 0 };

#define X(section_, key_, type_, fallback_, allowed_, when_, help_)                           \
	{ .section = #section_,                                                               \
	  .name = #key_,                                                                      \
	  .type = CONFIG_##type_,                                                             \
	  .fallback = fallback_,                                                              \
	  .allowed = allowed_,                                                                \
	  .live = WHEN_##when_,                                                               \
	  .help = help_,                                                                      \
	  .offset = offsetof(struct config, section_##_##key_) },
const struct config_key config_keys[NR_CONFIG_KEYS] = { CONFIG_KEYS(X) };
#undef X

int config_key_find(const char *section, const char *name)
{
	for (int i = 0; i < NR_CONFIG_KEYS; i++) {
		if (!strcmp(config_keys[i].section, section) && !strcmp(config_keys[i].name, name))
			return i;
	}
	return -1;
}

/* ---- numbers ---- */

/* Digits in `base` and what follows them. Signs and blanks are no digits. */
static int parse_digits(const char *text, int base, uint64_t *out, const char **rest)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &end, base);
	*rest = end;
	return errno ? -EINVAL : 0;
}

static int parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char       *rest, *unit;
	unsigned int      shift;

	if (parse_digits(text, 10, out, &rest))
		return -EINVAL;
	if (!rest[0])
		return 0;
	unit = strchr(units, toupper((unsigned char)rest[0]));
	if (!unit || rest[1])
		return -EINVAL;
	shift = 10 * (unsigned int)(unit - units + 1);
	if (*out > UINT64_MAX >> shift)
		return -EINVAL;
	*out <<= shift;
	return 0;
}

static int parse_reserve(const char *text, uint64_t *out)
{
	uint64_t    host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	const char *rest;

	if (parse_digits(text, 10, out, &rest) || strcmp(rest, "%") != 0)
		return parse_size(text, out);
	if (*out > 100)
		return -EINVAL;
	*out = round_down(host / 100 * *out, PAGEBLOCK_SIZE);
	return 0;
}

static int parse_duration(const char *text, uint64_t *out)
{
	static const struct {
		const char *unit;
		uint64_t    ms;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 } };
	const char *rest;

	if (parse_digits(text, 10, out, &rest) || *out > UINT32_MAX)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(rest, units[i].unit) == 0) {
			*out *= units[i].ms;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_int(const char *text, uint64_t *out)
{
	const char *rest;

	if (parse_digits(text, 10, out, &rest) || rest[0] || *out > UINT32_MAX)
		return -EINVAL;
	return 0;
}

static int parse_mode(const char *text, uint64_t *out)
{
	const char *rest;

	if (parse_digits(text, 8, out, &rest) || rest[0] || *out > 0777)
		return -EINVAL;
	return 0;
}

/* ---- what is allowed ---- */

typedef int (*parse_fn)(const char *text, uint64_t *out);

/* Words are found by find_word, strings are taken by set_string. */
static const parse_fn parsers[] = {
	[CONFIG_SIZE] = parse_size,         [CONFIG_RESERVE] = parse_reserve,
	[CONFIG_DURATION] = parse_duration, [CONFIG_INT] = parse_int,
	[CONFIG_MODE] = parse_mode,
};

/* allowed is "low..high" in the key's own syntax, or empty. */
static int check_range(const struct config_key *key, uint64_t value)
{
	char        low[32];
	const char *dots = strstr(key->allowed, "..");
	uint64_t    least, most;

	if (!dots)
		return 0;
	snprintf(low, sizeof(low), "%.*s", (int)(dots - key->allowed), key->allowed);
	if (parsers[key->type](low, &least) || parsers[key->type](dots + 2, &most))
		return -EINVAL;
	return value >= least && value <= most ? 0 : -EINVAL;
}

/* Place of the word in "a|b|c". */
static int find_word(const char *words, const char *text, uint64_t *out)
{
	size_t nr = strlen(text);

	for (*out = 0;; (*out)++) {
		size_t length = strcspn(words, "|");

		if (length == nr && strncmp(words, text, nr) == 0)
			return 0;
		if (!words[length])
			return -EINVAL;
		words += length + 1;
	}
}

static size_t string_max(const struct config_key *key)
{
	/* A socket's address is that short, and ".new" is put behind it while it is made. */
	if (key == &config_keys[CONFIG_KEY_socket_path])
		return sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof(".new");
	return CONFIG_STRING_MAX;
}

static bool is_slub_debug(const struct config_key *key)
{
	return key == &config_keys[CONFIG_KEY_memory_slub_debug];
}

static int set_string(char **field, const struct config_key *key, const char *text)
{
	char *copy;

	if (is_slub_debug(key) && !slub_spec_ok(text))
		return -EINVAL;
	if (strlen(text) > string_max(key))
		return -EINVAL;
	for (const char *c = text; *c; c++) {
		if (iscntrl((unsigned char)*c))
			return -EINVAL;
	}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

int config_value_set(struct config *config, const struct config_key *key, const char *text)
{
	void    *field = (char *)config + key->offset;
	uint64_t value;
	int      error;

	if (key->type == CONFIG_STRING)
		return set_string(field, key, text);
	if (key->type == CONFIG_ENUM)
		error = find_word(key->allowed, text, &value);
	else
		error = parsers[key->type](text, &value);
	if (!error && key->type != CONFIG_ENUM)
		error = check_range(key, value);
	if (error)
		return error;
	switch (key->type) {
	case CONFIG_SIZE:
	case CONFIG_RESERVE:
	case CONFIG_DURATION:
		*(uint64_t *)field = value;
		break;
	default:
		*(uint32_t *)field = (uint32_t)value;
	}
	return 0;
}

/* ---- values of a configuration ---- */

static bool is_wide(const struct config_key *key)
{
	return key->type == CONFIG_SIZE || key->type == CONFIG_RESERVE ||
	       key->type == CONFIG_DURATION;
}

static uint64_t value_of(const struct config *config, const struct config_key *key)
{
	const void *field = (const char *)config + key->offset;

	return is_wide(key) ? *(const uint64_t *)field : *(const uint32_t *)field;
}

static const char *string_of(const struct config *config, const struct config_key *key)
{
	return *(char *const *)(const void *)((const char *)config + key->offset);
}

bool config_value_same(const struct config *a, const struct config *b,
		       const struct config_key *key)
{
	if (key->type == CONFIG_STRING)
		return !strcmp(string_of(a, key), string_of(b, key));
	return value_of(a, key) == value_of(b, key);
}

void config_value_move(struct config *to, struct config *from, const struct config_key *key)
{
	void *left = (char *)to + key->offset, *right = (char *)from + key->offset;
	char *text;

	if (key->type == CONFIG_STRING) {
		text = *(char **)left;
		*(char **)left = *(char **)right;
		*(char **)right = text;
	} else if (is_wide(key)) {
		*(uint64_t *)left = *(uint64_t *)right;
	} else {
		*(uint32_t *)left = *(uint32_t *)right;
	}
}

/* The value in the largest unit that has no remainder. */
static void scaled_text(uint64_t value, const char *const *units, const uint64_t *sizes,
			char out[CONFIG_EXPECTED_BYTES])
{
	int i = 0;

	while (sizes[i] > 1 && (!value || value % sizes[i]))
		i++;
	snprintf(out, CONFIG_EXPECTED_BYTES, "%llu%s", (unsigned long long)(value / sizes[i]),
		 units[i]);
}

static void word_text(const char *words, uint64_t nth, char out[CONFIG_EXPECTED_BYTES])
{
	while (nth--)
		words = strchr(words, '|') + 1;
	snprintf(out, CONFIG_EXPECTED_BYTES, "%.*s", (int)strcspn(words, "|"), words);
}

void config_value_text(const struct config *config, const struct config_key *key,
		       char out[CONFIG_EXPECTED_BYTES])
{
	static const char *const size_units[] = { "T", "G", "M", "K", "" };
	static const uint64_t    sizes[] = { 1ull << 40, 1 << 30, 1 << 20, 1 << 10, 1 };
	static const char *const time_units[] = { "m", "s", "ms" };
	static const uint64_t    times[] = { 60000, 1000, 1 };

	switch (key->type) {
	case CONFIG_STRING:
		snprintf(out, CONFIG_EXPECTED_BYTES, "%.250s",
			 string_of(config, key)[0] ? string_of(config, key) : "\"\"");
		break;
	case CONFIG_ENUM:
		word_text(key->allowed, value_of(config, key), out);
		break;
	case CONFIG_DURATION:
		scaled_text(value_of(config, key), time_units, times, out);
		break;
	case CONFIG_MODE:
		snprintf(out, CONFIG_EXPECTED_BYTES, "%04llo",
			 (unsigned long long)value_of(config, key));
		break;
	case CONFIG_INT:
		snprintf(out, CONFIG_EXPECTED_BYTES, "%llu",
			 (unsigned long long)value_of(config, key));
		break;
	default:
		scaled_text(value_of(config, key), size_units, sizes, out);
	}
}

/* "low..high" or "a|b|c" as words of a sentence. */
static void spell_allowed(const char *allowed, char *out, size_t room)
{
	const char *dots = strstr(allowed, "..");
	size_t      used = 0;

	if (dots) {
		snprintf(out, room, "%.*s to %s", (int)(dots - allowed), allowed, dots + 2);
		return;
	}
	for (; *allowed && used + 4 < room; allowed++) {
		if (*allowed == '|') {
			out[used++] = ',';
			out[used++] = ' ';
		} else {
			out[used++] = *allowed;
		}
	}
	out[used] = '\0';
}

void config_value_expected(const struct config_key *key, char out[CONFIG_EXPECTED_BYTES])
{
	static const char *const types[] = {
		[CONFIG_SIZE] = "bytes, with K, M, G or T, such as 512M",
		[CONFIG_RESERVE] = "bytes, with K, M, G or T, or a share of host memory like 25%",
		[CONFIG_DURATION] = "a time such as 500ms, 60s or 2m, from ",
		[CONFIG_ENUM] = "one of ",
		[CONFIG_INT] = "a whole number from ",
		[CONFIG_MODE] = "octal permission bits such as 0660, at most 0777",
		[CONFIG_STRING] = "a text without control characters of at most ",
	};
	char        allowed[CONFIG_EXPECTED_BYTES / 2];
	const char *between = "";

	spell_allowed(key->allowed, allowed, sizeof(allowed));
	if (key->type == CONFIG_SIZE && key->allowed[0])
		between = ", from ";
	if (is_slub_debug(key))
		snprintf(out, CONFIG_EXPECTED_BYTES, "%s", slub_spec_expected);
	else if (key->type == CONFIG_STRING)
		snprintf(out, CONFIG_EXPECTED_BYTES, "%s%zu bytes", types[key->type],
			 string_max(key));
	else
		snprintf(out, CONFIG_EXPECTED_BYTES, "%s%s%s", types[key->type], between,
			 allowed);
}
