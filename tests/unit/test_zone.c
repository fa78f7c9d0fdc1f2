/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_zone - zone.c and zone_grow.c: pageblocks come and go, watermarks follow
 */
#include "mm/phys/zone.h"

#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/phys/buddy.h"
#include "os/os.h"

static void growing_makes_the_lowest_pageblock_present(void)
{
	struct stock_snapshot before, after;
	enum grow_failure     why;
	struct zone          *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 16);
	EXPECT_EQ(zone->present, 0);
	stock_snapshot(0, STOCK_BASE, &before);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	EXPECT_EQ(why, GROW_OK);
	EXPECT(block_is_present(pfn_to_block(zone->start_pfn)));
	EXPECT_EQ(zone->present, 512);
	EXPECT_EQ(zone->managed, 512);
	stock_snapshot(0, STOCK_BASE, &after);
	/* A pageblock and its 32 KiB of struct pages. */
	EXPECT_EQ(after.present - before.present, 512 + 8);
	EXPECT(((const char *)pfn_to_virt(zone->start_pfn))[4096] == 0);
	phys_zone_end(zone);
	phys_stop();
}

static void the_largest_order_grows_by_an_aligned_pair(void)
{
	enum grow_failure why;
	struct zone      *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 8);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	EXPECT_EQ(zone_grow(zone, MAX_ORDER, &why), 0);
	EXPECT(!block_is_present(pfn_to_block(zone->start_pfn) + 1));
	EXPECT_EQ(zone_grow(zone, MAX_ORDER, &why), -ENOSPC);
	EXPECT_EQ(why, GROW_FULL);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	EXPECT(block_is_present(pfn_to_block(zone->start_pfn) + 1));
	EXPECT_EQ(zone_grow(zone, 0, &why), -ENOSPC);
	phys_expect_valid();
	phys_zone_end(zone);
	phys_stop();
}

static void shrinking_gives_the_highest_back_and_keeps_some(void)
{
	struct stock_snapshot before, after;
	enum grow_failure     why;
	struct zone          *zone;
	struct page          *page;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 32);
	stock_snapshot(0, STOCK_BASE, &before);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	page = rmqueue(zone, MAX_ORDER, MIGRATE_MOVABLE, 0);
	EXPECT(page != NULL);
	EXPECT_EQ(zone_nr_empty_blocks(zone), 6);
	EXPECT_EQ(zone_shrink(zone, 2, 100), 4);
	EXPECT_EQ(zone->present, 4 * 512);
	EXPECT(!block_is_present(pfn_to_block(zone->start_pfn) + 7));
	phys_expect_valid();
	EXPECT_EQ(zone_shrink(zone, 0, 1), 1);
	EXPECT_EQ(zone_shrink(zone, 0, 100), 1);
	EXPECT_EQ(zone_shrink(zone, 0, 100), 0);
	free_unref_page(zone, page, MAX_ORDER);
	EXPECT_EQ(zone_shrink(zone, 0, 100), 2);
	stock_snapshot(0, STOCK_BASE, &after);
	EXPECT_EQ(after.present, before.present);
	EXPECT_EQ(after.committed, before.committed);
	phys_zone_end(zone);
	phys_stop();
}

static void returned_memory_is_gone_from_the_file(void)
{
	enum grow_failure why;
	struct zone      *zone;

	phys_start(&(struct phys_setup){ .huge_mib = 64, .base_mib = 64 });
	zone = phys_zone(0, 32);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	EXPECT(fake_os_present(zone->section->fd, 0));
	memset(pfn_to_virt(zone->start_pfn), 1, PAGE_SIZE);
	EXPECT_EQ(zone_shrink(zone, 0, 1), 1);
	EXPECT(!fake_os_present(zone->section->fd, 0));
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	EXPECT_EQ(*(char *)pfn_to_virt(zone->start_pfn), 0);
	phys_zone_end(zone);
	phys_stop();
}

struct purse {
	uint64_t limit, used;
};

static int purse_charge(void *arg, uint64_t frames)
{
	struct purse *purse = arg;

	if (purse->used + frames > purse->limit)
		return -EDQUOT;
	purse->used += frames;
	return 0;
}

static void purse_uncharge(void *arg, uint64_t frames)
{
	((struct purse *)arg)->used -= frames;
}

