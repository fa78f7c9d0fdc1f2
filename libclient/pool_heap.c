/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_heap - the heap of a pool handle: made at its first object, found by address
 *
 * Purpose     See pool_heap.h.
 */
#include "pool_heap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "connection.h"
#include "error.h"
#include "heap/heap.h"
#include "pages.h"
#include "unit_lease.h"

/* ---- windows by address, for mmb_free() ---- */

enum { WINDOWS = 256 };

/* w: written under the process lock; length last when it comes, first when it goes */
struct heap_window {
	_Atomic uint64_t           length; /* (w) 0: free */
	_Atomic uint64_t           base;   /* (w) */
	_Atomic(struct mmb_pool *) pool;   /* (w) */
	int                        fd;     /* (w) of the slab map: what a forked child closes */
};
static struct heap_window windows[WINDOWS];
static _Atomic uint32_t nr_windows; /* ever used */

static bool list_window(struct mmb_pool *pool, const struct heap_view *view)
{
	uint32_t i;

	process_lock();
	for (i = 0; i < WINDOWS && windows[i].length; i++)
		;
	if (i < WINDOWS) {
		windows[i].base = view->base;
		windows[i].pool = pool;
		windows[i].fd = view->fd;
		atomic_store_explicit(&windows[i].length, view->length, memory_order_release);
		if (i >= nr_windows)
			nr_windows = i + 1;
	}
	process_unlock();
	return i < WINDOWS;
}

static void unlist_windows(const struct mmb_pool *pool)
{
	process_lock();
	for (uint32_t i = 0; i < nr_windows; i++)
		if (windows[i].pool == pool)
			windows[i].length = 0;
	process_unlock();
}

void pool_heap_forget_all(void)
{
	for (uint32_t i = 0; i < nr_windows; i++) {
		if (windows[i].length)
			close(windows[i].fd);
		windows[i].length = 0;
	}
}

struct mmb_pool *pool_heap_find(uint64_t address)
{
	uint32_t nr = atomic_load_explicit(&nr_windows, memory_order_relaxed);

	for (uint32_t i = 0; i < nr; i++) {
		uint64_t length = atomic_load_explicit(&windows[i].length, memory_order_acquire);

		if (address - windows[i].base < length)
			return windows[i].pool;
	}
	return NULL;
}

/* ---- making ---- */

static int map_view(struct mmb_pool *pool, const Mmb__Wire__SlabMapWindow *w, int fd)
{
	struct heap_pool *hp = pool->heap_making;
	struct heap_view view = { .base = w->address, .length = w->length };
	size_t bytes = w->length >> SLAB_UNIT_SHIFT << SLAB_HEADER_SHIFT;
	int error;

	if (!runmap_covers(&pool->runs, w->address, 0) || w->length % SLAB_UNIT_BYTES ||
	    w->address % SLAB_UNIT_BYTES)
		return call_protocol_error(pool->mmb, "a slab map describes no arena window");
	view.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (view.fd < 0)
		return fail(-errno, "can't keep a slab map's descriptor (errno %d); look at "
			    "RLIMIT_NOFILE", errno);
	view.map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (view.map == MAP_FAILED) {
		error = fail(-errno, "can't map a slab map of %zu bytes (errno %d)", bytes, errno);
		close(view.fd);
		return error;
	}
	madvise(view.map, bytes, MADV_DONTFORK);
	error = heap_pool_add_view(hp, &view);
	if (!error && !list_window(pool, &view))
		error = fail(-ENOMEM, "this process has %d arena windows in use already", WINDOWS);
	return error;
}

/* One reply's windows; *more: there are others. */
static int map_some_views(struct mmb_pool *pool, bool *more)
{
	struct heap_pool *hp = pool->heap_making;
	Mmb__Wire__SlabMapRequest request = MMB__WIRE__SLAB_MAP_REQUEST__INIT;
	const Mmb__Wire__SlabMapReply *reply;
	struct call *c;
	int error;
	size_t i;

	c = call_get(pool->mmb, &error);
	if (!c)
		return error;
	request.pool = pool->handle;
	request.first = hp->nr_views;
	error = call_run(pool->mmb, c, MMB_METHOD_SLAB_MAP, &request.base);
	reply = (const void *)c->reply;
	if (!error && reply->n_windows != c->message.nr_fds)
		error = call_protocol_error(pool->mmb, "a slab map came without descriptor");
	for (i = 0; !error && i < reply->n_windows; i++)
		error = map_view(pool, reply->windows[i], c->message.fds[i]);
	if (!error)
		*more = reply->n_windows && hp->nr_views < reply->total;
	call_put(pool->mmb, c);
	return error;
}

static void unmap_views(struct heap_pool *hp)
{
	for (uint32_t i = 0; i < hp->nr_views; i++) {
		munmap(hp->views[i].map,
		       hp->views[i].length >> SLAB_UNIT_SHIFT << SLAB_HEADER_SHIFT);
		close(hp->views[i].fd);
	}
}

