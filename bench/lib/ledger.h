/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger - comparisons kept until all are there, then printed, the lost ones first
 *
 * Purpose     For suites with a large table: nobody should have to look for what was lost.
 * Order       goals missed, then ratios below 1 without a goal, then the rest; within each the
 *             furthest from its goal (or 1) first; cases that were skipped or failed are printed
 *             at once.
 */
#ifndef MMB_BENCH_LIB_LEDGER_H
#define MMB_BENCH_LIB_LEDGER_H

#include "lib/bench.h"

enum { LEDGER_ROWS = 512, LEDGER_NAME = 72 };

struct ledger_row {
	char              name[LEDGER_NAME], peer[LEDGER_NAME];
	struct comparison how;
	double            value, peer_value, distance;
	unsigned int      rank;
};

struct ledger {
	unsigned int      nr;
	struct ledger_row rows[LEDGER_ROWS];
};

/* bench_measure(), and a row for each of the case's comparisons. 0: it ran, and the medians of the
 * figures are there for rows that are computed from several (medians may be NULL). */
int ledger_run(struct ledger *l, struct bench *b, const struct bench_case *c,
	       double medians[BENCH_SIDES][BENCH_VALUES]);
/* A row that isn't a comparison of two sides' figures; how as for bench_emit(). */
void ledger_add(struct ledger *l, const char *name, const struct comparison *how, double value,
		double peer_value);
/* All rows through bench_emit(), and none is left. */
void ledger_print(struct ledger *l, struct bench *b);

#endif