static const struct zone_charge purse_ops = { purse_charge, purse_uncharge, NULL };

static void the_pool_pays_first(void)
{
	struct purse           purse = { .limit = 3 * PAGEBLOCK_PAGES };
	struct section_request section = { .name = "arena", .nr_frames = 8192,
					   .type = SECTION_ARENA, .map = true };
	struct zone_request    request = { .charge = &purse_ops, .charge_arg = &purse };
	enum grow_failure      why;
	struct zone           *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(section_add(&section, &request.section), 0);
	EXPECT_EQ(zone_new(&request, &zone), 0);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	EXPECT_EQ(zone_grow(zone, 0, &why), -EDQUOT);
	EXPECT_EQ(why, GROW_POOL);
	EXPECT_EQ(purse.used, 3 * PAGEBLOCK_PAGES);
	EXPECT_EQ(zone_shrink(zone, 1, 10), 2);
	EXPECT_EQ(purse.used, PAGEBLOCK_PAGES);
	phys_zone_end(zone);
	EXPECT_EQ(purse.used, 0);
	phys_stop();
}

static void growth_names_who_refused(void)
{
	enum grow_failure why;
	struct zone      *zone;
	uint64_t          rest;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 32);
	rest = stock_available(0, STOCK_BASE);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, rest - 512), 0);
	EXPECT_EQ(zone_grow(zone, 0, &why), -ENOMEM);
	EXPECT_EQ(why, GROW_META);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 512), 0);
	EXPECT_EQ(zone_grow(zone, 0, &why), -ENOMEM);
	EXPECT_EQ(why, GROW_COMMIT);
	stock_uncommit(0, STOCK_BASE, rest);
	fake_os_set_limit(0, fake_os_used(0, false) + 64 * 1024, 0);
	EXPECT_EQ(zone_grow(zone, 0, &why), -ENOMEM);
	EXPECT_EQ(why, GROW_HOST);
	phys_expect_valid();
	phys_zone_end(zone);
	phys_stop();
}

static void no_failing_step_of_growth_leaves_anything_behind(void)
{
	struct stock_snapshot before, after;
	enum grow_failure     why;
	struct zone          *zone;
	uint64_t              k = 1;

	phys_start(&(struct phys_setup){ .base_mib = 64, .mode = STOCK_HOLD });
	zone = phys_zone(0, 32);
	stock_snapshot(0, STOCK_BASE, &before);
	for (;; k++) {
		int r;

		inject_arm(NR_INJECT_POINTS, k, -EIO);
		r = zone_grow(zone, MAX_ORDER, &why);
		inject_arm(NR_INJECT_POINTS, 0, 0);
		if (!r)
			break;
		stock_snapshot(0, STOCK_BASE, &after);
		EXPECT_EQ(after.present, before.present);
		EXPECT_EQ(after.committed, before.committed);
		EXPECT_EQ(zone->present, 0);
		phys_expect_valid();
	}
	EXPECT(k > 5);
	phys_zone_end(zone);
	phys_stop();
}

static void a_failing_punch_puts_the_pageblock_back(void)
{
	enum grow_failure why;
	struct zone      *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 32);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	inject_arm(INJECT_PUNCH, 1, -EIO);
	EXPECT_EQ(zone_shrink(zone, 0, 10), 0);
	inject_arm(NR_INJECT_POINTS, 0, 0);
	EXPECT_EQ(zone->present, 512);
	EXPECT_EQ(zone_free_pages_nr(zone), 512);
	phys_expect_valid();
	EXPECT_EQ(zone_shrink(zone, 0, 10), 1);
	phys_zone_end(zone);
	phys_stop();
}

static void a_zone_ends_with_everything_in_it(void)
{
	enum grow_failure why;
	struct zone      *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 32);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	for (unsigned int order = MAX_ORDER + 1; order-- > 0;)
		EXPECT(rmqueue(zone, order, MIGRATE_UNMOVABLE, 0) != NULL);
	phys_zone_end(zone);
	phys_stop();
}

