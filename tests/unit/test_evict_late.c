/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_evict_late - what happens to a page between its being chosen and its being taken: evict.c;
 *                   how many are held on their way back: swapin.c
 */
#include "mm/space/evict.h"

#include <errno.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/map/swap.h"
#include "mm/space/mapping.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"
#include "mm/space/swapin.h"

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

static const struct os_ops *os_before;

/* A lane reads the page while another one ends the protection of what it was. */
static void come_back(uint64_t page)
{
	const struct mm_target target = { .region = region, .end = NR, .base = BASE };
	const uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)] = { page + 1 };
	struct swap_claim claim;
	struct swap_page io;
	uint64_t done;

	EXPECT_EQ(region_swap_claim(region, page, &claim, &io), 0);
	EXPECT_EQ(region_swap_settle(&claim, bytes, 0, false), 0);
	EXPECT_EQ(map_run(mm, &target, (struct page_range){ page, 1 }, &done), 0);
}

static int unprotect_late(int fd, uint64_t address, uint64_t length)
{
	come_back(1);
	return os_before->uffd_unprotect(fd, address, length);
}

/* Only of what is there: what comes while the kernel is asked may be clean. */
static void protection_ends_of_no_page_that_has_gone(void)
{
	const struct mm_target target = { .region = region, .end = NR, .base = BASE };
	struct os_ops late;

	start();
	for (uint64_t i = 0; i < 2; i++)
		EXPECT(region_dirty_page(region, i));
	atomic_store(&region_lru(region, 0)->nr_evicted, 1); /* its shadow looks like no mark */
	EXPECT_EQ(reclaim_range(region, (struct page_range){ 1, 1 }), 1);
	os_before = os;
	late = *os;
	late.uffd_unprotect = unprotect_late;
	os = &late;
	map_unprotect(mm, &target, (struct page_range){ 0, 2 });
	os = os_before;
	if (space_state(region, 1) == PAGE_SWAPPED)
		come_back(1);
	EXPECT(word_load(region_word(region, 1)) & WORD_CLEAN);
	EXPECT(fake_uffd_protected(mm->uffd, BASE + PAGE_SIZE));
	EXPECT_EQ(region_drop(region, all), 0);
	stop();
}

static int write_nothing(int fd, uint64_t offset, const void *bytes, uint64_t length)
{
	(void)fd, (void)offset, (void)bytes, (void)length;
	return -ENOMEM;
}

/* The host is short of something: what is on the disk is no worse for that. */
static void a_page_that_cant_come_now_is_not_lost(void)
{
	struct swap_in_request want = { .range = { 0, 2 } };
	struct swap_claim claim;
	struct page_range run;
	struct swap_page io;
	struct swapper *s;
	struct os_ops full;

	start();
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(region_dirty_page(region, i));
	EXPECT_EQ(reclaim_range(region, all), NR);
	want.region = region;
	s = swapper_get(SWAPPER_READER);
	os_before = os;
	full = *os;
	full.write = write_nothing;
	os = &full;
	EXPECT_EQ(region_swap_in(s, &want, &run), -ENOMEM);
	os = os_before;
	EXPECT_EQ(space_state(region, 0), PAGE_SWAPPED);
	EXPECT_EQ(space_state(region, 1), PAGE_SWAPPED);
	EXPECT_EQ(region_swap_claim(region, 2, &claim, &io), 0);
	EXPECT_EQ(region_swap_settle(&claim, NULL, -EAGAIN, false), -ENOMEM);
	EXPECT_EQ(space_state(region, 2), PAGE_SWAPPED);
	space_expect_valid(region, mm);
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	EXPECT_EQ(region_swap_in(s, &want, &run), 0);
	swapper_put(s);
	EXPECT_EQ(space_state(region, 1), PAGE_PRESENT);
	EXPECT_EQ(region_drop(region, all), 0);
	stop();
}

/* Nor does it cost a slot, or the area anything, that a page can't be written for a while. */
static void a_page_that_cant_go_now_goes_later(void)
{
	struct swap_area_stat stat;

	start();
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(region_dirty_page(region, i));
	inject_act(INJECT_FAIL_UNTIL);
	inject_arm(INJECT_DISK_WRITE, 1 << 20, -EAGAIN);
	EXPECT_EQ(reclaim_range(region, all), 0);
	inject_act(INJECT_FAIL);
	inject_arm(INJECT_DISK_WRITE, 0, 0);
	EXPECT_EQ(space_present(0, STOCK_BASE), NR);
	EXPECT_EQ(space_slots_used(), 0);
	EXPECT_EQ(memcg_read(region->memcg, MEMCG_SWAP), 0);
	EXPECT(swap_area_stat(0, &stat));
	EXPECT_EQ(stat.nr_bad, 0);
	EXPECT_EQ(reclaim_range(region, all), NR);
	EXPECT_EQ(space_slots_used(), NR);
	EXPECT_EQ(region_drop(region, all), 0);
	stop();
}

