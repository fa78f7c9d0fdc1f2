/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_region - regions: from messages to verbs and back
 *
 * Locking     none; any thread that runs requests.
 * Not here    What the verbs check and do (client/verbs.h).
 */
#include <errno.h>
#include <unistd.h>

#include "base/inject.h"
#include "base/workqueue.h"
#include "ipc/convert.h"
#include "ipc/dispatch.h"

static Mmb__Wire__RegionOpenReply told(const struct region_opened *opened)
{
	Mmb__Wire__RegionOpenReply reply = MMB__WIRE__REGION_OPEN_REPLY__INIT;

	reply.region = opened->handle;
	reply.address = opened->address;
	reply.length = opened->length;
	reply.page_size = opened->page_size;
	reply.flags = opened->flags;
	reply.hugetlb = opened->hugetlb;
	reply.created = opened->created;
	reply.evictable = opened->evictable;
	reply.has_base = opened->base_fd >= 0;
	return reply;
}

/* With the region's descriptors, which are closed here. */
static int reply_with(struct request *r, const ProtobufCMessage *reply,
		      const struct region_opened *opened)
{
	bool has_base = opened->base_fd >= 0;
	int  fds[2] = { opened->fd, opened->base_fd };
	int  error = request_reply(r, reply, (struct wire_fds){ fds, has_base ? 2 : 1 });

	close(opened->fd);
	if (has_base)
		close(opened->base_fd);
	return error;
}

static int reply_opened(struct request *r, const struct region_opened *opened)
{
	Mmb__Wire__RegionOpenReply reply = told(opened);

	return reply_with(r, &reply.base, opened);
}

/* As request_settles(), of memory that stands empty. */
static bool may_release(struct request *r, int error)
{
	return error == -ENOMEM && !r->again && frames_idle() && !request_defers(r);
}

static int open_region(struct request *r, const Mmb__Wire__RegionOpenRequest *m)
{
	struct region_opened       opened = { .fd = -1, .base_fd = -1 };
	struct region_open_args    args = {
		.request = r->packet.again ? r->packet.again : r->packet.id,
		.again = r->packet.again != 0,
		.pool = m->pool,
		.name = m->name,
		.length = m->length,
		.address = m->address,
		.page_size = m->page_size,
		.mode = m->mode,
		.flags = m->flags,
		.nodes = node_policy_of(m->nodes),
	};
	bool settling = frames_settling();
	int error = verb_region_open(r->session, &args, &opened, &r->why);

	if (request_settles(r, error, settling))
		error = verb_region_open(r->session, &args, &opened, &r->why);
	if (may_release(r, error) && verb_region_release(r->session, &args))
		error = verb_region_open(r->session, &args, &opened, &r->why);
	return error ? error : reply_opened(r, &opened);
}

int handle_REGION_MAP(struct request *r)
{
	const Mmb__Wire__RegionRequest *m = r->message;
	struct region_opened            opened = { .fd = -1, .base_fd = -1 };
	int error = verb_region_map(r->session, m->region, &opened, &r->why);

	return error ? error : reply_opened(r, &opened);
}

int handle_REGION_CREATE(struct request *r)
{
	const Mmb__Wire__RegionOpenRequest *m = r->message;

	if (m->name[0])
		return refuse(&r->why, -EINVAL, "REGION_CREATE makes unnamed regions; a named one "
						"is created by REGION_OPEN");
	return open_region(r, m);
}

int handle_REGION_OPEN(struct request *r)
{
	const Mmb__Wire__RegionOpenRequest *m = r->message;
	int                                 error = check_name(r, "region name", m->name);

	if (error)
		return error;
	if (!m->name[0])
		return refuse(&r->why, -EINVAL,
			      "a region is opened by its name, which is empty here");
	return open_region(r, m);
}

int handle_WINDOW(struct request *r)
{
	const Mmb__Wire__WindowRequest *m = r->message;
	int error = verb_region_window(r->session, m->region, m->address, &r->why);

	return error ? error : reply_empty(r);
}

