/* SPDX-License-Identifier: Apache-2.0 */
/*
 * visit - a pool's heaps as a whole: visits, the shelf, what dead members left
 *
 * Purpose     A thread that allocates nothing for a while keeps nothing: whoever calls
 *             heap_pool_tick() closes its heap, waits for the thread to be outside (H3), tidies up
 *             and opens it again. See heap.h.
 * Invariants  V1  A heap whose thread is inside for longer than a visitor likes is left alone.
 *             V2  The map of a window is read only where it has pages: looking at a hole would
 *                 make one.
 * Locking     heap_pool.lock for the whole of a visit, heap_pool.visiting around it.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "heap/harden.h"
#include "heap/relay.h"
#include "probe.h"

enum { VISIT_PATIENCE = 20, IDLE_VISITS_TO_LEAVE = 2 };

/* ---- the pool ---- */

static _Atomic(struct heap_pool *) ahead; /* all zero */

/* Most of it isn't touched while there are no typed caches, which calloc() would do. */
static struct heap_pool *pool_memory(void)
{
	struct heap_pool *hp = atomic_exchange(&ahead, NULL);

	if (hp)
		return hp;
	hp = mmap(NULL, sizeof(*hp), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (hp == MAP_FAILED)
		return NULL;
	for (unsigned int b = 0; b < SLAB_SIZE_CLASSES; b++)
		atomic_store_explicit(&hp->bins[b].size, size_of_bin(b), memory_order_relaxed);
	return hp;
}

void heap_pool_prepare(void)
{
	struct heap_pool *hp = pool_memory(), *none = NULL;

	if (!hp)
		return;
	hp->handle = NULL;
	if (!atomic_compare_exchange_strong(&ahead, &none, hp))
		munmap(hp, sizeof(*hp));
}

struct heap_pool *heap_pool_new(const struct heap_pool_spec *spec)
{
	struct heap_pool *hp = pool_memory();

	if (!hp)
		return NULL;
	hp->handle = spec->handle;
	if (!heap_grow_ids(hp) || stock_init(&hp->stock, &spec->source, hp)) {
		free(hp->ids);
		munmap(hp, sizeof(*hp));
		return NULL;
	}
	hp->key = spec->key;
	hp->member = spec->member;
	hp->is_private = spec->is_private;
	hp->harden = spec->harden;
	hp->is_eager = spec->is_eager;
	hp->no_hits = spec->no_hits || spec->harden;
	hp->magazine_bytes = hp->no_hits ? 0 : spec->magazine_bytes;
	pthread_mutex_init(&hp->visiting, NULL);
	pthread_mutex_init(&hp->lock, NULL);
	LIST_INIT(&hp->heaps);
	return hp;
}

void heap_pool_free(struct heap_pool *hp)
{
	relay_fini(hp);
	stock_fini(&hp->stock);
	pthread_mutex_destroy(&hp->lock);
	pthread_mutex_destroy(&hp->visiting);
	free(hp->ids);
	munmap(hp, sizeof(*hp));
}

int heap_pool_add_view(struct heap_pool *hp, const struct heap_view *view)
{
	uint32_t nr = atomic_load_explicit(&hp->nr_views, memory_order_relaxed);

	if (nr == HEAP_VIEWS)
		return fail(-EPROTO, "the pool has more than %d arena windows", HEAP_VIEWS);
	hp->views[nr] = *view;
	atomic_store_explicit(&hp->nr_views, nr + 1, memory_order_release);
	return 0;
}

const struct heap_view *heap_view_of(const struct heap_pool *hp, uint64_t address)
{
	uint32_t nr = atomic_load_explicit(&hp->nr_views, memory_order_acquire);

	for (uint32_t i = 0; i < nr; i++)
		if (address - hp->views[i].base < hp->views[i].length)
			return &hp->views[i];
	return NULL;
}

void heap_pool_settle(struct heap_pool *hp, uint64_t address)
{
	const struct heap_view *view = heap_view_of(hp, address);

	atomic_store_explicit(&hp->home, (uint32_t)(view - hp->views), memory_order_relaxed);
}

struct slab_view heap_slab_view(const struct heap_pool *hp, struct slab_header *s)
{
	uint32_t nr = atomic_load_explicit(&hp->nr_views, memory_order_acquire);
	const struct heap_view *view = hp->views;

