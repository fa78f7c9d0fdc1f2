/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_heirs - mm/space/heirs.c: shared pages are evicted with all who inherit them
 */
#include "mm/space/heirs.h"

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/clone.h"
#include "mm/space/cow.h"
#include "mm/space/evict.h"
#include "mm/space/lineage.h"
#include "mm/space/reclaim.h"

enum { NR = 200, MEMBERS = 3, SWAP_MIB = 16 };

static struct region *members[MEMBERS]; /* each a clone of the one before */
static struct mm *mm;

static uint64_t address(unsigned int member, uint64_t page)
{
	return ((uint64_t)(member + 1) << 32) + (page << PAGE_SHIFT);
}

static uint64_t value_of(uint64_t page)
{
	return page % 8 ? 1000 + page : 0;
}

static void put(unsigned int member, uint64_t page, uint64_t value)
{
	uint64_t words[PAGE_SIZE / sizeof(value)] = { value };

	space_fault(mm, address(member, page), OS_FAULT_WRITE);
	if (fake_uffd_protected(mm->uffd, address(member, page)))
		space_fault(mm, address(member, page), OS_FAULT_WRITE | OS_FAULT_WP);
	EXPECT(!fake_uffd_protected(mm->uffd, address(member, page)));
	EXPECT_EQ(os->write(members[member]->section->fd, page << PAGE_SHIFT, words, PAGE_SIZE), 0);
}

static uint64_t get(unsigned int member, uint64_t page)
{
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)];

	if (!fake_uffd_mapped(mm->uffd, address(member, page)))
		space_fault(mm, address(member, page), 0);
	EXPECT(fake_uffd_mapped(mm->uffd, address(member, page)));
	EXPECT_EQ(os->read(members[member]->section->fd, page << PAGE_SHIFT, words, PAGE_SIZE), 0);
	return words[0];
}

