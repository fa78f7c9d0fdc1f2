/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range_heap - a pool's objects above 4 MiB: chunks of 2 MiB pages, cut up and kept for a while
 *
 * Purpose     See range_heap.h.
 */
#include "ranges/range_heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

enum { GROW_TRIES = 8 };

struct range_heap *range_heap_new(const struct range_source *source)
{
	struct range_heap *heap = calloc(1, sizeof(*heap));

	if (!heap)
		return NULL;
	heap->source = *source;
	pthread_mutex_init(&heap->work, NULL);
	pthread_mutex_init(&heap->lock, NULL);
	extents_init(&heap->extents);
	LIST_INIT(&heap->chunks);
	return heap;
}

void range_heap_close(struct range_heap *heap)
{
	struct range_chunk *chunk;

	pthread_mutex_lock(&heap->lock);
	if (!heap->closed)
		LIST_FOREACH(chunk, &heap->chunks, link)
			range_pages_own(chunk->backing.address, chunk->backing.length, NULL);
	heap->closed = true;
	pthread_mutex_unlock(&heap->lock);
}

void range_heap_free(struct range_heap *heap)
{
	struct range_chunk *chunk;
	struct extent *e;

	range_heap_close(heap);
	while ((e = TAILQ_FIRST(&heap->extents.order)))
		extents_del(&heap->extents, e);
	while ((chunk = LIST_FIRST(&heap->chunks))) {
		LIST_REMOVE(chunk, link);
		heap->source.destroy(heap->source.context, &chunk->backing);
		free(chunk);
	}
	pthread_mutex_destroy(&heap->lock);
	pthread_mutex_destroy(&heap->work);
	free(heap);
}

/* Never 0: that is what an untouched page says. */
static uint32_t now_ms(const struct range_heap *heap)
{
	uint32_t now = (uint32_t)heap->source.now_ms(heap->source.context);

	return now ? now : 1;
}

static uint64_t to_steps(uint64_t bytes)
{
	return (bytes + RANGE_STEP - 1) & ~(RANGE_STEP - 1);
}

static void set_live_locked(struct range_heap *heap, uint64_t live)
{
	heap->live = live;
	if (heap->most < live)
		heap->most = live;
}

static struct extent *take_locked(struct range_heap *heap, const struct extent_want *want)
{
	struct extent *e = extents_take(&heap->extents, want);

	if (e)
		set_live_locked(heap, heap->live + e->length);
	return e;
}

static struct extent *take(struct range_heap *heap, const struct extent_want *want)
{
	struct extent *e;

	pthread_mutex_lock(&heap->lock);
	e = heap->closed ? NULL : take_locked(heap, want);
	pthread_mutex_unlock(&heap->lock);
	return e;
}

/* ---- closing chunks; with the work lock ---- */

/* Of a window, at home, the chunks stay, or all others do. */
enum idle_window { WINDOW_NONE, WINDOW_SPARED, WINDOW_ALONE };

/* What one round works at: free memory that is due, and whether there is some that isn't yet. */
struct idle_search {
	struct range_heap *heap;
	uint32_t           now_ms, idle_ms;
	uint64_t           from; /* looked at up to here */
	enum idle_window   window;
	uint64_t           start, end; /* of the window */
	bool               more;
};

static bool may_close(const struct idle_search *s, const struct range_backing *b)
{
	bool touches = b->address < s->end && s->start < b->address + b->length;

	return s->window == WINDOW_NONE || touches == (s->window == WINDOW_ALONE);
}

static bool is_due(const struct idle_search *s, uint64_t address)
{
	uint32_t freed = atomic_load_explicit(&range_page(address)->freed_ms, memory_order_relaxed);

	/* It may have been freed since the search began: a negative age. */
	return !freed || (int32_t)(s->now_ms - freed) >= (int32_t)s->idle_ms;
}

static bool all_due(const struct idle_search *s, const struct range_backing *b)
{
	for (uint64_t at = b->address; at < b->address + b->length; at += RANGE_PAGE)
		if (!is_due(s, at))
			return false;
	return true;
}

