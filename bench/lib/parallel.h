/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parallel - the same work on several pinned threads at once
 *
 * Purpose     Thread i runs on the i-th CPU; all begin together. Each tells how many nanoseconds
 *             of its own CPU time an operation took (or whatever it measures).
 */
#ifndef MMB_BENCH_LIB_PARALLEL_H
#define MMB_BENCH_LIB_PARALLEL_H

enum { PARALLEL_MAX = 8, PARALLEL_FAIR_CPUS = 2 };

/* Sets up, calls parallel_begin(p), works, leaves its figure in *figure. 0 or what
 * bench_because() gave. A thread whose set-up failed must call parallel_begin() all the same. */
struct parallel;
typedef int (*parallel_fn)(struct parallel *p, void *arg, double *figure);

void parallel_begin(struct parallel *p);
/* The mean of the figures. The first error wins. */
int parallel_run(parallel_fn fn, void *arg, unsigned int threads, double *mean);
/* The same, but one thread alone works on each of the CPUs in turn that two threads would have. So
 * it can be compared with them, also where one of the CPUs is slower, such as one whose other half
 * serves a neighbour of the virtual machine. */
int parallel_fair(parallel_fn fn, void *arg, unsigned int threads, double *mean);

#endif
