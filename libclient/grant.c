/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grant - PAGES_ALLOC and PAGES_FREE
 *
 * Purpose     The daemon's side of pages.h: batches of runs, checked before they are believed.
 * Invariants  T1  A run is forgotten before it is returned: the daemon may grant it to another
 *                 thread of ours before the reply is in.
 */
#include <errno.h>

#include "arena.h"
#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "grant.h"
#include "pages.h"
#include "pool.h"

/* NOWAIT and ATOMIC: long enough for a loaded machine, not for reclaim. */
enum { QUICK_TIMEOUT_MS = 1000 };

static int believe(struct mmb_pool *pool, unsigned int order, uint64_t address)
{
	int error;

	if (!runmap_covers(&pool->runs, address, order)) {
		/* The arena may have got another window since. */
		error = pool_map_arena(pool);
		if (!error)
			error = runmap_open(&pool->runs);
		if (error)
			return error;
	}
	if (!runmap_covers(&pool->runs, address, order))
		return call_protocol_error(pool->mmb, "a page run lies outside the pool's arena");
	if (!runmap_grant(&pool->runs, address, order))
		return call_protocol_error(pool->mmb, "a page run was granted twice");
	return 0;
}

static int believe_all(struct mmb_pool *pool, const struct run_request *request,
		       const Mmb__Wire__PagesAllocReply *reply, uint64_t *runs)
{
	size_t i;

	if (!reply->n_addresses || reply->n_addresses > request->wanted)
		return call_protocol_error(pool->mmb, "a wrong number of page runs");
	for (i = 0; i < reply->n_addresses; i++) {
		int error = believe(pool, request->order, reply->addresses[i]);

		if (error)
			return error;
		runs[i] = reply->addresses[i];
	}
	arena_unpoison(runs, (uint32_t)i, (uint64_t)CLIENT_PAGE_SIZE << request->order);
	return 0;
}

int pages_request(struct mmb_pool *pool, const struct run_request *request, uint64_t *runs,
		  uint32_t *nr)
{
	UNCANCELLED;
	Mmb__Wire__PagesAllocRequest message = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;
	const Mmb__Wire__PagesAllocReply *reply;
	struct call *c;
	int error = 0;

	/* The windows first: a run this process can't map must not be taken. */
	if (!atomic_load_explicit(&pool->runs.nr, memory_order_acquire))
		error = pool_map_arena(pool);
	if (!error)
		error = runmap_open(&pool->runs);
	if (error)
		return error;
	c = call_get(pool->mmb, &error);
	if (!c)
		return error;
	message.pool = c->pool = pool->handle;
	message.order = c->order = request->order;
	message.gfp = request->gfp;
	message.count = request->wanted;
	if (request->gfp & (MMB_GFP_NOWAIT | MMB_GFP_ATOMIC) && c->timeout_ms > QUICK_TIMEOUT_MS)
		c->timeout_ms = QUICK_TIMEOUT_MS;
	error = call_run(pool->mmb, c, MMB_METHOD_PAGES_ALLOC, &message.base);
	if (!error) {
		reply = (const void *)c->reply;
		error = believe_all(pool, request, reply, runs);
		*nr = (uint32_t)reply->n_addresses;
	}
	call_put(pool->mmb, c);
	return error;
}

bool grant_is_about_connection(int error)
{
	return error == -ENOTCONN || error == -ETIMEDOUT || error == -EPROTO || error == -ENOMEM;
}

static int return_batch(struct mmb_pool *pool, unsigned int order, const uint64_t *runs,
			uint32_t nr)
{
	Mmb__Wire__PagesFreeRequest message = MMB__WIRE__PAGES_FREE_REQUEST__INIT;

	message.pool = pool->handle;
	message.order = order;
	message.n_addresses = nr;
	message.addresses = (uint64_t *)(uintptr_t)runs;
	return call_simple(pool->mmb, MMB_METHOD_PAGES_FREE, &message.base);
}

void pages_return(struct mmb_pool *pool, unsigned int order, const uint64_t *runs, uint32_t nr)
{
	UNCANCELLED;
	uint32_t i, batch;
	int error;

	for (i = 0; i < nr; i++)
		if (runmap_covers(&pool->runs, runs[i], order))
			runmap_forget(&pool->runs, runs[i]);
	for (; nr; nr -= batch, runs += batch) {
		batch = nr < MMB_PAGES_BATCH ? nr : MMB_PAGES_BATCH;
		error = return_batch(pool, order, runs, batch);
		if (error && !grant_is_about_connection(error))
			die("libmmbroker: the broker refused to take back %u page runs of order %u "
			    "from %#llx on: %s", batch, order, (unsigned long long)runs[0],
			    mmb_error());
	}
}
