/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buddy - lists, splitting, merging
 *
 * Purpose     See buddy.h. Blocks freed below zone->pack_below go to the front of their list,
 *             others to the end, so that granted frames gather at low addresses and high
 *             pageblocks become empty.
 * Not here    Fallback between types, HIGHATOMIC (buddy_types.c), validation (buddy_validate.c).
 */
#include "mm/phys/buddy.h"

#include "mm/phys/buddy_lists.h"

static void expand(struct zone *zone, struct page *page, unsigned int low, unsigned int high,
		   enum migratetype type)
{
	while (high > low) {
		high--;
		add_to_free_list(zone, page + (1u << high), high, type);
		zone->events.nr_split++;
	}
}

/* Takes a free block off its list and keeps its first 2^keep frames. */
static struct page *del_and_expand(struct zone *zone, struct page *page, unsigned int keep)
{
	uint32_t word = pg_load(page);

	del_from_free_list(zone, page);
	expand(zone, page, keep, pg_word_order(word), pg_word_type(word));
	count_free(zone, pg_word_type(word), -(int64_t)(1u << keep));
	return page;
}

/* The smallest block of at least `order`, cut down to `keep` if it is larger; *got: its order.
 * One that lies low is taken before a smaller one that lies high: high pageblocks shall empty. */
static struct page *rmqueue_smallest(struct zone *zone, unsigned int order, unsigned int keep,
				     enum migratetype type, unsigned int *got)
{
	struct page *page = NULL, *found = NULL;

	for (unsigned int o = order; o <= MAX_ORDER; o++) {
		struct list_head *list = &zone->free_area[o].free_list[type];

		if (list_empty(list))
			continue;
		page = list_first_entry(list, struct page, lru);
		if (!found || page_to_pfn(page) < zone->pack_below)
			found = page;
		if (page_to_pfn(found) < zone->pack_below)
			break;
	}
	if (!found)
		return NULL;
	*got = min_t(unsigned int, pg_order(found), keep);
	return del_and_expand(zone, found, *got);
}

/* The order asked for, or up to `keep` when that comes at no cost; *got: which. */
static struct page *rmqueue_any(struct zone *zone, unsigned int order, unsigned int keep,
				enum migratetype type, unsigned int flags, unsigned int *got)
{
	struct page *page = NULL;
	bool         cma = type == MIGRATE_MOVABLE && (flags & ALLOC_CMA);

	/* Balance movable allocations between both, so that CMA isn't used last. */
	if (cma && zone->nr_free_cma > zone->nr_free / 2)
		page = rmqueue_smallest(zone, order, keep, MIGRATE_CMA, got);
	if (!page)
		page = rmqueue_smallest(zone, order, keep, type, got);
	if (!page && cma)
		page = rmqueue_smallest(zone, order, keep, MIGRATE_CMA, got);
	if (!page && claim_fallback_block(zone, order, type))
		page = rmqueue_smallest(zone, order, keep, type, got);
	if (!page) {
		page = find_fallback_block(zone, order, type);
		*got = order;
		if (page)
			del_and_expand(zone, page, order);
	}
	return page;
}

struct page *buddy_alloc_locked(struct zone *zone, unsigned int order, enum migratetype type,
				unsigned int flags)
{
	struct page *page = NULL;
	unsigned int got;

	if (flags & ALLOC_HIGHATOMIC)
		page = rmqueue_smallest(zone, order, order, MIGRATE_HIGHATOMIC, &got);
	if (!page)
		page = rmqueue_any(zone, order, order, type, flags, &got);
	/* Order-0 that can't wait may use what is kept for high orders, before it fails. */
	if (!page && (flags & ALLOC_NON_BLOCK))
		page = rmqueue_smallest(zone, order, order, MIGRATE_HIGHATOMIC, &got);
	return page;
}

static unsigned int floor_log2(unsigned int n)
{
	return 31 - (unsigned int)__builtin_clz(n);
}

unsigned int buddy_alloc_bulk_locked(struct zone *zone, const struct bulk_request *request,
				     struct list_head *list)
{
	unsigned int order = request->order, nr = 0;

	while (nr < request->nr) {
		unsigned int keep = order + floor_log2(request->nr - nr), got;
		struct page *page = rmqueue_any(zone, order, min_t(unsigned int, keep, MAX_ORDER),
						request->type, request->flags, &got);

		if (!page)
			break;
		pg_store(page, pg_word(PG_PCP, got, request->type));
		list_add_tail(&page->lru, list);
		nr += 1u << (got - order);
	}
	return nr;
}

