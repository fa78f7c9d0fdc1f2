/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ahead - streaks of faults: how far around they reach, and what is made ahead of them, also
 *              in windows of clones (shown.c), of a parent that two threads arm (arm_whole.c)
 */
#include "mm/space/ahead.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/clone.h"
#include "mm/space/cow.h"

enum {
	PAGES = 16384, /* 64 MiB */
	LARGE_PAGES = 32,
	BLOCK = 512,
	DEPTH = (32 << 20) >> PAGE_SHIFT, /* what a streak may be ahead */
	FAULTS_OF_A_START = 16,           /* until `around` has reached a block */
};
static const uint64_t base = 1ull << 32;

static struct region *region;
static struct mm *mm;
static unsigned int nr_touch_faults;

static void begin_shift(unsigned int page_shift)
{
	space_begin(&(struct space_options){ .base_mib = 160 });
	region = space_region(page_shift == PAGE_SHIFT ? PAGES : LARGE_PAGES, page_shift);
	mm = space_mm();
	space_window(mm, region, base, 1);
	nr_touch_faults = 0;
}

static void begin(void)
{
	begin_shift(PAGE_SHIFT);
}

static void end(void)
{
	os = &os_fake;
	space_settle();
	space_expect_valid(region, mm);
	EXPECT_EQ(atomic_load(&mm->refs), 1);
	EXPECT_EQ(atomic_load(&region->refs), 1 + mm->nr_windows);
	space_close_mm(mm);
	space_drop_region(region);
	space_end();
}

static uint64_t page_address(uint64_t page)
{
	return base + (page << region->page_shift);
}

#define MAPPED(page) fake_uffd_mapped(mm->uffd, page_address(page))

static void fault(uint64_t page)
{
	bool there = fake_os_present(region->section->fd, page << region->page_shift);

	nr_touch_faults++;
	space_fault(mm, page_address(page), there ? OS_FAULT_MINOR : 0);
}

/* The client touches the page, which faults if it isn't mapped; and takes its time. */
static void touch(uint64_t page)
{
	if (MAPPED(page))
		return;
	fault(page);
	space_settle();
}

static uint64_t nr_mapped(uint64_t from, uint64_t to)
{
	uint64_t nr = 0;

	for (uint64_t page = from; page < to; page++)
		nr += MAPPED(page);
	return nr;
}

static void advise(enum window_advice advice)
{
	EXPECT_EQ(mm_set_advice(mm, 1, (struct page_range){ 0, region->nr_pages }, advice), 0);
}

/* ---- around ---- */

static void sequential_faults_reach_farther_and_farther(void)
{
	uint64_t before = 0, grown = 0;

	begin();
	for (uint64_t page = 100; page < BLOCK; page++) {
		uint64_t resident = region->nr_resident;

		if (MAPPED(page))
			continue;
		fault(page);
		grown = region->nr_resident - resident;
		if (page + grown < BLOCK)
			EXPECT(grown >= before);
		before = grown;
		EXPECT_EQ(nr_mapped(page, page + grown), grown);
	}
	EXPECT(nr_touch_faults <= FAULTS_OF_A_START);
	end();
}

static void random_faults_stay_alone(void)
{
	begin();
	for (uint64_t i = 1; i <= 300; i++)
		fault(i * 7919 % PAGES);
	space_settle();
	EXPECT_EQ(region->nr_resident, 300);
	EXPECT_EQ(nr_mapped(0, PAGES), 300);
	end();
}

static void several_streams_are_told_apart(void)
{
	enum { STREAMS = NR_STREAKS, EACH = 400 };

	begin();
	for (uint64_t i = 0; i < EACH; i++)
		for (uint64_t stream = 0; stream < STREAMS; stream++)
			touch(stream * 4000 + i);
	EXPECT(nr_touch_faults <= STREAMS * FAULTS_OF_A_START);
	end();
}

