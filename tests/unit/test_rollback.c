/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rollback - pages that a rollback, or a clone, can't have: mm/space/rollback.c, arm.c
 */
#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/map/swap.h"
#include "mm/space/clone.h"
#include "mm/space/reclaim.h"
#include "mm/space/swapper.h"

enum { NR = 8, LOST = 3, SWAP_MIB = 16 };
static const uint64_t base = 1ull << 32, other_base = 2ull << 32;
static const struct page_range all = { 0, NR };

static struct region *region, *snapshot;
static struct mm *mm;

static void fill(struct region *of, uint64_t start, uint64_t value)
{
	for (uint64_t i = 0; i < NR; i++) {
		uint64_t words[PAGE_SIZE / sizeof(value)] = { value + i };

		space_fault(mm, start + (i << PAGE_SHIFT), OS_FAULT_WRITE);
		EXPECT_EQ(os->write(of->section->fd, i << PAGE_SHIFT, words, PAGE_SIZE), 0);
	}
}

static uint64_t first_word(const struct region *of, uint64_t page)
{
	uint64_t word;

	EXPECT_EQ(space_state(of, page), PAGE_PRESENT);
	EXPECT_EQ(os->read(of->section->fd, page << PAGE_SHIFT, &word, sizeof(word)), 0);
	return word;
}

/* The two have nothing in common. */
static void begin(uint64_t swap_mib)
{
	space_begin(&(struct space_options){ .swap_mib = swap_mib });
	swapper_keep(true);
	region = space_region(NR, PAGE_SHIFT);
	snapshot = space_region(NR, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, base, 1);
	space_window(mm, snapshot, other_base, 2);
	fill(region, base, 100);
	fill(snapshot, other_base, 200);
}

static void end(void)
{
	space_expect_valid(region, mm);
	space_expect_valid(snapshot, NULL);
	space_close_mm(mm);
	space_drop_region(region);
	space_drop_region(snapshot);
	if (swap_capacity())
		space_end_swap();
	else
		space_end();
}

static void expect_rolled_but_one(void)
{
	EXPECT_EQ(region_rollback(region, snapshot, NULL, NULL), 0);
	for (uint64_t i = 0; i < NR; i++)
		if (i != LOST)
			EXPECT_EQ(first_word(region, i), 200 + i);
	EXPECT_EQ(space_state(region, LOST), PAGE_POISONED);
}

/* Whether it is found out now or was known before. */
static void what_the_snapshot_cant_read_is_lost(void)
{
	begin(SWAP_MIB);
	EXPECT_EQ(reclaim_range(snapshot, all), NR);
	inject_arm(INJECT_DISK_READ, LOST + 1, -EIO);
	expect_rolled_but_one();
	inject_arm(INJECT_DISK_READ, 0, 0);
	expect_rolled_but_one();
	end();
}

static void what_a_client_has_punched_is_lost(void)
{
	begin(0);
	fake_os_client_punch(snapshot->section->fd, LOST << PAGE_SHIFT, PAGE_SIZE);
	expect_rolled_but_one();
	space_fault(mm, other_base + (LOST << PAGE_SHIFT), 0);
	end();
}

static void where_it_stopped_is_never_zero(void)
{
	uint64_t i;

	begin(0);
	fake_os_set_limit(0, 0, 0);
	EXPECT_EQ(region_rollback(region, snapshot, NULL, NULL), -ENOMEM);
	fake_os_set_limit(0, 1ull << 40, 0);
	for (i = 0; i < NR && space_state(region, i) == PAGE_PRESENT; i++)
		EXPECT_EQ(first_word(region, i), 200 + i);
	EXPECT_EQ(space_state(region, i), PAGE_POISONED);
	for (i++; i < NR; i++)
		EXPECT_EQ(first_word(region, i), 100 + i);
	EXPECT_EQ(region_rollback(region, snapshot, NULL, NULL), 0);
	for (i = 0; i < NR; i++)
		EXPECT_EQ(first_word(region, i), 200 + i);
	end();
}

/* Both regions are frozen meanwhile. */
static void without_memory_it_is_tried_for_a_while_once(void)
{
	enum { TRIES = 60 }; /* residency.c's */
	struct fake_os_calls before, after;

	begin(SWAP_MIB);
	EXPECT_EQ(reclaim_range(snapshot, all), NR);
	EXPECT_EQ(reclaim_range(region, all), NR);
	fake_os_set_limit(0, 0, 0);
	fake_os_calls(&before);
	EXPECT_EQ(region_rollback(region, snapshot, NULL, NULL), -ENOMEM);
	fake_os_calls(&after);
	EXPECT(after.populate - before.populate < 10 * TRIES);
	fake_os_set_limit(0, 1ull << 40, 0);
	EXPECT_EQ(region_rollback(region, snapshot, NULL, NULL), 0);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT_EQ(first_word(region, i), 200 + i);
	end();
}

static void a_locked_page_that_was_punched_is_lost_for_its_clone(void)
{
	struct clone_pair pair;

	begin(0);
	EXPECT_EQ(region_lock_pages(region, all), 0);
	fake_os_client_punch(region->section->fd, LOST << PAGE_SHIFT, PAGE_SIZE);
	pair = (struct clone_pair){ region, space_region(NR, PAGE_SHIFT) };
	EXPECT_EQ(clone_join(&pair), 0);
	EXPECT_EQ(clone_arm(&pair, 1), 0);
	EXPECT_EQ(first_word(pair.clone, LOST - 1), 100 + LOST - 1);
	EXPECT_EQ(space_state(pair.clone, LOST), PAGE_POISONED);
	space_fault(mm, base + (LOST << PAGE_SHIFT), 0);
	space_drop_region(pair.clone);
	end();
}

/* And its clients are to hear of it when it isn't any more. */
static void what_is_lost_is_lost_for_a_clone_with_its_cause(void)
{
	struct clone_pair pair;

	begin(0);
	EXPECT(region_poison(region, LOST, "a test"));
	pair = (struct clone_pair){ region, space_region(NR, PAGE_SHIFT) };
	EXPECT_EQ(clone_join(&pair), 0);
	EXPECT_EQ(clone_arm(&pair, 1), 0);
	space_window(mm, pair.clone, other_base * 2, 3);
	space_fault(mm, other_base * 2 + (LOST << PAGE_SHIFT), 0);
	EXPECT(!strcmp(space_told.cause, "a test"));
	EXPECT_EQ(atomic_load(&pair.clone->nr_poisoned), 1);
	mm_remove_handle(mm, 3);
	space_drop_region(pair.clone);
	end();
}

static const struct test_case cases[] = {
	{ "what the snapshot can't read is lost, and the rest comes back",
	  what_the_snapshot_cant_read_is_lost },
	{ "what a client has punched out of the snapshot is lost, not zero",
	  what_a_client_has_punched_is_lost },
	{ "the page at which a rollback stops is never zero, and comes with the next",
	  where_it_stopped_is_never_zero },
	{ "without memory it is tried for a while, and not for a while of whiles",
	  without_memory_it_is_tried_for_a_while_once },
	{ "a locked page that a client has punched is lost for a clone, too",
	  a_locked_page_that_was_punched_is_lost_for_its_clone },
	{ "what is lost is so for a clone, with its cause",
	  what_is_lost_is_lost_for_a_clone_with_its_cause },
};
TEST_MAIN(cases)
