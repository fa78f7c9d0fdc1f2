/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buddy - free blocks of 2^order frames, by order and migratetype, merged on free
 *
 * Purpose     Finds, splits and merges blocks; keeps types apart by pageblock, with fallback that
 *             steals whole pageblocks; keeps pageblocks for high-order atomic allocations.
 * Invariants  D1  a free block's head is PG_BUDDY with its order and list type, all other frames
 *                 of it are PG_TAIL.
 *             D2  nr_free[type] is the length of free_list[type]; zone->nr_free is the sum of all
 *                 lengths << order.
 *             D3  two free buddies of one order below MAX_ORDER are merged, unless their
 *                 pageblocks differ in type and one is ISOLATE, CMA or HIGHATOMIC.
 *             D4  free blocks of a pageblock lie on the lists of its type.
 * Locking     all with zone->lock held.
 * After       mm/page_alloc.c of Linux 6.1 to 6.12.
 */
#ifndef MMB_MM_PHYS_BUDDY_H
#define MMB_MM_PHYS_BUDDY_H

#include "mm/phys/zone.h"

/* A block, its head's state not set yet (PG_TAIL); NULL if none. flags: ALLOC_*. */
struct page *buddy_alloc_locked(struct zone *zone, unsigned int order, enum migratetype type,
				unsigned int flags);
struct bulk_request {
	unsigned int     order, nr, flags;
	enum migratetype type;
};
/* Up to nr blocks to the tail of list, still in the larger pieces they were found in: each is
 * PG_PCP with its own order. Returns how many blocks of the order asked for that makes. */
unsigned int buddy_alloc_bulk_locked(struct zone *zone, const struct bulk_request *request,
				     struct list_head *list);
/* The block must be on no list, in whatever state its head is. */
void buddy_free_locked(struct zone *zone, struct page *page, unsigned int order);

/* Changes a pageblock's type with its free blocks. ISOLATE keeps frames from being granted. */
void set_pageblock_migratetype_locked(struct zone *zone, uint32_t block, enum migratetype type);

/* After a high-order atomic allocation: its pageblock becomes HIGHATOMIC, up to 1 % of the zone. */
void reserve_highatomic_locked(struct zone *zone, struct page *page);
/* One pageblock back to MOVABLE; true if there was one with free frames. */
bool unreserve_highatomic_locked(struct zone *zone);

/* A new pageblock of type MOVABLE whose frames are PG_TAIL: into the lists. */
void buddy_add_block_locked(struct zone *zone, uint32_t block);
/* Takes the free pageblock off its list, alone if it is half of a larger block. False if it is not
 * wholly free. */
bool buddy_remove_block_locked(struct zone *zone, uint32_t block);
/* Is the whole pageblock free? */
bool buddy_block_is_empty_locked(struct zone *zone, uint32_t block);

/* D1 to D4 against struct pages, lists and counters. */
void buddy_validate_locked(struct zone *zone, struct validation *v);

#endif
