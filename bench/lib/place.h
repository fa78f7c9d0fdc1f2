/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place - which thread runs on which CPU
 *
 * Purpose     Where two threads run decides what a wake-up between them costs (4 us on one CPU,
 *             70 us across two on a virtual machine that halts idle CPUs), so every figure is
 *             taken with a stated placement, and ours and the peer with the same one.
 * Errors      negative errno.
 */
#ifndef MMB_BENCH_LIB_PLACE_H
#define MMB_BENCH_LIB_PLACE_H

#include <sched.h>
#include <sys/types.h>

enum { PLACE_ANYWHERE = -1, PLACE_TASKS_MAX = 256 };

/* CPUs the process may use when the program starts. */
unsigned int place_nr_cpus(void);
/* Binds the calling thread to the i-th usable CPU (modulo their number), or lets it go
 * anywhere again. */
int place_self(int index);

/* The affinities of another process's threads, to put them back. */
struct place_saved {
	unsigned int nr;
	pid_t        tid[PLACE_TASKS_MAX];
	cpu_set_t    set[PLACE_TASKS_MAX];
};

/* Binds those threads of a process that may use several CPUs to the i-th; threads that are
 * bound to one stay where they are. */
int place_process(pid_t pid, int index, struct place_saved *saved);
void place_restore(const struct place_saved *saved);

#endif
