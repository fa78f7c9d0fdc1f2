/* SPDX-License-Identifier: Apache-2.0 */
/*
 * human - aligned tables, sizes and times for people
 *
 * Purpose     See human.h. Out of memory ends the tool with a message: nothing is left to do.
 */
#include "tools/human.h"

#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/verbs.h"

const char *human_size(uint64_t bytes, char buffer[HUMAN_BYTES])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned int             unit = 0;
	double                   value = (double)bytes;

	while (value >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		value /= 1024;
		unit++;
	}
	if (bytes == 0)
		snprintf(buffer, HUMAN_BYTES, "0");
	else
		snprintf(buffer, HUMAN_BYTES, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s",
			 value, units[unit]);
	return buffer;
}

const char *human_ns(uint64_t ns, char buffer[HUMAN_BYTES])
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	unsigned int             unit = 0;
	double                   value = (double)ns;

	while (value >= 1000 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		value /= 1000;
		unit++;
	}
	snprintf(buffer, HUMAN_BYTES, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
		 units[unit]);
	return buffer;
}

const char *human_uptime(uint64_t ms, char buffer[HUMAN_BYTES])
{
	uint64_t s = ms / 1000, m = s / 60, h = m / 60, d = h / 24;

	if (d)
		snprintf(buffer, HUMAN_BYTES, "%" PRIu64 "d %" PRIu64 "h", d, h % 24);
	else if (h)
		snprintf(buffer, HUMAN_BYTES, "%" PRIu64 "h %02" PRIu64 "m", h, m % 60);
	else if (m)
		snprintf(buffer, HUMAN_BYTES, "%" PRIu64 "m %02" PRIu64 "s", m, s % 60);
	else
		snprintf(buffer, HUMAN_BYTES, "%" PRIu64 "s", s);
	return buffer;
}

static char *printable(const char *text)
{
	char *copy = malloc(4 * strlen(text) + 1), *to = copy;

	if (!copy)
		err(CTL_FAILED, "table");
	for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
		if (*c < ' ' || *c == 0x7f)
			to += sprintf(to, "\\x%02x", *c);
		else
			*to++ = (char)*c;
	}
	*to = '\0';
	return copy;
}

void human_put(FILE *out, const char *text)
{
	char *copy = printable(text);

	fputs(copy, out);
	free(copy);
}

void table_init(struct table *t, const char *const *titles, unsigned int nr_columns)
{
	memset(t, 0, sizeof(*t));
	t->titles = titles;
	t->nr_columns = nr_columns;
}

void table_text(struct table *t, const char *text)
{
	if (t->nr_cells == t->capacity) {
		t->capacity = t->capacity ? 2 * t->capacity : 64;
		t->cells = reallocarray(t->cells, t->capacity, sizeof(*t->cells));
		if (!t->cells)
			err(CTL_FAILED, "table");
	}
	t->cells[t->nr_cells++] = printable(text[0] != '\0' ? text : "-");
}

void table_size(struct table *t, uint64_t bytes)
{
	char buffer[HUMAN_BYTES];

	table_text(t, human_size(bytes, buffer));
}

void table_number(struct table *t, uint64_t value)
{
	char buffer[HUMAN_BYTES];

	snprintf(buffer, sizeof(buffer), "%" PRIu64, value);
	table_text(t, buffer);
}

/* Characters of UTF-8 text, each taken as one column wide. */
static int columns(const char *text)
{
	int nr = 0;

	for (; *text != '\0'; text++)
		nr += ((unsigned char)*text & 0xc0) != 0x80;
	return nr;
}

static void print_row(const struct table *t, FILE *out, char *const *cells, const int *widths)
{
	for (unsigned int c = 0; c < t->nr_columns; c++) {
		bool left = t->titles[c][0] == '<', last = c == t->nr_columns - 1;
		int  blanks = widths[c] - columns(cells[c]);

		fprintf(out, "%*s%s%*s%s", left ? 0 : blanks, "", cells[c],
			left && !last ? blanks : 0, "", last ? "\n" : "  ");
	}
}

void table_print(struct table *t, FILE *out, bool color)
{
	char *titles[TABLE_COLUMNS_MAX];
	int   widths[TABLE_COLUMNS_MAX];

	for (unsigned int c = 0; c < t->nr_columns; c++) {
		titles[c] = (char *)t->titles[c] + (t->titles[c][0] == '<');
		widths[c] = columns(titles[c]);
		for (unsigned int i = c; i < t->nr_cells; i += t->nr_columns)
			if (columns(t->cells[i]) > widths[c])
				widths[c] = columns(t->cells[i]);
	}
	fputs(color ? "\033[1m" : "", out);
	print_row(t, out, titles, widths);
	fputs(color ? "\033[0m" : "", out);
	for (unsigned int i = 0; i + t->nr_columns <= t->nr_cells; i += t->nr_columns)
		print_row(t, out, t->cells + i, widths);
	for (unsigned int i = 0; i < t->nr_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->nr_cells = t->capacity = 0;
}