static int make_locked(struct mmb_pool *pool)
{
	const struct heap_pool_spec spec = {
		.handle = pool,
		.source = unit_source(pool),
		.key = pool->key,
		.member = pool->member,
	};
	bool more = true;
	int error = 0;

	if (!pool->member || !(pool->key >> SLAB_SPAN_SHIFT))
		return call_protocol_error(pool->mmb, "the pool came without number or key");
	pool->heap_making = heap_pool_new(&spec);
	if (!pool->heap_making)
		return fail(-ENOMEM, "no memory for a heap");
	while (!error && more)
		error = map_some_views(pool, &more);
	if (!error && !pool->heap_making->nr_views)
		error = fail(-ENOMEM, "the pool has no memory for objects: its arena is empty");
	if (error) {
		unlist_windows(pool);
		unmap_views(pool->heap_making);
		heap_pool_free(pool->heap_making);
	} else {
		atomic_store_explicit(&pool->heap, pool->heap_making, memory_order_release);
	}
	pool->heap_making = NULL;
	return error;
}

static struct heap_pool *heap_of(struct mmb_pool *pool)
{
	return atomic_load_explicit(&pool->heap, memory_order_acquire);
}

static int make(struct mmb_pool *pool)
{
	/* The arena first: the maps describe its windows. */
	int error = pool_map_arena(pool);

	if (error)
		return error;
	pthread_mutex_lock(&pool->map_lock);
	if (!heap_of(pool))
		error = make_locked(pool);
	pthread_mutex_unlock(&pool->map_lock);
	return error;
}

/* ---- a thread's ---- */

/* The calling thread's heap; -ENOMEM. */
static int find_heap(struct mmb_pool *pool, struct heap **out)
{
	struct run_cache *cache;
	int error = pool_check(pool);

	if (!error && !heap_of(pool))
		error = make(pool);
	if (error)
		return error;
	cache = cache_get(pool);
	if (cache && !cache->heap)
		cache->heap = heap_new(heap_of(pool));
	if (!cache || !cache->heap)
		return fail(-ENOMEM, "no memory for a heap of this thread");
	*out = cache->heap;
	return 0;
}

struct heap *pool_heap_enter(struct mmb_pool *pool)
{
	struct heap *h = NULL;
	int error = find_heap(pool, &h);

	if (error)
		return fail_null(error);
	for (;;) {
		heap_enter(h);
		if (atomic_load_explicit(&h->open_pool, memory_order_acquire))
			break;
		heap_leave(h);
		/* A visitor is there; or the connection was closed under us. */
		pthread_mutex_lock(&h->pool->lock);
		pthread_mutex_unlock(&h->pool->lock);
		error = pool_check(pool);
		if (error)
			return fail_null(error);
	}
	heap_current = h;
	return h;
}

struct slab_header *pool_heap_header(const struct mmb_pool *pool, uint64_t address)
{
	const struct heap_pool *hp = atomic_load_explicit(&pool->heap, memory_order_acquire);

	return heap_header(heap_view_of(hp, address), address);
}

/* ---- giving back ---- */

void pool_heap_trim(struct mmb_pool *pool)
{
	if (heap_of(pool))
		heap_pool_trim(heap_of(pool));
	pages_drain(pool);
}

bool pool_heap_tick(struct mmb_pool *pool)
{
	return heap_of(pool) && heap_pool_tick(heap_of(pool));
}

void pool_heap_orphans(struct mmb_pool *pool, uint32_t member)
{
	if (!heap_of(pool) && make(pool))
		return;
	heap_pool_adopt(heap_of(pool), member);
}

void pool_heap_end_cache(struct mmb_pool *pool, struct run_cache *cache)
{
	pages_flush_cache(pool, cache);
	if (!cache->heap)
		return;
	/* Without connection the windows are gone, and with them what could be handed on. */
	if (atomic_load(&pool->generation) == POOL_CLOSED)
		heap_abandon(cache->heap);
	else
		heap_retire(cache->heap);
	cache->heap = NULL;
}

void pool_heap_close(struct mmb_pool *pool)
{
	struct heap_pool *hp = heap_of(pool);

	if (!hp)
		return;
	unlist_windows(pool);
	heap_pool_close(hp);
}

void pool_heap_drain(struct mmb_pool *pool)
{
	/* A private pool's units go with its handle. */
	if (heap_of(pool) && !pool->is_private)
		heap_pool_drain(heap_of(pool));
}

void pool_heap_fini(struct mmb_pool *pool)
{
	struct heap_pool *hp = heap_of(pool);

	if (!hp)
		return;
	unmap_views(hp);
	heap_pool_free(hp);
	atomic_store(&pool->heap, NULL);
}
