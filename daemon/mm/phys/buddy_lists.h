/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buddy_lists - what buddy.c and buddy_types.c share: list operations that keep D1 and D2
 *
 * Locking     all with zone->lock held.
 */
#ifndef MMB_MM_PHYS_BUDDY_LISTS_H
#define MMB_MM_PHYS_BUDDY_LISTS_H

#include "mm/phys/buddy.h"

/* One writer under the lock; readers look without it. */
static inline void add_counter(_Atomic uint64_t *counter, int64_t delta)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + (uint64_t)delta, memory_order_relaxed);
}

/* Frames come to or leave the free areas. */
static inline void count_free(struct zone *zone, enum migratetype type, int64_t frames)
{
	add_counter(&zone->nr_free, frames);
	if (unlikely(type == MIGRATE_CMA))
		add_counter(&zone->nr_free_cma, frames);
}

static inline void add_to_free_list(struct zone *zone, struct page *page, unsigned int order,
				    enum migratetype type)
{
	struct free_area *area = &zone->free_area[order];

	pg_store(page, pg_word(PG_BUDDY, order, type));
	if (page_to_pfn(page) < zone->pack_below)
		list_add(&page->lru, &area->free_list[type]);
	else
		list_add_tail(&page->lru, &area->free_list[type]);
	add_counter(&area->nr_free[type], 1);
}

/* The frames are PG_TAIL afterwards. */
static inline void del_from_free_list(struct zone *zone, struct page *page)
{
	uint32_t word = pg_load(page);

	page->lru.next->prev = page->lru.prev;
	page->lru.prev->next = page->lru.next;
	add_counter(&zone->free_area[pg_word_order(word)].nr_free[pg_word_type(word)], -1);
	pg_store(page, pg_word(PG_TAIL, 0, 0));
}

static inline bool is_free_block(const struct page *page, unsigned int order)
{
	uint32_t word = pg_load(page);

	return pg_word_state(word) == PG_BUDDY && pg_word_order(word) == order;
}

/* The type of a pageblock alone; its free blocks are the caller's business. */
void set_block_type(struct zone *zone, uint32_t block, enum migratetype type);
/* Makes a free block of order 10 over the pageblock two of order 9. */
void split_over_block(struct zone *zone, uint32_t block);

/* Turns a suitable pageblock of another type into one of `type` with a free block of at least
 * `order`; false if there is none worth it. */
bool claim_fallback_block(struct zone *zone, unsigned int order, enum migratetype type);
/* The smallest block of another type, which stays on its list; NULL. */
struct page *find_fallback_block(struct zone *zone, unsigned int order, enum migratetype type);

#endif
