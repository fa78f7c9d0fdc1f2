/* SPDX-License-Identifier: Apache-2.0 */
/*
 * duel - ours and the kernel's memory under the same limit, on the same disk
 *
 * Purpose     Owns the kernel's swap, our broker with a swap file beside it, and the players.
 * Not here    The cases (suite_swap.c, table.c).
 */
#ifndef MMB_BENCH_SWAP_DUEL_H
#define MMB_BENCH_SWAP_DUEL_H

#include "lib/broker.h"
#include "lib/ledger.h"
#include "swap/kernel_swap.h"
#include "swap/player.h"

struct duel {
	struct bench      *b;
	struct ledger      ledger;
	struct kernel_swap kernel_swap;
	struct broker      broker; /* pid 0: somebody else's, b->socket */
	struct player      ours, kernel;
	struct player      our_neighbour, kernel_neighbour;
};

/* Memory of both players of a pair. */
struct duel_size {
	uint64_t bytes, limit;
	uint32_t page;
};

/* BENCH_SKIP or negative after bench_because(): nothing is left. */
int duel_start(struct duel *c, struct bench *b);
void duel_stop(struct duel *c);
/* Ends the players; the next order starts them with this much. The neighbours get `neighbours`. */
void duel_resize(struct duel *c, struct duel_size size, uint64_t neighbours);

/* A side: arg is a struct duel_order. The sample's figures are FIGURE_*. */
struct duel_order {
	struct player *player;
	struct order   order;
};
int duel_side(struct bench *b, const void *arg, struct sample *out);

/* The table: working sets, page sizes, patterns, threads, writes (table.c). */
void duel_table(struct duel *c);

#endif
