/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_swap - the kernel's swap on a file of the bench's own, and memory cgroups before it
 *
 * Purpose     What the broker's swap competes with. A keeper process makes the file, turns it on
 *             with the highest priority, makes the groups, and undoes all of it when this process
 *             closes its end of a pipe or dies, by whatever signal.
 * Invariants  K1  only the keeper makes and removes, so that nothing is left after a SIGKILL of
 *                 the bench; the keeper itself ignores the signals of a terminal.
 *             K2  a file that the broker swaps to may lie in the folder, too; it goes with it.
 * Errors      negative errno after bench_because(); BENCH_SKIP where it isn't allowed here.
 */
#ifndef MMB_BENCH_SWAP_KERNEL_SWAP_H
#define MMB_BENCH_SWAP_KERNEL_SWAP_H

#include <sys/types.h>

#include "swap/cgroup.h"

enum { KERNEL_SWAP_GROUPS = 2, KERNEL_SWAP_PATH = 200 };

struct kernel_swap {
	pid_t         keeper; /* 0: none */
	int           pipe;   /* closing it ends the keeper */
	struct cgroup groups[KERNEL_SWAP_GROUPS];
	char          folder[KERNEL_SWAP_PATH]; /* the keeper's own */
	char          broker[KERNEL_SWAP_PATH]; /* K2 */
};

/* disk: a folder on the disk that is to be measured. */
int kernel_swap_start(struct kernel_swap *k, const char *disk, uint64_t bytes);
/* Waits until everything is undone. */
void kernel_swap_stop(struct kernel_swap *k);

#endif
