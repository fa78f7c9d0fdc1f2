/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steady - whether small allocations stay out of the kernel
 *
 * Purpose     After a warm-up, of a million replacements in a live set of small objects:
 *             figures[0] how many made a system call (a wake-up is one), figures[1] page faults,
 *             figures[2] times the thread slept. All scaled to a million.
 */
#include <errno.h>
#include <sys/resource.h>

#include "lib/bench.h"
#include "lib/kernel_calls.h"
#include "malloc/live_set.h"
#include "malloc/workloads.h"

#define MILLION 1e6

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

const struct workload VARIANT(workloads_steady)[] = {
	{ "steady", steady_run, 1024, 20000, 1, 1000000, 100000 },
	{ 0 },
};
