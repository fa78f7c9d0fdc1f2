/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stash - objects of other heaps that a thread has freed, kept for its own next allocations
 *
 * Purpose     See stash.h.
 */
#include "heap/stash.h"

#include <sys/mman.h>

enum { END = 1 }; /* an odd address: no object */

static bool make_stashes(struct heap *h)
{
	void *stashes = mmap(NULL, SLAB_SIZE_CLASSES * sizeof(struct heap_stash),
			     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	h->stashes = stashes == MAP_FAILED ? NULL : stashes;
	return h->stashes;
}

static uint32_t room_of(uint32_t size)
{
	uint32_t nr = STASH_BYTES / size;

	return nr < 2 ? 2 : nr > STASH_OBJECTS ? STASH_OBJECTS : nr;
}

bool stash_keep(struct heap *h, const struct slab_header *s, uint64_t object)
{
	struct heap_stash *stash;

	if (!h->pool->is_private || s->bin >= SLAB_SIZE_CLASSES)
		return false;
	if (unlikely(!h->stashes) && !make_stashes(h))
		return false;
	stash = &h->stashes[s->bin];
	if (stash->nr >= room_of(s->size))
		return false;
	/* The thread may do nothing more. */
	if (!stash->nr)
		stock_kick(&h->pool->stock);
	stash->objects[stash->nr++] = object;
	return true;
}

bool stash_enter(struct heap *h, unsigned int bin)
{
	struct heap_stash *stash = h->stashes && bin < SLAB_SIZE_CLASSES ? &h->stashes[bin] : NULL;
	uint64_t next = END;

	if (!stash || !stash->nr)
		return false;
	for (uint32_t i = 0; i < stash->nr; i++) {
		*slab_word(stash->objects[i]) = next ^ stash->objects[i] ^ h->key;
		next = stash->objects[i];
	}
	stash->nr = 0;
	stash->slab.free = next;
	stash->real = h->bins[bin];
	heap_set_bin(h, bin, &stash->slab);
	return true;
}

void stash_leave(struct heap *h, unsigned int bin)
{
	struct heap_stash *stash = h->stashes && bin < SLAB_SIZE_CLASSES ? &h->stashes[bin] : NULL;

	if (!stash || !stash->real)
		return;
	while (!(stash->slab.free & 1) && stash->nr < STASH_OBJECTS) {
		uint64_t object = stash->slab.free;

		slab_pop(&stash->slab, object, h->key);
		stash->objects[stash->nr++] = object;
	}
	heap_set_bin(h, bin, stash->real);
	stash->real = NULL;
}

uint64_t stash_take(struct heap *h, unsigned int bin)
{
	struct heap_stash *stash = h->stashes && bin < SLAB_SIZE_CLASSES ? &h->stashes[bin] : NULL;

	uint64_t object;

	if (!stash)
		return 0;
	if (stash->nr)
		return stash->objects[--stash->nr];
	/* What there was no room for when the bin left. */
	object = stash->slab.free;
	if (!object || object & 1)
		return 0;
	slab_pop(&stash->slab, object, h->key);
	return object;
}

void stash_fini(struct heap *h)
{
	if (h->stashes)
		munmap(h->stashes, SLAB_SIZE_CLASSES * sizeof(struct heap_stash));
	h->stashes = NULL;
}
