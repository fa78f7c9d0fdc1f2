/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lineage - mm/space/lineage.c: what closed members keep, who is charged, how families end
 */
#include "mm/space/lineage.h"

#include <errno.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/clone.h"

enum { NR = 32, WRITTEN = 8, CHAIN = 10000 / TEST_SLOWER, MOST_REGIONS = 10 };

static struct mm *mm;
static uint32_t last_handle;

static uint64_t start_of(uint32_t handle)
{
	return (uint64_t)handle << 32;
}

static uint32_t show(struct region *region)
{
	last_handle++;
	space_window(mm, region, start_of(last_handle), last_handle);
	EXPECT_EQ(mm_set_advice(mm, last_handle, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
	return last_handle;
}

static void hide(uint32_t handle)
{
	mm_remove_handle(mm, handle);
	fake_uffd_unmap(mm->uffd, start_of(handle), NR << PAGE_SHIFT);
}

static void write_page(struct region *region, uint32_t handle, uint64_t page, uint64_t value)
{
	uint64_t words[PAGE_SIZE / sizeof(value)] = { value };
	uint64_t at = start_of(handle) + (page << PAGE_SHIFT);

	for (int i = 0; i < 4 && !fake_uffd_mapped(mm->uffd, at); i++)
		space_fault(mm, at, OS_FAULT_WRITE);
	for (int i = 0; i < 4 && fake_uffd_protected(mm->uffd, at); i++)
		space_fault(mm, at, OS_FAULT_WRITE | OS_FAULT_WP);
	EXPECT(fake_uffd_mapped(mm->uffd, at) && !fake_uffd_protected(mm->uffd, at));
	EXPECT_EQ(os->write(region->section->fd, page << PAGE_SHIFT, words, PAGE_SIZE), 0);
}

static uint64_t read_page(struct region *region, uint32_t handle, uint64_t page)
{
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)];

	space_fault(mm, start_of(handle) + (page << PAGE_SHIFT), 0);
	EXPECT_EQ(os->read(region->section->fd, page << PAGE_SHIFT, words, PAGE_SIZE), 0);
	return words[0];
}

static struct region *begin(void)
{
	struct region *region;
	uint32_t handle;

	space_begin(&(struct space_options){ .metadata = true });
	mm = space_mm();
	last_handle = 0;
	region = space_region(NR, PAGE_SHIFT);
	handle = show(region);
	for (uint64_t i = 0; i < WRITTEN; i++)
		write_page(region, handle, i, 100 + i);
	hide(handle);
	return region;
}

static struct region *clone_of(struct region *of)
{
	struct clone_pair pair = { of, space_region(NR, PAGE_SHIFT) };

	EXPECT_EQ(clone_join(&pair), 0);
	EXPECT_EQ(clone_arm(&pair, 1), 0);
	return pair.clone;
}

static void close_region(struct region *region)
{
	clone_close(region);
	region_put(region);
	regions_flush();
}

static void end(void)
{
	space_close_mm(mm);
	space_settle();
	space_end();
}

static void expect_counts(struct region *region, uint64_t shared, uint64_t own, uint64_t charged)
{
	struct lineage_count count;
	struct validation v = { 0 };

	lineage_count(region, &count);
	EXPECT_EQ(count.shared, shared);
	EXPECT_EQ(count.own, own);
	EXPECT_EQ(lineage_charged(region), charged);
	lineage_validate(region_kin(region)->family, &v);
	EXPECT_EQ(v.nr_differences, 0);
	space_expect_valid(region, NULL);
}

static void each_is_counted_for_what_it_shows(void)
{
	struct region *parent = begin(), *clone = clone_of(parent);
	uint32_t handle = show(clone);

	expect_counts(parent, WRITTEN, 0, WRITTEN);
	expect_counts(clone, WRITTEN, 0, 0);
	write_page(clone, handle, 1, 1);
	write_page(clone, handle, WRITTEN + 1, 1);
	expect_counts(parent, WRITTEN - 1, 1, WRITTEN);
	expect_counts(clone, WRITTEN - 1, 2, 2);
	hide(handle);
	close_region(clone);
	expect_counts(parent, 0, WRITTEN, WRITTEN);
	close_region(parent);
	end();
}

