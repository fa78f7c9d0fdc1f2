/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages - page runs between the application, the caches and the daemon
 *
 * Purpose     mmb_alloc_pages and mmb_free_pages: the hit path first, then everything else.
 * Invariants  See pages.h. A bad free is judged here: what the run map knows ends the process with
 *             a message, what it doesn't know the daemon is asked.
 * Locking     none on a hit; the depot's lock for batches.
 * Not here    Messages to the daemon (grant.c).
 */
#include "pages.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "cache.h"
#include "call.h"
#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "export.h"
#include "pool.h"
#include "pool_heap.h"

enum {
	GFP_ALL = MMB_GFP_NOWAIT | MMB_GFP_ATOMIC | MMB_GFP_NORETRY | MMB_GFP_RETRY_MAYFAIL |
		  MMB_GFP_NOFAIL | MMB_GFP_ZERO | MMB_GFP_MOVABLE | MMB_GFP_RECLAIMABLE |
		  MMB_GFP_THISNODE,
	GFP_MUST_NOT_WAIT = MMB_GFP_NOWAIT | MMB_GFP_ATOMIC,
	/* Placement the caches know nothing of. */
	GFP_UNCACHED = MMB_GFP_MOVABLE | MMB_GFP_RECLAIMABLE | MMB_GFP_THISNODE,
	/* With none of these set, every combination makes sense. */
	GFP_NEEDS_CHECK = (int)~(unsigned int)(GFP_MUST_NOT_WAIT | MMB_GFP_NORETRY |
					       MMB_GFP_RETRY_MAYFAIL | MMB_GFP_ZERO),
	NOFAIL_PAUSE_MS_MAX = 100,
};

/* ---- giving back ---- */

static bool flush_magazine(struct mmb_pool *pool, struct run_cache *cache, int kind)
{
	struct magazine *m = &cache->magazines[kind];
	uint32_t nr = m->nr;

	m->nr = 0;
	if (nr)
		pages_return(pool, magazine_order(kind), m->runs, nr);
	return nr > 0;
}

void pages_flush_cache(struct mmb_pool *pool, struct run_cache *cache)
{
	for (int kind = 0; kind < MAGAZINE_KINDS; kind++)
		flush_magazine(pool, cache, kind);
}

bool pages_drain(struct mmb_pool *pool)
{
	struct run_cache *cache = cache_of_slot(pool->slot);
	uint64_t runs[64];
	bool any = false;
	uint32_t nr;

	for (unsigned int order = 0; order <= MMB_ORDER_MAX; order++) {
		while ((nr = depot_take(&pool->depot, order, runs, 64))) {
			pages_return(pool, order, runs, nr);
			any = true;
		}
	}
	atomic_fetch_add_explicit(&pool->drains, 1, memory_order_relaxed);
	if (!cache)
		return any;
	cache->drains_seen = atomic_load_explicit(&pool->drains, memory_order_relaxed);
	for (int kind = 0; kind < MAGAZINE_KINDS; kind++)
		any |= flush_magazine(pool, cache, kind);
	return any;
}

static bool drain_wanted(const struct mmb_pool *pool, const struct run_cache *cache)
{
	return cache->drains_seen != atomic_load_explicit(&pool->drains, memory_order_relaxed);
}

/* This thread's cache, emptied first if somebody asked for that since. */
static struct run_cache *ready_cache(struct mmb_pool *pool)
{
	struct run_cache *cache = cache_get(pool);

	if (cache && drain_wanted(pool, cache)) {
		cache->drains_seen = atomic_load_explicit(&pool->drains, memory_order_relaxed);
		pages_flush_cache(pool, cache);
	}
	return cache;
}

/* ---- allocating ---- */

