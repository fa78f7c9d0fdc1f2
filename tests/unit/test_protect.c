/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_protect - mm/space/protect.c: what is left of a client's mapping is protected, and who
 *                undoes its registration makes nobody wait for long
 */
#include "mm/space/protect.h"

#include <errno.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"

enum { NR = 2048, BASE = 0x10000000, PIECE = PROTECT_PIECE_BYTES / PAGE_SIZE };

static struct region *region;
static struct mm *mm;

static uint64_t at_page(uint64_t page)
{
	return BASE + (page << PAGE_SHIFT);
}

/* Of the client's kernel. */
static void map_part(uint64_t page, uint64_t nr)
{
	fake_uffd_window(mm->uffd, at_page(page), nr * PAGE_SIZE, region->section->fd,
			 page * PAGE_SIZE);
}

/* Who comes upon what is made ahead is woken by that, and comes again. */
static bool is_there(void *address)
{
	const uint64_t *at = address;

	space_fault(mm, *at, OS_FAULT_WRITE);
	return fake_uffd_mapped(mm->uffd, *at);
}

/* It may be cut at each page of the second half's first two pieces. */
static void begin(void)
{
	struct window_request window = { .start = BASE, .length = NR * PAGE_SIZE, .handle = 1 };

	space_begin(&(struct space_options){ 0 });
	region = window.region = space_region(NR, PAGE_SHIFT);
	mm = space_mm();
	EXPECT_EQ(mm_add_window(mm, &window), 0);
	map_part(0, NR / 2);
	for (uint64_t i = NR / 2; i < NR / 2 + 2 * PIECE; i++)
		map_part(i, 1);
	map_part(NR / 2 + 2 * PIECE, NR / 2 - 2 * PIECE);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(test_wait(is_there, &(uint64_t){ at_page(i) }, 10));
}

static void end(void)
{
	space_close_mm(mm);
	space_expect_valid(region, NULL);
	space_drop_region(region);
	space_end();
}

/* How many calls it took. */
static uint64_t protect_all(void)
{
	struct fake_os_calls before, after;

	fake_os_calls(&before);
	EXPECT_EQ(region_protect(region, (struct page_range){ 0, NR }), 0);
	fake_os_calls(&after);
	return after.uffd_protect - before.uffd_protect;
}

static void all_at_once(void)
{
	begin();
	EXPECT_EQ(protect_all(), 1);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(fake_uffd_protected(mm->uffd, at_page(i)));
	end();
}

/* The client's kernel has cut it, and the daemon hasn't read of that. */
static void what_is_left_of_a_mapping(void)
{
	begin();
	fake_uffd_unmap(mm->uffd, at_page(0), (NR / 2 + 5) * PAGE_SIZE);
	fake_uffd_unmap(mm->uffd, at_page(NR / 2 + 6), PIECE * PAGE_SIZE);
	EXPECT(protect_all() > 1);
	for (uint64_t i = NR / 2; i < NR; i++)
		EXPECT_EQ(fake_uffd_protected(mm->uffd, at_page(i)),
			  i == NR / 2 + 5 || i >= NR / 2 + 6 + PIECE);
	end();
}

static void a_client_that_has_gone(void)
{
	begin();
	fake_uffd_set_error(mm->uffd, -ESRCH);
	EXPECT_EQ(protect_all(), 1);
	fake_uffd_set_error(mm->uffd, 0);
	end();
}

static void unregister(uint64_t page, uint64_t nr)
{
	fake_uffd_unmap(mm->uffd, at_page(page), nr * PAGE_SIZE);
}

static void who_undoes_its_registration_is_known_in_the_end(void)
{
	uint64_t second_ns = 1000000000ull;

	begin();
	unregister(0, NR);
	EXPECT(protect_all() >= NR);
	for (int i = 1; i < PROTECT_VAIN_MAX / NR; i++)
		EXPECT(protect_all() >= NR);
	EXPECT(protect_all() <= 4 * NR / PIECE);
	/* It gets some again, and not much. */
	fake_os_advance_ns(second_ns);
	EXPECT(protect_all() >= PROTECT_VAIN_PER_S);
	EXPECT(protect_all() <= 4 * NR / PIECE + 1);
	end();
}

static void pages_between_are_protected_nevertheless(void)
{
	uint64_t nr_mapped = 0;

	begin();
	unregister(0, NR / 2);
	for (int i = 0; i < 2 * PROTECT_VAIN_MAX / NR; i++)
		EXPECT(protect_all() >= NR / 2);
	/* A hole inside a piece, and one that reaches to its end. */
	unregister(NR / 2 + 3, 5);
	unregister(NR / 2 + PIECE + 7, PIECE - 7);
	protect_all();
	for (uint64_t i = NR / 2; i < NR; i++) {
		bool mapped = fake_uffd_mapped(mm->uffd, at_page(i));

		EXPECT_EQ(fake_uffd_protected(mm->uffd, at_page(i)), mapped);
		nr_mapped += mapped;
	}
	EXPECT_EQ(nr_mapped, NR / 2 - 5 - (PIECE - 7));
	end();
}

/* T3: a lane has read something, and a window may have moved. */
static void what_a_lane_has_read_is_waited_for(void)
{
	const struct page_range all = { 0, NR };

	begin();
	EXPECT(region_moves_known(region, all));
	mutex_lock(&mm->events_lock);
	EXPECT(!region_moves_known(region, all));
	mutex_unlock(&mm->events_lock);
	EXPECT(region_moves_known(region, all));
	end();
}

static const struct test_case cases[] = {
	{ "a window is protected by one call", all_at_once },
	{ "what is left of a mapping is protected", what_is_left_of_a_mapping },
	{ "a client that has gone needs nothing", a_client_that_has_gone },
	{ "who undoes its registration costs little in the end",
	  who_undoes_its_registration_is_known_in_the_end },
	{ "pages between holes are protected nevertheless",
	  pages_between_are_protected_nevertheless },
	{ "what a lane has read may be a move, until it has dealt with it",
	  what_a_lane_has_read_is_waited_for },
};
TEST_MAIN(cases)