/* The free extent that has all of a chunk. */
static struct extent *wholly_free_locked(struct range_heap *heap, const struct range_backing *b)
{
	struct extent *e;

	/* The quick way to say no. */
	if (range_page(b->address)->object)
		return NULL;
	TAILQ_FOREACH(e, &heap->extents.order, order)
		if (extent_end(e) > b->address)
			break;
	return e && e->state == EXTENT_FREE && e->address <= b->address &&
			       b->address + b->length <= extent_end(e)
		       ? e
		       : NULL;
}

/* The extent without the chunk; false: no memory for the rest behind it. */
static bool cut_out_locked(struct range_heap *heap, struct extent *e, const struct range_backing *b)
{
	struct extents *x = &heap->extents;
	struct extent *before = NULL, *behind = NULL;

	extents_hide(x, e);
	if (b->address > e->address) {
		before = e;
		e = extents_split(x, before, b->address - before->address);
	}
	if (e && b->length < e->length)
		behind = extents_split(x, e, b->length);
	if (!e || (b->length < e->length && !behind)) {
		if (e)
			extents_put(x, e);
		if (before)
			extents_put(x, before);
		return false;
	}
	extents_del(x, e);
	if (before)
		extents_put(x, before);
	if (behind)
		extents_put(x, behind);
	return true;
}

/* The lowest chunk that is due, and the extent that has it; NULL: none (more). */
static struct range_chunk *find_due_locked(struct idle_search *s, struct extent **extent)
{
	struct range_chunk *chunk, *lowest = NULL;

	if (s->heap->closed)
		return NULL;
	LIST_FOREACH(chunk, &s->heap->chunks, link) {
		const struct range_backing *b = &chunk->backing;
		struct extent *e = wholly_free_locked(s->heap, b);

		if (!e || !may_close(s, b))
			continue;
		if (!all_due(s, b)) {
			s->more = true;
		} else if (!lowest || b->address < lowest->backing.address) {
			lowest = chunk;
			*extent = e;
		}
	}
	return lowest;
}

static struct range_chunk *unlist_due(struct idle_search *s)
{
	struct range_heap *heap = s->heap;
	struct range_chunk *chunk;
	struct extent *e;

	pthread_mutex_lock(&heap->lock);
	chunk = find_due_locked(s, &e);
	if (chunk && !cut_out_locked(heap, e, &chunk->backing)) {
		s->more = true;
		chunk = NULL;
	}
	if (chunk) {
		range_pages_own(chunk->backing.address, chunk->backing.length, NULL);
		LIST_REMOVE(chunk, link);
		heap->bytes -= chunk->backing.length;
	}
	pthread_mutex_unlock(&heap->lock);
	return chunk;
}

/* So many bytes at least, if there are as many. */
static void close_chunks(struct idle_search *s, uint64_t bytes)
{
	struct range_heap *heap = s->heap;
	struct range_chunk *chunk;
	uint64_t closed = 0;

	while (closed < bytes && (chunk = unlist_due(s))) {
		closed += chunk->backing.length;
		heap->source.destroy(heap->source.context, &chunk->backing);
		heap->counts.chunks_closed++;
		free(chunk);
	}
}

/* ---- growing; with the work lock ---- */

/* Where an object is to lie at home, and what isn't there yet. */
struct growth {
	uint64_t start, end; /* the end is a page's */
	uint64_t missing;    /* bytes of no chunk between them, in whole pages; NO_ROOM: no place */
	uint64_t ahead;      /* as many more behind it would be good */
};
#define NO_ROOM UINT64_MAX

static uint64_t home_end(const struct range_heap *heap)
{
	return heap->source.home + RANGE_HOME_BYTES;
}

/* The extent itself, if it is at home; NULL: it isn't, and so is none behind it. */
static const struct extent *at_home(const struct range_heap *heap, const struct extent *e)
{
	return e && e->address < home_end(heap) ? e : NULL;
}

static const struct extent *first_at_home_locked(const struct range_heap *heap)
{
	const struct extent *e = TAILQ_FIRST(&heap->extents.order);

	while (e && e->address < heap->source.home)
		e = TAILQ_NEXT(e, order);
	return at_home(heap, e);
}

