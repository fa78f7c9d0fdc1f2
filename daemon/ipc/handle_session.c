/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_session - HELLO, PING and ATTACH: how a session comes to be
 *
 * Purpose     HELLO agrees on version and features, makes the session and hands out its
 *             descriptors: fault log, upcall socket, and /dev/userfaultfd to whom
 *             memory.pass_userfaultfd permits; with them a pool, to whom one is offered. ATTACH
 *             takes the session's userfaultfd.
 * Invariants  H1  after a refused HELLO the connection ends: there is one try.
 *             H2  a tool (control) gets no descriptors.
 * Locking     on the connection's worker.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/dispatch.h"
#include "ipc/registry.h"
#include "ipc/server_state.h"

static int check_version(struct request *r, const Mmb__Wire__HelloRequest *m)
{
	if (m->version_min <= MMB_PROTOCOL_VERSION && MMB_PROTOCOL_VERSION <= m->version_max)
		return 0;
	return refuse(&r->why, -EPROTONOSUPPORT,
		      "this daemon speaks protocol version %d, the client %u to %u: install the "
		      "same release of both", MMB_PROTOCOL_VERSION, m->version_min, m->version_max);
}

static int check_room(struct request *r)
{
	const struct connection *c = r->connection;
	struct server           *server = c->server;
	struct registry_count    count;

	if (atomic_load(&server->stopping))
		return refuse(&r->why, -ESHUTDOWN, "the daemon is stopping: no new sessions");
	if (c->peer.control)
		return 0;
	if (atomic_load(&server->draining))
		return refuse(&r->why, -ESHUTDOWN,
			      "the daemon is being drained: no new sessions until it is started "
			      "anew");
	/* This one is counted already, so that two at once can't both take the last place. */
	registry_count(server, c->peer.uid, &count);
	if (count.sessions > server->options.limits.sessions)
		return refuse(&r->why, -EUSERS, "%u sessions exist already: limits.sessions",
			      server->options.limits.sessions);
	return 0;
}

static bool may_have_userfaultfd(const struct connection *c)
{
	enum pass_userfaultfd pass = c->server->options.pass_userfaultfd;

	if (c->server->userfaultfd < 0)
		return false;
	switch (pass) {
	case PASS_ALL:
		return true;
	case PASS_GROUP:
		return c->in_group;
	default:
		return false;
	}
}

enum { OFFER_FDS = 2 };

/* The reply's descriptors, in its order; ours to close but the device. */
struct hello_fds {
	int      fds[MMB_PACKET_FDS];
	uint32_t nr, device; /* its place; nr: it isn't there */
};

static int gather_fds(struct request *r, Mmb__Wire__HelloReply *reply, struct hello_fds *out)
{
	const Mmb__Wire__HelloRequest *m = r->message;
	struct connection             *c = r->connection;
	int                            fd, error;

	if (c->peer.control)
		return 0;
	error = promise_fds(r, MMB_PACKET_FDS);
	if (error)
		return error;
	if (reply->features & MMB_FEATURE_FAULT_LOG) {
		fd = session_fault_log_fd(c->session);
		if (fd < 0)
			return refuse(&r->why, fd, "no fault log: %s", strerror(-fd));
		out->fds[out->nr++] = fd;
		reply->has_fault_log = true;
	}
	if (reply->features & MMB_FEATURE_UPCALLS) {
		error = upcall_open(c, &fd);
		if (error)
			return refuse(&r->why, error, "no upcall socket: %s", strerror(-error));
		out->fds[out->nr++] = fd;
		reply->has_upcall = true;
	}
	out->device = MMB_PACKET_FDS;
	if (!m->own_userfaultfd && may_have_userfaultfd(c)) {
		out->device = out->nr;
		out->fds[out->nr++] = c->server->userfaultfd;
		reply->has_userfaultfd = true;
	}
	return 0;
}

struct offer_reply {
	Mmb__Wire__PoolOffer   offer;
	Mmb__Wire__ArenaWindow arena;
};

/* Once the session is one that a death of the daemon leaves: then the pool goes with it. That none
 * is offered is no mistake of anybody's. */
static uint32_t gather_offer(struct request *r, Mmb__Wire__HelloReply *reply,
			     struct hello_fds *fds, struct offer_reply *out)
{
	struct connection  *c = r->connection;
	struct request_past past = request_past(r);
	struct offered      o;