/* How to map the first comes along if that can be told; else the client hears why when it asks. */
static int reply_cloned(struct request *r, bool map, uint32_t *handles, size_t nr)
{
	Mmb__Wire__RegionCloneReply reply = MMB__WIRE__REGION_CLONE_REPLY__INIT;
	Mmb__Wire__RegionOpenReply  first;
	struct region_opened        opened;
	struct refusal              unused;

	reply.n_regions = nr;
	reply.regions = handles;
	if (map && !verb_region_map(r->session, handles[0], &opened, &unused)) {
		first = told(&opened);
		reply.opened = &first;
		INJECT_TURN(CLONE_TOLD);
		if (!reply_with(r, &reply.base, &opened))
			return 0;
		reply.opened = NULL;
	}
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_REGION_CLONE(struct request *r)
{
	const Mmb__Wire__RegionCloneRequest *m = r->message;
	struct region_clone_args             args[REGION_CLONES_MAX];
	uint32_t                             handles[REGION_CLONES_MAX];
	const struct region_clone_request    want = {
		.request = r->packet.again ? r->packet.again : r->packet.id,
		.again = r->packet.again != 0,
		.clones = args,
		.nr = (uint32_t)m->n_clones,
	};
	bool settling;
	int error = 0;

	for (size_t i = 0; i < m->n_clones && i < REGION_CLONES_MAX && !error; i++) {
		args[i] = (struct region_clone_args){
			.region = m->clones[i]->region,
			.pool = m->clones[i]->pool,
			.name = m->clones[i]->name,
			.flags = m->clones[i]->flags,
		};
		error = check_name(r, "region name", args[i].name);
	}
	settling = frames_settling();
	if (!error)
		error = verb_region_clone(r->session, &want, handles, &r->why);
	if (request_settles(r, error, settling))
		error = verb_region_clone(r->session, &want, handles, &r->why);
	if (may_release(r, error) && verb_clone_release(r->session, &want))
		error = verb_region_clone(r->session, &want, handles, &r->why);
	return error ? error : reply_cloned(r, m->map, handles, m->n_clones);
}

int handle_REGION_ROLLBACK(struct request *r)
{
	const Mmb__Wire__RegionRollbackRequest *m = r->message;
	struct region_rollback_args args = { .region = m->region,
					     .snapshot = m->snapshot,
					     .past = request_past(r) };
	Mmb__Wire__RegionRollbackReply reply = MMB__WIRE__REGION_ROLLBACK_REPLY__INIT;
	bool poisoned;
	int error = verb_region_rollback(r->session, &args, &poisoned, &r->why);

	INJECT_TURN(ROLLED_BACK);
	reply.poisoned = poisoned;
	return error ? error : request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

static int close_one(struct request *r, uint32_t region)
{
	const Mmb__Wire__RegionRequest *m = r->message;
	int error = m->unmake ? verb_region_unmake(r->session, region, &r->why)
			      : verb_region_close(r->session, region, &r->why);

	return error == -EBADF && r->packet.again ? 0 : error; /* it was carried out before */
}

/* What gives the memory back takes milliseconds, and would run where the client waits. */
int handle_REGION_CLOSE(struct request *r)
{
	const Mmb__Wire__RegionRequest *m = r->message;
	int error;

	workqueue_hold_wakes();
	error = close_one(r, m->region);
	for (size_t i = 0; i < m->n_more && !error; i++)
		error = close_one(r, m->more[i]);
	error = error ? error : reply_empty(r);
	workqueue_send_wakes();
	return error;
}

int handle_REGION_UNLINK(struct request *r)
{
	const Mmb__Wire__RegionUnlinkRequest *m = r->message;
	struct region_unlink_args args = { .pool = m->pool,
					   .name = m->name,
					   .past = request_past(r) };
	int error = check_name(r, "region name", m->name);

	if (!error)
		error = verb_region_unlink(r->session, &args, &r->why);
	INJECT_TURN(UNLINKED);
	if (error == -ENOENT && r->packet.again)
		error = 0; /* it was carried out before */
	return error ? error : reply_empty(r);
}

typedef int (*range_verb_fn)(struct session *s, const struct region_range_args *args,
			     struct refusal *why);

static int range(struct request *r, range_verb_fn verb)
{
	const Mmb__Wire__RegionRangeRequest *m = r->message;
	struct region_range_args             args = {
		.region = m->region,
		.advice = m->advice,
		.offset = m->offset,
		.length = m->length,
		.done = &r->done,
	};
	uint64_t before = r->done;
	int      error = verb(r->session, &args, &r->why);

	r->again = error == -EAGAIN && r->done > before;
	return error ? error : reply_empty(r);
}

int handle_REGION_ADVISE(struct request *r)
{
	return range(r, verb_region_advise);
}

int handle_REGION_LOCK(struct request *r)
{
	return range(r, verb_region_lock);
}

int handle_REGION_UNLOCK(struct request *r)
{
	return range(r, verb_region_unlock);
}

int handle_REGION_STAT(struct request *r)
{
	const Mmb__Wire__RegionRequest *m = r->message;
	Mmb__Wire__RegionStatReply      reply;
	struct region_stat              stat;
	int error = verb_region_stat(r->session, m->region, &stat, &r->why);

	if (error)
		return error;
	region_stat_reply_fill(&reply, &stat);
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

/* ---- by name ---- */

int handle_NAMED_CLONE(struct request *r)
{
	const Mmb__Wire__NamedCloneRequest *m = r->message;
	const struct named_clone_args       args = {
		.pool = m->pool,
		.regions = m->regions,
		.names = m->names,
		.nr = (uint32_t)m->n_regions,
	};
	bool settling = frames_settling();
	int error = check_name(r, "pool name", m->pool);

	if (m->n_regions != m->n_names)
		return refuse(&r->why, -EINVAL, "%zu regions and %zu names for their clones",
			      m->n_regions, m->n_names);
	for (size_t i = 0; i < m->n_regions && !error; i++) {
		error = check_name(r, "region name", m->regions[i]);
		if (!error)
			error = check_name(r, "region name", m->names[i]);
	}
	if (error)
		return error;
	error = verb_named_clone(r->session, &args, &r->why);
	if (request_settles(r, error, settling))
		error = verb_named_clone(r->session, &args, &r->why);
	if (may_release(r, error) && verb_named_release(r->session, &args))
		error = verb_named_clone(r->session, &args, &r->why);
	return error ? error : reply_empty(r);
}

int handle_NAMED_ROLLBACK(struct request *r)
{
	const Mmb__Wire__NamedRollbackRequest *m = r->message;
	int error = check_name(r, "pool name", m->pool);

	if (!error)
		error = check_name(r, "region name", m->region);
	if (!error)
		error = check_name(r, "region name", m->snapshot);
	if (!error)
		error = verb_named_rollback(r->session, m->pool, m->region, m->snapshot, &r->why);
	return error ? error : reply_empty(r);
}

int handle_NAMED_UNLINK(struct request *r)
{
	const Mmb__Wire__NamedUnlinkRequest *m = r->message;
	int error = check_name(r, "pool name", m->pool);

	if (!error)
		error = check_name(r, "region name", m->region);
	if (!error)
		error = verb_named_unlink(r->session, m->pool, m->region, &r->why);
	return error ? error : reply_empty(r);
}
