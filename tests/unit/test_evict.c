/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_evict - pages go to slots and come back: evict.c, swapin.c, swapper.c, evacuate.c,
 *              and the feedback of streak.c
 */
#include "mm/space/evict.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/map/swap.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "mm/space/mapping.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"
#include "mm/space/swapin.h"

enum { BASE = 0x10000000, NR = 64, SWAP_MIB = 16 };

static struct region *region;
static struct mm *mm;

static void fill(uint64_t page, uint64_t value)
{
	static uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)];

	for (unsigned int i = 0; i < ARRAY_SIZE(bytes); i++)
		bytes[i] = value + i;
	EXPECT_EQ(os->write(region->section->fd, page << PAGE_SHIFT, bytes, PAGE_SIZE), 0);
}

static bool holds(uint64_t page, uint64_t value)
{
	static uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)];

	EXPECT_EQ(os->read(region->section->fd, page << PAGE_SHIFT, bytes, PAGE_SIZE), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bytes); i++)
		if (bytes[i] != value + i)
			return false;
	return true;
}

static uint64_t address(uint64_t page)
{
	return BASE + (page << PAGE_SHIFT);
}

/* A region whose pages were written by its one client. */
static void start(uint64_t nr)
{
	space_begin(&(struct space_options){ .swap_mib = SWAP_MIB });
	swapper_keep(true);
	region = space_region(nr, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	for (uint64_t i = 0; i < nr; i++) {
		space_fault(mm, address(i), OS_FAULT_WRITE);
		fill(i, i << 32);
	}
}

static void stop(void)
{
	space_expect_valid(region, mm);
	EXPECT_EQ(atomic_load(&region->nr_writing), 0);
	space_close_mm(mm);
	space_drop_region(region);
	space_end_swap();
}

static uint64_t evict(uint64_t first, uint64_t nr)
{
	return reclaim_range(region, (struct page_range){ first, nr });
}

static void contents_come_back(void)
{
	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	EXPECT_EQ(atomic_load(&region->nr_swapped), NR);
	EXPECT_EQ(space_slots_used(), NR);
	space_expect_valid(region, mm);
	for (uint64_t i = 0; i < NR; i++) {
		EXPECT_EQ(space_state(region, i), PAGE_SWAPPED);
		EXPECT(!fake_uffd_mapped(mm->uffd, address(i)));
	}
	for (uint64_t i = NR; i-- > 0;) {
		space_fault(mm, address(i), 0);
		EXPECT(fake_uffd_mapped(mm->uffd, address(i)));
		EXPECT(fake_uffd_protected(mm->uffd, address(i)));
		EXPECT(holds(i, i << 32));
	}
	EXPECT_EQ(atomic_load(&region->nr_swapped), 0);
	EXPECT_EQ(space_slots_used(), NR); /* I2 */
	stop();
}

/* The fake host's clock stands still by itself. */
static void *pass_time(void *stop)
{
	while (!atomic_load((_Atomic bool *)stop)) {
		fake_os_advance_ns(1000 * 1000);
		sched_yield();
	}
	return NULL;
}

/* One that saw the page before it was evicted would map an empty frame. */
static void no_frame_is_made_under_a_mapping_begun_before(void)
{
	struct swap_in_request want;
	struct swapper *s;
	struct page_range run;
	_Atomic bool stop_clock = false;
	pthread_t clock;
	unsigned int turn;

	start(NR);
	want = (struct swap_in_request){ .region = region, .range = { 2, 1 } };
	s = swapper_get(SWAPPER_READER);
	EXPECT(s);
	EXPECT_EQ(evict(0, NR), NR);
	turn = region_map_enter(region);
	EXPECT_EQ(pthread_create(&clock, NULL, pass_time, &stop_clock), 0);
	EXPECT_EQ(region_swap_in(s, &want, &run), -EAGAIN);
	atomic_store(&stop_clock, true);
	EXPECT_EQ(pthread_join(clock, NULL), 0);
	EXPECT_EQ(space_state(region, 2), PAGE_SWAPPED);
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	region_map_leave(region, turn);
	EXPECT_EQ(region_swap_in(s, &want, &run), 0);
	EXPECT(holds(2, 2ull << 32));
	swapper_put(s);
	stop();
}

static void a_write_frees_the_slot(void)
{
	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	space_fault(mm, address(3), OS_FAULT_WRITE);
	EXPECT(fake_uffd_mapped(mm->uffd, address(3)));
	EXPECT(!fake_uffd_protected(mm->uffd, address(3)));
	EXPECT_EQ(space_slots_used(), NR - 1);
	space_fault(mm, address(4), 0);
	EXPECT(fake_uffd_protected(mm->uffd, address(4)));
	space_fault(mm, address(4), OS_FAULT_WRITE | OS_FAULT_WP);
	EXPECT(!fake_uffd_protected(mm->uffd, address(4)));
	EXPECT_EQ(space_slots_used(), NR - 2);
	EXPECT(holds(3, 3ull << 32) && holds(4, 4ull << 32));
	stop();
}

static void a_clean_page_isnt_written_again(void)
{
	uint64_t before;

	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	for (uint64_t i = 0; i < NR; i++)
		space_fault(mm, address(i), 0);
	before = atomic_load(&reclaim_stats.pswpout);
	EXPECT_EQ(evict(0, NR), NR);
	EXPECT_EQ(atomic_load(&reclaim_stats.pswpout), before);
	space_fault(mm, address(9), 0);
	EXPECT(holds(9, 9ull << 32));
	stop();
}

static void repeated_values_need_no_slot(void)
{
	static uint32_t bytes[PAGE_SIZE / sizeof(uint32_t)];

	start(NR);
	memset(bytes, 0, sizeof(bytes));
	EXPECT_EQ(os->write(region->section->fd, 0, bytes, PAGE_SIZE), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bytes); i++)
		bytes[i] = 0xdecade;
	EXPECT_EQ(os->write(region->section->fd, PAGE_SIZE, bytes, PAGE_SIZE), 0);
	EXPECT_EQ(evict(0, 3), 3);
	EXPECT_EQ(space_slots_used(), 1);
	EXPECT_EQ(space_state(region, 0), PAGE_SAME_FILLED);
	EXPECT_EQ(space_state(region, 1), PAGE_SAME_FILLED);
	space_fault(mm, address(0), 0);
	space_fault(mm, address(1), OS_FAULT_WRITE);
	EXPECT_EQ(os->read(region->section->fd, PAGE_SIZE, bytes, PAGE_SIZE), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bytes); i++)
		EXPECT_EQ(bytes[i], 0xdecade);
	EXPECT_EQ(os->read(region->section->fd, 0, bytes, PAGE_SIZE), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bytes); i++)
		EXPECT_EQ(bytes[i], 0);
	stop();
}