	if (c->peer.control || !(reply->features & MMB_FEATURE_POOL_OFFER) ||
	    fds->nr + OFFER_FDS > MMB_PACKET_FDS || verb_pool_offer(c->session, &past, &o))
		return 0;
	mmb__wire__pool_offer__init(&out->offer);
	mmb__wire__arena_window__init(&out->arena);
	out->offer.pool = o.opened.handle;
	out->offer.member = o.opened.member;
	out->offer.key = o.opened.key;
	out->offer.unit = o.unit;
	out->offer.arena = &out->arena;
	out->arena.address = o.arena.address;
	out->arena.length = o.arena.length;
	out->arena.hugetlb = o.arena.hugetlb;
	out->arena.node = o.arena.node;
	reply->offer = &out->offer;
	fds->fds[fds->nr++] = o.arena.fd;
	fds->fds[fds->nr++] = o.map_fd;
	return o.opened.handle;
}

static int greet(struct request *r, const Mmb__Wire__HelloRequest *m)
{
	struct connection    *c = r->connection;
	Mmb__Wire__HelloReply reply = MMB__WIRE__HELLO_REPLY__INIT;
	struct hello_fds      fds = { .nr = 0 };
	struct offer_reply    offer;
	uint32_t              offered = 0;
	int                   error;

	reply.version = MMB_PROTOCOL_VERSION;
	reply.features = m->features & c->server->options.features;
	reply.session = session_id(c->session);
	reply.operation_timeout_ms = c->server->options.operation_timeout_ms;
	reply.server = (char *)(uintptr_t) "mmbrokerd " MMB_VERSION;
	error = gather_fds(r, &reply, &fds);
	if (!error)
		error = session_keep(c->session, c->sock);
	if (!error && !c->peer.control)
		session_set_upcalls(c->session, &upcall_ops, (void *)(uintptr_t)c->key);
	if (!error)
		offered = gather_offer(r, &reply, &fds, &offer);
	if (!error)
		error = request_reply(r, &reply.base, (struct wire_fds){ fds.fds, fds.nr });
	for (uint32_t i = 0; i < fds.nr; i++)
		if (i != fds.device)
			close(fds.fds[i]);
	if (offered)
		connection_leased(c, offered);
	return error;
}

static int hello(struct request *r)
{
	const Mmb__Wire__HelloRequest *m = r->message;
	struct connection             *c = r->connection;
	int                            error = check_version(r, m);

	if (!error)
		error = check_name(r, "client name", m->name);
	if (error)
		return error;
	snprintf(c->peer.name, sizeof(c->peer.name), "%s", m->name);
	c->peer.control = m->control;
	atomic_store_explicit(&c->has_memory, !m->control, memory_order_relaxed);
	error = check_room(r);
	if (!error)
		error = session_new(&c->peer, &c->session, &r->why);
	if (!error)
		error = greet(r, m);
	if (!error)
		connection_greeted(c);
	return error;
}

int handle_HELLO(struct request *r)
{
	int error = hello(r);

	r->fatal = error != 0; /* H1 */
	return error;
}

/* For a session that didn't want the upcall socket with HELLO: most need none, and it costs. */
int handle_UPCALLS(struct request *r)
{
	struct connection *c = r->connection;
	int                fd, error;

	if (!(c->server->options.features & MMB_FEATURE_UPCALLS))
		return refuse(&r->why, -EOPNOTSUPP, "this daemon makes no upcalls");
	if (r->packet.again || upcall_is_deserted(c))
		upcall_close(c); /* the client never got the other end */
	if (upcall_is_open(c))
		return refuse(&r->why, -EEXIST, "this session has its upcall socket already");
	error = promise_fds(r, 1);
	if (error)
		return error;
	error = upcall_open(c, &fd);
	if (error)
		return refuse(&r->why, error, "no upcall socket: %s", strerror(-error));
	error = request_reply(r, NULL, (struct wire_fds){ &fd, 1 });
	close(fd);
	return error;
}

int handle_PING(struct request *r)
{
	return reply_empty(r);
}

/* After RESUMED: requests before the first one that this daemon has read are lost, those from it on
 * are answered. */
int handle_SYNC(struct request *r)
{
	Mmb__Wire__SyncReply reply = MMB__WIRE__SYNC_REPLY__INIT;

	reply.first = r->connection->first_id;
	reply.attached = session_is_attached(r->session);
	return request_reply(r, &reply.base, (struct wire_fds){ 0 });
}

int handle_ATTACH(struct request *r)
{
	const Mmb__Wire__AttachRequest *m = r->message;
	struct attach_args              args = {
		.uffd = r->received->fds[0],
		.features = m->uffd_features,
		.user_mode_only = m->user_mode_only,
		.hears_remap = m->hears_remap,
		.remaps_huge = m->remaps_huge,
	};
	int error = session_attach(r->session, &args, &r->why);

	r->fatal = error == -EPROTO;
	if (!r->fatal)
		r->received->nr_fds = 0; /* the session's now, or closed */
	return error ? error : reply_empty(r);
}
