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
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "heap/harden.h"
#include "heap/hit.h"
#include "heap/magazine.h"
#include "heap/run.h"
#include "probe.h"

enum { SPREAD = 40503 }; /* the golden ratio of 65536: neighbours in it are far apart */

struct slab_header slab_none = { .free = 1 };

/* Misses always: its pool is no pool, its window is empty. */
static struct heap heap_none = { .open_pool = HEAP_CLOSED };
_Thread_local struct heap *heap_current = &heap_none;

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

void heap_set_magazine(struct heap *h, unsigned int bin, struct heap_magazine *m)
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

static void make_current(struct heap *h, struct slab_header *s)
{
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

void heap_free_object(struct heap *h, const struct slab_view *v, uint64_t object)
{
	struct slab_header *s = v->slab;
	uint32_t owner = slab_owner(s);

	if (owner == h->id) {
		slab_push(s, object, v->key);
		if (!--s->left)
			heap_free_more(h, s);
	} else if (owner == SLAB_NO_OWNER) {
		free_and_adopt(h, v, object);
	} else {
		h->counts.foreign++;
		if (!magazine_keep(h, s, object))
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

/* In units: an object whose size is a multiple of a power of two lies at one (aligned_alloc). */
static uint32_t slab_align(uint32_t size)
{
	uint32_t units = (size & (0 - size)) >> SLAB_UNIT_SHIFT;

	return units ? units : 1;
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
	struct stock_want want = { .align = slab_align(make.size) };
	uint32_t least;

	make.units = want.units = size_slab_units(make.size);
	v.start = stock_take(&hp->stock, &want);
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

/* A heap that has slabs is looked at in a while; the first one alone is not worth a pager. */
static void want_visits(struct heap *h)
{
	if (h->counts.refills > 1)
		stock_kick(&h->pool->stock);
}

/* Makes the bin's slab one with objects on its free list. The bin's magazine is empty: what becomes
 * nobody's here has no object in one (M3 of magazine.h). */
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

uint64_t heap_alloc(struct heap *h, unsigned int bin)
{
	uint64_t object;

	if (hit_take(h->magazines[bin], &object))
		return object;
	count_slow(h);
	if (h->bins[bin]->free & 1 && !refill(h, bin))
		return 0;
	if (magazine_make(h, bin)) {
		magazine_fill(h, bin);
		hit_take(h->magazines[bin], &object);
	} else {
		object = h->bins[bin]->free;
		slab_pop(h->bins[bin], object, h->key);
	}
	return object;
}

size_t heap_alloc_bulk(struct heap *h, unsigned int bin, size_t nr, void **out)
{
	size_t got = 0;
	uint64_t object;

	while (got < nr && hit_take(h->magazines[bin], &object))
		out[got++] = (void *)(uintptr_t)object;
	while (got < nr) {
		struct slab_header *s = h->bins[bin];
		uint64_t at = s->free, key = h->key;
		size_t before = got;

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
	for (unsigned int b = 0; b < SLAB_BINS; b++)
		heap_flush_magazine(h, b);
	heap_flush_pending(h);
	for (unsigned int b = 0; b < SLAB_BINS; b++)
		if (h->bins[b] != &slab_none || h->cold[b].partial_head || h->cold[b].full_head)
			tidy_bin(h, b, all);
	run_drop_kept(h);
}

/* ---- birth and end ---- */

static uint32_t take_id_locked(struct heap_pool *hp)
{
	for (uint32_t i = 0; i < HEAP_THREADS / 64; i++) {
		uint32_t bit;

		if (hp->ids[i] == UINT64_MAX)
			continue;
		bit = (uint32_t)__builtin_ctzll(~hp->ids[i]);
		hp->ids[i] |= 1ull << bit;
		return heap_shelf_id(hp) | (i * 64 + bit);
	}
	return 0;
}

void heap_open(struct heap *h)
{
	uint64_t length = h->pool->no_hits ? 0 : h->home->length;

	atomic_store_explicit(&h->open_length, length, memory_order_release);
	atomic_store_explicit(&h->open_pool, h->mark, memory_order_release);
}

/* H4 */
static struct mmb_pool *mark_of(const struct heap_pool *hp)
{
	return (struct mmb_pool *)((uintptr_t)hp->handle | (hp->no_hits ? 2 : 0));
}

static struct heap *heap_memory(void)
{
	struct heap *h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);

	if (h == MAP_FAILED)
		return NULL;
	/* H5 */
	if (madvise(h, sizeof(*h), MADV_WIPEONFORK)) {
		munmap(h, sizeof(*h));
		return NULL;
	}
	atomic_store_explicit(&h->open_pool, HEAP_CLOSED, memory_order_relaxed);
	return h;
}

struct heap *heap_new(struct heap_pool *hp, struct heap *spare)
{
	struct heap *h = spare ? spare : heap_memory();

	if (!h)
		return NULL;
	h->pool = hp;
	h->mark = mark_of(hp);
	h->home = &hp->views[atomic_load_explicit(&hp->home, memory_order_relaxed)];
	h->base = h->home->base;
	h->map = h->home->map;
	h->key = hp->key;
	h->free_mark = slab_mark(hp->key);
	h->keeps_any = hp->is_private && hp->magazine_bytes;
	for (unsigned int b = 0; b < SLAB_BINS; b++) {
		heap_set_magazine(h, b, &magazine_none);
		h->bins[b] = &slab_none;
	}
	pthread_mutex_lock(&hp->lock);
	h->id = take_id_locked(hp);
	if (h->id) {
		LIST_INSERT_HEAD(&hp->heaps, h, link);
		/* With the lock: who visits it now has it closed until it is done. */
		if (!hp->left)
			heap_open(h);
	}
	pthread_mutex_unlock(&hp->lock);
	if (!h->id) {
		heap_free(h);
		errno = EAGAIN;
		return NULL;
	}
	return h;
}

void heap_add_counts(struct heap_counts *sum, const struct heap_counts *add)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)add;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
}

void heap_leave_current(void)
{
	heap_current = &heap_none;
}

void heap_free(struct heap *h)
{
	if (heap_current == h)
		heap_leave_current();
	munmap(h, sizeof(*h));
}

/* H6: every hit misses, and what a hit doesn't look at before that is zero again. */
static void wipe(struct heap *h)
{
	char *second = (char *)h + 4096, *end = (char *)(h + 1);

	static_assert(offsetof(struct heap, quick) < 4096, "hits look there first");
	magazine_fini(h);
	harden_fini(h);
	atomic_store(&h->open_pool, HEAP_CLOSED);
	atomic_store(&h->open_length, 0);
	memset(h->quick, 0, (size_t)(second - (char *)h->quick));
	if (madvise(second, (size_t)(end - second), MADV_DONTNEED))
		memset(second, 0, (size_t)(end - second));
	if (heap_current == h)
		heap_leave_current();
}

void heap_retire(struct heap *h)
{
	struct heap_pool *hp = h->pool;
	uint32_t number = h->id % HEAP_THREADS;

	pthread_mutex_lock(&hp->lock);
	if (!hp->left)
		heap_tidy(h, true);
	LIST_REMOVE(h, link);
	heap_add_counts(&hp->counts, &h->counts);
	hp->ids[number / 64] &= ~(1ull << number % 64);
	pthread_mutex_unlock(&hp->lock);
	wipe(h);
}

void heap_abandon(struct heap *h)
{
	struct heap_pool *hp = h->pool;

	pthread_mutex_lock(&hp->lock);
	LIST_REMOVE(h, link);
	pthread_mutex_unlock(&hp->lock);
	wipe(h);
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

uint32_t heap_validate(struct heap *h)
{
	uint32_t differences = 0;

	for (unsigned int b = 0; b < SLAB_BINS; b++) {
		struct heap_bin *bin = &h->cold[b];
		struct slab_header *s = h->bins[b];

		differences += validate_list(h, bin->partial_head, bin->partial_tail,
					     SLAB_ON_PARTIAL);
		differences += validate_list(h, bin->full_head, bin->full_tail, SLAB_ON_FULL);
		differences += magazine_validate(h, b);
		if (s == &slab_none)
			continue;
		differences += slab_owner(s) != h->id || s->state != SLAB_ON_CURRENT;
		differences += slab_validate(&(struct slab_view){
			s, heap_slab_view(h->pool, s).start, h->key });
	}
	return differences;
}
