/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mapping - mm/space/mapping.c: protection as the words say, frozen regions, waiting for
 * installations
 */
#include "mm/space/mapping.h"

#include <errno.h>
#include <pthread.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/obj/slab.h"

enum { NR = 8 };
static const uint64_t at = 0x100000000;

static struct region *region;
static struct mm *mm;
static struct mm_target target;

static void begin(void)
{
	space_begin(&(struct space_options){ 0 });
	region = space_region(NR, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, at, 1);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, NR }), 0);
	target = (struct mm_target){ .region = region, .end = NR, .base = at };
}

static void end(void)
{
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	space_end();
}

static void protected_pages_are_mapped_so(void)
{
	uint64_t done;

	begin();
	atomic_fetch_or(&region->words[2], WORD_CLEAN);
	atomic_fetch_or(&region->words[3], WORD_SHARED);
	atomic_fetch_add(&region->nr_shared, 1);
	EXPECT_EQ(map_run(mm, &target, (struct page_range){ 0, NR }, &done), 0);
	EXPECT_EQ(done, NR);
	for (int i = 0; i < NR; i++) {
		EXPECT(fake_uffd_mapped(mm->uffd, at + i * PAGE_SIZE));
		EXPECT_EQ(fake_uffd_protected(mm->uffd, at + i * PAGE_SIZE), i == 2 || i == 3);
	}
	end();
}

static void protection_ends_only_where_the_word_says_so(void)
{
	uint64_t done;

	begin();
	atomic_fetch_or(&region->words[2], WORD_CLEAN);
	EXPECT_EQ(map_run(mm, &target, (struct page_range){ 0, NR }, &done), 0);
	EXPECT_EQ(map_unprotect(mm, &target, (struct page_range){ 2, 1 }), -EAGAIN);
	EXPECT(fake_uffd_protected(mm->uffd, at + 2 * PAGE_SIZE));
	atomic_fetch_and(&region->words[2], ~(uint64_t)WORD_CLEAN);
	EXPECT_EQ(map_unprotect(mm, &target, (struct page_range){ 2, 1 }), 0);
	EXPECT(!fake_uffd_protected(mm->uffd, at + 2 * PAGE_SIZE));
	end();
}

static void a_frozen_region_maps_nothing(void)
{
	uint64_t done;

	begin();
	atomic_store(&region->frozen, true);
	EXPECT_EQ(map_run(mm, &target, (struct page_range){ 0, NR }, &done), -EBUSY);
	EXPECT_EQ(done, 0);
	EXPECT_EQ(map_least(mm, &target, at, &done), -EBUSY);
	EXPECT_EQ(map_unprotect(mm, &target, (struct page_range){ 0, 1 }), -EBUSY);
	EXPECT(!fake_uffd_mapped(mm->uffd, at));
	space_fault(mm, at, OS_FAULT_WRITE); /* is dropped: the thaw would wake */
	EXPECT(!fake_uffd_mapped(mm->uffd, at));
	atomic_store(&region->frozen, false);
	space_fault(mm, at, OS_FAULT_WRITE);
	EXPECT(fake_uffd_mapped(mm->uffd, at));
	end();
}

static _Atomic bool synced;

static void *sync_main(void *unused)
{
	region_map_sync(region);
	atomic_store(&synced, true);
	return unused;
}

static void sync_waits_for_what_began_before(void)
{
	unsigned int first, later;
	pthread_t thread;

	begin();
	atomic_store(&synced, false);
	first = region_map_enter(region);
	EXPECT_EQ(pthread_create(&thread, NULL, sync_main, NULL), 0);
	while ((atomic_load(&region->mapping.turn) & 1) == first)
		sched_yield();
	later = region_map_enter(region); /* and not for this one */
	EXPECT(!atomic_load(&synced));
	region_map_leave(region, first);
	EXPECT_EQ(pthread_join(thread, NULL), 0);
	EXPECT(atomic_load(&synced));
	region_map_leave(region, later);
	end();
}

static bool is_noted(const struct touched *touched, uint64_t from, uint64_t first, uint64_t nr)
{
	struct page_range run = touched_next(touched, region, from);

	return run.first == first && run.nr == nr;
}

static bool nothing_noted(const struct touched *touched, uint64_t from)
{
	return touched_next(touched, region, from).nr == 0;
}