static uint64_t punches(void)
{
	struct fake_os_calls calls;

	fake_os_calls(&calls);
	return calls.punch;
}

/* Every fourth page is there: one punch does for all of them, and what lies between stays out. */
static void isolated_pages_go_by_one_punch(void)
{
	uint64_t before;

	start(NR);
	evict(0, NR);
	for (uint64_t i = 0; i < NR; i += 4)
		space_fault(mm, address(i), 0);
	before = punches();
	EXPECT_EQ(evict(0, NR), NR / 4);
	EXPECT_EQ(punches() - before, 1);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT_EQ(word_load(region_word(region, i)) & (WORD_STATE_MASK | WORD_BUSY),
			  PAGE_SWAPPED);
	space_expect_valid(region, mm);
	for (uint64_t i = 0; i < NR; i++) {
		space_fault(mm, address(i), 0);
		EXPECT(holds(i, i << 32));
	}
	stop();
}

/* Somebody is bringing a page between two victims back: it gets its frame, and keeps it. */
static void a_busy_page_between_is_left_alone(void)
{
	uint64_t before, old;

	start(3);
	evict(1, 1);
	EXPECT(word_try_busy(region_word(region, 1), PAGE_SWAPPED, &old));
	before = punches();
	EXPECT_EQ(evict(0, 3), 2);
	EXPECT_EQ(punches() - before, 2);
	EXPECT(word_load(region_word(region, 1)) & WORD_BUSY);
	EXPECT(!word_end_busy(region_word(region, 1), old));
	stop();
}

