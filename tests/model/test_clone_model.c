/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_clone_model - random trees of clones against plain arrays: arm.c, cow.c, clone.c, lineage.c,
 *             rollback.c, heirs.c, rejoin.c
 *
 * Purpose     One value a page and member. Members are written, read, dropped, locked, rolled back,
 *             evicted, cloned, and closed in any order; what a member holds is
 *             compared page by page. Every other clone's window shows an ancestor's memory at
 *             first, and its client maps parts anew when it likes to. One seed in eight has
 *             pages of 2 MiB, of which the first 4 KiB are looked at, and fewer of them.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/clone.h"
#include "mm/space/cow.h"
#include "mm/space/lineage.h"
#include "mm/space/reclaim.h"
#include "mm/space/swapper.h"

enum {
	NR_SEEDS = 120 / TEST_SLOWER,
	LONG_SEEDS = 3000,
	NR_STEPS = 400,
	NR_MEMBERS = 6,
	NR_PAGES = 20,
	NR_HUGE = 5,
	HUGE_MIB = 96,
	SWAP_MIB = 1,
	HUGE_SWAP_MIB = 64,
	NR_DEAD_MAX = 8, /* of a family; a tree has one here */
};

struct member {
	struct region *region; /* NULL: this place is free */
	uint64_t value[NR_PAGES];
	bool locked[NR_PAGES];
	int base_fd;         /* what its window shows at first; -1: its own memory */
	bool own[NR_PAGES];  /* its client has its own memory mapped there */
};

static struct member all[NR_MEMBERS];
static struct mm *mm;
static unsigned int shift; /* of a page */
static uint64_t nr_pages;
static uint64_t last_value;
static struct remap asked[REMAPS_MAX]; /* of the client, and not done yet */
static unsigned int nr_asked;
static uint64_t mood; /* the client's: whether it does now what it is asked for */

static void ask_client(void *owner, const struct remap *remap)
{
	if (nr_asked < REMAPS_MAX)
		asked[nr_asked++] = *remap;
}

static uint64_t address(const struct member *m, uint64_t page)
{
	return ((uint64_t)(m - all) + 1) << 32 | page << shift;
}

/* The client's kernel has one page of a file there. */
static void map_page(const struct member *m, uint64_t page, int fd)
{
	fake_uffd_unmap(mm->uffd, address(m, page), 1ull << shift);
	fake_uffd_window(mm->uffd, address(m, page), 1ull << shift, fd, page << shift);
}

static void do_remap(const struct remap *r)
{
	const uint64_t elsewhere = 1ull << 40;
	struct member *m = &all[r->handle - 1];
	uint64_t first = r->offset >> shift, end = first + (r->length >> shift);

	if (!m->region || r->address != address(m, first) || end > nr_pages)
		return;
	for (uint64_t page = first; page < end; page++) {
		map_page(m, page, m->region->section->fd);
		m->own[page] = true;
	}
	EXPECT(mm_remap_done(mm, elsewhere + r->address, r->address, r->length));
}

/* Sooner or later. */
static void maybe_remap(bool now)
{
	while (nr_asked && (now || test_below(&mood, 3))) {
		struct remap r = asked[--nr_asked];

		do_remap(&r);
	}
}

/* The first owner that it inherits from; NULL: it doesn't. */
static struct section *base_of(const struct region *region)
{
	for (uint64_t i = 0; i < nr_pages; i++)
		if (word_state(word_load(&region->words[i])) == PAGE_INHERIT)
			return section_by_id(word_high(word_load(&region->words[i])));
	return NULL;
}

static void add_window(struct member *m)
{
	struct section *base = NULL;
	struct window_request want = {
		.region = m->region,
		.start = address(m, 0),
		.length = nr_pages << shift,
		.handle = (uint32_t)(m - all) + 1,
	};

	if (test_below(&mood, 2))
		base = base_of(m->region);
	want.shown = base ? base->id : 0;
	m->base_fd = base ? base->fd : -1;
	EXPECT_EQ(mm_add_window(mm, &want), 0);
	for (uint64_t page = 0; page < nr_pages; page++) {
		m->own[page] = !base;
		map_page(m, page, base ? base->fd : m->region->section->fd);
	}
}

