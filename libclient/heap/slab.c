/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab - carving, collecting, changing owners, and making good what a dead owner left
 *
 * Purpose     See slab.h.
 */
#include "heap/slab.h"

#include <string.h>

#include "error.h"

/* As many objects as a magazine takes at once. The first ones of a slab are few: nobody has touched
 * its memory, and who waits for the first object waits for each line. */
enum {
	CARVE_BYTES = 4096,
	CARVE_OBJECTS = 64,
	CARVE_FIRST = 8,
	SLAB_OBJECTS_LIMIT = SLAB_UNIT_BYTES / 8,
};

_Noreturn void slab_die(const struct slab_header *s, uint64_t object, const char *what)
{
	die("libmmbroker: object %#llx of %u bytes: %s", (unsigned long long)object, s->size, what);
}

static uint64_t slab_end(const struct slab_view *v)
{
	return v->start + (uint64_t)v->slab->total * v->slab->size;
}

/* Kind last: what isn't a slab yet is no slab for a process that finds it after our death. */
void slab_init(const struct slab_view *v, const struct slab_make *make)
{
	struct slab_header *s = v->slab;

	s->free = slab_end_mark(v->start);
	s->slow_at = SLAB_SLOW_NEVER;
	s->left = 0 - s->slow_at;
	s->size = make->size;
	s->bin = make->bin;
	s->state = SLAB_ON_NONE;
	s->back = 0;
	s->units = make->units;
	s->fresh = v->start;
	s->bytes = 0;
	s->total = (uint32_t)((uint64_t)make->units * SLAB_UNIT_BYTES / make->size);
	s->first = (uint32_t)((uint64_t)s->total * (make->turn & 0xffff) >> 16);
	s->next = s->prev = 0;
	for (uint32_t i = 1; i < make->units; i++) {
		s[i].back = i;
		atomic_store_explicit(&s[i].shared, 0, memory_order_relaxed);
		atomic_store_explicit(&s[i].kind, SLAB_TAIL, memory_order_release);
	}
	atomic_store_explicit(&s->shared, shared_word(make->owner, 0, 0), memory_order_relaxed);
	atomic_store_explicit(&s->kind, SLAB_OBJECTS, memory_order_release);
}

void slab_fini(const struct slab_view *v)
{
	struct slab_header *s = v->slab;

	for (uint32_t i = 0; i < s->units; i++)
		atomic_store_explicit(&s[i].kind, SLAB_NONE, memory_order_release);
}

bool slab_has_unused(const struct slab_view *v)
{
	return v->slab->fresh < slab_end(v);
}

/* fresh moves first: objects that a death here loses are lost, never on two lists (B5). */
uint32_t slab_cut(const struct slab_view *v, uint32_t most, uint64_t *first)
{
	struct slab_header *s = v->slab;
	uint32_t handed = (uint32_t)(s->fresh - v->start) / s->size;
	uint32_t at = (handed + s->first) % s->total;
	uint32_t nr = s->size < CARVE_BYTES ? CARVE_BYTES / s->size : 1;

	most = most < (handed ? CARVE_OBJECTS : CARVE_FIRST) ? most :
	       handed ? CARVE_OBJECTS : CARVE_FIRST;
	nr = nr < most ? nr : most;
	nr = nr < s->total - handed ? nr : s->total - handed;
	nr = nr < s->total - at ? nr : s->total - at;
	s->fresh += (uint64_t)nr * s->size;
	atomic_signal_fence(memory_order_release);
	*first = v->start + (uint64_t)at * s->size;
	return nr;
}

bool slab_carve(const struct slab_view *v)
{
	struct slab_header *s = v->slab;
	uint64_t first, last;
	uint32_t nr = slab_cut(v, UINT32_MAX, &first);

	if (!nr)
		return false;
	last = first + (uint64_t)(nr - 1) * s->size;
	for (uint64_t object = first; object < last; object += s->size)
		*slab_word(object) = (object + s->size) ^ object ^ v->key;
	*slab_word(last) = s->free ^ last ^ v->key;
	atomic_signal_fence(memory_order_release);
	s->free = first;
	return true;
}

static uint64_t object_at(const struct slab_view *v, uint32_t head)
{
	return v->start + (uint64_t)(head - 1) * v->slab->size;
}

