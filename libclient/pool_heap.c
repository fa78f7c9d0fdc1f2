/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_heap - the heap of a pool handle: made at its first object, found by address
 *
 * Purpose     See pool_heap.h.
 */
#include "pool_heap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "cancel.h"
#include "conf.h"
#include "connection.h"
#include "error.h"
#include "heap/heap.h"
#include "pages.h"
#include "range.h"
#include "sample.h"
#include "unit_lease.h"

/* ---- windows by address, for mmb_free() ---- */

/* As many as the pools of 16 full sessions have on one node. */
enum { WINDOWS = 4096 };

/* w: written under the process lock; length last when it comes, first when it goes */
struct heap_window {
	_Atomic uint64_t           length; /* (w) 0: free */
	_Atomic uint64_t           base;   /* (w) */
	_Atomic uint64_t           inherited; /* (w) length in a parent of a forked child */
	_Atomic(struct mmb_pool *) pool;   /* (w) */
	_Atomic int                fd;     /* (w) of the slab map, or -1; a child closes it */
};
static struct heap_window windows[WINDOWS];
static _Atomic uint32_t nr_windows; /* (w) behind them all are free, and were no parent's */

/* One that a forked child needn't keep for its parent's, if there is one; WINDOWS: none is free. */
static uint32_t find_unused_locked(void)
{
	uint32_t unused = WINDOWS;

	for (uint32_t i = 0; i < WINDOWS; i++) {
		if (windows[i].length)
			continue;
		if (!windows[i].inherited)
			return i;
		if (unused == WINDOWS)
			unused = i;
	}
	return unused;
}

int pool_heap_add_window(struct mmb_pool *pool, uint64_t base, uint64_t length)
{
	uint32_t i;

	process_lock();
	i = find_unused_locked();
	if (i < WINDOWS) {
		windows[i].inherited = 0;
		windows[i].base = base;
		windows[i].pool = pool;
		windows[i].fd = -1;
		atomic_store_explicit(&windows[i].length, length, memory_order_release);
		if (i >= nr_windows)
			nr_windows = i + 1;
	}
	process_unlock();
	return i < WINDOWS ? 0
			   : fail(-ENOMEM, "this process has %d arena windows of open pools, which "
				  "is the most; close some pools", WINDOWS);
}

static void unlist_windows(const struct mmb_pool *pool)
{
	uint32_t nr;

	process_lock();
	nr = nr_windows;
	for (uint32_t i = 0; i < nr; i++)
		if (windows[i].pool == pool)
			windows[i].length = 0;
	while (nr && !windows[nr - 1].length && !windows[nr - 1].inherited)
		nr--;
	nr_windows = nr;
	process_unlock();
}

/* So that a forked child closes it. */
static void note_map(const struct mmb_pool *pool, uint64_t base, int fd)
{
	process_lock();
	for (uint32_t i = 0; i < nr_windows; i++)
		if (windows[i].pool == pool && windows[i].base == base)
			windows[i].fd = fd;
	process_unlock();
}

void pool_heap_forget_all(void)
{
	heap_leave_current();
	for (uint32_t i = 0; i < nr_windows; i++) {
		/* Of the parent's parent. */
		if (!windows[i].length)
			continue;
		if (windows[i].fd >= 0)
			close(windows[i].fd);
		windows[i].inherited = windows[i].length;
		windows[i].length = 0;
	}
}

