/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker - mmb-bench malloc --one: one workload by one allocator, in this process
 *
 * Purpose     What a contest runs in a process of its own, and what a profiler is put around. Its
 *             last line of output is "figures" and BENCH_VALUES numbers, or "skipped" or "failed"
 *             and the reason.
 */
#ifndef MMB_BENCH_MALLOC_WORKER_H
#define MMB_BENCH_MALLOC_WORKER_H

#include "lib/bench.h"

enum { WORKER_PEAK = BENCH_VALUES - 1 }; /* the figure of --memory, in bytes */

/* b->one, b->allocator, b->ops and b->memory say what. */
void worker_run(struct bench *b);

#endif
