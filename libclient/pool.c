/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool - opening, closing and asking about a pool; mapping its arena
 *
 * Purpose     See pool.h. The daemon decides about names, permissions and limits and says why not;
 *             here is checked only what can never be right.
 */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "export.h"
#include "options.h"
#include "pages.h"
#include "pool_heap.h"

/* What POOL_OPEN gives. */
struct opened_pool {
	uint32_t handle, member;
	uint64_t key;
};

/* ---- the handle ---- */

int pool_check(const struct mmb_pool *pool)
{
	uint32_t generation;

	if (!pool)
		return fail(-EINVAL, "the pool is NULL; open one with mmb_pool_open()");
	generation = atomic_load_explicit(&pool->generation, memory_order_relaxed);
	if (generation == POOL_CLOSED)
		return fail(-ENOTCONN, "the pool was closed, by mmb_pool_close() or mmb_close()");
	return process_owns(generation) ? 0 : process_disowned();
}

bool pool_is_parents(const struct mmb_pool *pool)
{
	if (process_owns(pool->mmb->generation))
		return false;
	process_disowned();
	return true;
}

void pool_get(struct mmb_pool *pool)
{
	atomic_fetch_add(&pool->refs, 1);
}

/* Once, and before the daemon may put another pool's arena there. */
static void unuse_windows(struct mmb_pool *pool)
{
	uint32_t nr;

	pthread_mutex_lock(&pool->map_lock);
	nr = pool->windows_left ? 0 : atomic_load(&pool->runs.nr);
	for (uint32_t i = 0; i < nr; i++)
		arena_unuse(pool->mmb, pool->runs.windows[i].base);
	pool->windows_left = true;
	pthread_mutex_unlock(&pool->map_lock);
}

void pool_put(struct mmb_pool *pool)
{
	struct mmb *mmb = pool->mmb;

	if (atomic_fetch_sub(&pool->refs, 1) != 1)
		return;
	unuse_windows(pool);
	pool_heap_fini(pool);
	cache_slot_put(pool->slot);
	runmap_fini(&pool->runs);
	depot_fini(&pool->depot);
	pthread_mutex_destroy(&pool->give_lock);
	pthread_mutex_destroy(&pool->map_lock);
	free(pool);
	connection_put(mmb);
}

static struct mmb_pool *pool_new(struct mmb *mmb, const struct opened_pool *opened)
{
	struct mmb_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->mmb = mmb;
	pool->handle = opened->handle;
	pool->member = opened->member;
	pool->key = opened->key;
	pool->slot = cache_slot_get();
	atomic_store(&pool->refs, 1);
	atomic_store(&pool->generation, mmb->generation);
	pthread_mutex_init(&pool->map_lock, NULL);
	pthread_mutex_init(&pool->give_lock, NULL);
	depot_init(&pool->depot);
	LIST_INIT(&pool->caches);
	LIST_INIT(&pool->typed);
	connection_get(mmb);
	return pool;
}

/* ---- the arena ---- */

int pool_map_window_locked(struct mmb_pool *pool, const struct arena_spec *w)
{
	int error;

	if (!w->address || !w->length || (w->address | w->length) % CLIENT_PAGE_SIZE ||
	    w->address + w->length < w->address)
		return call_protocol_error(pool->mmb, "an arena window is no range of pages");
	if (!window_fits(w->fd, w->length))
		return call_protocol_error(pool->mmb, "an arena's file is shorter than its window");
	if (pool->nr_windows == RUNMAP_WINDOWS)
		return fail(-EPROTO, "the pool has more than %d arena windows", RUNMAP_WINDOWS);
	error = arena_map(pool->mmb, w);
	if (error)
		return error;
	error = pool_heap_add_window(pool, w->address, w->length);
	if (error) {
		arena_unuse(pool->mmb, w->address);
		return error;
	}
	runmap_add(&pool->runs, w->address, w->length);
	pool->nr_windows++;
	return 0;
}

int pool_ask_arena_locked(struct mmb_pool *pool, struct call *c)
{
	Mmb__Wire__ArenaOpenRequest request = MMB__WIRE__ARENA_OPEN_REQUEST__INIT;

	request.pool = pool->handle;
	request.first = pool->nr_windows;
	return call_begin(pool->mmb, c, MMB_METHOD_ARENA_OPEN, &request.base);
}

