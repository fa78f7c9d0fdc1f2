/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc - mmb_malloc and its kin: the hits, and which way a miss goes
 *
 * Purpose     A hit is a few loads and stores in the thread's heap: no lock, no locked
 *             instruction, no system call. See heap/heap.h.
 * Not here    What a hit is (heap/hit.h), slabs and their lists (heap/), misses (object.c), typed
 *             caches (typed.c), objects above 4 MiB (range.c).
 */
#include <errno.h>
#include <string.h>

#include "cancel.h"
#include "conf.h"
#include "connection.h"
#include "error.h"
#include "export.h"
#include "heap/hit.h"
#include "heap/run.h"
#include "object.h"
#include "pool.h"
#include "pool_heap.h"
#include "process.h"
#include "range.h"
#include "sample.h"

static const struct object_rule any_object = { .function = "mmb_free", .bin = OBJECT_ANY };
static const struct object_rule resized = { .function = "mmb_realloc", .bin = OBJECT_ANY };

/* ---- allocating ---- */

static void *alloc_range(struct mmb_pool *pool, const struct range_request *request)
{
	uint64_t object;
	int error = pool_check(pool);

	if (error)
		return fail_null(error);
	object = range_alloc(pool, request);
	/* A length that no region can have is more memory than there is. */
	if (!object)
		errno = fail_code() == -EINVAL ? ENOMEM : -fail_code();
	return (void *)(uintptr_t)object;
}

static __attribute__((noinline)) void *alloc_slowly(struct mmb_pool *pool, size_t size)
{
	struct object_want want = { .size = size, .align = 1 };

	if (size > RUN_BYTES_MAX)
		return alloc_range(pool, &(struct range_request){ .size = size });
	if (size <= SIZE_SLAB_MAX)
		want.bin = size_bin(size);
	else
		want.run = size;
	return object_alloc(pool, &want);
}

static __attribute__((noinline)) void *alloc_run(struct mmb_pool *pool, size_t size)
{
	struct heap *h = heap_current;
	uint64_t object;
	bool kept;

	heap_enter(h);
	kept = likely(heap_is_open(h, pool)) && size <= RUN_BYTES_MAX &&
	       run_take_kept(h, size, &object);
	heap_leave(h);
	return kept ? (void *)(uintptr_t)object : alloc_slowly(pool, size);
}

/* Nothing here has its address taken: a hit needs no frame. */
static HOT __attribute__((noinline)) void *alloc_medium(struct mmb_pool *pool, size_t size)
{
	struct heap *h = heap_current;
	uint64_t object;

	if (unlikely(size > SIZE_SLAB_MAX))
		return alloc_run(pool, size);
	heap_enter(h);
	if (unlikely(!heap_is_open(h, pool)) ||
	    !(object = hit_take(h->magazines[size_bin_medium(size)]))) {
		heap_leave(h);
		return alloc_slowly(pool, size);
	}
	heap_leave(h);
	return (void *)(uintptr_t)object;
}

PUBLIC HOT void *mmb_malloc(struct mmb_pool *pool, size_t size)
{
	struct heap *h = heap_current;
	uint64_t object;

	if (unlikely(size > SIZE_TABLE_MAX))
		return alloc_medium(pool, size);
	heap_enter(h);
	if (unlikely(!heap_is_open(h, pool)) ||
	    !(object = hit_take(h->quick[(size + 7) / 8]))) {
		heap_leave(h);
		return alloc_slowly(pool, size);
	}
	heap_leave(h);
	return (void *)(uintptr_t)object;
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
	/* Much of a range is zero already, as a rule. */
	if (bytes > RUN_BYTES_MAX)
		return alloc_range(pool, &(struct range_request){ .size = bytes, .zero = true });
	object = mmb_malloc(pool, bytes);
	if (object)
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
	struct object_want want = { .align = alignment };
	size_t rounded;

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
		return alloc_range(pool, &(struct range_request){ .size = size,
								  .align = alignment });
	want.run = size > SIZE_SLAB_MAX ? size : SIZE_SLAB_MAX + 1;
	return object_alloc(pool, &want);
}