static int check_gfp(unsigned int gfp)
{
	if (gfp & ~(unsigned int)GFP_ALL)
		return fail(-EINVAL, "gfp %#x has bits that no MMB_GFP_ flag names", gfp);
	if ((gfp & MMB_GFP_MOVABLE) && (gfp & MMB_GFP_RECLAIMABLE))
		return fail(-EINVAL, "gfp %#x asks for MOVABLE and RECLAIMABLE; choose one", gfp);
	if ((gfp & MMB_GFP_NOFAIL) &&
	    (gfp & (GFP_MUST_NOT_WAIT | MMB_GFP_NORETRY | MMB_GFP_RETRY_MAYFAIL)))
		return fail(-EINVAL, "gfp %#x asks for NOFAIL and for giving up; NOFAIL goes with "
			    "neither NOWAIT, ATOMIC, NORETRY nor RETRY_MAYFAIL", gfp);
	return 0;
}

static int check_alloc(const struct mmb_pool *pool, unsigned int order, unsigned int gfp)
{
	int error = pool_check(pool);

	if (error)
		return error;
	if (order > MMB_ORDER_MAX)
		return fail(-EINVAL, "order %u is above MMB_ORDER_MAX (%d), 4 MiB",
			    order, MMB_ORDER_MAX);
	return gfp & (unsigned int)GFP_NEEDS_CHECK ? check_gfp(gfp) : 0;
}

/* The daemon is out of memory; what this process keeps unused may be what is missing. */
static int request_or_drain(struct mmb_pool *pool, struct run_request *request, uint64_t *runs,
			    uint32_t *nr)
{
	int error = pages_request(pool, request, runs, nr);

	if (error != -ENOMEM || request->gfp & GFP_MUST_NOT_WAIT)
		return error;
	if (!pool_heap_trim(pool) && request->wanted == 1)
		return error;
	request->wanted = 1;
	return pages_request(pool, request, runs, nr);
}

static int refill(struct mmb_pool *pool, struct magazine *m, int kind, unsigned int gfp)
{
	uint32_t half = magazine_capacity[kind] / 2;
	struct run_request request = {
		.order = magazine_order(kind),
		.gfp = gfp & ~(unsigned int)MMB_GFP_ZERO,
		.wanted = m->batch,
	};
	int error;

	m->nr = depot_take(&pool->depot, request.order, m->runs, half);
	if (m->nr)
		return 0;
	error = request_or_drain(pool, &request, m->runs, &m->nr);
	if (error) {
		m->nr = 0;
		m->batch = 1;
		return error;
	}
	m->batch = m->batch * 2 < half ? m->batch * 2 : half;
	return 0;
}

struct granted {
	uint64_t address;
	bool     zeroed; /* by the daemon */
};

/* Not through a magazine: other orders, and flags the caches know nothing of. */
static int alloc_single(struct mmb_pool *pool, unsigned int order, unsigned int gfp,
			struct granted *out)
{
	struct run_request request = { .order = order, .gfp = gfp, .wanted = 1 };
	uint32_t nr;
	int error;

	if (!(gfp & GFP_UNCACHED) && depot_take(&pool->depot, order, &out->address, 1))
		return 0;
	error = request_or_drain(pool, &request, &out->address, &nr);
	out->zeroed = !error;
	return error;
}

static int alloc_run(struct mmb_pool *pool, unsigned int order, unsigned int gfp,
		     struct granted *out)
{
	int error, kind = magazine_kind(order);
	struct run_cache *cache = NULL;

	out->zeroed = false;
	if (kind >= 0 && !(gfp & GFP_UNCACHED))
		cache = ready_cache(pool);
	if (cache) {
		struct magazine *m = &cache->magazines[kind];

		error = m->nr ? 0 : refill(pool, m, kind, gfp);
		if (!error)
			out->address = m->runs[--m->nr];
	} else {
		error = alloc_single(pool, order, gfp, out);
	}
	if (!error)
		runmap_take(&pool->runs, out->address, order);
	return error;
}

