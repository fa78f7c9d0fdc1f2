/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procmap - what is mapped at an address of this process right now
 *
 * Purpose     Before the library unmaps or drops a window it asks the kernel whose mapping is
 *             there: the application may have unmapped or moved the window and something else may
 *             have taken its place.
 * Invariants  Q1  While a connection is open, so is the file that is asked: whoever is out of
 *                 descriptors must be able to unmap a region, and a clone's pages to come.
 *             Q2  A descriptor that the application has closed, and has something else at, is
 *                 neither asked nor closed.
 * Locking     the process lock for keeping it; who asks needs none.
 */
#ifndef MMB_LIBCLIENT_PROCMAP_H
#define MMB_LIBCLIENT_PROCMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct procmap_vma {
	uint64_t start, end;
	dev_t    dev; /* of the mapped file; 0 0: none */
	ino_t    ino;
	uint64_t offset;     /* in the file, at start */
	int      protection; /* PROT_* */
	bool     shared;
};

enum { PROCMAP_TEXT_BYTES = 1024 };

/* A way to ask, for one thread. */
struct procmap {
	int                fd;
	bool               own;     /* and not the one that is kept */
	bool               in_text; /* the kernel doesn't know the query */
	off_t              offset;  /* of the text that is read next */
	size_t             used, nr; /* of what has been read */
	char               text[PROCMAP_TEXT_BYTES];
	uint64_t           at;      /* the last address asked for, and the mapping found there */
	struct procmap_vma last;
};

/* Q1, one for each connection. Without /proc, or without a descriptor for it, none is kept. */
void procmap_keep(void);
void procmap_release(void);
/* In a forked child: it is the parent's that is kept. */
void procmap_forget(void);

/* -errno where /proc isn't there. */
int  procmap_open(struct procmap *out);
void procmap_close(struct procmap *map);
/* The mapping that covers the address, else the next one above. -ENOENT: none. From lower to higher
 * addresses the text is read once. */
int procmap_find(struct procmap *map, uint64_t address, struct procmap_vma *out);

#endif
