/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json - one JSON object a line
 *
 * Purpose     See json.h.
 */
#include "tools/json.h"

#include <inttypes.h>

/* Bytes of the UTF-8 sequence at c, 0 if it isn't one. c ends with a NUL. */
static unsigned int utf8_length(const unsigned char *c)
{
	unsigned int nr = *c >= 0xf0 ? 4 : *c >= 0xe0 ? 3 : 2;
	uint32_t     point;

	if (*c < 0xc2 || *c > 0xf4)
		return 0;
	point = *c & (0xffu >> (nr + 1));
	for (unsigned int i = 1; i < nr; i++) {
		if ((c[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (c[i] & 0x3f);
	}
	if ((nr == 3 && point < 0x800) || (nr == 4 && point < 0x10000) || point > 0x10ffff ||
	    (point >= 0xd800 && point < 0xe000))
		return 0;
	return nr;
}

static void put_quoted(FILE *out, const char *text)
{
	const unsigned char *c = (const unsigned char *)text;

	fputc('"', out);
	while (*c != '\0') {
		unsigned int nr = *c < 0x80 ? 1 : utf8_length(c);

		if (nr == 0)
			fputs("\\ufffd", out);
		else if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else if (*c < ' ' || *c == 0x7f)
			fprintf(out, "\\u%04x", *c);
		else
			fwrite(c, 1, nr, out);
		c += nr ? nr : 1;
	}
	fputc('"', out);
}

static void put_name(struct json *j, const char *name)
{
	if (j->comma)
		fputc(',', j->out);
	j->comma = true;
	if (name) {
		put_quoted(j->out, name);
		fputc(':', j->out);
	}
}

void json_begin(struct json *j, FILE *out)
{
	j->out = out;
	j->comma = false;
	fputc('{', out);
	json_number(j, "schema", JSON_SCHEMA);
}

void json_end(struct json *j)
{
	fputs("}\n", j->out);
}

void json_string(struct json *j, const char *name, const char *value)
{
	put_name(j, name);
	put_quoted(j->out, value);
}

void json_number(struct json *j, const char *name, uint64_t value)
{
	put_name(j, name);
	fprintf(j->out, "%" PRIu64, value);
}

void json_percent(struct json *j, const char *name, double value)
{
	put_name(j, name);
	fprintf(j->out, "%.2f", value);
}

void json_signed(struct json *j, const char *name, int64_t value)
{
	put_name(j, name);
	fprintf(j->out, "%" PRId64, value);
}

void json_bool(struct json *j, const char *name, bool value)
{
	put_name(j, name);
	fputs(value ? "true" : "false", j->out);
}

void json_open(struct json *j, const char *name, char bracket)
{
	put_name(j, name);
	fputc(bracket, j->out);
	j->comma = false;
}

void json_close(struct json *j, char bracket)
{
	fputc(bracket, j->out);
	j->comma = true;
}