static void a_punched_page_is_not_taken_for_zeros(void)
{
	start(NR);
	fake_os_client_punch(region->section->fd, 5 << PAGE_SHIFT, PAGE_SIZE);
	EXPECT_EQ(evict(5, 1), 0);
	EXPECT_EQ(space_state(region, 5), PAGE_PRESENT);
	space_fault(mm, address(5), 0);
	EXPECT_EQ(space_state(region, 5), PAGE_POISONED);
	stop();
}

static void locked_pages_stay(void)
{
	start(NR);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 10, 5 }), 0);
	EXPECT_EQ(evict(0, NR), NR - 5);
	for (uint64_t i = 10; i < 15; i++)
		EXPECT_EQ(space_state(region, i), PAGE_PRESENT);
	/* Locking brings back what is needed. */
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 0, 20 }), 0);
	for (uint64_t i = 0; i < 20; i++)
		EXPECT(holds(i, i << 32));
	region_unlock_pages(region, (struct page_range){ 0, 20 });
	EXPECT_EQ(evict(0, NR), 20);
	stop();
}

static void dropped_pages_take_their_slots_along(void)
{
	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	for (uint64_t i = 0; i < NR; i += 2)
		space_fault(mm, address(i), 0);
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, NR / 2 }), 0);
	EXPECT_EQ(space_slots_used(), NR / 2);
	space_fault(mm, address(1), 0);
	EXPECT_EQ(space_state(region, 1), PAGE_PRESENT);
	stop();
}

static void what_cant_be_protected_stays(void)
{
	start(NR);
	fake_uffd_set_error(mm->uffd, -EAGAIN);
	EXPECT_EQ(evict(0, NR), 0);
	fake_uffd_set_error(mm->uffd, 0);
	EXPECT_EQ(space_slots_used(), 0);
	for (uint64_t i = 0; i < NR; i++) /* who writes now isn't an event */
		EXPECT(!(word_load(region_word(region, i)) & WORD_CLEAN));
	fake_uffd_set_error(mm->uffd, -ESRCH); /* the client died: nothing is mapped */
	EXPECT_EQ(evict(0, NR), NR);
	fake_uffd_set_error(mm->uffd, 0);
	stop();
}

/* What had been taken for them is there again. */
static void pages_that_find_no_room_stay_out(void)
{
	struct swap_in_request want;
	struct swap_claim claim;
	struct page_range run;
	struct swap_page io;
	struct swapper *s;

	start(NR);
	want = (struct swap_in_request){ .region = region, .range = { 4, 4 } };
	EXPECT_EQ(evict(0, NR), NR);
	s = swapper_get(SWAPPER_READER);
	memcg_set_limit(region->memcg, MEMCG_MAX, 0);
	EXPECT_EQ(region_swap_claim(region, 3, &claim, &io), -ENOMEM);
	EXPECT_EQ(region_swap_in(s, &want, &run), -ENOMEM);
	space_expect_valid(region, mm);
	memcg_set_limit(region->memcg, MEMCG_MAX, 1);
	EXPECT_EQ(region_swap_in(s, &want, &run), 0);
	EXPECT_EQ(run.nr, 1);
	space_expect_valid(region, mm);
	memcg_set_limit(region->memcg, MEMCG_MAX, MEMCG_NO_LIMIT);
	swapper_put(s);
	for (uint64_t i = 3; i < 8; i++)
		EXPECT_EQ(space_state(region, i), i == 4 ? PAGE_PRESENT : PAGE_SWAPPED);
	for (uint64_t i = 3; i < 8; i++) {
		space_fault(mm, address(i), 0);
		EXPECT(holds(i, i << 32));
	}
	stop();
}

/* ---- a host that fails ---- */

static const struct os_ops *os_before;
static void buffers_are_a_small_part_of_the_reserve(void)
{
	uint64_t limit = 0;
	struct swapper *s;

	start(1);
	swapper_keep(false);
	EXPECT_EQ(stock_charge_metadata(0), 0);
	for (int node = 0; node < nr_nodes; node++)
		limit += stock_limit(node, STOCK_BASE) + stock_limit(node, STOCK_HUGE);
	s = swapper_get(SWAPPER_WRITER);
	EXPECT(s);
	EXPECT(stock_buffer_frames() > 0);
	EXPECT(stock_buffer_frames() <= max_t(uint64_t, limit / 256, 64));
	swapper_put(s);
	EXPECT_EQ(stock_buffer_frames(), 0);
	EXPECT_EQ(stock_charge_metadata(-1), 0);
	stop();
}

