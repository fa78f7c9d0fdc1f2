/* SPDX-License-Identifier: Apache-2.0 */
/*
 * large - large blocks, and one large structure
 *
 * Purpose     large-blocks: random ones of a set of 5 to 25 MiB blocks are replaced; every second
 *             block is written page by page, the others only at both ends. chase: objects linked
 *             in random order, followed from one to the next: each step is a cache miss and, with
 *             small pages, a miss of the TLB too.
 */
#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/random.h"
#include "malloc/workloads.h"

#define MIB      (1ull << 20)
#define SMALLEST (5 * MIB)
#define LARGEST  (25 * MIB)
enum { PAGE = 4096, QUICK_DIVISOR = 16, BLOCKS_QUICK = 4 };

struct block {
	char  *at;
	size_t bytes;
};

static int block_replace(const struct run *r, struct block *b, size_t bytes, bool touch)
{
	if (b->at != NULL && !run_stamped(b->at, b->bytes))
		return run_overwritten(b->at, b->bytes);
	give(b->at);
	b->at = take(r, bytes);
	b->bytes = bytes;
	if (b->at == NULL)
		return run_no_memory(bytes);
	for (size_t i = 0; touch && i < bytes; i += PAGE)
		b->at[i] = 1;
	run_stamp(b->at, bytes);
	return 0;
}

static int blocks_run(struct run *r)
{
	uint32_t nr = r->quick ? BLOCKS_QUICK : r->workload->nr;
	struct block *blocks = run_scratch(r, nr * sizeof(*blocks));
	uint64_t state = r->seed, before = clock_ns();
	int error = 0;

	for (uint64_t i = 0; i < r->ops && error == 0; i++) {
		size_t bytes = SMALLEST + random_below(&state, LARGEST - SMALLEST) / 16 * 16;

		error = block_replace(r, &blocks[random_below(&state, nr)], bytes, i % 2);
	}
	r->figures[0] = (double)(clock_ns() - before) / (double)r->ops;
	for (uint32_t i = 0; i < nr; i++)
		give(blocks[i].at);
	return error;
}

/* Links all objects into one ring, in random order. */
static int chase_link(struct run *r, void ***objects, uint32_t nr)
{
	uint64_t state = r->seed;

	for (uint32_t i = 0; i < nr; i++) {
		objects[i] = take(r, r->workload->bytes);
		if (objects[i] == NULL)
			return run_no_memory(r->workload->bytes);
		objects[i][1] = objects[i];
	}
	for (uint32_t i = nr - 1; i > 0; i--) {
		uint32_t j = (uint32_t)random_below(&state, i + 1ull);
		void **swap = objects[i];

		objects[i] = objects[j];
		objects[j] = swap;
	}
	for (uint32_t i = 0; i < nr; i++)
		objects[i][0] = objects[(i + 1) % nr];
	return 0;
}

static int chase_run(struct run *r)
{
	uint32_t nr = r->quick ? r->workload->nr / QUICK_DIVISOR : r->workload->nr;
	void ***objects = run_scratch(r, nr * sizeof(*objects)), **at;
	int error = chase_link(r, objects, nr);
	uint64_t before;

	if (error != 0)
		return error;
	at = objects[0];
	before = clock_ns();
	for (uint64_t i = 0; i < r->ops; i++)
		at = *at;
	r->figures[0] = (double)(clock_ns() - before) / (double)r->ops;
	if (at != objects[r->ops % nr])
		return run_overwritten(at, r->workload->bytes);
	for (uint32_t i = 0; i < nr; i++) {
		if (objects[i][1] != objects[i])
			return run_overwritten(objects[i], r->workload->bytes);
		give(objects[i]);
	}
	return 0;
}

const struct workload VARIANT(workloads_large)[] = {
	{ "large-blocks", blocks_run, LARGEST, 20, 1, 200, 16 },
	{ "chase-1G", chase_run, 128, 1 << 23, 1, 4000000, 200000 },
	{ 0 },
};
