/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm - what makes a clone's words of its parent's, and the parent's next writes faults
 *
 * Purpose     Page by page the clone gets what the parent has at that moment: the frame, shared;
 *             the slot or the value of what isn't in memory; a copy of what is locked. What is
 *             shared is write-protected wherever clients have mapped it. Armed again, a page's
 *             clone gets what is there then.
 * Two threads A large parent of 4 KiB pages is armed by a second thread, too, of those that work
 *             ahead of streaks, as long as nobody writes to it and that thread has nothing else to
 *             do. What isn't shared by a store a page it leaves to who makes the clone.
 * Locking     The caller holds change_lock of the parent: nothing drops or locks its pages.
 * Not here    Rounds, and the instant (clone.h).
 */
#ifndef MMB_SPACE_ARM_H
#define MMB_SPACE_ARM_H

#include "mm/space/clone.h"

enum { ARM_BATCH_BYTES = 8 << 20 }; /* of small pages, protected by one call: some 60 us */

typedef int (*protect_fn)(struct region *region, struct page_range range);

/* A frozen parent's clone waits for memory only shortly, then -ENOMEM. */
int arm_range(const struct clone_pair *pair, struct page_range range);
/* Not longer than ARM_BATCH_BYTES, which are armed without a break. */
int arm_batch(const struct clone_pair *pair, struct page_range batch, protect_fn protect);
/* Shares present pages that nobody else is at work on, from the run's start on, and returns how
 * many; they aren't protected. */
uint64_t arm_share_run(struct region *parent, struct region *clone, struct page_range run);
/* All of the parent, the first time. */
int arm_whole(const struct clone_pair *pair);

#endif
