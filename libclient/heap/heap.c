/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap - behind a miss: the next slab to work in, slabs that change lists, objects of others
 *
 * Purpose     See heap.h. A bin without objects looks for them nearest first: free ones of its
 *             slab, unused ones, foreign frees there, its partial slabs, foreign frees in its full
 *             ones, slabs that a thread of this process has left, units in stock, the daemon.
 */
#include "heap/heap.h"

#include <assert.h>
#include <string.h>

#include "error.h"
#include "heap/harden.h"
#include "heap/hit.h"
#include "heap/magazine.h"
#include "heap/run.h"
#include "probe.h"

enum { SPREAD = 40503 }; /* the golden ratio of 65536: neighbours in it are far apart */

struct slab_header slab_none = { .free = 1 };

/* ---- lists of slabs, linked in their headers ---- */

static struct slab_header *next_slab(const struct slab_header *s)
{
	return (struct slab_header *)(uintptr_t)s->next;
}

static struct slab_header *prev_slab(const struct slab_header *s)
{
	return (struct slab_header *)(uintptr_t)s->prev;
}

static void list_push(struct slab_header **head, struct slab_header **tail, struct slab_header *s)
{
	s->next = 0;
	s->prev = (uintptr_t)*tail;
	if (*tail)
		(*tail)->next = (uintptr_t)s;
	else
		*head = s;
	*tail = s;
}

static void list_del(struct slab_header **head, struct slab_header **tail, struct slab_header *s)
{
	struct slab_header *next = next_slab(s), *prev = prev_slab(s);

	if (prev)
		prev->next = s->next;
	else
		*head = next;
	if (next)
		next->prev = s->prev;
	else
		*tail = prev;
	s->next = s->prev = 0;
}

/* ---- units of home (H7) ---- */

static void know_unit(struct heap *h, const struct slab_header *s, struct heap_magazine *m)
{
	uint64_t unit = ((uintptr_t)s - (uintptr_t)h->map) >> SLAB_HEADER_SHIFT;

	if (unit < h->home->length >> SLAB_UNIT_SHIFT && s->units == 1)
		h->of_unit[unit] = m;
}

static void own_slab(struct heap *h, const struct slab_header *s)
{
	know_unit(h, s, h->magazines[s->bin]);
}

/* Before anybody else may own it, or it is no slab any more. */
static void disown_slab(struct heap *h, const struct slab_header *s)
{
	know_unit(h, s, NULL);
}

static void own_slabs(struct heap *h, unsigned int bin)
{
	const struct slab_header *s;

	if (h->bins[bin] != &slab_none)
		own_slab(h, h->bins[bin]);
	for (s = h->cold[bin].partial_head; s; s = next_slab(s))
		own_slab(h, s);
	for (s = h->cold[bin].full_head; s; s = next_slab(s))
		own_slab(h, s);
}

static void add_partial(struct heap *h, struct slab_header *s)
{
	struct heap_bin *bin = &h->cold[s->bin];

	own_slab(h, s);
	s->state = SLAB_ON_PARTIAL;
	slab_set_slow(s, 0);
	bin->nr_partial++;
	list_push(&bin->partial_head, &bin->partial_tail, s);
}

static void del_partial(struct heap *h, struct slab_header *s)
{
	struct heap_bin *bin = &h->cold[s->bin];

	bin->nr_partial--;
	list_del(&bin->partial_head, &bin->partial_tail, s);
}

static void del_full(struct heap *h, struct slab_header *s)
{
	struct heap_bin *bin = &h->cold[s->bin];

	bin->nr_full--;
	list_del(&bin->full_head, &bin->full_tail, s);
}

static void point_to(struct heap *h, unsigned int bin, struct heap_magazine *m)
{
	size_t largest;

	h->magazines[bin] = m;
	if (bin >= SLAB_SIZE_CLASSES || size_of_bin(bin) > SIZE_TABLE_MAX)
		return;
	largest = size_of_bin(bin) / 8;
	for (size_t i = largest; size_table[i] == bin; i--) {
		h->quick[i] = m;
		if (!i)
			break;
	}
}

