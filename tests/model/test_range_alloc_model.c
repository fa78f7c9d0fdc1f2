/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_range_alloc_model - random operations against a plain reference
 *
 * range_alloc against an array of taken units.
 */
#include <errno.h>
#include <string.h>

#include "base/range_alloc.h"
#include "lib/test.h"

enum { START = 17, UNITS = 400, RANGES = 64, SEEDS = 1500, STEPS = 200 };

static struct range_alloc ra;
static struct range       ranges[RANGES];
static bool               taken[START + UNITS];
static uint64_t           state;

static bool is_free(uint64_t at, uint64_t length)
{
	if (at < START || at + length > START + UNITS)
		return false;
	for (uint64_t i = at; i < at + length; i++)
		if (taken[i])
			return false;
	return true;
}

static void mark(const struct range *r, uint64_t length, bool value)
{
	for (uint64_t i = r->start; i < r->start + length; i++)
		taken[i] = value;
}

/* The lowest place, or -ENOSPC. */
static int64_t model_find(const struct range_request *want)
{
	for (uint64_t at = 0; at < START + UNITS; at++)
		if (at % want->align == 0 && at >= want->low && at + want->length <= want->high &&
		    is_free(at, want->length))
			return (int64_t)at;
	return -ENOSPC;
}

static void step_alloc(struct range *r)
{
	struct range_request want = {
		.length = 1 + test_below(&state, 24), .align = 1 + test_below(&state, 9),
		.low = START, .high = START + UNITS,
	};
	int64_t expected;
	int     error;

	if (test_below(&state, 3) == 0) {
		want.low = test_below(&state, UNITS);
		want.high = want.low + test_below(&state, UNITS);
	}
	expected = model_find(&want);
	error = range_alloc_within(&ra, r, &want);
	EXPECT_EQ(error ? error : (int64_t)r->start, expected);
	if (error)
		r->length = 0;
	else
		mark(r, r->length, true);
}

static void step_alloc_at(struct range *r)
{
	uint64_t at = test_below(&state, START + UNITS + 10), length = 1 + test_below(&state, 12);
	int      error = range_alloc_at(&ra, r, at, length);

	EXPECT(is_free(at, length) == (error == 0));
	if (error)
		r->length = 0;
	else
		mark(r, length, true);
}

static void check_all(void)
{
	struct validation v = { 0 };

	range_alloc_validate(&ra, &v);
	EXPECT_EQ(v.nr_differences, 0);
	for (uint64_t at = START; at < START + UNITS; at++) {
		struct range *r = range_find(&ra, at);

		EXPECT(taken[at] == (r != NULL));
		EXPECT(!r || (r->start <= at && at < r->start + r->length));
	}
}

static void run_range_alloc(uint64_t seed)
{
	state = seed;
	memset(taken, 0, sizeof(taken));
	memset(ranges, 0, sizeof(ranges));
	range_alloc_init(&ra, START, START + UNITS);
	for (int step = 0; step < STEPS; step++) {
		struct range *r = &ranges[test_below(&state, RANGES)];

		if (r->length) {
			mark(r, r->length, false);
			range_free(&ra, r);
		} else if (test_below(&state, 4)) {
			step_alloc(r);
		} else {
			step_alloc_at(r);
		}
	}
	check_all();
}

static void range_alloc_agrees(void)
{
	for (uint64_t i = 0; i < SEEDS; i++)
		run_range_alloc(test_seed() + i);
}

static const struct test_case cases[] = {
	{ "range_alloc agrees with an array of taken units", range_alloc_agrees },
};
TEST_MAIN(cases)
