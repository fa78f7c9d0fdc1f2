/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swapin - brings pages back from their slots
 *
 * Purpose     A page whose word is SWAPPED or SAME_FILLED gets a frame and its contents again, and
 *             its neighbours with it where the caller wants them.
 * Invariants  I1  the page is checked against its checksum before its word says PRESENT; a page
 *                 that can't be read or fails the check is POISONED, alone, and keeps its slot.
 *                 What the host is too short to read, or to write to its frame, stays out.
 *             I2  what was only read keeps its slot and is CLEAN.
 *             I3  between claiming a page and making its frame, operations on mappings that were
 *                 begun before are waited for: one that saw the page as it was before it was
 *                 evicted would map the new frame while it is empty.
 * Locking     BUSY of each page; waits for the disk with nothing else held.
 * Crash       a word left BUSY over SWAPPED keeps its slot: the frame is punched and read again.
 * Not here    Waiting threads (waiter.h), making room (reclaim.h).
 */
#ifndef MMB_SPACE_SWAPIN_H
#define MMB_SPACE_SWAPIN_H

#include "mm/space/swapper.h"

struct swap_in_request {
	struct region *region;
	struct page_range range; /* the first one is wanted, the others are a wish */
	bool write;              /* they are about to be written: their slots are free at once */
};
/* 0, with the pages that came in *run; -EAGAIN: the first isn't swapped, or
 * was just being mapped: look again; -ENOMEM: no
 * frame, or nothing to read it with; -EIO: it is lost, and poisoned. */
int region_swap_in(struct swapper *s, const struct swap_in_request *request,
		   struct page_range *run);

/* One page of 4 KiB in two steps, for who doesn't wait for the disk between them. */
struct swap_claim {
	struct region *region;
	struct swap_item item;
	int node;
};
/* The page is ours, charged, and *io says what to read. -EAGAIN: it is in no slot, look again;
 * -ENOMEM: no room. */
int region_swap_claim(struct region *region, uint64_t page, struct swap_claim *claim,
		      struct swap_page *io);
/* Ends the claim with what was read, or the error for which it wasn't: -EIO then, and the page is
 * poisoned. -ENOMEM, -EAGAIN: not now, and it is swapped as before. */
int region_swap_settle(const struct swap_claim *claim, const void *bytes, int error, bool write);

#endif
