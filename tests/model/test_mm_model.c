/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mm_model - random changes of an address map against one slot a page of address space
 */
#include <errno.h>

#include "lib/space_fixture.h"
#include "lib/test.h"

enum {
	NR_SLOTS = 256, /* pages of address space */
	NR_REGIONS = 2,
	REGION_PAGES = 128,
	NR_HANDLES = 4, /* handle h shows region h % NR_REGIONS */
	NR_STEPS = 3000,
	NR_SEEDS = 20,
};
static const uint64_t base = 0x20000000;

struct slot {
	uint32_t handle; /* 0: no window */
	uint32_t page;
	enum window_advice advice;
};

static struct region *regions[NR_REGIONS];
static struct slot model[NR_SLOTS];
static struct mm *mm;

static uint64_t address_of(uint64_t slot)
{
	return base + slot * PAGE_SIZE;
}

static bool continues_model(const struct slot *a, const struct slot *b)
{
	return a->handle && a->handle == b->handle && a->advice == b->advice &&
	       a->page + 1 == b->page;
}

static void expect_slot(uint64_t i)
{
	struct mm_target t;
	struct mm_hint hint;
	bool found = mm_find(mm, address_of(i) + 123, &t, &hint);

	EXPECT_EQ(found, model[i].handle != 0);
	if (!found)
		return;
	region_put(t.region);
	EXPECT(t.region == regions[model[i].handle % NR_REGIONS]);
	EXPECT_EQ(t.page, model[i].page);
	EXPECT(t.page >= t.first && t.page < t.end);
	EXPECT_EQ(t.base + t.page * PAGE_SIZE, address_of(i));
	EXPECT(hint.around >= 1 && (!hint.ahead_nr || hint.ahead_first > t.page));
	EXPECT(hint.ahead_first + hint.ahead_nr <= t.end);
}

static void expect_agreement(void)
{
	uint64_t nr_windows = 0, nr_slots = 0, refs = 0;

	for (uint64_t i = 0; i < NR_SLOTS; i++) {
		expect_slot(i);
		nr_slots += model[i].handle != 0;
		nr_windows += model[i].handle && (!i || !continues_model(&model[i - 1], &model[i]));
	}
	EXPECT_EQ(mm->nr_windows, nr_windows);
	EXPECT_EQ(mm->spanned, nr_slots * PAGE_SIZE);
	for (int i = 0; i < NR_REGIONS; i++)
		refs += atomic_load(&regions[i]->refs) - 1;
	EXPECT_EQ(refs, nr_windows);
}

/* ---- operations ---- */

static void add_window(uint64_t *random)
{
	uint64_t first = test_below(random, NR_SLOTS);
	uint64_t nr = 1 + test_below(random, min_t(uint64_t, 24, NR_SLOTS - first));
	uint32_t handle = 1 + (uint32_t)test_below(random, NR_HANDLES);
	/* Often at the page that makes neighbours continue. */
	uint32_t page = (uint32_t)(test_below(random, 2) ? first % REGION_PAGES
							 : test_below(random, REGION_PAGES));
	struct window_request want = { .region = regions[handle % NR_REGIONS], .handle = handle };
	bool taken = false;

	nr = min_t(uint64_t, nr, REGION_PAGES - page);
	want.start = address_of(first);
	want.length = nr * PAGE_SIZE;
	want.page = page;
	for (uint64_t i = first; i < first + nr; i++)
		taken |= model[i].handle != 0;
	EXPECT_EQ(mm_add_window(mm, &want), taken ? -EEXIST : 0);
	for (uint64_t i = 0; i < nr && !taken; i++)
		model[first + i] = (struct slot){ handle, (uint32_t)(page + i), WINDOW_NORMAL };
}

static void remove_range(uint64_t *random)
{
	uint64_t first = test_below(random, NR_SLOTS);
	uint64_t nr = 1 + test_below(random, min_t(uint64_t, 16, NR_SLOTS - first));

	EXPECT_EQ(mm_remove_range(mm, address_of(first), nr * PAGE_SIZE), 0);
	for (uint64_t i = first; i < first + nr; i++)
		model[i] = (struct slot){ 0 };
}