static struct os_ops os_hostile;

static void begin_hostile(void)
{
	os_before = os;
	os_hostile = *os;
	os = &os_hostile;
}

static int fail_read(int fd, uint64_t offset, void *bytes, uint64_t length)
{
	return fd == region->section->fd ? -EIO : os_before->read(fd, offset, bytes, length);
}

static int fail_write(int fd, uint64_t offset, const void *bytes, uint64_t length)
{
	return fd == region->section->fd ? -ENOSPC : os_before->write(fd, offset, bytes, length);
}

/* Else its slot would hold whatever the buffer held. */
static void a_page_that_cant_be_read_from_its_file_stays(void)
{
	start(NR);
	begin_hostile();
	os_hostile.read = fail_read;
	EXPECT_EQ(evict(0, NR), 0);
	os = os_before;
	EXPECT_EQ(space_slots_used(), 0);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(holds(i, i << 32));
	stop();
}

static void a_page_that_cant_be_put_back_stays_out(void)
{
	struct swap_claim claim;
	struct swap_page io;
	uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)] = { 0 };

	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	EXPECT_EQ(region_swap_claim(region, 3, &claim, &io), 0);
	begin_hostile();
	os_hostile.write = fail_write;
	EXPECT(region_swap_settle(&claim, bytes, 0, false) < 0);
	os = os_before;
	EXPECT_EQ(space_state(region, 3), PAGE_SWAPPED);
	space_expect_valid(region, mm);
	space_fault(mm, address(3), 0);
	EXPECT(holds(3, 3ull << 32));
	stop();
}

/* A daemon that dies here must not believe that the page is there. */
static int punch_while_awaited(int fd, uint64_t offset, uint64_t length)
{
	EXPECT_EQ(space_state(region, 5), PAGE_SWAPPED);
	EXPECT(word_wait(region_word(region, 5)));
	return os_before->punch(fd, offset, length);
}

static void who_waits_for_a_page_that_goes_is_woken(void)
{
	uint64_t before;

	start(NR);
	before = fake_uffd_wakes(mm->uffd, address(5));
	begin_hostile();
	os_hostile.punch = punch_while_awaited;
	EXPECT_EQ(evict(4, 3), 3);
	os = os_before;
	EXPECT(fake_uffd_wakes(mm->uffd, address(5)) > before);
	stop();
}

static int populate_while_awaited(int fd, uint64_t offset, uint64_t length, int node)
{
	EXPECT(word_wait(region_word(region, 5)));
	return os_before->populate(fd, offset, length, node);
}

static void who_waits_for_a_page_that_comes_is_woken(void)
{
	const uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)] = { 0 };
	struct swap_in_request want;
	struct swap_claim claim;
	struct page_range run;
	struct swap_page io;
	struct swapper *s;
	uint64_t before;

	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	want = (struct swap_in_request){ .region = region, .range = { 4, 4 } };
	before = fake_uffd_wakes(mm->uffd, address(5));
	s = swapper_get(SWAPPER_READER);
	begin_hostile();
	os_hostile.populate = populate_while_awaited;
	EXPECT_EQ(region_swap_in(s, &want, &run), 0);
	os = os_before;
	swapper_put(s);
	EXPECT(fake_uffd_wakes(mm->uffd, address(5)) > before);
	before = fake_uffd_wakes(mm->uffd, address(9));
	EXPECT_EQ(region_swap_claim(region, 9, &claim, &io), 0);
	EXPECT(word_wait(region_word(region, 9)));
	EXPECT_EQ(region_swap_settle(&claim, bytes, 0, false), 0);
	EXPECT(fake_uffd_wakes(mm->uffd, address(9)) > before);
	stop();
}

static int populate_and_fail(int fd, uint64_t offset, uint64_t length, int node)
{
	EXPECT_EQ(os_before->populate(fd, offset, length, node), 0);
	return -EIO;
}

