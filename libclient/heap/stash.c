/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stash - what a thread freed last of a size class, whatever slabs it is of
 *
 * Purpose     See stash.h.
 */
#include "heap/stash.h"

static uint32_t batch_of(unsigned int bin)
{
	uint32_t nr = STASH_BYTES / size_of_bin(bin);

	return nr < STASH_LEAST ? STASH_LEAST : nr > STASH_OBJECTS ? STASH_OBJECTS : nr;
}

/* Its neighbours in lists have most of their address in common with it (B3 of slab.h). */
static uint64_t end_of(const struct heap *h)
{
	return slab_end_mark(h->base);
}

void stash_enter(struct heap *h, unsigned int bin)
{
	struct heap_stash *stash;

	if (!h->pool->is_private || h->pool->harden || bin >= SLAB_SIZE_CLASSES ||
	    stash_works(h, bin))
		return;
	/* The thread may do nothing more. */
	stock_kick(&h->pool->stock);
	stash = &h->stashes[bin];
	stash->real = h->bins[bin];
	if (stash->real != &slab_none)
		slab_close_hot(stash->real, h->key);
	stash->slab.free = end_of(h);
	stash->slab.hot = 0;
	stash->slab.left = 2 * batch_of(bin);
	heap_set_bin(h, bin, &stash->slab);
}

uint64_t stash_leave(struct heap *h, unsigned int bin)
{
	struct heap_stash *stash;
	uint64_t chain;

	if (!stash_works(h, bin))
		return end_of(h);
	stash = &h->stashes[bin];
	slab_close_hot(&stash->slab, h->key);
	chain = stash->slab.free;
	stash->slab.free = end_of(h);
	stash->slab.left = 0;
	if (stash->real != &slab_none)
		stash->real->hot = 0;
	heap_set_bin(h, bin, stash->real);
	return chain;
}

uint64_t stash_next(const struct heap *h, uint64_t object)
{
	return *slab_word(object) ^ object ^ h->key;
}

/* Objects on the list of a slab whose hot is closed (B2 of slab.h). */
static uint32_t listed(const struct slab_view *v)
{
	return (uint32_t)(v->slab->fresh - v->start) / v->slab->size - slab_used(v->slab);
}

/* The list after its first nr objects. To walk is to wait for each of them. */
static uint64_t cut(struct heap *h, uint64_t last, uint32_t nr)
{
	uint64_t next;

	for (; --nr; last = next) {
		next = stash_next(h, last);
		if (next & 1)
			return next;
	}
	next = stash_next(h, last);
	*slab_word(last) = end_of(h) ^ last ^ h->key;
	return next;
}

void stash_fill(struct heap *h, const struct slab_view *v)
{
	struct slab_header *s = v->slab;
	struct heap_stash *stash = &h->stashes[s->bin];
	uint32_t batch = batch_of(s->bin), nr = listed(v);
	uint64_t first = s->free;

	if (nr <= 2 * batch || nr <= STASH_WHOLE) {
		s->free = slab_end_mark(v->start);
	} else {
		nr = batch;
		s->free = cut(h, first, nr);
	}
	s->left += nr;
	stash->slab.free = first;
	stash->slab.left = nr < 2 * batch ? 2 * batch - nr : 0;
}

bool stash_has(const struct heap *h, unsigned int bin, uint64_t object)
{
	const struct slab_header *s;
	uint64_t at;

	if (!stash_works(h, bin))
		return false;
	s = h->bins[bin];
	if (s->hot == object)
		return true;
	if (!slab_looks_free(object, h->key))
		return false;
	at = s->free;
	for (uint32_t i = 0; !(at & 1) && i <= 2 * STASH_OBJECTS; i++, at = stash_next(h, at))
		if (at == object)
			return true;
	return false;
}
