/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_memblock_model - random operations against a plain reference
 *
 * memblock against a plain array: one record for each of 512 pages.
 */
#include <string.h>

#include "lib/test.h"
#include "mm/phys/memblock.h"

enum { PAGES = 512, SEEDS = 1500, STEPS = 60, NODES = 3 };

struct model_page {
	bool     memory, reserved;
	int      nid;
	uint32_t flags;
};

static struct memblock   mb;
static struct model_page model[PAGES];
static char              arena[PAGES * PAGE_SIZE];
static uint64_t          state;

static void *model_virt(uint64_t address)
{
	return arena + address;
}

static void pick_range(uint64_t *first, uint64_t *nr)
{
	*first = test_below(&state, PAGES);
	*nr = 1 + test_below(&state, test_below(&state, 4) ? 16 : PAGES);
	*nr = min_t(uint64_t, *nr, PAGES - *first);
}

static uint64_t bytes(uint64_t pages)
{
	return pages * PAGE_SIZE;
}

static bool usable(uint64_t page)
{
	return model[page].memory && !model[page].reserved &&
	       !(model[page].flags & (MEMBLOCK_NOMAP | MEMBLOCK_HOTPLUG));
}

/* The highest place, of `nr` pages aligned to `align` pages, on nid (or anywhere); 0: none. */
static uint64_t model_find(uint64_t nr, uint64_t align, int nid)
{
	for (uint64_t at = PAGES; at-- > 1;) {
		uint64_t i;

		if (at % align || at + nr > PAGES)
			continue;
		for (i = at; i < at + nr; i++)
			if (!usable(i) || (nid != NUMA_NO_NODE && model[i].nid != nid) ||
			    model[i].nid != model[at].nid || model[i].flags != model[at].flags)
				break;
		if (i == at + nr)
			return at;
	}
	return 0;
}

static void step_add(void)
{
	uint64_t first, nr;
	int      nid = (int)test_below(&state, NODES);
	uint32_t flags = 1U << test_below(&state, 16);

	flags &= MEMBLOCK_HOTPLUG | MEMBLOCK_NOMAP; /* mostly none */
	pick_range(&first, &nr);
	EXPECT_EQ(memblock_add_node(&mb, bytes(first), bytes(nr), nid, flags), 0);
	for (uint64_t i = first; i < first + nr; i++)
		if (!model[i].memory)
			model[i] = (struct model_page){ true, model[i].reserved, nid, flags };
}

static void step_remove(void)
{
	uint64_t first, nr;

	pick_range(&first, &nr);
	EXPECT_EQ(memblock_remove(&mb, bytes(first), bytes(nr)), 0);
	for (uint64_t i = first; i < first + nr; i++)
		model[i].memory = false;
}

static void set_reserved(uint64_t first, uint64_t nr, bool reserved)
{
	for (uint64_t i = first; i < first + nr; i++)
		model[i].reserved = reserved;
}

static void step_reserve(void)
{
	uint64_t first, nr;

	pick_range(&first, &nr);
	EXPECT_EQ(memblock_reserve(&mb, bytes(first), bytes(nr)), 0);
	set_reserved(first, nr, true);
}

static void step_free(void)
{
	uint64_t first, nr;

	pick_range(&first, &nr);
	EXPECT_EQ(memblock_free(&mb, bytes(first), bytes(nr)), 0);
	set_reserved(first, nr, false);
}

static void step_alloc(void)
{
	uint64_t nr = 1 + test_below(&state, 12), align = 1ULL << test_below(&state, 4);
	uint64_t expected, got;
	int      nid = (int)test_below(&state, NODES + 1) - 1;

	expected = model_find(nr, align, nid);
	if (!expected && nid != NUMA_NO_NODE)
		expected = model_find(nr, align, NUMA_NO_NODE);
	got = memblock_phys_alloc_try_nid(&mb, bytes(nr), bytes(align), nid);
	EXPECT_EQ(got, bytes(expected));
	if (got)
		set_reserved(expected, nr, true);
}

static void step_set_node(void)
{
	uint64_t first, nr;
	int      nid = (int)test_below(&state, NODES);

	pick_range(&first, &nr);
	EXPECT_EQ(memblock_set_node(&mb, bytes(first), bytes(nr), nid), 0);
	for (uint64_t i = first; i < first + nr; i++)
		model[i].nid = nid;
}

static void (*const steps[])(void) = {
	step_add, step_add, step_remove, step_reserve, step_free, step_alloc, step_alloc,
	step_set_node,
};

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

	state = seed;
	memblock_init(&mb, model_virt);
	memset(model, 0, sizeof(model));
	for (int step = 0; step < STEPS; step++)
		steps[test_below(&state, ARRAY_SIZE(steps))]();
	compare_pages();
	count_walk(memblock_walk_next);
	count_walk(memblock_walk_prev);
	memblock_validate(&mb, &v);
	EXPECT_EQ(v.nr_differences, 0);
}

static void memblock_agrees(void)
{
	for (uint64_t i = 0; i < SEEDS; i++)
		run_memblock(test_seed() + i);
}

static const struct test_case cases[] = {
	{ "memblock agrees with a record for every page", memblock_agrees },
};
TEST_MAIN(cases)
