/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contest - one side of a case: one allocator runs one workload in a process of its own
 *
 * Purpose     Executes mmb-bench malloc --one with the allocator's library preloaded and reads its
 *             figures. Ours begins only when the broker has everything of the last one back.
 */
#ifndef MMB_BENCH_MALLOC_CONTEST_H
#define MMB_BENCH_MALLOC_CONTEST_H

#include "lib/bench.h"

struct contest_args {
	const char *workload, *allocator;
	bool        memory; /* the peak is in figure WORKER_PEAK; times mean nothing then */
};

/* A side: arg is a struct contest_args. */
int contest_side(struct bench *b, const void *arg, struct sample *out);

#endif
