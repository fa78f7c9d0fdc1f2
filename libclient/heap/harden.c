/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harden - objects that are freed with suspicion (MMB_CONF=harden)
 *
 * Purpose     See harden.h.
 */
#include "heap/harden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* h: H3 of heap.h */
struct heap_quarantine {
	uint32_t head, nr;                    /* (h) D2 */
	uint64_t bytes;                       /* (h) of the objects, D2 */
	uint64_t objects[QUARANTINE_OBJECTS]; /* (h) a ring */
};

/* ---- what an object looks like ---- */

static uint64_t mark_of(const struct slab_view *v, uint64_t object)
{
	return (v->start | 3) ^ object ^ v->key; /* D1: odd, and no end mark */
}

/* Whether a free list of that slab can have this as its head, or an object of it as its next. */
static bool is_link(const struct slab_view *v, uint64_t next)
{
	return next == slab_end_mark(v->start) || slab_is_object(v, next);
}

bool harden_is_free(const struct slab_view *v, uint64_t object)
{
	uint64_t word = *slab_word(object);

	return word == mark_of(v, object) || is_link(v, word ^ v->key ^ object);
}

/* The first byte that isn't 0 behind the first word; the size: there is none. */
static size_t first_written(uint64_t object, size_t size)
{
	const uint8_t *bytes = (const uint8_t *)(uintptr_t)object;
	size_t i = sizeof(uint64_t);

	while (i + sizeof(uint64_t) <= size && !*slab_word(object + i))
		i += sizeof(uint64_t);
	while (i < size && !bytes[i])
		i++;
	return i;
}

static void check_zero(const struct slab_header *s, uint64_t object)
{
	size_t at = first_written(object, s->size);
	char what[80];

	if (at >= s->size)
		return;
	snprintf(what, sizeof(what), "byte %zu was written after the object was freed", at);
	slab_die(s, object, what);
}

/* ---- freeing ---- */

static void leave_oldest(struct heap *h, struct heap_quarantine *q)
{
	uint64_t object = q->objects[q->head];
	struct slab_view v = heap_slab_of(h->pool, object);

	q->head = (q->head + 1) % QUARANTINE_OBJECTS;
	q->nr--;
	q->bytes -= v.slab->size;
	if (*slab_word(object) != mark_of(&v, object))
		slab_die(v.slab, object, "its first bytes were written after it was freed");
	check_zero(v.slab, object);
	heap_free_object(h, &v, object);
}

void harden_free(struct heap *h, const struct slab_view *v, uint64_t object)
{
	struct heap_quarantine *q = h->quarantine;
	uint32_t size = v->slab->size;

	memset((void *)(uintptr_t)object, 0, size);
	if (!q)
		q = h->quarantine = calloc(1, sizeof(*q));
	if (!q) {
		heap_free_object(h, v, object);
		return;
	}
	while (q->nr && (q->nr == QUARANTINE_OBJECTS || q->bytes + size > QUARANTINE_BYTES))
		leave_oldest(h, q);
	/* A thread that only frees isn't idle; what it leaves is found by a visit. */
	atomic_store_explicit(&h->nr_slow, h->nr_slow + 1, memory_order_relaxed);
	if (!q->nr)
		stock_kick(&h->pool->stock);
	*slab_word(object) = mark_of(v, object);
	q->objects[(q->head + q->nr++) % QUARANTINE_OBJECTS] = object;
	q->bytes += size;
}

bool harden_has_any(const struct heap *h)
{
	return h->quarantine && h->quarantine->nr;
}

void harden_flush(struct heap *h)
{
	while (harden_has_any(h))
		leave_oldest(h, h->quarantine);
}

void harden_fini(struct heap *h)
{
	free(h->quarantine);
	h->quarantine = NULL;
}

/* ---- allocating ---- */

void harden_new_slab(const struct heap_pool *hp, const struct slab_view *v)
{
	if (hp->harden && hp->is_private)
		memset((void *)(uintptr_t)v->start, 0, (size_t)v->slab->units * SLAB_UNIT_BYTES);
}

/* The object was the head of its slab's list, which its word has made the next one. */
uint64_t harden_alloc(struct heap *h, unsigned int bin)
{
	uint64_t object = heap_alloc(h, bin);
	struct slab_view v;

	if (!object)
		return 0;
	v = heap_slab_view(h->pool, h->bins[bin]);
	if (!slab_is_object(&v, object) || !is_link(&v, v.slab->free))
		slab_die(v.slab, object, "its first bytes were written after it was freed, or its "
			 "slab's list of free objects was overwritten");
	if (h->pool->is_private)
		check_zero(v.slab, object);
	return object;
}