	for (uint32_t i = 0; i < nr; i++, view++) {
		uint64_t index = (uint64_t)(s - view->map);

		if (s >= view->map && index < view->length >> SLAB_UNIT_SHIFT)
			return (struct slab_view){ s, view->base + (index << SLAB_UNIT_SHIFT),
						   hp->key };
	}
	die("libmmbroker: a list of slabs leads nowhere; the slab map was overwritten");
}

/* ---- visits ---- */

static void close_heap(struct heap *h)
{
	atomic_store(&h->open_pool, HEAP_CLOSED);
	atomic_store(&h->open_length, 0);
}

/* V1 */
static bool is_outside(struct heap *h)
{
	for (int i = 0; i < VISIT_PATIENCE; i++) {
		if (!atomic_load_explicit(&h->busy, memory_order_acquire))
			return true;
		sched_yield();
	}
	return false;
}

static bool has_objects(const struct heap *h)
{
	for (unsigned int b = 0; b < h->nr_bins; b++)
		if (h->bins[b] != &slab_none || h->cold[b].partial_head || h->cold[b].full_head ||
		    magazine_has_any(h, b))
			return true;
	return false;
}

/* A bin that nobody has taken from or put into since the last visit, of a heap that isn't idle. */
static void tidy_magazines(struct heap *h)
{
	for (unsigned int b = 0; b < h->nr_bins; b++)
		if (magazine_has_any(h, b) && magazine_is_idle(h, b))
			heap_flush_magazine(h, b);
}

/* Closed and outside. */
static bool tidy_idle(struct heap *h)
{
	uint64_t slow = atomic_load_explicit(&h->nr_slow, memory_order_relaxed);

	h->nr_idle = slow == h->seen_slow ? h->nr_idle + 1 : 0;
	h->seen_slow = slow;
	if (h->nr_idle)
		heap_tidy(h, h->nr_idle >= IDLE_VISITS_TO_LEAVE);
	else
		tidy_magazines(h);
	return has_objects(h) || harden_has_any(h);
}

/* True: a heap has slabs still. */
static bool visit_all_locked(struct heap_pool *hp, bool trim)
{
	bool more = false;
	struct heap *h;

	if (!hp->can_visit || hp->closed || LIST_EMPTY(&hp->heaps))
		return false;
	LIST_FOREACH(h, &hp->heaps, link)
		close_heap(h);
	if (asym_heavy()) {
		LIST_FOREACH(h, &hp->heaps, link) {
			if (!is_outside(h))
				more = true;
			else if (trim)
				/* Whoever found no memory may need what another thread freed. */
				heap_tidy(h, true);
			else
				more |= tidy_idle(h);
		}
	}
	LIST_FOREACH(h, &hp->heaps, link)
		heap_open(h);
	return more;
}

static void tidy_shelf_bin_locked(struct heap_pool *hp, unsigned int bin)
{
	struct slab_header *s = hp->bins[bin].shelf;

	hp->bins[bin].shelf = NULL;
	while (s) {
		struct slab_view v = heap_slab_view(hp, s);

		s = (struct slab_header *)(uintptr_t)s->next;
		atomic_store_explicit(&hp->nr_shelf, hp->nr_shelf - 1, memory_order_relaxed);
		slab_collect(&v);
		if (slab_used(v.slab))
			heap_shelve_locked(hp, &v);
		else
			heap_release(hp, &v);
	}
}

static void tidy_shelf_locked(struct heap_pool *hp)
{
	for (unsigned int b = 0; b < SLAB_BINS; b++)
		if (hp->bins[b].shelf)
			tidy_shelf_bin_locked(hp, b);
}

static void close_pool(struct heap_pool *hp, bool leave)
{
	struct heap *h;

	pthread_mutex_lock(&hp->visiting);
	pthread_mutex_lock(&hp->lock);
	hp->closed = true;
	hp->left |= leave;
	LIST_FOREACH(h, &hp->heaps, link)
		close_heap(h);
	pthread_mutex_unlock(&hp->lock);
	pthread_mutex_unlock(&hp->visiting);
}

void heap_pool_close(struct heap_pool *hp)
{
	close_pool(hp, false);
}

void heap_pool_end(struct heap_pool *hp)
{
	close_pool(hp, true);
}

/* False: there is nothing to visit any more, nor a handle to return units by. */
static bool begin_visit(struct heap_pool *hp)
{
	pthread_mutex_lock(&hp->visiting);
	if (!hp->closed)
		return true;
	pthread_mutex_unlock(&hp->visiting);
	return false;
}

static void end_visit(struct heap_pool *hp)
{
	pthread_mutex_unlock(&hp->visiting);
}

void heap_pool_drain(struct heap_pool *hp)
{
	bool left;

	pthread_mutex_lock(&hp->lock);
	left = hp->left;
	if (!left)
		tidy_shelf_locked(hp);
	pthread_mutex_unlock(&hp->lock);
	if (!left)
		stock_flush(&hp->stock);
}

/* In a process with threads this takes milliseconds: not before it is needed. */
static void prepare_visits(struct heap_pool *hp)
{
	if (!atomic_load_explicit(&hp->can_visit, memory_order_relaxed))
		atomic_store_explicit(&hp->can_visit, asym_register(), memory_order_relaxed);
}

bool heap_pool_leave(struct heap_pool *hp)
{
	bool outside;
	struct heap *h;

	heap_pool_end(hp);
	prepare_visits(hp);
	pthread_mutex_lock(&hp->lock);
	outside = hp->can_visit && asym_heavy();
	LIST_FOREACH(h, &hp->heaps, link)
		outside = outside && !atomic_load_explicit(&h->busy, memory_order_acquire);
	pthread_mutex_unlock(&hp->lock);
	return outside;
}

bool heap_pool_is_left(struct heap_pool *hp)
{
	bool left;

	pthread_mutex_lock(&hp->lock);
	left = hp->left;
	pthread_mutex_unlock(&hp->lock);
	return left;
}

bool heap_pool_tick(struct heap_pool *hp)
{
	bool more;

	if (!begin_visit(hp))
		return false;
	prepare_visits(hp);
	/* What comes up while we work kicks again. */
	atomic_store(&hp->stock.kicked, false);
	pthread_mutex_lock(&hp->lock);
	more = relay_tidy_locked(hp, false);
	more |= visit_all_locked(hp, false);
	tidy_shelf_locked(hp);
	pthread_mutex_unlock(&hp->lock);
	more |= stock_tick(&hp->stock);
	if (more)
		atomic_store(&hp->stock.kicked, true);
	end_visit(hp);
	return more;
}

void heap_pool_trim(struct heap_pool *hp)
{
	if (!begin_visit(hp))
		return;
	prepare_visits(hp);
	pthread_mutex_lock(&hp->lock);
	relay_tidy_locked(hp, true);
	visit_all_locked(hp, true);
	tidy_shelf_locked(hp);
	pthread_mutex_unlock(&hp->lock);
	stock_flush(&hp->stock);
	end_visit(hp);
}

/* ---- dead members ---- */

/* V2 */
bool heap_view_next(const struct heap_view *view, uint64_t *first, uint64_t *end)
{
	uint64_t nr = view->length >> SLAB_UNIT_SHIFT;
	off_t data, hole;

	if (*end >= nr)
		return false;
	if (view->fd < 0) {
		*first = *end;
		*end = nr;
		return true;
	}
	data = lseek(view->fd, (off_t)(*end << SLAB_HEADER_SHIFT), SEEK_DATA);
	if (data < 0)
		return false;
	hole = lseek(view->fd, data, SEEK_HOLE);
	if (hole < 0)
		return false;
	*first = (uint64_t)data >> SLAB_HEADER_SHIFT;
	*end = (uint64_t)hole >> SLAB_HEADER_SHIFT;
	if (*end > nr)
		*end = nr;
	return *first < *end;
}

/* Its objects live on; what is free in it is ours. */
static void adopt_slab_locked(struct heap_pool *hp, struct slab_header *s, uint32_t owner)
{
	struct slab_view v = heap_slab_view(hp, s);

	if (!slab_adopt(&v, owner, heap_shelf_id(hp)))
		return;
	PROBE(adopt, v.start, owner);
	hp->counts.adopted++;
	if (!slab_rebuild(&v))
		return;
	if (!slab_used(v.slab))
		heap_release(hp, &v);
	else if (slab_used(v.slab) == v.slab->total && slab_let_go(&v))
		return;
	else
		heap_shelve_locked(hp, &v);
}

/* A unit that no object lies in: of a run that nobody has any more (U2 of run.h), or none. */
static bool is_left_over(const struct heap_view *view, const struct slab_header *s)
{
	uint8_t kind = slab_kind(s);

	if (kind == SLAB_TAIL && s->back <= (uint64_t)(s - view->map)) {
		const struct slab_header *first = s - s->back;

		return slab_kind(first) != SLAB_RUN || first->units <= s->back;
	}
	return kind == SLAB_NONE;
}

static void adopt_unit_locked(struct heap_pool *hp, const struct heap_view *view,
			      struct slab_header *s, uint32_t member)
{
	uint64_t shared = slab_shared(s);
	uint32_t owner = shared_owner(shared);

