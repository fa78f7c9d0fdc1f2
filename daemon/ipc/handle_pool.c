/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_pool - pools, arena windows and page runs: from messages to verbs and back
 *
 * Locking     none; any thread that runs requests.
 * Not here    What the verbs check and do (client/verbs.h).
 */
#include <errno.h>
#include <unistd.h>

#include "ipc/dispatch.h"
#include "ipc/convert.h"

int handle_POOL_OPEN(struct request *r)
{
	const Mmb__Wire__PoolOpenRequest *m = r->message;
	Mmb__Wire__PoolOpenReply          reply = MMB__WIRE__POOL_OPEN_REPLY__INIT;
	struct pool_open_args             args = {
		.name = m->name,
		.flags = m->flags,
		.mode = m->mode,
		.min = m->min,
		.low = m->low,
		.high = m->high,
		.max = m->max,
		.swap_max = m->swap_max,
		.nodes = node_policy_of(m->nodes),
	};
	int error = check_name(r, "pool name", m->name);

	if (!error)
		error = verb_pool_open(r->session, &args, &reply.pool, &r->why);
	return error ? error : request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_POOL_CLOSE(struct request *r)
{
	const Mmb__Wire__PoolRequest *m = r->message;
	int                           error = verb_pool_close(r->session, m->pool, &r->why);

	return error ? error : reply_empty(r);
}

int handle_POOL_STAT(struct request *r)
{
	const Mmb__Wire__PoolRequest *m = r->message;
	Mmb__Wire__PoolStatReply      reply;
	struct pool_stat              stat;
	int                           error = verb_pool_stat(r->session, m->pool, &stat, &r->why);

	if (error)
		return error;
	pool_stat_reply_fill(&reply, &stat);
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_ARENA_OPEN(struct request *r)
{
	const Mmb__Wire__ArenaOpenRequest *m = r->message;
	Mmb__Wire__ArenaOpenReply          reply = MMB__WIRE__ARENA_OPEN_REPLY__INIT;
	Mmb__Wire__ArenaWindow             parts[MMB_PACKET_FDS], *pointers[MMB_PACKET_FDS];
	struct arena_window                windows[MMB_PACKET_FDS];
	int                                fds[MMB_PACKET_FDS];
	uint32_t                           nr = 0;
	int                                error;

	error = verb_arena_open(r->session, m->pool, m->first, MMB_PACKET_FDS, windows, &nr,
				&reply.total, &r->why);
	if (error)
		return error;
	for (uint32_t i = 0; i < nr; i++) {
		mmb__wire__arena_window__init(&parts[i]);
		parts[i].address = windows[i].address;
		parts[i].length = windows[i].length;
		parts[i].hugetlb = windows[i].hugetlb;
		parts[i].node = windows[i].node;
		pointers[i] = &parts[i];
		fds[i] = windows[i].fd;
	}
	reply.n_windows = nr;
	reply.windows = pointers;
	error = request_reply(r, &reply.base, (struct wire_fds){ fds, nr });
	for (uint32_t i = 0; i < nr; i++)
		close(fds[i]);
	return error;
}

int handle_PAGES_ALLOC(struct request *r)
{
	const Mmb__Wire__PagesAllocRequest *m = r->message;
	Mmb__Wire__PagesAllocReply          reply = MMB__WIRE__PAGES_ALLOC_REPLY__INIT;
	uint64_t                            addresses[MMB_PAGES_BATCH];
	struct pages_args                   args = {
		.pool = m->pool,
		.order = m->order,
		.gfp = m->gfp,
		.nr = m->count,
		.addresses = addresses,
	};
	uint32_t got = 0;
	int      error;

	if (m->count == 0 || m->count > MMB_PAGES_BATCH)
		return refuse(&r->why, -EINVAL, "%u page runs in one request; 1 to %d are allowed",
			      m->count, MMB_PAGES_BATCH);
	error = verb_pages_alloc(r->session, &args, &got, &r->why);
	if (error)
		return error;
	reply.n_addresses = got;
	reply.addresses = addresses;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_PAGES_FREE(struct request *r)
{
	const Mmb__Wire__PagesFreeRequest *m = r->message;
	struct pages_args                  args = {
		.pool = m->pool,
		.order = m->order,
		.nr = (uint32_t)m->n_addresses,
		.addresses = m->addresses,
	};
	int error;

	if (m->n_addresses == 0 || m->n_addresses > MMB_PAGES_BATCH)
		return refuse(&r->why, -EINVAL, "%zu page runs in one request; 1 to %d are allowed",
			      m->n_addresses, MMB_PAGES_BATCH);
	error = verb_pages_free(r->session, &args, &r->why);
	return error ? error : reply_empty(r);
}
