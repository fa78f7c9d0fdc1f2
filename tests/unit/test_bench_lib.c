/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bench_lib - what benches and the stress suite rely on
 */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/parallel.h"
#include "lib/pattern.h"
#include "lib/place.h"
#include "lib/random.h"
#include "lib/stats.h"
#include "lib/test.h"

enum { ITEMS = 1000, PAGE = 4096 };

static void permutation_has_every_number_once(void)
{
	static uint32_t order[ITEMS];
	static bool seen[ITEMS];
	uint64_t state = test_seed();

	memset(seen, 0, sizeof(seen));
	random_permutation(&state, order, ITEMS);
	for (unsigned int i = 0; i < ITEMS; i++) {
		EXPECT(order[i] < ITEMS);
		EXPECT(!seen[order[i]]);
		seen[order[i]] = true;
	}
}

static void same_seed_gives_same_numbers(void)
{
	uint64_t a = test_seed(), b = a;

	for (unsigned int i = 0; i < ITEMS; i++) {
		uint64_t bound = 1 + i;
		uint64_t x = random_below(&a, bound), y = random_below(&b, bound);

		EXPECT(x < bound);
		EXPECT(x == y);
	}
}

static void median_is_the_middle(void)
{
	double odd[] = { 9, 1, 5 }, even[] = { 4, 1, 3, 2 };

	EXPECT(stats_median(odd, 3) == 5);
	EXPECT(stats_median(even, 4) == 2.5);
}

static void permille_is_by_nearest_rank(void)
{
	uint64_t values[ITEMS + 1];

	for (uint64_t i = 0; i <= ITEMS; i++)
		values[i] = ITEMS - i;
	stats_sort(values, ITEMS + 1);
	EXPECT_EQ(stats_permille(values, ITEMS + 1, 0), 0);
	EXPECT_EQ(stats_permille(values, ITEMS + 1, 500), 500);
	EXPECT_EQ(stats_permille(values, ITEMS + 1, 990), 990);
	EXPECT_EQ(stats_permille(values, ITEMS + 1, 1000), ITEMS);
	EXPECT_EQ(stats_permille(values, 1, 999), 0);
}

static void pattern_tells_pages_and_generations_apart(void)
{
	static uint64_t page[PAGE / sizeof(uint64_t)];
	uint64_t key = pattern_key(test_seed(), 7);

	pattern_fill(page, PAGE, key, 5);
	EXPECT_EQ(pattern_check(page, PAGE, key, 5), -1);
	EXPECT_EQ(pattern_check(page, PAGE, key, PATTERN_ANY), -1);
	EXPECT_EQ(pattern_check(page, PAGE, key, 4), 0);
	EXPECT_EQ(pattern_check(page, PAGE, key, 0), 0);
	EXPECT_EQ(pattern_check(page, PAGE, pattern_key(test_seed(), 8), 5), 0);
	EXPECT_EQ(pattern_check(page, PAGE, pattern_key(test_seed(), 8), PATTERN_ANY), 0);
}

static void pattern_finds_one_wrong_word(void)
{
	static uint64_t page[PAGE / sizeof(uint64_t)];
	uint64_t key = pattern_key(test_seed(), 1);

	pattern_fill(page, PAGE, key, 9);
	page[100] ^= 1ull << 40;
	EXPECT_EQ(pattern_check(page, PAGE, key, 9), 800);
	EXPECT_EQ(pattern_check(page, PAGE, key, PATTERN_ANY), 800);
	page[100] = 0; /* dropped: fine only where anything may be */
	EXPECT_EQ(pattern_check(page, PAGE, key, 9), 800);
	EXPECT_EQ(pattern_check(page, PAGE, key, PATTERN_ANY), -1);
	pattern_fill(page, PAGE, key, 0);
	EXPECT_EQ(pattern_check(page, PAGE, key, 0), -1);
	EXPECT_EQ(page[100], 0);
}

static _Atomic unsigned int runs_on[2]; /* a thread ran on the first CPU, on another one */

static int note_cpu(struct parallel *p, void *arg, double *figure)
{
	int first = *(const int *)arg;

	parallel_begin(p);
	atomic_fetch_add(&runs_on[sched_getcpu() != first], 1);
	*figure = sched_getcpu() == first ? 2 : 4;
	return 0;
}

static int first_cpu(void)
{
	cpu_set_t all;
	int cpu = 0;

	EXPECT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	return cpu;
}

/* What one does is compared with what two do, and CPUs aren't equally fast. */
static void one_thread_works_where_two_would(void)
{
	int first = first_cpu();
	double mean;

	if (place_nr_cpus() < 2)
		SKIP("two CPUs are needed");
	for (unsigned int threads = 1; threads <= 2; threads++) {
		atomic_store(&runs_on[0], 0);
		atomic_store(&runs_on[1], 0);
		EXPECT_EQ(parallel_fair(note_cpu, &first, threads, &mean), 0);
		EXPECT_EQ(atomic_load(&runs_on[0]), 1);
		EXPECT_EQ(atomic_load(&runs_on[1]), 1);
		EXPECT(mean > 2.9 && mean < 3.1);
	}
}

static const struct test_case cases[] = {
	{ "one thread alone works on each CPU that two would have",
	  one_thread_works_where_two_would },
	{ "a permutation has every number once", permutation_has_every_number_once },
	{ "the same seed gives the same numbers in bounds", same_seed_gives_same_numbers },
	{ "the median is the middle one, or the mean of two", median_is_the_middle },
	{ "percentiles go by nearest rank", permille_is_by_nearest_rank },
	{ "a pattern tells pages and generations apart",
	  pattern_tells_pages_and_generations_apart },
	{ "a pattern check finds one wrong word", pattern_finds_one_wrong_word },
};

TEST_MAIN(cases)
