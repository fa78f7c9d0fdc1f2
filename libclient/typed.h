/* SPDX-License-Identifier: Apache-2.0 */
/*
 * typed - typed caches: objects of one size and alignment, by name, of all clients of a pool
 *
 * Purpose     A cache is a bin of the pool's heaps with a number from the daemon; a handle says
 *             which.
 * Invariants  Y1  heap_pool.size[bin] is set before an object is asked for, to the same value in
 *                 every client.
 *             Y2  A handle keeps the pool handle's memory, not the pool open: after
 *                 mmb_pool_close() it is good for closing only.
 * Locking     pool.map_lock for the list of a pool's handles; no lock on a hit.
 * Not here    What the daemon knows of caches; reserves (mempool.c).
 */
#ifndef MMB_LIBCLIENT_TYPED_H
#define MMB_LIBCLIENT_TYPED_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

#include "heap/hit.h"
#include "object.h"
#include "pool.h"
#include "proto/wire.h"

/* c: fixed after open   a: atomic   m: pool.map_lock */
struct mmb_cache {
	struct mmb_pool      *pool; /* (c) counted */
	unsigned int          bin;  /* (c) */
	_Atomic uint32_t      refs; /* (a) the application's, and mempools' */
	LIST_ENTRY(mmb_cache) link; /* (m) */
	struct object_rule    rule, bulk_rule; /* (c) */
	struct object_want    want; /* (c) of a miss */
	char                  name[MMB_NAME_MAX + 1]; /* (c) */
};

/* 0, or why this handle can't be used, with its sentence. */
int  cache_check(const struct mmb_cache *cache);
void cache_handle_put(struct mmb_cache *cache);
/* Ends the process if an object of the cache doesn't begin there. False: the pool can't be looked
 * at (sentence recorded). */
bool cache_owns(struct mmb_cache *cache, void *object, const struct object_rule *rule);

/* 0: a miss. */
static inline uint64_t cache_hit(const struct mmb_cache *cache)
{
	struct heap *h = heap_current;
	struct heap_magazine *m;
	uint64_t object = 0;

	heap_enter(h);
	if (likely(heap_is_open(h, cache->pool))) {
		m = h->magazines[cache->bin];
		if (likely(m)) /* H8 of heap.h */
			object = hit_take(m);
	}
	heap_leave(h);
	return object;
}

#endif
