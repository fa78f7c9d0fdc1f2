/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor_uffd - the least that a fault answered by another process can cost
 *
 * Purpose     A bare userfaultfd handler: no policy, no accounting, no page table. A child
 *             process touches a window over a memfd; this process answers, with one pinned
 *             thread per CPU that a toucher runs on, as the daemon places its own. Each thread
 *             reads the one userfaultfd, spins for 50 us with sched_yield, then sleeps in poll.
 * Not here    What the kernel's own memory costs (kernel_memory.h).
 */
#ifndef MMB_BENCH_FLOOR_UFFD_H
#define MMB_BENCH_FLOOR_UFFD_H

#include <stdbool.h>

#include "lib/touch.h"

/* How a fault is answered. */
enum floor_answer {
	FLOOR_CONTINUE,  /* the page is already present: MINOR, UFFDIO_CONTINUE */
	FLOOR_FALLOCATE, /* MISSING: fallocate of the page, then UFFDIO_CONTINUE */
	FLOOR_TOUCH,     /* MISSING: a write through the handler's mapping, then CONTINUE */
	FLOOR_COPY,      /* MISSING: UFFDIO_COPY of a zero page */
	FLOOR_PROTECTED, /* mapped and write-protected: UFFDIO_WRITEPROTECT lifts it */
	FLOOR_BREAK,     /* the same, after what is there was read and written to another file */
};

enum { FLOOR_BREAK_MAX = 64 }; /* pages at once */

struct floor_args {
	enum floor_answer answer;
	bool              huge;
	uint32_t          around; /* pages from the one that was hit on; 0: as 1; BREAK: few */
	struct touch      touch; /* base is set here */
};

/* A side: arg is a struct floor_args, the figures are those of touch_run(). */
int floor_side(struct bench *b, const void *arg, struct sample *out);

#endif
