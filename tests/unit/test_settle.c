/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_settle - settle.c: what a daemon that died left in page words and file
 */
#include "mm/map/swap.h"
#include "mm/phys/meta.h"
#include "mm/phys/section.h"
#include "mm/space/clone.h"
#include "mm/space/cow.h"
#include "mm/space/takeout.h"

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"

enum { NR_PAGES = 512 };

/* A section and words as a predecessor had them. */
static struct section *left_section(void)
{
	struct section_request want = { .name = "left", .nr_frames = NR_PAGES,
					.kind = STOCK_BASE, .type = SECTION_REGION,
					.node = SECTION_NODE_MIXED };
	struct section *section = NULL;

	EXPECT_EQ(section_add(&want, &section), 0);
	EXPECT_EQ(os->populate(meta_fd(),
			       meta_header->window_offset[META_WORDS] + section->pfn * 8ull,
			       PAGE_SIZE, 0), 0);
	return section;
}

static void left_page(struct section *section, uint32_t page, uint64_t word, bool in_file)
{
	atomic_store(&page_words[section->pfn + page], word);
	if (in_file)
		EXPECT_EQ(os->populate(section->fd, (uint64_t)page << PAGE_SHIFT, PAGE_SIZE, 0), 0);
}

static bool in_file(const struct region *region, uint64_t page)
{
	return !os->has_hole(region->section->fd, page << PAGE_SHIFT, PAGE_SIZE);
}

static void busy_words_settle_as_they_say(void)
{
	struct region_resume_request want = {
		.region = { .name = "", .nr_pages = NR_PAGES, .page_shift = PAGE_SHIFT },
		.committed = (const uint64_t[MAX_NUMNODES]){ NR_PAGES },
	};
	struct region *region = NULL;

	space_begin(&(struct space_options){ 0 });
	want.section = left_section();
	left_page(want.section, 0, word_present(0), true);
	left_page(want.section, 1, word_present(0) | WORD_BUSY | WORD_WAITERS, true);
	left_page(want.section, 2, PAGE_NONE | WORD_BUSY, true);
	left_page(want.section, 3, PAGE_POISONED | WORD_BUSY, true);
	left_page(want.section, 4, word_present(0) | WORD_LOCKED, true);
	left_page(want.section, 5, PAGE_NONE, false);
	EXPECT_EQ(region_resume(&want, &region), 0);
	EXPECT_EQ(space_state(region, 0), PAGE_PRESENT);
	EXPECT_EQ(word_load(&region->words[1]), word_present(0));
	EXPECT_EQ(space_state(region, 2), PAGE_NONE);
	EXPECT(!in_file(region, 2));
	EXPECT_EQ(space_state(region, 3), PAGE_POISONED);
	EXPECT_EQ(atomic_load(&region->nr_poisoned), 1);
	EXPECT(atomic_load(&region->poison_cause));
	EXPECT(!in_file(region, 3));
	EXPECT_EQ(atomic_load(&region->nr_resident), 3);
	EXPECT_EQ(atomic_load(&region->nr_locked), 1);
	EXPECT_EQ(atomic_load(&region->quota[0]), NR_PAGES - 3);
	EXPECT_EQ(space_present(0, STOCK_BASE), 3);
	space_expect_valid(region, NULL);
	space_drop_region(region);
	space_end();
}

static uint64_t word_of(const struct region *region, uint64_t page)
{
	return word_load(&region->words[page]);
}

/* Slots are claimed for the words that need them. Which page was clean, active or free to go is
 * found out anew; where no clone has come back nobody shares. */
static void what_words_name_is_claimed_and_counted(void)
{
	const uint64_t swapped = word_swapped(slot_make(0, 6), 3);
	const uint64_t lost = word_with_high(PAGE_POISONED, slot_make(0, 8));
	struct region_resume_request want = {
		.region = { .name = "", .nr_pages = NR_PAGES, .page_shift = PAGE_SHIFT },
		.committed = (const uint64_t[MAX_NUMNODES]){ NR_PAGES },
	};
	struct region *region = NULL;

	space_begin(&(struct space_options){ .swap_mib = 16 });
	want.section = left_section();
	left_page(want.section, 0,
		  word_with_high(word_present(0) | WORD_CLEAN | WORD_ACTIVE | WORD_REFERENCED,
				 slot_make(0, 5)), true);
	left_page(want.section, 1, swapped, false);
	left_page(want.section, 2, word_same_filled(7, 3) | WORD_BUSY, true);
	left_page(want.section, 3, word_present(0) | WORD_SHARED | WORD_LOCKED, true);
	left_page(want.section, 4, word_present(0) | WORD_LAZYFREE | WORD_ASKED, true);
	left_page(want.section, 5, lost, false);
	EXPECT_EQ(region_resume(&want, &region), 0);
	EXPECT_EQ(word_of(region, 0), word_present(0));
	EXPECT_EQ(word_of(region, 1), swapped);
	EXPECT_EQ(word_of(region, 2), word_same_filled(7, 3));
	EXPECT(!in_file(region, 2));
	EXPECT_EQ(word_of(region, 4), word_present(0));
	EXPECT_EQ(word_of(region, 5), lost);
	EXPECT_EQ(space_slots_used(), 2);
	EXPECT_EQ(memcg_read(memcg_root(), MEMCG_SWAP), 2);
	EXPECT_EQ(atomic_load(&region->nr_shared), 1);
	space_expect_valid(region, NULL);
	region_resume_alone(region);
	EXPECT_EQ(word_of(region, 3), word_present(0) | WORD_LOCKED);
	space_expect_valid(region, NULL);
	space_drop_region(region);
	space_end_swap();
}

