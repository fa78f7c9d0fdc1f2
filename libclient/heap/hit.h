/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hit - allocating and freeing where the heap has what it takes at hand
 *
 * Purpose     The few loads and stores that mmb_malloc, typed caches and their frees have in
 *             common, to be inlined there. Everything else is a miss and behind a call.
 * Invariants  A1  Between heap_enter() and heap_leave() the heap is looked at again: a visitor may
 *                 have closed it.
 * Locking     none: the thread, inside its heap (H3 of heap.h).
 */
#ifndef MMB_LIBCLIENT_HEAP_HIT_H
#define MMB_LIBCLIENT_HEAP_HIT_H

#include "heap/heap.h"

/* A1 */
static inline bool heap_is_open(struct heap *h, const struct mmb_pool *pool)
{
	return atomic_load_explicit(&h->open_pool, memory_order_acquire) == pool;
}

/* An object of the slab a bin works in. False: its free list is empty. */
static inline bool hit_take(struct heap *h, struct slab_header *s, uint64_t *object)
{
	*object = s->hot;
	if (likely(*object)) {
		s->hot = 0;
		return true;
	}
	*object = s->free;
	if (unlikely(*object & 1))
		return false;
	slab_pop(s, *object, h->key);
	return true;
}

enum hit_put {
	HIT_DONE,
	HIT_MORE,  /* done, and heap_free_more() has to be called */
	HIT_OTHER, /* nothing done: somebody else's slab, or perhaps a double free */
};

/* An object of the unit that s is the header of. */
static inline enum hit_put hit_put(struct heap *h, struct slab_header *s, uint64_t object)
{
	if (unlikely(slab_owner(s) != h->id || slab_looks_free(object, h->key)))
		return HIT_OTHER;
	if (likely(!s->hot)) {
		s->hot = object;
		return HIT_DONE;
	}
	if (unlikely(s->hot == object))
		return HIT_OTHER;
	slab_push(s, object, h->key);
	return unlikely(!--s->left) ? HIT_MORE : HIT_DONE;
}

#endif
