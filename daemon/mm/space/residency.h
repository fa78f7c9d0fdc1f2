/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency - the parts of a page's coming and going that swapping shares
 *
 * Purpose     Charges, files and words of claimed runs, for residency.c, evict.c and swapin.c; what
 *             the others call is in region.h.
 * Locking     the caller holds BUSY of the pages, where pages are meant.
 */
#ifndef MMB_SPACE_RESIDENCY_H
#define MMB_SPACE_RESIDENCY_H

#include "mm/space/region.h"

/* Charges pages that are about to appear on the node, whose quota is taken. -ENOMEM: the pool is at
 * its limit, or the stock has no free frame; something must be evicted first. */
int region_charge(struct region *region, int node, uint64_t nr);
/* Of pages that exist already, after a restart: what is fixed may have taken the margin since they
 * were charged. */
int region_recharge(struct region *region, int node, uint64_t nr);
/* Undoes it after the file has shrunk, or not grown; quota is not touched. */
void region_uncharge(struct region *region, int node, uint64_t nr);

/* A toucher waits for its page alone, and gets it sooner if the kernel clears it while mapping. */
enum populate_purpose { FOR_A_FAULT, FOR_LATER, FOR_A_COPY };
int region_populate_file(struct region *region, struct page_range run, int node,
			 enum populate_purpose why);
int region_punch(struct region *region, struct page_range run);

/* Frames were refused for what was promised: as for a fault, others may take what is freed for it,
 * but not for ever. True: try again. tries: how often nothing could be freed. */
bool region_try_again(struct region *region, unsigned int *tries);

/* A word doesn't name the slot of this region's page any more. */
void region_free_slot(struct region *region, uint32_t slot);
/* None ever will: of nr_writing (R5). retired: the slot itself is nobody's any more. */
void region_drop_slot(struct region *region, uint32_t slot, bool retired);
/* Becomes one more user of it. 0, or why it can't. */
int region_share_slot(struct region *region, uint32_t slot);
/* The same where the slot is another region's, whom the pool's swap_max mustn't hold up. */
int region_inherit_slot(struct region *region, uint32_t slot);
/* An entry was missing, or protected, for a page that is there: it is in use. */
void region_note_use(struct region *region, uint64_t page);
/* Words of the region in states that are neither present nor empty: +1, -1. */
void region_count_state(struct region *region, enum page_state state, int64_t pages);

#endif
