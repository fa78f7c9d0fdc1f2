/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairs - malloc and free of one size, again and again
 *
 * Purpose     The hot path: the object that was freed last comes back. One store into each
 *             object; objects that live side by side are compared before the clock starts. And what
 *             calls cost by themselves.
 */
#include <arpa/inet.h>
#include <errno.h>

#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/parallel.h"
#include "malloc/workloads.h"

enum { SIDE_BY_SIDE = 16, WARM_UP = 1000 };

/* Objects that exist at the same time are apart and keep what was written. */
static int pairs_verify(const struct run *r)
{
	void *objects[SIDE_BY_SIDE];
	size_t bytes = r->workload->bytes;
	int error = 0;

	for (unsigned int i = 0; i < SIDE_BY_SIDE; i++) {
		objects[i] = take(r, bytes);
		if (objects[i] == NULL)
			return run_no_memory(bytes);
		run_stamp(objects[i], bytes);
	}
	for (unsigned int i = 0; i < SIDE_BY_SIDE; i++) {
		if (!run_stamped(objects[i], bytes))
			error = run_overwritten(objects[i], bytes);
		give(objects[i]);
	}
	return error;
}

static int pairs_loop(const struct run *r, uint64_t ops)
{
	size_t bytes = r->workload->bytes;

	for (uint64_t i = 0; i < ops; i++) {
		uint64_t *at = take(r, bytes);

		if (at == NULL)
			return run_no_memory(bytes);
		*at = i;
		give(run_keep(at));
	}
	return 0;
}

static int pairs_thread(struct parallel *p, void *arg, double *figure)
{
	const struct run *r = arg;
	int error = pairs_verify(r);
	uint64_t before;

	if (error == 0)
		error = pairs_loop(r, WARM_UP);
	parallel_begin(p);
	before = clock_ns();
	if (error == 0)
		error = pairs_loop(r, r->ops);
	*figure = (double)(clock_ns() - before) / (double)r->ops;
	return error;
}

static int pairs_run(struct run *r)
{
	return parallel_run(pairs_thread, r, r->workload->threads, &r->figures[0]);
}

/* What two calls into a shared library cost that do nothing: no allocator's pair takes less. */
static int calls_loop(uint64_t ops)
{
	uint16_t sum = 0;

	for (uint64_t i = 0; i < ops; i++) {
		/* In brackets: the functions, and not the macros. */
		uint64_t at = (htons)((uint16_t)i);

		at = *(uint64_t *)run_keep(&at);
		sum = (uint16_t)(sum + (ntohs)((uint16_t)at));
	}
	return sum == (uint16_t)(ops * (ops - 1) / 2) ? 0 : bench_because(-EPROTO, "a wrong sum");
}

static int calls_run(struct run *r)
{
	int error = calls_loop(WARM_UP);
	uint64_t before = clock_ns();

	if (error == 0)
		error = calls_loop(r->ops);
	r->figures[0] = (double)(clock_ns() - before) / (double)r->ops;
	return error;
}

const struct workload VARIANT(workloads_pairs)[] = {
	{ "probe", pairs_run, 64, 1, 1, 1000, 1000 },
	{ "pair-16", pairs_run, 16, 1, 1, 10000000, 200000 },
	{ "pair-64", pairs_run, 64, 1, 1, 10000000, 200000 },
	{ "pair-256", pairs_run, 256, 1, 1, 10000000, 200000 },
	{ "pair-1K", pairs_run, 1024, 1, 1, 10000000, 200000 },
	{ "pair-32K", pairs_run, 32 << 10, 1, 1, 4000000, 50000 },
	{ "pair-1M", pairs_run, 1 << 20, 1, 1, 400000, 5000 },
	{ "pair-16-2t", pairs_run, 16, 1, 2, 10000000, 200000 },
	{ "pair-64-2t", pairs_run, 64, 1, 2, 10000000, 200000 },
	{ "pair-1K-2t", pairs_run, 1024, 1, 2, 10000000, 200000 },
	{ "pair-calls", calls_run, 0, 1, 1, 10000000, 200000 },
	{ "pair-32K-2t", pairs_run, 32 << 10, 1, 2, 4000000, 50000 },
	{ 0 },
};
