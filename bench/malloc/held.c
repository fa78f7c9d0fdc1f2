/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held - what is still charged after everything was freed
 *
 * Purpose     Allocates many objects, frees them all in random order, waits. figures[0] is what
 *             is charged then, in percent of what the objects had needed.
 */
#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/random.h"
#include "malloc/live_set.h"
#include "malloc/memory.h"
#include "malloc/workloads.h"

enum { WAIT_MS = 2000, WAIT_MS_QUICK = 200, QUICK_DIVISOR = 16 };

static int free_all(struct live_set *set, const uint32_t *order)
{
	int error = 0;

	for (uint32_t i = 0; i < set->nr && error == 0; i++)
		error = live_drop(&set->slots[order[i]]);
	return error;
}

static int held_fill(struct live_set *set)
{
	int error = 0;

	if (set->run->workload->bytes == 0)
		return live_fill(set);
	for (uint32_t i = 0; i < set->nr && error == 0; i++)
		error = live_put(set, &set->slots[i], set->run->workload->bytes);
	return error;
}

static int held_run(struct run *r)
{
	uint32_t nr = r->quick ? r->workload->nr / QUICK_DIVISOR : r->workload->nr;
	uint32_t *order = run_scratch(r, nr * sizeof(*order));
	uint64_t state = r->seed, before, peak, after;
	struct live_set set;
	int error;

	random_permutation(&state, order, nr);
	live_init(&set, r, r->seed, nr, 0);
	before = memory_now(r);
	error = held_fill(&set);
	peak = memory_now(r);
	if (error == 0)
		error = free_all(&set, order);
	clock_sleep_ms(r->quick ? WAIT_MS_QUICK : WAIT_MS);
	after = memory_now(r);
	r->figures[0] = after <= before || peak <= before ?
				0 :
				100 * (double)(after - before) / (double)(peak - before);
	return error;
}

const struct workload VARIANT(workloads_held)[] = {
	{ "held-64", held_run, 64, 1 << 20, 1, 1, 1 },
	{ "held-mixed", held_run, 0, 1 << 17, 1, 1, 1 },
	{ 0 },
};
