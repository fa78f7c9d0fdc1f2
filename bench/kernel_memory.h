/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_memory - first touch of the kernel's own memory
 *
 * Purpose     The peers without a broker: anonymous memory with 4 KiB pages (MADV_NOHUGEPAGE),
 *             and a hugetlb mapping; and shared memory through a second mapping that has all its
 *             entries, where no access faults in this kernel: what it costs all the same is the
 *             host's. Touched in a child, as ours is.
 */
#ifndef MMB_BENCH_KERNEL_MEMORY_H
#define MMB_BENCH_KERNEL_MEMORY_H

#include <stdbool.h>

#include "lib/touch.h"

struct kernel_args {
	bool         huge;
	bool         mapped_again;
	struct touch touch; /* base is set here */
};

/* A side: arg is a struct kernel_args, the figures are those of touch_run(). */
int kernel_side(struct bench *b, const void *arg, struct sample *out);

/* 2 MiB pages that a process could take now without disturbing reservations. */
uint64_t kernel_hugepages_free(void);

#endif
