/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cow - mm/space/cow.c, ask.c, clone.c, rollback.c, takeout.c: what a clone holds when its
 *            family has gone on
 */
#include "mm/space/cow.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/clone.h"
#include "mm/space/lineage.h"
#include "mm/space/mapping.h"

enum { NR = 16 };
static const uint64_t base = 1ull << 32, clone_base = 2ull << 32;

static struct region *parent, *child;
static struct mm *mm;

static void put(struct region *region, uint64_t page, uint64_t value)
{
	uint64_t words[PAGE_SIZE / sizeof(value)] = { value };

	EXPECT_EQ(os->write(region->section->fd, page << PAGE_SHIFT, words, PAGE_SIZE), 0);
}

/* As the writer's kernel would: an event first, where the page isn't writable. */
static void write_page(struct region *region, uint64_t start, uint64_t page, uint64_t value)
{
	uint64_t at = start + (page << region->page_shift);

	if (!fake_uffd_mapped(mm->uffd, at))
		space_fault(mm, at, OS_FAULT_WRITE);
	if (fake_uffd_protected(mm->uffd, at))
		space_fault(mm, at, OS_FAULT_WRITE | OS_FAULT_WP);
	EXPECT(fake_uffd_mapped(mm->uffd, at) && !fake_uffd_protected(mm->uffd, at));
	put(region, page, value);
}

static uint64_t read_page(struct region *region, uint64_t start, uint64_t page)
{
	uint64_t at = start + (page << region->page_shift);
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)];

	if (!fake_uffd_mapped(mm->uffd, at))
		space_fault(mm, at, 0);
	EXPECT(fake_uffd_mapped(mm->uffd, at));
	EXPECT_EQ(os->read(region->section->fd, page << PAGE_SHIFT, words, PAGE_SIZE), 0);
	return words[0];
}

static struct region *clone_of(struct region *of)
{
	struct clone_pair pair = { of, space_region(of->nr_pages, of->page_shift) };

	EXPECT_EQ(clone_join(&pair), 0);
	EXPECT_EQ(clone_arm(&pair, 1), 0);
	return pair.clone;
}