static void begin(void)
{
	space_begin(&(struct space_options){ .swap_mib = SWAP_MIB });
	swapper_keep(true);
	mm = space_mm();
	for (unsigned int i = 0; i < MEMBERS; i++) {
		struct clone_pair pair;

		members[i] = space_region(NR, PAGE_SHIFT);
		if (i) {
			pair = (struct clone_pair){ members[i - 1], members[i] };
			EXPECT_EQ(clone_join(&pair), 0);
			EXPECT_EQ(clone_arm(&pair, 1), 0);
		}
		space_window(mm, members[i], address(i, 0), i + 1);
		EXPECT_EQ(mm_set_advice(mm, i + 1, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
		for (uint64_t page = 0; page < NR && !i; page++)
			put(0, page, value_of(page));
	}
}

static void end(void)
{
	for (unsigned int i = 0; i < MEMBERS; i++)
		space_expect_valid(members[i], i ? NULL : mm);
	space_close_mm(mm);
	for (unsigned int i = MEMBERS; i-- > 0;)
		space_drop_region(members[i]);
	space_end_swap();
}

static uint64_t evict_all(void)
{
	return reclaim_range(members[0], (struct page_range){ 0, NR });
}

static void expect_all_shared(void)
{
	EXPECT_EQ(atomic_load(&members[0]->nr_shared), NR);
	EXPECT_EQ(atomic_load(&members[0]->nr_resident), NR);
	for (unsigned int i = 1; i < MEMBERS; i++)
		EXPECT_EQ(atomic_load(&members[i]->nr_inherit), NR);
}

static void expect_all_out(void)
{
	EXPECT_EQ(atomic_load(&members[0]->nr_shared), 0);
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	for (unsigned int i = 0; i < MEMBERS; i++) {
		EXPECT_EQ(atomic_load(&members[i]->nr_inherit), 0);
		for (uint64_t page = 0; page < NR; page++)
			EXPECT_EQ(space_state(members[i], page),
				  value_of(page) ? PAGE_SWAPPED : PAGE_SAME_FILLED);
		space_expect_valid(members[i], NULL);
	}
}

static void all_who_inherit_get_the_slot(void)
{
	begin();
	expect_all_shared();
	EXPECT_EQ(evict_all(), NR);
	expect_all_out();
	put(1, 9, 7);
	for (unsigned int i = MEMBERS; i-- > 0;)
		for (uint64_t page = 0; page < NR; page++)
			EXPECT_EQ(get(i, page), i == 1 && page == 9 ? 7 : value_of(page));
	end();
}

static void who_has_diverged_keeps_its_own(void)
{
	begin();
	put(1, 3, 77);
	put(0, 5, 55);
	EXPECT_EQ(evict_all(), NR);
	EXPECT_EQ(space_state(members[1], 3), PAGE_PRESENT);
	EXPECT_EQ(space_state(members[2], 5), PAGE_PRESENT);
	EXPECT_EQ(get(0, 3), value_of(3));
	EXPECT_EQ(get(1, 3), 77);
	EXPECT_EQ(get(2, 3), value_of(3));
	EXPECT_EQ(get(0, 5), 55);
	EXPECT_EQ(get(1, 5), value_of(5));
	end();
}

static void nothing_goes_while_a_clone_is_made(void)
{
	begin();
	region_kin(members[1])->arming = true;
	EXPECT_EQ(evict_all(), 0);
	expect_all_shared();
	region_kin(members[1])->arming = false;
	EXPECT_EQ(evict_all(), NR);
	expect_all_out();
	end();
}

static void nobody_waits_for_the_family(void)
{
	struct mutex *lock;

	begin();
	lock = &region_kin(members[0])->family->lock;
	mutex_lock(lock);
	EXPECT_EQ(evict_all(), 0);
	mutex_unlock(lock);
	expect_all_shared();
	for (uint64_t page = 0; page < NR; page++)
		EXPECT_EQ(get(2, page), value_of(page));
	end();
}

/* The slots of the owner are there, and none for the others. */
static void without_room_for_one_all_stay(void)
{
	begin();
	memcg_set_limit(members[0]->memcg, MEMCG_SWAP_MAX, NR + NR / 2);
	evict_all();
	EXPECT_EQ(atomic_load(&members[1]->nr_inherit), atomic_load(&members[2]->nr_inherit));
	EXPECT_EQ(atomic_load(&members[0]->nr_shared), atomic_load(&members[1]->nr_inherit));
	EXPECT(atomic_load(&members[0]->nr_shared) > 0);
	for (unsigned int i = 0; i < MEMBERS; i++)
		space_expect_valid(members[i], NULL);
	memcg_set_limit(members[0]->memcg, MEMCG_SWAP_MAX, UINT64_MAX);
	evict_all();
	expect_all_out();
	end();
}

/* ---- frames that windows of clones show ---- */

static void show_ancestor(void)
{
	struct window_request want = { .region = members[1], .start = address(1, 0), .handle = 2,
				       .length = NR << PAGE_SHIFT,
				       .shown = members[0]->section->id };

	mm_remove_handle(mm, 2);
	fake_uffd_unmap(mm->uffd, want.start, want.length);
	EXPECT_EQ(mm_add_window(mm, &want), 0);
	EXPECT_EQ(mm_set_advice(mm, 2, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
	fake_uffd_window(mm->uffd, want.start, want.length, members[0]->section->fd, 0);
}

static void frames_leave_the_windows_that_show_them(void)
{
	begin();
	show_ancestor();
	for (uint64_t page = 0; page < NR; page++)
		EXPECT_EQ(get(1, page), 0); /* its own memory has nothing */
	EXPECT_EQ(atomic_load(&members[1]->nr_resident), 0);
	EXPECT(fake_uffd_mapped(mm->uffd, address(1, 9)));
	EXPECT_EQ(evict_all(), NR);
	expect_all_out();
	for (uint64_t page = 0; page < NR; page++)
		EXPECT(!fake_uffd_mapped(mm->uffd, address(1, page)));
	mm_show_own(mm, 2);
	end();
}

/* Whoever copied it to a slot meanwhile may have seen a hole. */
static void what_is_out_of_windows_while_it_is_copied_stays(void)
{
	const struct evict_filter filter = { .node = -1, .all_ages = true };
	struct evict_result result = { 0 };
	struct swapper *s;

	begin();
	show_ancestor();
	EXPECT_EQ(get(1, 9), 0);
	s = swapper_get(SWAPPER_READER);
	EXPECT(s && evict_begin(s, members[0]));
	evict_block(s, members[0], (struct page_range){ 0, NR }, &filter, &result);
	EXPECT_EQ(cow_unshare(members[1], (struct page_range){ 9, 1 }), 0);
	evict_end(s, members[0], &result);
	swapper_put(s);
	EXPECT_EQ(result.nr_freed, NR - 1);
	EXPECT_EQ(space_state(members[0], 9), PAGE_PRESENT);
	EXPECT_EQ(get(0, 9), value_of(9));
	EXPECT_EQ(space_state(members[1], 9), PAGE_PRESENT);
	mm_show_own(mm, 2);
	EXPECT_EQ(get(1, 9), value_of(9));
	end();
}

static const struct test_case cases[] = {
	{ "all who inherit a page get its slot", all_who_inherit_get_the_slot },
	{ "who has diverged keeps its own", who_has_diverged_keeps_its_own },
	{ "nothing goes while a clone is made", nothing_goes_while_a_clone_is_made },
	{ "nobody waits for the family", nobody_waits_for_the_family },
	{ "without room for one all stay", without_room_for_one_all_stay },
	{ "frames leave the windows that show them", frames_leave_the_windows_that_show_them },
	{ "what is out of windows while it is copied stays",
	  what_is_out_of_windows_while_it_is_copied_stays },
};
TEST_MAIN(cases)
