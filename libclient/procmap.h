/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procmap - what is mapped at an address of this process right now
 *
 * Purpose     Before the library unmaps or drops a window it asks the kernel whose mapping is
 *             there: the application may have unmapped or moved the window and something else may
 *             have taken its place.
 */
#ifndef MMB_LIBCLIENT_PROCMAP_H
#define MMB_LIBCLIENT_PROCMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct procmap_vma {
	uint64_t start, end;
	dev_t    dev; /* of the mapped file; 0 0: none */
	ino_t    ino;
	uint64_t offset;     /* in the file, at start */
	int      protection; /* PROT_* */
	bool     shared;
};

/* A way to ask, for one thread. */
struct procmap {
	int                fd;
	bool               in_text; /* the kernel doesn't know the query */
	FILE              *text;    /* NULL: not read yet */
	uint64_t           at;      /* the last address asked for, and the mapping found there */
	struct procmap_vma last;
};

/* -errno where /proc isn't there. */
int  procmap_open(struct procmap *out);
void procmap_close(struct procmap *map);
/* The mapping that covers the address, else the next one above. -ENOENT: none. From lower to higher
 * addresses the text is read once. */
int procmap_find(struct procmap *map, uint64_t address, struct procmap_vma *out);

#endif
