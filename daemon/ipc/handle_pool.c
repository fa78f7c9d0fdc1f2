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
	struct pool_open_args             args = pool_open_args_of(m);
	struct pool_opened                opened;
	bool                              settling = frames_settling();
	int                               error = check_name(r, "pool name", m->name);

	args.request = r->packet.again ? r->packet.again : r->packet.id;
	args.again = r->packet.again != 0;
	if (!error)
		error = verb_pool_open(r->session, &args, &opened, &r->why);
	if (request_settles(r, error, settling))
		error = verb_pool_open(r->session, &args, &opened, &r->why);
	if (error)
		return error;
	reply.pool = opened.handle;
	reply.member = opened.member;
	reply.key = opened.key;
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_POOL_CLOSE(struct request *r)
{
	const Mmb__Wire__PoolRequest *m = r->message;
	int                           error = verb_pool_close(r->session, m->pool, &r->why);

	if (error == -EBADF && r->packet.again)
		error = 0; /* it was carried out before */
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

static_assert((int)ARENA_WINDOWS <= (int)MMB_PACKET_FDS, "a reply has room for the descriptors");

int handle_ARENA_OPEN(struct request *r)
{
	const Mmb__Wire__ArenaOpenRequest *m = r->message;
	Mmb__Wire__ArenaOpenReply          reply = MMB__WIRE__ARENA_OPEN_REPLY__INIT;
	Mmb__Wire__ArenaWindow             parts[ARENA_WINDOWS], *pointers[ARENA_WINDOWS];
	struct arena_opened                opened;
	int                                fds[ARENA_WINDOWS];
	int                                error;

	error = verb_arena_open(r->session, m->pool, m->first, &opened, &r->why);
	if (error)
		return error;
	for (uint32_t i = 0; i < opened.nr; i++) {
		mmb__wire__arena_window__init(&parts[i]);
		parts[i].address = opened.windows[i].address;
		parts[i].length = opened.windows[i].length;
		parts[i].hugetlb = opened.windows[i].hugetlb;
		parts[i].node = opened.windows[i].node;
		pointers[i] = &parts[i];
		fds[i] = opened.windows[i].fd;
	}
	reply.total = opened.total;
	reply.n_windows = opened.nr;
	reply.windows = pointers;
	error = request_reply(r, &reply.base, (struct wire_fds){ fds, opened.nr });
	for (uint32_t i = 0; i < opened.nr; i++)
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
		.since_ns = r->started_ns,
		.past = request_past(r),
	};
	uint32_t got = 0;
	int      error;

	if (m->count == 0 || m->count > MMB_PAGES_BATCH)
		return refuse(&r->why, -EINVAL, "%u page runs in one request; 1 to %d are allowed",
			      m->count, MMB_PAGES_BATCH);
	error = verb_pages_alloc(r->session, &args, &got, &r->why);
	r->again = error == -EAGAIN;
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
		.past = request_past(r),
	};
	int error;

	if (m->n_addresses == 0 || m->n_addresses > MMB_PAGES_BATCH)
		return refuse(&r->why, -EINVAL, "%zu page runs in one request; 1 to %d are allowed",
			      m->n_addresses, MMB_PAGES_BATCH);
	error = verb_pages_free(r->session, &args, &r->why);
	return error ? error : reply_empty(r);
}