/* The next object of a list, an odd end mark, or 0: the word has been overwritten. */
static uint64_t next_of(const struct slab_view *v, uint64_t object)
{
	uint64_t word = *slab_word(object) ^ v->key;

	return word >> SLAB_SPAN_SHIFT ? 0 : word ^ object;
}

/* Links the end of a list of foreign frees to the owner's list. */
static void splice(const struct slab_view *v, uint64_t head, uint32_t count)
{
	struct slab_header *s = v->slab;
	uint64_t tail = head;

	if (!(s->free & 1)) {
		for (uint32_t i = 1; i < count; i++) {
			uint64_t next = next_of(v, tail);

			if (!next || next & 1)
				slab_die(s, tail, "the list of freed objects is broken");
			tail = next;
		}
		*slab_word(tail) = s->free ^ tail ^ v->key;
	}
	s->free = head;
}

bool slab_collect(const struct slab_view *v)
{
	struct slab_header *s = v->slab;
	uint64_t old = slab_shared(s);
	uint32_t count;

	if (!shared_count(old))
		return false;
	old = atomic_fetch_and_explicit(&s->shared, ~0xffffffffull, memory_order_acquire);
	count = shared_count(old);
	if (shared_head(old) > s->total || count > slab_used(s))
		slab_die(s, v->start, "the count of freed objects is wrong (double free)");
	splice(v, object_at(v, shared_head(old)), count);
	s->left -= count;
	return true;
}

bool slab_let_go(const struct slab_view *v)
{
	struct slab_header *s = v->slab;
	uint64_t mine = shared_word(slab_owner(s), 0, 0);

	s->state = SLAB_ON_NONE;
	s->next = s->prev = 0;
	return atomic_compare_exchange_strong_explicit(&s->shared, &mine, 0, memory_order_release,
						       memory_order_relaxed);
}

void slab_pass(const struct slab_view *v, uint32_t to)
{
	uint64_t old = slab_shared(v->slab);

	while (!atomic_compare_exchange_weak_explicit(
		&v->slab->shared, &old, (old & 0xffffffff) | (uint64_t)to << 32,
		memory_order_release, memory_order_relaxed))
		;
}