/* Without swap nothing else can go: who finds no frame looks at all pages once, not each time. */
static void what_nobody_has_freed_is_not_looked_through(void)
{
	uint64_t hand;

	start();
	swap_area_accept(0, false);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(region_dirty_page(region, i));
	EXPECT(!reclaim_for(region));
	hand = atomic_load(&region->hand);
	EXPECT(!reclaim_for(region));
	EXPECT_EQ(atomic_load(&region->hand), hand);
	evict_lazily(region, (struct page_range){ 3, 1 });
	EXPECT(reclaim_for(region));
	EXPECT(atomic_load(&region->hand) != hand);
	EXPECT_EQ(space_state(region, 3), PAGE_NONE);
	EXPECT_EQ(space_present(0, STOCK_BASE), NR - 1);
	swap_area_accept(0, true);
	EXPECT_EQ(region_drop(region, all), 0);
	stop();
}

enum { SELDOM = 41 };
static uint32_t nr_populated;

static int populate_seldom(int fd, uint64_t offset, uint64_t length, int node)
{
	if (++nr_populated % SELDOM)
		return -ENOMEM;
	return os_before->populate(fd, offset, length, node);
}

/* Others take what was freed for it, again and again, but never for long. */
static void a_swapoff_is_patient_with_each_page(void)
{
	struct os_ops full;

	start();
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(region_dirty_page(region, i));
	EXPECT_EQ(reclaim_range(region, all), NR);
	for (uint64_t i = 1; i < NR; i += 2)
		EXPECT_EQ(region_drop(region, (struct page_range){ i, 1 }), 0);
	os_before = os;
	full = *os;
	full.populate = populate_seldom;
	os = &full;
	EXPECT_EQ(space_swap_off(), 0);
	os = os_before;
	EXPECT_EQ(nr_populated, NR / 2 * SELDOM);
	EXPECT_EQ(space_present(0, STOCK_BASE), NR / 2);
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	swapper_keep(false);
	space_end();
}

enum { NR_HUGE = 12, CLAIMED_HUGE = 8, HUGE_SWAP_MIB = 64 };

/* Who wants one of them waits until all have been read. */
static void a_claim_of_large_pages_is_short(void)
{
	struct swap_in_request want = { .range = { 0, NR_HUGE } };
	static uint64_t bytes[PAGEBLOCK_SIZE / sizeof(uint64_t)];
	struct page_range run;
	struct swapper *s;

	space_begin(&(struct space_options){ .swap_mib = HUGE_SWAP_MIB });
	swapper_keep(true);
	region = space_region(NR_HUGE, PAGEBLOCK_SHIFT);
	mm = space_mm();
	for (uint64_t i = 0; i < ARRAY_SIZE(bytes); i++)
		bytes[i] = i;
	EXPECT_EQ(region_populate(region, want.range), 0);
	for (uint64_t i = 0; i < NR_HUGE; i++)
		EXPECT_EQ(os->write(region->section->fd, i << PAGEBLOCK_SHIFT, bytes,
				    PAGEBLOCK_SIZE), 0);
	reclaim_range(region, want.range);
	EXPECT_EQ(atomic_load(&region->nr_swapped), NR_HUGE);
	want.region = region;
	s = swapper_get(SWAPPER_READER);
	EXPECT_EQ(region_swap_in(s, &want, &run), 0);
	swapper_put(s);
	EXPECT_EQ(run.nr, CLAIMED_HUGE);
	EXPECT_EQ(region_drop(region, want.range), 0);
	stop();
}

static const struct test_case cases[] = {
	{ "an unwanted page that is touched while it goes keeps its slot",
	  a_page_that_is_touched_keeps_its_slot },
	{ "an unwanted page that can't be punched keeps its slot",
	  a_page_that_cant_be_punched_keeps_its_slot },
	{ "protection ends of no page that has gone, and may come back",
	  protection_ends_of_no_page_that_has_gone },
	{ "a page that can't come now isn't lost", a_page_that_cant_come_now_is_not_lost },
	{ "a page that can't go now goes later, and its slot is as good as before",
	  a_page_that_cant_go_now_goes_later },
	{ "without swap pages that nobody has freed aren't looked through again and again",
	  what_nobody_has_freed_is_not_looked_through },
	{ "a swapoff is patient with each page", a_swapoff_is_patient_with_each_page },
	{ "few large pages are held at once while they are read",
	  a_claim_of_large_pages_is_short },
};
TEST_MAIN(cases)
