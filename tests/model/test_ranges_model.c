/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ranges_model - random operations on a range heap against a list of objects
 *
 * Purpose     Each object carries its number in its first and last word. Objects never overlap,
 *             keep their contents through resizing, zeros are zeros, limits hold, and the heap
 *             validates; after the end of all objects everything goes back.
 */
#include <errno.h>
#include <string.h>

#include "lib/range_fixture.h"
#include "lib/test.h"

#define MIB (1ull << 20)
enum { NR_SEEDS = 15, NR_STEPS = 400, NR_OBJECTS = 24, LIMIT_MIB = 256 };

struct object {
	uint64_t at, size, number;
};

static struct range_fixture f;
static struct object objects[NR_OBJECTS];
static uint64_t state, next_number;

static uint64_t *word(const struct object *o, uint64_t offset)
{
	return (uint64_t *)(uintptr_t)(o->at + offset);
}

static void stamp(struct object *o)
{
	o->number = ++next_number;
	o->size = o->size / 8 * 8;
	for (uint64_t offset = 0; offset < o->size; offset += MIB)
		*word(o, offset) = o->number;
	*word(o, o->size - 8) = o->number;
}

static void check(const struct object *o, uint64_t size)
{
	for (uint64_t offset = 0; offset < size; offset += MIB)
		EXPECT_EQ(*word(o, offset), o->number);
	EXPECT(range_heap_length(f.heap, o->at) >= o->size);
}

static void expect_zero(const struct object *o)
{
	uint64_t found = 0;

	for (uint64_t offset = 0; offset + 8 <= o->size; offset += 8)
		found |= *word(o, offset);
	EXPECT_EQ(found, 0);
}

static uint64_t random_size(void)
{
	return 4 * MIB + 8 + test_below(&state, test_below(&state, 4) ? 8 * MIB : 40 * MIB);
}

static void alloc(struct object *o)
{
	struct range_request r = {
		.size = random_size(),
		.align = 1ull << test_below(&state, RANGE_PAGE_SHIFT + 1),
		.zero = test_below(&state, 8) == 0,
	};

	if (range_heap_alloc(f.heap, &r, &o->at)) {
		/* Only for want of memory. */
		EXPECT(f.bytes + r.size + RANGE_PAGE + r.align > f.limit);
		return;
	}
	EXPECT_EQ(o->at % r.align, 0);
	o->size = r.size;
	if (r.zero)
		expect_zero(o);
	stamp(o);
}

static void end(struct object *o)
{
	check(o, o->size);
	EXPECT_EQ(*word(o, o->size - 8), o->number);
	EXPECT_EQ(range_heap_put(f.heap, o->at + 16), RANGE_INSIDE);
	EXPECT_EQ(range_heap_put(f.heap, o->at), RANGE_OBJECT);
	EXPECT_EQ(range_heap_put(f.heap, o->at), RANGE_NOTHING);
	o->at = 0;
}

static void resize(struct object *o)
{
	uint64_t size = random_size(), kept = size < o->size ? size : o->size;
	bool fits = range_heap_resize(f.heap, o->at, size);

	EXPECT(fits || size > o->size);
	if (fits)
		o->size = size;
	check(o, fits ? kept : o->size);
	stamp(o);
}

static void step(void)
{
	struct object *o = &objects[test_below(&state, NR_OBJECTS)];
	uint64_t what = test_below(&state, 20);

	f.now_ms += test_below(&state, 100);
	f.nothing_adjacent = test_below(&state, 10) == 0;
	f.fail_empty = test_below(&state, 10) == 0;
	if (what == 0)
		range_heap_trim(f.heap, 0);
	else if (what <= 4)
		range_heap_tick(f.heap);
	else if (!o->at)
		alloc(o);
	else if (what <= 9)
		resize(o);
	else
		end(o);
}

static void run(uint64_t seed)
{
	state = seed;
	range_fixture_start(&f);
	f.limit = LIMIT_MIB * MIB;
	for (int i = 0; i < NR_STEPS; i++) {
		step();
		if (i % 16 == 0)
			EXPECT_EQ(range_heap_validate(f.heap), 0);
	}
	for (int i = 0; i < NR_OBJECTS; i++)
		if (objects[i].at)
			end(&objects[i]);
	f.fail_empty = false;
	f.now_ms += RANGE_IDLE_MS;
	EXPECT(!range_heap_trim(f.heap, RANGE_IDLE_MS));
	EXPECT_EQ(f.bytes, 0);
	range_fixture_stop(&f);
}

static void random_operations_agree_with_a_list(void)
{
	uint64_t seed = test_seed();

	for (int i = 0; i < NR_SEEDS; i++)
		run(seed + (uint64_t)i);
}

static const struct test_case cases[] = {
	{ "random operations agree with a list of objects", random_operations_agree_with_a_list },
};
TEST_MAIN(cases)