/* Each of them takes a place among the streaks remembered; the oldest goes. */
static void a_few_random_faults_between_dont_end_a_streak(void)
{
	uint64_t at = 12000;

	begin();
	for (uint64_t page = 0; page < 2000; page++) {
		if (MAPPED(page))
			continue;
		touch(page);
		for (int i = 1; i < NR_STREAKS; i++)
			touch(at += 7);
	}
	EXPECT(nr_touch_faults <= NR_STREAKS * FAULTS_OF_A_START);
	end();
}

/* What is broken at once for a clone's origin is less than what is mapped at once. */
static void a_streak_goes_on_where_less_was_done(void)
{
	enum { DONE = 64 };
	struct mm_target target;
	struct mm_hint hint = { 0 };

	begin();
	for (uint64_t page = BLOCK; page < 8 * BLOCK; page += min_t(uint64_t, hint.around, DONE)) {
		EXPECT(mm_find(mm, page_address(page), &target, &hint));
		region_put(target.region);
		if (page >= 2 * BLOCK)
			EXPECT_EQ(hint.around, BLOCK - page % BLOCK);
	}
	end();
}

static void advice_decides_at_once(void)
{
	begin();
	advise(WINDOW_SEQUENTIAL);
	fault(5000);
	EXPECT_EQ(nr_mapped(5000, 5120), 120); /* to the end of the block */
	space_settle();
	EXPECT(space_state(region, 5632) == PAGE_PRESENT);
	end();
	begin();
	advise(WINDOW_RANDOM);
	for (uint64_t page = 5000; page < 5100; page++)
		touch(page);
	EXPECT_EQ(nr_touch_faults, 100);
	space_settle();
	EXPECT_EQ(region->nr_resident, 100);
	end();
}

static void a_window_of_a_part_is_not_left(void)
{
	begin();
	EXPECT_EQ(mm_remove_range(mm, page_address(1000), (PAGES - 1000) * PAGE_SIZE), 0);
	advise(WINDOW_SEQUENTIAL);
	touch(10);
	touch(600);
	space_settle();
	EXPECT_EQ(space_state(region, 999), PAGE_PRESENT);
	EXPECT_EQ(space_state(region, 1000), PAGE_NONE);
	EXPECT(!MAPPED(1000));
	end();
}

/* ---- ahead ---- */

/* Touches pages from the start on until something is made in the background; the page where. */
static uint64_t streak_until_ahead(void)
{
	uint64_t before = fault_stats.nr_ahead;

	for (uint64_t page = 0; page < PAGES; page++) {
		touch(page);
		if (fault_stats.nr_ahead > before)
			return page;
	}
	return PAGES;
}

static void a_streak_is_made_ahead_but_for_first_pages(void)
{
	uint64_t page, until;

	begin();
	page = streak_until_ahead();
	EXPECT(page < 4 * BLOCK);
	until = round_down(page + DEPTH, BLOCK);
	for (uint64_t block = round_up(page + 1, BLOCK) + BLOCK; block < until; block += BLOCK) {
		if (!ahead_is_for_job(region, block)) {
			EXPECT_EQ(nr_mapped(block, block + BLOCK), 0);
			continue;
		}
		EXPECT_EQ(space_state(region, block), PAGE_PRESENT);
		EXPECT(!MAPPED(block));
		EXPECT_EQ(nr_mapped(block + 1, block + BLOCK), BLOCK - 1);
	}
	for (uint64_t at = until; at < until + 2 * BLOCK; at += BLOCK)
		EXPECT_EQ(space_state(region, at), PAGE_NONE);
	end();
}

static void a_streak_faults_once_a_block(void)
{
	begin();
	for (uint64_t page = 0; page < PAGES; page++)
		touch(page);
	EXPECT(nr_touch_faults <= PAGES / BLOCK + FAULTS_OF_A_START);
	EXPECT_EQ(region->nr_resident, PAGES);
	EXPECT_EQ(nr_mapped(0, PAGES), PAGES);
	end();
}