void heap_set_magazine(struct heap *h, unsigned int bin, struct heap_magazine *m)
{
	point_to(h, bin, m);
	own_slabs(h, bin);
}

/* Their lists, which are many pages, are empty and aren't looked at. */
void heap_begin_bins(struct heap *h, unsigned int bin)
{
	for (; h->nr_bins <= bin; h->nr_bins++) {
		h->bins[h->nr_bins] = &slab_none;
		point_to(h, h->nr_bins, &magazine_none);
	}
}

static void make_current(struct heap *h, struct slab_header *s)
{
	own_slab(h, s);
	s->state = SLAB_ON_CURRENT;
	slab_set_slow(s, SLAB_SLOW_NEVER);
	h->bins[s->bin] = s;
}

static bool has_room(const struct slab_view *v)
{
	const struct slab_header *s = v->slab;

	return !(s->free & 1) || shared_count(slab_shared(s)) ||
	       s->fresh < v->start + (uint64_t)s->total * s->size;
}

/* ---- the shelf ---- */

void heap_release(struct heap_pool *hp, const struct slab_view *v)
{
	uint32_t units = v->slab->units;

	if (v->slab->bin < SLAB_BINS)
		atomic_fetch_sub_explicit(&hp->bins[v->slab->bin].units, (int32_t)units,
					  memory_order_relaxed);
	slab_fini(v);
	stock_put(&hp->stock, v->start, units);
}

void heap_shelve_locked(struct heap_pool *hp, const struct slab_view *v)
{
	struct slab_header *s = v->slab;

	s->state = SLAB_ON_SHELF;
	slab_set_slow(s, SLAB_SLOW_NEVER);
	s->prev = 0;
	s->next = (uintptr_t)hp->bins[s->bin].shelf;
	hp->bins[s->bin].shelf = s;
	atomic_store_explicit(&hp->nr_shelf, hp->nr_shelf + 1, memory_order_relaxed);
	slab_pass(v, heap_shelf_id(hp));
}

static struct slab_header *from_shelf(struct heap *h, unsigned int bin)
{
	struct heap_pool *hp = h->pool;
	struct slab_header *s;

	if (!atomic_load_explicit(&hp->nr_shelf, memory_order_relaxed))
		return NULL;
	pthread_mutex_lock(&hp->lock);
	s = hp->bins[bin].shelf;
	if (s) {
		hp->bins[bin].shelf = next_slab(s);
		atomic_store_explicit(&hp->nr_shelf, hp->nr_shelf - 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&hp->lock);
	if (!s)
		return NULL;
	/* Nobody else takes it: only this process's shelf has that owner. */
	if (!slab_adopt(&(struct slab_view){ .slab = s }, heap_shelf_id(hp), h->id))
		slab_die(s, 0, "a slab of the shelf has another owner: its header was overwritten");
	h->counts.adopted++;
	PROBE(adopt, heap_slab_view(hp, s).start, h->id);
	return s;
}

/* ---- foreign objects ---- */

/* It had no owner until just now. */
static void keep_adopted(struct heap *h, const struct slab_view *v)
{
	h->counts.adopted++;
	PROBE(adopt, v->start, h->id);
	heap_need_bin(h, v->slab->bin);
	if (slab_used(v->slab))
		add_partial(h, v->slab);
	else
		heap_release(h->pool, v);
}

static void flush_one(struct heap *h, struct heap_pending *p)
{
	struct slab_view v = p->slab;

	if (!v.slab)
		return;
	p->slab.slab = NULL;
	h->pending_set &= ~(1ull << (p - h->pending));
	h->counts.flushed++;
	PROBE(foreign_flush, v.start, p->chain.nr);
	if (slab_push_foreign(&v, &p->chain, h->id) == h->id && v.slab->state == SLAB_ON_NONE)
		keep_adopted(h, &v);
	p->chain.nr = 0;
}

static void free_foreign(struct heap *h, const struct slab_view *v, uint64_t object)
{
	uint32_t slabs = h->pool->is_private ? HEAP_PENDING : HEAP_PENDING_SHARED;
	uint32_t most = h->pool->is_private ? HEAP_PENDING_OBJECTS : HEAP_PENDING_OBJECTS_SHARED;
	struct heap_pending *p = &h->pending[((uintptr_t)v->slab >> SLAB_HEADER_SHIFT) % slabs];

	if (p->slab.slab != v->slab) {
		flush_one(h, p);
		p->slab = *v;
		p->chain.nr = 0;
		h->pending_set |= 1ull << (p - h->pending);
		/* The thread may do nothing more. */
		stock_kick(&h->pool->stock);
	}
	slab_chain_add(v, &p->chain, object);
	if (p->chain.nr == most)
		flush_one(h, p);
}

/* A full slab without owner becomes ours by the first object that is freed into it. */
static void free_and_adopt(struct heap *h, const struct slab_view *v, uint64_t object)
{
	struct slab_chain chain = { .nr = 0 };

	slab_chain_add(v, &chain, object);
	if (slab_push_foreign(v, &chain, h->id) == h->id)
		keep_adopted(h, v);
}

static void free_own(struct heap *h, const struct slab_view *v, uint64_t object)
{
	struct slab_header *s = v->slab;

	slab_push(s, object, v->key);
	if (!--s->left)
		heap_free_more(h, s);
}

void heap_free_object(struct heap *h, const struct slab_view *v, uint64_t object)
{
	uint32_t owner = slab_owner(v->slab);

	if (owner == h->id) {
		free_own(h, v, object);
	} else if (owner == SLAB_NO_OWNER) {
		free_and_adopt(h, v, object);
	} else {
		h->counts.foreign++;
		if (!magazine_keep(h, v->slab, object))
			free_foreign(h, v, object);
	}
}

struct slab_view heap_slab_of(const struct heap_pool *hp, uint64_t object)
{
	const struct heap_view *view = heap_view_of(hp, object);
	struct slab_header *s = heap_header(view, object);

