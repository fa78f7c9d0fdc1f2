/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch - checks, routes and answers a request
 *
 * Purpose     See dispatch.h. Order of the checks: form, method, state and rights, descriptors,
 *             body. What a stranger sends is refused at the first that fails.
 * Locking     a request belongs to the thread that runs it; a slow one is copied once on its way.
 */
#include "ipc/dispatch.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/memalloc.h"
#include "ipc/server_state.h"
#include "mm/obj/slab.h"
#include "mmbroker.h"
#include "os/os.h"
#include "proto/printable.h"

/* Where a method runs. A verb that may populate, punch or walk everything isn't for a worker. One
 * that goes on for as long as what it is asked for is big, or as a pool or a disk has it wait, is
 * not for the threads that are kept for short ones. */
enum pace { QUICK, SLOW, LENGTHY, BY_SIZE };

typedef int (*handler_fn)(struct request *r);

#define X(number, name, request_, reply, fds, access) [number] = handle_##name,
static const handler_fn handlers[] = { MMB_METHODS(X) };
#undef X

static const uint8_t paces[ARRAY_SIZE(handlers)] = {
	[MMB_METHOD_POOL_CLOSE] = SLOW, /* gives back what may be millions of runs */
	[MMB_METHOD_PAGES_ALLOC] = SLOW,
	[MMB_METHOD_PAGES_FREE] = BY_SIZE,
	[MMB_METHOD_SLAB_LEASE] = BY_SIZE,
	[MMB_METHOD_SLAB_RETURN] = BY_SIZE,
	[MMB_METHOD_REGION_CREATE] = BY_SIZE,
	[MMB_METHOD_REGION_OPEN] = BY_SIZE,
	[MMB_METHOD_REGION_CLONE] = LENGTHY,
	[MMB_METHOD_REGION_ROLLBACK] = LENGTHY,
	[MMB_METHOD_REGION_STAT] = BY_SIZE,
	[MMB_METHOD_REGIONS] = SLOW,
	[MMB_METHOD_NAMED_CLONE] = LENGTHY,
	[MMB_METHOD_NAMED_ROLLBACK] = LENGTHY,
	[MMB_METHOD_REGION_ADVISE] = BY_SIZE,
	[MMB_METHOD_REGION_LOCK] = BY_SIZE,
	[MMB_METHOD_REGION_UNLOCK] = BY_SIZE,
	[MMB_METHOD_MEMINFO] = SLOW,
	[MMB_METHOD_BUDDYINFO] = SLOW,
	[MMB_METHOD_ZONEINFO] = SLOW,
	[MMB_METHOD_PAGETYPEINFO] = SLOW,
	[MMB_METHOD_VMSTAT] = SLOW,
	[MMB_METHOD_MAPS] = SLOW,
	[MMB_METHOD_VERIFY] = LENGTHY,
	[MMB_METHOD_SLABINFO] = SLOW,
	[MMB_METHOD_SWAPON] = LENGTHY,
	[MMB_METHOD_SWAPOFF] = LENGTHY,
	[MMB_METHOD_DRAIN] = LENGTHY,
	[MMB_METHOD_RELOAD] = SLOW,
	[MMB_METHOD_PRESSURE] = SLOW,
	[MMB_METHOD_LATENCY] = SLOW,
	[MMB_METHOD_POOL_SET] = LENGTHY,
	[MMB_METHOD_TRIM] = LENGTHY,
	[MMB_METHOD_POOL_RM] = LENGTHY,
};

/* Descriptors that a reply may have. HELLO and UPCALLS, once a session, ask for theirs. */
static const uint8_t reply_fds[ARRAY_SIZE(handlers)] = {
	[MMB_METHOD_ARENA_OPEN] = MMB_PACKET_FDS,
	[MMB_METHOD_SLAB_MAP] = MMB_PACKET_FDS,
	[MMB_METHOD_REGION_CREATE] = 2, /* its own, and the one it is a clone of */
	[MMB_METHOD_REGION_OPEN] = 2,
	[MMB_METHOD_REGION_CLONE] = 2,
	[MMB_METHOD_REGION_MAP] = 2,
};

/* ---- replies ---- */

static int send_packet(struct request *r, const struct wire_packet *head,
		       const ProtobufCMessage *body, struct wire_fds fds)
{
	ssize_t nr = wire_encode(head, body, r->lane->tx, sizeof(r->lane->tx));

	if (nr < 0)
		return (int)nr;
	return connection_send_fds(r->connection, r->lane->tx, (size_t)nr, fds, &r->fds_promised);
}

