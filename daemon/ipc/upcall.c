/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upcall - sends, remembers, and reads acknowledgements
 *
 * Locking     the connection's lock; see upcall.h.
 */
#include "ipc/upcall.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/closer.h"
#include "ipc/connection.h"
#include "ipc/lane.h"
#include "ipc/registry.h"
#include "ipc/server_state.h"
#include "os/os.h"

/* A range is at most 24 bytes on the wire (tag, length, two tagged varints), so that a packet
 * holds far more than these. */
enum { ZAP_RANGES_PER_PACKET = 256, GOODBYE_BYTES = 1024 };

static_assert(ZAP_RANGES_PER_PACKET * 24 + 64 < MMB_PACKET_MAX, "a ZAP fits a packet");

static void arm_deadline_locked(struct connection *c)
{
	struct upcall_channel *u = &c->upcalls;
	uint64_t               now = os->now_ns(), due = u->pending[0].deadline_ns;
	uint64_t               us = due > now ? (due - now) / 1000 + 1 : 1;
	struct timeval         tv = { .tv_sec = (time_t)(us / 1000000),
				      .tv_usec = (suseconds_t)(us % 1000000) };

	event_add(&u->ev_deadline, &tv);
}

/* ---- acknowledgements, on the worker ---- */

static void remove_pending_locked(struct upcall_channel *u, uint32_t i)
{
	u->nr_pending--;
	memmove(&u->pending[i], &u->pending[i + 1],
		(u->nr_pending - i) * sizeof(u->pending[0]));
}

/* -EPROTO for an id that was never sent (A2). A late one is welcome. */
static int acknowledge(struct connection *c, uint64_t id)
{
	struct upcall_channel *u = &c->upcalls;
	int                    error = 0;

	mutex_lock(&c->lock);
	if (id == 0 || id > u->last_id)
		error = -EPROTO;
	else
		u->unresponsive = false;
	for (uint32_t i = 0; !error && i < u->nr_pending; i++) {
		if (u->pending[i].id == id) {
			remove_pending_locked(u, i);
			break;
		}
	}
	mutex_unlock(&c->lock);
	return error;
}

static int read_ack(struct connection *c, struct wire_message *m)
{
	struct wire_packet packet;

	if (m->nr_fds || wire_decode(m->bytes, m->length, &packet) || !wire_upcall(packet.method))
		return -EPROTO;
	return acknowledge(c, packet.id);
}