int pool_take_arena_locked(struct mmb_pool *pool, struct call *c, bool *more)
{
	const Mmb__Wire__ArenaOpenReply *reply;
	int error = call_wait(pool->mmb, c);
	size_t i;

	if (error)
		return error;
	reply = (const void *)c->reply;
	if (reply->n_windows != c->message.nr_fds)
		return call_protocol_error(pool->mmb, "an arena window came without descriptor");
	for (i = 0; !error && i < reply->n_windows; i++) {
		const Mmb__Wire__ArenaWindow *w = reply->windows[i];
		const struct arena_spec spec = { w->address, w->length, c->message.fds[i],
						 w->hugetlb };

		error = pool_map_window_locked(pool, &spec);
	}
	*more = !error && reply->n_windows && pool->nr_windows < reply->total;
	return error;
}

/* A round trip for each four. */
int pool_ask_all_locked(struct mmb_pool *pool,
			int (*ask)(struct mmb_pool *pool, struct call *c),
			int (*take)(struct mmb_pool *pool, struct call *c, bool *more))
{
	bool more = true;
	int error = 0;

	while (!error && more) {
		struct call *c = call_get(pool->mmb, &error);

		if (!c)
			break;
		error = ask(pool, c);
		if (!error)
			error = take(pool, c, &more);
		call_put(pool->mmb, c);
	}
	return error;
}

int pool_map_arena(struct mmb_pool *pool)
{
	UNCANCELLED;
	int error = pager_start(pool->mmb);

	pthread_mutex_lock(&pool->map_lock);
	if (!error)
		error = pool_ask_all_locked(pool, pool_ask_arena_locked, pool_take_arena_locked);
	pthread_mutex_unlock(&pool->map_lock);
	return error;
}

/* ---- open and close ---- */

static int check_pool_open(const char *name, unsigned int flags, struct mmb_pool **out)
{
	const unsigned int known = MMB_POOL_CREATE | MMB_POOL_EXCL | MMB_POOL_PRIVATE |
				   MMB_POOL_OVERCOMMIT | MMB_POOL_OOM_KILL;
	bool needs_name = !(flags & MMB_POOL_PRIVATE);

	if (!out)
		return fail(-EINVAL, "mmb_pool_open: out is NULL; pass where the pool is to go");
	if (flags & ~known)
		return fail(-EINVAL, "mmb_pool_open: flags %#x has bits that no MMB_POOL_ flag "
			    "names", flags);
	if ((flags & MMB_POOL_EXCL) && !(flags & (MMB_POOL_CREATE | MMB_POOL_PRIVATE)))
		return fail(-EINVAL, "mmb_pool_open: MMB_POOL_EXCL needs MMB_POOL_CREATE");
	if ((flags & MMB_POOL_OOM_KILL) && !(flags & MMB_POOL_OVERCOMMIT))
		return fail(-EINVAL, "mmb_pool_open: MMB_POOL_OOM_KILL needs "
			    "MMB_POOL_OVERCOMMIT");
	if (needs_name && (!name || !name[0]))
		return fail(-EINVAL, "mmb_pool_open: a pool needs a name, unless it is "
			    "MMB_POOL_PRIVATE");
	if (name && strnlen(name, MMB_NAME_MAX + 1) > MMB_NAME_MAX)
		return fail(-EINVAL, "mmb_pool_open: the name is longer than %d bytes",
			    MMB_NAME_MAX);
	return 0;
}

/* M1, M2: a pool of a connection that is just being closed is born closed. */
static void list_pool(struct mmb *mmb, struct mmb_pool *pool)
{
	pthread_mutex_lock(&mmb->lock);
	if (mmb->closed) {
		atomic_store(&pool->generation, POOL_CLOSED);
	} else {
		LIST_INSERT_HEAD(&mmb->pools, pool, link);
		pool->listed = true;
	}
	pthread_mutex_unlock(&mmb->lock);
}

static void close_at_daemon(struct mmb *mmb, uint32_t handle)
{
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;

	request.pool = handle;
	call_simple(mmb, MMB_METHOD_POOL_CLOSE, &request.base);
}

static int open_at_daemon(struct mmb *mmb, Mmb__Wire__PoolOpenRequest *request,
			  struct opened_pool *opened)
{
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	error = call_run(mmb, c, MMB_METHOD_POOL_OPEN, &request->base);
	if (!error) {
		const Mmb__Wire__PoolOpenReply *reply = (const void *)c->reply;

		*opened = (struct opened_pool){ reply->pool, reply->member, reply->key };
	}
	call_put(mmb, c);
	return error;
}

/* The pool that came with HELLO, if this is the one. NULL: it isn't, or can't be used here. */
static struct mmb_pool *open_offered(struct mmb *mmb, const Mmb__Wire__PoolOpenRequest *r)
{
	struct pool_offer offer;
	struct opened_pool opened;
	struct mmb_pool *pool;