/* What has come of a page that fails to come goes, and is never taken for the page. */
static void pages_that_fail_to_come_leave_nothing(void)
{
	struct swap_in_request want;
	struct page_range run;
	struct swapper *s;

	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	want = (struct swap_in_request){ .region = region, .range = { 4, 2 } };
	s = swapper_get(SWAPPER_READER);
	begin_hostile();
	os_hostile.populate = populate_and_fail;
	EXPECT_EQ(region_drop(region, (struct page_range){ 9, 1 }), 0);
	EXPECT_EQ(region_make_present(region, (struct page_range){ 9, 1 }, 9, &run), -EIO);
	EXPECT_EQ(space_state(region, 9), PAGE_NONE);
	EXPECT_EQ(region_swap_in(s, &want, &run), -EIO);
	EXPECT_EQ(space_state(region, 4), PAGE_SWAPPED);
	space_expect_valid(region, mm);
	os_hostile.populate = os_before->populate;
	os_hostile.write = fail_write;
	EXPECT_EQ(region_swap_in(s, &want, &run), -EIO);
	os = os_before;
	swapper_put(s);
	EXPECT_EQ(space_state(region, 4), PAGE_POISONED);
	EXPECT_EQ(space_state(region, 5), PAGE_POISONED);
	stop();
}

/* Where a window has gone meanwhile its pages weren't protected, perhaps. */
static void what_has_moved_meanwhile_stays(void)
{
	const struct evict_filter filter = { .node = -1, .all_ages = true };
	const uint64_t far = 1ull << 40, length = NR << PAGE_SHIFT;
	struct evict_result result = { 0 };
	struct swapper *s;

	start(NR);
	s = swapper_get(SWAPPER_WRITER);
	EXPECT(s && evict_begin(s, region));
	evict_block(s, region, (struct page_range){ 0, NR }, &filter, &result);
	EXPECT_EQ(mm_move_range(mm, BASE, far, length), 0);
	EXPECT_EQ(mm_move_range(mm, far, BASE, length), 0);
	evict_end(s, region, &result);
	swapper_put(s);
	EXPECT_EQ(result.nr_freed, 0);
	EXPECT_EQ(space_slots_used(), 0);
	EXPECT_EQ(evict(0, NR), NR);
	stop();
}

static void a_pools_swap_max_holds(void)
{
	start(NR);
	memcg_set_limit(region->memcg, MEMCG_SWAP_MAX, NR / 4);
	evict(0, NR);
	EXPECT_EQ(space_slots_used(), NR / 4);
	memcg_set_limit(region->memcg, MEMCG_SWAP_MAX, MEMCG_NO_LIMIT);
	EXPECT_EQ(memcg_read(region->memcg, MEMCG_SWAP), space_slots_used());
	stop();
}

static void expect_active(uint64_t nr)
{
	uint64_t found = 0;

	for (uint64_t i = 0; i < NR; i++) {
		uint64_t word = word_load(region_word(region, i));

		found += word_state(word) == PAGE_PRESENT && word & WORD_ACTIVE;
	}
	EXPECT_EQ(found, nr);
	EXPECT_EQ(atomic_load(&region_lru(region, 0)->nr_active), nr);
}

/* However they go, and come back. */
static void active_pages_are_counted(void)
{
	start(NR);
	for (int round = 0; round < 2; round++) {
		lru_next_generation(region_lru(region, 0));
		for (uint64_t i = 0; i < 8; i++)
			region_note_use(region, i);
	}
	expect_active(8);
	reclaim_make_cold(region, (struct page_range){ 0, 2 });
	expect_active(6);
	EXPECT_EQ(region_drop(region, (struct page_range){ 2, 1 }), 0);
	expect_active(5);
	EXPECT(region_poison(region, 3, "test"));
	expect_active(4);
	EXPECT_EQ(evict(0, 8), 6);
	expect_active(0);
	space_fault(mm, address(7), 0); /* soon */
	expect_active(1);
	stop();
}

static void without_slots_pages_stay(void)
{
	start(NR);
	swap_area_accept(0, false);
	EXPECT_EQ(evict(0, NR), 0);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(holds(i, i << 32));
	swap_area_accept(0, true);
	stop();
}

