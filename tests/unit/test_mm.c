/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mm - the session's address map: find (streak.c), gap, merge, split, move; windows that show
 *           other memory (remap.c); slots and their users
 */
#include "mm/space/mm.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"

enum { BASE = 0x10000000, FAR = BASE + (1 << 24), PAGES = 16 };

static struct region *region;
static struct mm *mm;

static void begin_pages(uint64_t nr_pages, unsigned int page_shift)
{
	space_begin(&(struct space_options){ 0 });
	region = space_region(nr_pages, page_shift);
	mm = space_mm();
}

static void begin(void)
{
	begin_pages(PAGES, PAGE_SHIFT);
}

/* M3: windows, the handle and nobody else hold the region. */
static void end(void)
{
	space_expect_valid(region, mm);
	EXPECT_EQ(atomic_load(&region->refs), 1 + mm->nr_windows);
	EXPECT_EQ(region->nr_windows, mm->nr_windows);
	space_close_mm(mm);
	EXPECT_EQ(atomic_load(&region->refs), 1);
	space_drop_region(region);
	space_end();
}

/* The page an address means, -1: none. */
static int64_t page_at(uint64_t address)
{
	struct mm_target t;
	struct mm_hint hint;

	if (!mm_find(mm, address, &t, &hint))
		return -1;
	EXPECT(t.region == region);
	EXPECT(t.page >= t.first && t.page < t.end);
	EXPECT_EQ(t.base + (t.page << region->page_shift),
		  round_down(address, region_page_bytes(region)));
	region_put(t.region);
	return (int64_t)t.page;
}

static int add_part(uint64_t start, struct page_range part, uint32_t handle)
{
	struct window_request want = { .region = region,
				       .start = start,
				       .length = part.nr << region->page_shift,
				       .page = part.first,
				       .handle = handle };

	return mm_add_window(mm, &want);
}

/* ---- what an address means ---- */

