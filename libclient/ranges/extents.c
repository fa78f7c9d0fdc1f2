/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extents - the memory of a range heap in address order, and its free parts by size
 *
 * Purpose     See extents.h. The bins are those of two-level segregated fit.
 */
#include "ranges/extents.h"

#include <stdlib.h>

enum { FRESH, USED };

void extents_init(struct extents *x)
{
	TAILQ_INIT(&x->order);
	for (int used = FRESH; used <= USED; used++) {
		for (int b = 0; b < EXTENT_BINS; b++)
			LIST_INIT(&x->bins[used][b]);
		for (int i = 0; i < EXTENT_BINS / 64; i++)
			x->filled[used][i] = 0;
	}
}

/* ---- bins ---- */

static unsigned int bin_of(uint64_t length)
{
	uint64_t steps = length / RANGE_STEP;
	unsigned int shift;

	if (steps >> EXTENT_SUBBINS_SHIFT == 0)
		return (unsigned int)steps;
	shift = 63 - (unsigned int)__builtin_clzll(steps) - EXTENT_SUBBINS_SHIFT;
	return (shift << EXTENT_SUBBINS_SHIFT) + (unsigned int)(steps >> shift);
}

static bool was_used(const struct extent *e)
{
	for (uint64_t at = range_page_down(e->address); at < extent_end(e); at += RANGE_PAGE)
		if (atomic_load_explicit(&range_page(at)->freed_ms, memory_order_relaxed))
			return true;
	return false;
}

static void bin_add(struct extents *x, struct extent *e)
{
	unsigned int b = bin_of(e->length);

	e->state = EXTENT_FREE;
	e->used = was_used(e);
	LIST_INSERT_HEAD(&x->bins[e->used][b], e, bin);
	x->filled[e->used][b / 64] |= 1ull << b % 64;
}

static void bin_del(struct extents *x, struct extent *e)
{
	unsigned int b = bin_of(e->length);

	LIST_REMOVE(e, bin);
	if (LIST_EMPTY(&x->bins[e->used][b]))
		x->filled[e->used][b / 64] &= ~(1ull << b % 64);
}

/* The next bin from b on that has something; EXTENT_BINS: none. */
static unsigned int next_filled(const uint64_t *filled, unsigned int b)
{
	for (unsigned int word = b / 64; word < EXTENT_BINS / 64; word++) {
		uint64_t bits = filled[word];

		if (word == b / 64)
			bits &= ~0ull << b % 64;
		if (bits)
			return word * 64 + (unsigned int)__builtin_ctzll(bits);
	}
	return EXTENT_BINS;
}

/* Where an object would lie in it. */
static uint64_t place_in(const struct extent *e, const struct extent_want *want)
{
	return (e->address + want->align - 1) & ~(want->align - 1);
}

static bool is_better(const struct extent *e, const struct extent *best)
{
	return !best || e->length < best->length ||
	       (e->length == best->length && e->address < best->address);
}

static struct extent *best_of_bin(const struct extent_bin *bin, const struct extent_want *want)
{
	struct extent *e, *best = NULL;
	int looks = 0;

	LIST_FOREACH(e, bin, bin) {
		if (place_in(e, want) + want->length <= extent_end(e) && is_better(e, best))
			best = e;
		if (++looks == EXTENT_LOOKS && best)
			break;
	}
	return best;
}

static struct extent *find_free(const struct extents *x, const struct extent_want *want)
{
	for (int used = USED; used >= FRESH; used--) {
		unsigned int b = next_filled(x->filled[used], bin_of(want->length));

		for (; b < EXTENT_BINS; b = next_filled(x->filled[used], b + 1)) {
			struct extent *e = best_of_bin(&x->bins[used][b], want);

			if (e)
				return e;
		}
	}
	return NULL;
}

/* ---- objects ---- */

static void name_pages(const struct extent *e, struct extent *object)
{
	for (uint64_t at = range_page_up(e->address); at < extent_end(e); at += RANGE_PAGE)
		range_page(at)->object = object;
}

static struct extent *new_behind(struct extents *x, struct extent *e, uint64_t offset)
{
	struct extent *rest = calloc(1, sizeof(*rest));

	if (!rest)
		return NULL;
	rest->address = e->address + offset;
	rest->length = e->length - offset;
	rest->state = EXTENT_AWAY;
	e->length = offset;
	TAILQ_INSERT_AFTER(&x->order, e, rest, order);
	return rest;
}

struct extent *extents_take(struct extents *x, const struct extent_want *want)
{
	struct extent *e = find_free(x, want), *object, *rest;
	uint64_t before;

	if (!e)
		return NULL;
	before = place_in(e, want) - e->address;
	bin_del(x, e);
	object = before ? new_behind(x, e, before) : e;
	if (!object || before)
		bin_add(x, e);
	if (!object)
		return NULL;
	/* Without memory for another extent the object is larger than was asked for. */
	rest = object->length > want->length ? new_behind(x, object, want->length) : NULL;
	if (rest)
		bin_add(x, rest);
	object->state = EXTENT_OBJECT;
	name_pages(object, object);
	return object;
}

static bool can_join(const struct extent *low, const struct extent *high)
{
	return low && high && low->state == EXTENT_FREE && high->state == EXTENT_FREE &&
	       extent_end(low) == high->address;
}