	if (owner >> HEAP_MEMBER_SHIFT != member)
		return;
	if (slab_kind(s) == SLAB_OBJECTS) {
		adopt_slab_locked(hp, s, owner);
	} else if (is_left_over(view, s)) {
		/* It was in stock or kept, or about to be. */
		struct slab_view v = heap_slab_view(hp, s);

		if (slab_adopt(&v, owner, heap_shelf_id(hp)))
			stock_put(&hp->stock, v.start, 1);
	}
}

void heap_pool_adopt(struct heap_pool *hp, uint32_t member)
{
	uint32_t nr = atomic_load_explicit(&hp->nr_views, memory_order_acquire);

	if (!member || member == hp->member || !begin_visit(hp))
		return;
	pthread_mutex_lock(&hp->lock);
	for (uint32_t i = 0; i < nr; i++) {
		const struct heap_view *view = &hp->views[i];
		uint64_t first, end = 0;

		while (heap_view_next(view, &first, &end))
			for (uint64_t unit = first; unit < end; unit++)
				adopt_unit_locked(hp, view, &view->map[unit], member);
	}
	pthread_mutex_unlock(&hp->lock);
	stock_kick(&hp->stock);
	end_visit(hp);
}

/* ---- validation ---- */

uint32_t heap_pool_validate(struct heap_pool *hp)
{
	uint32_t differences = 0, nr = 0;
	struct heap *h;

	pthread_mutex_lock(&hp->lock);
	LIST_FOREACH(h, &hp->heaps, link)
		differences += heap_validate(h);
	for (unsigned int b = 0; b < SLAB_BINS; b++) {
		struct slab_header *s = hp->bins[b].shelf;

		for (; s; s = (struct slab_header *)(uintptr_t)s->next, nr++) {
			struct slab_view v = heap_slab_view(hp, s);

			differences += slab_owner(s) != heap_shelf_id(hp) || s->bin != b;
			differences += slab_validate(&v);
		}
	}
	differences += nr != atomic_load(&hp->nr_shelf) || relay_validate(hp);
	pthread_mutex_unlock(&hp->lock);
	return differences;
}