	s -= slab_kind(s) == SLAB_TAIL ? s->back : 0;
	return heap_slab_view(hp, s);
}

void heap_flush_magazine(struct heap *h, unsigned int bin)
{
	uint64_t object;

	while ((object = magazine_take(h, bin))) {
		struct slab_view v = heap_slab_of(h->pool, object);

		/* Its slab may have become ours, or nobody's, meanwhile. */
		if (slab_owner(v.slab) == h->id || slab_owner(v.slab) == SLAB_NO_OWNER)
			heap_free_object(h, &v, object);
		else
			free_foreign(h, &v, object);
	}
}

void heap_flush_pending(struct heap *h)
{
	static_assert(HEAP_PENDING == 64, "a word has a bit for each");
	while (h->pending_set)
		flush_one(h, &h->pending[__builtin_ctzll(h->pending_set)]);
}

void heap_free_more(struct heap *h, struct slab_header *s)
{
	if (s->state == SLAB_ON_FULL) {
		del_full(h, s);
		add_partial(h, s);
		/* That of a single object is empty now. */
		if (slab_used(s))
			return;
	}
	if (s->state != SLAB_ON_PARTIAL)
		return;
	/* The last one stays for the next burst; a visit finds it when there is none. */
	if (h->cold[s->bin].nr_partial == 1) {
		slab_set_slow(s, SLAB_SLOW_NEVER);
		stock_kick(&h->pool->stock);
		return;
	}
	del_partial(h, s);
	disown_slab(h, s);
	heap_release(h->pool, &(struct slab_view){ s, heap_slab_view(h->pool, s).start, h->key });
}

void heap_put_more(struct heap *h, struct slab_header *s)
{
	unsigned int bin = s->bin;

	if (!s->left)
		heap_free_more(h, s);
	if (h->magazines[bin]->spilled == MAGAZINE_BURST && magazine_has_any(h, bin))
		magazine_burst(h, bin);
}

/* ---- the next slab ---- */

/* The current one is used up. */
static void retire_current(struct heap *h, const struct slab_view *v)
{
	struct slab_header *s = v->slab, *oldest;
	struct heap_bin *bin = &h->cold[s->bin];
	struct slab_view old;

	h->bins[s->bin] = &slab_none;
	s->state = SLAB_ON_FULL;
	slab_set_slow(s, slab_used(s) - 1);
	list_push(&bin->full_head, &bin->full_tail, s);
	if (++bin->nr_full <= HEAP_FULL_KEPT)
		return;
	oldest = bin->full_head;
	old = heap_slab_view(h->pool, oldest);
	del_full(h, oldest);
	disown_slab(h, oldest);
	if (!slab_let_go(&old))
		add_partial(h, oldest);
}

static struct slab_header *from_partial(struct heap *h, unsigned int bin)
{
	struct slab_header *s = h->cold[bin].partial_head;

