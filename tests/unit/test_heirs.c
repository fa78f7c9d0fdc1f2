/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_heirs - mm/space/heirs.c: shared pages are evicted with all who inherit them; and
 *              mm/space/rejoin.c: they are read once, and shared again
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
#include "mm/space/rejoin.h"

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

static uint64_t value_in(const struct region *home, uint64_t page)
{
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)];

	EXPECT_EQ(os->read(home->section->fd, page << PAGE_SHIFT, words, PAGE_SIZE), 0);
	return words[0];
}

static uint64_t get(unsigned int member, uint64_t page)
{
	if (!fake_uffd_mapped(mm->uffd, address(member, page)))
		space_fault(mm, address(member, page), 0);
	EXPECT(fake_uffd_mapped(mm->uffd, address(member, page)));
	return value_in(members[member], page);
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

static void end_but_swap(void)
{
	for (unsigned int i = 0; i < MEMBERS; i++)
		space_expect_valid(members[i], i ? NULL : mm);
	space_close_mm(mm);
	for (unsigned int i = MEMBERS; i-- > 0;)
		space_drop_region(members[i]);
}

static void end(void)
{
	end_but_swap();
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

/* Whoever has it cloned afterwards wants it again: the clone may. */
static void what_was_freed_lazily_before_goes_to_slots(void)
{
	struct clone_pair pair;

	begin();
	pair = (struct clone_pair){ space_region(NR, PAGE_SHIFT), NULL };
	pair.clone = space_region(NR, PAGE_SHIFT);
	space_window(mm, pair.parent, 9ull << 32, 9);
	EXPECT_EQ(region_populate(pair.parent, (struct page_range){ 0, NR }), 0);
	evict_lazily(pair.parent, (struct page_range){ 0, NR });
	EXPECT_EQ(clone_join(&pair), 0);
	EXPECT_EQ(clone_arm(&pair, 1), 0);
	EXPECT_EQ(atomic_load(&pair.parent->nr_shared), NR);
	evict_lazily(pair.parent, (struct page_range){ 0, NR });
	EXPECT(!(word_load(region_word(pair.parent, 9)) & WORD_LAZYFREE));
	EXPECT_EQ(reclaim_range(pair.parent, (struct page_range){ 0, NR }), NR);
	EXPECT_EQ(space_state(pair.clone, 9), PAGE_SAME_FILLED);
	mm_remove_handle(mm, 9);
	space_drop_region(pair.clone);
	space_drop_region(pair.parent);
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
static void without_room_all_stay(void)
{
	begin();
	memcg_set_limit(members[0]->memcg, MEMCG_SWAP_MAX, NR / 2);
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

/* ---- read once ---- */

enum { IN_SLOTS = NR - NR / 8 /* the others repeat a value */ };

static uint64_t pages_read(void)
{
	return atomic_load(&swap_io_stat.pages_in);
}

/* What the member's window shows of the page, which is to come to be mapped. */
static uint64_t look(unsigned int member, uint64_t page)
{
	uint64_t word;

	space_fault(mm, address(member, page), 0);
	EXPECT(fake_uffd_mapped(mm->uffd, address(member, page)));
	word = word_load(region_word(members[member], page));
	return value_in(word_state(word) == PAGE_INHERIT ? cow_owner(word) : members[member], page);
}

static void look_at_slots(unsigned int member)
{
	for (uint64_t page = 0; page < NR; page++)
		if (value_of(page))
			EXPECT_EQ(look(member, page), value_of(page));
}

static void whoever_looks_reads_it_for_all(void)
{
	uint64_t before;

	begin();
	show_ancestor();
	EXPECT_EQ(evict_all(), NR);
	before = pages_read();
	look_at_slots(1);
	EXPECT_EQ(pages_read() - before, IN_SLOTS);
	EXPECT_EQ(atomic_load(&members[1]->nr_inherit), IN_SLOTS);
	EXPECT_EQ(atomic_load(&members[0]->nr_shared), IN_SLOTS);
	EXPECT_EQ(space_present(0, STOCK_BASE), IN_SLOTS);
	EXPECT_EQ(swap_count(word_slot(word_load(region_word(members[0], 9)))), 2);
	look_at_slots(0);
	look_at_slots(2); /* its window shows its own memory */
	EXPECT_EQ(pages_read() - before, IN_SLOTS);
	EXPECT_EQ(space_present(0, STOCK_BASE), IN_SLOTS * 2);
	for (unsigned int i = 0; i < MEMBERS; i++)
		space_expect_valid(members[i], NULL);
	/* What was written afterwards is its writer's alone. */
	put(0, 9, 99);
	EXPECT_EQ(space_state(members[1], 9), PAGE_PRESENT);
	EXPECT_EQ(value_in(members[1], 9), value_of(9));
	EXPECT_EQ(evict_all(), IN_SLOTS);
	EXPECT_EQ(get(0, 9), 99);
	mm_show_own(mm, 2);
	end();
}

static void who_writes_it_reads_it_alone(void)
{
	uint64_t before;

	begin();
	EXPECT_EQ(evict_all(), NR);
	before = pages_read();
	put(1, 9, 7);
	put(0, 10, 8);
	EXPECT_EQ(space_state(members[0], 9), PAGE_SWAPPED);
	EXPECT_EQ(space_state(members[1], 10), PAGE_SWAPPED);
	EXPECT_EQ(pages_read() - before, 2);
	EXPECT_EQ(look(2, 9), value_of(9));
	EXPECT_EQ(look(0, 9), value_of(9));
	EXPECT_EQ(look(2, 10), value_of(10)); /* into the home of 1 */
	EXPECT_EQ(look(1, 10), value_of(10));
	EXPECT_EQ(pages_read() - before, 4);
	EXPECT_EQ(look(1, 9), 7);
	EXPECT_EQ(look(0, 10), 8);
	/* What is in memory needn't be read to be written. */
	EXPECT_EQ(look(0, 11), value_of(11));
	put(2, 11, 12);
	EXPECT_EQ(pages_read() - before, 5);
	EXPECT_EQ(look(1, 11), value_of(11));
	EXPECT_EQ(pages_read() - before, 5);
	end();
}

static void nobody_inherits_from_who_has_closed(void)
{
	begin();
	EXPECT_EQ(evict_all(), NR);
	region_kin(members[0])->closed = true;
	EXPECT_EQ(look(1, 9), value_of(9));
	EXPECT_EQ(space_state(members[0], 9), PAGE_SWAPPED);
	EXPECT_EQ(space_state(members[1], 9), PAGE_PRESENT);
	EXPECT_EQ(rejoin_run(members[2], (struct page_range){ 9, 1 }), 1); /* from 1 */
	EXPECT_EQ(word_high(word_load(region_word(members[2], 9))), members[1]->section->id);
	region_kin(members[0])->closed = false;
	end();
}

static void while_pages_are_locked_or_dropped_nobody_inherits(void)
{
	begin();
	EXPECT_EQ(evict_all(), NR);
	EXPECT_EQ(look(0, 9), value_of(9));
	EXPECT_EQ(look(0, 10), value_of(10));
	mutex_lock(&members[0]->change_lock);
	EXPECT_EQ(look(1, 9), value_of(9));
	mutex_unlock(&members[0]->change_lock);
	EXPECT_EQ(space_state(members[1], 9), PAGE_PRESENT);
	EXPECT_EQ(region_lock_pages(members[0], (struct page_range){ 10, 1 }), 0);
	EXPECT_EQ(rejoin_run(members[1], (struct page_range){ 10, 1 }), 0);
	region_unlock_pages(members[0], (struct page_range){ 10, 1 });
	/* What was locked has let go of its copy: nobody knows whether it is the same. */
	EXPECT_EQ(rejoin_run(members[1], (struct page_range){ 10, 1 }), 0);
	EXPECT_EQ(look(1, 10), value_of(10));

	EXPECT_EQ(look(0, 11), value_of(11));
	EXPECT_EQ(rejoin_run(members[1], (struct page_range){ 11, 1 }), 1);
	EXPECT_EQ(region_lock_pages(members[0], (struct page_range){ 11, 1 }), 0);
	EXPECT_EQ(space_state(members[1], 11), PAGE_PRESENT);
	region_unlock_pages(members[0], (struct page_range){ 11, 1 });
	end();
}

static void what_a_client_took_away_is_read_again(void)
{
	begin();
	EXPECT_EQ(evict_all(), NR);
	EXPECT_EQ(look(0, 9), value_of(9));
	EXPECT_EQ(os->punch(members[0]->section->fd, 9 << PAGE_SHIFT, PAGE_SIZE), 0);
	EXPECT_EQ(look(1, 9), value_of(9));
	EXPECT_EQ(space_state(members[1], 9), PAGE_PRESENT);
	space_fault(mm, address(0, 9), 0);
	EXPECT_EQ(space_state(members[0], 9), PAGE_POISONED);
	end();
}

static void what_comes_back_for_swapoff_is_shared(void)
{
	uint64_t before;

	begin();
	EXPECT_EQ(evict_all(), NR);
	before = pages_read();
	EXPECT_EQ(space_swap_off(), 0);
	EXPECT_EQ(pages_read() - before, IN_SLOTS);
	EXPECT_EQ(space_present(0, STOCK_BASE), IN_SLOTS);
	EXPECT_EQ(atomic_load(&members[2]->nr_inherit), IN_SLOTS);
	for (unsigned int i = 0; i < MEMBERS; i++)
		for (uint64_t page = 0; page < NR; page++)
			EXPECT_EQ(look(i, page), value_of(page));
	end_but_swap();
	swapper_keep(false);
	space_end();
}

static const struct test_case cases[] = {
	{ "all who inherit a page get its slot", all_who_inherit_get_the_slot },
	{ "who has diverged keeps its own", who_has_diverged_keeps_its_own },
	{ "nothing goes while a clone is made", nothing_goes_while_a_clone_is_made },
	{ "what was freed lazily before goes to slots",
	  what_was_freed_lazily_before_goes_to_slots },
	{ "nobody waits for the family", nobody_waits_for_the_family },
	{ "without room for its owner a page stays", without_room_all_stay },
	{ "frames leave the windows that show them", frames_leave_the_windows_that_show_them },
	{ "what is out of windows while it is copied stays",
	  what_is_out_of_windows_while_it_is_copied_stays },
	{ "whoever looks at it reads it for all", whoever_looks_reads_it_for_all },
	{ "who writes it reads it alone", who_writes_it_reads_it_alone },
	{ "nobody inherits from who has closed", nobody_inherits_from_who_has_closed },
	{ "while pages are locked or dropped nobody inherits",
	  while_pages_are_locked_or_dropped_nobody_inherits },
	{ "what a client took away is read again", what_a_client_took_away_is_read_again },
	{ "what comes back for swapoff is shared", what_comes_back_for_swapoff_is_shared },
};
TEST_MAIN(cases)
