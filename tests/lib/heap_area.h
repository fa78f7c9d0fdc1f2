/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap_area - plain memory with a slab map, for the tests of libclient/heap
 *
 * Purpose     Stands where the daemon and its arena window are: leases units and takes them back,
 *             and says no when it is told to. Several heap_pools on one area are to each other as
 *             several processes.
 * Invariants  R1  A unit is leased once until it is given back; who gives what isn't leased, or
 *                 leaves its header in use, is counted in nr_wrong.
 * Locking     lock, for what clients ask; counters are read with everything quiet.
 * Not here    The real source (libclient/unit_lease.c).
 */
#ifndef MMB_TESTS_LIB_HEAP_AREA_H
#define MMB_TESTS_LIB_HEAP_AREA_H

#include <pthread.h>

#include "heap/heap.h"

enum { HEAP_AREA_UNITS = 1024, HEAP_AREA_WINDOWS = 2 };
#define HEAP_AREA_KEY 0x9e3779b97f4a7c15ull

/* l: lock   t: the test */
struct heap_area {
	uint64_t            base; /* of the first window; the second one lies behind a gap */
	struct slab_header *maps[HEAP_AREA_WINDOWS];
	pthread_mutex_t     lock;
	bool                leased[HEAP_AREA_WINDOWS][HEAP_AREA_UNITS]; /* (l) */
	uint32_t            nr_leased; /* (l) units */
	uint32_t            nr_asked;  /* (l) calls of lease */
	uint32_t            largest;   /* (l) spans in one lease */
	uint32_t            nr_kicks;  /* (l) */
	struct heap_pool   *quick;     /* (l) whose keeper ticks before a kick returns */
	uint32_t            nr_wrong;  /* (l) */
	uint32_t            limit;     /* (t) units that may be leased at once */
	uint32_t            refuse;    /* (t) this call of lease fails, counted from 1; 0: none */
	bool                refuse_all; /* (t) and each one after it */
	bool                stingy;    /* (t) one span a lease, however many are asked for */
	bool                deaf;      /* (t) nothing comes back: who gives is killed at it */
	uint32_t            magazine_bytes; /* (t) of pools that are made; 0: each object that is
					     * freed shows in its slab at once */
};
extern struct heap_area heap_area;

/* Everything is free; windows of HEAP_AREA_UNITS together, of which at least one. */
void heap_area_begin(unsigned int windows);
/* Expects that every unit is back and nothing went wrong. */
void heap_area_end(void);
/* A process of the pool. */
struct heap_pool *heap_area_pool(uint32_t member, bool is_private);
/* As a process that dies: its heaps and itself are forgotten as they are. */
void heap_area_kill(struct heap_pool *hp);
/* Closes and frees it, after its heaps have been retired. */
void heap_area_close(struct heap_pool *hp);
void heap_area_retire(struct heap *h);

/* As mmb_malloc() and mmb_free() do it; 0: no memory. */
uint64_t heap_area_alloc(struct heap *h, unsigned int bin);
void heap_area_free(struct heap *h, uint64_t object);
uint64_t heap_area_run(struct heap *h, size_t size, size_t align);
uint64_t heap_area_grow(struct heap *h, uint64_t object, size_t size);
size_t heap_area_bulk(struct heap *h, unsigned int bin, size_t nr, void **out);
void heap_area_free_bulk(struct heap *h, void **objects, size_t nr);

/* Objects that a heap has gathered for others and not handed over. */
uint32_t heap_area_gathered(const struct heap *h);
/* Objects counted as handed out in all slabs of the area, and the units that slabs have. */
struct heap_area_use {
	uint64_t objects, units;
};
struct heap_area_use heap_area_use(void);

#endif
