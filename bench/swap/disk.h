/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk - what the disk takes in direct writes of 1 MiB, and gives in direct reads of 4 KiB
 *
 * Purpose     The ceiling of write-out and of refaults: no page tables, no checksums, no
 *             decisions. What a virtual disk gives depends on what the CPUs do meanwhile, so that
 *             there are two of the writes.
 */
#ifndef MMB_BENCH_SWAP_DISK_H
#define MMB_BENCH_SWAP_DISK_H

#include <stdbool.h>

#include "lib/bench.h"

struct disk_args {
	const char *folder;
	uint64_t    bytes; /* a multiple of DISK_WRITERS MiB */
	bool        busy;  /* every CPU has something else to do, of the lowest priority */
	unsigned int threads; /* reads: so many */
	uint32_t     touches; /* reads: so many pages by all of them */
	uint64_t     seed;
};

enum { DISK_WRITERS = 8 };

/* A side: arg is a struct disk_args. v[0]: pages of 4 KiB a second. The file has been written once
 * before, so that the file system has nothing left to decide. */
int disk_side(struct bench *b, const void *arg, struct sample *out);
/* The same file's pages in random order, each thread one after the other. FIGURE_RATE, FIGURE_P50,
 * FIGURE_P99. */
int disk_read_side(struct bench *b, const void *arg, struct sample *out);

#endif