static void unwanted_pages_are_dropped(void)
{
	uint64_t before = atomic_load(&reclaim_stats.pswpout);

	start(NR);
	evict_lazily(region, (struct page_range){ 0, 8 });
	EXPECT(fake_uffd_protected(mm->uffd, address(2)));
	space_fault(mm, address(2), OS_FAULT_WRITE | OS_FAULT_WP);
	EXPECT_EQ(evict(0, 8), 8);
	EXPECT_EQ(atomic_load(&reclaim_stats.pswpout), before + 1);
	EXPECT_EQ(space_state(region, 1), PAGE_NONE);
	EXPECT_EQ(space_state(region, 2), PAGE_SWAPPED);
	space_fault(mm, address(2), 0);
	EXPECT(holds(2, 2ull << 32));
	stop();
}

/* What is written to it where it lies next would be no event. */
static void a_window_that_may_be_moving_frees_nothing_lazily(void)
{
	start(NR);
	mutex_lock(&mm->events_lock);
	evict_lazily(region, (struct page_range){ 0, 8 });
	mutex_unlock(&mm->events_lock);
	EXPECT_EQ(evict(0, 8), 8);
	EXPECT_EQ(space_state(region, 1), PAGE_SWAPPED);
	space_fault(mm, address(1), 0);
	EXPECT(holds(1, 1ull << 32));
	stop();
}

static void pages_come_in_together(void)
{
	struct page_range run;
	struct swapper *s;
	struct swap_in_request want;

	start(NR);
	EXPECT_EQ(evict(0, 4), 4);
	want = (struct swap_in_request){ .region = region, .range = { 0, 4 } };
	s = swapper_get(SWAPPER_READER);
	EXPECT_EQ(region_swap_in(s, &want, &run), 0);
	EXPECT_EQ(run.nr, 4);
	EXPECT_EQ(region_swap_in(s, &want, &run), -EAGAIN);
	swapper_put(s);
	stop();
}

/* What a fault there would bring along. */
static uint64_t around_at(uint64_t page)
{
	struct mm_target target;
	struct mm_hint hint;

	EXPECT(mm_find(mm, address(page), &target, &hint));
	region_put(target.region);
	return hint.around;
}

static void reading_ahead_has_to_pay(void)
{
	enum { PAGES = 2048, RECORD = 3, RECORDS = 60, FAR = PAGES / RECORDS };
	uint64_t hits, first = 0, last = 0, most = 0, step;

	start(PAGES);
	EXPECT_EQ(evict(0, PAGES), PAGES);
	for (uint64_t i = 0; i < RECORDS; i++) {
		for (uint64_t k = 0; k < RECORD; k++)
			last = around_at(i * FAR + k);
		if (!i)
			first = last;
	}
	EXPECT(first > 1);
	EXPECT_EQ(last, 1);
	hits = swap_io_stat.ahead_hits;
	for (uint64_t page = 0; page < PAGES; page += step) {
		step = around_at(page);
		most = max_t(uint64_t, most, step);
	}
	EXPECT(most >= 256);
	EXPECT(swap_io_stat.ahead_hits - hits > PAGES / 2);
	stop();
}

static void swapoff_brings_all_back(void)
{
	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	for (uint64_t i = 0; i < NR; i += 4)
		space_fault(mm, address(i), 0);
	EXPECT_EQ(space_swap_off(), 0);
	EXPECT_EQ(atomic_load(&region->nr_resident), NR);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(holds(i, i << 32));
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	swapper_keep(false);
	space_end();
}

static void a_copy_where_nothing_more_goes_doesnt_count(void)
{
	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	for (uint64_t i = 0; i < NR; i++)
		space_fault(mm, address(i), 0);
	EXPECT_EQ(space_slots_used(), NR);
	swap_area_accept(0, false);
	EXPECT_EQ(evict(0, NR), 0);
	EXPECT_EQ(space_slots_used(), 0);
	for (uint64_t i = 0; i < NR; i++) {
		EXPECT_EQ(space_state(region, i), PAGE_PRESENT);
		EXPECT(holds(i, i << 32));
	}
	swap_area_accept(0, true);
	EXPECT_EQ(evict(0, NR), NR);
	stop();
}