int request_reply(struct request *r, const ProtobufCMessage *reply, struct wire_fds fds)
{
	struct wire_packet head = { .method = r->packet.method, .id = r->packet.id };
	int                error = send_packet(r, &head, reply, fds);

	if (error)
		return refuse(&r->why, error, "the reply can't be sent: %s", strerror(-error));
	r->replied = true;
	return 0;
}

int reply_empty(struct request *r)
{
	if (!r->packet.id) {
		r->replied = true; /* nobody waits for good news that says nothing */
		return 0;
	}
	return request_reply(r, NULL, (struct wire_fds){ 0 });
}

int promise_fds(struct request *r, uint32_t nr)
{
	int error = connection_promise_fds(r->connection, nr, &r->why);

	if (!error)
		r->fds_promised = nr;
	return error;
}

static void reply_refusal(struct request *r, int code)
{
	struct wire_packet head = {
		.method = r->packet.method,
		.id = r->packet.id,
		.code = code,
	};
	int error;

	if (!r->why.text[0])
		refuse(&r->why, code, "%s", strerror(-code));
	head.error = r->why.text;
	head.error_bytes = strlen(r->why.text);
	error = send_packet(r, &head, NULL, (struct wire_fds){ 0 });
	/* Not even that can be sent: the client would wait for ever. */
	if (error)
		connection_kill(r->connection, error, "a reply can't be sent: %s",
				strerror(-error));
}

/* ---- checks ---- */

int check_name(struct request *r, const char *what, const char *s)
{
	const char *at = s;

	if (strlen(s) > MMB_NAME_MAX)
		return refuse(&r->why, -EINVAL, "the %s is %zu bytes long; at most %d are allowed",
			      what, strlen(s), MMB_NAME_MAX);
	while (*at) {
		size_t nr = printable_length(at);

		if (!nr)
			return refuse(&r->why, -EINVAL,
				      "the %s has a byte 0x%02x at %td that is not printable UTF-8",
				      what, (unsigned char)*at, at - s);
		at += nr;
	}
	return 0;
}

/* State and rights: what may be called now, by this peer. */
static int admit(struct request *r)
{
	const struct connection *c = r->connection;
	enum wire_access         access = r->method->access;

	if (!c->greeted && access != WIRE_FIRST) {
		r->fatal = true;
		return refuse(&r->why, -EPROTO, "%s before HELLO", r->method->name);
	}
	if (c->greeted && access == WIRE_FIRST) {
		r->fatal = true;
		return refuse(&r->why, -EPROTO, "a second %s", r->method->name);
	}
	if (access == WIRE_SESSION && c->peer.control)
		return refuse(&r->why, -EPERM,
			      "%s is not for a control connection: it has no memory",
			      r->method->name);
	if (access == WIRE_ADMIN && !c->peer.admin)
		return refuse(&r->why, -EPERM,
			      "%s is for root, the daemon's user and members of socket.admin_group",
			      r->method->name);
	return 0;
}

static int check_fds(struct request *r, uint32_t nr_fds)
{
	if (nr_fds == r->method->nr_fds)
		return 0;
	r->fatal = true;
	return refuse(&r->why, -EPROTO, "%s came with %u descriptors instead of %u",
		      r->method->name, nr_fds, r->method->nr_fds);
}

static int unpack(struct request *r)
{
	ProtobufCMessage *message;
	int               error;

	wire_scratch_init(&r->scratch, r->lane->scratch, sizeof(r->lane->scratch));
	error = wire_unpack(&r->packet, r->method->request, &r->scratch, &message);
	r->message = message;
	if (!error)
		return 0;
	r->fatal = true;
	return refuse(&r->why, -EPROTO, "the %zu bytes of body are no %s%s", r->packet.body_bytes,
		      r->method->request->short_name,
		      error == -ENOBUFS ? " of reasonable size" : "");
}

static uint64_t first_id(const struct wire_packet *packet)
{
	return packet->again ? packet->again : packet->id;
}

struct request_past request_past(const struct request *r)
{
	return (struct request_past){
		.id = first_id(&r->packet),
		.again = r->packet.again != 0,
		.heard = &r->connection->heard,
	};
}

/* A request of which a client says that it was lost with the last daemon costs a search. There are
 * no more of these than that daemon can have read; others are taken as new. */
static void note_id(struct connection *c, struct wire_packet *packet)
{
	uint32_t lost_max = c->server->options.limits.requests_in_flight + OUTBOX_PACKETS_MAX;

	if (!c->first_id)
		c->first_id = packet->id;
	if (packet->id > atomic_load(&c->heard))
		atomic_store(&c->heard, packet->id);
	if (packet->again &&
	    (!c->resumed || packet->again >= c->first_id || c->nr_repeats++ >= lost_max))
		packet->again = 0;
}

/* ---- running ---- */