bool pool_heap_was_parents(uint64_t address)
{
	uint32_t nr = atomic_load_explicit(&nr_windows, memory_order_relaxed);

	for (uint32_t i = 0; i < nr; i++)
		if (address - windows[i].base < windows[i].inherited)
			return true;
	return false;
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

static const struct stock_lease first_lease = { .units = 1, .count = 1 };

/* On success its descriptor is the heap's. */
static int map_view(struct mmb_pool *pool, const struct heap_view *of)
{
	struct heap_pool *hp = pool->heap_making;
	struct heap_view view = *of;
	size_t bytes = of->length >> SLAB_UNIT_SHIFT << SLAB_HEADER_SHIFT;
	int error;

	if (!runmap_has(&pool->runs, of->base, of->length) || of->length % SLAB_UNIT_BYTES ||
	    of->base % SLAB_UNIT_BYTES)
		return call_protocol_error(pool->mmb, "a slab map describes no arena window");
	if (!window_fits(view.fd, bytes))
		return call_protocol_error(pool->mmb, "a slab map's file is shorter than its "
					   "window needs");
	view.map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, view.fd,
			0);
	if (view.map == MAP_FAILED)
		return fail(-errno, "can't map a slab map of %zu bytes (errno %d)", bytes, errno);
	madvise(view.map, bytes, MADV_DONTFORK);
	error = heap_pool_add_view(hp, &view);
	if (error)
		munmap(view.map, bytes);
	else
		note_map(pool, view.base, view.fd);
	return error;
}

static int ask_views(struct mmb_pool *pool, struct call *c)
{
	Mmb__Wire__SlabMapRequest request = MMB__WIRE__SLAB_MAP_REQUEST__INIT;

	request.pool = pool->handle;
	request.first = pool->heap_making->nr_views;
	return call_begin(pool->mmb, c, MMB_METHOD_SLAB_MAP, &request.base);
}

/* One reply's windows; *more: there are others. */
static int take_views(struct mmb_pool *pool, struct call *c, bool *more)
{
	const Mmb__Wire__SlabMapReply *reply;
	int fds[MMB_PACKET_FDS];
	int error = call_wait(pool->mmb, c);
	size_t i;

	if (error)
		return error;
	reply = (const void *)c->reply;
	if (reply->n_windows != c->message.nr_fds)
		return call_protocol_error(pool->mmb, "a slab map came without descriptor");
	error = call_take_fds(pool->mmb, c, (uint32_t)reply->n_windows, fds);
	for (i = 0; !error && i < reply->n_windows; i++) {
		const struct heap_view of = { .base = reply->windows[i]->address,
					      .length = reply->windows[i]->length,
					      .fd = fds[i] };

		error = map_view(pool, &of);
	}
	if (error) /* with the one that wasn't mapped */
		for (i--; i < reply->n_windows; i++)
			close(fds[i]);
	*more = !error && reply->n_windows && pool->heap_making->nr_views < reply->total;
	return error;
}

static void unmap_views(struct heap_pool *hp)
{
	for (uint32_t i = 0; i < hp->nr_views; i++) {
		note_map(hp->handle, hp->views[i].base, -1); /* G4 of process.h */
		munmap(hp->views[i].map,
		       hp->views[i].length >> SLAB_UNIT_SHIFT << SLAB_HEADER_SHIFT);
		close(hp->views[i].fd);
	}
}

/* The first lease, which comes with the maps. */
static int take_lease(struct mmb_pool *pool, struct call *c)
{
	uint64_t address;
	uint32_t nr = 0;
	const struct unit_taking t = { &first_lease, pool->heap_making, &address, &nr };
	int error = unit_take(pool, c, &t);

	if (!error)
		error = stock_fill(&pool->heap_making->stock, first_lease.units, &address, nr);
	return error;
}

enum { ASK_ARENA, ASK_VIEWS, ASK_LEASE, ASK_ALL };

/* Arena, maps and a first lease in one round trip. Without memory for the lease the heap is made
 * all the same: what asked for it will be told why. */
static int ask_all(struct mmb_pool *pool, bool *more)
{
	struct call *c[ASK_ALL] = { NULL };
	bool more_arena = false, more_views = false;
	int error = 0, i, sent = 0, taken = 0;

	for (i = 0; i < ASK_ALL && !error; i++)
		c[i] = call_get(pool->mmb, &error);
	if (!error)
		error = pool_ask_arena_locked(pool, c[ASK_ARENA]);
	sent += !error;
	if (!error)
		error = ask_views(pool, c[ASK_VIEWS]);
	sent += !error;
	if (!error)
		error = unit_ask(pool, c[ASK_LEASE], &first_lease);
	sent += !error;
	if (!error && ++taken)
		error = pool_take_arena_locked(pool, c[ASK_ARENA], &more_arena);
	if (!error && ++taken)
		error = take_views(pool, c[ASK_VIEWS], &more_views);
	if (!error && ++taken) {
		error = take_lease(pool, c[ASK_LEASE]);
		error = error == -ENOMEM ? 0 : error;
	}
	/* Their replies are still to come and would find a call that serves something else. */
	for (i = taken; i < sent; i++)
		call_abandon(c[i]);
	for (i = 0; i < ASK_ALL && c[i]; i++)
		call_put(pool->mmb, c[i]);
	*more = more_arena || more_views;
	return error;
}

