/* SPDX-License-Identifier: Apache-2.0 */
/*
 * typed - typed caches: opening and closing, hits and which way a miss goes
 *
 * Purpose     See typed.h.
 */
#include "typed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "cancel.h"
#include "error.h"
#include "export.h"
#include "heap/sizes.h"
#include "mmbroker.h"
#include "pool_heap.h"
#include "process.h"
#include "sample.h"

enum { CACHE_ALIGN_MAX = 4096, CACHE_ALIGN_MIN = 8, CACHE_ALIGN_LARGE = 16 };

/* ---- the handle ---- */

int cache_check(const struct mmb_cache *cache)
{
	if (!cache)
		return fail(-EINVAL, "the cache is NULL; open one with mmb_cache_open()");
	return pool_check(cache->pool);
}

void cache_handle_put(struct mmb_cache *cache)
{
	if (atomic_fetch_sub(&cache->refs, 1) != 1)
		return;
	pool_put(cache->pool);
	free(cache);
}

/* What the application asks for. */
struct cache_spec {
	struct mmb_pool *pool;
	const char      *name;
	size_t           object, align;
	unsigned int     flags;
};

static int check_open(const struct cache_spec *spec, struct mmb_cache **out)
{
	int error = pool_check(spec->pool);

	if (error)
		return error;
	if (!out)
		return fail(-EINVAL, "mmb_cache_open: out is NULL; pass where the cache is to go");
	if (!spec->name || !spec->name[0] || strnlen(spec->name, MMB_NAME_MAX + 1) > MMB_NAME_MAX)
		return fail(-EINVAL, "mmb_cache_open: a cache needs a name of 1 to %d bytes",
			    MMB_NAME_MAX);
	if (!spec->object || spec->object > SIZE_SLAB_MAX)
		return fail(-EINVAL, "mmb_cache_open: objects of %zu bytes; a cache takes 1 to %d",
			    spec->object, SIZE_SLAB_MAX);
	if (spec->align > CACHE_ALIGN_MAX || spec->align & (spec->align - 1))
		return fail(-EINVAL, "mmb_cache_open: alignment %zu is neither 0 nor a power of "
			    "two up to %d", spec->align, CACHE_ALIGN_MAX);
	if (spec->flags)
		return fail(-EINVAL, "mmb_cache_open: flags %#x; no flag has a meaning yet",
			    spec->flags);
	return 0;
}

static uint32_t stride(const struct cache_spec *spec)
{
	size_t least = spec->object < CACHE_ALIGN_LARGE ? CACHE_ALIGN_MIN : CACHE_ALIGN_LARGE;
	size_t align = spec->align > least ? spec->align : least;

	return (uint32_t)((spec->object + align - 1) & ~(align - 1));
}

static void close_at_daemon(struct mmb_pool *pool, uint32_t id)
{
	Mmb__Wire__CacheRequest request = MMB__WIRE__CACHE_REQUEST__INIT;

	request.pool = pool->handle;
	request.cache = id;
	call_simple(pool->mmb, MMB_METHOD_CACHE_CLOSE, &request.base);
}

static int open_at_daemon(const struct cache_spec *spec, uint32_t *id)
{
	Mmb__Wire__CacheOpenRequest request = MMB__WIRE__CACHE_OPEN_REQUEST__INIT;
	const Mmb__Wire__CacheOpenReply *reply;
	struct mmb *mmb = spec->pool->mmb;
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	request.pool = spec->pool->handle;
	request.name = (char *)(uintptr_t)spec->name;
	request.object = (uint32_t)spec->object;
	request.align = (uint32_t)spec->align;
	request.flags = spec->flags;
	error = call_run(mmb, c, MMB_METHOD_CACHE_OPEN, &request.base);
	reply = (const void *)c->reply;
	if (!error && (!reply->cache || reply->cache > SLAB_CACHES_MAX))
		error = call_protocol_error(mmb, "a cache came with a number that none has");
	if (!error && (reply->object != spec->object || reply->align != spec->align))
		error = call_protocol_error(mmb, "a cache came with other objects");
	if (!error)
		*id = reply->cache;
	call_put(mmb, c);
	return error;
}

static struct mmb_cache *cache_new(const struct cache_spec *spec, uint32_t id)
{
	struct mmb_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	pool_get(spec->pool);
	cache->pool = spec->pool;
	cache->bin = SLAB_SIZE_CLASSES - 1 + id;
	cache->want = (struct object_want){ .bin = cache->bin, .size = spec->object,
					    .align = spec->align };
	strcpy(cache->name, spec->name);
	cache->rule = (struct object_rule){ "mmb_cache_free", cache->bin, cache->name };
	cache->bulk_rule = (struct object_rule){ "mmb_cache_free_bulk", cache->bin, cache->name };
	atomic_store(&cache->refs, 1);
	return cache;
}

PUBLIC int mmb_cache_open(struct mmb_pool *pool, const char *name, size_t object, size_t align,
			  unsigned flags, struct mmb_cache **out)
{
	UNCANCELLED;
	const struct cache_spec spec = { pool, name, object, align, flags };
	struct mmb_cache *cache;
	struct heap_pool *hp;
	uint32_t id = 0;
	int error = check_open(&spec, out);

	if (!error)
		error = pool_heap_make(pool);
	if (!error)
		error = open_at_daemon(&spec, &id);
	if (error)
		return error;
	cache = cache_new(&spec, id);
	if (!cache) {
		close_at_daemon(pool, id);
		return fail(-ENOMEM, "mmb_cache_open: no memory for a handle");
	}
	hp = atomic_load_explicit(&pool->heap, memory_order_acquire);
	atomic_store(&hp->bins[cache->bin].size, stride(&spec)); /* Y1 */
	pthread_mutex_lock(&pool->map_lock);
	LIST_INSERT_HEAD(&pool->typed, cache, link);
	pthread_mutex_unlock(&pool->map_lock);
	*out = cache;
	return 0;
}