static void request_init(struct request *r, struct connection *c, struct lane *lane)
{
	r->connection = c;
	r->session = c->session;
	r->method = NULL;
	r->message = NULL;
	r->received = NULL;
	r->lane = lane;
	r->why.text[0] = '\0';
	r->fatal = false;
	r->replied = false;
	r->fds_promised = 0;
	r->again = false;
	r->done = 0;
}

bool request_defers(struct request *r)
{
	r->again = r->received != NULL;
	return r->again;
}

bool request_settles(struct request *r, int error, bool settling)
{
	if ((error != -ENOMEM && error != -EDQUOT) || (!settling && !frames_settling()))
		return false;
	if (request_defers(r))
		return false;
	frames_settle();
	return true;
}

/* D1. Returns what the session shall end with. */
static int finish(struct request *r, int code)
{
	if (code && !r->replied)
		reply_refusal(r, code);
	connection_unpromise_fds(r->connection, r->fds_promised);
	r->fds_promised = 0;
	histogram_add(&r->lane->latency, os->now_ns() - r->started_ns);
	return r->fatal ? code : 0;
}

static int run(struct request *r)
{
	int code;

	if (r->session && !r->again)
		session_count_request(r->session);
	r->again = false;
	session_work(r->session, first_id(&r->packet));
	memalloc_set(r->connection->peer.control && r->connection->peer.admin);
	code = handlers[r->packet.method](r);
	memalloc_set(false);
	session_work(NULL, 0);
	return r->again ? 0 : finish(r, code);
}

/* A request on its way to a work thread, with a copy of its body. */
struct slow_request {
	struct job         job;
	struct connection *connection;
	struct wire_packet packet;
	uint64_t           started_ns;
	bool               again; /* it has been run, and waits for its next turn */
	uint64_t           done;  /* then: as in struct request */
	uint32_t           fds_promised;
	uint8_t            body[];
};

static void run_slow(struct job *job, struct lane *lane)
{
	struct slow_request *slow = container_of(job, struct slow_request, job);
	struct connection   *c = slow->connection;
	struct request       r;
	int                  code;
	bool                 ended;

	mutex_lock(&c->lock);
	ended = c->ended;
	mutex_unlock(&c->lock);
	if (ended) {
		connection_unpromise_fds(c, slow->fds_promised);
		slow->again = false;
	} else {
		request_init(&r, c, lane);
		r.fds_promised = slow->fds_promised;
		r.again = slow->again;
		r.done = slow->done;
		r.packet = slow->packet;
		r.started_ns = slow->started_ns;
		r.method = wire_method(r.packet.method);
		code = unpack(&r);
		code = code ? finish(&r, code) : run(&r);
		slow->again = r.again;
		slow->done = r.done;
		if (code)
			connection_kill(c, code, "%s", r.why.text);
	}
	if (!slow->again)
		connection_flight_end(c);
}

static void release_slow(struct job *job)
{
	struct slow_request *slow = container_of(job, struct slow_request, job);
	struct connection   *c = slow->connection;

	if (slow->again) {
		/* What isn't at its end after a turn waits for memory, or is long. */
		job->lengthy = true;
		job->had_turn = true;
		workpool_submit(c->server->pool, &c->jobs, job);
		return;
	}
	connection_put(c);
	kfree(slow);
}

/* Parked, or to the work threads at once. */
static int submit_slow(struct request *r, bool lengthy)
{
	struct slow_request *slow = kmalloc(sizeof(*slow) + r->packet.body_bytes, GFP_KERNEL);

	if (!slow)
		return finish(r, refuse(&r->why, -ENOMEM, "the daemon is out of memory"));
	slow->job.run = run_slow;
	slow->job.release = release_slow;
	slow->job.lengthy = lengthy;
	slow->job.had_turn = false;
	slow->connection = r->connection;
	slow->started_ns = r->started_ns;
	slow->again = r->again;
	slow->done = r->done;
	slow->fds_promised = r->fds_promised;
	r->fds_promised = 0;
	slow->packet = r->packet;
	slow->packet.body = slow->body;
	slow->packet.error = "";
	slow->packet.error_bytes = 0;
	if (r->packet.body_bytes)
		usercopy_in(slow->body, r->packet.body, r->packet.body_bytes);
	connection_get(r->connection);
	connection_flight_begin(r->connection);
	if (slow->fds_promised && !connection_takes_fds(r->connection))
		connection_park(r->connection, &slow->job);
	else
		workpool_submit(r->connection->server->pool, &r->connection->jobs, &slow->job);
	return 0;
}

enum {
	RETURN_QUICK_UNITS = 512,
	LEASE_QUICK_UNITS = 32,
	SHORT_RANGE = 2 << 20, /* bytes whose pages are produced or given up in a short time */
};

