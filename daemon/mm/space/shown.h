/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shown - windows of clones that show an ancestor's memory
 *
 * Purpose     What such a window inherits is mapped from the ancestor's file, read-only; for what
 *             it doesn't any more its client is asked (ask.c).
 * Invariants  S1  nothing of the clone's own is installed there.
 *             S2  a page is marked SEEN before it may be mapped, and whoever ends INHERIT of such a
 *                 page waits for calls that map it (mapping.h).
 *             S3  a page of 2 MiB is shown only if taking it out again needs no memory (takeout.h);
 *                 else it is copied.
 * Locking     none; region_show_begin() around each call.
 * Not here    How a page diverges (cow.h), how windows come to show the clone's own (remap.c).
 */
#ifndef MMB_SPACE_SHOWN_H
#define MMB_SPACE_SHOWN_H

#include "mm/space/mm.h"

/* A fault there: COW_SETTLED, COW_AGAIN, or an errno: try again later. */
int shown_fault(struct mm *mm, const struct mm_target *target, uint32_t flags, uint64_t around);
/* Maps what is inherited of the range: a reader is on its way there. */
void shown_ahead(struct mm *mm, const struct mm_target *target, struct page_range range);

#endif