static void begin(void)
{
	space_begin(&(struct space_options){ 0 });
	parent = space_region(NR, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, parent, base, 1);
	EXPECT_EQ(mm_set_advice(mm, 1, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
	for (uint64_t i = 0; i < NR / 2; i++)
		write_page(parent, base, i, 100 + i);
	child = clone_of(parent);
	space_window(mm, child, clone_base, 2);
}

static void end(void)
{
	regions_flush(); /* what a closed member kept is freed elsewhere, and is counted here */
	space_expect_valid(parent, mm);
	space_expect_valid(child, NULL);
	space_close_mm(mm);
	space_drop_region(child);
	space_drop_region(parent);
	space_end();
}

static void a_clone_holds_what_its_parent_held(void)
{
	begin();
	EXPECT_EQ(atomic_load(&child->nr_inherit), NR / 2);
	EXPECT_EQ(atomic_load(&parent->nr_shared), NR / 2);
	EXPECT_EQ(atomic_load(&child->nr_resident), 0);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT_EQ(read_page(child, clone_base, i), i < NR / 2 ? 100 + i : 0);
	end();
}

static void both_diverge(void)
{
	begin();
	for (uint64_t i = 0; i < NR; i += 2)
		write_page(parent, base, i, 1000 + i);
	for (uint64_t i = 0; i < NR; i += 3)
		write_page(child, clone_base, i, 5000 + i);
	for (uint64_t i = 0; i < NR; i++) {
		uint64_t before = i < NR / 2 ? 100 + i : 0;

		EXPECT_EQ(read_page(parent, base, i), i % 2 ? before : 1000 + i);
		EXPECT_EQ(read_page(child, clone_base, i), i % 3 ? before : 5000 + i);
	}
	end();
}

static void a_clones_clone_outlives_the_middle(void)
{
	struct region *last;

	begin();
	write_page(child, clone_base, 1, 7001);
	last = clone_of(child);
	write_page(child, clone_base, 1, 8001);
	write_page(child, clone_base, 2, 8002);
	write_page(parent, base, 2, 9002);
	write_page(parent, base, 3, 9003);
	space_window(mm, last, 3ull << 32, 3);
	mm_remove_handle(mm, 2);
	clone_close(child);
	region_put(child);
	EXPECT_EQ(read_page(last, 3ull << 32, 0), 100);
	EXPECT_EQ(read_page(last, 3ull << 32, 1), 7001);
	EXPECT_EQ(read_page(last, 3ull << 32, 2), 102);
	EXPECT_EQ(read_page(last, 3ull << 32, 3), 103);
	EXPECT_EQ(read_page(parent, base, 3), 9003);
	child = last;
	end();
}

static void the_parents_end_leaves_the_clone_whole(void)
{
	begin();
	mm_remove_handle(mm, 1);
	clone_close(parent);
	region_put(parent);
	regions_flush();
	for (uint64_t i = 0; i < NR; i++)
		EXPECT_EQ(read_page(child, clone_base, i), i < NR / 2 ? 100 + i : 0);
	space_expect_valid(child, mm);
	space_close_mm(mm);
	space_drop_region(child);
	space_end();
}

static void dropping_spares_the_other(void)
{
	begin();
	EXPECT_EQ(region_drop(parent, (struct page_range){ 0, 4 }), 0);
	EXPECT_EQ(region_drop(child, (struct page_range){ 2, 4 }), 0);
	for (uint64_t i = 0; i < NR / 2; i++) {
		EXPECT_EQ(read_page(parent, base, i), i < 4 ? 0 : 100 + i);
		EXPECT_EQ(read_page(child, clone_base, i), i < 2 || i >= 6 ? 100 + i : 0);
	}
	end();
}

static void locked_pages_are_not_shared(void)
{
	struct region *copy;

	begin();
	EXPECT_EQ(region_lock_pages(child, (struct page_range){ 0, 2 }), 0);
	EXPECT_EQ(space_state(child, 0), PAGE_PRESENT);
	EXPECT_EQ(region_lock_pages(parent, (struct page_range){ 1, 2 }), 0);
	EXPECT(!(word_load(&parent->words[2]) & WORD_SHARED));
	EXPECT_EQ(space_state(child, 2), PAGE_PRESENT);
	region_unlock_pages(child, (struct page_range){ 0, 2 });
	copy = clone_of(parent);
	EXPECT_EQ(space_state(copy, 1), PAGE_PRESENT);
	EXPECT(!(word_load(&parent->words[1]) & WORD_SHARED));
	region_unlock_pages(parent, (struct page_range){ 1, 2 });
	space_drop_region(copy);
	for (uint64_t i = 0; i < NR / 2; i++)
		EXPECT_EQ(read_page(child, clone_base, i), 100 + i);
	end();
}

static void the_last_user_writes_in_place(void)
{
	struct fake_os_calls before, after;

	begin();
	mm_remove_handle(mm, 2);
	space_drop_region(child);
	fake_os_calls(&before);
	write_page(parent, base, 0, 1);
	fake_os_calls(&after);
	EXPECT_EQ(after.copy, before.copy);
	EXPECT_EQ(atomic_load(&parent->nr_resident), NR / 2);
	child = clone_of(parent);
	space_window(mm, child, 3ull << 32, 2);
	end();
}

static void a_page_punched_by_a_client_is_lost_for_the_clone(void)
{
	begin();
	EXPECT_EQ(os->punch(parent->section->fd, 3 << PAGE_SHIFT, PAGE_SIZE), 0);
	space_fault(mm, clone_base + (3 << PAGE_SHIFT), 0);
	EXPECT_EQ(space_state(child, 3), PAGE_POISONED);
	EXPECT(region_poison(parent, 3, "test"));
	end();
}

static void a_copy_that_fails_is_tried_again(void)
{
	begin();
	fake_os_set_limit(0, 0, 0);
	space_fault(mm, base, OS_FAULT_WRITE | OS_FAULT_WP);
	EXPECT(fake_uffd_protected(mm->uffd, base));
	EXPECT(word_load(&parent->words[0]) & WORD_SHARED);
	fake_os_set_limit(0, 1ull << 40, 0);
	fault_retry_parked(~0ull >> 1);
	EXPECT(!fake_uffd_protected(mm->uffd, base));
	EXPECT_EQ(space_state(child, 0), PAGE_PRESENT);
	end();
}

/* And never into a frame that others still show. */
static void in_the_end_a_write_goes_on_and_the_clone_has_lost_the_page(void)
{
	begin();
	fault_set_deadline(0);
	fake_os_set_limit(0, 0, 0);
	EXPECT(!cow_force(parent, 1, COW_POOL_PATIENCE)); /* it is of the same pool */
	EXPECT_EQ(space_state(child, 1), PAGE_INHERIT);
	space_fault(mm, base, OS_FAULT_WRITE | OS_FAULT_WP);
	EXPECT_EQ(space_state(child, 0), PAGE_POISONED);
	EXPECT(!(word_load(&parent->words[0]) & WORD_SHARED));
	EXPECT_EQ(space_told.nr_records + space_told.nr_ended, 0);
	fake_os_set_limit(0, 1ull << 40, 0);
	fault_set_deadline(1000 * 1000 * 1000);
	write_page(parent, base, 0, 9);
	EXPECT_EQ(read_page(child, clone_base, 1), 101);
	space_fault(mm, clone_base, 0);
	EXPECT(fake_uffd_poisoned(mm->uffd, clone_base));
	end();
}

static void a_late_fault_of_a_closed_clone_copies_nothing(void)
{
	uint64_t resident;

	begin();
	resident = atomic_load(&child->nr_resident);
	atomic_store(&child->closed, true);
	space_fault(mm, clone_base + PAGE_SIZE, OS_FAULT_WRITE);
	EXPECT_EQ(cow_unshare(child, (struct page_range){ 0, NR }), -ESTALE);
	EXPECT_EQ(atomic_load(&child->nr_inherit), NR / 2);
	EXPECT_EQ(atomic_load(&child->nr_resident), resident);
	EXPECT(!(word_load(&child->words[1]) & WORD_BUSY));
	atomic_store(&child->closed, false);
	EXPECT_EQ(read_page(child, clone_base, 1), 101);
	end();
}

static void rollback_takes_back_what_was_written(void)
{
	uint64_t locked;

	begin();
	for (uint64_t i = 0; i < NR; i += 3)
		write_page(parent, base, i, 1000 + i);
	write_page(child, clone_base, 5, 5005);
	write_page(child, clone_base, 12, 5012);
	EXPECT_EQ(region_rollback(parent, child, NULL, NULL), 0);
	for (uint64_t i = 0; i < NR; i++) {
		uint64_t then = i == 5 || i == 12 ? 5000 + i : i < NR / 2 ? 100 + i : 0;

		EXPECT_EQ(read_page(parent, base, i), then);
		EXPECT_EQ(read_page(child, clone_base, i), then);
	}
	locked = 5;
	write_page(parent, base, locked, 1);
	write_page(parent, base, 0, 7);
	EXPECT_EQ(region_lock_pages(parent, (struct page_range){ locked, 1 }), 0);
	EXPECT_EQ(region_rollback(parent, child, NULL, NULL), -EBUSY);
	EXPECT_EQ(read_page(parent, base, locked), 1);
	EXPECT_EQ(read_page(parent, base, 0), 7); /* all of it or nothing */
	region_unlock_pages(parent, (struct page_range){ locked, 1 });
	EXPECT_EQ(region_rollback(parent, parent, NULL, NULL), 0);
	end();
}

/* ---- frames that a clone has mapped ---- */

static const struct os_ops *os_before;
static struct os_ops os_hostile;
static unsigned int nr_scribbled;

/* The clone's client writes to its own memory, which it has mapped a second time. */
static int punch_and_scribble(int fd, uint64_t offset, uint64_t length)
{
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)] = { 666 };

	if (fd == parent->section->fd) {
		nr_scribbled++;
		EXPECT_EQ(os->write(child->section->fd, offset, words, PAGE_SIZE), 0);
	}
	return os_before->punch(fd, offset, length);
}