/* What came with HELLO instead of that. */
static int take_offer(struct mmb_pool *pool, const struct pool_offer *offer)
{
	const struct arena_spec window = { offer->address, offer->length, offer->arena,
					   offer->hugetlb };
	const struct heap_view of = { .base = offer->address, .length = offer->length,
				      .fd = offer->map };
	int error = pool_map_window_locked(pool, &window);

	close(offer->arena);
	if (!error)
		error = map_view(pool, &of);
	if (error)
		close(offer->map);
	else
		error = stock_fill(&pool->heap_making->stock, 1, &offer->unit, 1);
	return error;
}

static int ask(struct mmb_pool *pool)
{
	bool more = false;
	int error = ask_all(pool, &more);

	/* Both have as many windows as one another. */
	if (!error && more)
		error = pool_ask_all_locked(pool, pool_ask_arena_locked, pool_take_arena_locked);
	if (!error && more)
		error = pool_ask_all_locked(pool, ask_views, take_views);
	return error;
}

/* offer NULL: the broker is asked. Otherwise its descriptors are closed or the heap's. */
static int make_locked(struct mmb_pool *pool, const struct pool_offer *offer)
{
	static atomic_bool has_pools;
	const struct heap_pool_spec spec = {
		.handle = pool,
		.is_private = pool->is_private,
		.harden = conf.harden,
		.no_hits = conf_no_hits(),
		/* Others' have the pager already; of further pools each would keep a slab. */
		.is_eager = atomic_exchange(&has_pools, true) || !pool->is_private,
		.magazine_bytes = MAGAZINE_BYTES,
		.source = unit_source(pool),
		.key = pool->key,
		.member = pool->member,
	};
	int error = 0;

	if (!pool->member || !(pool->key >> SLAB_SPAN_SHIFT))
		error = call_protocol_error(pool->mmb, "the pool came without number or key");
	if (!error && !(pool->heap_making = heap_pool_new(&spec)))
		error = fail(-ENOMEM, "no memory for a heap");
	if (error) {
		if (offer)
			offer_close_fds(offer);
		return error;
	}
	error = offer ? take_offer(pool, offer) : ask(pool);
	if (!error && !pool->heap_making->nr_views)
		error = fail(-ENOMEM, "the pool has no memory for objects: its arena is empty");
	if (error) {
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
	UNCANCELLED;
	/* What others of a shared pool leave is told by upcalls. */
	int error = pool->is_private ? 0 : pager_start(pool->mmb);

	pthread_mutex_lock(&pool->map_lock);
	if (!error && !heap_of(pool))
		error = make_locked(pool, NULL);
	pthread_mutex_unlock(&pool->map_lock);
	return error;
}

int pool_heap_make(struct mmb_pool *pool)
{
	return heap_of(pool) ? 0 : make(pool);
}

int pool_heap_make_offered(struct mmb_pool *pool, const struct pool_offer *offer)
{
	int error;

	pthread_mutex_lock(&pool->map_lock);
	error = make_locked(pool, offer);
	pthread_mutex_unlock(&pool->map_lock);
	return error;
}

/* ---- a thread's ---- */

/* The calling thread's heap; -ENOMEM. */
static int find_heap(struct mmb_pool *pool, struct heap **out)
{
	struct run_cache *cache;
	int error = pool_check(pool);

	if (!error)
		error = pool_heap_make(pool);
	if (error)
		return error;
	cache = cache_get(pool);
	if (!cache && pool->slot >= CACHE_SLOTS)
		return fail(-ENOMEM, "this process had %d other pools open when it opened this "
			    "one, which is the most with objects; close some and open it again",
			    CACHE_SLOTS);
	if (cache && !cache->heap)
		cache->heap = heap_new(heap_of(pool), cache_spare_heap());
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
		if (atomic_load_explicit(&h->open_pool, memory_order_acquire) == h->mark)
			break;
		heap_leave(h);
		/* A visitor is there; or the connection was closed under us. */
		pthread_mutex_lock(&h->pool->lock);
		pthread_mutex_unlock(&h->pool->lock);
		error = pool_check(pool);
		if (!error && heap_pool_is_left(h->pool))
			error = fail(-ENOTCONN, "the session with the broker is over; close it "
				     "with mmb_close() and open another");
		if (error)
			return fail_null(error);
	}
	heap_current = h;
	return h;
}