/* What `verify` asks of a family. */
static uint64_t differences(const struct region *region)
{
	struct validation v = { 0 };

	lineage_validate(region_kin(region)->family, &v);
	return v.nr_differences;
}

static void a_family_that_is_wrong_is_found(void)
{
	struct region *parent = begin(), *clone = clone_of(parent), *last = clone_of(clone);
	uint64_t word = word_load(region_word(parent, 1));

	EXPECT_EQ(differences(last), 0);
	/* The frame isn't protected; is nowhere; is a sibling's. */
	atomic_store(region_word(parent, 1), word & ~(uint64_t)WORD_SHARED);
	EXPECT_EQ(differences(last), 2);
	atomic_store(region_word(parent, 1), PAGE_NONE);
	EXPECT_EQ(differences(last), 2);
	atomic_store(region_word(parent, 1), word);
	atomic_store(region_word(clone, 1), word_inherit(last->section->id));
	EXPECT_EQ(differences(last), 1);
	atomic_store(region_word(clone, 1), word_inherit(parent->section->id));
	region_kin(last)->depth++;
	EXPECT_EQ(differences(last), 1);
	region_kin(last)->depth--;
	EXPECT_EQ(differences(last), 0);
	close_region(last);
	close_region(clone);
	close_region(parent);
	end();
}

/* Who has still a reference to a closed one, and counts, finds nobody it inherits from. */
static void a_closed_one_is_counted_no_more(void)
{
	struct region *parent = begin(), *clone = clone_of(parent);
	struct lineage_count count;

	region_get(clone);
	close_region(clone);
	close_region(parent); /* and goes */
	EXPECT_EQ(space_nr_regions(), 1);
	EXPECT_EQ(atomic_load(&clone->nr_inherit), WRITTEN);
	lineage_count(clone, &count);
	EXPECT_EQ(count.shared + count.own, 0);
	region_put(clone);
	regions_flush();
	EXPECT_EQ(space_nr_regions(), 0);
	end();
}

static void a_closed_parent_keeps_what_is_inherited_alone(void)
{
	struct region *parent = begin(), *clone = clone_of(parent);
	uint32_t handle = show(clone);

	region_get(parent); /* what is read may have it settled, and gone */
	for (uint64_t i = 0; i < 3; i++)
		write_page(clone, handle, i, 1000 + i);
	close_region(parent); /* and stays */
	EXPECT_EQ(atomic_load(&parent->nr_resident), WRITTEN - 3);
	EXPECT_EQ(atomic_load(&parent->committed[0]), WRITTEN - 3);
	expect_counts(clone, 0, WRITTEN, WRITTEN);
	for (uint64_t i = 0; i < WRITTEN; i++)
		EXPECT_EQ(read_page(clone, handle, i), i < 3 ? 1000 + i : 100 + i);
	hide(handle);
	/* Each read has made a copy: nobody inherits anything any more. */
	region_settle_later(parent);
	region_put(parent);
	regions_flush();
	EXPECT_EQ(space_nr_regions(), 1);
	EXPECT(!region_kin(clone)->parent);
	close_region(clone);
	end();
}

