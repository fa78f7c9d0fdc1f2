/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_evict_late - what happens to a page between its being chosen and its being taken: evict.c
 */
#include "mm/space/evict.h"

#include <errno.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/map/swap.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"

enum { BASE = 0x10000000, NR = 8, SWAP_MIB = 16 };

static struct region *region;
static struct mm *mm;
static const struct page_range all = { 0, NR };

/* Pages that have been read from slots, which still have them, and aren't wanted any more. */
static void start(void)
{
	space_begin(&(struct space_options){ .swap_mib = SWAP_MIB });
	swapper_keep(true);
	region = space_region(NR, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	for (uint64_t i = 0; i < NR; i++) {
		uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)] = { i + 1 };

		space_fault(mm, BASE + (i << PAGE_SHIFT), OS_FAULT_WRITE);
		EXPECT_EQ(os->write(region->section->fd, i << PAGE_SHIFT, bytes, PAGE_SIZE), 0);
	}
	EXPECT_EQ(reclaim_range(region, all), NR);
	for (uint64_t i = 0; i < NR; i++)
		space_fault(mm, BASE + (i << PAGE_SHIFT), 0);
	evict_lazily(region, all);
	EXPECT_EQ(space_slots_used(), NR);
	EXPECT_EQ(memcg_read(region->memcg, MEMCG_SWAP), NR);
}

static void stop(void)
{
	EXPECT_EQ(space_slots_used(), 0);
	EXPECT_EQ(memcg_read(region->memcg, MEMCG_SWAP), 0);
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	space_end_swap();
}

/* It stays, with the copy that it has: the slot is somebody's still. */
static void a_page_that_is_touched_keeps_its_slot(void)
{
	const struct evict_filter filter = { .node = -1, .all_ages = true };
	struct evict_result result = { 0 };
	struct swapper *s;

	start();
	s = swapper_get(SWAPPER_WRITER);
	EXPECT(s && evict_begin(s, region));
	evict_block(s, region, all, &filter, &result);
	lru_next_generation(region_lru(region, 0));
	region_note_use(region, 2);
	evict_end(s, region, &result);
	swapper_put(s);
	EXPECT_EQ(result.nr_freed, NR - 1);
	EXPECT_EQ(space_state(region, 2), PAGE_PRESENT);
	EXPECT_EQ(word_high(word_load(region_word(region, 2))) != 0, space_slots_used() == 1);
	EXPECT_EQ(region_drop(region, all), 0);
	stop();
}

static void a_page_that_cant_be_punched_keeps_its_slot(void)
{
	start();
	inject_arm(INJECT_PUNCH, 1, -EIO);
	reclaim_range(region, all);
	inject_arm(INJECT_PUNCH, 0, 0);
	EXPECT_EQ(region_drop(region, all), 0);
	stop();
}

static const struct test_case cases[] = {
	{ "an unwanted page that is touched while it goes keeps its slot",
	  a_page_that_is_touched_keeps_its_slot },
	{ "an unwanted page that can't be punched keeps its slot",
	  a_page_that_cant_be_punched_keeps_its_slot },
};
TEST_MAIN(cases)