/* NOFAIL: again and again until the operation timeout, then the process ends. */
static void alloc_nofail(struct mmb_pool *pool, unsigned int order, unsigned int gfp,
			 struct granted *out)
{
	UNCANCELLED;
	uint64_t deadline = call_deadline(pool->mmb->timeout_ms);
	long pause_ms = 1;
	int error;

	while ((error = alloc_run(pool, order, gfp, out))) {
		struct timespec pause = { .tv_nsec = pause_ms * 1000000 };

		/* The broker waits, too, and says nothing meanwhile. */
		if (error == -ETIMEDOUT)
			die("libmmbroker: mmb_alloc_pages(order %u, MMB_GFP_NOFAIL) can't succeed: "
			    "no memory came for %llu ms (operation_timeout_ms); the pool's max is "
			    "reached, or the broker is short of memory: look at mmbctl pools",
			    order, (unsigned long long)pool->mmb->timeout_ms);
		if (error != -ENOMEM || !call_left_ms(deadline))
			die("libmmbroker: mmb_alloc_pages(order %u, MMB_GFP_NOFAIL) can't succeed: "
			    "%s", order, mmb_error());
		nanosleep(&pause, NULL);
		pause_ms = pause_ms * 2 < NOFAIL_PAUSE_MS_MAX ? pause_ms * 2 : NOFAIL_PAUSE_MS_MAX;
	}
}

static void *alloc_slowly(struct mmb_pool *pool, unsigned int order, unsigned int gfp)
{
	struct granted run;
	int error = check_alloc(pool, order, gfp);

	if (error)
		return fail_null(error);
	if (gfp & MMB_GFP_NOFAIL)
		alloc_nofail(pool, order, gfp, &run);
	else
		error = alloc_run(pool, order, gfp, &run);
	if (error)
		return fail_null(error);
	if (gfp & MMB_GFP_ZERO && !run.zeroed)
		memset((void *)(uintptr_t)run.address, 0, (size_t)CLIENT_PAGE_SIZE << order);
	return (void *)(uintptr_t)run.address;
}

/* This thread's magazine of the order, if it may be used without another look at anything. */
static inline struct magazine *hit_magazine(const struct mmb_pool *pool, unsigned int order)
{
	int kind = magazine_kind(order);
	struct run_cache *cache;

	if (kind < 0 || !pool ||
	    !process_owns(atomic_load_explicit(&pool->generation, memory_order_relaxed)))
		return NULL;
	cache = cache_of_slot(pool->slot);
	return cache && !drain_wanted(pool, cache) ? &cache->magazines[kind] : NULL;
}

PUBLIC void *mmb_alloc_pages(struct mmb_pool *pool, unsigned order, unsigned gfp)
{
	struct magazine *m = hit_magazine(pool, order);
	uint64_t address;

	if (!m || !m->nr || gfp & (unsigned int)GFP_NEEDS_CHECK)
		return alloc_slowly(pool, order, gfp);
	address = m->runs[--m->nr];
	runmap_take(&pool->runs, address, order);
	if (gfp & MMB_GFP_ZERO)
		memset((void *)(uintptr_t)address, 0, (size_t)CLIENT_PAGE_SIZE << order);
	return (void *)(uintptr_t)address;
}

/* ---- freeing ---- */

static _Noreturn void die_of(const struct run_fault *fault, uint64_t address, unsigned int order)
{
	static const char *const texts[] = {
		[RUN_OUTSIDE] = "is no address of this pool",
		[RUN_FOREIGN] = "is no run of this process",
		[RUN_MISALIGNED] = "is not aligned to a run of that order",
		[RUN_FREED] = "has been freed already (double free)",
		[RUN_WRONG_ORDER] = "is a run of another order",
		[RUN_INTERIOR] = "lies inside a run",
	};
	const char *text = texts[fault->verdict];

	if (fault->head)
		die("libmmbroker: mmb_free_pages(%#llx, order %u): the address %s (the run at %#llx"
		    " has order %u)", (unsigned long long)address, order, text,
		    (unsigned long long)fault->head, fault->order);
	die("libmmbroker: mmb_free_pages(%#llx, order %u): the address %s",
	    (unsigned long long)address, order, text);
}