/* Both in bins. The lower one stays. */
static struct extent *join(struct extents *x, struct extent *low, struct extent *high)
{
	bin_del(x, low);
	bin_del(x, high);
	low->length += high->length;
	TAILQ_REMOVE(&x->order, high, order);
	free(high);
	bin_add(x, low);
	return low;
}

static void join_neighbours(struct extents *x, struct extent *e)
{
	struct extent *other = TAILQ_NEXT(e, order);

	if (can_join(e, other))
		e = join(x, e, other);
	other = TAILQ_PREV(e, extent_order, order);
	if (can_join(other, e))
		join(x, other, e);
}

void extents_add(struct extents *x, struct extent *e)
{
	struct extent *after = TAILQ_LAST(&x->order, extent_order);

	while (after && after->address > e->address)
		after = TAILQ_PREV(after, extent_order, order);
	if (after)
		TAILQ_INSERT_AFTER(&x->order, after, e, order);
	else
		TAILQ_INSERT_HEAD(&x->order, e, order);
	bin_add(x, e);
	join_neighbours(x, e);
}

void extents_put(struct extents *x, struct extent *e)
{
	if (e->state == EXTENT_OBJECT)
		name_pages(e, NULL);
	bin_add(x, e);
	join_neighbours(x, e);
}

void extents_hide(struct extents *x, struct extent *e)
{
	bin_del(x, e);
	e->state = EXTENT_AWAY;
}

struct extent *extents_split(struct extents *x, struct extent *e, uint64_t offset)
{
	struct extent *rest = new_behind(x, e, offset);

	if (rest)
		rest->state = e->state;
	if (rest && rest->state == EXTENT_OBJECT)
		name_pages(rest, rest);
	return rest;
}

void extents_del(struct extents *x, struct extent *e)
{
	TAILQ_REMOVE(&x->order, e, order);
	free(e);
}

bool extents_resize(struct extents *x, struct extent *e, uint64_t length)
{
	struct extent *next = TAILQ_NEXT(e, order), *rest;

	if (length <= e->length) {
		rest = length < e->length ? extents_split(x, e, length) : NULL;
		if (rest)
			extents_put(x, rest);
		return true;
	}
	if (!next || next->state != EXTENT_FREE || next->address != extent_end(e) ||
	    e->length + next->length < length)
		return false;
	bin_del(x, next);
	next->address += length - e->length;
	next->length -= length - e->length;
	e->length = length;
	if (next->length)
		bin_add(x, next);
	else
		extents_del(x, next);
	name_pages(e, e);
	return true;
}

/* The object with the first byte of the page; what another heap has there is its own. */
static struct extent *object_of_page(const struct range_heap *heap, uint64_t address)
{
	const struct range_page *page = range_page(address);

	return page && atomic_load_explicit(&page->heap, memory_order_acquire) == heap
		       ? page->object
		       : NULL;
}

/* P2: it holds the first byte of the page that the address lies in, or begins in that page. */
struct extent *extents_find(const struct range_heap *heap, uint64_t address)
{
	struct extent *e = object_of_page(heap, address);

	if (e && address < extent_end(e))
		return e;
	e = object_of_page(heap, address + RANGE_PAGE);
	return e && address >= e->address ? e : NULL;
}

void extents_stamp(uint64_t address, uint64_t length, uint32_t now_ms)
{
	for (uint64_t at = range_page_down(address); at < address + length; at += RANGE_PAGE)
		atomic_store_explicit(&range_page(at)->freed_ms, now_ms, memory_order_relaxed);
}

/* ---- validation ---- */

static uint32_t validate_object(const struct extent *e)
{
	uint32_t differences = e->length <= RANGE_PAGE;

	for (uint64_t at = range_page_up(e->address); at < extent_end(e); at += RANGE_PAGE)
		differences += range_page(at)->object != e;
	return differences;
}

static uint32_t validate_free(const struct extents *x, const struct extent *e)
{
	const struct extent *other;
	uint32_t differences = e->used != was_used(e);
	bool found = false;

	LIST_FOREACH(other, &x->bins[e->used][bin_of(e->length)], bin)
		found |= other == e;
	for (uint64_t at = range_page_up(e->address); at < extent_end(e); at += RANGE_PAGE)
		differences += range_page(at)->object != NULL;
	return differences + !found + can_join(e, TAILQ_NEXT(e, order));
}

uint32_t extents_validate(const struct extents *x)
{
	const struct extent *e, *before = NULL;
	uint32_t differences = 0, nr_free = 0, nr_binned = 0;

	TAILQ_FOREACH(e, &x->order, order) {
		differences += !e->length || e->length % RANGE_STEP || e->address % RANGE_STEP;
		differences += before && extent_end(before) > e->address;
		if (e->state == EXTENT_OBJECT)
			differences += validate_object(e);
		if (e->state == EXTENT_FREE)
			differences += validate_free(x, e);
		nr_free += e->state == EXTENT_FREE;
		before = e;
	}
	for (int used = FRESH; used <= USED; used++) {
		for (unsigned int b = 0; b < EXTENT_BINS; b++) {
			LIST_FOREACH(e, &x->bins[used][b], bin)
				nr_binned++;
			differences += LIST_EMPTY(&x->bins[used][b]) !=
				       !(x->filled[used][b / 64] >> b % 64 & 1);
		}
	}
	return differences + (nr_free != nr_binned);
}
