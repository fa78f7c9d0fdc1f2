/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fault - what becomes of one fault event, and how it counts (fault_count.c)
 */
#include "mm/space/fault.h"

#include <errno.h>
#include <string.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/lane.h"
#include "mm/space/lane_watch.h"

enum { BASE = 0x10000000, OTHER = 2 * BASE, PAGES = 1024, PARK_NS = 10 * 1000 * 1000 };

static struct region *region;
static struct mm *mm;
static struct fault_stats before;
static uint64_t ended_before;

static void begin_with(const struct space_options *options, unsigned int page_shift)
{
	space_begin(options);
	region = space_region(page_shift == PAGE_SHIFT ? PAGES : 8, page_shift);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	before = fault_stats;
	ended_before = histogram_count(&fault_latency);
}

static void begin(void)
{
	begin_with(&(struct space_options){ 0 }, PAGE_SHIFT);
}

static void end(void)
{
	os = &os_fake;
	space_settle();
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	space_end();
}

#define EXPECT_COUNT(field, nr) EXPECT_EQ(fault_stats.field - before.field, nr)

#define EXPECT_ENDED(nr) EXPECT_EQ(histogram_count(&fault_latency) - ended_before, nr)

static uint64_t page_address(uint64_t page)
{
	return BASE + (page << region->page_shift);
}

static bool mapped(uint64_t page)
{
	return fake_uffd_mapped(mm->uffd, page_address(page));
}

static bool poisoned(uint64_t page)
{
	return fake_uffd_poisoned(mm->uffd, page_address(page));
}

static uint64_t wakes(uint64_t page)
{
	return fake_uffd_wakes(mm->uffd, page_address(page));
}

/* ---- an os table that misbehaves ---- */

static struct os_ops odd_os;
static int odd_error;
static unsigned int nr_odd; /* calls that are still to fail */

static struct os_range_result odd_continue(int uffd, uint64_t address, uint64_t length)
{
	if (!nr_odd)
		return os_fake.uffd_continue(uffd, address, length);
	nr_odd--;
	return (struct os_range_result){ .error = odd_error };
}

static int odd_poison(int uffd, uint64_t address, uint64_t length)
{
	if (!nr_odd)
		return os_fake.uffd_poison(uffd, address, length);
	nr_odd--;
	return odd_error;
}

static void misbehave(int error, unsigned int nr)
{
	odd_os = os_fake;
	odd_os.uffd_continue = odd_continue;
	odd_error = error;
	nr_odd = nr;
	os = &odd_os;
}

/* An address without a window is looked up twice, since the window may just be moving there. */
static void stray(uint64_t address)
{
	space_fault(mm, address, 0);
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
}

/* ---- the ordinary ends ---- */

static void a_missing_page_is_made_and_mapped(void)
{
	begin();
	space_fault(mm, page_address(5) + 77, OS_FAULT_WRITE);
	EXPECT(mapped(5));
	EXPECT_EQ(wakes(5), 1);
	EXPECT(!mapped(4) && !mapped(6));
	EXPECT_EQ(space_state(region, 5), PAGE_PRESENT);
	EXPECT_EQ(region->nr_resident, 1);
	EXPECT_COUNT(nr_faults, 1);
	EXPECT_COUNT(nr_missing, 1);
	EXPECT_EQ(region->nr_faults, 1);
	EXPECT_EQ(region->nr_write_faults, 1);
	EXPECT_EQ(mm->nr_faults, 1);
	EXPECT_ENDED(1);
	end();
}

static void a_resident_page_is_only_mapped(void)
{
	struct fake_os_calls calls, now;

	begin();
	EXPECT_EQ(region_populate(region, (struct page_range){ 7, 1 }), 0);
	fake_os_calls(&calls);
	space_fault(mm, page_address(7), OS_FAULT_MINOR);
	fake_os_calls(&now);
	EXPECT_EQ(now.populate, calls.populate);
	EXPECT(mapped(7));
	EXPECT_COUNT(nr_minor, 1);
	EXPECT_EQ(region->nr_write_faults, 0);
	end();
}

static void a_page_mapped_meanwhile_wakes_its_sleeper(void)
{
	begin();
	space_fault(mm, page_address(7), 0);
	space_fault(mm, page_address(7), 0); /* another thread was at it too */
	EXPECT_EQ(wakes(7), 2);
	EXPECT_EQ(region->nr_resident, 1);
	end();
}

