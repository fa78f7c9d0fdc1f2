/* SPDX-License-Identifier: Apache-2.0 */
/*
 * magazine - free objects of one bin that a thread has at hand, in front of the slabs
 *
 * Purpose     See magazine.h.
 */
#include "heap/magazine.h"

#include <stdlib.h>
#include <string.h>

#include "heap/hit.h"
#include "heap/relay.h"

/* Objects: a line that is written comes before it is its turn. Unused ones lie side by side. */
enum { FILL_AHEAD = 16 };

struct heap_magazine magazine_none = {
	.top = magazine_none.slots,
	.limit = magazine_none.slots,
	.spilled = MAGAZINE_BURST,
	.slots = { 0 },
};

static uint32_t room_of(const struct heap_pool *hp, unsigned int bin, uint32_t growth)
{
	uint32_t size = atomic_load_explicit(&hp->bins[bin].size, memory_order_relaxed);
	uint32_t nr = size ? hp->magazine_bytes / size : 0;

	return growth * (nr < 1 ? 1 : nr > MAGAZINE_OBJECTS ? MAGAZINE_OBJECTS : nr);
}

/* An empty one instead of an empty one. */
static bool renew(struct heap *h, unsigned int bin, uint32_t growth)
{
	struct heap_magazine *old = h->magazines[bin], *m;
	uint32_t room = room_of(h->pool, bin, growth);

	m = malloc(sizeof(*m) + (room + 1) * sizeof(m->slots[0]));
	if (!m)
		return false;
	*m = (struct heap_magazine){ .top = m->slots, .limit = m->slots + room, .growth = growth };
	m->seen = m->slots;
	m->slots[0] = 0;
	heap_set_magazine(h, bin, m);
	if (old != &magazine_none)
		free(old);
	return true;
}

/* As it is after it was filled. */
static void begin_anew(const struct heap_pool *hp, unsigned int bin, struct heap_magazine *m)
{
	m->limit = m->slots + room_of(hp, bin, m->growth);
	m->spilled = 0;
}

bool magazine_make(struct heap *h, unsigned int bin)
{
	if (h->magazines[bin] != &magazine_none)
		return true;
	return h->pool->magazine_bytes && renew(h, bin, 1);
}

/* Whoever allocates nothing would keep one that is full, or was emptied after a burst. */
static bool make_room(struct heap_pool *hp, unsigned int bin, struct heap_magazine *m)
{
	if (m->limit != m->slots)
		return relay_put(hp, bin, m);
	if (!relay_has_room(hp, bin))
		return false;
	begin_anew(hp, bin, m);
	return true;
}

bool magazine_keep(struct heap *h, const struct slab_header *s, uint64_t object)
{
	struct heap_magazine *m;

	if (!h->pool->is_private || s->bin >= SLAB_BINS)
		return false;
	heap_need_bin(h, s->bin);
	if (!magazine_make(h, s->bin))
		return false;
	m = h->magazines[s->bin];
	if (m->top == m->limit) {
		/* Not by these to a burst: that is of a thread's own objects. */
		if (m->spilled < MAGAZINE_BURST - 1)
			m->spilled++;
		if (!make_room(h->pool, s->bin, m))
			return false;
	}
	/* The thread may do nothing more. */
	if (m->top == m->slots)
		stock_kick(&h->pool->stock);
	*slab_word(object) = slab_mark(h->key);
	*++m->top = object;
	return true;
}

static bool may_double(const struct heap *h, unsigned int bin)
{
	const struct heap_magazine *m = h->magazines[bin];
	uint64_t size = atomic_load_explicit(&h->pool->bins[bin].size, memory_order_relaxed);

	if (!m->spilled || m->spilled == MAGAZINE_BURST || m->growth == MAGAZINE_GROWTH)
		return false;
	return size <= MAGAZINE_GROWN_OBJECT ||
	       room_of(h->pool, bin, m->growth * 2) * size <= MAGAZINE_GROWN_BYTES;
}

/* Empty; a larger one, if it overflowed since it was filled. */
static struct heap_magazine *grow(struct heap *h, unsigned int bin)
{
	if (may_double(h, bin))
		renew(h, bin, h->magazines[bin]->growth * 2);
	return h->magazines[bin];
}

/* What is on the slab's list, in its order. The slab forgets them before they are marked (B5 of
 * slab.h). */
static uint32_t fill_free(struct heap_magazine *m, struct slab_header *s, uint32_t want,
			  uint64_t key)
{
	uint64_t at = s->free;
	uint32_t nr = 0;

	while (nr < want && !(at & 1)) {
		m->slots[want - nr++] = at;
		at = *slab_word(at) ^ key ^ at;
	}
	s->free = at;
	s->left += nr;
	atomic_signal_fence(memory_order_release);
	if (nr < want)
		memmove(m->slots + 1, m->slots + 1 + want - nr, nr * sizeof(m->slots[0]));
	for (uint32_t i = 1; i <= nr; i++)
		*slab_word(m->slots[i]) = slab_mark(key);
	return nr;
}

/* The slab is used up soon. What comes then is the oldest full one, which is let go, and as a rule
 * the unit behind this one: their headers come meanwhile. */
static void expect_next(struct heap *h, const struct slab_header *s)
{
	uint64_t full = (uintptr_t)h->cold[s->bin].full_head, next = (uintptr_t)(s + s->units);

	for (uint64_t line = 0; line < SLAB_HEADER_BYTES; line += 64) {
		hit_fetch(full + line);
		hit_fetch(next + line);
	}
}