static void begin_shown(uint64_t page)
{
	struct window_request want = { .start = clone_base, .handle = 3,
				       .length = NR << PAGE_SHIFT };

	begin();
	mm_remove_handle(mm, 2);
	fake_uffd_unmap(mm->uffd, clone_base, NR << PAGE_SHIFT);
	want.region = child;
	want.shown = parent->section->id;
	EXPECT_EQ(mm_add_window(mm, &want), 0);
	EXPECT_EQ(mm_set_advice(mm, 3, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
	fake_uffd_window(mm->uffd, clone_base, NR << PAGE_SHIFT, parent->section->fd, 0);
	EXPECT_EQ(read_page(parent, clone_base, page), 100 + page);
	EXPECT_EQ(atomic_load(&child->nr_resident), 0);
}

static void an_owner_gets_its_page_back_and_nobody_elses(void)
{
	begin_shown(3);
	os_before = os;
	os_hostile = *os;
	os_hostile.punch = punch_and_scribble;
	nr_scribbled = 0;
	os = &os_hostile;
	space_fault(mm, base + (3 << PAGE_SHIFT), OS_FAULT_WRITE | OS_FAULT_WP);
	os = os_before;
	EXPECT_EQ(nr_scribbled, 1);
	EXPECT(!fake_uffd_mapped(mm->uffd, clone_base + (3 << PAGE_SHIFT)));
	EXPECT_EQ(read_page(parent, base, 3), 103);
	end();
}

static void what_was_lost_before_is_not_put_back(void)
{
	begin_shown(3);
	fake_os_client_punch(parent->section->fd, 3 << PAGE_SHIFT, PAGE_SIZE);
	EXPECT_EQ(region_drop(child, (struct page_range){ 3, 1 }), 0);
	EXPECT(os->has_hole(parent->section->fd, 3 << PAGE_SHIFT, PAGE_SIZE));
	EXPECT(region_poison(parent, 3, "test"));
	end();
}

/* The owner finds that its page is gone: who inherits it hears of that, and waits for nobody. */
static void expect_lost_by_all(void)
{
	fake_os_client_punch(parent->section->fd, 3 << PAGE_SHIFT, PAGE_SIZE);
	space_fault(mm, base + (3 << PAGE_SHIFT), 0);
	EXPECT_EQ(space_state(parent, 3), PAGE_POISONED);
	EXPECT_EQ(space_state(child, 3), PAGE_POISONED);
	EXPECT_EQ(atomic_load(&child->nr_inherit), NR / 2 - 1);
	EXPECT_EQ(region_drop(child, (struct page_range){ 3, 1 }), 0);
	end();
}

static void what_its_owner_lost_is_lost_for_the_clone(void)
{
	begin();
	expect_lost_by_all();
	begin_shown(3);
	expect_lost_by_all();
}

static void who_keeps_an_owner_waiting_is_ended(void)
{
	int place;

	begin_shown(3);
	os_before = os;
	os_hostile = *os;
	os_hostile.now_ns = fake_os_passing_ns;
	os = &os_hostile;
	place = region_show_begin(child, (struct page_range){ 0, 4 }); /* it doesn't come back */
	atomic_store(&mm->nr_showing, 1);
	atomic_store(&mm->showing_ns, os->now_ns());
	space_fault(mm, base + (3 << PAGE_SHIFT), OS_FAULT_WRITE | OS_FAULT_WP);
	fault_retry_parked(0);
	EXPECT_EQ(space_told.nr_ended, 0);
	atomic_store(&mm->showing_ns, os->now_ns() - 5000000000ull);
	space_fault(mm, base + (3 << PAGE_SHIFT), OS_FAULT_WRITE | OS_FAULT_WP);
	fault_retry_parked(0);
	EXPECT_EQ(space_told.nr_ended, 1);
	EXPECT_EQ(atomic_load(&nr_to_end), 0);
	atomic_store(&mm->nr_showing, 0);
	region_show_end(child, place);
	fault_retry_parked(~0ull >> 1);
	EXPECT_EQ(space_state(child, 3), PAGE_PRESENT);
	EXPECT_EQ(read_page(parent, base, 3), 103);
	os = os_before;
	end();
}

/* ---- pages of 2 MiB ---- */

enum { NR_HUGE = 4, HUGE_MIB = 64, SECOND_NS = 1000 * 1000 * 1000 };

static void put_huge(struct region *region, uint64_t page, uint64_t value)
{
	static uint64_t words[PAGEBLOCK_SIZE / sizeof(uint64_t)];

	for (uint64_t i = 0; i < PAGEBLOCK_SIZE / sizeof(value); i++)
		words[i] = value + i;
	EXPECT_EQ(os->write(region->section->fd, page << PAGEBLOCK_SHIFT, words, PAGEBLOCK_SIZE),
		  0);
}

static bool holds_huge(const struct region *region, uint64_t page, uint64_t value)
{
	static uint64_t words[PAGEBLOCK_SIZE / sizeof(uint64_t)];
	bool right = !os->read(region->section->fd, page << PAGEBLOCK_SHIFT, words,
			       PAGEBLOCK_SIZE);

	for (uint64_t i = 0; i < PAGEBLOCK_SIZE / sizeof(value); i++)
		right = right && words[i] == value + i;
	return right;
}

static bool may(const struct region *ancestor, void *arg)
{
	return ancestor == arg;
}

/* The clone's window shows all of its parent. */
static void begin_huge(bool hold, enum window_advice advice)
{
	struct window_request want = { .start = clone_base, .handle = 3,
				       .length = NR_HUGE << PAGEBLOCK_SHIFT };
	int fd;

	space_begin(&(struct space_options){ .huge_mib = HUGE_MIB, .hold = hold });
	parent = space_region(NR_HUGE, PAGEBLOCK_SHIFT);
	mm = space_mm();
	space_window(mm, parent, base, 1);
	EXPECT_EQ(mm_set_advice(mm, 1, (struct page_range){ 0, NR_HUGE }, WINDOW_RANDOM), 0);
	for (uint64_t i = 0; i < NR_HUGE; i++) {
		space_fault(mm, base + (i << PAGEBLOCK_SHIFT), OS_FAULT_WRITE);
		put_huge(parent, i, 100 * i);
	}
	child = clone_of(parent);
	want.region = child;
	fd = clone_open_base(child, may, parent, &want.shown);
	EXPECT(fd >= 0);
	EXPECT_EQ(want.shown, parent->section->id);
	os->close(fd);
	EXPECT_EQ(mm_add_window(mm, &want), 0);
	EXPECT_EQ(mm_set_advice(mm, 3, (struct page_range){ 0, NR_HUGE }, advice), 0);
	fake_uffd_window(mm->uffd, clone_base, want.length, parent->section->fd, 0);
}

/* How many faults that takes. */
static unsigned int read_all_huge(void)
{
	unsigned int nr = 0;

	for (uint64_t i = 0; i < NR_HUGE; i++) {
		uint64_t at = clone_base + (i << PAGEBLOCK_SHIFT);

		nr += !fake_uffd_mapped(mm->uffd, at);
		if (!fake_uffd_mapped(mm->uffd, at))
			space_fault(mm, at, 0);
		EXPECT(fake_uffd_protected(mm->uffd, at));
	}
	EXPECT_EQ(atomic_load(&child->nr_resident), 0);
	return nr;
}

/* What is punched out of the parent somebody else has at once. */
static int punch_and_take_away(int fd, uint64_t offset, uint64_t length)
{
	int r = os_before->punch(fd, offset, length);

	if (fd == parent->section->fd)
		fake_os_set_limit(0, 1ull << 40, fake_os_used(0, true));
	return r;
}

static void write_while_others_take(void)
{
	os_before = os;
	os_hostile = *os;
	os_hostile.punch = punch_and_take_away;
	os = &os_hostile;
	space_fault(mm, base + PAGEBLOCK_SIZE, OS_FAULT_WRITE | OS_FAULT_WP);
	os = os_before;
	EXPECT(!fake_uffd_mapped(mm->uffd, clone_base + PAGEBLOCK_SIZE));
	EXPECT(fake_uffd_mapped(mm->uffd, base + PAGEBLOCK_SIZE));
	EXPECT(!fake_uffd_protected(mm->uffd, base + PAGEBLOCK_SIZE));
	EXPECT_EQ(space_state(parent, 1), PAGE_PRESENT);
	EXPECT_EQ(space_state(child, 1), PAGE_PRESENT);
	EXPECT(holds_huge(parent, 1, 100));
	EXPECT(holds_huge(child, 1, 100));
	EXPECT(holds_huge(parent, 2, 200));
	EXPECT_EQ(atomic_load(&child->nr_resident), 1);
	fake_os_set_limit(0, 1ull << 40, 1ull << 40);
}

static void a_huge_page_is_put_back_though_others_take_what_is_free(void)
{
	for (int hold = 0; hold < 2; hold++) {
		begin_huge(hold, WINDOW_RANDOM);
		EXPECT_EQ(read_all_huge(), NR_HUGE);
		write_while_others_take();
		/* What was needed is put by again. */
		space_fault(mm, base + 2 * PAGEBLOCK_SIZE, OS_FAULT_WRITE | OS_FAULT_WP);
		space_expect_valid(parent, mm);
		EXPECT(holds_huge(child, 2, 200));
		fake_uffd_unmap(mm->uffd, clone_base, NR_HUGE << PAGEBLOCK_SHIFT);
		end();
	}
}

/* Lost, and not zero: whether the clone wants a copy first, or the owner's client writes. */
static void a_huge_page_punched_by_a_client_is_lost_for_both(void)
{
	begin_huge(false, WINDOW_RANDOM);
	EXPECT_EQ(read_all_huge(), NR_HUGE);
	for (uint64_t page = 1; page < 3; page++)
		fake_os_client_punch(parent->section->fd, page << PAGEBLOCK_SHIFT, PAGEBLOCK_SIZE);
	EXPECT_EQ(cow_unshare(child, (struct page_range){ 1, 1 }), 0);
	space_fault(mm, base + PAGEBLOCK_SIZE, 0);
	space_fault(mm, base + 2 * PAGEBLOCK_SIZE, OS_FAULT_WRITE | OS_FAULT_WP);
	space_fault(mm, base + 2 * PAGEBLOCK_SIZE, OS_FAULT_WRITE);
	for (uint64_t page = 1; page < 3; page++) {
		EXPECT_EQ(space_state(parent, page), PAGE_POISONED);
		EXPECT_EQ(space_state(child, page), PAGE_POISONED);
	}
	EXPECT(holds_huge(parent, 3, 300));
	fake_uffd_unmap(mm->uffd, clone_base, NR_HUGE << PAGEBLOCK_SHIFT);
	end();
}

static void who_reads_in_order_has_the_next_ones_mapped(void)
{
	begin_huge(false, WINDOW_NORMAL);
	EXPECT_EQ(read_all_huge(), 2);
	fake_uffd_unmap(mm->uffd, clone_base, NR_HUGE << PAGEBLOCK_SHIFT);
	end();
	begin_huge(false, WINDOW_SEQUENTIAL);
	EXPECT_EQ(read_all_huge(), 1);
	fake_uffd_unmap(mm->uffd, clone_base, NR_HUGE << PAGEBLOCK_SHIFT);
	end();
}

static void without_a_page_to_spare_nothing_is_shown(void)
{
	int r;

	begin_huge(false, WINDOW_RANDOM);
	fake_os_set_limit(0, 1ull << 40, fake_os_used(0, true));
	EXPECT(clone_prepare_huge(child) != 0);
	fake_os_set_limit(0, fake_os_used(0, false), 1ull << 40);
	EXPECT_EQ(clone_prepare_huge(child), -EAGAIN); /* nobody tries again at once */
	fake_os_advance_ns(SECOND_NS);
	r = clone_prepare_huge(child);
	EXPECT(r && r != -EAGAIN);
	space_fault(mm, clone_base + PAGEBLOCK_SIZE, 0);
	fake_os_set_limit(0, 1ull << 40, 1ull << 40);
	EXPECT(!fake_uffd_mapped(mm->uffd, clone_base + PAGEBLOCK_SIZE));
	EXPECT_EQ(space_state(child, 1), PAGE_PRESENT); /* it is copied, and asked for */
	EXPECT_EQ(space_told.nr_remaps, 1);
	EXPECT(holds_huge(child, 1, 100));
	EXPECT(!atomic_load(&child->shows_huge));
	fake_os_advance_ns(SECOND_NS);
	space_fault(mm, clone_base + 2 * PAGEBLOCK_SIZE, 0);
	EXPECT(fake_uffd_protected(mm->uffd, clone_base + 2 * PAGEBLOCK_SIZE));
	EXPECT_EQ(space_state(child, 2), PAGE_INHERIT);
	EXPECT(atomic_load(&child->shows_huge));
	fake_uffd_unmap(mm->uffd, clone_base, NR_HUGE << PAGEBLOCK_SHIFT);
	end();
}

/* ---- a client whose map is changing ---- */

static _Atomic bool change_was_met, change_was_read;

/* As the lane that reads of the change: only then is the map at rest. */
static void *read_change(void *unused)
{
	while (!atomic_load(&change_was_met))
		sched_yield();
	mutex_lock(&parent->lock);
	atomic_store(&change_was_read, true);
	mutex_unlock(&parent->lock);
	return unused;
}

static int protect_at_rest(int uffd, uint64_t address, uint64_t length)
{
	atomic_store(&change_was_met, true);
	return atomic_load(&change_was_read) ? os_before->uffd_protect(uffd, address, length)
					     : -EAGAIN;
}

static void arming_waits_without_the_lock(void)
{
	struct region *other;
	pthread_t lane;

	begin();
	os_before = os;
	os_hostile = *os;
	os_hostile.uffd_protect = protect_at_rest;
	atomic_store(&change_was_met, false);
	atomic_store(&change_was_read, false);
	os = &os_hostile;
	EXPECT_EQ(pthread_create(&lane, NULL, read_change, NULL), 0);
	other = clone_of(parent);
	EXPECT_EQ(pthread_join(lane, NULL), 0);
	os = os_before;
	space_drop_region(other);
	end();
}

/* ---- a parent that is written meanwhile ---- */

static unsigned int nr_protects;

static int protect_and_note(int uffd, uint64_t address, uint64_t length)
{
	unsigned int turn = region_map_enter(parent);

	for (uint64_t i = 0; i < NR && !nr_protects; i += 2)
		region_note_touched(parent, (struct page_range){ i, 1 });
	nr_protects++;
	region_map_leave(parent, turn);
	return os_before->uffd_protect(uffd, address, length);
}

static void what_was_written_close_by_is_armed_by_one_call(void)
{
	struct region *other;

	begin();
	os_before = os;
	os_hostile = *os;
	os_hostile.uffd_protect = protect_and_note;
	nr_protects = 0;
	os = &os_hostile;
	other = clone_of(parent);
	os = os_before;
	EXPECT_EQ(nr_protects, 2); /* all of it, and what was noted then */
	EXPECT_EQ(atomic_load(&other->nr_inherit), NR / 2);
	space_drop_region(other);
	end();
}

/* ---- a large parent ---- */

enum { BATCH = (8 << 20) >> PAGE_SHIFT, NR_BATCHES = 12, NR_LARGE = NR_BATCHES * BATCH,
       ALONE = 6 * BATCH, HELP_TRIES = 10 * 1000 * 1000 };
static pthread_t maker;
static _Atomic unsigned int nr_helped;

static void begin_large(int (*protect)(int uffd, uint64_t address, uint64_t length))
{
	space_begin(&(struct space_options){ .base_mib = 512 });
	parent = space_region(NR_LARGE, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, parent, base, 1);
	EXPECT_EQ(region_populate(parent, (struct page_range){ 0, NR_LARGE }), 0);
	for (uint64_t i = 0; i < NR_LARGE; i += BATCH / 2)
		space_fault(mm, base + (i << PAGE_SHIFT), OS_FAULT_WRITE);
	os_before = os;
	os_hostile = *os;
	os_hostile.uffd_protect = protect;
	maker = pthread_self();
	atomic_store(&nr_helped, 0);
}

static void clone_large(void)
{
	os = &os_hostile;
	child = clone_of(parent);
	os = os_before;
	for (uint64_t i = 0; i < NR_LARGE; i++)
		if (space_state(child, i) != PAGE_INHERIT)
			EXPECT_EQ(space_state(child, i), PAGE_PRESENT);
	for (uint64_t i = 0; i < NR_LARGE; i += BATCH / 2)
		EXPECT(fake_uffd_protected(mm->uffd, base + (i << PAGE_SHIFT)));
}

/* Who makes the clone is slow, but not where it has the lock that the other one needs: for a locked
 * page. */
static int protect_with_help(int uffd, uint64_t address, uint64_t length)
{
	bool helps = !pthread_equal(pthread_self(), maker);

	if (helps)
		atomic_fetch_add(&nr_helped, 1);
	else if (address >= base + ((uint64_t)ALONE << PAGE_SHIFT) && length > PAGE_SIZE)
		for (int i = 0; i < HELP_TRIES && !atomic_load(&nr_helped); i++)
			sched_yield();
	return os_before->uffd_protect(uffd, address, length);
}

static void a_large_parent_is_armed_by_two(void)
{
	begin_large(protect_with_help);
	for (uint64_t i = 5; i < NR_LARGE; i += BATCH)
		EXPECT_EQ(region_lock_pages(parent, (struct page_range){ i, 1 }), 0);
	clone_large();
	EXPECT(atomic_load(&nr_helped) > 0);
	EXPECT_EQ(atomic_load(&child->nr_inherit), NR_LARGE - NR_BATCHES);
	EXPECT_EQ(atomic_load(&parent->nr_shared), NR_LARGE - NR_BATCHES);
	EXPECT_EQ(atomic_load(&child->nr_resident), NR_BATCHES);
	for (uint64_t i = 5; i < NR_LARGE; i += BATCH)
		region_unlock_pages(parent, (struct page_range){ i, 1 });
	end();
}

/* To what an older clone shares, as soon as it is protected for the new one. */
static int protect_while_written(int uffd, uint64_t address, uint64_t length)
{
	int r = os_before->uffd_protect(uffd, address, length);

	if (!pthread_equal(pthread_self(), maker))
		atomic_fetch_add(&nr_helped, 1);
	else if (!nr_protects++) {
		space_fault(mm, base, OS_FAULT_WRITE | OS_FAULT_WP);
		EXPECT_EQ(cow_break_ahead(parent, (struct page_range){ 1, 1 }), 1);
	}
	return r;
}

static void nobody_helps_where_somebody_writes(void)
{
	struct region *older;

	begin_large(protect_while_written);
	older = clone_of(parent);
	nr_protects = 0;
	clone_large(); /* and what was written is protected once more */
	for (uint64_t i = 0; i < 2; i++) {
		EXPECT_EQ(space_state(older, i), PAGE_PRESENT);
		EXPECT(word_load(&parent->words[i]) & WORD_SHARED);
	}
	space_drop_region(older);
	EXPECT_EQ(atomic_load(&nr_helped), 0);
	EXPECT_EQ(atomic_load(&child->nr_inherit), NR_LARGE);
	end();
}

static const struct test_case cases[] = {
	{ "a clone holds what its parent held", a_clone_holds_what_its_parent_held },
	{ "both diverge", both_diverge },
	{ "a clone's clone outlives the middle", a_clones_clone_outlives_the_middle },
	{ "the parent's end leaves the clone whole", the_parents_end_leaves_the_clone_whole },
	{ "dropping spares the other", dropping_spares_the_other },
	{ "locked pages are not shared", locked_pages_are_not_shared },
	{ "the last user writes in place", the_last_user_writes_in_place },
	{ "what its owner finds lost is lost for the clone, too",
	  what_its_owner_lost_is_lost_for_the_clone },
	{ "a page punched by a client is lost for the clone, not zero",
	  a_page_punched_by_a_client_is_lost_for_the_clone },
	{ "in the end a write goes on, and the clone has lost the page",
	  in_the_end_a_write_goes_on_and_the_clone_has_lost_the_page },
	{ "a late fault of a closed clone copies nothing",
	  a_late_fault_of_a_closed_clone_copies_nothing },
	{ "rollback takes back what was written", rollback_takes_back_what_was_written },
	{ "a copy that fails is tried again", a_copy_that_fails_is_tried_again },
	{ "an owner gets its page back, and nobody else's",
	  an_owner_gets_its_page_back_and_nobody_elses },
	{ "a huge page is put back though others take what is free",
	  a_huge_page_is_put_back_though_others_take_what_is_free },
	{ "a page of 2 MiB that a client has punched is lost for both",
	  a_huge_page_punched_by_a_client_is_lost_for_both },
	{ "who reads pages of 2 MiB in order has the next ones mapped",
	  who_reads_in_order_has_the_next_ones_mapped },
	{ "without a page to spare no page of 2 MiB is shown",
	  without_a_page_to_spare_nothing_is_shown },
	{ "who keeps an owner waiting is ended", who_keeps_an_owner_waiting_is_ended },
	{ "arming waits for a client's map without the lock", arming_waits_without_the_lock },
	{ "what was written close by is armed by one call",
	  what_was_written_close_by_is_armed_by_one_call },
	{ "a large parent is armed by two threads", a_large_parent_is_armed_by_two },
	{ "nobody helps where somebody writes", nobody_helps_where_somebody_writes },
	{ "what was lost before is not put back", what_was_lost_before_is_not_put_back },
};
TEST_MAIN(cases)