static void a_large_page_is_mapped_whole(void)
{
	for (uint64_t huge = 0; huge <= 32; huge += 32) {
		begin_with(&(struct space_options){ .huge_mib = huge }, PAGEBLOCK_SHIFT);
		space_fault(mm, page_address(3) + 5 * PAGE_SIZE, 0);
		EXPECT(mapped(3));
		EXPECT(fake_uffd_mapped(mm->uffd, page_address(4) - PAGE_SIZE));
		EXPECT(!mapped(2) && !mapped(4));
		EXPECT_EQ(region->nr_resident, 1);
		end();
	}
}

static void a_write_protection_is_undone(void)
{
	struct fake_os_calls calls;

	begin();
	space_fault(mm, page_address(7), 0);
	space_fault(mm, page_address(7), OS_FAULT_WP | OS_FAULT_WRITE);
	fake_os_calls(&calls);
	EXPECT_EQ(calls.uffd_unprotect, 1);
	EXPECT_COUNT(nr_wp, 1);
	end();
}

static void users_share_frames(void)
{
	struct mm *other;

	begin();
	other = space_mm();
	space_window(other, region, OTHER, 1);
	space_fault(mm, page_address(7), 0);
	space_fault(other, OTHER + 7 * PAGE_SIZE, OS_FAULT_MINOR);
	EXPECT(fake_uffd_mapped(other->uffd, OTHER + 7 * PAGE_SIZE));
	EXPECT_EQ(region->nr_resident, 1);
	space_close_mm(other);
	end();
}

static void nothing_is_mapped_beyond_the_window(void)
{
	struct region *other;
	uint64_t end_of_window;

	begin();
	end_of_window = page_address(300);
	other = space_region(PAGES, PAGE_SHIFT);
	atomic_store(&region->huge, true); /* the whole pageblock comes, of which 300 show */
	EXPECT_EQ(mm_remove_range(mm, end_of_window, (PAGES - 300) * PAGE_SIZE), 0);
	fake_uffd_unmap(mm->uffd, BASE, PAGES * PAGE_SIZE);
	fake_uffd_window(mm->uffd, BASE, 300 * PAGE_SIZE, region->section->fd, 0);
	space_window(mm, other, end_of_window, 2);
	fake_os_conjure(other->section->fd, 0);
	space_fault(mm, page_address(5), 0);
	EXPECT_EQ(region->nr_resident, PAGEBLOCK_PAGES);
	EXPECT(mapped(299));
	EXPECT(!fake_uffd_mapped(mm->uffd, end_of_window));
	EXPECT_EQ(region_audit(other), 1);
	mm_remove_handle(mm, 2);
	space_drop_region(other);
	end();
}

/* ---- strays ---- */

static void an_address_without_a_window_is_poisoned(void)
{
	begin();
	fake_uffd_window(mm->uffd, OTHER, PAGE_SIZE, region->section->fd, 0);
	space_fault(mm, OTHER + 99, 0);
	EXPECT_EQ(space_told.nr_records, 0);
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	EXPECT(fake_uffd_poisoned(mm->uffd, OTHER));
	EXPECT(!fake_uffd_mapped(mm->uffd, OTHER));
	EXPECT_COUNT(nr_strays, 1);
	EXPECT_EQ(mm->nr_strays, 1);
	EXPECT_EQ(space_told.nr_records, 1);
	EXPECT_EQ(space_told.address, OTHER);
	EXPECT_EQ(space_told.error, -EFAULT);
	EXPECT_EQ(space_told.region[0], '\0');
	EXPECT_EQ(space_told.nr_ended, 0);
	end();
}

/* The window has moved to OTHER: who touched there before is served at the next look. */
static void expect_served_there(void)
{
	fake_uffd_window(mm->uffd, OTHER, PAGES * PAGE_SIZE, region->section->fd, 0);
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	EXPECT(fake_uffd_mapped(mm->uffd, OTHER + PAGE_SIZE));
	EXPECT_COUNT(nr_strays, 0);
}

static void a_window_that_is_just_moving_there_is_found(void)
{
	begin();
	space_fault(mm, OTHER + PAGE_SIZE, 0);
	EXPECT_EQ(mm_move_range(mm, BASE, OTHER, (uint64_t)PAGES * PAGE_SIZE), 0);
	expect_served_there();
	end();
}

