/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_memblock_model - random operations against a plain reference
 *
 * memblock against a plain array: one record for each of 2048 pages. Directions change, requests
 * have bounds, and the lists outgrow their first home: where memblock puts them is free memory.
 */
#include <errno.h>
#include <string.h>

#include "lib/test.h"
#include "mm/phys/memblock.h"

enum { PAGES = 2048, NODES = 3, HOME_MAX = 16 };

/* Few steps find wrong merges, many make lists grow. */
static const struct course {
	int      seeds, steps;
	uint64_t longest, rarely; /* pages of a range; but for one of so many */
} courses[] = { { 1000, 60, 16, 4 }, { 60, 1500, 2, 300 } };

struct model_page {
	bool     memory, reserved;
	int      nid;
	uint32_t flags;
};

static struct memblock   mb;
static struct model_page model[PAGES];
static char              arena[PAGES * PAGE_SIZE];
static uint64_t          state, nr_moves;
static const struct course *course;

struct wanted {
	uint64_t nr, align, first, end; /* pages */
};

static void *model_virt(uint64_t address)
{
	return arena + address;
}

static uint64_t bytes(uint64_t pages)
{
	return pages * PAGE_SIZE;
}

static void pick_range(uint64_t *first, uint64_t *nr)
{
	*first = test_below(&state, PAGES);
	*nr = 1 + test_below(&state, test_below(&state, course->rarely) ? course->longest : PAGES);
	*nr = min_t(uint64_t, *nr, PAGES - *first);
}

static bool usable(uint64_t page)
{
	return model[page].memory && !model[page].reserved &&
	       !(model[page].flags & (MEMBLOCK_NOMAP | MEMBLOCK_HOTPLUG));
}

static bool fits(uint64_t at, uint64_t nr, int nid)
{
	for (uint64_t i = at; i < at + nr; i++)
		if (!usable(i) || (nid != NUMA_NO_NODE && model[i].nid != nid) ||
		    model[i].nid != model[at].nid || model[i].flags != model[at].flags)
			return false;
	return true;
}

/* The highest place in [first, end), or with bottom_up the lowest, of `nr` pages aligned to `align`
 * pages, on nid (or anywhere); 0: none. */
static uint64_t model_find(const struct wanted *w, int nid)
{
	for (uint64_t i = 0; i < PAGES - 1; i++) {
		uint64_t at = mb.bottom_up ? 1 + i : PAGES - 1 - i;

		if (at % w->align || at < w->first || at + w->nr > w->end)
			continue;
		if (fits(at, w->nr, nid))
			return at;
	}
	return 0;
}

/* A list that is full may refuse, if there is nowhere that it could grow to; then nothing has
 * changed. */
static bool done(int r, uint64_t first, uint64_t nr)
{
	EXPECT(!r || r == -ENOMEM);
	if (!r)
		return true;
	for (uint64_t at = 1; at + HOME_MAX <= PAGES; at++)
		if (at >= first + nr || at + HOME_MAX <= first)
			EXPECT(!fits(at, HOME_MAX, NUMA_NO_NODE));
	return false;
}

static void step_add(void)
{
	uint64_t first, nr;
	int      nid = (int)test_below(&state, NODES);
	uint32_t flags = 1U << test_below(&state, 16);

	flags &= MEMBLOCK_HOTPLUG | MEMBLOCK_NOMAP; /* mostly none */
	pick_range(&first, &nr);
	if (!done(memblock_add_node(&mb, bytes(first), bytes(nr), nid, flags), first, nr))
		return;
	for (uint64_t i = first; i < first + nr; i++)
		if (!model[i].memory)
			model[i] = (struct model_page){ true, model[i].reserved, nid, flags };
}

static void step_remove(void)
{
	uint64_t first, nr;

	pick_range(&first, &nr);
	if (!done(memblock_remove(&mb, bytes(first), bytes(nr)), first, nr))
		return;
	for (uint64_t i = first; i < first + nr; i++)
		model[i].memory = false;
}

static void set_reserved(uint64_t first, uint64_t nr, bool reserved)
{
	for (uint64_t i = first; i < first + nr; i++)
		model[i].reserved = reserved;
}

struct home {
	uint64_t first, nr; /* pages */
};

static struct home home_of(const struct memblock_type *type)
{
	uint64_t size = round_up(type->max * sizeof(*type->regions), PAGE_SIZE);

	return (struct home){ type->regions_at / PAGE_SIZE,
			      type->regions_at ? size / PAGE_SIZE : 0 };
}

static bool overlaps(struct home home, uint64_t first, uint64_t nr)
{
	return home.first < first + nr && first < home.first + home.nr;
}

/* Whoever reserves or frees where the lists themselves are has lost them. */
static bool touches_lists(uint64_t first, uint64_t nr)
{
	return overlaps(home_of(&mb.memory), first, nr) ||
	       overlaps(home_of(&mb.reserved), first, nr);
}

static void step_reserve(void)
{
	uint64_t first, nr;

	pick_range(&first, &nr);
	if (touches_lists(first, nr))
		return;
	if (done(memblock_reserve(&mb, bytes(first), bytes(nr)), first, nr))
		set_reserved(first, nr, true);
}