bool slab_adopt(const struct slab_view *v, uint32_t from, uint32_t to)
{
	uint64_t old = slab_shared(v->slab);

	while (shared_owner(old) == from)
		if (atomic_compare_exchange_weak_explicit(
			    &v->slab->shared, &old, (old & 0xffffffff) | (uint64_t)to << 32,
			    memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

void slab_chain_add(const struct slab_view *v, struct slab_chain *chain, uint64_t object)
{
	uint64_t next = chain->nr ? chain->head : slab_end_mark(v->start);

	*slab_word(object) = next ^ object ^ v->key;
	if (!chain->nr)
		chain->tail = object;
	chain->head = object;
	chain->nr++;
}

/* The slab had no owner, so it is full (B4) and its lists are empty. */
static void take_chain(const struct slab_view *v, const struct slab_chain *chain)
{
	struct slab_header *s = v->slab;

	if (chain->nr > slab_used(s))
		slab_die(s, chain->head, "more objects were freed than are in use (double free)");
	s->free = chain->head;
	s->left -= chain->nr;
	s->state = SLAB_ON_NONE;
}

uint32_t slab_push_foreign(const struct slab_view *v, const struct slab_chain *chain, uint32_t me)
{
	struct slab_header *s = v->slab;
	uint64_t old = slab_shared(s), new;
	uint32_t head = slab_index(v, chain->head) + 1;

	for (;;) {
		uint32_t owner = shared_owner(old), nr = shared_count(old) + chain->nr;

		if (owner == SLAB_NO_OWNER) {
			new = shared_word(me, 0, 0);
			*slab_word(chain->tail) = slab_end_mark(v->start) ^ chain->tail ^ v->key;
		} else {
			uint64_t next = shared_head(old) ? object_at(v, shared_head(old))
							 : slab_end_mark(v->start);

			if (nr > s->total)
				slab_die(s, chain->head, "more objects were freed than the slab "
					 "has (double free)");
			*slab_word(chain->tail) = next ^ chain->tail ^ v->key;
			new = shared_word(owner, head, nr);
		}
		if (atomic_compare_exchange_weak_explicit(&s->shared, &old, new,
							  memory_order_acq_rel,
							  memory_order_relaxed)) {
			if (owner == SLAB_NO_OWNER)
				take_chain(v, chain);
			return owner == SLAB_NO_OWNER ? me : owner;
		}
	}
}

/* ---- walks ---- */

struct walk {
	uint64_t seen[SLAB_OBJECTS_LIMIT / 64]; /* by index */
	uint32_t nr;
};

/* Marks a free object; false: it is none, or was seen before. */
static bool walk_one(const struct slab_view *v, uint64_t object, struct walk *w)
{
	uint32_t i;

	if (!slab_is_object(v, object) || !slab_was_handed(v, object))
		return false;
	i = slab_index(v, object);
	if (w->seen[i / 64] >> (i % 64) & 1)
		return false;
	w->seen[i / 64] |= 1ull << (i % 64);
	w->nr++;
	return true;
}

/* Marks the objects of a list until it ends or stops making sense; true: it ended. */
static bool walk_list(const struct slab_view *v, uint64_t object, struct walk *w)
{
	while (!(object & 1)) {
		if (!walk_one(v, object, w))
			return false;
		object = next_of(v, object);
		if (!object)
			return false;
	}
	return true;
}

/* Objects that live are written meanwhile by whoever has them. */
static __attribute__((no_sanitize("thread"))) void walk_marks(const struct slab_view *v,
							      struct walk *w)
{
	for (uint64_t at = v->start; at < slab_end(v); at += v->slab->size)
		if (*(volatile uint64_t *)slab_word(at) == slab_mark(v->key))
			walk_one(v, at, w);
}

static bool header_makes_sense(const struct slab_view *v)
{
	const struct slab_header *s = v->slab;
	uint64_t bytes = (uint64_t)s->units * SLAB_UNIT_BYTES;

	return s->units && s->units <= SLAB_UNITS_MAX && s->size >= 8 && s->bin < SLAB_BINS &&
	       s->total && s->total <= SLAB_OBJECTS_LIMIT && s->first < s->total &&
	       (uint64_t)s->total * s->size <= bytes && s->fresh >= v->start &&
	       s->fresh <= slab_end(v) && !((s->fresh - v->start) % s->size);
}

bool slab_rebuild(const struct slab_view *v)
{
	struct slab_header *s = v->slab;
	struct walk w = { .nr = 0 };
	uint64_t old;

	if (!header_makes_sense(v))
		return false;
	old = atomic_fetch_and_explicit(&s->shared, ~0xffffffffull, memory_order_acquire);
	walk_list(v, s->free, &w);
	if (shared_count(old) && shared_head(old) <= s->total)
		walk_list(v, object_at(v, shared_head(old)), &w);
	walk_marks(v, &w);
	s->free = slab_end_mark(v->start);
	for (uint32_t i = s->total; i--;)
		if (w.seen[i / 64] >> (i % 64) & 1)
			slab_push(s, object_at(v, i + 1), v->key);
	s->slow_at = SLAB_SLOW_NEVER;
	s->left = (uint32_t)((s->fresh - v->start) / s->size) - w.nr - s->slow_at;
	s->state = SLAB_ON_NONE;
	s->next = s->prev = 0;
	return true;
}

uint32_t slab_validate(const struct slab_view *v)
{
	const struct slab_header *s = v->slab;
	uint64_t shared = slab_shared(s);
	struct walk local = { .nr = 0 };
	uint32_t differences = 0, handed;

	if (slab_kind(s) != SLAB_OBJECTS || !header_makes_sense(v))
		return 1;
	differences += !walk_list(v, s->free, &local);
	handed = (uint32_t)((s->fresh - v->start) / s->size);
	differences += slab_used(s) + local.nr != handed;
	if (shared_count(shared)) {
		uint32_t before = local.nr;

		differences += shared_head(shared) > s->total ||
			       !walk_list(v, object_at(v, shared_head(shared)), &local);
		differences += local.nr - before != shared_count(shared);
	}
	return differences;
}

bool slab_has_free(const struct slab_view *v, uint64_t object)
{
	uint64_t at = v->slab->free;

	for (uint32_t i = 0; at && !(at & 1) && i <= v->slab->total; i++) {
		if (at == object)
			return true;
		at = next_of(v, at);
	}
	return false;
}
