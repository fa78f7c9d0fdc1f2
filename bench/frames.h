/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames - an arena in this process, on the daemon's own floors
 *
 * Purpose     What the pages suite allocates from: nodes, metadata, a base stock in account mode,
 *             one arena section and its zone, put together as the daemon does it.
 */
#ifndef MMB_BENCH_FRAMES_H
#define MMB_BENCH_FRAMES_H

#include <stdint.h>

#include "lib/bench.h"

/* Nodes, metadata and sections: for what else stands on them. Any number of times. */
int frames_floors_init(void);
/* Room for `bytes` of frames. Once in a process. */
int frames_init(uint64_t bytes);

/* What disturbs a side, an interrupt or the hypervisor, falls into some of its turns: the median of
 * them is what counts. */
enum { PAGE_TURNS = 15 };

/* Figure of a sample: CPU ns for taking and giving back one block, mean over the threads. */
struct frames_args {
	unsigned int order, threads;
	uint64_t     pairs; /* one after the other ... */
	uint32_t     bulk;  /* ... or, not 0: so many taken, then given back, by each thread */
};

/* A side: arg is a struct frames_args. */
int frames_side(struct bench *b, const void *arg, struct sample *out);

#endif
