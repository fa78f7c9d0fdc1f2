/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child - a measurement in a process of its own
 *
 * Purpose     The process that faults is never the one that answers, a measurement that hangs
 *             or crashes takes nothing else with it, and each starts with a fresh address space.
 * Errors      A child that returns a negative errno, dies by a signal or outlives its time gives
 *             a negative errno here, with bench_because() telling which.
 */
#ifndef MMB_BENCH_LIB_CHILD_H
#define MMB_BENCH_LIB_CHILD_H

#include <sys/types.h>

#include "lib/bench.h"

struct child {
	pid_t          pid;
	int            pidfd;
	struct sample *sample; /* shared with the child */
};

typedef int (*child_fn)(void *arg, struct sample *out);

int child_start(struct child *c, child_fn run, void *arg);
/* Waits; kills it after timeout_ms. The child's result, and its figures in *out. */
int child_finish(struct child *c, unsigned int timeout_ms, struct sample *out);
/* start and finish. */
int child_run(child_fn run, void *arg, unsigned int timeout_ms, struct sample *out);

#endif
