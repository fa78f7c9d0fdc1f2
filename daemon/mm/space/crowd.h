/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd - which neighbours of a swapped page come along, because the place is in use
 *
 * Purpose     Where the working set moves to, page after page comes back by a read of its own. A
 *             region that is used evenly has faults on swapped pages evenly; where some place
 *             has several times as many, what is still out there will be wanted soon.
 * Invariants  D1  faults are counted by place, and count half as soon as there are
 *                 CROWD_FAULTS of them: what was long ago is forgotten.
 *             D2  a page that nobody has asked for isn't active for coming back.
 *             D3  some of these pages stay unmapped, so that it shows whether they are of use:
 *                 the first touch of one is won, one that is evicted without is lost. While that
 *                 doesn't pay, one time in CROWD_TRIAL is tried. Around a write all stay unmapped:
 *                 mapped, and protected, they would need as many faults to be written.
 * Locking     none: counters, and what is said is a guess.
 * Not here    Streaks of neighbours in order (streak.c), reading (reader.c).
 */
#ifndef MMB_SPACE_CROWD_H
#define MMB_SPACE_CROWD_H

#include "mm/space/mm.h"

enum {
	CROWD_PLACE = 512,   /* pages */
	CROWD_FAULTS = 2048,
	CROWD_LEAST = 8,     /* faults at a place, */
	CROWD_TIMES = 3,     /* and so many times its part of all */
	CROWD_READS = 16,
	CROWD_REACH = 64,    /* pages to either side */
	CROWD_UNMAPPED = 4,  /* one in so many, D3 */
	CROWD_SCORE_MAX = 1024,
	CROWD_WORTH = 2,     /* a read that is saved pays for so many useless pages */
	CROWD_TRIAL = 64,
};

struct crowd {
	uint32_t nr;
	uint64_t pages[CROWD_READS];
};

/* The target's page, which is out, was touched. The pages that are to come with it: swapped ones of
 * the place that the window shows, the nearest first; none unless the place is crowded. */
void crowd_fault(const struct mm_target *target, struct crowd *out);
/* D3 */
void crowd_won(struct region *region);
void crowd_lost(struct region *region);

#endif
