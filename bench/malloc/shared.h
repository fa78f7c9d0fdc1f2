/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared - workloads of two processes that share one heap
 *
 * Purpose     shared-pair: hot pairs. shared-live: random replacements in a live set. shared-pass:
 *             one process allocates, the other frees. Each forks two processes, one a CPU, which
 *             attach to the heap after that.
 */
#ifndef MMB_BENCH_MALLOC_SHARED_H
#define MMB_BENCH_MALLOC_SHARED_H

#include "lib/shared_heap.h"

/* One run: the mean of both processes' ns an operation in *figure. */
struct shared_run {
	const struct shared_heap *heap;
	const char               *socket;
	uint64_t                  ops, seed; /* ops 0: the workload's own, or fewer if quick */
	int                       quick;
};

/* -ENOENT: there is no such workload. */
int shared_run(const char *workload, const struct shared_run *r, double *figure);

#endif
