/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_range_alloc - first fit, alignment, bounds
 */
#include "base/range_alloc.h"

#include <errno.h>

#include "lib/test.h"

static void expect_sound(const struct range_alloc *ra)
{
	struct validation v = { 0 };

	range_alloc_validate(ra, &v);
	EXPECT_EQ(v.nr_differences, 0);
}

static void lowest_fit(void)
{
	struct range_alloc ra;
	struct range       r[4];

	range_alloc_init(&ra, 100, 1000);
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(range_alloc(&ra, &r[i], 50, 1), 0);
		EXPECT_EQ(r[i].start, 100 + 50 * i);
	}
	range_free(&ra, &r[1]);
	EXPECT_EQ(range_alloc(&ra, &r[1], 60, 1), 0);
	EXPECT_EQ(r[1].start, 300);
	range_free(&ra, &r[1]);
	EXPECT_EQ(range_alloc(&ra, &r[1], 40, 1), 0);
	EXPECT_EQ(r[1].start, 150);
	EXPECT_EQ(ra.nr_free, 900 - 190);
	expect_sound(&ra);
}

static void alignment(void)
{
	struct range_alloc ra;
	struct range       a, b, c;

	range_alloc_init(&ra, 1, 4096);
	EXPECT_EQ(range_alloc(&ra, &a, 1, 1), 0);
	EXPECT_EQ(a.start, 1);
	EXPECT_EQ(range_alloc(&ra, &b, 512, 512), 0);
	EXPECT_EQ(b.start, 512);
	EXPECT_EQ(range_alloc(&ra, &c, 100, 7), 0);
	EXPECT_EQ(c.start, 7);
	expect_sound(&ra);
}

static void freed_neighbours_are_one_gap(void)
{
	struct range_alloc ra;
	struct range       r[3], whole;

	range_alloc_init(&ra, 0, 30);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(range_alloc(&ra, &r[i], 10, 1), 0);
	EXPECT_EQ(range_alloc(&ra, &whole, 1, 1), -ENOSPC);
	range_free(&ra, &r[0]);
	range_free(&ra, &r[2]);
	EXPECT_EQ(range_alloc(&ra, &whole, 11, 1), -ENOSPC);
	range_free(&ra, &r[1]);
	EXPECT_EQ(range_alloc(&ra, &whole, 30, 1), 0);
	expect_sound(&ra);
	range_free(&ra, &whole);
	EXPECT_EQ(ra.nr_free, 30);
	EXPECT_EQ(ra.nr_ranges, 0);
	expect_sound(&ra);
}

static void exact_place(void)
{
	struct range_alloc ra;
	struct range       a, b;

	range_alloc_init(&ra, 10, 100);
	EXPECT_EQ(range_alloc_at(&ra, &a, 50, 10), 0);
	EXPECT_EQ(range_alloc_at(&ra, &b, 45, 6), -EEXIST);
	EXPECT_EQ(range_alloc_at(&ra, &b, 59, 1), -EEXIST);
	EXPECT_EQ(range_alloc_at(&ra, &b, 60, 41), -EINVAL);
	EXPECT_EQ(range_alloc_at(&ra, &b, 5, 2), -EINVAL);
	EXPECT_EQ(range_alloc_at(&ra, &b, 60, UINT64_MAX), -EINVAL);
	EXPECT_EQ(range_alloc_at(&ra, &b, 60, 40), 0);
	expect_sound(&ra);
}

static void bounded_search(void)
{
	struct range_alloc   ra;
	struct range         a, b, c;
	struct range_request want = { .length = 10, .align = 8, .low = 101, .high = 200 };

	range_alloc_init(&ra, 0, 1000);
	EXPECT_EQ(range_alloc_within(&ra, &a, &want), 0);
	EXPECT_EQ(a.start, 104);
	want.length = 90;
	EXPECT_EQ(range_alloc_within(&ra, &b, &want), -ENOSPC);
	want.length = 80;
	EXPECT_EQ(range_alloc_within(&ra, &b, &want), 0);
	EXPECT_EQ(b.start, 120);
	want.length = 1;
	want.align = 1;
	EXPECT_EQ(range_alloc_within(&ra, &c, &want), 0);
	EXPECT_EQ(c.start, 101);
	expect_sound(&ra);
}

static void finding(void)
{
	struct range_alloc ra;
	struct range       a, b;

	range_alloc_init(&ra, 0, 100);
	EXPECT_EQ(range_alloc_at(&ra, &a, 10, 10), 0);
	EXPECT_EQ(range_alloc_at(&ra, &b, 30, 10), 0);
	EXPECT(range_find(&ra, 10) == &a && range_find(&ra, 19) == &a);
	EXPECT(!range_find(&ra, 9) && !range_find(&ra, 20) && !range_find(&ra, 99));
	EXPECT(range_find_from(&ra, 20) == &b && range_find_from(&ra, 0) == &a);
	EXPECT(!range_find_from(&ra, 40));
	EXPECT(range_next(&a) == &b && !range_next(&b));
}

static void nonsense(void)
{
	struct range_alloc ra;
	struct range       a;

	range_alloc_init(&ra, 0, 100);
	EXPECT_EQ(range_alloc(&ra, &a, 0, 1), -EINVAL);
	EXPECT_EQ(range_alloc(&ra, &a, 1, 0), -EINVAL);
	EXPECT_EQ(range_alloc(&ra, &a, UINT64_MAX, 1), -ENOSPC);
	EXPECT_EQ(range_alloc(&ra, &a, 1, UINT64_MAX), 0); /* at 0 */
	range_alloc_init(&ra, 1, 100);
	EXPECT_EQ(range_alloc(&ra, &a, 1, UINT64_MAX), -ENOSPC);
}

static const struct test_case cases[] = {
	{ "the lowest gap that is large enough is taken", lowest_fit },
	{ "starts are multiples of any alignment", alignment },
	{ "freed neighbours are one gap again", freed_neighbours_are_one_gap },
	{ "an exact place is given or refused", exact_place },
	{ "a bounded search stays within its bounds", bounded_search },
	{ "the range around and after an address is found", finding },
	{ "lengths and alignments that can't be are refused", nonsense },
};
TEST_MAIN(cases)
