/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc - mmb_malloc and its kin: the hits, and which way a miss goes
 *
 * Purpose     A hit is a few loads and stores in the thread's heap: no lock, no locked
 *             instruction, no system call. See heap/heap.h.
 * Invariants  A1  Between heap_enter() and heap_leave() the heap is looked at again: a visitor may
 *                 have closed it.
 * Not here    Slabs and their lists (heap/), typed caches (typed.c), objects above 4 MiB (range.c).
 */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "export.h"
#include "heap/run.h"
#include "pool.h"
#include "pool_heap.h"
#include "range.h"

static inline bool is_open(struct heap *h, const struct mmb_pool *pool)
{
	return atomic_load_explicit(&h->open_pool, memory_order_acquire) == pool;
}

/* ---- allocating ---- */

/* Inside the heap; 0: no memory. */
static uint64_t alloc_inside(struct heap *h, size_t size)
{
	return size <= SIZE_SLAB_MAX ? heap_alloc(h, size_bin(size)) : run_alloc(h, size, 1);
}

/* What this process keeps unused may be what is missing. */
static uint64_t alloc_again(struct mmb_pool *pool, size_t size)
{
	struct heap *h;
	uint64_t object;

	pool_heap_trim(pool);
	h = pool_heap_enter(pool);
	if (!h)
		return 0;
	object = alloc_inside(h, size);
	heap_leave(h);
	return object;
}

static __attribute__((noinline)) void *alloc_slowly(struct mmb_pool *pool, size_t size)
{
	struct heap *h = pool_heap_enter(pool);
	uint64_t object = 0;

	if (!h)
		return NULL;
	if (size <= RUN_BYTES_MAX) {
		object = alloc_inside(h, size);
		heap_leave(h);
		if (!object)
			object = alloc_again(pool, size);
	} else {
		heap_leave(h);
		object = range_alloc(pool, size);
	}
	if (!object)
		errno = ENOMEM;
	return (void *)(uintptr_t)object;
}

static __attribute__((noinline)) void *alloc_medium(struct mmb_pool *pool, size_t size)
{
	struct heap *h = heap_current;
	struct slab_header *s;
	uint64_t object;

	heap_enter(h);
	if (unlikely(!is_open(h, pool) || size > SIZE_SLAB_MAX))
		goto miss;
	s = h->bins[size_bin_medium(size)];
	object = s->hot;
	if (likely(object)) {
		s->hot = 0;
		heap_leave(h);
		return (void *)(uintptr_t)object;
	}
	object = s->free;
	if (unlikely(object & 1))
		goto miss;
	slab_pop(s, object, h->key);
	heap_leave(h);
	return (void *)(uintptr_t)object;
miss:
	heap_leave(h);
	return alloc_slowly(pool, size);
}

PUBLIC void *mmb_malloc(struct mmb_pool *pool, size_t size)
{
	struct heap *h = heap_current;
	struct slab_header *s;
	uint64_t object;

	if (unlikely(size > SIZE_TABLE_MAX))
		return alloc_medium(pool, size);
	heap_enter(h);
	if (unlikely(!is_open(h, pool)))
		goto miss;
	s = h->quick[(size + 7) / 8];
	object = s->hot;
	if (likely(object)) {
		s->hot = 0;
		heap_leave(h);
		return (void *)(uintptr_t)object;
	}
	object = s->free;
	if (unlikely(object & 1))
		goto miss;
	slab_pop(s, object, h->key);
	heap_leave(h);
	return (void *)(uintptr_t)object;
miss:
	heap_leave(h);
	return alloc_slowly(pool, size);
}

PUBLIC void *mmb_calloc(struct mmb_pool *pool, size_t n, size_t size)
{
	size_t bytes;
	void *object;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		fail(-ENOMEM, "mmb_calloc: %zu objects of %zu bytes are more than an address "
		     "space holds", n, size);
		return fail_null(-ENOMEM);
	}
	object = mmb_malloc(pool, bytes);
	/* Ranges are zero when they come. */
	if (object && !range_is(object))
		memset(object, 0, bytes);
	return object;
}

/* A size whose bin's objects all lie on multiples of align; 0: none. */
static size_t aligned_size(size_t align, size_t size)
{
	size_t want = size > align ? size : align;

	for (; want <= SIZE_SLAB_MAX; want = size_of_bin(size_bin(want)) + 1) {
		size_t object = size_of_bin(size_bin(want));

		if (!(object % align))
			return object;
	}
	return 0;
}

PUBLIC void *mmb_aligned_alloc(struct mmb_pool *pool, size_t alignment, size_t size)
{
	size_t rounded;
	uint64_t object = 0;
	struct heap *h;

	if (!alignment || alignment & (alignment - 1)) {
		fail(-EINVAL, "mmb_aligned_alloc: alignment %zu is no power of two", alignment);
		return fail_null(-EINVAL);
	}
	rounded = aligned_size(alignment, size);
	if (rounded)
		return mmb_malloc(pool, rounded);
	if (alignment > RANGE_ALIGN_MAX) {
		fail(-EINVAL, "mmb_aligned_alloc: alignment %zu is above 2 MiB", alignment);
		return fail_null(-EINVAL);
	}
	if (size > RUN_BYTES_MAX)
		return mmb_malloc(pool, size);
	h = pool_heap_enter(pool);
	if (!h)
		return NULL;
	object = run_alloc(h, size > SIZE_SLAB_MAX ? size : SIZE_SLAB_MAX + 1, alignment);
	heap_leave(h);
	if (!object)
		errno = ENOMEM;
	return (void *)(uintptr_t)object;
}

/* ---- freeing ---- */

