/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap - behind a miss: the next slab to work in, slabs that change lists, objects of others
 *
 * Purpose     See heap.h. A bin without objects looks for them nearest first: unused ones of its
 *             slab, foreign frees there, its partial slabs, foreign frees in its full ones, slabs
 *             that a thread of this process has left, units in stock, the daemon.
 */
#include "heap/heap.h"

#include "error.h"
#include "heap/harden.h"
#include "heap/hit.h"
#include "heap/stash.h"
#include "probe.h"

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

static void add_partial(struct heap *h, struct slab_header *s)
{
	struct heap_bin *bin = &h->cold[s->bin];

	s->state = SLAB_ON_PARTIAL;
	slab_set_slow(s, 0);
	bin->nr_partial++;
	list_push(&bin->partial_head, &bin->partial_tail, s);
}

/* H7 */
static bool is_kept_empty(const struct slab_header *s)
{
	return s->slow_at == SLAB_SLOW_NEVER;
}

static void del_partial(struct heap *h, struct slab_header *s)
{
	struct heap_bin *bin = &h->cold[s->bin];

	h->empty_units -= is_kept_empty(s) ? s->units : 0;
	bin->nr_partial--;
	list_del(&bin->partial_head, &bin->partial_tail, s);
}

static void del_full(struct heap *h, struct slab_header *s)
{
	struct heap_bin *bin = &h->cold[s->bin];

	bin->nr_full--;
	list_del(&bin->full_head, &bin->full_tail, s);
}

void heap_set_bin(struct heap *h, unsigned int bin, struct slab_header *s)
{
	size_t largest;

	h->bins[bin] = s;
	if (bin >= SLAB_SIZE_CLASSES || size_of_bin(bin) > SIZE_TABLE_MAX)
		return;
	largest = size_of_bin(bin) / 8;
	for (size_t i = largest; size_table[i] == bin; i--) {
		h->quick[i] = s;
		if (!i)
			break;
	}
}

/* T2 of stash.h */
static void set_real(struct heap *h, unsigned int bin, struct slab_header *s)
{
	if (stash_works(h, bin))
		h->stashes[bin].real = s;
	else
		heap_set_bin(h, bin, s);
}

static void make_current(struct heap *h, struct slab_header *s)
{
	s->state = SLAB_ON_CURRENT;
	slab_set_slow(s, SLAB_SLOW_NEVER);
	if (!stash_works(h, s->bin))
		s->hot = 0;
	set_real(h, s->bin, s);
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

	slab_fini(v);
	stock_put(&hp->stock, v->start, units);
}

