/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap_area - plain memory with a slab map, for the tests of libclient/heap
 */
#include "lib/heap_area.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "heap/hit.h"
#include "heap/run.h"
#include "lib/test.h"
#include "object.h"

struct heap_area heap_area = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const struct object_rule rule = { .function = "heap_area_free", .bin = OBJECT_ANY };

enum { ALIGN = SLAB_UNITS_MAX * SLAB_UNIT_BYTES };
#define WINDOW_BYTES ((uint64_t)HEAP_AREA_UNITS * SLAB_UNIT_BYTES)
#define MAP_BYTES    ((size_t)HEAP_AREA_UNITS * SLAB_HEADER_BYTES)

static unsigned int nr_windows;

static uint64_t window_base(unsigned int window)
{
	return heap_area.base + window * (WINDOW_BYTES + ALIGN);
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	EXPECT(p != MAP_FAILED);
	return p;
}

/* Once a program; the pages are emptied between cases. */
static void map_once(void)
{
	size_t bytes = HEAP_AREA_WINDOWS * (WINDOW_BYTES + ALIGN) + ALIGN;
	void  *area;

	if (heap_area.base) {
		for (unsigned int w = 0; w < HEAP_AREA_WINDOWS; w++) {
			madvise((void *)window_base(w), WINDOW_BYTES, MADV_DONTNEED);
			memset(heap_area.maps[w], 0, MAP_BYTES);
		}
		return;
	}
	area = reserve(bytes);
	madvise(area, bytes, MADV_HUGEPAGE); /* where the host has some: far fewer page faults */
	heap_area.base = ((uint64_t)(uintptr_t)area + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
	for (unsigned int w = 0; w < HEAP_AREA_WINDOWS; w++)
		heap_area.maps[w] = reserve(MAP_BYTES);
}

void heap_area_begin(unsigned int windows)
{
	map_once();
	nr_windows = windows;
	memset(heap_area.leased, 0, sizeof(heap_area.leased));
	heap_area.nr_leased = heap_area.nr_asked = heap_area.largest = 0;
	heap_area.nr_kicks = heap_area.nr_wrong = heap_area.refuse = 0;
	heap_area.limit = windows * HEAP_AREA_UNITS;
	heap_area.refuse_all = heap_area.stingy = heap_area.deaf = false;
	heap_area.quick = NULL;
	heap_area.magazine_bytes = 0;
}

void heap_area_end(void)
{
	EXPECT_EQ(heap_area.nr_wrong, 0);
	EXPECT_EQ(heap_area.nr_leased, 0);
}

/* ---- the source ---- */

static bool is_free(const bool *leased, uint32_t units)
{
	for (uint32_t i = 0; i < units; i++)
		if (leased[i])
			return false;
	return true;
}

static uint64_t take_span_locked(uint32_t units)
{
	uint32_t align = 1;

	while (align < units)
		align *= 2;
	for (unsigned int w = 0; w < nr_windows; w++) {
		for (uint32_t at = 0; at + units <= HEAP_AREA_UNITS; at += align) {
			if (!is_free(&heap_area.leased[w][at], units))
				continue;
			memset(&heap_area.leased[w][at], true, units);
			heap_area.nr_leased += units;
			return window_base(w) + (uint64_t)at * SLAB_UNIT_BYTES;
		}
	}
	return 0;
}

static bool refuses_locked(void)
{
	heap_area.nr_asked++;
	if (!heap_area.refuse || heap_area.nr_asked < heap_area.refuse)
		return false;
	return heap_area.refuse_all || heap_area.nr_asked == heap_area.refuse;
}

static int lease(void *context, const struct stock_lease *want, uint64_t *addresses, uint32_t *nr)
{
	uint32_t count = heap_area.stingy ? 1 : want->count, got = 0;

	pthread_mutex_lock(&heap_area.lock);
	if (want->count > heap_area.largest)
		heap_area.largest = want->count;
	if (refuses_locked())
		count = 0;
	while (got < count && heap_area.nr_leased + want->units <= heap_area.limit) {
		addresses[got] = take_span_locked(want->units);
		if (!addresses[got])
			break;
		got++;
	}
	pthread_mutex_unlock(&heap_area.lock);
	*nr = got;
	return got ? 0 : fail(-ENOMEM, "the area has no %u units left", want->units);
}

static void give_unit_locked(uint64_t address)
{
	unsigned int w = address >= window_base(1);
	uint64_t unit = (address - window_base(w)) / SLAB_UNIT_BYTES;
	struct slab_header *s = &heap_area.maps[w][unit % HEAP_AREA_UNITS];

	if (address % SLAB_UNIT_BYTES || unit >= HEAP_AREA_UNITS || !heap_area.leased[w][unit] ||
	    slab_kind(s) != SLAB_NONE || slab_owner(s) % HEAP_THREADS) {
		heap_area.nr_wrong++;
		return;
	}
	atomic_store(&s->shared, 0); /* as the daemon does */
	heap_area.leased[w][unit] = false;
	heap_area.nr_leased--;
}

static void give(void *context, const struct stock_span *spans, uint32_t nr)
{
	if (heap_area.deaf)
		return;
	pthread_mutex_lock(&heap_area.lock);
	for (uint32_t i = 0; i < nr; i++)
		for (uint32_t u = 0; u < spans[i].units; u++)
			give_unit_locked(spans[i].address + (uint64_t)u * SLAB_UNIT_BYTES);
	pthread_mutex_unlock(&heap_area.lock);
}

static bool kick(void *context, bool now)
{
	struct heap_pool *quick;

	pthread_mutex_lock(&heap_area.lock);
	heap_area.nr_kicks++;
	quick = heap_area.quick;
	pthread_mutex_unlock(&heap_area.lock);
	if (quick)
		heap_pool_tick(quick);
	return true;
}

/* ---- pools ---- */

struct heap_pool *heap_area_pool(uint32_t member, bool is_private)
{
	const struct heap_pool_spec spec = {
		/* Compared and never followed. */
		.handle = (struct mmb_pool *)(uintptr_t)(0x1000 + member * 16),
		.is_private = is_private,
		.magazine_bytes = heap_area.magazine_bytes,
		.source = { .lease = lease, .give = give, .kick = kick },
		.key = HEAP_AREA_KEY,
		.member = member,
	};
	struct heap_pool *hp = heap_pool_new(&spec);

	EXPECT(hp);
	for (unsigned int w = 0; w < nr_windows; w++) {
		const struct heap_view view = { .base = window_base(w), .length = WINDOW_BYTES,
						.map = heap_area.maps[w], .fd = -1 };

		EXPECT_EQ(heap_pool_add_view(hp, &view), 0);
	}
	return hp;
}

void heap_area_retire(struct heap *h)
{
	heap_retire(h);
	heap_free(h);
}

void heap_area_kill(struct heap_pool *hp)
{
	struct heap *h;

	while ((h = LIST_FIRST(&hp->heaps))) {
		heap_abandon(h);
		heap_free(h);
	}
	heap_pool_free(hp);
}

void heap_area_close(struct heap_pool *hp)
{
	EXPECT_EQ(heap_pool_validate(hp), 0);
	heap_pool_close(hp);
	heap_pool_drain(hp);
	heap_pool_free(hp);
}

/* ---- a heap's thread ---- */

static void enter(struct heap *h)
{
	for (;;) {
		heap_enter(h);
		if (heap_is_open(h, h->pool->handle))
			return;
		heap_leave(h);
		pthread_mutex_lock(&h->pool->lock);
		pthread_mutex_unlock(&h->pool->lock);
	}
}

uint64_t heap_area_alloc(struct heap *h, unsigned int bin)
{
	uint64_t object;

	enter(h);
	object = heap_alloc(h, bin);
	heap_leave(h);
	return object;
}

uint64_t heap_area_run(struct heap *h, size_t size, size_t align)
{
	uint64_t object;

	enter(h);
	object = run_alloc(h, size, align);
	heap_leave(h);
	return object;
}

uint64_t heap_area_grow(struct heap *h, uint64_t object, size_t size)
{
	enter(h);
	object = run_grow(h, heap_header(heap_view_of(h->pool, object), object), object, size);
	heap_leave(h);
	return object;
}

size_t heap_area_bulk(struct heap *h, unsigned int bin, size_t nr, void **out)
{
	size_t got;

	enter(h);
	got = heap_alloc_bulk(h, bin, nr, out);
	heap_leave(h);
	return got;
}

void heap_area_free(struct heap *h, uint64_t object)
{
	const struct heap_view *view = heap_view_of(h->pool, object);
	struct slab_header *s = heap_header(view, object);
	enum hit_put put = HIT_OTHER;

	enter(h);
	if (view == h->home)
		put = hit_put(h, (uint64_t)(s - view->map), object);
	switch (put) {
	case HIT_DONE:
		break;
	case HIT_MORE:
		heap_put_more(h, s);
		break;
	case HIT_OTHER:
		if (!hit_keep(h, s, object))
			object_free(h, view, object, &rule);
	}
	heap_leave(h);
}

void heap_area_free_bulk(struct heap *h, void **objects, size_t nr)
{
	enter(h);
	object_free_bulk(h, objects, nr, &rule);
	heap_leave(h);
}

/* ---- what there is ---- */

uint32_t heap_area_gathered(const struct heap *h)
{
	uint32_t nr = 0;

	for (int i = 0; i < HEAP_PENDING; i++)
		nr += h->pending[i].slab.slab ? h->pending[i].chain.nr : 0;
	return nr;
}

static uint64_t handed_out(const struct slab_header *s)
{
	return slab_used(s) - shared_count(slab_shared(s));
}

struct heap_area_use heap_area_use(void)
{
	struct heap_area_use use = { 0, 0 };

	for (unsigned int w = 0; w < nr_windows; w++) {
		for (uint32_t i = 0; i < HEAP_AREA_UNITS; i++) {
			const struct slab_header *s = &heap_area.maps[w][i];

			if (slab_kind(s) != SLAB_OBJECTS)
				continue;
			use.objects += handed_out(s);
			use.units += s->units;
		}
	}
	return use;
}
