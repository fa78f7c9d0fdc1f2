/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_limits - pools by name as operators see them: from messages to verbs
 *
 * Locking     none; any thread that runs requests.
 * Not here    What the verbs check and do (client/verbs.h).
 */
#include <errno.h>

#include "ipc/convert.h"
#include "ipc/dispatch.h"

int handle_POOL_SET(struct request *r)
{
	const Mmb__Wire__PoolSetRequest *m = r->message;
	struct pool_limits               limits = {
		.min = m->min,
		.low = m->low,
		.high = m->high,
		.max = m->max,
		.swap_max = m->swap_max,
	};
	int error = check_name(r, "pool name", m->name);

	if (!error)
		error = verb_pool_set(r->session, m->name, m->set, &limits, &r->why);
	return error ? error : reply_empty(r);
}

int handle_POOL_CREATE(struct request *r)
{
	const Mmb__Wire__PoolCreateRequest *m = r->message;
	struct pool_create_args             args = { 0 };
	int                                 error;

	if (!m->pool)
		return refuse(&r->why, -EINVAL, "POOL_CREATE doesn't say which pool");
	args.pool = pool_open_args_of(m->pool);
	args.has_owner = m->has_owner;
	args.uid = m->uid;
	args.gid = m->gid;
	error = check_name(r, "pool name", m->pool->name);
	if (!error)
		error = verb_pool_create(r->session, &args, &r->why);
	return error ? error : reply_empty(r);
}

int handle_POOL_RM(struct request *r)
{
	const Mmb__Wire__PoolRmRequest *m = r->message;
	int                             error = check_name(r, "pool name", m->name);

	if (!error)
		error = verb_pool_rm(r->session, m->name, m->force, &r->why);
	return error ? error : reply_empty(r);
}

int handle_TRIM(struct request *r)
{
	const Mmb__Wire__TrimRequest *m = r->message;
	Mmb__Wire__TrimReply          reply = MMB__WIRE__TRIM_REPLY__INIT;
	int                           error = check_name(r, "pool name", m->name);

	if (!error)
		error = verb_trim(r->session, m->name, m->bytes, &reply.freed, &r->why);
	return error ? error : request_reply(r, &reply.base, (struct wire_fds){ 0 });
}