static int shown_fd(const struct member *m, uint64_t page)
{
	return m->own[page] ? m->region->section->fd : m->base_fd;
}

/* What the member's kernel would do for it; false: the page can't be had just now. */
static bool touch(const struct member *m, uint64_t page, uint32_t flags)
{
	uint64_t at = address(m, page);

	for (int i = 0; i < 6 && !fake_uffd_mapped(mm->uffd, at); i++) {
		space_fault(mm, at, flags);
		maybe_remap(i > 3);
	}
	for (int i = 0; i < 4 && flags && fake_uffd_protected(mm->uffd, at); i++) {
		space_fault(mm, at, flags | OS_FAULT_WP);
		maybe_remap(true);
		if (!fake_uffd_mapped(mm->uffd, at))
			space_fault(mm, at, flags);
	}
	return fake_uffd_mapped(mm->uffd, at) && !(flags && fake_uffd_protected(mm->uffd, at));
}

static void write_page(struct member *m, uint64_t page)
{
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)] = { ++last_value };

	if (!touch(m, page, OS_FAULT_WRITE))
		return;
	EXPECT(m->own[page]);
	EXPECT_EQ(os->write(m->region->section->fd, page << shift, words, PAGE_SIZE), 0);
	m->value[page] = last_value;
}

static void read_page(const struct member *m, uint64_t page)
{
	uint64_t words[PAGE_SIZE / sizeof(uint64_t)];

	if (!touch(m, page, 0))
		return;
	EXPECT_EQ(os->read(shown_fd(m, page), page << shift, words, PAGE_SIZE), 0);
	EXPECT_EQ(words[0], m->value[page]);
}

static struct page_range any_range(uint64_t *random)
{
	struct page_range range = { .first = test_below(random, nr_pages) };

	range.nr = 1 + test_below(random, nr_pages - range.first);
	return range;
}

static struct region *new_region(void)
{
	struct region_request want = { .name = "model",
				       .nr_pages = nr_pages,
				       .page_shift = shift };
	struct region_refusal why;
	struct region *region = NULL;

	return region_new(&want, &region, &why) ? NULL : region;
}

static void clone_member(struct member *of, struct member *to)
{
	struct clone_pair pair = { of->region, new_region() };

	if (!pair.clone)
		return;
	if (clone_join(&pair) || clone_arm(&pair, 1)) {
		region_put(pair.clone);
		return;
	}
	*to = (struct member){ .region = pair.clone };
	for (uint64_t i = 0; i < nr_pages; i++)
		to->value[i] = of->value[i];
	add_window(to);
}

static void close_member(struct member *m)
{
	mm_remove_handle(mm, (uint32_t)(m - all) + 1);
	clone_close(m->region);
	fake_uffd_unmap(mm->uffd, address(m, 0), nr_pages << shift);
	region_put(m->region);
	m->region = NULL;
}

static void drop(struct member *m, struct page_range range)
{
	int r = region_drop(m->region, range);

	EXPECT(!r || r == -EBUSY || r == -ENOMEM || r == -EIO);
	for (uint64_t i = range.first; i < range.first + range.nr; i++)
		if (space_state(m->region, i) == PAGE_NONE)
			m->value[i] = 0;
}

static void lock(struct member *m, struct page_range range)
{
	region_lock_pages(m->region, range);
	for (uint64_t i = range.first; i < range.first + range.nr; i++)
		m->locked[i] = word_load(&m->region->words[i]) & WORD_LOCKED;
}

static void unlock_all(struct member *m)
{
	region_unlock_pages(m->region, (struct page_range){ 0, nr_pages });
	for (uint64_t i = 0; i < nr_pages; i++)
		m->locked[i] = false;
}

static void roll_back(struct member *m, struct member *to)
{
	unlock_all(m);
	EXPECT_EQ(region_rollback(m->region, to->region, NULL, NULL), 0);
	for (uint64_t i = 0; i < nr_pages; i++)
		m->value[i] = to->value[i];
}

/* The slots that clones share with their ancestors are found again in the homes of those. */
static void evict(struct member *m, struct page_range range)
{
	reclaim_range(m->region, range);
}

