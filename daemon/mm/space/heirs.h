/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heirs - a shared page is evicted: who inherits it gets the slot, too
 *
 * Purpose     The frames of a page that others inherit go like any other's, once none of them needs
 *             the frame: each is given what its owner's word is about to say, a slot of which all
 *             are users, or the value that the page repeats. Whoever reads the page later has a
 *             frame of its own.
 * Invariants  I1  all who inherit a page get the slot, or none does.
 *             I2  when the frame goes no entry for it is on its way into a window of theirs; those
 *                 that are there leave with the punch.
 * Locking     family->lock, which is only tried: who has it may wait for what the evicting thread
 *             holds. The owner's pages are BUSY.
 * Crash       those who have got the slot keep it: it is whole, and their words name it. For the
 *             others the owner's word still says PRESENT and SHARED.
 * Not here    Which pages, writing, and the owner's word (evict.c).
 */
#ifndef MMB_SPACE_HEIRS_H
#define MMB_SPACE_HEIRS_H

#include "mm/space/region.h"

enum { HEIRS_PAGES_MAX = 64 };

/* For up to HEIRS_PAGES_MAX pages of the owner, values[] by page of the run. One bit for each page
 * that nobody inherits any more. */
uint64_t heirs_hand_down(struct region *owner, struct page_range run, const uint64_t *values);

#endif
