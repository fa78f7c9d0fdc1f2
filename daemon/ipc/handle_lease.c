/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_lease - slab maps, leased units and caches: from messages to verbs and back
 *
 * Locking     none; any thread that runs requests.
 * Not here    What the verbs check and do (client/verbs.h).
 */
#include <errno.h>
#include <unistd.h>

#include "ipc/dispatch.h"

int handle_SLAB_MAP(struct request *r)
{
	const Mmb__Wire__SlabMapRequest *m = r->message;
	Mmb__Wire__SlabMapReply          reply = MMB__WIRE__SLAB_MAP_REPLY__INIT;
	Mmb__Wire__SlabMapWindow         parts[ARENA_WINDOWS], *pointers[ARENA_WINDOWS];
	struct slab_mapped               mapped;
	int                              fds[ARENA_WINDOWS];
	int error = verb_slab_map(r->session, m->pool, m->first, &mapped, &r->why);

	if (error)
		return error;
	for (uint32_t i = 0; i < mapped.nr; i++) {
		mmb__wire__slab_map_window__init(&parts[i]);
		parts[i].address = mapped.windows[i].address;
		parts[i].length = mapped.windows[i].length;
		pointers[i] = &parts[i];
		fds[i] = mapped.windows[i].fd;
	}
	reply.total = mapped.total;
	reply.n_windows = mapped.nr;
	reply.windows = pointers;
	error = request_reply(r, &reply.base, (struct wire_fds){ fds, mapped.nr });
	for (uint32_t i = 0; i < mapped.nr; i++)
		close(fds[i]);
	return error;
}

int handle_SLAB_LEASE(struct request *r)
{
	const Mmb__Wire__SlabLeaseRequest *m = r->message;
	Mmb__Wire__SlabLeaseReply          reply = MMB__WIRE__SLAB_LEASE_REPLY__INIT;
	uint64_t                           addresses[MMB_PAGES_BATCH];
	struct lease_args                  args = {
		.pool = m->pool,
		.gfp = m->gfp,
		.units = m->units,
		.nr = m->count,
		.addresses = addresses,
		.since_ns = r->started_ns,
		.at_once = r->received != NULL,
		.past = request_past(r),
	};
	uint32_t got = 0;
	int      error = verb_slab_lease(r->session, &args, &got, &r->why);

	r->again = error == -EAGAIN;
	if (error)
		return error;
	reply.n_addresses = got;
	reply.addresses = addresses;
	error = request_reply(r, &reply.base, (struct wire_fds){ 0 });
	verb_slab_leased(r->session, m->pool);
	return error;
}

int handle_SLAB_RETURN(struct request *r)
{
	const Mmb__Wire__SlabReturnRequest *m = r->message;
	struct slab_return_args             args = {
		.pool = m->pool,
		.nr = (uint32_t)m->n_addresses,
		.addresses = m->addresses,
		.units = m->units,
		.past = request_past(r),
	};
	int error;

	if (m->n_addresses != m->n_units || !m->n_units || m->n_units > MMB_PAGES_BATCH)
		return refuse(&r->why, -EINVAL,
			      "%zu addresses and %zu numbers of units in one request; it takes 1 "
			      "to %d, as many of both",
			      m->n_addresses, m->n_units, MMB_PAGES_BATCH);
	error = verb_slab_return(r->session, &args, &r->why);
	return error ? error : reply_empty(r);
}

int handle_CACHE_OPEN(struct request *r)
{
	const Mmb__Wire__CacheOpenRequest *m = r->message;
	Mmb__Wire__CacheOpenReply          reply = MMB__WIRE__CACHE_OPEN_REPLY__INIT;
	struct cache_opened                opened;
	struct cache_open_args             args = {
		.pool = m->pool,
		.name = m->name,
		.object = m->object,
		.align = m->align,
		.flags = m->flags,
	};
	int error = check_name(r, "cache name", m->name);

	if (!error)
		error = verb_cache_open(r->session, &args, &opened, &r->why);
	if (error)
		return error;
	reply.cache = opened.cache;
	reply.object = opened.object;
	reply.align = opened.align;
	reply.flags = opened.flags;
	reply.created = opened.created;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_CACHE_CLOSE(struct request *r)
{
	const Mmb__Wire__CacheRequest *m = r->message;
	int error = verb_cache_close(r->session, m->pool, m->cache, &r->why);

	return error ? error : reply_empty(r);
}
