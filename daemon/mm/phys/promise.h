/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promise - what must be able to go to swap, since there isn't memory for all that is committed
 *
 * Purpose     Memory is short where a stock has committed more than its limit, and where a pool has
 *             been granted more than its max lets into memory, though its stocks have room. Slots
 *             must be there for both; for pages of 2 MiB, whole clusters. And what a pool's
 *             swap_max keeps from going must have frames.
 * Invariants  P1  a pool's excess is what it has beyond its max; of each stock as much of it may be
 *                 on the disk as the pool has evictable there: so many frames are `out`. Where it
 *                 has more than its max, pages of 2 MiB may leave some of that unused.
 *             P2  a stock's demand is the greater one of what it has committed beyond its limit and
 *                 what is out of it: while all memory is in use, no more of its pages need slots.
 *             P3  all demands together are within what swap may promise, when one of them is
 *                 raised; those in pages of 2 MiB within its clusters, too.
 *             P4  of each stock as much of what a pool has beyond what may go stays as it has
 *                 there, less what is locked: others may have all its slots. Frames that stay are
 *                 fixed ones of the stock (K2).
 * Locking     one mutex (leaf) for all of it; what is read without it is atomic.
 * Not here    Frames that are kept (stock.c), slots themselves (map/swap.h).
 */
#ifndef MMB_MM_PHYS_PROMISE_H
#define MMB_MM_PHYS_PROMISE_H

#include "base/check.h"
#include "mm/phys/section.h"

struct stock;

#define PROMISE_NO_MAX UINT64_MAX

/* One pool's part. All zero but PROMISE_NO_MAX thrice: a good beginning. l: the promises' lock */
struct promise_share {
	uint64_t max;   /* (l) frames; PROMISE_NO_MAX */
	uint64_t goes;  /* (l) frames that swap_max lets go; PROMISE_NO_MAX */
	uint64_t goes_beside_whole; /* (l) the same where some of it is in pages of 2 MiB */
	uint64_t all;   /* (l) what it has: evictable, and its arena */
	uint64_t paged; /* (l) of it, what is evictable */
	uint64_t whole; /* (l) of that, pages of 2 MiB */
	uint64_t evictable[MAX_NUMNODES][NR_STOCK_KINDS]; /* (l) locked ones, too */
	uint64_t locked[MAX_NUMNODES][NR_STOCK_KINDS];    /* (l) */
	uint64_t out[MAX_NUMNODES][NR_STOCK_KINDS];       /* (l) P1 */
	uint64_t stays[MAX_NUMNODES][NR_STOCK_KINDS];     /* (l) P4 */
};

/* Where frames come from, and whose they are. */
struct stock_place {
	int                   node;
	enum stock_kind       kind;
	bool                  whole; /* in pages of 2 MiB, of whichever stock */
	struct promise_share *share; /* NULL: nobody's, whose max keeps nothing out */
};

/* So many more frames are committed; evictable or not. again: it was promised before a restart,
 * and nobody asks whether it fits. False: there are no slots for it. */
bool promise_fixed(struct stock *s, uint64_t nr, bool again);
void unpromise_fixed(struct stock *s, uint64_t nr);
bool promise_evictable(struct stock *s, const struct stock_place *place, uint64_t nr, bool again);
void unpromise_evictable(struct stock *s, const struct stock_place *place, uint64_t nr);
/* So many of them are locked, and fixed frames for that; or no more. False: they can't be fixed. */
bool promise_locked(struct stock *s, const struct stock_place *place, uint64_t nr, bool again);
void unpromise_locked(struct stock *s, const struct stock_place *place, uint64_t nr);
/* How many more can be promised; place NULL: not evictable. */
uint64_t promise_room(struct stock *s, const struct stock_place *place);

/* The pool's arena grows, or shrinks: what it has in regions must make way. -ENOMEM: that has
 * nowhere to go. */
int promise_arena(struct promise_share *share, uint64_t frames);
void unpromise_arena(struct promise_share *share, uint64_t frames);
/* Its max changes. -ENOMEM: what it keeps out has nowhere to go; then it stays. */
int promise_max(struct promise_share *share, uint64_t max);
/* Its swap_max does: so many frames may go, and so many where some are in pages of 2 MiB. -ENOMEM:
 * there is no memory for what then stays. */
int promise_goes(struct promise_share *share, uint64_t goes, uint64_t beside_whole);
/* The same, whether there is room or not: at a restart, or to what it was. */
void promise_max_again(struct promise_share *share, uint64_t max);
void promise_goes_again(struct promise_share *share, uint64_t goes, uint64_t beside_whole);

/* The demands of all stocks, for validation. */
void promise_validate(struct validation *v);
/* A pool's share, by what its regions and arena were found to have, and what follows from that. */
void promise_validate_share(const struct promise_share *share, const struct promise_share *counted,
			    unsigned long long pool, struct validation *v);

#endif
