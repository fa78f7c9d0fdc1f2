/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live - many objects at once
 *
 * Purpose     Batches of one size that are freed in another order than they were allocated in,
 *             and a live set of mixed sizes in which random objects are replaced.
 */
#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/parallel.h"
#include "malloc/live_set.h"
#include "malloc/workloads.h"

/* ---- batches: nr objects out, then all back in the order given ---- */

static int batch_once(const struct run *r, void **objects, const uint32_t *order)
{
	size_t bytes = r->workload->bytes;
	uint32_t nr = r->workload->nr;

	for (uint32_t i = 0; i < nr; i++) {
		objects[i] = take(r, bytes);
		if (objects[i] == NULL)
			return run_no_memory(bytes);
		*(uint64_t *)objects[i] = run_stamp_of(objects[i], i);
	}
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t *at = objects[order[i]];

		if (*at != run_stamp_of(at, order[i]))
			return run_overwritten(at, bytes);
		give(at);
	}
	return 0;
}

static int batch_run(struct run *r, uint32_t *order)
{
	uint32_t nr = r->workload->nr;
	void **objects = run_scratch(r, nr * sizeof(*objects));
	uint64_t batches = (r->ops + nr - 1) / nr, before;
	int error = batch_once(r, objects, order);

	before = clock_ns();
	for (uint64_t i = 0; i < batches && error == 0; i++)
		error = batch_once(r, objects, order);
	r->figures[0] = (double)(clock_ns() - before) / (double)(batches * nr);
	return error;
}

static int random_free_run(struct run *r)
{
	uint32_t *order = run_scratch(r, r->workload->nr * sizeof(*order));
	uint64_t state = r->seed;

	random_permutation(&state, order, r->workload->nr);
	return batch_run(r, order);
}

static int reverse_free_run(struct run *r)
{
	uint32_t *order = run_scratch(r, r->workload->nr * sizeof(*order));

	for (uint32_t i = 0; i < r->workload->nr; i++)
		order[i] = r->workload->nr - 1 - i;
	return batch_run(r, order);
}

/* ---- a live set ---- */

static int mixed_thread(struct parallel *p, void *arg, double *figure)
{
	struct run *r = arg;
	struct live_set set;
	uint64_t before;
	int error;

	live_init(&set, r, r->seed, r->workload->nr, r->workload->bytes);
	error = live_fill(&set);
	if (error == 0)
		error = live_churn(&set, r->ops / 4);
	parallel_begin(p);
	before = clock_ns();
	if (error == 0)
		error = live_churn(&set, r->ops);
	*figure = (double)(clock_ns() - before) / (double)r->ops;
	return error != 0 ? error : live_drain(&set);
}

static int mixed_run(struct run *r)
{
	return parallel_run(mixed_thread, r, r->workload->threads, &r->figures[0]);
}

const struct workload VARIANT(workloads_live)[] = {
	{ "reverse-free-64x1000", reverse_free_run, 64, 1000, 1, 4000000, 100000 },
	{ "random-free-64x1000", random_free_run, 64, 1000, 1, 4000000, 100000 },
	{ "random-free-1Kx1000", random_free_run, 1024, 1000, 1, 4000000, 100000 },
	{ "random-free-64x100000", random_free_run, 64, 100000, 1, 4000000, 100000 },
	{ "small-live-20000", mixed_run, 1024, 20000, 1, 2000000, 50000 },
	{ "mixed-live-20000", mixed_run, 0, 20000, 1, 2000000, 50000 },
	{ "mixed-live-20000-2t", mixed_run, 0, 20000, 2, 2000000, 50000 },
	{ 0 },
};
