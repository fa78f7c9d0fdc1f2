/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stash - what a thread freed last of a size class, whatever slabs it is of
 *
 * Purpose     An object that was freed a moment ago is in the cache still; and one that goes round
 *             among threads needs neither its slab's list nor its owner's cache line. A bin that
 *             uses more than one slab, or frees what others allocate, works from its stash: it is
 *             what objects are taken from, and where those go that aren't of a slab in use.
 * Invariants  T1  A stashed object counts as used in its slab.
 *             T2  While a bin works from its stash, bins[b] is stash.slab, and `real` the slab it
 *                 has put aside, whose hot is closed. Otherwise the stash is empty, and left 0.
 *             T3  stash.slab has of a slab: free, a list across slabs; hot; and left, how many more
 *                 the list takes.
 *             T4  Only private pools stash: in a shared one a dead process's stash would be lost
 *                 to those who live. Nor do hardened heaps, which have a quarantine.
 * Locking     H3 of heap.h.
 * Source      Thread caches with a central list behind them: S. Ghemawat, P. Menage, "TCMalloc:
 *             Thread-Caching Malloc", 2005; here the slab in use is the central list.
 */
#ifndef MMB_LIBCLIENT_HEAP_STASH_H
#define MMB_LIBCLIENT_HEAP_STASH_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/heap.h"

/* Of one bin: objects that come at once, four at least; twice as many is what it holds. A slab's
 * list of so many, or of no more than STASH_WHOLE, comes as it is. */
enum { STASH_OBJECTS = 64, STASH_BYTES = 32 << 10, STASH_LEAST = 4, STASH_WHOLE = 16 };

static inline bool stash_works(const struct heap *h, unsigned int bin)
{
	return bin < SLAB_SIZE_CLASSES && h->bins[bin] == &h->stashes[bin].slab;
}

/* The slab of a bin, whether it works from its stash or not. */
static inline struct slab_header *stash_real(const struct heap *h, unsigned int bin)
{
	return stash_works(h, bin) ? h->stashes[bin].real : h->bins[bin];
}

/* The bin works from its stash from now on, if its kind does at all. */
void stash_enter(struct heap *h, unsigned int bin);
/* The bin works from its own slab again; what was stashed is in a chain by address, its end odd. */
uint64_t stash_leave(struct heap *h, unsigned int bin);
/* The next one of such a chain. */
uint64_t stash_next(const struct heap *h, uint64_t object);
/* An empty stash gets the list of the slab put aside, which isn't empty: all of it or a batch. */
void stash_fill(struct heap *h, const struct slab_view *v);
/* Whether an object is in there; walks. */
bool stash_has(const struct heap *h, unsigned int bin, uint64_t object);

#endif
