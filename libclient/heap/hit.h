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

/* A1. Compilers don't compare with an atomic where it lies, but load it first, and these are hit by
 * every call: hence the instruction. What comes after isn't moved before it. */
static inline bool heap_is_open(struct heap *h, const struct mmb_pool *pool)
{
#ifdef MMB_ASYM_PLAIN
	return atomic_load_explicit(&h->open_pool, memory_order_acquire) == pool;
#else
	bool same;

	__asm__ volatile("cmpq %2, %1" : "=@cce"(same) : "m"(h->open_pool), "r"(pool) : "memory");
	return same;
#endif
}

/* The same of the window: offset is from the heap's base. */
static inline bool heap_is_home(struct heap *h, uint64_t offset)
{
#ifdef MMB_ASYM_PLAIN
	return offset < atomic_load_explicit(&h->open_length, memory_order_acquire);
#else
	bool below;

	__asm__ volatile("cmpq %1, %2"
			 : "=@ccb"(below) : "m"(h->open_length), "r"(offset) : "memory");
	return below;
#endif
}

/* To be written soon: the line comes meanwhile. Nothing happens where nothing is mapped. */
static inline void hit_fetch(uint64_t object)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw (%0)" : : "r"(object));
#else
	__builtin_prefetch((const void *)(uintptr_t)object, 1);
#endif
}

/* 0: the magazine is empty. The mark would make the object look free. */
static inline uint64_t hit_take(struct heap_magazine *m)
{
	uint64_t *top = m->top, object = *top;

	if (unlikely(!object))
		return 0;
	m->top = top - 1;
	*slab_word(object) = 0;
	return object;
}

enum hit_put {
	HIT_DONE,
	HIT_MORE,  /* done, and heap_put_more() has to be called */
	HIT_OTHER, /* nothing done: somebody else's slab, or perhaps a double free */
};

/* An object of that unit of home. */
static inline enum hit_put hit_put(struct heap *h, uint64_t unit, uint64_t object)
{
	struct heap_magazine *m = h->of_unit[unit];
	struct slab_header *s;
	uint64_t *top;

	if (unlikely(!m || slab_looks_free(object, h->key)))
		return HIT_OTHER;
	top = m->top;
	if (likely(top != m->limit)) {
		top[1] = object;
		m->top = top + 1;
		*slab_word(object) = h->free_mark;
		return HIT_DONE;
	}
	/* Read once more, so that the way above needn't keep it in a register. */
	s = h->map + unit;
	slab_push(s, object, *(const volatile uint64_t *)&h->key);
	/* M5: one of the two is never written. */
	if (m->spilled < MAGAZINE_BURST && ++m->spilled == MAGAZINE_BURST) {
		s->left--;
		return HIT_MORE;
	}
	return unlikely(!--s->left) ? HIT_MORE : HIT_DONE;
}

/* An object of whatever slab, in a private pool, where the magazine has room and somebody will look
 * at it in a while: the thread may do nothing more. False: nothing done. */
static inline bool hit_keep(struct heap *h, const struct slab_header *s, uint64_t object)
{
	struct heap_magazine *m;

	hit_fetch(object);
	if (!h->keeps_any || slab_kind(s) != SLAB_OBJECTS || slab_looks_free(object, h->key) ||
	    (uint32_t)(object & (SLAB_UNIT_BYTES - 1)) % s->size)
		return false;
	m = h->magazines[s->bin];
	if (unlikely(!m) || m->top == m->limit) /* H8 of heap.h */
		return false;
	if (m->top == m->slots &&
	    !atomic_load_explicit(&h->pool->stock.kicked, memory_order_relaxed))
		return false;
	*++m->top = object;
	*slab_word(object) = h->free_mark;
	return true;
}

#endif
