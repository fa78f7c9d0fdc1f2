/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay - free objects on their way from threads that free to threads that allocate
 *
 * Purpose     See relay.h.
 */
#include "heap/relay.h"

#include <stdlib.h>
#include <string.h>

#include "heap/hit.h"

/* A batch is what a small magazine holds at most. */
enum { RELAY_BATCHES = 4, RELAY_OBJECTS = MAGAZINE_OBJECTS };

enum relay_state { RELAY_EMPTY, RELAY_BUSY, RELAY_FULL };

/* s: whoever made it BUSY */
struct relay_batch {
	uint64_t objects[RELAY_OBJECTS]; /* (s) */
};

/* a: atomic   s: as above. All that tells where something is are one line. */
struct relay {
	_Alignas(64) _Atomic uint8_t state[RELAY_BATCHES]; /* (a) enum relay_state */
	_Atomic bool                 used; /* (a) since the last visit */
	uint32_t                     nr[RELAY_BATCHES]; /* (s) */
	_Alignas(64) struct relay_batch batches[RELAY_BATCHES];
};

static struct relay *relay_of(const struct heap_pool *hp, unsigned int bin)
{
	return atomic_load_explicit(&hp->bins[bin].relay, memory_order_acquire);
}

static struct relay *make(struct heap_pool *hp, unsigned int bin)
{
	struct relay *old = relay_of(hp, bin), *r;

	if (old)
		return old;
	r = aligned_alloc(_Alignof(struct relay), sizeof(*r));
	if (!r)
		return NULL;
	memset(r, 0, sizeof(*r));
	if (atomic_compare_exchange_strong(&hp->bins[bin].relay, &old, r))
		return r;
	free(r);
	return old;
}

/* A batch in that state is made BUSY; RELAY_BATCHES: there is none. */
static uint32_t claim(struct relay *r, uint8_t state)
{
	for (uint32_t i = 0; i < RELAY_BATCHES; i++) {
		uint8_t old = atomic_load_explicit(&r->state[i], memory_order_relaxed);

		if (old == state &&
		    atomic_compare_exchange_strong_explicit(&r->state[i], &old, RELAY_BUSY,
							    memory_order_acquire,
							    memory_order_relaxed))
			return i;
	}
	return RELAY_BATCHES;
}

static void release(struct relay *r, uint32_t i, uint8_t state)
{
	if (!atomic_load_explicit(&r->used, memory_order_relaxed))
		atomic_store_explicit(&r->used, true, memory_order_relaxed);
	atomic_store_explicit(&r->state[i], state, memory_order_release);
}

bool relay_put(struct heap_pool *hp, unsigned int bin, struct heap_magazine *m)
{
	uint32_t nr = (uint32_t)(m->top - m->slots + 1) / 2, i;
	struct relay *r = nr ? make(hp, bin) : NULL;

	if (!r)
		return false;
	i = claim(r, RELAY_EMPTY);
	if (i == RELAY_BATCHES)
		return false;
	nr = nr < RELAY_OBJECTS ? nr : RELAY_OBJECTS;
	m->top -= nr;
	memcpy(r->batches[i].objects, m->top + 1, nr * sizeof(*m->top));
	r->nr[i] = nr;
	release(r, i, RELAY_FULL);
	stock_kick(&hp->stock);
	return true;
}

static bool has(struct relay *r, uint8_t state)
{
	for (uint32_t i = 0; r && i < RELAY_BATCHES; i++)
		if (atomic_load_explicit(&r->state[i], memory_order_relaxed) == state)
			return true;
	return false;
}

bool relay_has_room(struct heap_pool *hp, unsigned int bin)
{
	return has(make(hp, bin), RELAY_EMPTY);
}

bool relay_has_any(struct heap_pool *hp, unsigned int bin)
{
	return has(relay_of(hp, bin), RELAY_FULL);
}

bool relay_take(struct heap_pool *hp, unsigned int bin, struct heap_magazine *m)
{
	uint32_t room = (uint32_t)(m->limit - m->slots);
	struct relay *r = relay_of(hp, bin);
	uint32_t i = r ? claim(r, RELAY_FULL) : RELAY_BATCHES, nr;

	if (i == RELAY_BATCHES)
		return false;
	nr = r->nr[i] < room ? r->nr[i] : room;
	r->nr[i] -= nr;
	memcpy(m->slots + 1, r->batches[i].objects + r->nr[i], nr * sizeof(*m->top));
	m->top = m->slots + nr;
	/* Another CPU has written them last. */
	for (const uint64_t *at = m->top; at > m->slots; at--)
		hit_fetch(*at);
	release(r, i, r->nr[i] ? RELAY_FULL : RELAY_EMPTY);
	return true;
}

/* ---- visits ---- */

/* Slabs that nobody owned are the shelf's then. */
static void put_back_locked(struct heap_pool *hp, uint64_t object)
{
	struct slab_view v = heap_slab_of(hp, object);
	struct slab_chain chain = { .nr = 0 };
	uint32_t shelf = heap_shelf_id(hp);

	slab_chain_add(&v, &chain, object);
	if (slab_push_foreign(&v, &chain, shelf) != shelf || v.slab->state != SLAB_ON_NONE)
		return;
	if (slab_used(v.slab))
		heap_shelve_locked(hp, &v);
	else
		heap_release(hp, &v);
}

bool relay_tidy_locked(struct heap_pool *hp, bool all)
{
	bool more = false;

	for (unsigned int b = 0; hp->is_private && b < SLAB_BINS; b++) {
		struct relay *r = relay_of(hp, b);
		uint32_t i;

		if (!r)
			continue;
		if (atomic_exchange_explicit(&r->used, false, memory_order_relaxed) && !all) {
			more = true;
			continue;
		}
		while ((i = claim(r, RELAY_FULL)) != RELAY_BATCHES) {
			for (uint32_t o = 0; o < r->nr[i]; o++)
				put_back_locked(hp, r->batches[i].objects[o]);
			atomic_store_explicit(&r->state[i], RELAY_EMPTY, memory_order_release);
		}
	}
	return more;
}

uint32_t relay_validate(const struct heap_pool *hp)
{
	uint32_t differences = 0;

	for (unsigned int b = 0; b < SLAB_BINS; b++) {
		const struct relay *r = relay_of(hp, b);

		for (uint32_t i = 0; r && i < RELAY_BATCHES; i++) {
			if (r->state[i] == RELAY_FULL)
				for (uint32_t o = 0; o < r->nr[i]; o++)
					differences += magazine_is_wrong(hp, b,
									 r->batches[i].objects[o]);
			else
				differences += r->state[i] != RELAY_EMPTY;
		}
	}
	return differences;
}

void relay_fini(struct heap_pool *hp)
{
	for (unsigned int b = 0; b < SLAB_BINS; b++)
		free(relay_of(hp, b));
}