	if (r->flags != MMB_POOL_PRIVATE || r->name[0] || r->mode || r->nodes->policy ||
	    r->nodes->mask || r->min || r->low || r->high || r->max || r->swap_max) {
		offer_give_back(mmb);
		return NULL;
	}
	if (!offer_take(mmb, &offer))
		return NULL;
	opened = (struct opened_pool){ offer.handle, offer.member, offer.key };
	pool = pool_new(mmb, &opened);
	if (pool) {
		pool->is_private = true;
		list_pool(mmb, pool);
		if (pool_heap_make_offered(pool, &offer)) {
			mmb_pool_close(pool);
			pool = NULL;
		}
	} else {
		offer_close_fds(&offer);
		close_at_daemon(mmb, opened.handle);
	}
	return pool;
}

PUBLIC int mmb_pool_open(struct mmb *mmb, const char *name, unsigned flags,
			 const struct mmb_pool_options *options, struct mmb_pool **out)
{
	UNCANCELLED;
	Mmb__Wire__PoolOpenRequest request = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	Mmb__Wire__NodePolicy nodes = MMB__WIRE__NODE_POLICY__INIT;
	struct mmb_pool_options o;
	struct mmb_pool *pool;
	struct opened_pool opened = { 0 };
	int error = connection_check(mmb, "mmb_pool_open");

	if (!error)
		error = check_pool_open(name, flags, out);
	if (!error)
		error = options_read(&o, sizeof(o), options, "mmb_pool_options");
	if (error)
		return error;
	request.name = name ? (char *)(uintptr_t)name : request.name;
	request.flags = flags;
	request.min = o.min;
	request.low = o.low;
	request.high = o.high;
	request.max = o.max;
	request.swap_max = o.swap_max;
	request.mode = o.mode;
	nodes.policy = o.node_policy;
	nodes.mask = o.node_mask;
	request.nodes = &nodes;
	pool = open_offered(mmb, &request);
	if (pool) {
		*out = pool;
		return 0;
	}
	error = open_at_daemon(mmb, &request, &opened);
	if (error)
		return error;
	pool = pool_new(mmb, &opened);
	if (!pool) {
		close_at_daemon(mmb, opened.handle);
		return fail(-ENOMEM, "mmb_pool_open: no memory for a handle");
	}
	pool->is_private = flags & MMB_POOL_PRIVATE;
	list_pool(mmb, pool);
	/* Pointers that other clients of the pool pass on must mean the same here. */
	if (!(flags & MMB_POOL_PRIVATE))
		error = pool_map_arena(pool);
	if (error)
		mmb_pool_close(pool);
	else
		*out = pool;
	return error;
}

PUBLIC void mmb_pool_close(struct mmb_pool *pool)
{
	UNCANCELLED;

	if (!pool || pool_is_parents(pool))
		return;
	pthread_mutex_lock(&pool->mmb->lock);
	if (pool->listed)
		LIST_REMOVE(pool, link);
	pool->listed = false;
	pthread_mutex_unlock(&pool->mmb->lock);
	/* With the lock: who has just begun to release it is done then. */
	pthread_mutex_lock(&pool->map_lock);
	cache_claim_pool(pool);
	pthread_mutex_unlock(&pool->map_lock);
	shrink_forget(pool);
	pool_heap_close(pool);
	pages_drain(pool);
	cache_close_pool(pool, pool_heap_end_cache);
	pool_heap_drain(pool);
	/* For typed caches, which keep the handle's memory. */
	atomic_store(&pool->generation, POOL_CLOSED);
	unuse_windows(pool);
	close_at_daemon(pool->mmb, pool->handle);
	pool_put(pool);
}

PUBLIC int mmb_pool_stat(struct mmb_pool *pool, struct mmb_pool_stat *stat)
{
	UNCANCELLED;
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;
	struct mmb_pool_stat result = { .size = sizeof(result) };
	const Mmb__Wire__PoolStatReply *reply;
	int error = pool_check(pool);
	struct call *c;

	if (!error)
		error = result_check(stat, "mmb_pool_stat");
	if (error)
		return error;
	c = call_get(pool->mmb, &error);
	if (!c)
		return error;
	request.pool = pool->handle;
	error = call_run(pool->mmb, c, MMB_METHOD_POOL_STAT, &request.base);
	if (!error) {
		reply = (const void *)c->reply;
		result.committed = reply->committed;
		result.resident = reply->resident;
		result.arena = reply->arena;
		result.locked = reply->locked;
		result.swapped = reply->swapped;
		result.max = reply->max;
		result.swap_max = reply->swap_max;
		result.sessions = reply->sessions;
		result.regions = reply->regions;
		result.refused = reply->refused;
		result.some_stall_us = reply->some_stall_us;
		result.full_stall_us = reply->full_stall_us;
		result_write(stat, &result, sizeof(result));
	}
	call_put(pool->mmb, c);
	return error;
}
