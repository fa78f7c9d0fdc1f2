/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stash - objects of other heaps that a thread has freed, kept for its own next allocations
 *
 * Purpose     Threads that free what others allocate usually allocate the same sizes: an object
 *             that goes round among them needs neither its slab's list nor its owner's cache line.
 * Invariants  T1  A stashed object counts as used in its slab.
 *             T2  While a bin works from its stash, bins[b] is stash.slab, whose free list has
 *                 stashed objects and nothing else, and `real` is the slab it has put aside.
 *             T3  Only private pools stash: in a shared one a dead process's stash would be lost
 *                 to those who live.
 * Locking     H3 of heap.h.
 */
#ifndef MMB_LIBCLIENT_HEAP_STASH_H
#define MMB_LIBCLIENT_HEAP_STASH_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/heap.h"

enum { STASH_OBJECTS = 64, STASH_BYTES = 32 << 10 }; /* of one bin, at most; two objects at least */

/* h: H3 of heap.h */
struct heap_stash {
	struct slab_header  slab;  /* (h) T2 */
	struct slab_header *real;  /* (h) NULL: the bin doesn't work from here */
	uint32_t            nr;    /* (h) */
	uint64_t            objects[STASH_OBJECTS]; /* (h) */
};

/* False: no room. */
bool stash_keep(struct heap *h, const struct slab_header *s, uint64_t object);
/* The bin works from its stash; false: there is nothing in it. */
bool stash_enter(struct heap *h, unsigned int bin);
/* The bin works from its own slab again; what was left is stashed, or, where there is no room for
 * it, waits for stash_take(): leaving with anything left is the beginning of a flush. */
void stash_leave(struct heap *h, unsigned int bin);
/* Takes an object out; 0: there is none. The bin has left. */
uint64_t stash_take(struct heap *h, unsigned int bin);

/* Whatever is in them is forgotten. */
void stash_fini(struct heap *h);

#endif