/* A lane that has been interrupted may take longer than that. */
static void a_move_that_takes_long_poisons_nobody(void)
{
	begin();
	space_fault(mm, OTHER + PAGE_SIZE, 0);
	mutex_lock(&mm->events_lock);
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), PARK_NS);
	EXPECT_COUNT(nr_strays, 0);
	EXPECT_EQ(mm_move_range(mm, BASE, OTHER, (uint64_t)PAGES * PAGE_SIZE), 0);
	mutex_unlock(&mm->events_lock);
	expect_served_there();
	end();
}

static void a_stray_in_hugetlb_is_poisoned_by_the_large_page(void)
{
	begin();
	misbehave(0, 0);
	odd_os.uffd_poison = odd_poison;
	odd_error = -EINVAL;
	nr_odd = 1;
	fake_uffd_window(mm->uffd, OTHER, PAGEBLOCK_SIZE, region->section->fd, 0);
	stray(OTHER + 5 * PAGE_SIZE);
	EXPECT(fake_uffd_poisoned(mm->uffd, OTHER));
	EXPECT_EQ(space_told.nr_ended, 0);
	end();
}

static void a_client_that_cant_be_poisoned_is_ended(void)
{
	begin_with(&(struct space_options){ .cannot_poison = true }, PAGE_SHIFT);
	stray(OTHER);
	EXPECT_EQ(space_told.nr_records, 1);
	EXPECT_EQ(space_told.nr_ended, 1);
	end();
}

/* ---- errors of CONTINUE ---- */

static void a_client_that_is_gone_is_normal(void)
{
	static const int errors[] = { -ENOENT, -ESRCH };

	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		begin();
		fake_uffd_set_error(mm->uffd, errors[i]);
		space_fault(mm, page_address(5), 0);
		stray(OTHER);
		EXPECT_COUNT(nr_gone, 1);
		EXPECT_EQ(space_told.nr_ended, 0);
		fake_uffd_set_error(mm->uffd, 0);
		end();
	}
}

static void a_client_that_changes_its_map_faults_again(void)
{
	static const int errors[] = { -EAGAIN, -ENOMEM };

	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		begin();
		misbehave(errors[i], 1);
		space_fault(mm, page_address(5), 0);
		EXPECT_COUNT(nr_again, 1);
		EXPECT_EQ(wakes(5), 1);
		EXPECT(!mapped(5));
		space_fault(mm, page_address(5), OS_FAULT_MINOR);
		EXPECT(mapped(5));
		end();
	}
}

static void a_poison_that_must_wait_ends_nobody(void)
{
	begin();
	misbehave(0, 0);
	odd_os.uffd_poison = odd_poison;
	odd_error = -EAGAIN; /* the client forks, or unmaps something, all the time */
	nr_odd = 1;
	fake_uffd_window(mm->uffd, OTHER, PAGE_SIZE, region->section->fd, 0);
	stray(OTHER);
	EXPECT_EQ(space_told.nr_ended, 0);
	EXPECT_EQ(fake_uffd_wakes(mm->uffd, OTHER), 1);
	stray(OTHER);
	EXPECT(fake_uffd_poisoned(mm->uffd, OTHER));
	end();
}

static void a_page_that_vanishes_for_a_moment_is_looked_at_again(void)
{
	begin();
	misbehave(-EFAULT, 1);
	space_fault(mm, page_address(5), 0);
	EXPECT(mapped(5));
	EXPECT_COUNT(nr_punched, 0);
	EXPECT_EQ(space_state(region, 5), PAGE_PRESENT);
	end();
}

/* A page that a client punches and somebody brings back, each time between two looks. */
static struct os_range_result absent_by_turns(int uffd, uint64_t address, uint64_t length)
{
	if (nr_odd++ % 2 == 0)
		return (struct os_range_result){ .error = -EFAULT };
	return os_fake.uffd_continue(uffd, address, length);
}

static void a_page_that_always_vanishes_holds_no_thread(void)
{
	begin();
	misbehave(0, 0);
	odd_os.uffd_continue = absent_by_turns;
	space_fault(mm, page_address(5), 0);
	EXPECT(wakes(5) > 0);
	EXPECT_EQ(space_state(region, 5), PAGE_PRESENT);
	end();
}

static void a_client_that_maps_another_file_harms_itself_only(void)
{
	begin();
	misbehave(-EFAULT, UINT32_MAX);
	space_fault(mm, page_address(5), 0);
	EXPECT_EQ(wakes(5), 1);
	EXPECT_COUNT(nr_punched, 0);
	EXPECT_EQ(space_state(region, 5), PAGE_PRESENT);
	end();
}

