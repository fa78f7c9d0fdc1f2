/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buddy_types - migratetypes of pageblocks: fallback, stealing, HIGHATOMIC
 *
 * Purpose     When a type has no block left, a whole pageblock of another type is taken over if
 *             that is worth it, else one block is used without changing its pageblock.
 * Invariants  D4 of buddy.h: a pageblock changes its type together with its free blocks.
 * After       try_to_claim_block, reserve_highatomic_pageblock of Linux 6.12 to 6.15.
 */
#include "mm/phys/buddy_lists.h"

enum { NR_FALLBACKS = 2 };

static const enum migratetype fallbacks[MIGRATE_PCPTYPES][NR_FALLBACKS] = {
	[MIGRATE_UNMOVABLE] = { MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE },
	[MIGRATE_MOVABLE] = { MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE },
	[MIGRATE_RECLAIMABLE] = { MIGRATE_UNMOVABLE, MIGRATE_MOVABLE },
};

void set_block_type(struct zone *zone, uint32_t block, enum migratetype type)
{
	uint8_t          flags = block_load(block);
	enum migratetype old = (enum migratetype)(flags & BLOCK_TYPE_MASK);

	zone->nr_blocks[old]--;
	zone->nr_blocks[type]++;
	if (old == MIGRATE_HIGHATOMIC)
		add_counter(&zone->nr_highatomic, -PAGEBLOCK_PAGES);
	if (type == MIGRATE_HIGHATOMIC)
		add_counter(&zone->nr_highatomic, PAGEBLOCK_PAGES);
	add_counter(&zone->nr_special, (type >= MIGRATE_PCPTYPES) - (old >= MIGRATE_PCPTYPES));
	atomic_store_explicit(&block_flags[block],
			      (uint8_t)((flags & ~BLOCK_TYPE_MASK) | (uint8_t)type),
			      memory_order_release);
}

/* Free blocks of a pageblock go to the lists of `type`. */
static void move_freepages_block(struct zone *zone, uint32_t block, enum migratetype type)
{
	uint32_t pfn = block_to_pfn(block), end = pfn + PAGEBLOCK_PAGES;

	while (pfn < end) {
		struct page *page = pfn_to_page(pfn);
		uint32_t     word = pg_load(page);

		if (pg_word_state(word) == PG_BUDDY && pg_word_type(word) != type) {
			del_from_free_list(zone, page);
			count_free(zone, pg_word_type(word), -(1 << pg_word_order(word)));
			count_free(zone, type, 1 << pg_word_order(word));
			add_to_free_list(zone, page, pg_word_order(word), type);
		}
		pfn += 1u << pg_word_order(word);
	}
}

void set_pageblock_migratetype_locked(struct zone *zone, uint32_t block, enum migratetype type)
{
	struct page *first = pfn_to_page(block_to_pfn(block));

	split_over_block(zone, block);
	move_freepages_block(zone, block, type);
	set_block_type(zone, block, type);
	if (!is_free_block(first, PAGEBLOCK_ORDER))
		return;
	/* Its neighbour may be of that type already (D3). */
	del_from_free_list(zone, first);
	count_free(zone, type, -PAGEBLOCK_PAGES);
	buddy_free_locked(zone, first, PAGEBLOCK_ORDER);
}

/* What a pageblock is made of, in frames. */
struct block_use {
	unsigned int nr_free, nr_movable; /* movable: granted or on a pageset as such */
};

static struct block_use count_block_use(uint32_t block)
{
	uint32_t         pfn = block_to_pfn(block), end = pfn + PAGEBLOCK_PAGES;
	struct block_use use = { 0, 0 };

	while (pfn < end) {
		uint32_t     word = pg_load(pfn_to_page(pfn));
		unsigned int nr = 1u << pg_word_order(word);

		if (pg_word_state(word) == PG_BUDDY)
			use.nr_free += nr;
		else if (pg_word_state(word) != PG_TAIL && pg_word_type(word) == MIGRATE_MOVABLE)
			use.nr_movable += nr;
		pfn += nr;
	}
	return use;
}