static void what_becomes_writable_is_noted(void)
{
	struct touched *touched;
	uint64_t done;

	begin();
	touched = touched_new(region);
	EXPECT(touched);
	atomic_store(&region->touched, touched);
	atomic_fetch_or(&region->words[2], WORD_CLEAN);
	EXPECT(nothing_noted(touched, 0));
	EXPECT_EQ(map_run(mm, &target, (struct page_range){ 0, 3 }, &done), 0);
	EXPECT(is_noted(touched, 0, 0, 2)); /* and not the third, which is protected */
	atomic_fetch_and(&region->words[2], ~(uint64_t)WORD_CLEAN);
	EXPECT_EQ(map_unprotect(mm, &target, (struct page_range){ 2, 1 }), 0);
	EXPECT_EQ(atomic_load(&touched->nr_runs), 2);
	EXPECT(is_noted(touched, 2, 2, 1));
	touched_clear(touched);
	EXPECT_EQ(atomic_load(&touched->nr_runs), 0);
	EXPECT(nothing_noted(touched, 0));
	atomic_store(&region->touched, NULL);
	kfree(touched);
	end();
}

/* Of a region with more pages than bits, too, and to its last page. */
static void expect_runs(uint64_t nr_pages, uint64_t grain)
{
	const struct page_range runs[] = { { 0, 1 }, { 63 * grain, 2 }, { 100 * grain, 300 },
					   { nr_pages - 1, 1 } };
	uint64_t real = region->nr_pages, from = 0;
	struct touched *touched;

	region->nr_pages = nr_pages;
	touched = touched_new(region);
	EXPECT(touched);
	atomic_store(&region->touched, touched);
	for (unsigned int i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
		region_note_touched(region, runs[i]);
	for (unsigned int i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		uint64_t first = round_down(runs[i].first, grain);
		uint64_t end = round_up(runs[i].first + runs[i].nr, grain);
		struct page_range run = touched_next(touched, region, from);

		EXPECT_EQ(run.first, first);
		EXPECT_EQ(run.nr, min_t(uint64_t, end, nr_pages) - first);
		from = run.first + run.nr;
	}
	EXPECT(nothing_noted(touched, from));
	atomic_store(&region->touched, NULL);
	region->nr_pages = real;
	kfree(touched);
}

static void notes_of_large_regions_are_coarse(void)
{
	begin();
	expect_runs(1000, 1);
	expect_runs(TOUCHED_BITS_MAX, 1);
	expect_runs(4 * TOUCHED_BITS_MAX - 1, 4);
	end();
}

static void who_waits_for_shown_pages_waits_for_those(void)
{
	const struct page_range low = { 0, 4 }, high = { 4, 4 }, all = { 0, NR };
	unsigned int turn;
	int places[SHOWING_MAX], more;
	struct os_ops os_passing;

	begin();
	os_passing = *os;
	os_passing.now_ns = fake_os_passing_ns;
	os = &os_passing;
	turn = region_map_enter(region);
	EXPECT(region_show_wait(region, all));
	for (int i = 0; i < SHOWING_MAX; i++)
		places[i] = region_show_begin(region, low);
	EXPECT(region_show_wait(region, high));
	EXPECT(!region_show_wait(region, low));
	EXPECT(!region_show_wait(region, (struct page_range){ 3, 1 }));
	more = region_show_begin(region, low); /* nobody knows where: as if it were everywhere */
	EXPECT(!region_show_wait(region, high));
	region_show_end(region, more);
	EXPECT(region_show_wait(region, high));
	for (int i = 0; i < SHOWING_MAX; i++)
		region_show_end(region, places[i]);
	EXPECT(region_show_wait(region, all));
	region_map_leave(region, turn);
	os = &os_fake;
	end();
}

static const struct test_case cases[] = {
	{ "protected pages are mapped so", protected_pages_are_mapped_so },
	{ "protection ends only where the word says so",
	  protection_ends_only_where_the_word_says_so },
	{ "a frozen region maps nothing", a_frozen_region_maps_nothing },
	{ "what becomes writable is noted", what_becomes_writable_is_noted },
	{ "notes of large regions are coarse, and complete", notes_of_large_regions_are_coarse },
	{ "who waits for shown pages waits for calls about those",
	  who_waits_for_shown_pages_waits_for_those },
	{ "sync waits for what began before", sync_waits_for_what_began_before },
};

TEST_MAIN(cases)
