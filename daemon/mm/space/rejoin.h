/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rejoin - a shared page that was evicted is read once, and shared again
 *
 * Purpose     Evicted, a page is in one slot, and all who shared it are users of that (heirs.h).
 *             Who looks at it first has it read into the home of the oldest living ancestor that
 *             is a user of the slot, too, and inherits it from there, as does each of the others
 *             below that one when it touches the page.
 * Invariants  J1  the ancestor's page is CLEAN with that slot when it is inherited: it is what the
 *                 slot has, and protected wherever it is mapped.
 *             J2  nobody inherits from a closed ancestor again (K3 of lineage.h), nor from one in
 *                 another pool, whose charge it would be.
 *             J3  nobody begins to inherit while the pages of either region are being dropped,
 *                 locked, rolled back or cloned.
 * Who reads   Who writes the page first reads it for itself, if it isn't in memory already: it
 *             shares it no more. Who has no such ancestor reads it for itself, too.
 * Locking     family->lock; inside it change_lock of both and BUSY of both pages, which are only
 *             tried: whoever has them may wait for the family.
 * Crash       the ancestor's word says SHARED before the heir's says INHERIT.
 * Not here    How a page comes from its slot (swapin.h).
 */
#ifndef MMB_SPACE_REJOIN_H
#define MMB_SPACE_REJOIN_H

#include "mm/space/swapin.h"

/* From the first page of the range on, as many as an ancestor has in memory are inherited from it.
 * How many. */
uint64_t rejoin_run(struct region *region, struct page_range range);
/* An ancestor's page is in the same slot: whoever reads the page waits for that one. */
bool rejoin_has_source(struct region *region, uint64_t page);
/* As region_swap_in() of the ancestor's pages; -EAGAIN also after a while in which somebody else
 * was reading the first one. -ENOENT: there is no ancestor, or no room in its home. */
int rejoin_swap_in(struct swapper *s, const struct swap_in_request *request,
		   struct page_range *run);

#endif
