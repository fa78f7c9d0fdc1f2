/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mm - the session's address map: find, gap, merge, split, move
 */
#include <errno.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "base/list.h"

enum { BASE = 0x10000000 };

static struct region *region;
static struct mm *mm;

static void begin(uint64_t nr_pages)
{
	space_begin(&(struct space_options){ 0 });
	region = space_region(nr_pages, PAGE_SHIFT);
	mm = space_mm();
}

static void end(void)
{
	space_expect_valid(region, mm);
	space_close_mm(mm);
	region_put(region);
	regions_flush();
	space_end();
}

/* The page an address means, -1: none. */
static int64_t page_at(uint64_t address)
{
	struct mm_target t;
	struct mm_hint   hint;

	if (!mm_find(mm, address, &t, &hint))
		return -1;
	region_put(t.region);
	return (int64_t)t.page;
}

static void an_address_means_the_page_of_its_window(void)
{
	begin(16);
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(page_at(BASE), 0);
	EXPECT_EQ(page_at(BASE + 15 * PAGE_SIZE + 17), 15);
	EXPECT_EQ(page_at(BASE + 16 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(BASE - 1), -1);
	end();
}

static void windows_never_overlap(void)
{
	struct window_request want;

	begin(16);
	space_window(mm, region, BASE, 1);
	want = (struct window_request){ .region = region, .start = BASE + 15 * PAGE_SIZE,
					.length = PAGE_SIZE, .handle = 2 };
	EXPECT_EQ(mm_add_window(mm, &want), -EEXIST);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

static void removing_the_middle_splits(void)
{
	begin(16);
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_remove_range(mm, BASE + 4 * PAGE_SIZE, 2 * PAGE_SIZE), 0);
	EXPECT_EQ(mm->nr_windows, 2);
	EXPECT_EQ(mm->spanned, 14 * PAGE_SIZE);
	EXPECT_EQ(page_at(BASE + 3 * PAGE_SIZE), 3);
	EXPECT_EQ(page_at(BASE + 4 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(BASE + 6 * PAGE_SIZE), 6);
	end();
}

static void advice_splits_and_merges_again(void)
{
	begin(16);
	space_window(mm, region, BASE, 7);
	EXPECT_EQ(mm_set_advice(mm, 7, (struct page_range){ 4, 4 }, WINDOW_RANDOM), 0);
	EXPECT_EQ(mm->nr_windows, 3);
	EXPECT_EQ(page_at(BASE + 5 * PAGE_SIZE), 5);
	EXPECT_EQ(mm_set_advice(mm, 7, (struct page_range){ 0, 16 }, WINDOW_NORMAL), 0);
	EXPECT_EQ(mm->nr_windows, 1);
	EXPECT_EQ(mm_set_advice(mm, 8, (struct page_range){ 0, 16 }, WINDOW_NORMAL), -ENOENT);
	end();
}

static void a_moved_part_is_found_at_its_new_place(void)
{
	uint64_t to = BASE + (1 << 24);

	begin(16);
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_move_range(mm, BASE + 4 * PAGE_SIZE, to, 4 * PAGE_SIZE), 0);
	EXPECT_EQ(page_at(to), 4);
	EXPECT_EQ(page_at(to + 3 * PAGE_SIZE), 7);
	EXPECT_EQ(page_at(BASE + 4 * PAGE_SIZE), -1);
	EXPECT_EQ(mm->nr_windows, 3);
	EXPECT_EQ(mm_move_range(mm, to, BASE + 4 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

static void a_gap_is_free_aligned_and_inside_its_bounds(void)
{
	const uint64_t bounds[2] = { BASE, BASE + 64 * PAGE_SIZE };

	begin(16);
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_find_gap(mm, PAGE_SIZE, 4 * PAGE_SIZE, bounds), BASE + 16 * PAGE_SIZE);
	EXPECT_EQ(mm_find_gap(mm, 49 * PAGE_SIZE, PAGE_SIZE, bounds), 0);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

static void ending_a_handle_leaves_the_others(void)
{
	begin(16);
	space_window(mm, region, BASE, 1);
	space_window(mm, region, BASE + (1 << 20), 2);
	mm_remove_handle(mm, 1);
	EXPECT_EQ(page_at(BASE), -1);
	EXPECT_EQ(page_at(BASE + (1 << 20)), 0);
	end();
}

static void a_slot_seen_late_is_nobody(void)
{
	uint64_t generation;
	uint32_t slot;

	begin(1);
	slot = mm->slot;
	generation = mm->generation;
	space_close_mm(mm);
	EXPECT(mm_get_slot(slot, generation) == NULL);
	mm = space_mm();
	EXPECT_EQ(mm->slot, slot);
	EXPECT(mm_get_slot(slot, generation) == NULL);
	space_window(mm, region, BASE, 1);
	end();
}

static const struct test_case cases[] = {
	{ "an address means the page of its window", an_address_means_the_page_of_its_window },
	{ "windows never overlap", windows_never_overlap },
	{ "removing the middle splits", removing_the_middle_splits },
	{ "advice splits and merges again", advice_splits_and_merges_again },
	{ "a moved part is found at its new place", a_moved_part_is_found_at_its_new_place },
	{ "a gap is free, aligned and inside its bounds", a_gap_is_free_aligned_and_inside_its_bounds },
	{ "ending a handle leaves the others", ending_a_handle_leaves_the_others },
	{ "a slot seen late is nobody", a_slot_seen_late_is_nobody },
};
TEST_MAIN(cases)