static void large_pages_are_made_ahead_too(void)
{
	begin_shift(PAGEBLOCK_SHIFT);
	for (uint64_t page = 0; page < LARGE_PAGES; page++)
		touch(page);
	EXPECT_EQ(region->nr_resident, LARGE_PAGES);
	EXPECT(fault_stats.nr_ahead > 0);
	EXPECT(nr_touch_faults < LARGE_PAGES * 3 / 4);
	end();
}

/* Two that wait for each other would take longer than one. */
static void what_is_there_already_is_mapped_without_jobs(void)
{
	uint64_t ahead = fault_stats.nr_ahead;

	begin();
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, PAGES }), 0);
	for (uint64_t page = 0; page < PAGES; page++) {
		touch(page);
		if (page % BLOCK == 0 && page > 2 * BLOCK)
			EXPECT_EQ(nr_mapped(page, page + BLOCK), BLOCK);
	}
	EXPECT(nr_touch_faults <= PAGES / BLOCK + FAULTS_OF_A_START);
	EXPECT_EQ(fault_stats.nr_ahead, ahead);
	EXPECT_EQ(nr_mapped(0, PAGES), PAGES);
	end();
}

static void jobs_outlive_their_session(void)
{
	begin();
	advise(WINDOW_SEQUENTIAL);
	fault(5);
	space_close_mm(mm);
	region_put(region);
	space_settle();
	region = space_region(1, PAGE_SHIFT);
	mm = space_mm();
	end();
}

/* ---- A3: a worker that is held up while it populates ---- */

static struct os_ops slow_os;
static pthread_t test_thread;
static sem_t arrived, may_go;

static int slow_populate(int fd, uint64_t offset, uint64_t length, int node)
{
	if (!pthread_equal(pthread_self(), test_thread)) {
		sem_post(&arrived);
		sem_wait(&may_go);
	}
	return os_fake.populate(fd, offset, length, node);
}

static void hold_up_workers(void)
{
	test_thread = pthread_self();
	sem_init(&arrived, 0, 0);
	sem_init(&may_go, 0, 0);
	slow_os = os_fake;
	slow_os.populate = slow_populate;
	os = &slow_os;
}

static void let_workers_go(void)
{
	for (int i = 0; i < AHEAD_JOBS; i++)
		sem_post(&may_go);
	space_settle();
}

static void a_job_that_fails_leaves_the_pages_to_faults(void)
{
	begin();
	hold_up_workers();
	advise(WINDOW_SEQUENTIAL);
	fault(5);
	sem_wait(&arrived);
	fake_os_set_limit(0, fake_os_used(0, false), 0); /* the host has no page more */
	let_workers_go();
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	EXPECT_EQ(space_state(region, BLOCK), PAGE_NONE);
	EXPECT_EQ(space_state(region, 2 * BLOCK), PAGE_NONE);
	space_expect_valid(region, mm);
	os = &os_fake;
	touch(BLOCK);
	touch(BLOCK + 7);
	EXPECT(MAPPED(BLOCK) && MAPPED(BLOCK + 7));
	end();
}

static void whoever_touches_a_job_at_work_is_woken_by_it(void)
{
	uint64_t wakes;

	begin();
	hold_up_workers();
	advise(WINDOW_SEQUENTIAL);
	fault(5);
	sem_wait(&arrived); /* the job of the block at BLOCK */
	wakes = fake_uffd_wakes(mm->uffd, page_address(BLOCK + 9));
	fault(BLOCK + 9);
	EXPECT(!MAPPED(BLOCK + 9));
	EXPECT_EQ(fake_uffd_wakes(mm->uffd, page_address(BLOCK + 9)), wakes);
	EXPECT_EQ(fault_stats.nr_parked, 0);
	let_workers_go();
	EXPECT(MAPPED(BLOCK + 9));
	EXPECT(fake_uffd_wakes(mm->uffd, page_address(BLOCK + 9)) > wakes);
	end();
}