static void watermarks_follow_managed(void)
{
	struct zone_snapshot s;
	enum grow_failure    why;
	struct zone         *zone;

	phys_start(&(struct phys_setup){ .base_mib = 256 });
	zone = phys_zone(0, 128);
	for (int i = 0; i < 15; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	zone_snapshot(zone, &s);
	EXPECT_EQ(s.min, 0);
	for (int i = 0; i < 17; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	zone_snapshot(zone, &s);
	EXPECT_EQ(s.managed, 16384);
	EXPECT_EQ(s.min, 64);
	EXPECT_EQ(s.low, 80);
	EXPECT_EQ(s.high, 96);
	EXPECT_EQ(s.spanned, 128 * FRAMES_PER_MIB);
	EXPECT_EQ(s.pageblocks[MIGRATE_MOVABLE], 32);
	EXPECT_EQ(s.free[MIGRATE_MOVABLE][MAX_ORDER], 16);
	phys_zone_end(zone);
	phys_stop();
}

/* As vm.watermark_scale_factor: zones that there are, and those that come. */
static void a_scale_factor_widens_the_watermarks(void)
{
	struct zone_snapshot s;
	enum grow_failure    why;
	struct zone         *zone, *later;

	phys_start(&(struct phys_setup){ .base_mib = 256 });
	zone = phys_zone(0, 64);
	for (int i = 0; i < 32; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	zones_set_watermark_scale(500);
	zone_snapshot(zone, &s);
	EXPECT_EQ(s.managed, 16384);
	EXPECT_EQ(s.min, 64);
	EXPECT_EQ(s.low, 64 + 819);
	EXPECT_EQ(s.high, 64 + 2 * 819);
	EXPECT(rmqueue(zone, MAX_ORDER, MIGRATE_MOVABLE, 0) != NULL);
	while (zone_watermark_ok(zone, 4, ALLOC_WMARK_LOW))
		EXPECT(rmqueue(zone, 4, MIGRATE_MOVABLE, 0) != NULL);
	EXPECT(zone_watermark_ok(zone, 4, ALLOC_WMARK_MIN));
	later = phys_zone(0, 64);
	EXPECT_EQ(zone_grow(later, 0, &why), 0);
	zone_snapshot(later, &s);
	EXPECT_EQ(s.low, s.min + 512 * 500 / 10000);
	zones_set_watermark_scale(WATERMARK_SCALE_DEFAULT);
	zone_snapshot(zone, &s);
	EXPECT_EQ(s.low, 80);
	EXPECT(zone_watermark_ok(zone, 4, ALLOC_WMARK_LOW));
	phys_zone_end(later);
	phys_zone_end(zone);
	phys_stop();
}

static void reserves_are_for_those_who_may(void)
{
	enum grow_failure why;
	struct zone      *zone;
	unsigned int      nr = 0;

	phys_start(&(struct phys_setup){ .base_mib = 256 });
	zone = phys_zone(0, 64);
	for (int i = 0; i < 32; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	while (zone_watermark_ok(zone, 4, ALLOC_WMARK_MIN)) {
		EXPECT(rmqueue(zone, 4, MIGRATE_MOVABLE, 0) != NULL);
		nr++;
	}
	EXPECT_EQ(nr, (16384 - 64) / 16);
	EXPECT(zone_watermark_ok(zone, 4, ALLOC_WMARK_MIN | ALLOC_MIN_RESERVE));
	EXPECT(zone_watermark_ok(zone, 0, ALLOC_NO_WATERMARKS));
	EXPECT(!zone_watermark_ok(zone, 0, ALLOC_WMARK_LOW));
	phys_zone_end(zone);
	phys_stop();
}

static void counts_outlive_their_zone(void)
{
	struct zone_ended before, after;
	enum grow_failure why;
	struct zone      *zone;
	struct page      *page, *large;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone_ended_read(0, &before);
	zone = phys_zone(0, 16);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	page = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
	large = rmqueue(zone, 8, MIGRATE_MOVABLE, 0);
	EXPECT(page && large);
	free_unref_page(zone, page, 0);
	free_unref_page(zone, large, 8);
	zone_ended_read(0, &after);
	EXPECT_EQ(after.pgalloc, before.pgalloc);
	phys_zone_end(zone);
	zone_ended_read(0, &after);
	EXPECT_EQ(after.pgalloc - before.pgalloc, 257);
	EXPECT_EQ(after.pgfree - before.pgfree, 257);
	EXPECT_EQ(after.numa_hit - before.numa_hit, 2);
	phys_stop();
}

static void boot_memory_becomes_the_zones(void)
{
	struct zone_snapshot s;
	struct zone         *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 16);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1024), 0);
	EXPECT_EQ(stock_take(0, STOCK_BASE, 1024), 0);
	EXPECT_EQ(os->populate(zone->section->fd, 0, 4 << 20, OS_NODE_ANY), 0);
	EXPECT_EQ(zone_boot_add(zone, zone->start_pfn, 1024), 0);
	zone_boot_free(zone, zone->start_pfn + 3, 700);
	zone_boot_free(zone, zone->start_pfn + 800, 224);
	zone_snapshot(zone, &s);
	EXPECT_EQ(s.present, 1024);
	EXPECT_EQ(s.managed, 924);
	EXPECT_EQ(s.nr_free, 924);
	phys_expect_valid();
	phys_zone_end(zone);
	phys_stop();
}

static void freed_low_frames_are_used_first(void)
{
	enum { NR = 4096 };
	static struct page *pages[NR];
	enum grow_failure   why;
	struct zone        *zone;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	zone = phys_zone(0, 32);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	/* Orders without a pageset, so that the buddy alone decides. */
	for (int i = 0; i < NR / 16; i++)
		pages[i] = rmqueue(zone, 4, MIGRATE_MOVABLE, 0);
	for (int i = 0; i < NR / 16; i++)
		if (i % 4)
			free_unref_page(zone, pages[i], 4);
	/* Gives nothing back, but looks how much is granted now. */
	zone_shrink(zone, UINT32_MAX, 0);
	for (int i = 0; i < NR / 16; i += 4) {
		struct page *old = pages[i];

		pages[i] = rmqueue(zone, 4, MIGRATE_MOVABLE, 0);
		free_unref_page(zone, old, 4);
	}
	EXPECT_EQ(zone_nr_empty_blocks(zone), 5);
	phys_zone_end(zone);
	phys_stop();
}

/* However many zones come and go, the table holds as many as there are at once. */
static void the_lowest_free_id_is_taken(void)
{
	struct zone  *zones[4], *found;
	unsigned int  nr = 0;
	uint32_t      second;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	for (int i = 0; i < 4; i++)
		zones[i] = phys_zone(0, 2);
	second = zones[1]->id;
	for (int i = 0; i < 100; i++) {
		phys_zone_end(zones[1]);
		zones[1] = phys_zone(0, 2);
		EXPECT_EQ(zones[1]->id, second);
	}
	phys_zone_end(zones[1]);
	phys_zone_end(zones[3]);
	for (found = zone_walk_next(NULL); found; found = zone_walk_next(found))
		nr += found == zones[0] || found == zones[2];
	EXPECT_EQ(nr, 2);
	zones[1] = phys_zone(0, 2);
	EXPECT_EQ(zones[1]->id, second);
	for (int i = 0; i < 3; i++)
		phys_zone_end(zones[i]);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "growing makes the lowest pageblock present",
	  growing_makes_the_lowest_pageblock_present },
	{ "the largest order grows by an aligned pair",
	  the_largest_order_grows_by_an_aligned_pair },
	{ "shrinking gives the highest back and keeps some",
	  shrinking_gives_the_highest_back_and_keeps_some },
	{ "returned memory is gone from the file", returned_memory_is_gone_from_the_file },
	{ "the pool pays first", the_pool_pays_first },
	{ "growth names who refused", growth_names_who_refused },
	{ "no failing step of growth leaves anything behind",
	  no_failing_step_of_growth_leaves_anything_behind },
	{ "a failing punch puts the pageblock back", a_failing_punch_puts_the_pageblock_back },
	{ "a zone ends with everything in it", a_zone_ends_with_everything_in_it },
	{ "watermarks follow managed", watermarks_follow_managed },
	{ "a scale factor widens the watermarks", a_scale_factor_widens_the_watermarks },
	{ "reserves are for those who may", reserves_are_for_those_who_may },
	{ "what a zone has counted outlives it", counts_outlive_their_zone },
	{ "boot memory becomes the zone's", boot_memory_becomes_the_zones },
	{ "freed low frames are used first", freed_low_frames_are_used_first },
	{ "the lowest free id is taken", the_lowest_free_id_is_taken },
};
TEST_MAIN(cases)