static struct member *any_member(uint64_t *random, bool used)
{
	struct member *m = &all[test_below(random, NR_MEMBERS)];

	return !!m->region == used ? m : NULL;
}

static void step(uint64_t *random)
{
	struct member *m = any_member(random, true), *other;
	uint64_t what = test_below(random, 100);

	if (!m)
		return;
	if (what < 45) {
		write_page(m, test_below(random, nr_pages));
	} else if (what < 71) {
		read_page(m, test_below(random, nr_pages));
	} else if (what < 75) {
		evict(m, any_range(random));
	} else if (what < 85) {
		other = any_member(random, false);
		if (other)
			clone_member(m, other);
	} else if (what < 89) {
		close_member(m);
	} else if (what < 93) {
		drop(m, any_range(random));
	} else if (what < 95) {
		lock(m, any_range(random));
	} else if (what < 97) {
		unlock_all(m);
	} else {
		other = any_member(random, true);
		if (other)
			roll_back(m, other);
	}
	if (!all[0].region && !any_member(random, true)) {
		all[0] = (struct member){ .region = new_region() };
		if (all[0].region)
			add_window(&all[0]);
	}
}

/* Those above them that have been closed are few. */
static void expect_family(struct region *region, uint64_t living)
{
	struct validation v = { 0 };

	if (region_kin(region))
		lineage_validate(region_kin(region)->family, &v);
	EXPECT_EQ(v.nr_differences, 0);
	EXPECT(space_nr_regions() <= living + NR_DEAD_MAX);
}

static void expect_all(void)
{
	uint64_t living = 0;

	for (struct member *m = all; m < all + NR_MEMBERS; m++)
		living += m->region != NULL;
	for (struct member *m = all; m < all + NR_MEMBERS; m++)
		for (uint64_t i = 0; m->region && i < nr_pages; i++)
			read_page(m, i);
	/* Reading diverges, too, and has closed members settled, or pages made ahead: what is
	 * counted has nothing on its way. */
	space_settle();
	for (struct member *m = all; m < all + NR_MEMBERS; m++) {
		if (!m->region)
			continue;
		space_expect_valid(m->region, NULL);
		expect_family(m->region, living);
	}
}

/* Every other one, and every other one of 2 MiB pages. */
static bool swaps(uint64_t seed)
{
	return (seed / 8 + seed) % 2;
}

static void run_seed(uint64_t seed)
{
	const struct fault_config config = {
		.deadline_ns = 1000000000, .can_poison = true, .can_share = true,
		.ask_remap = ask_client,
	};
	struct space_options options = { .config = &config };
	uint64_t random = seed;

	nr_asked = 0;
	mood = seed + 1;
	shift = seed % 8 ? PAGE_SHIFT : PAGEBLOCK_SHIFT;
	nr_pages = seed % 8 ? NR_PAGES : NR_HUGE;
	options.huge_mib = seed % 8 ? 0 : HUGE_MIB;
	options.swap_mib = seed % 8 ? SWAP_MIB : HUGE_SWAP_MIB;
	if (!swaps(seed))
		options.swap_mib = 0;
	/* Through threads: it is rings that take long to end. */
	swap_io_set_engine(DISK_THREADS);
	space_begin(&options);
	swapper_keep(true);
	mm = space_mm();
	all[0] = (struct member){ .region = new_region() };
	add_window(&all[0]);
	for (int i = 0; i < NR_STEPS; i++)
		step(&random);
	expect_all();
	for (struct member *m = all; m < all + NR_MEMBERS; m++)
		if (m->region)
			close_member(m);
	space_close_mm(mm);
	space_settle();
	swapper_keep(false);
	if (swaps(seed))
		space_end_swap();
	else
		space_end();
}

static void random_trees_hold_what_was_written(void)
{
	const char *is_long = getenv("MMB_LONG");
	uint64_t seed = test_seed();
	int nr = is_long && is_long[0] == '1' ? LONG_SEEDS : NR_SEEDS;

	for (int i = 0; i < nr; i++)
		run_seed(seed + (uint64_t)i);
}

static const struct test_case cases[] = {
	{ "random trees of clones hold what was written", random_trees_hold_what_was_written },
};
TEST_MAIN(cases)