static void an_address_means_the_page_of_its_window(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(page_at(BASE), 0);
	EXPECT_EQ(page_at(BASE + 15 * PAGE_SIZE + 17), 15);
	EXPECT_EQ(page_at(BASE + 16 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(BASE - 1), -1);
	end();
}

static void a_window_may_show_a_part(void)
{
	begin();
	EXPECT_EQ(add_part(BASE, (struct page_range){ 5, 3 }, 1), 0);
	EXPECT_EQ(page_at(BASE), 5);
	EXPECT_EQ(page_at(BASE + 2 * PAGE_SIZE), 7);
	EXPECT_EQ(page_at(BASE + 3 * PAGE_SIZE), -1);
	end();
}

static void large_pages_are_found_by_any_address_in_them(void)
{
	begin_pages(4, PAGEBLOCK_SHIFT);
	space_window(mm, region, 1ull << 32, 1);
	EXPECT_EQ(page_at((1ull << 32) + PAGEBLOCK_SIZE - 1), 0);
	EXPECT_EQ(page_at((1ull << 32) + 3 * PAGEBLOCK_SIZE + 4097), 3);
	end();
}

static void windows_never_overlap(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(add_part(BASE + 15 * PAGE_SIZE, (struct page_range){ 0, 1 }, 2), -EEXIST);
	EXPECT_EQ(add_part(BASE - PAGE_SIZE, (struct page_range){ 0, 2 }, 2), -EEXIST);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

static void addresses_no_client_has_are_refused(void)
{
	begin();
	EXPECT_EQ(add_part((1ull << 47) - PAGE_SIZE, (struct page_range){ 0, 2 }, 1), -EINVAL);
	EXPECT_EQ(add_part(1ull << 63, (struct page_range){ 0, 1 }, 1), -EINVAL);
	EXPECT_EQ(add_part(0, (struct page_range){ 0, 1 }, 1), -EINVAL);
	EXPECT_EQ(mm->nr_windows, 0);
	end();
}

static void a_window_that_fails_leaves_nothing(void)
{
	begin();
	inject_arm(INJECT_WINDOW_ADD, 1, -ENOMEM);
	EXPECT_EQ(add_part(BASE, (struct page_range){ 0, 4 }, 1), -ENOMEM);
	inject_arm(INJECT_WINDOW_ADD, 0, 0);
	EXPECT_EQ(page_at(BASE), -1);
	end();
}

/* ---- M2 ---- */

static void what_continues_is_one_window(void)
{
	begin();
	EXPECT_EQ(add_part(BASE, (struct page_range){ 0, 4 }, 1), 0);
	EXPECT_EQ(add_part(BASE + 8 * PAGE_SIZE, (struct page_range){ 8, 4 }, 1), 0);
	EXPECT_EQ(mm->nr_windows, 2);
	EXPECT_EQ(add_part(BASE + 4 * PAGE_SIZE, (struct page_range){ 4, 4 }, 1), 0);
	EXPECT_EQ(mm->nr_windows, 1);
	EXPECT_EQ(mm->spanned, 12 * PAGE_SIZE);
	EXPECT_EQ(page_at(BASE + 11 * PAGE_SIZE), 11);
	end();
}

static void what_differs_stays_apart(void)
{
	begin();
	EXPECT_EQ(add_part(BASE, (struct page_range){ 0, 4 }, 1), 0);
	EXPECT_EQ(add_part(BASE + 4 * PAGE_SIZE, (struct page_range){ 4, 4 }, 2), 0);
	EXPECT_EQ(add_part(BASE + 8 * PAGE_SIZE, (struct page_range){ 9, 4 }, 2), 0);
	EXPECT_EQ(mm->nr_windows, 3);
	end();
}

static void removing_the_middle_splits(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_remove_range(mm, BASE + 4 * PAGE_SIZE, 2 * PAGE_SIZE), 0);
	EXPECT_EQ(mm->nr_windows, 2);
	EXPECT_EQ(mm->spanned, 14 * PAGE_SIZE);
	EXPECT_EQ(page_at(BASE + 3 * PAGE_SIZE), 3);
	EXPECT_EQ(page_at(BASE + 4 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(BASE + 6 * PAGE_SIZE), 6);
	end();
}

static void removing_takes_ends_and_many(void)
{
	begin();
	for (uint32_t i = 0; i < 4; i++)
		EXPECT_EQ(add_part(BASE + i * 8 * PAGE_SIZE, (struct page_range){ 0, 4 }, i + 1),
			  0);
	EXPECT_EQ(mm_remove_range(mm, BASE + 2 * PAGE_SIZE, 24 * PAGE_SIZE), 0);
	EXPECT_EQ(mm->nr_windows, 2);
	EXPECT_EQ(page_at(BASE + PAGE_SIZE), 1);
	EXPECT_EQ(page_at(BASE + 2 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(BASE + 25 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(BASE + 26 * PAGE_SIZE), 2);
	EXPECT_EQ(mm_remove_range(mm, FAR, PAGE_SIZE), 0);
	EXPECT_EQ(mm_remove_range(mm, BASE, 0), -EINVAL);
	EXPECT_EQ(mm_remove_range(mm, BASE, UINT64_MAX), -EINVAL);
	EXPECT_EQ(mm->nr_windows, 2);
	end();
}

static void a_large_page_goes_as_a_whole(void)
{
	begin_pages(4, PAGEBLOCK_SHIFT);
	space_window(mm, region, 1ull << 32, 1);
	EXPECT_EQ(mm_remove_range(mm, (1ull << 32) + PAGEBLOCK_SIZE + PAGE_SIZE, PAGE_SIZE), 0);
	EXPECT_EQ(page_at((1ull << 32) + PAGEBLOCK_SIZE - 1), 0);
	EXPECT_EQ(page_at((1ull << 32) + PAGEBLOCK_SIZE), -1);
	EXPECT_EQ(page_at((1ull << 32) + 2 * PAGEBLOCK_SIZE - 1), -1);
	EXPECT_EQ(page_at((1ull << 32) + 2 * PAGEBLOCK_SIZE), 2);
	end();
}

static void advice_splits_and_merges_again(void)
{
	begin();
	space_window(mm, region, BASE, 7);
	EXPECT_EQ(mm_set_advice(mm, 7, (struct page_range){ 4, 4 }, WINDOW_RANDOM), 0);
	EXPECT_EQ(mm->nr_windows, 3);
	EXPECT_EQ(page_at(BASE + 5 * PAGE_SIZE), 5);
	EXPECT_EQ(mm_set_advice(mm, 7, (struct page_range){ 0, 6 }, WINDOW_RANDOM), 0);
	EXPECT_EQ(mm->nr_windows, 2);
	EXPECT_EQ(mm_set_advice(mm, 7, (struct page_range){ 0, 16 }, WINDOW_NORMAL), 0);
	EXPECT_EQ(mm->nr_windows, 1);
	EXPECT_EQ(mm_set_advice(mm, 8, (struct page_range){ 0, 16 }, WINDOW_NORMAL), -ENOENT);
	end();
}

/* ---- moves ---- */

static void a_moved_part_is_found_at_its_new_place(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_move_range(mm, BASE + 4 * PAGE_SIZE, FAR, 4 * PAGE_SIZE), 0);
	EXPECT_EQ(page_at(FAR), 4);
	EXPECT_EQ(page_at(FAR + 3 * PAGE_SIZE), 7);
	EXPECT_EQ(page_at(BASE + 4 * PAGE_SIZE), -1);
	EXPECT_EQ(mm->nr_windows, 3);
	EXPECT_EQ(mm_move_range(mm, FAR, BASE + 4 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

static void a_move_replaces_what_was_there(void)
{
	begin();
	EXPECT_EQ(add_part(BASE, (struct page_range){ 0, 4 }, 1), 0);
	EXPECT_EQ(add_part(FAR, (struct page_range){ 8, 4 }, 2), 0);
	EXPECT_EQ(mm_move_range(mm, BASE, FAR + PAGE_SIZE, 2 * PAGE_SIZE), 0);
	EXPECT_EQ(page_at(FAR), 8);
	EXPECT_EQ(page_at(FAR + PAGE_SIZE), 0);
	EXPECT_EQ(page_at(FAR + 2 * PAGE_SIZE), 1);
	EXPECT_EQ(page_at(FAR + 3 * PAGE_SIZE), 11);
	EXPECT_EQ(page_at(BASE), -1);
	EXPECT_EQ(page_at(BASE + 2 * PAGE_SIZE), 2);
	end();
}

static void a_move_keeps_gaps_and_neighbours(void)
{
	begin();
	EXPECT_EQ(add_part(BASE, (struct page_range){ 0, 2 }, 1), 0);
	EXPECT_EQ(add_part(BASE + 4 * PAGE_SIZE, (struct page_range){ 4, 2 }, 1), 0);
	EXPECT_EQ(add_part(BASE + 8 * PAGE_SIZE, (struct page_range){ 8, 2 }, 1), 0);
	EXPECT_EQ(mm_move_range(mm, BASE, FAR, 8 * PAGE_SIZE), 0);
	EXPECT_EQ(page_at(FAR + PAGE_SIZE), 1);
	EXPECT_EQ(page_at(FAR + 2 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(FAR + 5 * PAGE_SIZE), 5);
	EXPECT_EQ(page_at(BASE + 8 * PAGE_SIZE), 8);
	EXPECT_EQ(page_at(FAR + 8 * PAGE_SIZE), -1);
	EXPECT_EQ(mm->nr_windows, 3);
	end();
}

static void a_move_of_nothing_or_nonsense_does_no_harm(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_move_range(mm, FAR, FAR + (1 << 24), PAGE_SIZE), 0);
	EXPECT_EQ(mm_move_range(mm, BASE, FAR, 0), -EINVAL);
	EXPECT_EQ(mm_move_range(mm, UINT64_MAX - 5, FAR, PAGE_SIZE), -EINVAL);
	EXPECT_EQ(mm_move_range(mm, BASE, 1ull << 47, PAGE_SIZE), -EINVAL);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

/* ---- gaps, handles ---- */

static void a_gap_is_free_aligned_and_inside_its_bounds(void)
{
	const uint64_t bounds[2] = { BASE, BASE + 64 * PAGE_SIZE };

	begin();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_find_gap(mm, PAGE_SIZE, 4 * PAGE_SIZE, bounds), BASE + 16 * PAGE_SIZE);
	EXPECT_EQ(mm_find_gap(mm, 48 * PAGE_SIZE, PAGE_SIZE, bounds), BASE + 16 * PAGE_SIZE);
	EXPECT_EQ(mm_find_gap(mm, 49 * PAGE_SIZE, PAGE_SIZE, bounds), 0);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

static void ending_a_handle_leaves_the_others(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	space_window(mm, region, BASE + (1 << 20), 2);
	EXPECT_EQ(mm_remove_range(mm, BASE + PAGE_SIZE, PAGE_SIZE), 0);
	mm_remove_handle(mm, 1);
	EXPECT_EQ(page_at(BASE), -1);
	EXPECT_EQ(page_at(BASE + 2 * PAGE_SIZE), -1);
	EXPECT_EQ(page_at(BASE + (1 << 20)), 0);
	mm_remove_handle(mm, 1);
	EXPECT_EQ(mm->nr_windows, 1);
	end();
}

static void collect_start(const struct window *w, void *arg)
{
	uint64_t **out = arg;

	*(*out)++ = w->range.start;
}

static void windows_are_walked_in_order(void)
{
	uint64_t starts[3], *at = starts;

	begin();
	EXPECT_EQ(add_part(FAR, (struct page_range){ 0, 1 }, 1), 0);
	EXPECT_EQ(add_part(BASE, (struct page_range){ 0, 1 }, 1), 0);
	EXPECT_EQ(add_part(BASE + 4 * PAGE_SIZE, (struct page_range){ 0, 1 }, 1), 0);
	mm_for_each_window(mm, collect_start, &at);
	EXPECT_EQ(at - starts, 3);
	EXPECT_EQ(starts[0], BASE);
	EXPECT_EQ(starts[1], BASE + 4 * PAGE_SIZE);
	EXPECT_EQ(starts[2], FAR);
	end();
}

/* ---- slots ---- */

static void a_slot_seen_late_is_nobody(void)
{
	uint64_t generation;
	uint32_t slot;

	begin();
	slot = mm->slot;
	generation = mm->generation;
	EXPECT(mm_get_slot(slot, generation) == mm);
	mm_put(mm);
	space_close_mm(mm);
	EXPECT(mm_get_slot(slot, generation) == NULL);
	EXPECT(mm_get_slot(NR_MM_MAX, 0) == NULL);
	EXPECT(mm_get_slot(slot + 1, 0) == NULL);
	mm = space_mm();
	EXPECT_EQ(mm->slot, slot);
	EXPECT(mm_get_slot(slot, generation) == NULL);
	space_window(mm, region, BASE, 1);
	end();
}

static void the_last_reference_closes_the_userfaultfd(void)
{
	struct os_uffd_event events[OS_UFFD_EVENTS];
	int uffd;

	begin();
	uffd = mm->uffd;
	EXPECT(mm_get(mm));
	space_close_mm(mm);
	EXPECT_EQ(os->uffd_read(uffd, events, OS_UFFD_EVENTS), 0);
	mm_put(mm);
	EXPECT_EQ(os->uffd_read(uffd, events, OS_UFFD_EVENTS), -EBADF);
	EXPECT(!mm_get(mm));
	mm = space_mm();
	end();
}

static void count_mm(struct mm *each, void *arg)
{
	EXPECT(atomic_load(&each->refs) > 1);
	++*(unsigned int *)arg;
}

static void every_live_map_is_visited(void)
{
	struct mm *other;
	unsigned int nr = 0;

	begin();
	other = space_mm();
	mm_for_each(count_mm, &nr);
	EXPECT_EQ(nr, 2);
	space_close_mm(other);
	nr = 0;
	mm_for_each(count_mm, &nr);
	EXPECT_EQ(nr, 1);
	end();
}

static void the_table_has_an_end(void)
{
	static struct mm *all[NR_MM_MAX];
	struct mm_request want = { .uffd = -1 };
	struct mm *none;

	space_begin(&(struct space_options){ .own_mib = 128 });
	region = space_region(PAGES, PAGE_SHIFT);
	mm = space_mm();
	for (int i = 1; i < NR_MM_MAX; i++)
		EXPECT_EQ(mm_new(&want, &all[i]), 0);
	EXPECT_EQ(mm_new(&want, &none), -EMFILE);
	for (int i = 1; i < NR_MM_MAX; i++)
		mm_put(all[i]);
	end();
}

/* ---- several threads: lanes that read events, and requests ---- */

enum { ROUNDS = 4000 };

static void *move_to_and_fro(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		mm_move_range(mm, BASE, FAR, PAGES * PAGE_SIZE);
		mm_move_range(mm, FAR, BASE, PAGES * PAGE_SIZE);
	}
	return unused;
}

static void *open_and_close(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (add_part(BASE + 2 * PAGE_SIZE, (struct page_range){ 2, 3 }, 2) == 0 && i % 2)
			mm_set_advice(mm, 2, (struct page_range){ 3, 1 }, WINDOW_RANDOM);
		mm_remove_handle(mm, 2);
	}
	return unused;
}

static void *unmap_and_look(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		page_at(BASE + 3 * PAGE_SIZE);
		page_at(FAR + 3 * PAGE_SIZE);
		mm_remove_range(mm, i % 2 ? BASE : FAR, 3 * PAGE_SIZE);
	}
	return unused;
}

static void threads_may_change_a_map_at_once(void)
{
	void *(*const work[])(void *) = { move_to_and_fro, open_and_close, unmap_and_look };
	pthread_t threads[ARRAY_SIZE(work)];

	begin();
	for (unsigned int i = 0; i < ARRAY_SIZE(work); i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, work[i], NULL), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(work); i++)
		pthread_join(threads[i], NULL);
	end();
}

/* ---- windows that show other memory ---- */

/* Any other section's will do. */
static uint32_t elsewhere(void)
{
	return region->section->id + 1;
}

static void add_shown(uint64_t start, uint32_t handle)
{
	struct window_request want = { .region = region, .start = start, .handle = handle,
				       .length = PAGES << PAGE_SHIFT, .shown = elsewhere() };

	EXPECT_EQ(mm_add_window(mm, &want), 0);
	fake_uffd_window(mm->uffd, start, want.length, region->section->fd, 0);
}

static enum remap_state ask_for(uint64_t address, struct page_range pages)
{
	struct mm_target t;
	struct mm_hint hint;
	struct remap want = { .address = address + (pages.first << PAGE_SHIFT),
			      .length = pages.nr << PAGE_SHIFT,
			      .offset = pages.first << PAGE_SHIFT };
	enum remap_state state;

	EXPECT(mm_find(mm, want.address, &t, &hint));
	want.handle = t.handle;
	state = mm_remap_begin(mm, &t, &want);
	region_put(t.region);
	return state;
}

static void what_a_handle_shows_is_known(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	add_shown(FAR, 2);
	EXPECT_EQ(mm_shown(mm, 1), 0);
	EXPECT_EQ(mm_shown(mm, 2), elsewhere());
	EXPECT_EQ(mm_shown(mm, 3), 0);
	mm_show_own(mm, 2);
	EXPECT_EQ(mm_shown(mm, 2), 0);
	end();
}

static void what_is_asked_goes_with_its_windows(void)
{
	uint64_t wakes;

	begin();
	add_shown(BASE, 1);
	EXPECT_EQ(ask_for(BASE, (struct page_range){ 2, 4 }), REMAP_BEGUN);
	EXPECT_EQ(ask_for(BASE, (struct page_range){ 3, 1 }), REMAP_PENDING);
	wakes = fake_uffd_wakes(mm->uffd, BASE + 5 * PAGE_SIZE);
	EXPECT_EQ(mm_remove_range(mm, BASE + 2 * PAGE_SIZE, PAGE_SIZE), 0);
	EXPECT_EQ(mm->nr_remaps, 0);
	EXPECT(fake_uffd_wakes(mm->uffd, BASE + 5 * PAGE_SIZE) > wakes); /* N2 */
	EXPECT_EQ(ask_for(BASE, (struct page_range){ 3, 1 }), REMAP_BEGUN);
	EXPECT_EQ(mm_move_range(mm, BASE, FAR, PAGES << PAGE_SHIFT), 0);
	EXPECT_EQ(mm->nr_remaps, 0);
	EXPECT_EQ(ask_for(FAR, (struct page_range){ 3, 1 }), REMAP_BEGUN);
	mm_remove_handle(mm, 1);
	EXPECT_EQ(mm->nr_remaps, 0);
	EXPECT_EQ(atomic_load(&nr_remaps_pending), 0);
	end();
}

/* mm_end.c */
static void who_is_to_end_is_told_of_once(void)
{
	static const char first[] = "first", second[] = "second";

	begin();
	mm_end_later(mm, first);
	mm_end_later(mm, second);
	EXPECT_EQ(atomic_load(&nr_to_end), 1);
	EXPECT(mm_take_end(mm) == first);
	EXPECT(!mm_take_end(mm));
	EXPECT_EQ(atomic_load(&nr_to_end), 0);
	mm_end_later(mm, second); /* it ends by itself before */
	end();
	EXPECT_EQ(atomic_load(&nr_to_end), 0);
}

static unsigned int nr_mapped;

static void count_mapping(struct mm *unused, uint64_t address, uint64_t length, void *nothing)
{
	nr_mapped++;
}

static unsigned int mappings(void)
{
	nr_mapped = 0;
	region_for_each_mapping(region, (struct page_range){ 0, PAGES }, count_mapping, NULL);
	return nr_mapped;
}

/* Who opens a region and maps nothing costs those nothing who protect its pages. */
static void windows_count_as_mapped_from_the_first_question_on(void)
{
	begin();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mappings(), 0);
	EXPECT_EQ(page_at(BASE + PAGE_SIZE), 1);
	EXPECT_EQ(mappings(), 1);
	mm_remove_range(mm, BASE + 4 * PAGE_SIZE, PAGE_SIZE);
	EXPECT_EQ(mappings(), 2);
	EXPECT_EQ(mm_move_range(mm, BASE, FAR, 4 << PAGE_SHIFT), 0);
	EXPECT_EQ(mappings(), 2);
	EXPECT_EQ(add_part(BASE, (struct page_range){ 0, 4 }, 2), 0);
	EXPECT_EQ(mappings(), 2);
	end();
}

static const struct test_case cases[] = {
	{ "an address means the page of its window", an_address_means_the_page_of_its_window },
	{ "a window may show a part of its region", a_window_may_show_a_part },
	{ "any address in a large page means it", large_pages_are_found_by_any_address_in_them },
	{ "windows never overlap (M1)", windows_never_overlap },
	{ "addresses that no client has are refused", addresses_no_client_has_are_refused },
	{ "a window that can't be added leaves nothing", a_window_that_fails_leaves_nothing },
	{ "neighbours that continue each other are one window (M2)", what_continues_is_one_window },
	{ "other handles and other pages stay apart", what_differs_stays_apart },
	{ "removing the middle splits", removing_the_middle_splits },
	{ "removing takes ends, and many windows", removing_takes_ends_and_many },
	{ "a large page that is cut in two goes as a whole (M1)", a_large_page_goes_as_a_whole },
	{ "advice splits and merges again", advice_splits_and_merges_again },
	{ "a moved part is found at its new place", a_moved_part_is_found_at_its_new_place },
	{ "a move replaces what was there", a_move_replaces_what_was_there },
	{ "a move keeps gaps, and neighbours in their place", a_move_keeps_gaps_and_neighbours },
	{ "a move of nothing or nonsense does no harm",
	  a_move_of_nothing_or_nonsense_does_no_harm },
	{ "a gap is free, aligned and inside its bounds",
	  a_gap_is_free_aligned_and_inside_its_bounds },
	{ "ending a handle leaves the others", ending_a_handle_leaves_the_others },
	{ "windows are walked from the lowest address up", windows_are_walked_in_order },
	{ "a slot seen late is nobody", a_slot_seen_late_is_nobody },
	{ "the last reference closes the userfaultfd", the_last_reference_closes_the_userfaultfd },
	{ "every live map is visited, referenced", every_live_map_is_visited },
	{ "the table of maps has an end", the_table_has_an_end },
	{ "threads may change a map at once", threads_may_change_a_map_at_once },
	{ "what a handle's windows show is known", what_a_handle_shows_is_known },
	{ "what is asked of a client goes with its windows", what_is_asked_goes_with_its_windows },
	{ "who is to end is told of once", who_is_to_end_is_told_of_once },
	{ "a window counts as mapped from the first question for a page on",
	  windows_count_as_mapped_from_the_first_question_on },
};
TEST_MAIN(cases)