/* The job's wake-up goes to the window that it works for. */
static void another_window_of_the_region_waits_for_no_job(void)
{
	uint64_t other = base << 1, at = other + (BLOCK + 9) * PAGE_SIZE;
	uint64_t wakes;

	begin();
	space_window(mm, region, other, 2);
	hold_up_workers();
	advise(WINDOW_SEQUENTIAL);
	EXPECT_EQ(mm_set_advice(mm, 2, (struct page_range){ 0, PAGES }, WINDOW_SEQUENTIAL), 0);
	fault(5);
	sem_wait(&arrived);
	space_fault(mm, other + 5 * PAGE_SIZE, 0);
	wakes = fake_uffd_wakes(mm->uffd, at);
	space_fault(mm, at, 0);
	let_workers_go();
	EXPECT(fake_uffd_mapped(mm->uffd, at) || fake_uffd_wakes(mm->uffd, at) > wakes);
	mm_remove_handle(mm, 2);
	end();
}

static void a_job_that_waits_is_taken_over(void)
{
	struct region *other;

	begin();
	other = space_region(PAGES / 4, PAGE_SHIFT);
	space_window(mm, other, base << 1, 2);
	hold_up_workers();
	EXPECT_EQ(mm_set_advice(mm, 2, (struct page_range){ 0, PAGES / 4 }, WINDOW_SEQUENTIAL), 0);
	space_fault(mm, base << 1, 0);
	sem_wait(&arrived);
	advise(WINDOW_SEQUENTIAL);
	fault(5);
	fault(3 * BLOCK); /* its job waits behind those of the other region */
	EXPECT(MAPPED(3 * BLOCK));
	EXPECT_EQ(nr_mapped(3 * BLOCK, 4 * BLOCK), BLOCK);
	let_workers_go();
	EXPECT_EQ(space_state(region, 5 * BLOCK), PAGE_PRESENT);
	mm_remove_handle(mm, 2);
	space_drop_region(other);
	end();
}

static void ending_runs_what_is_queued(void)
{
	begin();
	advise(WINDOW_SEQUENTIAL);
	fault(5);
	ahead_fini();
	EXPECT(fault_stats.nr_ahead > 0);
	EXPECT_EQ(atomic_load(&mm->refs), 1);
	EXPECT_EQ(ahead_init(1), 0);
	end();
}

/* What a streak of so many steps asks for. */
static uint64_t asked_ahead(uint64_t first, unsigned int steps)
{
	struct mm_target target;
	struct mm_hint hint = { 0 };
	uint64_t page = first, asked = 0;

	for (unsigned int i = 0; i < steps; i++, page += hint.around) {
		EXPECT(mm_find(mm, base + (page << PAGE_SHIFT), &target, &hint));
		region_put(target.region);
		asked += hint.ahead_nr;
	}
	return asked;
}

static void above_high_nothing_is_made_ahead(void)
{
	struct page_range block = { BLOCK, BLOCK };
	struct mm_target target;
	struct mm_hint hint;
	uint64_t resident;

	begin();
	touch(0);
	resident = region->nr_resident;
	EXPECT(mm_find(mm, base, &target, &hint));
	memcg_set_limit(memcg_root(), MEMCG_HIGH, 0);
	EXPECT_EQ(asked_ahead(2 * BLOCK, 12), 0);
	ahead_start(mm, &target, block);
	space_settle();
	EXPECT_EQ(region->nr_resident, resident);
	memcg_set_limit(memcg_root(), MEMCG_HIGH, MEMCG_NO_LIMIT);
	EXPECT(asked_ahead(6 * BLOCK, 12) > 0);
	ahead_start(mm, &target, block);
	space_settle();
	EXPECT_EQ(region->nr_resident, resident + BLOCK);
	region_put(target.region);
	end();
}

/* ---- clones ---- */

enum { CLONE_PAGES = 3 * BLOCK, BREAK_AHEAD = BREAK_AHEAD_BYTES >> PAGE_SHIFT };
static const uint64_t clone_base = 1ull << 36;
static struct region *parent, *child;