/* Takes the pageblock of a free block over if most of it is free or of a like kind. */
static bool try_to_claim_block(struct zone *zone, struct page *page, enum migratetype type)
{
	uint32_t         block = pfn_to_block(page_to_pfn(page));
	enum migratetype old = pfn_migratetype(page_to_pfn(page));
	unsigned int     order = pg_order(page), alike;
	struct block_use use;

	if (order >= PAGEBLOCK_ORDER) {
		del_from_free_list(zone, page);
		for (uint32_t i = 0; i < 1u << (order - PAGEBLOCK_ORDER); i++)
			set_block_type(zone, block + i, type);
		add_to_free_list(zone, page, order, type);
		zone->events.nr_steal++;
		return true;
	}
	zone_boost_watermark_locked(zone);
	use = count_block_use(block);
	if (type == MIGRATE_MOVABLE)
		alike = use.nr_movable;
	else
		alike = old == MIGRATE_MOVABLE ? PAGEBLOCK_PAGES - use.nr_free - use.nr_movable : 0;
	if (use.nr_free + alike < PAGEBLOCK_PAGES / 2)
		return false;
	set_pageblock_migratetype_locked(zone, block, type);
	zone->events.nr_steal++;
	return true;
}

/* Splitting a small block of another type off for movable memory does little harm, since it can
 * move away again; unmovable memory better gets a pageblock of its own. */
static bool is_worth_claiming(unsigned int order, enum migratetype type)
{
	return order >= PAGEBLOCK_ORDER / 2 || type != MIGRATE_MOVABLE;
}

static struct page *first_fallback(struct zone *zone, unsigned int order, enum migratetype type)
{
	for (int i = 0; i < NR_FALLBACKS; i++) {
		struct list_head *list = &zone->free_area[order].free_list[fallbacks[type][i]];

		if (!list_empty(list))
			return list_first_entry(list, struct page, lru);
	}
	return NULL;
}

bool claim_fallback_block(struct zone *zone, unsigned int order, enum migratetype type)
{
	/* Largest first: a big block means that much of its pageblock is free. */
	for (unsigned int o = MAX_ORDER + 1; o-- > order;) {
		struct page *page = first_fallback(zone, o, type);

		if (!page)
			continue;
		if (!is_worth_claiming(o, type))
			return false;
		if (try_to_claim_block(zone, page, type))
			return true;
	}
	return false;
}

struct page *find_fallback_block(struct zone *zone, unsigned int order, enum migratetype type)
{
	for (unsigned int o = order; o <= MAX_ORDER; o++) {
		struct page *page = first_fallback(zone, o, type);

		if (page) {
			zone->events.nr_fallback++;
			return page;
		}
	}
	return NULL;
}

void reserve_highatomic_locked(struct zone *zone, struct page *page)
{
	uint32_t block = pfn_to_block(page_to_pfn(page));
	uint64_t most = round_up(zone->managed / 100, PAGEBLOCK_PAGES);

	if (zone->nr_highatomic + PAGEBLOCK_PAGES > max_t(uint64_t, most, PAGEBLOCK_PAGES))
		return;
	if (pfn_migratetype(page_to_pfn(page)) < MIGRATE_PCPTYPES)
		set_pageblock_migratetype_locked(zone, block, MIGRATE_HIGHATOMIC);
}

bool unreserve_highatomic_locked(struct zone *zone)
{
	for (unsigned int order = 0; order <= MAX_ORDER; order++) {
		struct list_head *list = &zone->free_area[order].free_list[MIGRATE_HIGHATOMIC];
		struct page      *page;

		if (list_empty(list))
			continue;
		page = list_first_entry(list, struct page, lru);
		set_pageblock_migratetype_locked(zone, pfn_to_block(page_to_pfn(page)),
						 MIGRATE_MOVABLE);
		return true;
	}
	return false;
}