/* Less than the part that has it settled at once. */
static void few_pages_that_nobody_shows_go_soon(void)
{
	struct region *parent = begin(), *clone;
	uint32_t handle = show(parent);

	for (uint64_t i = WRITTEN; i < NR; i++)
		write_page(parent, handle, i, 100 + i);
	hide(handle);
	clone = clone_of(parent);
	close_region(parent); /* the clone keeps it */
	handle = show(clone);
	EXPECT(!lineage_is_unsettled());
	write_page(clone, handle, 0, 1);
	regions_flush();
	EXPECT_EQ(atomic_load(&parent->nr_resident), NR);
	EXPECT(lineage_is_unsettled());
	lineage_tick(parent); /* is there more to come? */
	regions_flush();
	EXPECT_EQ(atomic_load(&parent->nr_resident), NR);
	lineage_tick(parent);
	regions_flush();
	EXPECT_EQ(atomic_load(&parent->nr_resident), NR - 1);
	EXPECT_EQ(atomic_load(&parent->committed[0]), NR - 1);
	EXPECT(!lineage_is_unsettled());
	expect_counts(clone, 0, NR, NR);
	write_page(clone, handle, 1, 1);
	EXPECT(lineage_is_unsettled());
	lineage_settle_all(); /* somebody wants the memory */
	EXPECT(!lineage_is_unsettled());
	regions_flush();
	EXPECT_EQ(atomic_load(&parent->nr_resident), NR - 2);
	hide(handle);
	close_region(clone);
	EXPECT_EQ(space_nr_regions(), 0);
	end();
}

static void the_oldest_living_member_is_charged(void)
{
	struct region *parent = begin(), *older = clone_of(parent), *younger = clone_of(parent);

	close_region(parent);
	expect_counts(older, WRITTEN, 0, WRITTEN);
	expect_counts(younger, WRITTEN, 0, 0);
	close_region(older);
	expect_counts(younger, 0, WRITTEN, WRITTEN);
	EXPECT_EQ(space_nr_regions(), 2);
	close_region(younger);
	EXPECT_EQ(space_nr_regions(), 0);
	end();
}

static void a_middle_member_without_frames_leaves(void)
{
	struct region *parent = begin(), *middle = clone_of(parent), *last = clone_of(middle);

	close_region(middle);
	EXPECT_EQ(space_nr_regions(), 2);
	EXPECT(region_kin(last)->parent == region_kin(parent));
	EXPECT_EQ(region_kin(last)->depth, 1);
	expect_counts(last, WRITTEN, 0, 0);
	close_region(last);
	close_region(parent);
	end();
}

/* One page is written by each generation, so that each has something that the next inherits. */
static void a_chain_of_the_dead_stays_short(void)
{
	uint64_t value[NR] = { 0 }, most = 0;
	struct region *last = begin();

	for (uint64_t i = 0; i < WRITTEN; i++)
		value[i] = 100 + i;
	for (uint64_t i = 0; i < CHAIN; i++) {
		struct region *next = clone_of(last);
		uint64_t page = i * 7 % NR;
		uint32_t handle;

		close_region(last);
		handle = show(next);
		value[page] = 1000 + i;
		write_page(next, handle, page, value[page]);
		EXPECT_EQ(read_page(next, handle, page), value[page]);
		hide(handle);
		last = next;
		most = space_nr_regions() > most ? space_nr_regions() : most;
	}
	EXPECT(most > 2 && most <= MOST_REGIONS);
	last_handle = show(last);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT_EQ(read_page(last, last_handle, i), value[i]);
	hide(last_handle);
	close_region(last);
	EXPECT_EQ(space_nr_regions(), 0);
	end();
}

static const struct test_case cases[] = {
	{ "each member is counted for what it shows", each_is_counted_for_what_it_shows },
	{ "a family that is wrong is found", a_family_that_is_wrong_is_found },
	{ "a closed one is counted no more", a_closed_one_is_counted_no_more },
	{ "a closed parent keeps what is inherited, and is promised no more",
	  a_closed_parent_keeps_what_is_inherited_alone },
	{ "few pages that nobody shows any more go soon, too",
	  few_pages_that_nobody_shows_go_soon },
	{ "the oldest living member is charged for what is shared",
	  the_oldest_living_member_is_charged },
	{ "a middle member without frames leaves the tree",
	  a_middle_member_without_frames_leaves },
	{ "a chain of clones whose parents are closed stays short",
	  a_chain_of_the_dead_stays_short },
};
TEST_MAIN(cases)
