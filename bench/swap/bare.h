/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare - what it costs at least to write another process's pages out, and to read them back
 *
 * Purpose     Out: pages of a memory file that another process has mapped are protected there,
 *             copied out of the file, written by direct writes and punched, a block at a time: the
 *             four calls of the kernel that no broker in user space can do without.
 *             In: another process touches pages that its memory file hasn't; a pinned thread on
 *             each CPU that a toucher runs on reads the faults, begins direct reads through a ring
 *             of its own, writes what came into the memory file and maps it there.
 *             Nothing else: no checksums, no decisions, no accounting, nothing evicted for a page
 *             that comes.
 * Not here    The disk alone (swap/disk.h), a fault's floor without a disk (floor_uffd.h).
 */
#ifndef MMB_BENCH_SWAP_BARE_H
#define MMB_BENCH_SWAP_BARE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/bench.h"

struct bare_args {
	const char  *folder;
	uint64_t     bytes;   /* a multiple of 1 MiB */
	unsigned int threads; /* in: that touch */
	uint32_t     touches; /* in: pages by all of them */
	uint64_t     seed;
};

/* Sides: arg is a struct bare_args. Out: FIGURE_RATE, FIGURE_CPU. In: FIGURE_RATE, FIGURE_P50,
 * FIGURE_P99. */
int bare_out_side(struct bench *b, const void *arg, struct sample *out);
int bare_in_side(struct bench *b, const void *arg, struct sample *out);

/* ---- for both: a file that has been written, a memory file, a child with a window over it ---- */

/* c: fixed before the child starts */
struct bare {
	const struct bare_args *args; /* (c) */
	int   memfd, file; /* (c) */
	char *window; /* (c) the child's, the same address there */
	int   sock, other; /* of a pair; each process its own end, and in the child this one's */
	int   uffd; /* the child's */
};

struct bare_parts {
	uint64_t mode;     /* of UFFDIO_REGISTER */
	uint64_t features; /* of UFFDIO_API */
	bool     filled;   /* the child writes all pages first */
	/* In the child, once `work` is ready; NULL: it only holds the window. Its figures are those
	 * of the side. */
	int (*child)(const struct bare *m, struct sample *out);
	/* In this process: a byte to the socket when the child may begin; the child ends when the
	 * socket is closed before. */
	int (*work)(struct bare *m, struct sample *out);
};

int bare_run(const struct bare_args *args, const struct bare_parts *parts, struct sample *out);

#endif