/* The child's window shows the parent's memory. */
static void begin_clone(void)
{
	struct clone_pair pair;
	struct window_request want = { .start = clone_base, .handle = 3,
				       .length = CLONE_PAGES << PAGE_SHIFT };

	begin();
	parent = space_region(CLONE_PAGES, PAGE_SHIFT);
	space_window(mm, parent, base << 1, 2);
	EXPECT_EQ(region_populate(parent, (struct page_range){ 0, CLONE_PAGES }), 0);
	for (uint64_t page = 0; page < CLONE_PAGES; page++)
		space_fault(mm, (base << 1) + (page << PAGE_SHIFT), OS_FAULT_MINOR);
	child = space_region(CLONE_PAGES, PAGE_SHIFT);
	pair = (struct clone_pair){ parent, child };
	EXPECT_EQ(clone_join(&pair), 0);
	EXPECT_EQ(clone_arm(&pair, 1), 0);
	want.region = child;
	want.shown = parent->section->id;
	EXPECT_EQ(mm_add_window(mm, &want), 0);
	fake_uffd_window(mm->uffd, clone_base, want.length, parent->section->fd, 0);
	for (uint32_t handle = 2; handle <= 3; handle++)
		EXPECT_EQ(mm_set_advice(mm, handle, (struct page_range){ 0, CLONE_PAGES },
					WINDOW_SEQUENTIAL),
			  0);
}

static void end_clone(void)
{
	space_settle();
	space_expect_valid(parent, NULL);
	space_expect_valid(child, NULL);
	mm_remove_handle(mm, 3);
	mm_remove_handle(mm, 2);
	space_drop_region(child);
	space_drop_region(parent);
	end();
}

static uint64_t nr_in_state(uint64_t from, uint64_t to, enum page_state state)
{
	uint64_t nr = 0;

	for (uint64_t page = from; page < to; page++)
		nr += space_state(child, page) == state;
	return nr;
}

static void write_shared(uint64_t page)
{
	space_fault(mm, (base << 1) + (page << PAGE_SHIFT), OS_FAULT_WRITE | OS_FAULT_WP);
	space_settle();
}

static void what_clones_share_is_broken_ahead(void)
{
	begin_clone();
	write_shared(5);
	EXPECT_EQ(nr_in_state(5, 5 + BREAK_AHEAD, PAGE_PRESENT), BREAK_AHEAD);
	EXPECT_EQ(atomic_load(&child->nr_resident), BREAK_AHEAD);
	write_shared(5 + 100);
	EXPECT_EQ(nr_in_state(5, 5 + 100 + BREAK_AHEAD, PAGE_PRESENT), 100 + BREAK_AHEAD);
	EXPECT_EQ(atomic_load(&child->nr_resident), 100 + BREAK_AHEAD);
	EXPECT(!fake_uffd_protected(mm->uffd, (base << 1) + (105ull << PAGE_SHIFT)));
	EXPECT_EQ(mm_set_advice(mm, 2, (struct page_range){ 0, CLONE_PAGES }, WINDOW_RANDOM), 0);
	write_shared(2 * BLOCK);
	EXPECT_EQ(atomic_load(&child->nr_resident), 100 + BREAK_AHEAD + 1);
	end_clone();
}

/* As the client's kernel tells it, a page has moved into place. */
static void a_streak_goes_on_behind_what_was_mapped_anew(void)
{
	struct mm_target target;
	struct mm_hint hint = { 0 };
	uint64_t page, at;

	begin_clone();
	EXPECT_EQ(mm_set_advice(mm, 3, (struct page_range){ 0, CLONE_PAGES }, WINDOW_NORMAL), 0);
	for (page = 0; hint.around <= 64; page += hint.around) {
		EXPECT(mm_find(mm, clone_base + (page << PAGE_SHIFT), &target, &hint));
		region_put(target.region);
	}
	at = clone_base + (page << PAGE_SHIFT);
	EXPECT(mm_find(mm, at, &target, &hint));
	region_put(target.region);
	EXPECT(mm_remap_done(mm, 1ull << 40, at, PAGE_SIZE));
	EXPECT(mm_find(mm, at + PAGE_SIZE, &target, &hint));
	region_put(target.region);
	EXPECT_EQ(target.first, page + 1);
	EXPECT(hint.around > 64);
	end_clone();
}

