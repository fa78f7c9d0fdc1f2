/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protect - write-protecting what a client has mapped, whatever it has made of its map
 *
 * Purpose     The kernel protects a range if all of it is registered. Where a client has cut its
 *             mapping and the daemon hasn't heard of it yet, each half is asked for, down to single
 *             pages: what isn't mapped needs no protection.
 * Invariants  T1  a page that is mapped and registered is protected on return.
 *             T2  a client that undoes its registration, of which no event tells, and leaves the
 *                 window as it was, costs PROTECT_VAIN_MAX calls for single pages at once, and
 *                 PROTECT_VAIN_PER_S of them from then on. Beyond that a piece of
 *                 PROTECT_PIECE_BYTES whose first and last page aren't registered is taken for one
 *                 of which nothing is: T1 holds for what the daemon has heard of.
 *             T3  T1 is of where the daemon takes a window to be. What a client has moved can't be
 *                 protected until a lane has read of it (-EAGAIN), and is missed until that lane
 *                 has dealt with it: who protects asks region_moves_known() afterwards, and then
 *                 whether nr_moves is what it was before.
 * Locking     the caller's, of the window: mostly region->lock.
 */
#ifndef MMB_SPACE_PROTECT_H
#define MMB_SPACE_PROTECT_H

#include "mm/space/mm.h"

/* A window of 256 MiB goes while it is protected; a moment's worth of calls. */
enum { PROTECT_VAIN_MAX = 1 << 16, PROTECT_VAIN_PER_S = 1000, PROTECT_PIECE_BYTES = 256 << 10 };

/* Of the region's. 0: also of a client that has gone. -EAGAIN: its map is changing. */
int mm_protect(struct mm *mm, const struct region *region, uint64_t address, uint64_t length);
/* Whoever writes to what is mapped of the range faults, until somebody lets it be written again. */
int region_protect(struct region *region, struct page_range range);
/* T3, of whatever a lane has read so far. False: it may be at work on a move. */
bool mm_moves_known(struct mm *mm);
/* The same of all clients that see pages of the range. False after a millisecond or two: some may
 * have moved without its being counted. */
bool region_moves_known(struct region *region, struct page_range range);
/* The same for who can wait: -EAGAIN after some seconds. */
int region_await_moves(struct region *region, struct page_range range);
/* So often it is protected anew while others wait, if a client moves its window again and again. */
enum { MOVES_PASSES = 4 };

#endif