/* What isn't there of [at, end); e is the extent at `at`, or the first one behind it. */
static uint64_t missing_locked(const struct range_heap *heap, const struct extent *e, uint64_t at,
			       uint64_t end)
{
	uint64_t missing = 0, part, gap;

	while (at < end) {
		if (e && e->address <= at) {
			if (e->state != EXTENT_FREE)
				return NO_ROOM;
			at = extent_end(e);
			e = at_home(heap, TAILQ_NEXT(e, order));
			continue;
		}
		gap = (e ? e->address : home_end(heap)) - at;
		part = range_page_up(end - at);
		if (part > gap)
			part = gap;
		if (!part)
			return NO_ROOM;
		missing += part;
		at += part;
	}
	return missing;
}

static void consider_locked(const struct range_heap *heap, const struct extent_want *want,
			    const struct extent *e, uint64_t at, struct growth *best)
{
	uint64_t start = (at + want->align - 1) & ~(want->align - 1);
	uint64_t missing = missing_locked(heap, e, start, start + want->length);

	if (missing >= best->missing)
		return;
	best->start = start;
	best->end = range_page_up(start + want->length);
	best->missing = missing;
}

/* Where least is missing: in a free extent or a gap, or behind everything. */
static struct growth plan_growth(struct range_heap *heap, const struct extent_want *want)
{
	struct growth g = { .missing = NO_ROOM };
	uint64_t at = heap->source.home;
	const struct extent *e;

	pthread_mutex_lock(&heap->lock);
	for (e = first_at_home_locked(heap); e; e = at_home(heap, TAILQ_NEXT(e, order))) {
		if (e->address > at)
			consider_locked(heap, want, e, at, &g);
		if (e->state == EXTENT_FREE)
			consider_locked(heap, want, e, e->address, &g);
		at = extent_end(e);
	}
	consider_locked(heap, want, NULL, at, &g);
	if (g.end > at)
		g.ahead = range_page_down(heap->bytes >> RANGE_AHEAD_SHIFT);
	if (g.ahead > RANGE_AHEAD_MAX)
		g.ahead = RANGE_AHEAD_MAX;
	if (g.ahead > home_end(heap) - g.end)
		g.ahead = 0;
	pthread_mutex_unlock(&heap->lock);
	return g;
}

/* With its object, or NULL. */
static struct extent *list_chunk(struct range_heap *heap, struct range_chunk *chunk,
				 struct extent *e, const struct extent_want *want)
{
	struct extent *object;

	e->address = chunk->backing.address;
	e->length = chunk->backing.length;
	pthread_mutex_lock(&heap->lock);
	LIST_INSERT_HEAD(&heap->chunks, chunk, link);
	heap->bytes += e->length;
	range_pages_own(e->address, e->length, heap);
	extents_add(&heap->extents, e);
	object = take_locked(heap, want);
	pthread_mutex_unlock(&heap->lock);
	heap->counts.chunks_made++;
	return object;
}

static int add_chunk(struct range_heap *heap, const struct range_backing *wanted,
		     const struct extent_want *want, struct extent **object)
{
	struct range_chunk *chunk = calloc(1, sizeof(*chunk));
	struct extent *e = calloc(1, sizeof(*e));
	int error = -ENOMEM;

	if (!chunk || !e) {
		fail(error, "no memory to keep track of large objects");
		goto out;
	}
	chunk->backing = *wanted;
	error = heap->source.create(heap->source.context, &chunk->backing);
	if (error)
		goto out;
	error = range_pages_make(chunk->backing.address, chunk->backing.length);
	if (error) {
		heap->source.destroy(heap->source.context, &chunk->backing);
		goto out;
	}
	*object = list_chunk(heap, chunk, e, want);
	return 0;
out:
	free(chunk);
	free(e);
	return error;
}

/* The first gap of [start, end); without length: there is none. */
static struct range_backing find_gap(struct range_heap *heap, uint64_t start, uint64_t end)
{
	struct range_backing gap = { .address = start };
	const struct extent *e;