PUBLIC void mmb_cache_close(struct mmb_cache *cache)
{
	UNCANCELLED;
	struct mmb_pool *pool;

	if (!cache || pool_is_parents(cache->pool))
		return;
	pool = cache->pool;
	pthread_mutex_lock(&pool->map_lock);
	LIST_REMOVE(cache, link);
	pthread_mutex_unlock(&pool->map_lock);
	if (atomic_load(&pool->generation) != POOL_CLOSED)
		close_at_daemon(pool, cache->bin - SLAB_SIZE_CLASSES + 1);
	cache_handle_put(cache);
}

/* ---- allocating ---- */

static __attribute__((noinline)) void *alloc_slowly(struct mmb_cache *cache)
{
	int error = cache_check(cache);

	if (error)
		return fail_null(error);
	return object_alloc(cache->pool, &cache->want);
}

PUBLIC HOT void *mmb_cache_alloc(struct mmb_cache *cache)
{
	uint64_t object = likely(cache) ? cache_hit(cache) : 0;

	if (unlikely(!object))
		return alloc_slowly(cache);
	return (void *)(uintptr_t)object;
}

PUBLIC int mmb_cache_alloc_bulk(struct mmb_cache *cache, size_t n, void **objects)
{
	struct object_bulk bulk = { .nr = n, .out = objects };
	struct heap *h = heap_current;
	int error = cache_check(cache);

	if (!error && n && !objects)
		error = fail(-EINVAL, "mmb_cache_alloc_bulk: objects is NULL; pass where %zu "
			     "pointers are to go", n);
	if (!error && n > PTRDIFF_MAX / sizeof(*objects))
		error = fail(-ENOMEM, "mmb_cache_alloc_bulk: %zu pointers are more than an address "
			     "space holds", n);
	if (error)
		return error;
	heap_enter(h);
	if (likely(heap_is_open(h, cache->pool)))
		bulk.got = heap_alloc_bulk(h, cache->bin, n, objects);
	heap_leave(h);
	if (likely(bulk.got == n))
		return 0;
	bulk.want = &cache->want;
	return object_alloc_bulk(cache->pool, &bulk);
}

/* ---- freeing ---- */

static __attribute__((noinline)) void free_slowly(struct mmb_cache *cache, void *p)
{
	uint64_t object = (uintptr_t)p;
	const struct heap_view *view;
	struct heap *h;

	/* A forked child, or no memory for a heap: the object stays. */
	if (!object || cache_check(cache))
		return;
	h = pool_heap_enter(cache->pool);
	if (!h)
		return;
	view = heap_view_of(h->pool, object);
	if (view)
		object_free(h, view, object, &cache->rule);
	else if (!sample_free(object, &cache->rule))
		object_die(&cache->rule, object, "it is no address of the cache's pool");
	heap_leave(h);
}

PUBLIC HOT void mmb_cache_free(struct mmb_cache *cache, void *p)
{
	struct heap *h = heap_current;
	uint64_t object = (uintptr_t)p, offset;
	enum hit_put put = HIT_OTHER;
	struct slab_header *s = NULL;

	heap_enter(h);
	offset = object - h->base;
	if (likely(cache && heap_is_open(h, cache->pool) && heap_is_home(h, offset))) {
		s = h->map + (offset >> SLAB_UNIT_SHIFT);
		if (likely(s->bin == cache->bin))
			put = hit_put(h, offset >> SLAB_UNIT_SHIFT, object);
	}
	if (unlikely(put == HIT_MORE)) {
		object_free_more(h, s);
		return;
	}
	heap_leave(h);
	if (unlikely(put == HIT_OTHER))
		free_slowly(cache, p);
}

PUBLIC void mmb_cache_free_bulk(struct mmb_cache *cache, size_t n, void **objects)
{
	struct heap *h = heap_current;

	if (!n || cache_check(cache))
		return;
	if (!objects) {
		fail(-EINVAL, "mmb_cache_free_bulk: objects is NULL");
		return;
	}
	heap_enter(h);
	if (unlikely(!heap_is_open(h, cache->pool))) {
		heap_leave(h);
		h = pool_heap_enter(cache->pool);
		if (!h)
			return;
	}
	object_free_bulk(h, objects, n, &cache->bulk_rule);
	heap_leave(h);
}

bool cache_owns(struct mmb_cache *cache, void *p, const struct object_rule *rule)
{
	uint64_t object = (uintptr_t)p;
	const struct heap_view *view;
	struct heap_pool *hp;

	if (cache_check(cache))
		return false;
	hp = atomic_load_explicit(&cache->pool->heap, memory_order_acquire);
	view = heap_view_of(hp, object);
	if (!view && sample_check(object, rule))
		return true;
	if (!view)
		object_die(rule, object, "it is no address of the cache's pool");
	object_check(hp, view, object, rule);
	return true;
}