void heap_shelve_locked(struct heap_pool *hp, const struct slab_view *v)
{
	struct slab_header *s = v->slab;

	s->state = SLAB_ON_SHELF;
	slab_set_slow(s, SLAB_SLOW_NEVER);
	s->prev = 0;
	s->next = (uintptr_t)hp->shelf[s->bin];
	hp->shelf[s->bin] = s;
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
	s = hp->shelf[bin];
	if (s) {
		hp->shelf[bin] = next_slab(s);
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

static void give_to_own(struct heap *h, struct slab_header *s, uint64_t object)
{
	if (object == s->hot)
		slab_die(s, object, "it has been freed already (double free)");
	slab_push(s, object, h->key);
	if (!--s->left)
		heap_free_more(h, s);
}

static void give_to_other(struct heap *h, const struct slab_view *v, uint64_t object)
{
	if (slab_owner(v->slab) == SLAB_NO_OWNER)
		free_and_adopt(h, v, object);
	else
		free_foreign(h, v, object);
}

void heap_free_object(struct heap *h, const struct slab_view *v, uint64_t object)
{
	struct slab_header *s = v->slab;
	uint32_t owner = slab_owner(s);

	if (owner == h->id) {
		give_to_own(h, s, object);
		return;
	}
	h->counts.foreign += owner != SLAB_NO_OWNER;
	stash_enter(h, s->bin);
	if (hit_stash(h, s->bin, object) == HIT_DONE)
		return;
	give_to_other(h, v, object);
}

struct slab_view heap_slab_of(const struct heap_pool *hp, uint64_t object)
{
	const struct heap_view *view = heap_view_of(hp, object);
	struct slab_header *s = heap_header(view, object);

	s -= slab_kind(s) == SLAB_TAIL ? s->back : 0;
	return heap_slab_view(hp, s);
}

/* Its objects go to their slabs. */
static void flush_stash(struct heap *h, unsigned int bin)
{
	uint64_t next, object = stash_leave(h, bin);

	for (; !(object & 1); object = next) {
		struct slab_view v = heap_slab_of(h->pool, object);

		next = stash_next(h, object);
		*slab_word(object) = 0;
		if (slab_owner(v.slab) == h->id)
			give_to_own(h, v.slab, object);
		else
			give_to_other(h, &v, object);
	}
}

static void flush_all_pending(struct heap *h)
{
	for (int i = 0; i < HEAP_PENDING; i++)
		flush_one(h, &h->pending[i]);
}

void heap_flush_pending(struct heap *h)
{
	for (unsigned int b = 0; b < SLAB_SIZE_CLASSES; b++)
		flush_stash(h, b);
	flush_all_pending(h);
}

static void release_slab(struct heap *h, struct slab_header *s)
{
	struct slab_view v = heap_slab_view(h->pool, s);

	heap_release(h->pool, &v);
}

/* Behind those that have objects in use. */
static void keep_empty(struct heap *h, struct slab_header *s)
{
	add_partial(h, s);
	slab_set_slow(s, SLAB_SLOW_NEVER);
	h->empty_units += s->units;
	stock_kick(&h->pool->stock);
}

static void release_empty(struct heap *h)
{
	for (unsigned int b = 0; b < SLAB_BINS && h->empty_units; b++) {
		struct slab_header *s = h->cold[b].partial_head, *next;

		for (; s; s = next) {
			next = next_slab(s);
			if (!is_kept_empty(s))
				continue;
			del_partial(h, s);
			release_slab(h, s);
		}
	}
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
	/* The last one stays for the next burst, as do some more; a visit finds them when there is
	 * none. */
	del_partial(h, s);
	if (!h->cold[s->bin].nr_partial || h->empty_units + s->units <= HEAP_EMPTY_UNITS) {
		keep_empty(h, s);
		return;
	}
	release_slab(h, s);
}

/* ---- the next slab ---- */

/* The current one is used up. */
static void retire_current(struct heap *h, const struct slab_view *v)
{
	struct slab_header *s = v->slab, *oldest;
	struct heap_bin *bin = &h->cold[s->bin];
	struct slab_view old;

	set_real(h, s->bin, &slab_none);
	slab_close_hot(s, h->key);
	s->state = SLAB_ON_FULL;
	slab_set_slow(s, slab_used(s) - 1);
	list_push(&bin->full_head, &bin->full_tail, s);
	if (++bin->nr_full <= HEAP_FULL_KEPT)
		return;
	oldest = bin->full_head;
	old = heap_slab_view(h->pool, oldest);
	del_full(h, oldest);
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

static struct slab_header *from_stock(struct heap *h, unsigned int bin)
{
	struct heap_pool *hp = h->pool;
	struct slab_make make = {
		.owner = h->id,
		.size = atomic_load_explicit(&hp->size[bin], memory_order_relaxed),
		.bin = (uint16_t)bin,
	};
	struct slab_view v = { .key = h->key };
	uint32_t least;

	make.units = size_slab_units(make.size);
	/* What other bins keep comes before what the daemon has. */
	if (h->empty_units && atomic_load_explicit(&hp->stock.nr_units, memory_order_relaxed) <
				      make.units)
		release_empty(h);
	v.start = stock_take(&hp->stock, make.units);
	/* Near the end of the pool: what holds one object may still be there in one piece. */
	least = (make.size + SLAB_UNIT_BYTES - 1) >> SLAB_UNIT_SHIFT;
	if (!v.start && least < make.units) {
		make.units = least;
		v.start = stock_take(&hp->stock, least);
	}
	if (!v.start)
		return NULL;
	v.slab = heap_header(heap_view_of(hp, v.start), v.start);
	slab_init(&v, &make);
	harden_new_slab(hp, &v);
	return v.slab;
}

/* What the slab itself can still give. */
static bool replenish(struct heap *h, const struct slab_view *v, bool foreign_first)
{
	bool collected = foreign_first && slab_collect(v);
	bool carved = !collected && slab_carve(v);

	if (!collected && !carved)
		collected = slab_collect(v);
	h->counts.collected += collected;
	h->counts.carved += carved;
	return collected || carved;
}

static bool has_objects(const struct slab_header *s)
{
	return s->hot > SLAB_HOT_CLOSED || !(s->free & 1);
}

/* A heap that has slabs is looked at in a while; the first one alone is not worth a pager. */
static void want_visits(struct heap *h)
{
	if (h->counts.refills > 1)
		stock_kick(&h->pool->stock);
}

static struct slab_header *next_slab_of(struct heap *h, unsigned int bin)
{
	struct slab_header *s = from_partial(h, bin);

	if (!s)
		s = from_full(h, bin);
	if (!s)
		s = from_shelf(h, bin);
	if (!s) {
		flush_all_pending(h);
		s = from_partial(h, bin);
	}
	return s ? s : from_stock(h, bin);
}

/* Makes the bin's slab one with objects in hot or on its free list; *v is its view. */
static bool refill_slab(struct heap *h, unsigned int bin, struct slab_view *v)
{
	struct slab_header *s = stash_real(h, bin);

	if (s != &slab_none) {
		*v = heap_slab_view(h->pool, s);
		if (has_objects(s) || replenish(h, v, false))
			return true;
		retire_current(h, v);
		/* A second slab */
		stash_enter(h, bin);
	}
	for (;;) {
		s = next_slab_of(h, bin);
		if (!s)
			return false;
		want_visits(h);
		make_current(h, s);
		*v = heap_slab_view(h->pool, s);
		if (has_objects(s) || replenish(h, v, true))
			return true;
		retire_current(h, v);
	}
}

/* The same for what the bin works from. */
static bool refill(struct heap *h, unsigned int bin)
{
	struct slab_view v;

	h->counts.refills++;
	PROBE(refill, bin, h->id);
	if (!refill_slab(h, bin, &v))
		return false;
	if (stash_works(h, bin))
		stash_fill(h, &v);
	return true;
}

static void count_slow(struct heap *h)
{
	atomic_store_explicit(&h->nr_slow, h->nr_slow + 1, memory_order_relaxed);
}

uint64_t heap_alloc(struct heap *h, unsigned int bin)
{
	uint64_t object;

	while (!hit_take(h, h->bins[bin], &object)) {
		count_slow(h);
		if (!refill(h, bin))
			return 0;
	}
	return object;
}

size_t heap_alloc_bulk(struct heap *h, unsigned int bin, size_t nr, void **out)
{
	size_t got = 0;

	while (got < nr) {
		struct slab_header *s = h->bins[bin];
		uint64_t at = s->free, key = h->key;
		size_t before;

		if (s->hot) {
			out[got++] = (void *)(uintptr_t)s->hot;
			s->hot = 0;
		}
		before = got;
		while (got < nr && !(at & 1)) {
			uint64_t next = *slab_word(at) ^ (key ^ at); /* one step behind the load */

			/* In this order: B5. */
			s->free = next;
			atomic_signal_fence(memory_order_release);
			*slab_word(at) = 0;
			out[got++] = (void *)(uintptr_t)at;
			at = next;
		}
		/* slab_none is shared: it is never written. */
		if (got != before)
			s->left += (uint32_t)(got - before);
		if (got == nr)
			break;
		count_slow(h);
		if (!refill(h, bin))
			break;
	}
	return got;
}

/* ---- tidying ---- */

/* An owned slab that is on no list, after its foreign frees were collected. */
static void settle(struct heap *h, const struct slab_view *v, bool all)
{
	struct slab_header *s = v->slab;

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

	for (struct slab_header *p = partial; p && h->empty_units; p = next_slab(p))
		h->empty_units -= is_kept_empty(p) ? p->units : 0;
	*bin = (struct heap_bin){ 0 };
	if (s != &slab_none) {
		struct slab_view v = heap_slab_view(h->pool, s);

		slab_close_hot(s, h->key);
		slab_collect(&v);
		if (!all && slab_used(s)) {
			s->hot = 0;
		} else {
			heap_set_bin(h, b, &slab_none);
			settle(h, &v, all);
		}
	}
	tidy_list(h, partial, all);
	tidy_list(h, full, all);
}

void heap_tidy(struct heap *h, bool all)
{
	harden_flush(h);
	heap_flush_pending(h);
	for (unsigned int b = 0; b < SLAB_BINS; b++)
		if (h->bins[b] != &slab_none || h->cold[b].partial_head || h->cold[b].full_head)
			tidy_bin(h, b, all);
	for (int i = 0; i < HEAP_RUNS; i++) {
		if (h->runs[i].units)
			stock_put(&h->pool->stock, h->runs[i].address, h->runs[i].units);
		h->runs[i].units = 0;
	}
}

/* ---- validation ---- */

static uint32_t validate_list(struct heap *h, struct slab_header *s, struct slab_header *tail,
			      uint8_t state)
{
	uint32_t differences = 0;
	struct slab_header *last = NULL;

	for (; s; s = next_slab(s)) {
		struct slab_view v = heap_slab_view(h->pool, s);

		differences += slab_owner(s) != h->id;
		differences += s->state != state;
		differences += prev_slab(s) != last;
		differences += slab_validate(&v);
		if (state == SLAB_ON_PARTIAL)
			differences += !has_room(&v);
		last = s;
	}
	return differences + (last != tail);
}

/* H7 */
static uint32_t validate_empty(const struct heap *h)
{
	uint32_t differences = 0, units = 0;

	for (unsigned int b = 0; b < SLAB_BINS; b++) {
		for (const struct slab_header *s = h->cold[b].partial_head; s; s = next_slab(s)) {
			units += is_kept_empty(s) ? s->units : 0;
			differences += is_kept_empty(s) && slab_used(s);
		}
	}
	return differences + (units != h->empty_units);
}

uint32_t heap_validate(struct heap *h)
{
	uint32_t differences = validate_empty(h);

	for (unsigned int b = 0; b < SLAB_BINS; b++) {
		struct heap_bin *bin = &h->cold[b];
		struct slab_header *s = stash_real(h, b);

		differences += validate_list(h, bin->partial_head, bin->partial_tail,
					     SLAB_ON_PARTIAL);
		differences += validate_list(h, bin->full_head, bin->full_tail, SLAB_ON_FULL);
		if (s == &slab_none)
			continue;
		differences += slab_owner(s) != h->id || s->state != SLAB_ON_CURRENT;
		differences += slab_validate(&(struct slab_view){
			s, heap_slab_view(h->pool, s).start, h->key });
	}
	return differences;
}