/* Some that nobody has used yet. */
static uint32_t fill_unused(struct heap *h, struct heap_magazine *m, struct slab_header *s,
			    uint32_t want)
{
	struct slab_view v = heap_slab_view(h->pool, s);
	/* Read once: for the compiler each mark could be written over them. */
	const uint64_t mark = slab_mark(h->key), size = s->size, ahead = FILL_AHEAD * size;
	uint64_t first, object;
	uint32_t nr = slab_cut(&v, want, &first);

	object = first; /* a register, which `first` can't be */
	s->left += nr;
	h->counts.carved++;
	if (!slab_has_unused(&v))
		expect_next(h, s);
	for (uint64_t *slot = m->slots + nr; slot > m->slots; slot--, object += size) {
		hit_fetch(object + ahead);
		*slot = object;
		*slab_word(object) = mark;
	}
	return nr;
}

/* Half of its room, so that what is freed next has some. */
void magazine_fill(struct heap *h, unsigned int bin)
{
	struct heap_magazine *m = grow(h, bin);
	struct slab_header *s = h->bins[bin];
	uint32_t want;

	begin_anew(h->pool, bin, m);
	want = (uint32_t)(m->limit - m->slots + 1) / 2;
	m->top = m->slots + (s->free & 1 ? fill_unused(h, m, s, want) :
					   fill_free(m, s, want, h->key));
}

bool magazine_fill_handed(struct heap *h, unsigned int bin)
{
	struct heap_magazine *m;

	if (h->magazines[bin] == &magazine_none || !relay_has_any(h->pool, bin))
		return false;
	m = grow(h, bin);
	begin_anew(h->pool, bin, m);
	return relay_take(h->pool, bin, m);
}

uint64_t magazine_take(struct heap *h, unsigned int bin)
{
	struct heap_magazine *m = h->magazines[bin];

	return m->top == m->slots ? 0 : *m->top--;
}

size_t magazine_take_many(struct heap *h, unsigned int bin, size_t nr, void **out)
{
	struct heap_magazine *m = h->magazines[bin];
	uint64_t *top = m->top;
	size_t has = (size_t)(top - m->slots);

	if (nr > has)
		nr = has;
	if (!nr) /* M5 */
		return 0;
	m->top = top - nr;
	/* Not before the magazine ends below them (B5 of slab.h). */
	atomic_signal_fence(memory_order_release);
	for (size_t i = 0; i < nr; i++, top--) {
		out[i] = (void *)(uintptr_t)*top;
		*slab_word(*top) = 0;
	}
	return nr;
}

size_t magazine_put_many(struct heap *h, const struct slab_view *v, size_t nr, void **objects)
{
	/* Read once, as in fill_unused(). */
	const uint64_t key = v->key, start = v->start, mark = slab_mark(key);
	const uint64_t bytes = (uint64_t)v->slab->total * v->slab->size;
	struct heap_magazine *m;
	size_t i, room;
	uint64_t *top;

	if (!magazine_make(h, v->slab->bin))
		return 0;
	m = h->magazines[v->slab->bin];
	top = m->top;
	room = (size_t)(m->limit - top);
	if (nr > room)
		nr = room;
	for (i = 0; i < nr; i++) {
		uint64_t object = (uintptr_t)objects[i];

		if (object - start >= bytes || slab_looks_free(object, key))
			break;
		*++top = object;
		*slab_word(object) = mark;
	}
	m->top = top;
	return i;
}

void magazine_spill(struct heap *h, unsigned int bin, size_t nr)
{
	struct heap_magazine *m = h->magazines[bin];
	uint32_t left = MAGAZINE_BURST - m->spilled;

	if (!left)
		return;
	m->spilled += nr < left ? (uint32_t)nr : left;
	if (m->spilled == MAGAZINE_BURST)
		magazine_burst(h, bin);
}

bool magazine_has_any(const struct heap *h, unsigned int bin)
{
	return h->magazines[bin]->top != h->magazines[bin]->slots;
}

void magazine_burst(struct heap *h, unsigned int bin)
{
	struct heap_magazine *m = h->magazines[bin];

	if (m == &magazine_none)
		return;
	heap_flush_magazine(h, bin);
	m->limit = m->slots;
}

bool magazine_is_idle(struct heap *h, unsigned int bin)
{
	struct heap_magazine *m = h->magazines[bin];
	bool idle = m->top == m->seen;

	m->seen = m->top;
	return idle;
}

bool magazine_is_wrong(const struct heap_pool *hp, unsigned int bin, uint64_t object)
{
	struct slab_view v = heap_slab_of(hp, object);

	return *slab_word(object) != slab_mark(hp->key) || !slab_is_object(&v, object) ||
	       v.slab->bin != bin;
}

uint32_t magazine_validate(const struct heap *h, unsigned int bin)
{
	const struct heap_magazine *m = h->magazines[bin];
	uint32_t differences = m->slots[0] != 0 || m->top > m->limit || m->top < m->slots;

	for (const uint64_t *at = m->slots + 1; !differences && at <= m->top; at++) {
		differences += magazine_is_wrong(h->pool, bin, *at);
		differences += !h->pool->is_private &&
			       slab_owner(heap_slab_of(h->pool, *at).slab) != h->id;
	}
	return differences;
}

void magazine_fini(struct heap *h)
{
	for (unsigned int b = 0; b < h->nr_bins; b++) {
		if (h->magazines[b] != &magazine_none)
			free(h->magazines[b]);
		h->magazines[b] = &magazine_none;
	}
}
