/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_grow - pageblocks come into a zone and leave it
 *
 * Purpose     Growing charges the pool, commits and takes from the stock, populates vmemmap and the
 *             file, and frees the new frames into the buddy. Shrinking does the reverse to whole
 *             free pageblocks, highest first.
 * Ahead       the first pageblock of an arena may be there before its zone is: nobody's yet, but
 *             committed and taken.
 * Crash       a pageblock is in the zone while it says BLOCK_PRESENT, which is set last and cleared
 *             first: frames and struct pages of others are punched by zone_resume(), which charges
 *             what is left anew.
 * Locking     zone->grow inside; the zone lock only for moments. May wait for the host. The caller
 *             holds nothing of rank PCP or inner.
 */
#ifndef MMB_MM_PHYS_ZONE_GROW_H
#define MMB_MM_PHYS_ZONE_GROW_H

#include "mm/phys/zone.h"

enum grow_failure {
	GROW_OK,
	GROW_FULL,   /* no absent pageblock (or pair) left in the section */
	GROW_POOL,   /* the pool's limit */
	GROW_COMMIT, /* the stock's commit limit */
	GROW_META,   /* no memory for vmemmap */
	GROW_HOST,   /* the host doesn't give the pages */
	GROW_INJECTED,
};

/* One pageblock, or for order 10 two that adjoin, aligned. The new memory is zero. 0, or a negative
 * errno with its cause. */
int zone_grow(struct zone *zone, unsigned int order, enum grow_failure *why);
/* The same, unless a block of that order can be taken above the mark meanwhile: of several that
 * find a zone too small, one grows it. */
int zone_grow_to(struct zone *zone, unsigned int order, enum zone_watermark mark,
		 enum grow_failure *why);
/* For a zone that is made later: the first pageblock of its section, which is all holes, committed,
 * taken and populated. Negative errno: nothing stays. */
int zone_block_ahead(struct section *section, bool huge);
/* It isn't wanted after all. */
void zone_block_drop(struct section *section);
/* zone_new() calls it, with zone->grow held: charged to the pool, or dropped if that refuses. */
void zone_block_adopt(struct zone *zone);
/* Gives back whole free pageblocks but `keep` of them, at most `max`. Returns how many went. Frames
 * on pagesets are not looked for: drain first. */
uint32_t zone_shrink(struct zone *zone, uint32_t keep, uint32_t max);
/* Free pageblocks that zone_shrink() could give back. */
uint32_t zone_nr_empty_blocks(struct zone *zone);

#endif