static _Noreturn void die_wild(uint64_t object, const char *why)
{
	die("libmmbroker: mmb_free(%#llx): %s", (unsigned long long)object, why);
}

/* Its word is that of a free object: by chance, or because it is one. */
static void check_twice(const struct slab_view *v, uint64_t object)
{
	if (slab_has_free(v, object))
		die_wild(object, "the object has been freed already (double free)");
}

/* Inside the heap of the object's pool. */
static void free_inside(struct heap *h, const struct heap_view *view, uint64_t object)
{
	struct slab_view v = { .slab = heap_header(view, object), .key = h->key };

	if (slab_kind(v.slab) == SLAB_TAIL && v.slab->back < SLAB_UNITS_MAX)
		v.slab -= v.slab->back;
	v.start = view->base + ((uint64_t)(v.slab - view->map) << SLAB_UNIT_SHIFT);
	switch (slab_kind(v.slab)) {
	case SLAB_OBJECTS:
		if (!slab_is_object(&v, object))
			die_wild(object, "no object begins there");
		if (slab_looks_free(object, h->key) && slab_owner(v.slab) == h->id)
			check_twice(&v, object);
		heap_free_object(h, &v, object);
		break;
	case SLAB_RUN:
		if (object != v.start)
			die_wild(object, "it lies inside an object");
		run_free(h, v.slab, object);
		break;
	default:
		die_wild(object, "nothing is allocated there (double free, or a wild address)");
	}
}

static __attribute__((noinline)) void free_slowly(uint64_t object)
{
	struct mmb_pool *pool;
	struct heap *h;

	if (!object)
		return;
	pool = pool_heap_find(object);
	if (!pool) {
		if (!range_free(object))
			die_wild(object, "it is no address of an open pool of this process");
		return;
	}
	h = pool_heap_enter(pool);
	if (!h)
		return; /* a forked child, or no memory for a heap: the object stays */
	free_inside(h, heap_view_of(h->pool, object), object);
	heap_leave(h);
}

/* In the window of the heap, and not simply the owner's. */
static __attribute__((noinline)) void free_other(struct heap *h, uint64_t object)
{
	const struct heap_view view = {
		.base = h->base,
		.length = atomic_load_explicit(&h->open_length, memory_order_relaxed),
		.map = h->map,
	};

	free_inside(h, &view, object);
	heap_leave(h);
}

static __attribute__((noinline)) void free_more(struct heap *h, struct slab_header *s)
{
	heap_free_more(h, s);
	heap_leave(h);
}

PUBLIC void mmb_free(void *p)
{
	struct heap *h = heap_current;
	uint64_t object = (uintptr_t)p, offset;
	struct slab_header *s;

	heap_enter(h);
	offset = object - h->base;
	if (unlikely(offset >= atomic_load_explicit(&h->open_length, memory_order_acquire))) {
		heap_leave(h);
		free_slowly(object);
		return;
	}
	s = h->map + (offset >> SLAB_UNIT_SHIFT);
	if (unlikely(slab_owner(s) != h->id || slab_looks_free(object, h->key))) {
		free_other(h, object);
		return;
	}
	if (likely(!s->hot)) {
		s->hot = object;
		heap_leave(h);
		return;
	}
	if (unlikely(s->hot == object)) {
		free_other(h, object);
		return;
	}
	slab_push(s, object, h->key);
	if (unlikely(!--s->left)) {
		free_more(h, s);
		return;
	}
	heap_leave(h);
}

/* ---- sizes ---- */

/* The header of its unit; NULL: in no arena. */
static inline const struct slab_header *header_of(uint64_t object)
{
	struct heap *h = heap_current;
	uint64_t offset = object - h->base;
	struct mmb_pool *pool;

	/* Maps outlive their heaps: no need to enter. */
	if (likely(offset < atomic_load_explicit(&h->open_length, memory_order_acquire)))
		return h->map + (offset >> SLAB_UNIT_SHIFT);
	pool = pool_heap_find(object);
	return pool ? pool_heap_header(pool, object) : NULL;
}

PUBLIC size_t mmb_usable_size(const void *p)
{
	uint64_t object = (uintptr_t)p;
	const struct slab_header *s = object ? header_of(object) : NULL;

	if (!s)
		return object ? range_length(object) : 0;
	if (slab_kind(s) == SLAB_TAIL && s->back < SLAB_UNITS_MAX)
		s -= s->back;
	if (slab_kind(s) == SLAB_OBJECTS)
		return s->size;
	return slab_kind(s) == SLAB_RUN ? (size_t)s->units * SLAB_UNIT_BYTES : 0;
}

/* Whether the object may stay where it is: not too small and not far too large. */
static bool fits(const void *p, size_t usable, size_t size)
{
	if (size > usable)
		return false;
	if (usable > SIZE_SLAB_MAX)
		return usable - size <= usable / 8 || range_is(p);
	return size > usable / 2 || usable <= 64;
}

PUBLIC void *mmb_realloc(struct mmb_pool *pool, void *p, size_t size)
{
	size_t usable;
	void *other;

	if (!p)
		return mmb_malloc(pool, size);
	usable = mmb_usable_size(p);
	if (!usable)
		die_wild((uintptr_t)p, "mmb_realloc of what isn't allocated");
	if (fits(p, usable, size))
		return p;
	other = mmb_malloc(pool, size);
	if (!other)
		return NULL;
	memcpy(other, p, usable < size ? usable : size);
	mmb_free(p);
	return other;
}

PUBLIC int mmb_trim(struct mmb_pool *pool)
{
	int error = pool_check(pool);

	if (error)
		return error;
	pool_heap_trim(pool);
	return 0;
}