	if (s)
		del_partial(h, s);
	return s;
}

static struct slab_header *from_full(struct heap *h, unsigned int bin)
{
	struct slab_header *s = h->cold[bin].full_head;

	for (int looks = 0; s && looks < HEAP_FULL_LOOKS; looks++, s = next_slab(s)) {
		if (shared_count(slab_shared(s))) {
			del_full(h, s);
			return s;
		}
	}
	return NULL;
}

/* Slabs in which nothing is in use. Of those with room the first one, as a rule: the others went
 * when they became empty. */
static void release_empty(struct heap *h, unsigned int bin)
{
	struct slab_header *s = h->bins[bin];

	if (s != &slab_none && !slab_used(s)) {
		h->bins[bin] = &slab_none;
		disown_slab(h, s);
		heap_release(h->pool, &(struct slab_view){ s, heap_slab_view(h->pool, s).start,
							   h->key });
	}
	s = h->cold[bin].partial_head;
	if (s && !slab_used(s)) {
		del_partial(h, s);
		disown_slab(h, s);
		heap_release(h->pool, &(struct slab_view){ s, heap_slab_view(h->pool, s).start,
							   h->key });
	}
}

/* A few objects in a magazine keep a slab each from all other sizes. */
static void save_units(struct heap *h)
{
	h->nr_taken = 0;
	for (unsigned int b = 0; b < h->nr_bins; b++) {
		if (h->bins[b] == &slab_none && h->magazines[b] == &magazine_none)
			continue;
		heap_flush_magazine(h, b);
		release_empty(h, b);
	}
	run_drop_kept(h);
}

uint64_t heap_take_units(struct heap *h, const struct stock_want *want)
{
	struct stock *stock = &h->pool->stock;
	bool low;
	uint64_t span = stock_take_held(stock, want, &low);

	h->nr_taken += want->units;
	if (!span || (low && h->nr_taken >= HEAP_SAVE_UNITS))
		save_units(h);
	if (!span)
		return stock_take(stock, want);
	if (low)
		stock_look_ahead(stock);
	return span;
}

/* In units: an object whose size is a multiple of a power of two lies at one (aligned_alloc). */
static uint32_t slab_align(uint32_t size)
{
	uint32_t units = (size & (0 - size)) >> SLAB_UNIT_SHIFT;

	return units ? units : 1;
}

/* Where there are many slabs, one of them that isn't full is little, and what is left over at the
 * end of each is much. */
static uint32_t slab_units(const struct heap_pool *hp, unsigned int bin, uint32_t size)
{
	int32_t has = atomic_load_explicit(&hp->bins[bin].units, memory_order_relaxed);

	if (has >= HEAP_MANY && has >= HEAP_MANY * (int32_t)size_slab_units_tight(size))
		return size_slab_units_tight(size);
	return size_slab_units(size);
}

static struct slab_header *from_stock(struct heap *h, unsigned int bin)
{
	struct heap_pool *hp = h->pool;
	struct slab_make make = {
		.owner = h->id,
		.size = atomic_load_explicit(&hp->bins[bin].size, memory_order_relaxed),
		.bin = (uint16_t)bin,
	};
	struct slab_view v = { .key = h->key };
	struct stock_want want = { .align = slab_align(make.size) };
	uint32_t least;