/* ---- freeing ---- */

static void free_range(uint64_t object)
{
	if (pool_heap_was_parents(object)) {
		process_disowned();
		return;
	}
	if (!range_is((void *)(uintptr_t)object))
		object_die(&any_object, object, "it is no address of an open pool of this process");
	if (conf.harden)
		memset((void *)(uintptr_t)object, 0, range_length(object));
	switch (range_free(object)) {
	case RANGE_OBJECT:
		break;
	case RANGE_INSIDE:
		object_die(&any_object, object, "it lies inside an object");
	case RANGE_NOTHING:
		object_die(&any_object, object, "nothing is allocated there (double free, or a "
			   "wild address)");
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
		if (!sample_free(object, &any_object))
			free_range(object);
		return;
	}
	h = pool_heap_enter(pool);
	if (!h)
		return; /* a forked child, or no memory for a heap: the object stays */
	object_free(h, heap_view_of(h->pool, object), object, &any_object);
	heap_leave(h);
}

/* In the window of the heap: a run, or what no magazine keeps. */
static __attribute__((noinline)) void free_elsewhere(uint64_t object, struct heap *h)
{
	struct slab_header *s = h->map + ((object - h->base) >> SLAB_UNIT_SHIFT);
	const struct heap_view view = {
		.base = h->base,
		.length = atomic_load_explicit(&h->open_length, memory_order_relaxed),
		.map = h->map,
	};

	if (slab_kind(s) == SLAB_RUN && !(object % SLAB_UNIT_BYTES))
		run_free(h, s, object);
	else
		object_free(h, &view, object, &any_object);
	heap_leave(h);
}

/* Not simply the owner's. Another thread's, as a rule: no frame is made for that. */
static HOT __attribute__((noinline)) void free_other(uint64_t object, struct heap *h,
						     uint64_t unit)
{
	if (unlikely(!hit_keep(h, h->map + unit, object))) {
		free_elsewhere(object, h);
		return;
	}
	heap_leave(h);
}

/* The object stands first here and above, so that it stays in the register it came in. */
static __attribute__((noinline)) void free_more(uint64_t object, struct heap *h)
{
	object_free_more(h, h->map + ((object - h->base) >> SLAB_UNIT_SHIFT));
}

PUBLIC HOT void mmb_free(void *p)
{
	struct heap *h = heap_current;
	uint64_t object = (uintptr_t)p, offset;

	heap_enter(h);
	offset = object - h->base;
	if (unlikely(!heap_is_home(h, offset))) {
		heap_leave(h);
		free_slowly(object);
		return;
	}
	switch (hit_put(h, offset >> SLAB_UNIT_SHIFT, object)) {
	case HIT_DONE:
		heap_leave(h);
		return;
	case HIT_MORE:
		free_more(object, h);
		return;
	case HIT_OTHER:
		free_other(object, h, offset >> SLAB_UNIT_SHIFT);
	}
}

/* ---- sizes ---- */

/* The header of its unit; NULL: in no arena. */
static inline const struct slab_header *header_of(uint64_t object)
{
	struct heap *h = heap_current;
	uint64_t offset = object - h->base;
	struct mmb_pool *pool;

	/* Maps outlive their heaps: no need to enter. */
	if (likely(heap_is_home(h, offset)))
		return h->map + (offset >> SLAB_UNIT_SHIFT);
	pool = pool_heap_find(object);
	return pool ? pool_heap_header(pool, object) : NULL;
}

static size_t length_elsewhere(uint64_t object)
{
	size_t sampled = sample_size(object);

	return sampled ? sampled : range_length(object);
}