/* Whether the block at pfn may merge with its buddy, which is in another pageblock, and makes them
 * one type. */
static bool merge_across_blocks(struct zone *zone, uint32_t buddy_pfn, enum migratetype type)
{
	uint32_t         block = pfn_to_block(buddy_pfn);
	enum migratetype buddy_type;

	if (!zone_has_pfn(zone, buddy_pfn) || !block_is_present(block))
		return false;
	buddy_type = pfn_migratetype(buddy_pfn);
	if (buddy_type == type)
		return true;
	if (buddy_type >= MIGRATE_PCPTYPES || type >= MIGRATE_PCPTYPES)
		return false;
	if (!is_free_block(pfn_to_page(buddy_pfn), PAGEBLOCK_ORDER))
		return false;
	set_block_type(zone, block, type);
	return true;
}

void buddy_free_locked(struct zone *zone, struct page *page, unsigned int order)
{
	uint32_t         pfn = page_to_pfn(page);
	enum migratetype type = pfn_migratetype(pfn);

	DCHECK(is_aligned(pfn, 1u << order) && zone_has_pfn(zone, pfn));
	if (order > PAGEBLOCK_ORDER) {
		/* Its pageblocks may have got different types meanwhile; if not, they merge. */
		buddy_free_locked(zone, page, PAGEBLOCK_ORDER);
		buddy_free_locked(zone, page + PAGEBLOCK_PAGES, PAGEBLOCK_ORDER);
		return;
	}
	pg_store(page, pg_word(PG_TAIL, 0, 0));
	count_free(zone, type, 1 << order);
	while (order < MAX_ORDER) {
		uint32_t     buddy_pfn = pfn ^ 1u << order;
		struct page *buddy = pfn_to_page(buddy_pfn);

		if (order >= PAGEBLOCK_ORDER && !merge_across_blocks(zone, buddy_pfn, type))
			break;
		if (!is_free_block(buddy, order))
			break;
		del_from_free_list(zone, buddy);
		pfn &= buddy_pfn;
		order++;
		zone->events.nr_merge++;
	}
	add_to_free_list(zone, pfn_to_page(pfn), order, type);
}

void buddy_add_block_locked(struct zone *zone, uint32_t block)
{
	atomic_store_explicit(&block_flags[block], BLOCK_PRESENT | MIGRATE_MOVABLE,
			      memory_order_release);
	zone->nr_blocks[MIGRATE_MOVABLE]++;
	buddy_free_locked(zone, pfn_to_page(block_to_pfn(block)), PAGEBLOCK_ORDER);
}

/* The free block of order 9 or 10 that the pageblock is, or is half of; NULL. */
static struct page *free_block_over(uint32_t block)
{
	struct page *head = page_head(pfn_to_page(block_to_pfn(block)));

	if (!head || pg_state(head) != PG_BUDDY || pg_order(head) < PAGEBLOCK_ORDER)
		return NULL;
	return head;
}

bool buddy_block_is_empty_locked(struct zone *zone, uint32_t block)
{
	if (!block_is_present(block) ||
	    pfn_migratetype(block_to_pfn(block)) >= MIGRATE_PCPTYPES)
		return false;
	return free_block_over(block) != NULL;
}

void split_over_block(struct zone *zone, uint32_t block)
{
	struct page *head = free_block_over(block);
	uint32_t     word;

	if (!head || pg_order(head) == PAGEBLOCK_ORDER)
		return;
	word = pg_load(head);
	del_from_free_list(zone, head);
	add_to_free_list(zone, head, PAGEBLOCK_ORDER, pg_word_type(word));
	add_to_free_list(zone, head + PAGEBLOCK_PAGES, PAGEBLOCK_ORDER, pg_word_type(word));
}

bool buddy_remove_block_locked(struct zone *zone, uint32_t block)
{
	struct page     *page = pfn_to_page(block_to_pfn(block));
	enum migratetype type = pfn_migratetype(block_to_pfn(block));

	if (!buddy_block_is_empty_locked(zone, block))
		return false;
	split_over_block(zone, block);
	del_from_free_list(zone, page);
	count_free(zone, type, -PAGEBLOCK_PAGES);
	zone->nr_blocks[type]--;
	atomic_store_explicit(&block_flags[block], 0, memory_order_release);
	return true;
}
