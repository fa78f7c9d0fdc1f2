/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_lease - SLAB_LEASE and SLAB_RETURN: where a pool's stock gets its units
 *
 * Purpose     See unit_lease.h.
 */
#include "unit_lease.h"

#include <errno.h>

#include "arena.h"
#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "grant.h"
#include "heap/heap.h"

static int believe(struct mmb_pool *pool, const struct unit_taking *t, uint64_t address)
{
	uint64_t last = address + (uint64_t)t->want->units * SLAB_UNIT_BYTES - 1;
	const struct heap_view *view = heap_view_of(t->heap, address);

	if (address % SLAB_UNIT_BYTES || !view || last < address ||
	    view != heap_view_of(t->heap, last))
		return call_protocol_error(pool->mmb, "a lease lies outside the pool's arena");
	return 0;
}

int unit_ask(struct mmb_pool *pool, struct call *c, const struct stock_lease *want)
{
	Mmb__Wire__SlabLeaseRequest request = MMB__WIRE__SLAB_LEASE_REQUEST__INIT;

	request.pool = c->pool = pool->handle;
	request.units = c->order = want->units;
	request.count = want->count;
	request.gfp = want->gfp;
	return call_begin(pool->mmb, c, MMB_METHOD_SLAB_LEASE, &request.base);
}

int unit_take(struct mmb_pool *pool, struct call *c, const struct unit_taking *t)
{
	const Mmb__Wire__SlabLeaseReply *reply;
	int error = call_wait(pool->mmb, c);

	if (error)
		return error;
	reply = (const void *)c->reply;
	if (!reply->n_addresses || reply->n_addresses > t->want->count)
		return call_protocol_error(pool->mmb, "a wrong number of leases");
	for (size_t i = 0; !error && i < reply->n_addresses; i++) {
		error = believe(pool, t, reply->addresses[i]);
		t->addresses[i] = reply->addresses[i];
	}
	if (error)
		return error;
	*t->nr = (uint32_t)reply->n_addresses;
	arena_unpoison(t->addresses, *t->nr, (uint64_t)t->want->units * SLAB_UNIT_BYTES);
	return 0;
}

static int lease(void *context, const struct stock_lease *want, uint64_t *addresses, uint32_t *nr)
{
	UNCANCELLED;
	struct mmb_pool *pool = context;
	const struct unit_taking t = {
		.want = want,
		.heap = atomic_load_explicit(&pool->heap, memory_order_acquire),
		.addresses = addresses,
		.nr = nr,
	};
	struct call *c;
	int error;

	c = call_get(pool->mmb, &error);
	if (!c)
		return error;
	error = unit_ask(pool, c, want);
	if (!error)
		error = unit_take(pool, c, &t);
	call_put(pool->mmb, c);
	return error;
}

static int return_batch(struct mmb_pool *pool, const struct stock_span *spans, uint32_t nr)
{
	Mmb__Wire__SlabReturnRequest request = MMB__WIRE__SLAB_RETURN_REQUEST__INIT;
	uint64_t addresses[MMB_PAGES_BATCH];
	uint32_t units[MMB_PAGES_BATCH];

	for (uint32_t i = 0; i < nr; i++) {
		addresses[i] = spans[i].address;
		units[i] = spans[i].units;
	}
	request.pool = pool->handle;
	request.n_addresses = request.n_units = nr;
	request.addresses = addresses;
	request.units = units;
	return call_simple(pool->mmb, MMB_METHOD_SLAB_RETURN, &request.base);
}

static void give(void *context, const struct stock_span *spans, uint32_t nr)
{
	UNCANCELLED;
	struct mmb_pool *pool = context;

	for (uint32_t batch; nr; nr -= batch, spans += batch) {
		int error;

		batch = nr < MMB_PAGES_BATCH ? nr : MMB_PAGES_BATCH;
		error = return_batch(pool, spans, batch);
		if (error && !grant_is_about_connection(error))
			die("libmmbroker: the broker refused to take back %u leases, the first of "
			    "%u units at %#llx: %s", batch, spans[0].units,
			    (unsigned long long)spans[0].address, mmb_error());
	}
}

static bool kick(void *context, bool now)
{
	struct mmb_pool *pool = context;

	/* The first kick starts it. */
	if (pager_start(pool->mmb))
		return false;
	pager_kick(pool->mmb, now);
	return true;
}

struct stock_source unit_source(struct mmb_pool *pool)
{
	return (struct stock_source){ .context = pool, .lease = lease, .give = give, .kick = kick };
}
