/* SPDX-License-Identifier: Apache-2.0 */
/*
 * magazine - free objects of one bin that a thread has at hand, in front of the slabs
 *
 * Purpose     Most allocations take what the thread freed last, whatever slab it lies in: two loads
 *             and two stores, none of which waits for the object's memory or its slab's header.
 * Invariants  M1  An object in a magazine counts as used in its slab.
 *             M2  Its first word is its mark (slab_mark()): so who frees it once more is found out,
 *                 and who adopts the slab of a dead process finds what was in its magazines.
 *             M3  In a shared pool a magazine has objects of its heap's own slabs only, and a slab
 *                 changes its owner only when none of its objects is in a magazine: hence a marked
 *                 object was its slab's owner's, and adopting loses none. In a private pool, which
 *                 nobody adopts, objects of any slab may be in it.
 *             M4  slots[0] is 0 and never written; objects are slots[1] up to *top.
 *             M5  magazine_none is empty and full: it stands for those that aren't made yet, and is
 *                 never written.
 * Locking     H3 of heap.h.
 * Not here    Hits (hit.h), where its objects come from and go to (heap.c).
 */
#ifndef MMB_LIBCLIENT_HEAP_MAGAZINE_H
#define MMB_LIBCLIENT_HEAP_MAGAZINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new one has so many objects and bytes at most, and one object at least. What overflows and runs
 * empty in turns becomes larger. */
enum {
	MAGAZINE_OBJECTS = 64,
	MAGAZINE_BYTES = 32 << 10,
	MAGAZINE_GROWTH = 32, /* times at most, both */
	/* Larger objects than that in it would keep more slabs from others than they save time. */
	MAGAZINE_GROWN_OBJECT = 1 << 10,
	MAGAZINE_GROWN_BYTES = 128 << 10,
	/* After so many frees that it had no room for it is emptied, too, until it is filled again:
	 * a burst that large leaves whole slabs empty, but for what magazines keep of them. */
	MAGAZINE_BURST = 2 * MAGAZINE_OBJECTS * MAGAZINE_GROWTH,
};

struct heap;
struct heap_pool;
struct slab_header;
struct slab_view;

/* h: H3 of heap.h   c: fixed */
struct heap_magazine {
	uint64_t *top;     /* (h) M4 */
	uint64_t *limit;   /* (h) top when it is full */
	uint64_t *seen;    /* (h) top at the last visit */
	uint32_t  growth;  /* (c) times as large as a new one */
	uint32_t  spilled; /* (h) frees since it was filled last that it had no room for; up to
			    * MAGAZINE_BURST */
	uint64_t  slots[]; /* (h) M4 */
};

extern struct heap_magazine magazine_none;

/* The bin's magazine, made if it wasn't. False: it has none (no memory, or a pool without). */
bool magazine_make(struct heap *h, unsigned int bin);
/* An object of somebody else's slab, or nobody's. False: it can't be kept here. */
bool magazine_keep(struct heap *h, const struct slab_header *s, uint64_t object);
/* From the bin's slab, which has free or unused objects, to its empty magazine. */
void magazine_fill(struct heap *h, unsigned int bin);
/* The same with what other threads have handed on (relay.h); false: there is nothing. */
bool magazine_fill_handed(struct heap *h, unsigned int bin);
/* spilled has come to MAGAZINE_BURST. */
void magazine_burst(struct heap *h, unsigned int bin);
/* Takes an object out; 0: there is none. */
uint64_t magazine_take(struct heap *h, unsigned int bin);
/* Up to nr of them; how many. */
size_t magazine_take_many(struct heap *h, unsigned int bin, size_t nr, void **out);
/* From the first object on, those that lie in this slab of the heap's own and don't look free, as
 * many as there is room for; how many. */
size_t magazine_put_many(struct heap *h, const struct slab_view *v, size_t nr, void **objects);
/* So many frees had no room. */
void magazine_spill(struct heap *h, unsigned int bin, size_t nr);
bool magazine_has_any(const struct heap *h, unsigned int bin);
/* Nothing was taken or put since this was asked last. */
bool magazine_is_idle(struct heap *h, unsigned int bin);
/* J1 of relay.h, of one object. */
bool magazine_is_wrong(const struct heap_pool *hp, unsigned int bin, uint64_t object);
/* M2, M3; the number of differences. */
uint32_t magazine_validate(const struct heap *h, unsigned int bin);
/* All of them; what is in them is forgotten. */
void magazine_fini(struct heap *h);

#endif
