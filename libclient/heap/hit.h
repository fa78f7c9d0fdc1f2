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

/* An object of that bin, of whatever slab. Not done: the bin doesn't work from its stash, or that
 * is full (T2, T3 of stash.h). */
static inline enum hit_put hit_stash(struct heap *h, unsigned int bin, uint64_t object)
{
	struct slab_header *s;

	if (unlikely(bin >= SLAB_SIZE_CLASSES))
		return HIT_OTHER;
	s = &h->stashes[bin].slab;
	if (unlikely(!s->left || s->hot == object))
		return HIT_OTHER;
	if (!s->hot) {
		s->hot = object;
		return HIT_DONE;
	}
	slab_push(s, object, h->key);
	s->left--;
	return HIT_DONE;
}

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
	if (s->hot == SLAB_HOT_CLOSED && hit_stash(h, s->bin, object) == HIT_DONE)
		return HIT_DONE;
	slab_push(s, object, h->key);
	return unlikely(!--s->left) ? HIT_MORE : HIT_DONE;
}

/* The unit is a further one of a large object's slab. False: no object begins there. */
static inline bool hit_first_unit(struct slab_header **s, uint64_t object)
{
	struct slab_view v = { .start = object >> SLAB_UNIT_SHIFT << SLAB_UNIT_SHIFT };

	if ((*s)->back >= SLAB_UNITS_MAX)
		return false;
	v.start -= (uint64_t)(*s)->back << SLAB_UNIT_SHIFT;
	*s -= (*s)->back;
	v.slab = *s;
	return slab_is_object(&v, object);
}

/* The same behind HIT_OTHER: of a slab of others, or of a unit behind the first of its slab. */
static inline enum hit_put hit_put_other(struct heap *h, struct slab_header *s, uint64_t object)
{
	if (slab_kind(s) == SLAB_TAIL && !hit_first_unit(&s, object))
		return HIT_OTHER;
	if (slab_kind(s) != SLAB_OBJECTS || slab_looks_free(object, h->key))
		return HIT_OTHER;
	if (!s->hot && slab_owner(s) == h->id) {
		s->hot = object;
		return HIT_DONE;
	}
	return hit_stash(h, s->bin, object);
}

#endif
