/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock_hold - the part of a stock that keeps memory nobody uses: the reserve's section
 *
 * Purpose     Populates and punches pageblocks of the reserve. For stock.c only; the public part
 *             (stock_hold_populate, stock_refill_step) is in stock.h.
 * Locking     stock->lock for block states; a block being populated is BLOCK_BUSY meanwhile.
 */
#ifndef MMB_MM_PHYS_STOCK_HOLD_H
#define MMB_MM_PHYS_STOCK_HOLD_H

#include "mm/phys/stock.h"

struct stock *stock_of(int node, enum stock_kind kind);

static inline uint64_t left_of(uint64_t of, uint64_t taken)
{
	return taken < of ? of - taken : 0;
}

/* So many more frames are evictable, and fixed; fewer, where negative. False: what they need beside
 * the floor isn't to be had up to `limit`. Who needs no more is never refused. */
bool stock_shift(struct stock *s, int64_t evictable, int64_t fixed, uint64_t limit);
/* Whether that would be had up to its limit. */
bool stock_could_shift(const struct stock *s, int64_t evictable, int64_t fixed);

int stock_hold_init(struct stock *s, uint64_t reserve);
void stock_hold_fini(struct stock *s);
/* One pageblock back to the host; false if none is held (or the host refused). */
bool stock_punch_held_locked(struct stock *s);
/* The host is out of pages: gives up one held pageblock. */
bool stock_relieve(struct stock *s);
/* K6: the section for the page, and the page. What must go is handed out, to be removed without the
 * lock. */
int stock_add_spare(struct stock *s);
struct section *stock_drop_spare_locked(struct stock *s);
int stock_fill_spare_locked(struct stock *s);
/* The page goes to whoever asks the host next. */
bool stock_give_spare(struct stock *s);
/* A predecessor's. */
void stock_adopt_spare(struct stock *s);
void stock_hold_validate(struct stock *s, struct validation *v);

#endif
