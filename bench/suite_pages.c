/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_pages - what a page frame costs
 *
 * Purpose     The daemon's allocator, called in this process, beside one uncontended locked
 *             instruction (the best published page allocator needs 16 of them), and page runs
 *             over the library beside malloc and mmap of the same sizes.
 *             One thread alone works on each of the two CPUs in turn: on a virtual machine one of
 *             them may share its core with a neighbour, which costs it half its speed, and a chain
 *             of locked instructions nothing.
 * Goals       In locked instructions: an order-0 pair at most 2.5, a frame of a bulk of 1 GiB
 *             taken and given 10, an order-9 pair 5. Two threads at most 1.1 times one.
 */
#include <stddef.h>

#include "frames.h"
#include "page_peers.h"
#include "suites.h"

#define NR(array) (sizeof(array) / sizeof((array)[0]))

#define GOAL_PAIR        (1 / 2.5)
#define GOAL_BULK        (1 / 10.0)
#define GOAL_ORDER9      (1 / 5.0)
#define GOAL_TWO_THREADS (1 / 1.1)

static const struct order {
	unsigned int order, divisor; /* fewer pairs of what costs more */
	double       goal;           /* against a locked instruction */
	const char  *frames, *frames2, *locked2, *runs, *runs2;
} orders[] = {
	{ 0, 1, GOAL_PAIR, "order 0 pair", "order 0 pair, 2 threads",
	  "order 0 pair, 2 threads of locked instructions", "order 0 run in a client",
	  "order 0 run in a client, 2 threads" },
	{ 3, 4, 0, "order 3 pair", "order 3 pair, 2 threads",
	  "order 3 pair, 2 threads of locked instructions", "order 3 run in a client",
	  "order 3 run in a client, 2 threads" },
	{ 9, 16, GOAL_ORDER9, "order 9 pair", "order 9 pair, 2 threads",
	  "order 9 pair, 2 threads of locked instructions", "order 9 run in a client",
	  "order 9 run in a client, 2 threads" },
};

#define COMPARE(name_, ours_, peer_, peer_name_, goal_)                                  \
	{ .name = name_, .metric = "pair", .unit = "ns", .ours = { ours_, 0 },           \
	  .peer = { peer_, 0 }, .peer_name = peer_name_, .goal = goal_ }

static const char locked_name[] = "one locked instruction", own_name[] = "its one thread";

static void frames_pairs(struct bench *b, const struct order *o, uint64_t pairs)
{
	const struct frames_args one = { .order = o->order, .threads = 1, .pairs = pairs };
	const struct frames_args two = { .order = o->order, .threads = 2, .pairs = pairs };
	const struct peer_args locked = { .threads = 1, .pairs = pairs };
	const struct peer_args locked2 = { .threads = 2, .pairs = pairs };
	const struct side sides[] = {
		{ "mmbroker", frames_side, &one },
		{ "mmbroker", frames_side, &two },
		{ locked_name, locked_side, &locked },
		{ locked_name, locked_side, &locked2 },
	};
	/* The last: what two busy CPUs of this machine make of work that shares nothing. */
	const struct comparison comparisons[] = {
		COMPARE(o->frames, 0, 2, NULL, o->goal),
		COMPARE(o->frames2, 1, 0, own_name, GOAL_TWO_THREADS),
		COMPARE(o->locked2, 3, 2, own_name, 0),
	};

	bench_run(b, &(struct bench_case){ o->frames, sides, NR(sides), comparisons,
					   NR(comparisons), 0 });
}

static void frames_bulk(struct bench *b, uint64_t bytes)
{
	const uint32_t nr = (uint32_t)(bytes >> 12);
	const struct frames_args one = { .threads = 1, .bulk = nr };
	const struct frames_args two = { .threads = 2, .bulk = nr / 2 };
	const struct peer_args locked = { .threads = 1, .pairs = nr };
	const struct side sides[] = {
		{ "mmbroker", frames_side, &one },
		{ "mmbroker", frames_side, &two },
		{ locked_name, locked_side, &locked },
	};
	const char *name = b->quick ? "bulk of 64 MiB" : "bulk of 1 GiB";
	const struct comparison comparisons[] = {
		COMPARE(name, 0, 2, NULL, GOAL_BULK),
		COMPARE(b->quick ? "bulk of 64 MiB, 2 threads" : "bulk of 1 GiB, 2 threads", 1, 0,
			own_name, GOAL_TWO_THREADS),
	};

	bench_run(b, &(struct bench_case){ name, sides, NR(sides), comparisons, NR(comparisons),
					   0 });
}

static void client_runs(struct bench *b, const struct order *o, uint64_t pairs)
{
	const struct peer_args one = { .order = o->order, .threads = 1, .pairs = pairs };
	const struct peer_args two = { .order = o->order, .threads = 2, .pairs = pairs };
	const struct side sides[] = {
		{ "mmbroker", page_run_side, &one },
		{ "mmbroker", page_run_side, &two },
		{ "malloc, free", malloc_side, &one },
		{ "mmap, munmap", mmap_side, &one },
	};
	const struct comparison comparisons[] = {
		COMPARE(o->runs, 0, 2, NULL, 0),
		COMPARE(o->runs, 0, 3, NULL, 0),
		COMPARE(o->runs2, 1, 0, own_name, 0),
	};

	bench_run(b, &(struct bench_case){ o->runs, sides, NR(sides), comparisons,
					   NR(comparisons), 0 });
}

void suite_pages(struct bench *b)
{
	const uint64_t bulk = b->quick ? 64ull << 20 : 1ull << 30;
	const uint64_t pairs = b->quick ? 100000 : 4000000;

	if (frames_init(bulk + (64ull << 20)) != 0) {
		bench_fail(b, "arena", bench_reason());
	} else {
		for (unsigned int i = 0; i < NR(orders); i++)
			frames_pairs(b, &orders[i], pairs / orders[i].divisor);
		frames_bulk(b, bulk);
	}
	for (unsigned int i = 0; i < NR(orders); i++)
		client_runs(b, &orders[i], pairs / orders[i].divisor / 4);
}
