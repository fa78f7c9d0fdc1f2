/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects - caches of the daemon's own objects, in this process
 *
 * Purpose     What the objects suite allocates from: pool 0 and slabs, put together as the daemon
 *             does it; and malloc beside them.
 */
#ifndef MMB_BENCH_OBJECTS_H
#define MMB_BENCH_OBJECTS_H

#include <stdint.h>

#include "lib/bench.h"

/* Once in a process. */
int objects_init(void);

/* Figure of a sample: CPU ns of one object's allocation and free, mean over the threads. */
struct objects_args {
	unsigned int size, threads;
	uint64_t     pairs;
	unsigned int at_once; /* so many are allocated, then freed, each by one call ... */
	bool         bulk;    /* ... or all by one */
	bool         by_size; /* kmalloc() */
};

/* Sides: arg is a struct objects_args. */
int objects_side(struct bench *b, const void *arg, struct sample *out);
int libc_side(struct bench *b, const void *arg, struct sample *out);

#endif