	pthread_mutex_lock(&heap->lock);
	e = first_at_home_locked(heap);
	while (e && e->address <= gap.address) {
		if (extent_end(e) > gap.address)
			gap.address = extent_end(e);
		e = at_home(heap, TAILQ_NEXT(e, order));
	}
	if (e && e->address < end)
		end = e->address;
	pthread_mutex_unlock(&heap->lock);
	if (gap.address < end)
		gap.length = end - gap.address;
	return gap;
}

/* Chunks are closed as a whole: not too large, and not too many. */
static uint64_t piece_of(const struct range_heap *heap, const struct growth *g)
{
	uint64_t bytes = RANGE_CHUNK_LEAST;

	if (bytes < g->missing / RANGE_PIECES)
		bytes = range_page_up(g->missing / RANGE_PIECES);
	if (bytes < heap->bytes / RANGE_CHUNKS)
		bytes = range_page_up(heap->bytes / RANGE_CHUNKS);
	return bytes;
}

/* Up to `end`, or until there is room for the object. */
static int fill(struct range_heap *heap, const struct growth *g, uint64_t end,
		const struct extent_want *want, struct extent **object)
{
	uint64_t piece = piece_of(heap, g);
	int error = 0;

	while (!error && !*object) {
		struct range_backing gap = find_gap(heap, g->start, end);

		if (!gap.length)
			break;
		if (gap.length > piece)
			gap.length = piece;
		error = add_chunk(heap, &gap, want, object);
	}
	return error;
}

/* Free chunks go where the heap would have more than it needs, for an object of that length. */
static void close_instead(struct range_heap *heap, const struct growth *g, uint64_t length)
{
	struct idle_search s = {
		.heap = heap,
		.now_ms = now_ms(heap),
		.start = g->start,
		.end = g->end,
		.window = WINDOW_SPARED,
	};
	uint64_t allowed, want;

	pthread_mutex_lock(&heap->lock);
	allowed = heap->live + length > heap->most ? heap->live + length : heap->most;
	allowed += allowed >> RANGE_SLACK_SHIFT;
	want = heap->bytes + g->missing;
	pthread_mutex_unlock(&heap->lock);
	if (want > allowed)
		close_chunks(&s, want - allowed < g->missing ? want - allowed : g->missing);
}

/* An object that can't be: what was made for it isn't kept. */
static void close_window(struct range_heap *heap, const struct growth *g)
{
	struct idle_search s = {
		.heap = heap,
		.now_ms = now_ms(heap),
		.start = g->start,
		.end = g->end + g->ahead,
		.window = WINDOW_ALONE,
	};

	close_chunks(&s, UINT64_MAX);
}

/* A chunk for it alone, of which no other thread can take a part before. */
static int grow_alone(struct range_heap *heap, const struct extent_want *want,
		      struct extent **object)
{
	const struct range_backing anywhere = { .length = range_page_up(want->length) };

	return add_chunk(heap, &anywhere, want, object);
}

/* Without object: other threads have taken a part of its place meanwhile. */
static int grow(struct range_heap *heap, const struct extent_want *want, struct extent **object)
{
	struct growth g = plan_growth(heap, want);
	int error = -EADDRNOTAVAIL;

	if (!g.missing) { /* others have given it back meanwhile */
		*object = take(heap, want);
		return 0;
	}
	if (g.missing != NO_ROOM) {
		close_instead(heap, &g, want->length);
		error = fill(heap, &g, g.end + g.ahead, want, object);
		if (error == -ENOMEM && g.ahead)
			error = fill(heap, &g, g.end, want, object);
		if (error)
			close_window(heap, &g);
	}
	/* Somebody is there, or a sanitizer has its own idea of what is an address. */
	if (error && error != -ENOMEM)
		error = grow_alone(heap, want, object);
	return error;
}

/* ---- objects ---- */