/* For ever, if it likes, but after a while no longer on the lanes' time. */
static void a_client_that_goes_in_circles_is_slowed_down(void)
{
	enum { AT_ONCE = 64 };

	begin();
	misbehave(-EFAULT, UINT32_MAX);
	for (int i = 0; i < AT_ONCE; i++)
		space_fault(mm, page_address(5), 0);
	EXPECT_EQ(wakes(5), AT_ONCE);
	EXPECT_COUNT(nr_parked, 0);
	space_fault(mm, page_address(5), 0);
	EXPECT_EQ(wakes(5), AT_ONCE);
	EXPECT_COUNT(nr_parked, 1);
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	EXPECT_EQ(wakes(5), AT_ONCE + 1);
	lane_watch_init();
	lanes_tick();
	lane_watch_fini();
	space_fault(mm, page_address(5), 0);
	EXPECT_EQ(wakes(5), AT_ONCE + 2);
	EXPECT_EQ(space_state(region, 5), PAGE_PRESENT);
	end();
}

static void a_punched_page_is_lost_for_all_its_users(void)
{
	struct mm *other;

	begin();
	other = space_mm();
	space_window(other, region, OTHER, 1);
	space_fault(mm, page_address(5), OS_FAULT_WRITE);
	fake_os_client_punch(region->section->fd, 5 * PAGE_SIZE, PAGE_SIZE);
	space_fault(mm, page_address(5), 0);
	EXPECT(poisoned(5));
	EXPECT_EQ(space_state(region, 5), PAGE_POISONED);
	EXPECT_COUNT(nr_punched, 1);
	EXPECT_EQ(space_told.nr_records, 1);
	EXPECT(!strcmp(space_told.region, "test"));
	EXPECT_EQ(space_told.offset, 5 * PAGE_SIZE);
	EXPECT_EQ(space_told.address, page_address(5));
	EXPECT_EQ(space_told.length, PAGE_SIZE);
	EXPECT_EQ(space_told.error, -EIO);
	EXPECT(strstr(space_told.cause, "punched"));
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	space_fault(other, OTHER + 5 * PAGE_SIZE, 0);
	EXPECT(fake_uffd_poisoned(other->uffd, OTHER + 5 * PAGE_SIZE));
	EXPECT_EQ(space_told.nr_records, 2);
	EXPECT_COUNT(nr_punched, 1);
	space_close_mm(other);
	end();
}

static void poison_ends_with_dontneed(void)
{
	begin();
	EXPECT(region_poison(region, 5, "a test"));
	space_fault(mm, page_address(5), 0);
	EXPECT(poisoned(5));
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, PAGES }), 0);
	fake_uffd_zap(mm->uffd, page_address(5), PAGE_SIZE);
	space_fault(mm, page_address(5), 0);
	EXPECT(mapped(5) && !poisoned(5));
	EXPECT_EQ(space_told.nr_records, 1);
	end();
}

/* ---- busy pages ---- */

static void a_busy_page_wakes_its_waiter_when_it_is_done(void)
{
	uint64_t old;

	begin();
	EXPECT(word_try_busy(&region->words[5], PAGE_NONE, &old));
	space_fault(mm, page_address(5), 0);
	EXPECT_COUNT(nr_busy, 1);
	EXPECT_EQ(wakes(5), 0);
	EXPECT(!mapped(5));
	EXPECT(word_end_busy(&region->words[5], old));
	region_wake(region, (struct page_range){ 5, 1 });
	EXPECT_EQ(wakes(5), 1);
	space_fault(mm, page_address(5), 0);
	EXPECT(mapped(5));
	end();
}

/* ---- parked faults ---- */

static void the_host_has_nothing(void)
{
	fake_os_set_limit(0, fake_os_used(0, false), 0);
}

static void the_host_has_plenty(void)
{
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
}

static void expect_retries_in_vain(void)
{
	for (int i = 0; i < 5; i++) {
		fake_os_advance_ns(PARK_NS);
		EXPECT_EQ(fault_retry_parked(os->now_ns()), PARK_NS);
	}
}

static void expect_retry_maps(uint64_t page)
{
	the_host_has_plenty();
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	EXPECT(mapped(page));
}

static void a_page_that_cant_be_made_is_retried(void)
{
	begin();
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	the_host_has_nothing();
	space_fault(mm, page_address(5), 0);
	EXPECT_COUNT(nr_parked, 1);
	EXPECT_EQ(wakes(5), 0);
	EXPECT(fault_retry_parked(os->now_ns()) > 0); /* not due yet */
	expect_retries_in_vain();
	expect_retry_maps(5);
	EXPECT_COUNT(nr_parked, 1);
	EXPECT_COUNT(nr_poisoned, 0);
	end();
}

