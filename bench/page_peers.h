/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_peers - what page frames are compared with
 *
 * Purpose     One uncontended locked instruction, malloc and free, mmap and munmap of the same
 *             size; and the library's page runs, which are ours but run in a client.
 */
#ifndef MMB_BENCH_PAGE_PEERS_H
#define MMB_BENCH_PAGE_PEERS_H

#include "lib/bench.h"

/* Figure of a sample: CPU ns of one operation, or of one pair. */
struct peer_args {
	unsigned int order, threads;
	uint64_t     pairs;
};

/* Sides: arg is a struct peer_args. */
int locked_side(struct bench *b, const void *arg, struct sample *out);
int malloc_side(struct bench *b, const void *arg, struct sample *out);
int mmap_side(struct bench *b, const void *arg, struct sample *out);
int page_run_side(struct bench *b, const void *arg, struct sample *out);

#endif
