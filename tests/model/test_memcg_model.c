/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_memcg_model - random charges and limits against plain counters
 */
#include <errno.h>
#include <stdio.h>

#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/map/memcg.h"

enum { STEPS = 200000, LARGEST = 64 };

static struct memcg m;

/* The same in plain numbers. */
struct model {
	uint64_t count[NR_MEMCG_KINDS], max, swap_max;
};

static uint64_t usage(const struct model *o)
{
	return o->count[MEMCG_REGION] + o->count[MEMCG_ARENA] + o->count[MEMCG_TABLES];
}

static uint64_t pinned(const struct model *o)
{
	return o->count[MEMCG_LOCKED] + o->count[MEMCG_ARENA] + o->count[MEMCG_TABLES];
}

static bool fits(uint64_t now, uint64_t more, uint64_t limit)
{
	return now + more <= limit;
}

static int expected(const struct model *o, enum memcg_kind kind, uint64_t frames)
{
	if (kind == MEMCG_SWAP)
		return fits(o->count[kind], frames, o->swap_max) ? 0 : -ENOSPC;
	if (kind != MEMCG_LOCKED && kind != MEMCG_TABLES && !fits(usage(o), frames, o->max))
		return -ENOMEM;
	if (kind != MEMCG_REGION && !fits(pinned(o), frames, o->max))
		return -ENOMEM;
	return 0;
}

static void charge(struct model *o, uint64_t *seed)
{
	enum memcg_kind kind = (enum memcg_kind)test_below(seed, NR_MEMCG_KINDS);
	uint64_t frames = 1 + test_below(seed, LARGEST);
	int r = expected(o, kind, frames);

	EXPECT_EQ(memcg_charge(&m, kind, frames), r);
	if (!r)
		o->count[kind] += frames;
}

static void uncharge(struct model *o, uint64_t *seed)
{
	enum memcg_kind kind = (enum memcg_kind)test_below(seed, NR_MEMCG_KINDS);
	uint64_t frames = test_below(seed, o->count[kind] + 1);

	memcg_uncharge(&m, kind, frames);
	o->count[kind] -= frames;
}

static void change_limits(struct model *o, uint64_t *seed)
{
	o->max = test_below(seed, 8 * LARGEST);
	o->swap_max = test_below(seed, 4 * LARGEST);
	memcg_set_limit(&m, MEMCG_MAX, o->max);
	memcg_set_limit(&m, MEMCG_SWAP_MAX, o->swap_max);
	memcg_set_limit(&m, MEMCG_HIGH, o->max / 2);
	EXPECT_EQ(memcg_excess(&m), usage(o) > o->max / 2 ? usage(o) - o->max / 2 : 0);
	EXPECT_EQ(memcg_margin(&m), usage(o) < o->max ? o->max - usage(o) : 0);
}

static void compare(const struct model *o)
{
	static struct validation v;

	v = (struct validation){ 0 };
	memcg_validate(&m, o->count, &v);
	for (uint64_t i = 0; i < v.nr_differences && i < VALIDATION_REPORTS; i++)
		fprintf(stderr, "# %s\n", v.reports[i]);
	EXPECT_EQ(v.nr_differences, 0);
}

static void counters_and_limits_agree_with_plain_ones(void)
{
	struct model o = { .max = MEMCG_NO_LIMIT, .swap_max = MEMCG_NO_LIMIT };
	uint64_t seed = test_seed();

	fake_os_install();
	memcg_init(&m, 1);
	for (int i = 0; i < STEPS; i++) {
		uint64_t what = test_below(&seed, 100);

		if (what < 60)
			charge(&o, &seed);
		else if (what < 98)
			uncharge(&o, &seed);
		else
			change_limits(&o, &seed);
		if (i % 64 == 0)
			compare(&o);
	}
	for (int kind = 0; kind < NR_MEMCG_KINDS; kind++)
		memcg_uncharge(&m, (enum memcg_kind)kind, o.count[kind]);
	memcg_fini(&m);
}

static const struct test_case cases[] = {
	{ "charges, limits and counters agree with plain ones at every step",
	  counters_and_limits_agree_with_plain_ones },
};
TEST_MAIN(cases)