/* What is out of a region that overcommits is promised where it may come back. */
static void what_is_bound_comes_back_on_its_node(void)
{
	static const uint64_t nothing[MAX_NUMNODES];
	struct region_resume_request want = {
		.region = { .name = "", .nr_pages = NR_PAGES, .page_shift = PAGE_SHIFT,
			    .policy = POLICY_BIND, .node_mask = 2, .overcommit = true },
		.committed = nothing,
	};
	struct region *region = NULL;

	space_begin(&(struct space_options){ .nr_nodes = 2, .swap_mib = 16 });
	want.section = left_section();
	left_page(want.section, 0, word_swapped(slot_make(0, 6), 3), false);
	EXPECT_EQ(region_resume(&want, &region), 0);
	EXPECT_EQ(atomic_load(&region->quota[0]), 0);
	EXPECT_EQ(atomic_load(&region->quota[1]), 1);
	space_expect_valid(region, NULL);
	space_drop_region(region);
	space_end_swap();
}

static void left_bytes(const struct section *section, uint32_t page, uint8_t value)
{
	uint8_t bytes[PAGE_SIZE] = { value };

	EXPECT_EQ(os->write(section->fd, (uint64_t)page << PAGE_SHIFT, bytes, PAGE_SIZE), 0);
}

static uint8_t bytes_of(const struct region *region, uint64_t page)
{
	uint8_t byte = 0;

	EXPECT(in_file(region, page));
	EXPECT_EQ(os->read(region->section->fd, page << PAGE_SHIFT, &byte, 1), 0);
	return byte;
}

static void note_as_out(const struct section *section, uint32_t page, uint8_t value)
{
	struct taken_record *note = takeout_begin(PAGE_SHIFT);

	note->section = section->id;
	note->page = page;
	note->bytes[0] = value;
	record_commit(RECORD_TAKEN, note);
}

/* A daemon that died while it took pages out of a clone's windows: 0 is still there, 1 is out, 2
 * was lost before, 3 was about to be put back: the page is there, its bytes aren't. The clone's
 * client has written to its copies. */
static void pages_that_were_out_come_back(void)
{
	struct region_resume_request want = {
		.region = { .name = "", .nr_pages = NR_PAGES, .page_shift = PAGE_SHIFT },
		.committed = (const uint64_t[MAX_NUMNODES]){ NR_PAGES },
	};
	struct region *owner = NULL, *clone = NULL;
	struct section *of_owner, *of_clone;

	space_begin(&(struct space_options){ 0 });
	of_owner = left_section();
	of_clone = left_section();
	for (uint32_t page = 0; page < 4; page++) {
		left_page(of_owner, page, word_present(0) | WORD_BUSY, page == 0 || page == 3);
		left_page(of_clone, page,
			  word_with_high(word_present(0) | WORD_BUSY | WORD_SEEN, of_owner->id),
			  true);
		left_bytes(of_clone, page, 66);
	}
	left_bytes(of_owner, 0, 10);
	note_as_out(of_owner, 1, 11);
	note_as_out(of_owner, 3, 13);
	takeouts_resume();
	want.section = of_clone;
	EXPECT_EQ(region_resume(&want, &clone), 0);
	want.section = of_owner;
	EXPECT_EQ(region_resume(&want, &owner), 0);
	EXPECT_EQ(bytes_of(owner, 0), 10);
	EXPECT_EQ(bytes_of(owner, 1), 11);
	EXPECT(!in_file(owner, 2));
	EXPECT_EQ(bytes_of(owner, 3), 13);
	EXPECT_EQ(record_count(RECORD_TAKEN), 0);
	EXPECT_EQ(word_load(&clone->words[0]), word_present(0));
	EXPECT_EQ(space_state(clone, 2), PAGE_POISONED);
	EXPECT(region_poison(owner, 2, "test"));
	space_expect_valid(owner, NULL);
	space_expect_valid(clone, NULL);
	space_drop_region(clone);
	space_drop_region(owner);
	space_end();
}