static void after_the_deadline_the_page_is_poisoned(void)
{
	struct mm *other;

	begin_with(&(struct space_options){ .deadline_ns = 3 * PARK_NS }, PAGE_SHIFT);
	other = space_mm();
	space_window(other, region, OTHER, 1);
	the_host_has_nothing();
	space_fault(mm, page_address(5), 0);
	for (int i = 0; i < 2; i++) {
		fake_os_advance_ns(PARK_NS);
		EXPECT_EQ(fault_retry_parked(os->now_ns()), PARK_NS);
		EXPECT(!poisoned(5));
	}
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	EXPECT(poisoned(5));
	EXPECT_EQ(space_told.nr_records, 1);
	EXPECT(strstr(space_told.cause, "fault_deadline"));
	the_host_has_plenty();
	space_fault(other, OTHER + 5 * PAGE_SIZE, 0); /* nothing is lost for others */
	EXPECT(fake_uffd_mapped(other->uffd, OTHER + 5 * PAGE_SIZE));
	/* DONTNEED must find out that clients have poison to drop. */
	EXPECT(atomic_load(&region->nr_poisoned) > 0);
	space_close_mm(other);
	end();
}

static void a_parked_fault_keeps_its_map_alive(void)
{
	uint64_t generation;
	uint32_t slot;

	begin();
	the_host_has_nothing();
	space_fault(mm, page_address(5), 0);
	slot = mm->slot;
	generation = mm->generation;
	space_close_mm(mm);
	EXPECT(mm_get_slot(slot, generation) == mm);
	mm_put(mm);
	the_host_has_plenty();
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	EXPECT(mm_get_slot(slot, generation) == NULL);
	mm = space_mm();
	end();
}

static void parked_faults_are_dropped_at_the_end(void)
{
	begin();
	the_host_has_nothing();
	space_fault(mm, page_address(5), 0);
	space_fault(mm, page_address(99), 0);
	the_host_has_plenty();
	space_settle();
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	space_end(); /* counts descriptors */
}

/* However often it is tried, and whoever does. */
static void a_fault_counts_once(void)
{
	begin();
	EXPECT_EQ(waiters_start(fault_wait), 0);
	the_host_has_nothing();
	space_fault(mm, page_address(5), OS_FAULT_WRITE);
	waiters_stop();
	expect_retries_in_vain();
	EXPECT_ENDED(0);
	expect_retry_maps(5);
	EXPECT_COUNT(nr_faults, 1);
	EXPECT_COUNT(nr_major, 0);
	EXPECT_EQ(region->nr_faults, 1);
	EXPECT_EQ(region->nr_write_faults, 1);
	EXPECT_EQ(mm->nr_faults, 1);
	EXPECT_ENDED(1);
	EXPECT(histogram_percentile(&fault_latency, 100) >= 6 * PARK_NS);
	end();
}