static void a_lost_page_is_poisoned_alone(void)
{
	start(NR);
	EXPECT_EQ(evict(0, NR), NR);
	inject_arm(INJECT_DISK_READ, 1, -EIO);
	space_fault(mm, address(7), 0);
	inject_arm(INJECT_DISK_READ, 0, 0);
	EXPECT_EQ(space_state(region, 7), PAGE_POISONED);
	EXPECT_EQ(atomic_load(&region->nr_poisoned), 1);
	EXPECT(fake_uffd_poisoned(mm->uffd, address(7)));
	EXPECT_EQ(space_slots_used(), NR);
	for (uint64_t i = 0; i < NR; i++) {
		if (i == 7)
			continue;
		space_fault(mm, address(i), 0);
		EXPECT(holds(i, i << 32));
	}
	stop();
}

static void what_cant_be_written_stays(void)
{
	start(NR);
	inject_arm(INJECT_DISK_WRITE, 1, -EIO);
	evict(0, NR); /* it may have been written elsewhere */
	inject_arm(INJECT_DISK_WRITE, 0, 0);
	for (uint64_t i = 0; i < NR; i++) {
		space_fault(mm, address(i), 0);
		EXPECT(holds(i, i << 32));
	}
	stop();
}

/* A predecessor's windows aren't all known yet. */
static void nothing_goes_while_all_rest(void)
{
	start(NR);
	evict_rest(true);
	EXPECT_EQ(reclaim_memcg(region->memcg, NR), 0);
	EXPECT_EQ(space_present(0, STOCK_BASE), NR);
	EXPECT_EQ(space_slots_used(), 0);
	evict_rest(false);
	EXPECT_EQ(evict(0, NR), NR);
	stop();
}

static const struct test_case cases[] = {
	{ "buffers are a small part of the reserve", buffers_are_a_small_part_of_the_reserve },
	{ "evicted pages come back as they were", contents_come_back },
	{ "nothing is evicted while all rest", nothing_goes_while_all_rest },
	{ "no frame is made under an operation on mappings that may have seen the page (I3)",
	  no_frame_is_made_under_a_mapping_begun_before },
	{ "a write frees the slot, at the fault or later", a_write_frees_the_slot },
	{ "a page that was only read is dropped without being written",
	  a_clean_page_isnt_written_again },
	{ "pages of one value need neither slot nor I/O", repeated_values_need_no_slot },
	{ "pages with others between them go by one punch", isolated_pages_go_by_one_punch },
	{ "a page on its way back between two that go is left alone",
	  a_busy_page_between_is_left_alone },
	{ "a page that its client punched isn't taken for zeros (E4)",
	  a_punched_page_is_not_taken_for_zeros },
	{ "locked pages stay, and locking brings pages back", locked_pages_stay },
	{ "dropped pages take their slots along", dropped_pages_take_their_slots_along },
	{ "what can't be protected stays (E2)", what_cant_be_protected_stays },
	{ "pages that find no room stay out", pages_that_find_no_room_stay_out },
	{ "a page that can't be read from its file stays",
	  a_page_that_cant_be_read_from_its_file_stays },
	{ "a page that can't be put back stays out", a_page_that_cant_be_put_back_stays_out },
	{ "who waits for a page that goes is woken", who_waits_for_a_page_that_goes_is_woken },
	{ "who waits for a page that comes is woken", who_waits_for_a_page_that_comes_is_woken },
	{ "pages that fail to come leave nothing", pages_that_fail_to_come_leave_nothing },
	{ "what has moved meanwhile stays", what_has_moved_meanwhile_stays },
	{ "a pool's swap_max holds", a_pools_swap_max_holds },
	{ "active pages are counted, however they go", active_pages_are_counted },
	{ "without free slots pages stay", without_slots_pages_stay },
	{ "pages that are free to go are dropped, unless they were written to",
	  unwanted_pages_are_dropped },
	{ "a window that may be moving frees nothing lazily",
	  a_window_that_may_be_moving_frees_nothing_lazily },
	{ "swapoff brings everything back (V1)", swapoff_brings_all_back },
	{ "a copy in an area that takes nothing more doesn't count (E5)",
	  a_copy_where_nothing_more_goes_doesnt_count },
	{ "a page that can't be read is poisoned alone, and keeps its slot (I1)",
	  a_lost_page_is_poisoned_alone },
	{ "what can't be written stays", what_cant_be_written_stays },
	{ "several pages come in together, once", pages_come_in_together },
	{ "who reads a few pages here and there gets no neighbours, who goes on gets many",
	  reading_ahead_has_to_pay },
};
TEST_MAIN(cases)
