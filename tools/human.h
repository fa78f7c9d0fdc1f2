/* SPDX-License-Identifier: Apache-2.0 */
/*
 * human - aligned tables, sizes and times for people
 *
 * Purpose     Cells are text; columns get the width of their widest cell. Control bytes of names
 *             that clients chose are shown as \xNN, so that they can't drive a terminal.
 * Not here    JSON (json.h).
 */
#ifndef MMB_TOOLS_HUMAN_H
#define MMB_TOOLS_HUMAN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { HUMAN_BYTES = 24, TABLE_COLUMNS_MAX = 24 };

/* "0", "512 B", "4.0 KiB", "1.5 GiB". Returns buffer. */
const char *human_size(uint64_t bytes, char buffer[HUMAN_BYTES]);
/* "3.4 us", "12 ms". */
const char *human_ns(uint64_t ns, char buffer[HUMAN_BYTES]);
/* "2d 3h", "1h 02m", "5m 07s", "9s". */
const char *human_uptime(uint64_t ms, char buffer[HUMAN_BYTES]);
void human_put(FILE *out, const char *text);

struct table {
	const char *const *titles; /* a title that begins with '<' makes a left-aligned column */
	unsigned int       nr_columns;
	unsigned int       nr_cells, capacity;
	char             **cells;
};

void table_init(struct table *t, const char *const *titles, unsigned int nr_columns);
void table_text(struct table *t, const char *text);
void table_size(struct table *t, uint64_t bytes);
void table_number(struct table *t, uint64_t value);
/* Prints titles and rows, and frees the cells. */
void table_print(struct table *t, FILE *out, bool color);

#endif