PUBLIC size_t mmb_usable_size(const void *p)
{
	uint64_t object = (uintptr_t)p;
	const struct slab_header *s = object ? header_of(object) : NULL;

	if (!s)
		return object ? length_elsewhere(object) : 0;
	if (slab_kind(s) == SLAB_TAIL && s->back < SLAB_UNITS_MAX)
		s -= s->back;
	if (slab_kind(s) == SLAB_OBJECTS)
		return s->size;
	return slab_kind(s) == SLAB_RUN ? (size_t)s->units * SLAB_UNIT_BYTES : 0;
}

/* Whether the object may stay where it is: not too small and not far too large. */
static bool fits(const void *p, size_t usable, size_t size)
{
	if (range_is(p))
		return range_resize((uintptr_t)p, size);
	if (size > usable)
		return false;
	if (usable > SIZE_SLAB_MAX)
		return usable - size <= usable / 8;
	return size > usable / 2 || usable <= 64;
}

/* A run where units beside it are free; NULL: it has to go elsewhere. */
static void *grow_run(struct mmb_pool *pool, uint64_t object, size_t size)
{
	struct slab_view v;
	struct heap *h;

	if (!pool || !pool->is_private || conf_no_hits() || pool_heap_find(object) != pool)
		return NULL;
	h = pool_heap_enter(pool);
	if (!h)
		return NULL;
	v = object_check(h->pool, heap_view_of(h->pool, object), object, &resized);
	object = slab_kind(v.slab) == SLAB_RUN ? run_grow(h, v.slab, object, size) : 0;
	heap_leave(h);
	return (void *)(uintptr_t)object;
}

/* An object of another client's, which nothing is known of before the slab map is there. */
static int reach(uint64_t object)
{
	struct mmb_pool *pool = object ? pool_heap_find(object) : NULL;

	return pool ? pool_heap_make(pool) : 0;
}

/* mmb_free() leaves a parent's alone; here there is nothing that could be copied. */
static void *resize_nothing(uint64_t object)
{
	if (!pool_heap_was_parents(object) && !range_was_parents(object) &&
	    !sample_was_parents(object))
		object_die(&resized, object, "nothing is allocated there");
	return fail_null(process_disowned());
}

/* Before it may stay where it is: a freed one would become two. */
static void check_hardened(uint64_t object)
{
	struct mmb_pool *pool = pool_heap_find(object);
	const struct heap_pool *hp;

	if (!pool)
		return;
	hp = atomic_load_explicit(&pool->heap, memory_order_acquire);
	object_check(hp, heap_view_of(hp, object), object, &resized);
}

PUBLIC void *mmb_realloc(struct mmb_pool *pool, void *p, size_t size)
{
	size_t usable;
	void *other;
	int error;

	if (!p)
		return mmb_malloc(pool, size);
	usable = mmb_usable_size(p);
	if (!usable) {
		error = reach((uintptr_t)p);
		if (error)
			return fail_null(error);
		usable = mmb_usable_size(p);
	}
	if (!usable)
		return resize_nothing((uintptr_t)p);
	if (conf.harden)
		check_hardened((uintptr_t)p);
	if (fits(p, usable, size))
		return p;
	if (usable > SIZE_SLAB_MAX && size > usable && size <= RUN_BYTES_MAX) {
		other = grow_run(pool, (uintptr_t)p, size);
		if (other)
			return other;
	}
	other = mmb_malloc(pool, size);
	if (!other)
		return NULL;
	memcpy(other, p, usable < size ? usable : size);
	mmb_free(p);
	return other;
}

PUBLIC int mmb_trim(struct mmb_pool *pool)
{
	UNCANCELLED;
	int error = pool_check(pool);

	if (!error)
		error = channel_failure(&pool->mmb->channel);
	if (error)
		return error;
	pool_heap_trim_all(pool);
	/* A mmb_close() meanwhile has waited for the trim: it was done. */
	error = channel_failure(&pool->mmb->channel);
	return atomic_load(&pool->mmb->closing) ? 0 : error;
}