/* P1 says where there is nothing to do. The object is the caller's alone. */
static void fill_zero(uint64_t address, uint64_t length)
{
	uint64_t end = address + length, next;

	for (uint64_t at = address; at < end; at = next) {
		const struct range_page *page = range_page(at);

		next = range_page_down(at) + RANGE_PAGE;
		if (next > end)
			next = end;
		if (atomic_load_explicit(&page->freed_ms, memory_order_relaxed))
			memset((void *)(uintptr_t)at, 0, next - at);
	}
}

int range_heap_alloc(struct range_heap *heap, const struct range_request *request, uint64_t *out)
{
	struct extent_want want = {
		.length = to_steps(request->size > RANGE_LEAST_BYTES ? request->size
								     : RANGE_LEAST_BYTES),
		.align = request->align > RANGE_STEP ? request->align : RANGE_STEP,
	};
	struct extent *object;
	int error = 0, tries = 0;

	if (request->size > PTRDIFF_MAX)
		return fail(-ENOMEM, "%zu bytes are more than an address space holds",
			    request->size);
	object = take(heap, &want);
	if (!object) {
		pthread_mutex_lock(&heap->work);
		/* Another thread may have grown the heap, or given back what it had taken away. */
		object = take(heap, &want);
		while (!object && !error && tries++ < GROW_TRIES)
			error = grow(heap, &want, &object);
		if (!object && !error)
			error = grow_alone(heap, &want, &object);
		if (!object && !error)
			error = fail(-ENOMEM, "no memory to keep track of large objects");
		pthread_mutex_unlock(&heap->work);
	}
	if (error)
		return error;
	*out = object->address;
	if (request->zero)
		fill_zero(object->address, request->size);
	return 0;
}

/* A tick will look at it. */
static void kick(struct range_heap *heap)
{
	if (!atomic_load_explicit(&heap->kicked, memory_order_relaxed) &&
	    !atomic_exchange(&heap->kicked, true))
		heap->source.kick(heap->source.context);
}

enum range_found range_heap_put(struct range_heap *heap, uint64_t object)
{
	uint32_t now = now_ms(heap);
	enum range_found found = RANGE_NOTHING;
	struct extent *e;

	pthread_mutex_lock(&heap->lock);
	e = extents_find(heap, object);
	if (e)
		found = e->address == object ? RANGE_OBJECT : RANGE_INSIDE;
	if (found == RANGE_OBJECT) {
		heap->live -= e->length;
		extents_stamp(e->address, e->length, now);
		extents_put(&heap->extents, e);
	}
	pthread_mutex_unlock(&heap->lock);
	if (found == RANGE_OBJECT)
		kick(heap);
	return found;
}

size_t range_heap_length(struct range_heap *heap, uint64_t object)
{
	const struct extent *e;
	size_t length;

	pthread_mutex_lock(&heap->lock);
	e = extents_find(heap, object);
	length = e && e->address == object ? e->length : 0;
	pthread_mutex_unlock(&heap->lock);
	return length;
}

bool range_heap_resize(struct range_heap *heap, uint64_t object, size_t size)
{
	uint32_t now = now_ms(heap);
	uint64_t length = to_steps(size);
	bool fits = false, shrunk = false;
	struct extent *e;

	if (size < RANGE_LEAST_BYTES || size > PTRDIFF_MAX)
		return false;
	pthread_mutex_lock(&heap->lock);
	e = extents_find(heap, object);
	if (e && e->address == object) {
		uint64_t others = heap->live - e->length;

		shrunk = length < e->length;
		if (shrunk)
			extents_stamp(object + length, e->length - length, now);
		fits = extents_resize(&heap->extents, e, length);
		set_live_locked(heap, others + e->length);
	}
	pthread_mutex_unlock(&heap->lock);
	if (shrunk)
		kick(heap);
	return fits;
}

/* ---- giving back; with the work lock ---- */

/* Pages of one chunk, in a free extent that is away meanwhile. */
struct idle_pages {
	struct extent             *extent;
	const struct range_backing *backing;
	uint64_t                   address, length;
};

static const struct range_backing *backing_at(struct range_heap *heap, uint64_t address)
{
	struct range_chunk *chunk;

	LIST_FOREACH(chunk, &heap->chunks, link)
		if (address - chunk->backing.address < chunk->backing.length)
			return &chunk->backing;
	return NULL;
}