static void step_free(void)
{
	uint64_t first, nr;

	pick_range(&first, &nr);
	if (touches_lists(first, nr))
		return;
	if (done(memblock_free(&mb, bytes(first), bytes(nr)), first, nr))
		set_reserved(first, nr, false);
}

static struct wanted pick_wanted(void)
{
	return (struct wanted){ .nr = 1 + test_below(&state, 12),
				.align = 1ULL << test_below(&state, 4),
				.end = PAGES };
}

static void granted(uint64_t got, uint64_t expected, uint64_t nr)
{
	if (expected && !got && !done(-ENOMEM, expected, nr))
		return;
	EXPECT_EQ(got, bytes(expected));
	if (got)
		set_reserved(expected, nr, true);
}

static void step_alloc(void)
{
	struct wanted w = pick_wanted();
	int           nid = (int)test_below(&state, NODES + 1) - 1;
	uint64_t      expected = model_find(&w, nid), got;

	if (!expected && nid != NUMA_NO_NODE)
		expected = model_find(&w, NUMA_NO_NODE);
	got = memblock_phys_alloc_try_nid(&mb, bytes(w.nr), bytes(w.align), nid);
	granted(got, expected, w.nr);
}

static void step_alloc_range(void)
{
	struct wanted w = pick_wanted();
	uint64_t      expected, got;

	w.first = test_below(&state, PAGES);
	w.end = w.first + 1 + test_below(&state, PAGES - w.first);
	expected = model_find(&w, NUMA_NO_NODE);
	got = memblock_phys_alloc_range(&mb, bytes(w.nr), bytes(w.align), bytes(w.first),
					bytes(w.end));
	granted(got, expected, w.nr);
}

static void step_turn(void)
{
	memblock_set_bottom_up(&mb, !mb.bottom_up);
}

static void step_set_node(void)
{
	uint64_t first, nr;
	int      nid = (int)test_below(&state, NODES);

	pick_range(&first, &nr);
	if (!done(memblock_set_node(&mb, bytes(first), bytes(nr), nid), first, nr))
		return;
	for (uint64_t i = first; i < first + nr; i++)
		model[i].nid = nid;
}

static void (*const steps[])(void) = {
	step_add, step_add, step_remove, step_reserve, step_free, step_alloc, step_alloc,
	step_alloc_range, step_set_node, step_turn,
};

/* A list that has grown: its new home was free, its old one is. (A list of memory may have moved to
 * what is just removed, as the kernel's.) */
static void note_move(const struct memblock_type *type, struct home *was)
{
	struct home is = home_of(type);

	if (is.first == was->first)
		return;
	for (uint64_t i = is.first; i < is.first + is.nr; i++)
		EXPECT(!model[i].reserved && (usable(i) || !model[i].memory));
	set_reserved(was->first, was->nr, false);
	set_reserved(is.first, is.nr, true);
	*was = is;
	nr_moves++;
}

static void one_step(struct home *memory, struct home *reserved)
{
	steps[test_below(&state, ARRAY_SIZE(steps))]();
	note_move(&mb.memory, memory);
	note_move(&mb.reserved, reserved);
}

static void compare_pages(void)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t start, end, at = bytes(i);

		EXPECT(memblock_is_memory(&mb, at) == model[i].memory);
		EXPECT(memblock_is_reserved(&mb, at) == model[i].reserved);
		if (model[i].memory)
			EXPECT_EQ(memblock_search_pfn_nid(&mb, i, &start, &end), model[i].nid);
	}
}

static void count_walk(bool (*next)(const struct memblock *, struct memblock_walk *))
{
	struct memblock_walk w = { .nid = NUMA_NO_NODE };
	bool                 seen[PAGES] = { false };

	while (next(&mb, &w))
		for (uint64_t i = w.start / PAGE_SIZE; i < w.end / PAGE_SIZE; i++) {
			EXPECT(!seen[i] && model[i].nid == w.found_nid);
			seen[i] = true;
		}
	for (uint64_t i = 0; i < PAGES; i++)
		EXPECT(seen[i] == usable(i));
}

static void run_memblock(uint64_t seed)
{
	struct validation v = { 0 };
	struct home       memory = { 0, 0 }, reserved = { 0, 0 };

	state = seed;
	memblock_init(&mb, model_virt);
	memblock_allow_resize(&mb);
	memset(model, 0, sizeof(model));
	for (int step = 0; step < course->steps; step++)
		one_step(&memory, &reserved);
	compare_pages();
	count_walk(memblock_walk_next);
	count_walk(memblock_walk_prev);
	memblock_validate(&mb, &v);
	EXPECT_EQ(v.nr_differences, 0);
}

static void memblock_agrees(void)
{
	for (course = courses; course < courses + ARRAY_SIZE(courses); course++)
		for (int i = 0; i < course->seeds; i++)
			run_memblock(test_seed() + (uint64_t)i);
	EXPECT(nr_moves > 0);
}

static const struct test_case cases[] = {
	{ "memblock agrees with a record for every page", memblock_agrees },
};
TEST_MAIN(cases)
