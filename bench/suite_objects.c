/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_objects - what an object of the daemon costs
 *
 * Purpose     The daemon's slabs, called in this process, beside one uncontended locked instruction
 *             and libc's malloc.
 * Goals       A pair costs no more than malloc's, two threads at most 1.1 times one, and 32 objects
 *             by one call at most half of what 32 calls cost.
 */
#include <stddef.h>

#include "objects.h"
#include "page_peers.h"
#include "suites.h"

#define NR(array) (sizeof(array) / sizeof((array)[0]))

#define GOAL_PAIR        1.0
#define GOAL_TWO_THREADS (1 / 1.1)
#define GOAL_BULK        2.0

#define COMPARE(name_, ours_, peer_, goal_)                                              \
	{ .name = name_, .metric = "object", .unit = "ns", .ours = { ours_, 0 },         \
	  .peer = { peer_, 0 }, .goal = goal_ }

static const struct size {
	unsigned int bytes;
	const char  *one, *two, *by_size;
} sizes[] = {
	{ 64, "64 bytes, pair", "64 bytes, pair, 2 threads", "64 bytes, kmalloc" },
	{ 1024, "1 KiB, pair", "1 KiB, pair, 2 threads", "1 KiB, kmalloc" },
};

static void pairs_of(struct bench *b, const struct size *s, uint64_t pairs)
{
	const struct objects_args one = { .size = s->bytes, .threads = 1, .pairs = pairs };
	const struct objects_args two = { .size = s->bytes, .threads = 2, .pairs = pairs };
	const struct objects_args by_size = { .size = s->bytes, .threads = 1, .pairs = pairs,
					      .by_size = true };
	const struct peer_args locked = { .threads = 1, .pairs = pairs };
	const struct side sides[] = {
		{ "mmbroker", objects_side, &one },
		{ "mmbroker", objects_side, &two },
		{ "mmbroker", objects_side, &by_size },
		{ "malloc, free", libc_side, &one },
		{ "one locked instruction", locked_side, &locked },
	};
	const struct comparison comparisons[] = {
		COMPARE(s->one, 0, 3, GOAL_PAIR),
		COMPARE(s->one, 0, 4, 0),
		COMPARE(s->two, 1, 0, GOAL_TWO_THREADS),
		COMPARE(s->by_size, 2, 3, 0),
	};

	bench_run(b, &(struct bench_case){ s->one, sides, NR(sides), comparisons,
					   NR(comparisons), 0 });
}

static void bulk_of_32(struct bench *b, uint64_t pairs)
{
	const struct objects_args single = { .size = 64, .threads = 1, .pairs = pairs,
					     .at_once = 32 };
	const struct objects_args bulk = { .size = 64, .threads = 1, .pairs = pairs,
					   .at_once = 32, .bulk = true };
	const struct side sides[] = {
		{ "mmbroker", objects_side, &bulk },
		{ "32 calls", objects_side, &single },
		{ "malloc, free", libc_side, &single },
	};
	const struct comparison comparisons[] = {
		COMPARE("32 at once", 0, 1, GOAL_BULK),
		COMPARE("32 at once", 0, 2, 0),
	};

	bench_run(b, &(struct bench_case){ "32 at once", sides, NR(sides), comparisons,
					   NR(comparisons), 0 });
}

void suite_objects(struct bench *b)
{
	const uint64_t pairs = b->quick ? 100000 : 4000000;

	if (objects_init() != 0) {
		bench_fail(b, "slabs", bench_reason());
		return;
	}
	for (unsigned int i = 0; i < NR(sizes); i++)
		pairs_of(b, &sizes[i], pairs);
	bulk_of_32(b, pairs);
}