static void on_ack(evutil_socket_t fd, short what, void *arg)
{
	struct connection  *c = arg;
	struct lane        *lane = c->worker->lane;
	struct wire_message m = {
		.bytes = lane->rx,
		.capacity = sizeof(lane->rx),
		.discard = closer_discard,
		.sender = c->peer.uid,
	};
	ssize_t got = wire_recv(fd, &m, MSG_DONTWAIT);
	int     error;

	(void)what;
	if (got == -EAGAIN)
		return;
	error = got > 0 ? read_ack(c, &m) : (int)got;
	wire_discard_fds(&m);
	if (error == -EPROTO)
		connection_end(c, -EPROTO,
			       "what it sent on the upcall socket acknowledges nothing");
	else if (got <= 0)
		/* Nobody listens any more; the session's own socket tells whether it lives. */
		upcall_close(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct connection     *c = arg;
	struct upcall_channel *u = &c->upcalls;
	uint64_t               now = os->now_ns();
	uint32_t               missed = 0;
	bool                   news;

	(void)fd;
	(void)what;
	mutex_lock(&c->lock);
	while (u->nr_pending && u->pending[0].deadline_ns <= now) {
		remove_pending_locked(u, 0);
		missed++;
	}
	news = missed && !u->unresponsive;
	u->unresponsive |= missed > 0;
	if (u->nr_pending)
		arm_deadline_locked(c);
	mutex_unlock(&c->lock);
	atomic_fetch_add_explicit(&c->server->nr_upcalls_missed, missed, memory_order_relaxed);
	if (news)
		log_emit_limited(LOG_NOTICE, "client_unresponsive",
				 "process %d (%s) didn't acknowledge an upcall before "
				 "limits.upcall_deadline", c->peer.pid, c->peer.name);
}

/* ---- the channel ---- */

void upcall_init(struct connection *c)
{
	c->upcalls.sock = -1;
}

static void assign_events(struct connection *c, int sock)
{
	struct upcall_channel *u = &c->upcalls;

	event_assign(&u->ev_ack, c->worker->base, sock, EV_READ | EV_PERSIST, on_ack, c);
	event_assign(&u->ev_deadline, c->worker->base, -1, 0, on_deadline, c);
}

int upcall_open(struct connection *c, int *client_end)
{
	struct upcall_channel *u = &c->upcalls;
	int                    pair[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	error = session_keep_upcalls(c->session, pair[0]);
	if (error) {
		close(pair[0]);
		close(pair[1]);
		return error;
	}
	assign_events(c, pair[0]);
	if (event_add(&u->ev_ack, NULL)) {
		close(pair[0]);
		close(pair[1]);
		return -ENOMEM;
	}
	mutex_lock(&c->lock);
	u->sock = pair[0];
	mutex_unlock(&c->lock);
	*client_end = pair[1];
	return 0;
}

/* Other threads may send, and arm the deadline, before the worker listens. */
void upcall_adopt(struct connection *c, int sock, uint64_t last_id)
{
	assign_events(c, sock);
	c->upcalls.sock = sock;
	c->upcalls.last_id = last_id;
}

void upcall_listen(struct connection *c)
{
	if (c->upcalls.sock >= 0)
		event_add(&c->upcalls.ev_ack, NULL);
}

void upcall_resumed(struct connection *c)
{
	struct wire_packet head = { .method = MMB_UPCALL_RESUMED };
	uint8_t            packet[128];
	ssize_t            nr = wire_encode(&head, NULL, packet, sizeof(packet));

	if (nr > 0 && connection_send_unasked(c, packet, (size_t)nr))
		log_emit(LOG_DEBUG, "not_told", "process %d could not be told of the restart",
			 c->peer.pid);
}

bool upcall_is_open(struct connection *c)
{
	bool open;

	mutex_lock(&c->lock);
	open = c->upcalls.sock >= 0;
	mutex_unlock(&c->lock);
	return open;
}

bool upcall_is_deserted(const struct connection *c)
{
	struct pollfd p = { .fd = c->upcalls.sock };

	return p.fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

int upcall_hang_up(struct connection *c)
{
	struct upcall_channel *u = &c->upcalls;
	int                    sock;

	mutex_lock(&c->lock);
	sock = u->sock;
	u->sock = -1;
	u->nr_pending = 0;
	mutex_unlock(&c->lock);
	if (sock < 0)
		return -1;
	event_del(&u->ev_ack);
	event_del(&u->ev_deadline);
	shutdown(sock, SHUT_WR);
	return sock;
}

void upcall_close(struct connection *c)
{
	int sock = upcall_hang_up(c);

	if (sock >= 0)
		close(sock);
}

static int send_locked(struct connection *c, enum mmb_upcall number, const ProtobufCMessage *body)
{
	struct upcall_channel *u = &c->upcalls;
	const struct server_limits *limits = &c->server->options.limits;
	struct wire_packet     head = { .method = number, .id = u->last_id + 1 };
	uint8_t                packet[MMB_PACKET_MAX];
	ssize_t                nr;
	int                    error;

	mutex_assert_held(&c->lock);
	if (u->sock < 0)
		return -ENOTCONN;
	if (u->nr_pending == UPCALLS_PENDING)
		return -EAGAIN;
	nr = wire_encode(&head, body, packet, sizeof(packet));
	if (nr < 0)
		return (int)nr;
	session_count_upcall(c->session, head.id);
	error = wire_send(u->sock, packet, (size_t)nr, (struct wire_fds){ 0 }, MSG_DONTWAIT);
	if (error)
		return error;
	u->last_id++;
	u->pending[u->nr_pending++] = (struct upcall_pending){
		.id = u->last_id,
		.deadline_ns = os->now_ns() + limits->upcall_deadline_ms * 1000000,
	};
	if (u->nr_pending == 1)
		arm_deadline_locked(c);
	return 0;
}

int upcall_send(struct connection *c, enum mmb_upcall number, const ProtobufCMessage *body)
{
	struct server *server = c->server;
	int            error;

	mutex_lock(&c->lock);
	error = send_locked(c, number, body);
	mutex_unlock(&c->lock);
	if (error != -ENOTCONN)
		atomic_fetch_add_explicit(error ? &server->nr_upcalls_dropped
						: &server->nr_upcalls_sent,
					  1, memory_order_relaxed);
	return error;
}

static void goodbye_on_own_socket(struct connection *c, const ProtobufCMessage *body)
{
	struct wire_packet head = { .method = MMB_UPCALL_GOODBYE };
	uint8_t            packet[GOODBYE_BYTES];
	ssize_t            nr = wire_encode(&head, body, packet, sizeof(packet));

	if (nr > 0 && connection_send(c, packet, (size_t)nr))
		log_emit(LOG_DEBUG, "no_goodbye", "process %d could not be told", c->peer.pid);
}

void upcall_goodbye(struct connection *c, const char *reason)
{
	Mmb__Wire__GoodbyeRequest body = MMB__WIRE__GOODBYE_REQUEST__INIT;

	body.reason = (char *)(uintptr_t)reason;
	if (upcall_send(c, MMB_UPCALL_GOODBYE, &body.base) == -ENOTCONN &&
	    atomic_load_explicit(&c->has_memory, memory_order_relaxed))
		goodbye_on_own_socket(c, &body.base);
}

/* ---- what the floor below calls ---- */

static int send_zap(struct connection *c, const struct mapped_range *ranges, uint32_t nr)
{
	Mmb__Wire__ZapRequest         body = MMB__WIRE__ZAP_REQUEST__INIT;
	Mmb__Wire__ZapRequest__Range  parts[ZAP_RANGES_PER_PACKET];
	Mmb__Wire__ZapRequest__Range *pointers[ZAP_RANGES_PER_PACKET];

	for (uint32_t i = 0; i < nr; i++) {
		mmb__wire__zap_request__range__init(&parts[i]);
		parts[i].address = ranges[i].address;
		parts[i].length = ranges[i].length;
		pointers[i] = &parts[i];
	}
	body.n_ranges = nr;
	body.ranges = pointers;
	return upcall_send(c, MMB_UPCALL_ZAP, &body.base);
}

/* Who has no socket for it can't be told later either. */
static bool zap(void *context, const struct mapped_range *ranges, uint32_t nr)
{
	struct connection *c = registry_get((uintptr_t)context);
	int                error = 0;

	if (!c)
		return true;
	for (uint32_t i = 0; i < nr && error != -EAGAIN; i += ZAP_RANGES_PER_PACKET)
		error = send_zap(c, &ranges[i], min_t(uint32_t, nr - i, ZAP_RANGES_PER_PACKET));
	connection_put(c);
	return error != -EAGAIN;
}

static void pressure(void *context, const struct pressure_call *call)
{
	Mmb__Wire__PressureRequest body = MMB__WIRE__PRESSURE_REQUEST__INIT;
	struct connection         *c = registry_get((uintptr_t)context);

	if (!c)
		return;
	body.pool = call->pool;
	body.pool_level = call->level;
	body.wanted = call->wanted;
	upcall_send(c, MMB_UPCALL_PRESSURE, &body.base);
	connection_put(c);
}

static void remap(void *context, const struct remap_part *part)
{
	Mmb__Wire__RemapRequest body = MMB__WIRE__REMAP_REQUEST__INIT;
	struct connection      *c = registry_get((uintptr_t)context);

	if (!c)
		return;
	body.region = part->region;
	body.address = part->address;
	body.length = part->length;
	body.offset = part->offset;
	upcall_send(c, MMB_UPCALL_REMAP, &body.base);
	connection_put(c);
}

static bool listens(void *context)
{
	struct connection *c = registry_get((uintptr_t)context);
	bool               open = c && upcall_is_open(c);

	if (c)
		connection_put(c);
	return open;
}

static bool is_late(void *context)
{
	struct connection *c = registry_get((uintptr_t)context);
	bool               late;

	if (!c)
		return false;
	mutex_lock(&c->lock);
	late = c->upcalls.sock >= 0 && c->upcalls.unresponsive;
	mutex_unlock(&c->lock);
	connection_put(c);
	return late;
}

/* One that doesn't listen is as good as told. */
static bool orphans(void *context, uint32_t pool, uint32_t member)
{
	Mmb__Wire__OrphansRequest body = MMB__WIRE__ORPHANS_REQUEST__INIT;
	struct connection        *c = registry_get((uintptr_t)context);
	int                       error;

	if (!c)
		return true;
	body.pool = pool;
	body.member = member;
	error = upcall_send(c, MMB_UPCALL_ORPHANS, &body.base);
	connection_put(c);
	return !error || error == -ENOTCONN;
}

/* The pidfd names the process that connected, whoever has its pid by now. */
static void kill_client(void *context, const char *reason)
{
	struct connection *c = registry_get((uintptr_t)context);

	if (!c)
		return;
	if (c->pidfd >= 0 && syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0) &&
	    errno != ESRCH)
		log_emit_limited(LOG_WARNING, "client_not_killed",
				 "pid %d goes on without its session and its memory: %s",
				 c->peer.pid, strerror(errno));
	connection_kill(c, -ECONNABORTED, "%s", reason);
	connection_put(c);
}

const struct upcall_ops upcall_ops = {
	.remap = remap,
	.listens = listens,
	.is_late = is_late,
	.zap = zap,
	.pressure = pressure,
	.orphans = orphans,
	.kill = kill_client,
};
