/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_buddy - buddy.c, buddy_types.c, buddy_validate.c and page.c: splitting, merging, types
 */
#include "mm/phys/buddy.h"

#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"

static struct zone *zone_of(uint64_t mib, uint32_t present_blocks)
{
	struct zone      *zone = phys_zone(0, mib);
	enum grow_failure why;

	for (uint32_t i = 0; i < present_blocks; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	return zone;
}

static struct page *take(struct zone *zone, unsigned int order, enum migratetype type,
			 unsigned int flags)
{
	struct page *page;

	mutex_lock(&zone->lock);
	page = buddy_alloc_locked(zone, order, type, flags);
	if (page)
		pg_store(page, pg_word(PG_ALLOCATED, order, type));
	mutex_unlock(&zone->lock);
	return page;
}

static void give(struct zone *zone, struct page *page, unsigned int order)
{
	mutex_lock(&zone->lock);
	buddy_free_locked(zone, page, order);
	mutex_unlock(&zone->lock);
}

static void set_type(struct zone *zone, uint32_t pfn, enum migratetype type)
{
	mutex_lock(&zone->lock);
	set_pageblock_migratetype_locked(zone, pfn_to_block(pfn), type);
	mutex_unlock(&zone->lock);
}

static uint64_t nr_free_blocks(struct zone *zone, unsigned int order)
{
	uint64_t nr = 0;

	for (int type = 0; type < MIGRATE_TYPES; type++)
		nr += zone->free_area[order].nr_free[type];
	return nr;
}

static void blocks_split_and_merge(void)
{
	struct zone *zone;
	struct page *a, *b;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 1);
	a = take(zone, 0, MIGRATE_MOVABLE, 0);
	for (unsigned int order = 0; order < PAGEBLOCK_ORDER; order++)
		EXPECT_EQ(nr_free_blocks(zone, order), 1);
	EXPECT_EQ(nr_free_blocks(zone, PAGEBLOCK_ORDER), 0);
	b = take(zone, 3, MIGRATE_MOVABLE, 0);
	EXPECT(is_aligned(page_to_pfn(b), 8));
	EXPECT_EQ(zone_free_pages_nr(zone), 512 - 9);
	phys_expect_valid();
	give(zone, b, 3);
	give(zone, a, 0);
	EXPECT_EQ(nr_free_blocks(zone, PAGEBLOCK_ORDER), 1);
	phys_zone_end(zone);
	phys_stop();
}

static void two_pageblocks_merge_only_with_each_other(void)
{
	struct zone *zone;
	struct page *page;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 3);
	EXPECT_EQ(nr_free_blocks(zone, MAX_ORDER), 1);
	EXPECT_EQ(nr_free_blocks(zone, PAGEBLOCK_ORDER), 1);
	page = take(zone, MAX_ORDER, MIGRATE_MOVABLE, 0);
	EXPECT(is_aligned(page_to_pfn(page), 1024));
	EXPECT(take(zone, MAX_ORDER, MIGRATE_MOVABLE, 0) == NULL);
	phys_expect_valid();
	give(zone, page, MAX_ORDER);
	EXPECT_EQ(nr_free_blocks(zone, MAX_ORDER), 1);
	phys_zone_end(zone);
	phys_stop();
}

static void fallback_takes_a_whole_pageblock_over(void)
{
	struct zone *zone;
	struct page *page;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 2);
	EXPECT_EQ(zone->nr_blocks[MIGRATE_MOVABLE], 2);
	page = take(zone, 0, MIGRATE_UNMOVABLE, 0);
	EXPECT(page != NULL);
	EXPECT_EQ(pfn_migratetype(page_to_pfn(page)), MIGRATE_UNMOVABLE);
	EXPECT_EQ(zone->events.nr_steal, 1);
	EXPECT(zone->nr_blocks[MIGRATE_UNMOVABLE] > 0);
	phys_expect_valid();
	give(zone, page, 0);
	phys_expect_valid();
	phys_zone_end(zone);
	phys_stop();
}

static void movable_does_not_take_over_what_is_full_of_unmovable(void)
{
	struct zone *zone;
	struct page *page, *unmovable[400];

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 1);
	for (int i = 0; i < 400; i++)
		unmovable[i] = take(zone, 0, MIGRATE_UNMOVABLE, 0);
	page = take(zone, 0, MIGRATE_MOVABLE, 0);
	EXPECT(page != NULL);
	EXPECT_EQ(pfn_migratetype(page_to_pfn(page)), MIGRATE_UNMOVABLE);
	EXPECT_EQ(zone->events.nr_fallback, 1);
	phys_expect_valid();
	give(zone, page, 0);
	for (int i = 0; i < 400; i++)
		give(zone, unmovable[i], 0);
	EXPECT_EQ(nr_free_blocks(zone, PAGEBLOCK_ORDER), 1);
	phys_zone_end(zone);
	phys_stop();
}

static void isolated_pageblocks_are_not_granted(void)
{
	struct zone *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 1);
	set_type(zone, zone->start_pfn, MIGRATE_ISOLATE);
	for (int type = 0; type < MIGRATE_PCPTYPES; type++)
		EXPECT(take(zone, 0, (enum migratetype)type, ALLOC_CMA | ALLOC_HIGHATOMIC) == NULL);
	phys_expect_valid();
	set_type(zone, zone->start_pfn, MIGRATE_MOVABLE);
	phys_zone_end(zone);
	phys_stop();
}