/* REGION_CREATE and REGION_OPEN are quick unless pages are wanted at once; handle_region.c looks
 * for memory that is on its way back. Who opens needn't say how long the region is. */
static enum pace pace_of_open(const struct request *r)
{
	const Mmb__Wire__RegionOpenRequest *open = r->message;

	if (open->flags & (MMB_REGION_POPULATE | MMB_REGION_LOCKED))
		return open->length && open->length <= SHORT_RANGE ? SLOW : LENGTHY;
	return QUICK;
}

static enum pace pace_of_range(const struct request *r)
{
	const Mmb__Wire__RegionRangeRequest *range = r->message;

	return range->length <= SHORT_RANGE ? SLOW : LENGTHY;
}

/* SLAB_RETURN takes up to 32768 units. */
static bool returns_many(const struct request *r)
{
	const Mmb__Wire__SlabReturnRequest *m = r->message;
	uint64_t                            units = 0;

	for (size_t i = 0; i < m->n_units; i++)
		units += m->units[i];
	return units > RETURN_QUICK_UNITS;
}

/* Of few units those are quick that are free already; handle_SLAB_LEASE() looks. What may have been
 * granted before is searched for. */
static bool leases_many(const struct request *r)
{
	const Mmb__Wire__SlabLeaseRequest *m = r->message;

	return r->packet.again || (uint64_t)m->units * m->count > LEASE_QUICK_UNITS;
}

static enum pace pace_by_size(const struct request *r)
{
	const Mmb__Wire__RegionRequest *stat = r->message;

	switch (r->packet.method) {
	case MMB_METHOD_SLAB_LEASE:
		return leases_many(r) || frames_at_rest() ? SLOW : QUICK;
	case MMB_METHOD_SLAB_RETURN:
		return returns_many(r) || frames_at_rest() ? SLOW : QUICK;
	case MMB_METHOD_PAGES_FREE:
		return frames_at_rest() ? SLOW : QUICK;
	case MMB_METHOD_REGION_STAT:
		return region_stat_is_slow(r->session, stat->region) ? SLOW : QUICK;
	case MMB_METHOD_REGION_ADVISE:
	case MMB_METHOD_REGION_LOCK:
	case MMB_METHOD_REGION_UNLOCK:
		return pace_of_range(r);
	default:
		return pace_of_open(r);
	}
}

/* It isn't carried out, whatever its pace. */
static int check_suspect(struct request *r)
{
	uint32_t deaths = r->session && r->packet.again
				  ? session_request_deaths(r->session, r->packet.again)
				  : 0;

	if (deaths < REQUEST_DEATHS_MAX)
		return 0;
	log_emit(LOG_ERR, "request_refused",
		 "%s of process %d (%s), uid %u: %u daemons died while they were at it",
		 r->method->name, r->connection->peer.pid, r->connection->peer.name,
		 r->connection->peer.uid, deaths);
	return refuse(&r->why, -EIO,
		      "the broker has died %u times while it was at this request, which isn't "
		      "tried again; see the daemon's log, and report it",
		      deaths);
}

static int dispatch_known(struct request *r)
{
	enum pace pace = paces[r->packet.method];
	int       code = admit(r);

	if (!code)
		code = check_suspect(r);
	if (!code)
		code = check_fds(r, r->received->nr_fds);
	if (!code && reply_fds[r->packet.method])
		code = promise_fds(r, reply_fds[r->packet.method]);
	if (!code && (pace == SLOW || pace == LENGTHY))
		return submit_slow(r, pace == LENGTHY);
	if (!code)
		code = unpack(r);
	if (code)
		return finish(r, code);
	if (pace == BY_SIZE)
		pace = pace_by_size(r);
	if (pace != QUICK || (r->fds_promised && !connection_takes_fds(r->connection)))
		return submit_slow(r, pace == LENGTHY);
	code = run(r);
	return r->again ? submit_slow(r, false) : code;
}

int dispatch(struct connection *c, struct wire_message *m, struct lane *lane, struct refusal *why)
{
	struct request r;
	int            code;

	request_init(&r, c, lane);
	r.started_ns = os->now_ns();
	r.received = m;
	if (wire_decode(m->bytes, m->length, &r.packet))
		return refuse(why, -EPROTO, "%zu bytes that are no Packet", m->length);
	note_id(c, &r.packet);
	r.method = wire_method(r.packet.method);
	if (r.method) {
		code = dispatch_known(&r);
	} else {
		/* A newer client may ask for more than there is here; a stranger may not. */
		r.fatal = !c->greeted || m->nr_fds;
		code = r.fatal ? -EPROTO : -ENOSYS;
		code = finish(&r, refuse(&r.why, code, "there is no method %u", r.packet.method));
	}
	if (code)
		memcpy(why, &r.why, sizeof(*why));
	return code;
}