/* A copy that nobody has looked over: a client may have punched what it was made of before it was
 * read. It is made again. 0: by its owner, who writes; 1: by itself; 2: of what isn't to be had any
 * more, so that the copy is all there is. */
static void copies_that_nobody_looked_over_are_made_again(void)
{
	struct region_resume_request want = {
		.region = { .name = "", .nr_pages = NR_PAGES, .page_shift = PAGE_SHIFT },
		.committed = (const uint64_t[MAX_NUMNODES]){ NR_PAGES },
	};
	const uint64_t shared = word_present(0) | WORD_SHARED, copy = word_present(0) | WORD_BUSY;
	struct region *owner = NULL, *clone = NULL;
	struct section *of_owner, *of_clone;

	space_begin(&(struct space_options){ 0 });
	of_owner = left_section();
	of_clone = left_section();
	left_page(of_owner, 0, shared | WORD_BUSY, false);
	left_page(of_owner, 1, shared, true);
	left_page(of_owner, 2, PAGE_NONE, false);
	left_page(of_clone, 0, word_with_high(copy | WORD_BREAKING, of_owner->id), true);
	left_page(of_clone, 1, word_with_high(copy | WORD_CHECKING, of_owner->id), true);
	left_page(of_clone, 2, word_with_high(copy | WORD_CHECKING, of_owner->id), true);
	left_page(of_clone, 3, copy | WORD_CHECKING, true);
	want.section = of_clone;
	EXPECT_EQ(region_resume(&want, &clone), 0);
	for (uint64_t page = 0; page < 2; page++) {
		EXPECT_EQ(word_of(clone, page), word_inherit(of_owner->id));
		EXPECT(!in_file(clone, page));
	}
	EXPECT_EQ(word_of(clone, 2), word_present(0));
	EXPECT_EQ(word_of(clone, 3), word_present(0));
	EXPECT_EQ(atomic_load(&clone->nr_inherit), 2);
	EXPECT_EQ(atomic_load(&clone->nr_resident), 2);
	want.section = of_owner;
	EXPECT_EQ(region_resume(&want, &owner), 0);
	EXPECT_EQ(clone_resume(clone, owner), 0);
	EXPECT(region_poison(owner, 0, "test"));
	space_expect_valid(owner, NULL);
	space_expect_valid(clone, NULL);
	space_drop_region(clone);
	space_drop_region(owner);
	space_end();
}

/* So each says whom it is made of, until it has been looked over. */
static void a_copy_says_whom_it_is_made_of(void)
{
	static const uint64_t marks[] = { WORD_CHECKING, WORD_BREAKING };
	const struct page_range all = { 0, ARRAY_SIZE(marks) };
	struct clone_pair pair;
	uint64_t word, copied;

	space_begin(&(struct space_options){ 0 });
	pair.parent = space_region(NR_PAGES, PAGE_SHIFT);
	pair.clone = space_region(NR_PAGES, PAGE_SHIFT);
	EXPECT_EQ(region_populate(pair.parent, all), 0);
	EXPECT_EQ(clone_join(&pair), 0);
	EXPECT_EQ(clone_arm(&pair, 1), 0);
	for (uint64_t i = 0; i < ARRAY_SIZE(marks); i++) {
		const struct page_range one = { i, 1 };

		EXPECT(word_try_busy(&pair.clone->words[i], PAGE_INHERIT, &word));
		EXPECT_EQ(region_copy_in(pair.clone, one, pair.parent, marks[i], &copied), 0);
		word = word_of(pair.clone, i);
		EXPECT(word_state(word) == PAGE_PRESENT && word & WORD_BUSY && word & marks[i]);
		EXPECT_EQ(word_high(word), pair.parent->section->id);
		EXPECT_EQ(word_slot(word), 0);
		space_expect_valid(pair.clone, NULL);
		EXPECT(!cow_end_copied(pair.clone, one, pair.parent));
		EXPECT_EQ(word_high(word_of(pair.clone, i)), 0);
		EXPECT(!word_has_mark(word_of(pair.clone, i), marks[i]));
	}
	space_expect_valid(pair.clone, NULL);
	space_drop_region(pair.clone);
	space_drop_region(pair.parent);
	space_end();
}

static const struct test_case cases[] = {
	{ "words left busy settle as they say", busy_words_settle_as_they_say },
	{ "what words name is claimed and counted", what_words_name_is_claimed_and_counted },
	{ "what is bound comes back on its node", what_is_bound_comes_back_on_its_node },
	{ "pages that were out come back", pages_that_were_out_come_back },
	{ "copies that nobody looked over are made again",
	  copies_that_nobody_looked_over_are_made_again },
	{ "a copy says whom it is made of", a_copy_says_whom_it_is_made_of },
};
TEST_MAIN(cases)
