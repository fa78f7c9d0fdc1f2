/* SPDX-License-Identifier: Apache-2.0 */
/* ledger - see ledger.h */
#include "lib/ledger.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { RANK_MISSED, RANK_BELOW, RANK_REST };

void ledger_add(struct ledger *l, const char *name, const struct comparison *how, double value,
		double peer_value)
{
	double ratio = how->kind == LOWER_IS_BETTER ? peer_value / value : value / peer_value;
	struct ledger_row *row;

	if (l->nr == LEDGER_ROWS)
		return;
	row = &l->rows[l->nr++];
	row->how = *how;
	row->value = value;
	row->peer_value = peer_value;
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->peer, sizeof(row->peer), "%s", how->peer_name ? how->peer_name : "");
	row->distance = how->goal > 0 ? ratio / how->goal : ratio;
	row->rank = RANK_REST;
	if (how->goal > 0 && !(ratio >= how->goal))
		row->rank = RANK_MISSED;
	else if (how->goal <= 0 && ratio < 1)
		row->rank = RANK_BELOW;
}

int ledger_run(struct ledger *l, struct bench *b, const struct bench_case *c,
	       double medians[BENCH_SIDES][BENCH_VALUES])
{
	double own[BENCH_SIDES][BENCH_VALUES];
	double(*at)[BENCH_VALUES] = medians ? medians : own;
	int error = bench_measure(b, c, at);

	for (unsigned int i = 0; error == 0 && i < c->nr_comparisons; i++) {
		struct comparison how = c->comparisons[i];
		double peer = how.constant;

		if (how.constant == 0)
			peer = at[how.peer.side][how.peer.value];
		if (how.peer_name == NULL)
			how.peer_name = c->sides[how.peer.side].name;
		ledger_add(l, how.name ? how.name : c->name, &how,
			   at[how.ours.side][how.ours.value], peer);
	}
	return error;
}

static int by_loss(const void *a, const void *b)
{
	const struct ledger_row *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return (x->distance > y->distance) - (x->distance < y->distance);
}

void ledger_print(struct ledger *l, struct bench *b)
{
	qsort(l->rows, l->nr, sizeof(l->rows[0]), by_loss);
	for (unsigned int i = 0; i < l->nr; i++) {
		struct ledger_row *row = &l->rows[i];

		row->how.peer_name = row->peer[0] ? row->peer : NULL;
		bench_emit(b, row->name, &row->how, row->value, row->peer_value);
	}
	l->nr = 0;
}