	make.units = want.units = slab_units(hp, bin, make.size);
	v.start = heap_take_units(h, &want);
	/* Near the end of the pool: what holds one object may still be there in one piece. */
	least = (make.size + SLAB_UNIT_BYTES - 1) >> SLAB_UNIT_SHIFT;
	if (!v.start && least < make.units) {
		make.units = want.units = least;
		v.start = stock_take(&hp->stock, &want);
	}
	if (!v.start)
		return NULL;
	make.turn = (uint32_t)(v.start >> SLAB_UNIT_SHIFT) * SPREAD;
	v.slab = heap_header(heap_view_of(hp, v.start), v.start);
	slab_init(&v, &make);
	atomic_fetch_add_explicit(&hp->bins[bin].units, (int32_t)make.units, memory_order_relaxed);
	harden_new_slab(hp, &v);
	return v.slab;
}

/* Whether the slab itself can still give something. */
static bool replenish(struct heap *h, const struct slab_view *v, bool foreign_first)
{
	bool collected = foreign_first && slab_collect(v);
	bool unused = !collected && slab_has_unused(v);

	if (!collected && !unused)
		collected = slab_collect(v);
	h->counts.collected += collected;
	return collected || unused;
}

/* A heap with slabs is looked at in a while; a program's first one alone is not worth a pager. */
static void want_visits(struct heap *h)
{
	if (h->counts.refills > 1 || h->pool->is_eager)
		stock_kick(&h->pool->stock);
}

/* Makes the bin's slab one with objects on its free list, or unused ones. The bin's magazine is
 * empty: what becomes nobody's here has no object in one (M3 of magazine.h). */
static bool refill(struct heap *h, unsigned int bin)
{
	struct slab_header *s = h->bins[bin];
	struct slab_view v;

	h->counts.refills++;
	PROBE(refill, bin, h->id);
	if (s != &slab_none) {
		v = heap_slab_view(h->pool, s);
		if (replenish(h, &v, false))
			return true;
		retire_current(h, &v);
	}
	s = from_partial(h, bin);
	if (!s)
		s = from_full(h, bin);
	if (!s)
		s = from_shelf(h, bin);
	if (!s) {
		heap_flush_pending(h);
		s = from_partial(h, bin);
	}
	if (!s)
		s = from_stock(h, bin);
	if (!s)
		return false;
	want_visits(h);
	make_current(h, s);
	v = heap_slab_view(h->pool, s);
	return !(s->free & 1) || replenish(h, &v, true) || refill(h, bin);
}

static void count_slow(struct heap *h)
{
	atomic_store_explicit(&h->nr_slow, h->nr_slow + 1, memory_order_relaxed);
}

/* The same, and on the list. */
static bool refill_list(struct heap *h, unsigned int bin)
{
	struct slab_view v;

	if (!refill(h, bin))
		return false;
	v = heap_slab_view(h->pool, h->bins[bin]);
	if (v.slab->free & 1)
		h->counts.carved += slab_carve(&v);
	return true;
}

uint64_t heap_alloc(struct heap *h, unsigned int bin)
{
	uint64_t object;

	heap_need_bin(h, bin);
	object = hit_take(h->magazines[bin]);
	if (object)
		return object;
	count_slow(h);
	if (magazine_make(h, bin)) {
		if (!magazine_fill_handed(h, bin)) {
			if (h->bins[bin]->free & 1 && !refill(h, bin))
				return 0;
			magazine_fill(h, bin);
		}
		object = hit_take(h->magazines[bin]);
	} else {
		if (h->bins[bin]->free & 1 && !refill_list(h, bin))
			return 0;
		object = h->bins[bin]->free;
		slab_pop(h->bins[bin], object, h->key);
	}
	return object;
}

size_t heap_alloc_bulk(struct heap *h, unsigned int bin, size_t nr, void **out)
{
	size_t got = 0;
	uint64_t object;

	heap_need_bin(h, bin);
	for (;;) {
		got += magazine_take_many(h, bin, nr - got, out + got);
		object = got < nr ? heap_alloc(h, bin) : 0;
		if (!object)
			return got;
		out[got++] = (void *)(uintptr_t)object;
	}
}

/* ---- tidying ---- */

/* An owned slab that is on no list, after its foreign frees were collected. */
static void settle(struct heap *h, const struct slab_view *v, bool all)
{
	struct slab_header *s = v->slab;

	disown_slab(h, s);
	if (!slab_used(s))
		heap_release(h->pool, v);
	else if (!has_room(v) && slab_let_go(v))
		return;
	else if (all)
		heap_shelve_locked(h->pool, v);
	else
		add_partial(h, s);
}

static void tidy_list(struct heap *h, struct slab_header *s, bool all)
{
	while (s) {
		struct slab_view v = heap_slab_view(h->pool, s);

		s = next_slab(s);
		v.slab->next = v.slab->prev = 0;
		slab_collect(&v);
		settle(h, &v, all);
	}
}

static void tidy_bin(struct heap *h, unsigned int b, bool all)
{
	struct heap_bin *bin = &h->cold[b];
	struct slab_header *s = h->bins[b];
	struct slab_header *partial = bin->partial_head, *full = bin->full_head;

	*bin = (struct heap_bin){ 0 };
	if (s != &slab_none) {
		struct slab_view v = heap_slab_view(h->pool, s);

		slab_collect(&v);
		if (all || !slab_used(s)) {
			h->bins[b] = &slab_none;
			settle(h, &v, all);
		}
	}
	tidy_list(h, partial, all);
	tidy_list(h, full, all);
}

void heap_tidy(struct heap *h, bool all)
{
	harden_flush(h);
	for (unsigned int b = 0; b < h->nr_bins; b++)
		heap_flush_magazine(h, b);
	/* What is adopted by that may be of bins that begin with it. */
	heap_flush_pending(h);
	for (unsigned int b = 0; b < h->nr_bins; b++)
		if (h->bins[b] != &slab_none || h->cold[b].partial_head || h->cold[b].full_head)
			tidy_bin(h, b, all);
	run_drop_kept(h);
}

/* ---- validation ---- */

/* H7; *nr: of those that it knows. */
static uint32_t validate_unit(struct heap *h, const struct slab_header *s, uint64_t *nr)
{
	uint64_t unit = ((uintptr_t)s - (uintptr_t)h->map) >> SLAB_HEADER_SHIFT;

	if (unit >= h->home->length >> SLAB_UNIT_SHIFT || s->units != 1)
		return 0;
	++*nr;
	return h->of_unit[unit] != h->magazines[s->bin];
}

static uint32_t validate_list(struct heap *h, struct slab_header *s, struct slab_header *tail,
			      uint64_t *nr_known)
{
	uint32_t differences = 0;
	struct slab_header *last = NULL;
	uint8_t state = s ? s->state : SLAB_ON_NONE;

	for (; s; s = next_slab(s)) {
		struct slab_view v = heap_slab_view(h->pool, s);

		differences += slab_owner(s) != h->id;
		differences += s->state != state;
		differences += prev_slab(s) != last;
		differences += slab_validate(&v);
		differences += validate_unit(h, s, nr_known);
		if (state == SLAB_ON_PARTIAL)
			differences += !has_room(&v);
		last = s;
	}
	return differences + (last != tail);
}

static bool is_on(const struct slab_header *s, enum slab_state state)
{
	return !s || s->state == state;
}

uint32_t heap_validate(struct heap *h)
{
	uint32_t differences = 0;
	uint64_t nr_known = 0;

	for (unsigned int b = 0; b < h->nr_bins; b++) {
		struct heap_bin *bin = &h->cold[b];
		struct slab_header *s = h->bins[b];

		differences += !is_on(bin->partial_head, SLAB_ON_PARTIAL) ||
			       !is_on(bin->full_head, SLAB_ON_FULL);
		differences += validate_list(h, bin->partial_head, bin->partial_tail, &nr_known);
		differences += validate_list(h, bin->full_head, bin->full_tail, &nr_known);
		differences += magazine_validate(h, b);
		if (s == &slab_none)
			continue;
		differences += slab_owner(s) != h->id || s->state != SLAB_ON_CURRENT;
		differences += slab_validate(&(struct slab_view){
			s, heap_slab_view(h->pool, s).start, h->key });
		differences += validate_unit(h, s, &nr_known);
	}
	for (uint32_t i = 0; i < h->nr_units; i++)
		nr_known -= h->of_unit[i] != NULL;
	return differences + (nr_known != 0);
}
