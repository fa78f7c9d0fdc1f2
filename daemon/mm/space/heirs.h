/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heirs - a shared page is evicted: who inherits it gets the slot, too
 *
 * Purpose     The frames of a page that others inherit go like any other's, once none of them needs
 *             the frame: each is given what its owner's word is about to say, a slot of which all
 *             are users, or the value that the page repeats. When the page is read, it is shared
 *             again (rejoin.h).
 * Invariants  I1  all who inherit a page get the slot, or none does.
 *             I2  when the frame goes no entry for it is on its way into a window of theirs; those
 *                 that are there leave with the punch.
 *             I3  nobody who inherits the page gets at it before the frame is gone: a page whose
 *                 word isn't INHERIT is mapped from an ancestor nowhere.
 * Locking     family->lock, which is only tried, from heirs_begin() to heirs_end(): who has it may
 *             wait for what the evicting thread holds. The owner's pages are BUSY all the time.
 * Crash       the owner's word decides: before it says what the page becomes nothing has happened;
 *             after it, the frame is punched, and who still inherits takes the word over
 *             (clone_resume()).
 * Not here    Which pages, writing, and the owner's word (evict.c).
 */
#ifndef MMB_SPACE_HEIRS_H
#define MMB_SPACE_HEIRS_H

#include "mm/space/region.h"

enum { HEIRS_PAGES_MAX = 64 };

struct bequest {
	struct region *owner;
	struct page_range run;                /* HEIRS_PAGES_MAX at most */
	uint64_t values[HEIRS_PAGES_MAX];     /* by page of the run: what its word becomes */
	struct kin *root;                     /* heirs.c's own from here on */
	uint64_t shared;                      /* by page of the run: the slot has all its users */
};

/* Holds all who inherit the run and makes them users of the slots. False: nothing has happened. */
bool heirs_begin(struct bequest *b);
/* gone: the frames have left all windows, and the owner's words say so under BUSY; else the heirs
 * inherit as before. */
void heirs_end(struct bequest *b, bool gone);

#endif