/* The first stretch of whole pages from `from` on that have something to give back and are due. */
static bool find_pages_locked(struct idle_search *s, struct extent *e, struct idle_pages *out)
{
	uint64_t end = range_page_down(extent_end(e)), at = range_page_up(e->address);

	for (at = at > s->from ? at : s->from; at < end; at += RANGE_PAGE) {
		bool touched = atomic_load_explicit(&range_page(at)->freed_ms,
						    memory_order_relaxed) != 0;

		if (touched && is_due(s, at))
			break;
		s->more |= touched;
	}
	if (at >= end)
		return false;
	out->extent = e;
	out->backing = backing_at(s->heap, at);
	if (end > out->backing->address + out->backing->length)
		end = out->backing->address + out->backing->length;
	out->address = at;
	while (at < end && is_due(s, at))
		at += RANGE_PAGE;
	out->length = at - out->address;
	s->from = at;
	return true;
}

static bool hide_pages(struct idle_search *s, struct idle_pages *out)
{
	struct range_heap *heap = s->heap;
	struct extent *e;

	pthread_mutex_lock(&heap->lock);
	TAILQ_FOREACH(e, &heap->extents.order, order)
		if (!heap->closed && extent_end(e) > s->from && e->state == EXTENT_FREE &&
		    find_pages_locked(s, e, out))
			break;
	if (e)
		extents_hide(&heap->extents, e);
	pthread_mutex_unlock(&heap->lock);
	return e != NULL;
}

static void empty_pages(struct idle_search *s)
{
	struct range_heap *heap = s->heap;
	struct idle_pages p;

	while (hide_pages(s, &p)) {
		int error = heap->source.empty(heap->source.context, p.backing,
					       p.address - p.backing->address, p.length);

		pthread_mutex_lock(&heap->lock);
		if (!error)
			extents_stamp(p.address, p.length, 0);
		extents_put(&heap->extents, p.extent);
		pthread_mutex_unlock(&heap->lock);
		heap->counts.pages_emptied += p.length / RANGE_PAGE;
	}
}

bool range_heap_trim(struct range_heap *heap, uint32_t idle_ms)
{
	struct idle_search s = { .heap = heap, .idle_ms = idle_ms };

	pthread_mutex_lock(&heap->work);
	s.now_ms = now_ms(heap);
	close_chunks(&s, UINT64_MAX);
	empty_pages(&s);
	pthread_mutex_lock(&heap->lock);
	heap->most = heap->live;
	pthread_mutex_unlock(&heap->lock);
	pthread_mutex_unlock(&heap->work);
	return s.more;
}

bool range_heap_tick(struct range_heap *heap)
{
	/* What is freed while we work kicks again. */
	if (!atomic_exchange(&heap->kicked, false))
		return false;
	if (!range_heap_trim(heap, RANGE_IDLE_MS))
		return false;
	atomic_store(&heap->kicked, true);
	return true;
}

/* ---- validation ---- */

uint32_t range_heap_validate(struct range_heap *heap)
{
	uint32_t differences = 0;
	struct range_chunk *chunk;
	const struct extent *e;
	uint64_t bytes = 0, extents = 0, live = 0;

	pthread_mutex_lock(&heap->lock);
	if (!heap->closed)
		differences += extents_validate(&heap->extents);
	LIST_FOREACH(chunk, &heap->chunks, link) {
		const struct range_backing *b = &chunk->backing;

		bytes += b->length;
		for (uint64_t at = b->address; at < b->address + b->length; at += RANGE_PAGE)
			differences += range_heap_find(at) != (heap->closed ? NULL : heap);
	}
	TAILQ_FOREACH(e, &heap->extents.order, order) {
		extents += e->length;
		live += e->state == EXTENT_OBJECT ? e->length : 0;
		differences += !backing_at(heap, e->address);
	}
	differences += bytes != extents || bytes != heap->bytes;
	differences += live != heap->live || live > heap->most;
	pthread_mutex_unlock(&heap->lock);
	return differences;
}