static void cma_serves_movable_only(void)
{
	struct zone *zone;
	struct page *page;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 1);
	set_type(zone, zone->start_pfn, MIGRATE_CMA);
	EXPECT_EQ(zone->nr_free_cma, 512);
	EXPECT(take(zone, 0, MIGRATE_UNMOVABLE, ALLOC_CMA) == NULL);
	EXPECT(take(zone, 0, MIGRATE_MOVABLE, 0) == NULL);
	page = take(zone, 0, MIGRATE_MOVABLE, ALLOC_CMA);
	EXPECT(page != NULL);
	EXPECT_EQ(zone->nr_free_cma, 511);
	EXPECT(!zone_watermark_ok(zone, 0, ALLOC_WMARK_MIN));
	EXPECT(zone_watermark_ok(zone, 0, ALLOC_WMARK_MIN | ALLOC_CMA));
	phys_expect_valid();
	give(zone, page, 0);
	EXPECT_EQ(zone->nr_free_cma, 512);
	phys_zone_end(zone);
	phys_stop();
}

static void pageblocks_of_special_types_do_not_merge_with_others(void)
{
	struct zone *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 2);
	EXPECT_EQ(nr_free_blocks(zone, MAX_ORDER), 1);
	set_type(zone, zone->start_pfn, MIGRATE_CMA);
	EXPECT_EQ(nr_free_blocks(zone, MAX_ORDER), 0);
	EXPECT_EQ(nr_free_blocks(zone, PAGEBLOCK_ORDER), 2);
	phys_expect_valid();
	set_type(zone, zone->start_pfn, MIGRATE_MOVABLE);
	EXPECT_EQ(nr_free_blocks(zone, MAX_ORDER), 1);
	phys_zone_end(zone);
	phys_stop();
}

static void highatomic_is_kept_for_who_may_use_it(void)
{
	struct zone *zone;
	struct page *page;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 1);
	page = take(zone, 4, MIGRATE_UNMOVABLE, ALLOC_HIGHATOMIC);
	mutex_lock(&zone->lock);
	reserve_highatomic_locked(zone, page);
	mutex_unlock(&zone->lock);
	EXPECT_EQ(zone->nr_highatomic, PAGEBLOCK_PAGES);
	EXPECT(take(zone, 0, MIGRATE_UNMOVABLE, 0) == NULL);
	give(zone, page, 4);
	page = take(zone, 4, MIGRATE_UNMOVABLE, ALLOC_HIGHATOMIC);
	EXPECT(page != NULL);
	phys_expect_valid();
	give(zone, page, 4);
	mutex_lock(&zone->lock);
	EXPECT(unreserve_highatomic_locked(zone));
	EXPECT(!unreserve_highatomic_locked(zone));
	mutex_unlock(&zone->lock);
	EXPECT_EQ(zone->nr_highatomic, 0);
	phys_expect_valid();
	phys_zone_end(zone);
	phys_stop();
}

static void bulk_gives_enough_in_few_pieces(void)
{
	struct bulk_request request = { .order = 1, .nr = 100, .type = MIGRATE_MOVABLE };
	struct list_head    list = LIST_HEAD_INIT(list);
	struct zone *zone;
	struct page *page, *next;
	unsigned int nr = 0, pieces = 0;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 1);
	mutex_lock(&zone->lock);
	EXPECT_EQ(buddy_alloc_bulk_locked(zone, &request, &list), 100);
	EXPECT_EQ(zone_free_pages_nr(zone), 312);
	list_for_each_entry(page, &list, lru) {
		EXPECT_EQ(pg_state(page), PG_PCP);
		EXPECT(pg_order(page) >= 1);
		EXPECT(is_aligned(page_to_pfn(page), 1u << pg_order(page)));
		nr += 1u << (pg_order(page) - 1);
		pieces++;
	}
	EXPECT_EQ(nr, 100);
	EXPECT_EQ(pieces, 3); /* 64, 32 and 4 */
	request.nr = 1000;
	EXPECT_EQ(buddy_alloc_bulk_locked(zone, &request, &list), 156);
	list_for_each_entry_safe(page, next, &list, lru)
		buddy_free_locked(zone, page, pg_order(page));
	mutex_unlock(&zone->lock);
	EXPECT_EQ(nr_free_blocks(zone, PAGEBLOCK_ORDER), 1);
	phys_zone_end(zone);
	phys_stop();
}

static void any_frame_leads_to_its_head(void)
{
	struct zone *zone;
	struct page *page;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = zone_of(16, 2);
	page = take(zone, 6, MIGRATE_MOVABLE, 0);
	for (int i = 0; i < 64; i++)
		EXPECT(page_head(page + i) == page);
	EXPECT(page_head(page + 64) != page);
	EXPECT_EQ(pg_state(page_head(page + 64)), PG_BUDDY);
	give(zone, page, 6);
	EXPECT_EQ(pg_order(page_head(pfn_to_page(zone->start_pfn + 1023))), MAX_ORDER);
	phys_zone_end(zone);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "blocks split and merge", blocks_split_and_merge },
	{ "two pageblocks merge only with each other", two_pageblocks_merge_only_with_each_other },
	{ "fallback takes a whole pageblock over", fallback_takes_a_whole_pageblock_over },
	{ "movable doesn't take over what is full of unmovable",
	  movable_does_not_take_over_what_is_full_of_unmovable },
	{ "isolated pageblocks are not granted", isolated_pageblocks_are_not_granted },
	{ "CMA serves movable only", cma_serves_movable_only },
	{ "pageblocks of special types don't merge with others",
	  pageblocks_of_special_types_do_not_merge_with_others },
	{ "HIGHATOMIC is kept for who may use it", highatomic_is_kept_for_who_may_use_it },
	{ "bulk gives enough in few pieces", bulk_gives_enough_in_few_pieces },
	{ "any frame leads to its head", any_frame_leads_to_its_head },
};
TEST_MAIN(cases)