static void make_room(struct mmb_pool *pool, struct magazine *m, int kind)
{
	uint32_t half = magazine_capacity[kind] / 2;
	unsigned int order = magazine_order(kind);
	uint32_t kept;

	/* The older half goes. */
	kept = depot_put(&pool->depot, order, m->runs, half);
	if (kept < half)
		pages_return(pool, order, m->runs + kept, half - kept);
	m->nr -= half;
	memmove(m->runs, m->runs + half, m->nr * sizeof(*m->runs));
}

static void keep_run(struct mmb_pool *pool, uint64_t address, unsigned int order)
{
	int kind = magazine_kind(order);
	struct run_cache *cache = kind >= 0 ? ready_cache(pool) : NULL;
	struct magazine *m;

	if (!cache) {
		if (!depot_put(&pool->depot, order, &address, 1))
			pages_return(pool, order, &address, 1);
		return;
	}
	m = &cache->magazines[kind];
	if (m->nr == magazine_capacity[kind])
		make_room(pool, m, kind);
	m->runs[m->nr++] = address;
}

/* A run that may be known to another of the connection's handles of this pool. */
struct search {
	struct mmb_pool *pool; /* the handle that doesn't know it */
	uint64_t         address;
	unsigned int     order;
	bool             found;
};

static bool free_in_sibling(struct mmb_pool *pool, void *arg)
{
	struct search *s = arg;
	struct run_fault fault;

	if (s->found || pool == s->pool || !pool_is_same(pool, s->pool))
		return false;
	s->found = runmap_give(&pool->runs, s->address, s->order) == RUN_OK;
	if (s->found) {
		keep_run(pool, s->address, s->order);
		return true;
	}
	fault = runmap_explain(&pool->runs, s->address, s->order);
	if (fault.head)
		die_of(&fault, s->address, s->order);
	return false;
}

/* The run map disagrees with the caller. */
static void free_disputed(struct mmb_pool *pool, uint64_t address, unsigned int order)
{
	struct run_fault fault = runmap_explain(&pool->runs, address, order);
	struct search search = { .pool = pool, .address = address, .order = order };

	/* Passed from another client before this process looked at the arena at all. */
	if (fault.verdict == RUN_OUTSIDE && !pool_map_arena(pool))
		fault = runmap_explain(&pool->runs, address, order);
	if (fault.verdict != RUN_FOREIGN)
		die_of(&fault, address, order);
	if (connection_each_pool(pool->mmb, free_in_sibling, &search))
		return;
	/* Of a handle that was closed, or one of ours that went back long ago: the daemon knows. */
	pages_return(pool, order, &address, 1);
}

static void free_slowly(struct mmb_pool *pool, uint64_t address, unsigned int order)
{
	if (!address || pool_check(pool))
		return;
	if (order > MMB_ORDER_MAX)
		die("libmmbroker: mmb_free_pages(%#llx, order %u): the order is above "
		    "MMB_ORDER_MAX (%d)", (unsigned long long)address, order, MMB_ORDER_MAX);
	if (runmap_give(&pool->runs, address, order) == RUN_OK)
		keep_run(pool, address, order);
	else
		free_disputed(pool, address, order);
}

PUBLIC void mmb_free_pages(struct mmb_pool *pool, void *pages, unsigned order)
{
	struct magazine *m = hit_magazine(pool, order);
	uint64_t address = (uintptr_t)pages;

	if (!m || m->nr == magazine_capacity[magazine_kind(order)] ||
	    runmap_give(&pool->runs, address, order) != RUN_OK) {
		free_slowly(pool, address, order);
		return;
	}
	m->runs[m->nr++] = address;
}
