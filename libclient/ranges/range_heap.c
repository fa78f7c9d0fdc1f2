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

/* ---- growing; with the work lock ---- */

/* How much the heap lacks at its end for an object. */
struct growth {
	uint64_t address; /* its end at home */
	uint64_t least;   /* bytes, in whole pages */
	uint64_t ahead;   /* as many more would be good */
};

static const struct extent *last_at_home_locked(const struct range_heap *heap)
{
	const struct extent *e = TAILQ_LAST(&heap->extents.order, extent_order);

	while (e && e->address >= heap->source.home + RANGE_HOME_BYTES)
		e = TAILQ_PREV(e, extent_order, order);
	return e && e->address >= heap->source.home ? e : NULL;
}

static struct growth plan_growth(struct range_heap *heap, const struct extent_want *want)
{
	struct growth g = { .address = heap->source.home };
	const struct extent *last;
	uint64_t start;

	pthread_mutex_lock(&heap->lock);
	g.ahead = range_page_down(heap->bytes >> RANGE_AHEAD_SHIFT);
	if (g.ahead > RANGE_AHEAD_MAX)
		g.ahead = RANGE_AHEAD_MAX;
	last = last_at_home_locked(heap);
	if (last)
		g.address = extent_end(last);
	start = last && last->state == EXTENT_FREE ? last->address : g.address;
	start = (start + want->align - 1) & ~(want->align - 1);
	g.least = range_page_up(start + want->length - g.address);
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
	object = extents_take(&heap->extents, want);
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

static int grow(struct range_heap *heap, const struct extent_want *want, struct extent **object)
{
	struct growth g = plan_growth(heap, want);
	struct range_backing wanted = { .address = g.address, .length = g.least + g.ahead };
	uint64_t room = heap->source.home + RANGE_HOME_BYTES - g.address;
	int error = -EADDRNOTAVAIL;

	if (wanted.length <= room)
		error = add_chunk(heap, &wanted, want, object);
	if (error == -ENOMEM && g.ahead) {
		wanted.length = g.least;
		error = add_chunk(heap, &wanted, want, object);
	}
	/* Somebody is there, or a sanitizer has its own idea of what is an address. */
	if (error && error != -ENOMEM) {
		wanted = (struct range_backing){ .length = range_page_up(want->length) };
		error = add_chunk(heap, &wanted, want, object);
	}
	return error;
}

/* ---- objects ---- */

static struct extent *take(struct range_heap *heap, const struct extent_want *want)
{
	struct extent *e;

	pthread_mutex_lock(&heap->lock);
	e = heap->closed ? NULL : extents_take(&heap->extents, want);
	pthread_mutex_unlock(&heap->lock);
	return e;
}

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
		/* The end of the heap may be taken by another thread while it grows. */
		while (!object && !error && tries++ < GROW_TRIES)
			error = grow(heap, &want, &object);
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
		shrunk = length < e->length;
		if (shrunk)
			extents_stamp(object + length, e->length - length, now);
		fits = extents_resize(&heap->extents, e, length);
	}
	pthread_mutex_unlock(&heap->lock);
	if (shrunk)
		kick(heap);
	return fits;
}

/* ---- giving back; with the work lock ---- */

/* What one round works at: free memory that is due, and whether there is some that isn't yet. */
struct idle_search {
	struct range_heap *heap;
	uint32_t           now_ms, idle_ms;
	uint64_t           from; /* looked at up to here */
	bool               more;
};

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

/* A chunk that is due, off the list; NULL: none (more). */
static struct range_chunk *unlist_due(struct idle_search *s)
{
	struct range_heap *heap = s->heap;
	struct range_chunk *chunk;

	pthread_mutex_lock(&heap->lock);
	LIST_FOREACH(chunk, &heap->chunks, link) {
		struct extent *e = wholly_free_locked(heap, &chunk->backing);

		if (!e || heap->closed)
			continue;
		if (all_due(s, &chunk->backing) && cut_out_locked(heap, e, &chunk->backing))
			break;
		s->more = true;
	}
	if (chunk) {
		range_pages_own(chunk->backing.address, chunk->backing.length, NULL);
		LIST_REMOVE(chunk, link);
		heap->bytes -= chunk->backing.length;
	}
	pthread_mutex_unlock(&heap->lock);
	return chunk;
}

static void close_chunks(struct idle_search *s)
{
	struct range_heap *heap = s->heap;
	struct range_chunk *chunk;

	while ((chunk = unlist_due(s))) {
		heap->source.destroy(heap->source.context, &chunk->backing);
		heap->counts.chunks_closed++;
		free(chunk);
	}
}

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
	close_chunks(&s);
	empty_pages(&s);
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
	uint64_t bytes = 0, extents = 0;

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
		differences += !backing_at(heap, e->address);
	}
	differences += bytes != extents || bytes != heap->bytes;
	pthread_mutex_unlock(&heap->lock);
	return differences;
}