static void move_range(uint64_t *random)
{
	uint64_t nr = 1 + test_below(random, 24);
	uint64_t from = test_below(random, NR_SLOTS - nr + 1);
	uint64_t to = test_below(random, NR_SLOTS - nr + 1);

	if (from < to + nr && to < from + nr)
		return;
	EXPECT_EQ(mm_move_range(mm, address_of(from), address_of(to), nr * PAGE_SIZE), 0);
	for (uint64_t i = 0; i < nr; i++) {
		model[to + i] = model[from + i];
		model[from + i] = (struct slot){ 0 };
	}
}

static void remove_handle(uint64_t *random)
{
	uint32_t handle = 1 + (uint32_t)test_below(random, NR_HANDLES);

	mm_remove_handle(mm, handle);
	for (int i = 0; i < NR_SLOTS; i++)
		if (model[i].handle == handle)
			model[i] = (struct slot){ 0 };
}

static void set_advice(uint64_t *random)
{
	uint32_t handle = 1 + (uint32_t)test_below(random, NR_HANDLES);
	enum window_advice advice = (enum window_advice)test_below(random, 3);
	struct page_range range = { .first = test_below(random, REGION_PAGES) };
	bool any = false;

	range.nr = 1 + test_below(random, REGION_PAGES - range.first);
	for (int i = 0; i < NR_SLOTS; i++)
		any |= model[i].handle == handle;
	EXPECT_EQ(mm_set_advice(mm, handle, range, advice), any ? 0 : -ENOENT);
	for (int i = 0; i < NR_SLOTS; i++)
		if (model[i].handle == handle && model[i].page >= range.first &&
		    model[i].page < range.first + range.nr)
			model[i].advice = advice;
}

static void find_gap(uint64_t *random)
{
	const uint64_t bounds[2] = { base, address_of(NR_SLOTS) };
	uint64_t want = 1 + test_below(random, 40);
	uint64_t align = 1ull << test_below(random, 4);
	uint64_t expected = 0;

	for (uint64_t i = 0; i + want <= NR_SLOTS && !expected; i += align) {
		uint64_t nr = 0;

		while (nr < want && !model[i + nr].handle)
			nr++;
		expected = nr == want ? address_of(i) : 0;
	}
	EXPECT_EQ(mm_find_gap(mm, want * PAGE_SIZE, align * PAGE_SIZE, bounds), expected);
}

static void step(uint64_t *random)
{
	static void (*const operations[])(uint64_t *) = {
		add_window, add_window, add_window, remove_range, remove_range,
		move_range, move_range, set_advice, set_advice,   find_gap,
	};

	if (test_below(random, 100) == 0)
		remove_handle(random);
	else
		operations[test_below(random, ARRAY_SIZE(operations))](random);
}

static void run_map(uint64_t seed)
{
	uint64_t random = seed;

	space_begin(&(struct space_options){ 0 });
	for (int i = 0; i < NR_REGIONS; i++)
		regions[i] = space_region(REGION_PAGES, PAGE_SHIFT);
	for (int i = 0; i < NR_SLOTS; i++)
		model[i] = (struct slot){ 0 };
	mm = space_mm();
	for (int i = 0; i < NR_STEPS; i++) {
		step(&random);
		if (i % 8 == 0)
			expect_agreement();
		if (i % 300 == 0)
			space_expect_valid(NULL, mm);
	}
	expect_agreement();
	space_expect_valid(NULL, mm);
	space_close_mm(mm);
	for (int i = 0; i < NR_REGIONS; i++)
		space_drop_region(regions[i]);
	space_end();
}

static void a_map_is_what_was_done_to_it(void)
{
	for (uint64_t i = 0; i < NR_SEEDS; i++)
		run_map(test_seed() + i);
}

static const struct test_case cases[] = {
	{ "a map is what was done to it, page by page, in as few windows as can be",
	  a_map_is_what_was_done_to_it },
};
TEST_MAIN(cases)