struct slab_header *pool_heap_header(struct mmb_pool *pool, uint64_t address)
{
	const struct heap_pool *hp;

	if (pool_heap_make(pool))
		return NULL;
	hp = heap_of(pool);
	return heap_header(heap_view_of(hp, address), address);
}

/* ---- giving back ---- */

bool pool_heap_trim(struct mmb_pool *pool)
{
	bool any = heap_of(pool) || range_is_made(pool);

	/* What a tick is just giving back is back as well when this returns. */
	pthread_mutex_lock(&pool->give_lock);
	if (heap_of(pool))
		heap_pool_trim(heap_of(pool));
	range_trim(pool);
	pthread_mutex_unlock(&pool->give_lock);
	return pages_drain(pool) || any;
}

static bool trim_any(struct mmb_pool *pool, void *unused)
{
	return pool_heap_trim(pool);
}

bool pool_heap_relieve(struct mmb *mmb)
{
	return connection_each_pool(mmb, trim_any, NULL);
}

static bool trim_one(struct mmb_pool *pool, void *of)
{
	if (pool_is_same(pool, of))
		pool_heap_trim(pool);
	return true;
}

void pool_heap_trim_all(struct mmb_pool *pool)
{
	connection_each_pool(pool->mmb, trim_one, pool);
}

bool pool_heap_tick(struct mmb_pool *pool, void *unused)
{
	bool more;

	pthread_mutex_lock(&pool->give_lock);
	more = range_tick(pool);
	more |= heap_of(pool) && heap_pool_tick(heap_of(pool));
	pthread_mutex_unlock(&pool->give_lock);
	return more;
}

void pool_heap_orphans(struct mmb_pool *pool, uint32_t member)
{
	if (pool_heap_make(pool))
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
}

void pool_heap_stop(struct mmb_pool *pool)
{
	if (heap_of(pool))
		heap_pool_end(heap_of(pool));
}

bool pool_heap_leave(struct mmb_pool *pool)
{
	return !heap_of(pool) || heap_pool_leave(heap_of(pool));
}

void pool_heap_close(struct mmb_pool *pool)
{
	range_close(pool);
	unlist_windows(pool);
	sample_close(pool);
	if (heap_of(pool))
		heap_pool_close(heap_of(pool));
}

void pool_heap_drain(struct mmb_pool *pool)
{
	sample_end(pool);
	if (!heap_of(pool))
		return;
	/* A private pool's units go with its handle. */
	if (!pool->is_private)
		heap_pool_drain(heap_of(pool));
	/* Of a thread that is just ending. */
	heap_pool_end(heap_of(pool));
}

static void free_heap(struct mmb_pool *pool)
{
	struct heap_pool *hp = heap_of(pool);

	if (!hp)
		return;
	atomic_store(&pool->heap, NULL);
	unmap_views(hp);
	heap_pool_free(hp);
}

void pool_heap_release(struct mmb_pool *pool)
{
	pthread_mutex_lock(&pool->give_lock); /* a trim */
	pthread_mutex_lock(&pool->map_lock);
	if (cache_release_pool(pool))
		free_heap(pool);
	pthread_mutex_unlock(&pool->map_lock);
	pthread_mutex_unlock(&pool->give_lock);
}

void pool_heap_fini(struct mmb_pool *pool)
{
	range_fini(pool);
	free_heap(pool);
}