/* A clone that is being made gets nothing of what is broken meanwhile. */
static void nothing_is_broken_of_what_is_frozen(void)
{
	begin_clone();
	regions_freeze(&parent, 1);
	EXPECT_EQ(cow_break_ahead(parent, (struct page_range){ 5, BREAK_AHEAD }), 0);
	regions_thaw(&parent, 1);
	EXPECT_EQ(atomic_load(&child->nr_resident), 0);
	EXPECT(cow_break_ahead(parent, (struct page_range){ 5, BREAK_AHEAD }) > 0);
	end_clone();
}

static void a_reader_of_a_clone_finds_it_mapped(void)
{
	uint64_t nr = 0;

	begin_clone();
	write_shared(BLOCK + 300); /* and what is broken ahead of it */
	space_fault(mm, clone_base + (5ull << PAGE_SHIFT), OS_FAULT_MINOR);
	space_settle();
	for (uint64_t page = 0; page < CLONE_PAGES; page++) {
		bool mapped = fake_uffd_mapped(mm->uffd, clone_base + (page << PAGE_SHIFT));
		bool inherits = space_state(child, page) == PAGE_INHERIT;

		EXPECT(!mapped || inherits);
		if (page > BLOCK && page < 2 * BLOCK)
			EXPECT_EQ(mapped, inherits);
		nr += mapped;
	}
	EXPECT(!fake_uffd_mapped(mm->uffd, clone_base + ((uint64_t)BLOCK << PAGE_SHIFT)));
	EXPECT(nr > BLOCK);
	EXPECT_EQ(nr_in_state(0, BLOCK + 300, PAGE_INHERIT), BLOCK + 300);
	end_clone();
}

static const struct test_case cases[] = {
	{ "what clones share is broken ahead of a streak of writes (A8)",
	  what_clones_share_is_broken_ahead },
	{ "a streak goes on behind a part that was mapped anew",
	  a_streak_goes_on_behind_what_was_mapped_anew },
	{ "nothing is broken of what is frozen", nothing_is_broken_of_what_is_frozen },
	{ "a reader of a clone finds its ancestor's pages mapped, but for what has diverged",
	  a_reader_of_a_clone_finds_it_mapped },
	{ "for a pool above its high nothing is made ahead (A7)",
	  above_high_nothing_is_made_ahead },
	{ "sequential faults reach farther and farther",
	  sequential_faults_reach_farther_and_farther },
	{ "random faults stay alone", random_faults_stay_alone },
	{ "several streams are told apart", several_streams_are_told_apart },
	{ "a few random faults in between don't end a streak",
	  a_few_random_faults_between_dont_end_a_streak },
	{ "a streak goes on where less was done than it asked for",
	  a_streak_goes_on_where_less_was_done },
	{ "SEQUENTIAL and RANDOM decide at once", advice_decides_at_once },
	{ "a window that shows a part is not left", a_window_of_a_part_is_not_left },
	{ "a streak is made ahead, mapped but for each block's first page (A1)",
	  a_streak_is_made_ahead_but_for_first_pages },
	{ "a streak faults once a block", a_streak_faults_once_a_block },
	{ "2 MiB pages are made ahead too", large_pages_are_made_ahead_too },
	{ "a resident streak is mapped a block at a time, by its own faults",
	  what_is_there_already_is_mapped_without_jobs },
	{ "jobs outlive their session, and no longer than they run (A2)",
	  jobs_outlive_their_session },
	{ "another window of the region waits for no job of this one",
	  another_window_of_the_region_waits_for_no_job },
	{ "a job that fails leaves its pages to faults",
	  a_job_that_fails_leaves_the_pages_to_faults },
	{ "whoever touches the block of a job at work is woken by it (A3)",
	  whoever_touches_a_job_at_work_is_woken_by_it },
	{ "a job that hasn't begun is taken over (A3)", a_job_that_waits_is_taken_over },
	{ "ending runs what is queued", ending_runs_what_is_queued },
};
TEST_MAIN(cases)
