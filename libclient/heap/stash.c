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

bool stash_fill(struct heap *h, unsigned int bin)
{
	struct heap_stash *stash = &h->stashes[bin];
	struct slab_header *s = stash->real;
	uint64_t last = s->free, next;
	uint32_t nr = 1, most = batch_of(bin);

	if (last & 1)
		return false;
	while (!((next = stash_next(h, last)) & 1) && nr < most) {
		last = next;
		nr++;
	}
	*slab_word(last) = end_of(h) ^ last ^ h->key;
	stash->slab.free = s->free;
	stash->slab.left = 2 * most - nr;
	s->free = next;
	s->left += nr;
	return true;
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
	for (uint32_t i = 0; !(at & 1) && i < 2 * STASH_OBJECTS; i++, at = stash_next(h, at))
		if (at == object)
			return true;
	return false;
}
