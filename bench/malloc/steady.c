/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steady - whether small allocations stay out of the kernel
 *
 * Purpose     After a warm-up, of a million replacements in a live set of small objects:
 *             figures[0] how many made a system call (a wake-up is one), figures[1] page faults,
 *             figures[2] times the thread slept. All scaled to a million. And while a set of small
 *             objects grows, how long the calls take that bring a new unit of memory into use.
 */
#include <errno.h>
#include <sys/resource.h>

#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/kernel_calls.h"
#include "lib/stats.h"
#include "malloc/live_set.h"
#include "malloc/workloads.h"

#define MILLION 1e6

enum { UNIT_SHIFT = 16, CLOCK_READINGS = 1000 };

static int watched_churn(struct live_set *set, uint64_t ops, uint64_t *calls)
{
	int error = 0;

	for (uint64_t i = 0; i < ops && error == 0; i++) {
		kernel_calls_arm();
		error = live_step(set);
	}
	*calls = kernel_calls_end();
	return error;
}

static int steady_run(struct run *r)
{
	struct rusage before, after;
	struct live_set set;
	uint64_t calls = 0;
	int error;

	live_init(&set, r, r->seed, r->workload->nr, r->workload->bytes);
	error = live_fill(&set);
	if (error == 0)
		error = live_churn(&set, r->ops);
	if (error == 0 && getrusage(RUSAGE_THREAD, &before) != 0)
		error = bench_because(-errno, "getrusage");
	if (error == 0)
		error = kernel_calls_begin();
	if (error != 0)
		return error;
	error = watched_churn(&set, r->ops, &calls);
	if (getrusage(RUSAGE_THREAD, &after) != 0)
		return bench_because(-errno, "getrusage");
	r->figures[0] = (double)calls * MILLION / (double)r->ops;
	r->figures[1] = (double)(after.ru_minflt - before.ru_minflt) * MILLION / (double)r->ops;
	r->figures[2] = (double)(after.ru_nvcsw - before.ru_nvcsw) * MILLION / (double)r->ops;
	return error != 0 ? error : live_drain(&set);
}

/* figures[0]: the median of the calls whose object is the first of its 64 KiB; the reading of the
 * clock is taken off. With ours that is a unit from stock, but for one in 32 that is leased. */
static int refill_run(struct run *r)
{
	uint64_t units = r->ops * r->workload->bytes >> UNIT_SHIFT, last = 0, nr = 0;
	void **objects = run_scratch(r, r->ops * sizeof(*objects));
	double *ns = run_scratch(r, (units + 1) * sizeof(*ns));
	uint64_t clock = clock_ns();

	for (unsigned int i = 0; i < CLOCK_READINGS; i++)
		last = clock_ns();
	clock = (last - clock) / CLOCK_READINGS;
	for (uint64_t i = 0; i < r->ops; i++) {
		uint64_t before = clock_ns(), took;
		void *object = take(r, r->workload->bytes);

		took = clock_ns() - before;
		if (object == NULL)
			return run_no_memory(r->workload->bytes);
		if ((uintptr_t)object >> UNIT_SHIFT != last && nr < units)
			ns[nr++] = (double)took - (double)clock;
		last = (uintptr_t)object >> UNIT_SHIFT;
		run_stamp(object, r->workload->bytes);
		/* Not sooner: a page of ours begins with each 64 KiB of objects of 64 bytes. */
		objects[i] = object;
	}
	for (uint64_t i = 0; i < r->ops; i++)
		give(objects[i]);
	r->figures[0] = stats_median(ns, (unsigned int)nr);
	return 0;
}

const struct workload VARIANT(workloads_steady)[] = {
	{ "refill-64", refill_run, 64, 1, 1, 500000, 50000 },
	{ "steady", steady_run, 1024, 20000, 1, 1000000, 100000 },
	{ 0 },
};