/* Its thread hasn't faulted since, but it is there. */
static void who_waits_for_long_is_still_a_task(void)
{
	begin_with(&(struct space_options){ .deadline_ns = 1000ull * PARK_NS }, PAGE_SHIFT);
	lane_watch_init();
	the_host_has_nothing();
	lanes_tick();
	fake_os_advance_ns(PARK_NS);
	space_fault(mm, page_address(5), 0);
	for (unsigned int i = 0; i < 4; i++) {
		fake_os_advance_ns(100 * PARK_NS);
		EXPECT_EQ(fault_retry_parked(os->now_ns()), PARK_NS);
		lanes_tick();
		EXPECT_EQ(mm->nr_tasks, i ? 1 : 0); /* at first lanes have counted it */
	}
	the_host_has_plenty();
	fake_os_advance_ns(PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	lanes_tick();
	EXPECT_EQ(mm->nr_tasks, 0);
	lane_watch_fini();
	end();
}

static void a_fault_that_is_given_up_has_ended(void)
{
	begin_with(&(struct space_options){ .deadline_ns = 3 * PARK_NS }, PAGE_SHIFT);
	the_host_has_nothing();
	space_fault(mm, page_address(5), 0);
	fake_os_advance_ns(4 * PARK_NS);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
	EXPECT(poisoned(5));
	EXPECT_COUNT(nr_faults, 1);
	EXPECT_ENDED(1);
	the_host_has_plenty();
	end();
}

static void one_page_is_enough_when_there_is_no_more(void)
{
	begin();
	for (uint64_t i = 0; i < 12; i++)
		if (!mapped(i))
			space_fault(mm, page_address(i), 0);
	space_settle();
	/* The streak wants many pages now; the host has one. */
	fake_os_set_limit(0, fake_os_used(0, false) + PAGE_SIZE, 0);
	for (uint64_t i = 0; i < PAGES; i++) {
		if (mapped(i) || space_state(region, i) != PAGE_NONE)
			continue;
		space_fault(mm, page_address(i), 0);
		EXPECT(mapped(i));
		break;
	}
	EXPECT_COUNT(nr_parked, 0);
	the_host_has_plenty();
	end();
}

static void one_page_is_enough_of_a_block_too(void)
{
	begin();
	atomic_store(&region->huge, true);
	fake_os_set_limit(0, fake_os_used(0, false) + PAGE_SIZE, 0);
	space_fault(mm, page_address(7), 0);
	EXPECT(mapped(7));
	EXPECT_EQ(region->nr_resident, 1);
	the_host_has_plenty();
	end();
}

static const struct test_case cases[] = {
	{ "a missing page is made, mapped and its sleeper woken",
	  a_missing_page_is_made_and_mapped },
	{ "a resident page is only mapped", a_resident_page_is_only_mapped },
	{ "a page mapped meanwhile wakes its sleeper", a_page_mapped_meanwhile_wakes_its_sleeper },
	{ "a large page is mapped whole, from either stock", a_large_page_is_mapped_whole },
	{ "a write-protection of the client's own is undone", a_write_protection_is_undone },
	{ "nothing is mapped beyond the window that was touched",
	  nothing_is_mapped_beyond_the_window },
	{ "users of a region share its frames", users_share_frames },
	{ "an address without a window is poisoned, with a cause",
	  an_address_without_a_window_is_poisoned },
	{ "a window that is just moving to the address is found",
	  a_window_that_is_just_moving_there_is_found },
	{ "while a lane is at work on a move nobody is poisoned",
	  a_move_that_takes_long_poisons_nobody },
	{ "a stray in hugetlb is poisoned by the large page",
	  a_stray_in_hugetlb_is_poisoned_by_the_large_page },
	{ "where the kernel can't poison the client is ended",
	  a_client_that_cant_be_poisoned_is_ended },
	{ "ENOENT and ESRCH are a client that is gone: counted, no more",
	  a_client_that_is_gone_is_normal },
	{ "EAGAIN and ENOMEM let the client fault again",
	  a_client_that_changes_its_map_faults_again },
	{ "a poison that must wait ends nobody", a_poison_that_must_wait_ends_nobody },
	{ "a page that vanishes for a moment is looked at again",
	  a_page_that_vanishes_for_a_moment_is_looked_at_again },
	{ "a client that maps another file harms itself only",
	  a_client_that_maps_another_file_harms_itself_only },
	{ "a client whose faults lead to no page is slowed down after a while",
	  a_client_that_goes_in_circles_is_slowed_down },
	{ "a page that always vanishes holds no thread",
	  a_page_that_always_vanishes_holds_no_thread },
	{ "a punched page is lost for all its users, never zeros",
	  a_punched_page_is_lost_for_all_its_users },
	{ "after poison and DONTNEED a page reads zero", poison_ends_with_dontneed },
	{ "a busy page wakes its waiter when it is done",
	  a_busy_page_wakes_its_waiter_when_it_is_done },
	{ "a page that can't be made is retried", a_page_that_cant_be_made_is_retried },
	{ "after the deadline the page is poisoned for who waits",
	  after_the_deadline_the_page_is_poisoned },
	{ "a parked fault keeps its map alive, and no longer", a_parked_fault_keeps_its_map_alive },
	{ "parked faults are dropped at the end", parked_faults_are_dropped_at_the_end },
	{ "a fault counts once, and its latency is all of its time", a_fault_counts_once },
	{ "a thread that waits for long is still one of its session's",
	  who_waits_for_long_is_still_a_task },
	{ "a fault that is given up has ended, too", a_fault_that_is_given_up_has_ended },
	{ "one page is enough when there is no more", one_page_is_enough_when_there_is_no_more },
	{ "a page is enough where a whole block was wished for",
	  one_page_is_enough_of_a_block_too },
};
TEST_MAIN(cases)
