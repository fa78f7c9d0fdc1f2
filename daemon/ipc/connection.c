/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection - events, sending and the end of one connection
 *
 * Purpose     See connection.h. Order here: life, sending from any thread, the end, events.
 * Locking     `lock` for what other threads touch; everything else on the worker.
 */
#include "ipc/connection.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/closer.h"
#include "ipc/dispatch.h"
#include "ipc/registry.h"
#include "ipc/server_state.h"
#include "mm/obj/slab.h"

enum {
	/* Unread input that is thrown away before a close, so that the peer still gets the reply
	 * that told it why: closing with input queued resets the connection. */
	DISCARDED_PACKETS_MAX = 256,
	TAKEN_MS_MAX = 64, /* between looks whether descriptors are taken */
	/* HELLO, ATTACH, a pool: who comes asks for a few things, one after the other. */
	ATTENDED_MAX = 3,
	LEASED_US = 500, /* in which a client begins to use what it was offered */
};

static struct timeval timeval_of_ms(uint64_t ms)
{
	return (struct timeval){ .tv_sec = (time_t)(ms / 1000),
				 .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
}

void connection_get(struct connection *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

void connection_put(struct connection *c)
{
	struct server *server = c->server;

	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (c->session)
		session_put(c->session);
	/* Not before: whoever holds a reference may signal the process by it. */
	if (c->pidfd >= 0)
		close(c->pidfd);
	free(c->text.text);
	mutex_fini(&c->lock);
	kfree(c);
	atomic_fetch_sub_explicit(&server->nr_alive, 1, memory_order_release);
}

/* ---- sending, from any thread ---- */

static bool at_bounds_locked(const struct connection *c)
{
	return c->parked || c->nr_in_flight >= c->server->options.limits.requests_in_flight ||
	       c->outbox.nr_bytes >= OUTBOX_BYTES_MAX || c->outbox.nr_packets >= OUTBOX_PACKETS_MAX;
}

static int arm_writing_locked(struct connection *c, bool unhurried)
{
	struct timeval deadline = timeval_of_ms(c->server->options.limits.unread_deadline_ms);

	if (c->write_armed && (unhurried || !c->unhurried))
		return 0;
	if (event_add(&c->ev_write, unhurried ? NULL : &deadline))
		return -ENOMEM;
	c->write_armed = true;
	c->unhurried = unhurried;
	return 0;
}

/* Reading will say so. */
static bool peer_has_gone(int error)
{
	return error == -EPIPE || error == -ECONNRESET;
}

static int send_locked(struct connection *c, const void *bytes, size_t nr, struct wire_fds fds,
		       bool unhurried)
{
	int error = -EAGAIN;

	if (c->ended)
		return 0;
	if (!c->outbox.nr_packets)
		error = wire_send(c->sock, bytes, nr, fds, MSG_DONTWAIT);
	if (error == -EAGAIN) {
		error = outbox_push(&c->outbox, bytes, nr, fds);
		if (!error)
			error = arm_writing_locked(c, unhurried);
	}
	return error;
}

int connection_send(struct connection *c, const void *bytes, size_t nr)
{
	uint32_t promised = 0;

	return connection_send_fds(c, bytes, nr, (struct wire_fds){ 0 }, &promised);
}

int connection_send_fds(struct connection *c, const void *bytes, size_t nr, struct wire_fds fds,
			uint32_t *promised)
{
	int error;

	mutex_lock(&c->lock);
	error = send_locked(c, bytes, nr, fds, false);
	if (!error && !c->ended) {
		*promised -= fds.nr;
		c->fds_unread += fds.nr;
	}
	mutex_unlock(&c->lock);
	if (error == -ETOOMANYREFS)
		log_emit_limited(LOG_ERR, "descriptors_in_flight",
				 "a client can't be given its memory: other processes of this "
				 "user have sent more descriptors that nobody takes than "
				 "LimitNOFILE= allows; run the daemon as a user of its own");
	return peer_has_gone(error) ? 0 : error;
}

/* Daemons may die more often than a client that only uses its memory reads: its socket is full of
 * this then. */
int connection_send_unasked(struct connection *c, const void *bytes, size_t nr)
{
	int error;

	mutex_lock(&c->lock);
	error = send_locked(c, bytes, nr, (struct wire_fds){ 0 }, true);
	mutex_unlock(&c->lock);
	return peer_has_gone(error) ? 0 : error;
}

static void wake_locked(struct connection *c)
{
	if (!c->ended)
		event_active(&c->ev_wake, EV_TIMEOUT, 0);
}

void connection_kill(struct connection *c, int code, const char *format, ...)
{
	va_list args;

	mutex_lock(&c->lock);
	if (!c->kill_code) {
		c->kill_code = code;
		va_start(args, format);
		vsnprintf(c->kill_reason.text, sizeof(c->kill_reason.text), format, args);
		va_end(args);
		wake_locked(c);
	}
	mutex_unlock(&c->lock);
}

/* ---- descriptors that are unread ---- */

static void settle_unread_locked(struct connection *c)
{
	if (c->ended || !c->fds_unread || c->outbox.nr_packets || !unread_is_taken(c->sock))
		return;
	unread_uncharge(&c->server->unread, c->peer.uid, c->fds_unread);
	c->fds_unread = 0;
}

void connection_settle_unread(struct connection *c)
{
	mutex_lock(&c->lock);
	settle_unread_locked(c);
	mutex_unlock(&c->lock);
}

int connection_promise_fds(struct connection *c, uint32_t nr, struct refusal *why)
{
	struct server *server = c->server;
	uid_t          uid = c->peer.uid;
	int            error = unread_charge(&server->unread, uid, nr);

	if (error == -ENOBUFS && server_settle_unread(server))
		error = unread_charge(&server->unread, uid, nr);
	if (error != -ENOBUFS)
		return error ? refuse(why, error, "the daemon is out of memory") : 0;
	log_emit_limited(LOG_WARNING, "descriptors_unread",
			 "processes of uid %u leave descriptors unread that they have asked for: "
			 "they get no more until these are taken", uid);
	return refuse(why, error,
		      "processes of uid %u leave too many descriptors unread that they have asked "
		      "for", uid);
}

void connection_unpromise_fds(struct connection *c, uint32_t nr)
{
	unread_uncharge(&c->server->unread, c->peer.uid, nr);
}

static bool takes_fds_locked(struct connection *c)
{
	settle_unread_locked(c);
	return c->fds_unread + MMB_PACKET_FDS <= UNREAD_FDS_MAX;
}

bool connection_takes_fds(struct connection *c)
{
	bool takes;

	mutex_lock(&c->lock);
	takes = takes_fds_locked(c);
	mutex_unlock(&c->lock);
	return takes;
}

static void look_again(struct connection *c)
{
	struct timeval soon = timeval_of_ms(c->taken_ms);

	c->taken_ms = min_t(uint32_t, c->taken_ms * 2, TAKEN_MS_MAX);
	event_add(&c->ev_taken, &soon);
}

void connection_park(struct connection *c, struct job *job)
{
	mutex_lock(&c->lock);
	c->parked = job;
	mutex_unlock(&c->lock);
	c->taken_ms = 1;
	look_again(c);
}

/* Whether none is parked any more. */
static bool settle_parked(struct connection *c)
{
	struct job *job = NULL;

	mutex_lock(&c->lock);
	if (c->ended || takes_fds_locked(c)) {
		job = c->parked;
		c->parked = NULL;
	}
	mutex_unlock(&c->lock);
	if (job)
		workpool_submit(c->server->pool, &c->jobs, job);
	return job;
}

/* What was sent and not taken stays so. */
static void close_socket(struct connection *c)
{
	uint32_t nr = c->fds_unread; /* ended: it can't change any more */

	outbox_fini(&c->outbox);
	if (nr && !unread_is_taken(c->sock)) {
		unread_linger(&c->server->unread, c->sock, c->peer.uid, nr);
		return;
	}
	close(c->sock);
	unread_uncharge(&c->server->unread, c->peer.uid, nr);
}

/* ---- work threads ---- */

void connection_flight_begin(struct connection *c)
{
	mutex_lock(&c->lock);
	c->nr_in_flight++;
	mutex_unlock(&c->lock);
}

void connection_flight_end(struct connection *c)
{
	mutex_lock(&c->lock);
	c->nr_in_flight--;
	if (c->paused && !at_bounds_locked(c))
		wake_locked(c);
	mutex_unlock(&c->lock);
}

/* ---- the end ---- */

static void log_end(const struct connection *c, int code, const char *reason)
{
	const struct peer *p = &c->peer;
	struct log_subject about = { .session = c->session ? session_id(c->session) : 0,
				     .pid = p->pid,
				     .uid = p->uid };

	if (code == -EPROTO)
		log_emit_about_limited(&about, LOG_WARNING, "bad_message",
				       "session of process %d (%s), uid %u, ended: %s", p->pid,
				       p->name, p->uid, reason);
	else if (code)
		log_emit_about_limited(&about, LOG_NOTICE, "session_cut",
				       "session of process %d (%s), uid %u, ended: %s", p->pid,
				       p->name, p->uid, reason);
	else
		log_emit(LOG_DEBUG, "session_closed", "process %d (%s), uid %u: %s", p->pid,
			 p->name, p->uid, reason);
}

static void discard_input(struct connection *c)
{
	struct wire_message m = {
		.bytes = c->worker->lane->rx,
		.capacity = sizeof(c->worker->lane->rx),
		.discard = closer_discard,
		.sender = c->peer.uid,
	};

	/* What comes from now on would be unread at the close, and reset the connection. */
	if (shutdown(c->sock, SHUT_RD))
		return;
	for (int i = 0; i < DISCARDED_PACKETS_MAX && !closer_is_full(c->peer.uid); i++) {
		ssize_t got = wire_recv(c->sock, &m, MSG_DONTWAIT);

		wire_discard_fds(&m);
		if (got <= 0 && got != -EPROTO)
			break;
	}
}

/* Making the next arena takes a CPU, for longer than a client takes to begin: not meanwhile. */
static void make_next(struct connection *c)
{
	uint32_t pool = c->leased;

	c->leased = 0;
	if (pool)
		verb_slab_leased(c->session, pool);
}

void connection_leased(struct connection *c, uint32_t pool)
{
	struct timeval soon = { .tv_usec = LEASED_US };

	c->leased = pool;
	if (event_add(&c->ev_leased, &soon))
		make_next(c);
}

static void on_leased(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	make_next(arg);
}

static void delete_events(struct connection *c)
{
	event_del(&c->ev_read);
	event_del(&c->ev_closed);
	event_del(&c->ev_hello);
	event_del(&c->ev_write);
	event_del(&c->ev_wake);
	event_del(&c->ev_taken);
	event_del(&c->ev_leased);
	if (c->pidfd >= 0)
		event_del(&c->ev_pidfd);
}

void connection_end(struct connection *c, int code, const char *reason)
{
	bool again;

	mutex_lock(&c->lock);
	again = c->ended;
	c->ended = true;
	mutex_unlock(&c->lock);
	if (again)
		return;
	delete_events(c);
	settle_parked(c);
	make_next(c);
	if (c->session && code)
		session_cut(c->session, c->pidfd, upcall_hang_up(c));
	upcall_close(c);
	if (code == -EPROTO)
		atomic_fetch_add_explicit(&c->server->nr_bad_messages, 1, memory_order_relaxed);
	log_end(c, code, reason);
	if (c->session)
		session_end(c->session, reason);
	atomic_fetch_sub_explicit(&c->worker->nr_connections, 1, memory_order_relaxed);
	registry_del(c);
	/* Last of what others see: whoever finds the socket closed finds the rest undone. */
	if (code)
		discard_input(c);
	close_socket(c);
	connection_put(c);
}

/* ---- events, on the worker ---- */

/* C3: pauses or resumes reading. While paused, only a hang-up is listened for. */
static void settle_reading(struct connection *c)
{
	bool pause, was;

	mutex_lock(&c->lock);
	was = c->paused;
	pause = at_bounds_locked(c);
	c->paused = pause;
	mutex_unlock(&c->lock);
	if (pause == was)
		return;
	event_del(pause ? &c->ev_read : &c->ev_closed);
	event_add(pause ? &c->ev_closed : &c->ev_read, NULL);
}

static void attend(struct connection *c)
{
	if (c->nr_attended == ATTENDED_MAX || c->peer.control)
		return;
	c->nr_attended++;
	worker_attend(c->worker);
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	struct connection  *c = arg;
	struct lane        *lane = c->worker->lane;
	struct wire_message m = {
		.bytes = lane->rx,
		.capacity = sizeof(lane->rx),
		.discard = closer_discard,
		.sender = c->peer.uid,
	};
	struct refusal why;
	ssize_t        got = wire_recv(fd, &m, MSG_DONTWAIT);
	bool           stuck;
	int            error;

	(void)what;
	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		connection_end(c, got == -EPROTO ? -EPROTO : 0,
			       got == 0 ? "the client closed it"
			       : got == -EPROTO ? "a packet or its descriptors were too many"
						: strerror((int)-got));
		return;
	}
	error = dispatch(c, &m, lane, &why);
	stuck = m.nr_fds && closer_is_full(c->peer.uid);
	wire_discard_fds(&m);
	if (!error && stuck)
		error = refuse(&why, -EUSERS, "descriptors that its user sent can't be closed");
	if (error) {
		connection_end(c, error, why.text);
		return;
	}
	attend(c);
	settle_reading(c);
}

static void on_taken(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd;
	(void)what;
	if (settle_parked(c))
		settle_reading(c);
	else
		look_again(c);
}

static bool has_ended(struct connection *c)
{
	bool ended;

	mutex_lock(&c->lock);
	ended = c->ended;
	mutex_unlock(&c->lock);
	return ended;
}

static void on_closed(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connection_end(arg, 0, "the client closed it");
}

static void on_pidfd(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connection_end(arg, 0, "the client's process ended");
}

static void on_hello_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connection_end(arg, -ETIMEDOUT, "it said nothing before limits.hello_deadline");
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	int                error;

	if (what & EV_TIMEOUT) {
		connection_end(c, -ETIMEDOUT, "it left its replies unread");
		return;
	}
	mutex_lock(&c->lock);
	error = outbox_flush(&c->outbox, fd);
	if (!error) {
		c->write_armed = false;
		event_del_noblock(&c->ev_write);
	}
	mutex_unlock(&c->lock);
	if (error && error != -EAGAIN)
		connection_end(c, error, "its replies can't be sent");
	else
		settle_reading(c);
}

/* A client that connects has mostly said HELLO by now, and sent its userfaultfd: they needn't wait
 * for the rest. */
static void start(struct connection *c)
{
	struct timeval deadline = timeval_of_ms(c->server->options.limits.hello_deadline_ms);

	connection_get(c); /* reading may be the end of it */
	c->started = true;
	if (c->resumed) {
		upcall_listen(c);
		upcall_resumed(c);
	} else {
		event_add(&c->ev_hello, &deadline);
	}
	event_add(&c->ev_read, NULL);
	on_read(c->sock, EV_READ, c);
	if (c->greeted && !c->resumed && !has_ended(c))
		on_read(c->sock, EV_READ, c); /* ATTACH comes right behind */
	if (c->pidfd >= 0 && !has_ended(c))
		event_add(&c->ev_pidfd, NULL);
	connection_put(c);
}

/* On another worker than the one that accepted it the first wake-up starts the connection; later
 * ones bring news from elsewhere. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	struct refusal     reason;
	int                code;

	(void)fd;
	(void)what;
	mutex_lock(&c->lock);
	code = c->kill_code;
	memcpy(&reason, &c->kill_reason, sizeof(reason));
	mutex_unlock(&c->lock);
	if (code)
		connection_end(c, code, reason.text);
	else if (!c->started)
		start(c);
	else
		settle_reading(c);
}

void connection_greeted(struct connection *c)
{
	event_del(&c->ev_hello);
	c->greeted = true;
}

static void assign_events(struct connection *c)
{
	struct event_base *base = c->worker->base;

	event_assign(&c->ev_read, base, c->sock, EV_READ | EV_PERSIST, on_read, c);
	event_assign(&c->ev_closed, base, c->sock, EV_CLOSED, on_closed, c);
	event_assign(&c->ev_hello, base, -1, 0, on_hello_deadline, c);
	event_assign(&c->ev_write, base, c->sock, EV_WRITE | EV_PERSIST, on_writable, c);
	event_assign(&c->ev_wake, base, -1, 0, on_wake, c);
	event_assign(&c->ev_taken, base, -1, 0, on_taken, c);
	event_assign(&c->ev_leased, base, -1, 0, on_leased, c);
	if (c->pidfd >= 0)
		event_assign(&c->ev_pidfd, base, c->pidfd, EV_READ, on_pidfd, c);
}

/* With one reference of its own, until the end, and one of the caller's. */
int connection_adopt(struct worker *worker, int sock, const struct peer_identity *identity,
		     struct connection **out)
{
	struct connection *c = kzalloc(sizeof(*c), GFP_KERNEL);
	int                error;

	*out = c;
	if (!c)
		return -ENOMEM;
	c->server = worker->server;
	c->worker = worker;
	c->sock = sock;
	c->pidfd = identity->pidfd;
	c->peer = identity->peer;
	c->in_group = identity->in_group;
	atomic_init(&c->refs, 2);
	mutex_init(&c->lock, RANK_CONNECTION, "connection");
	outbox_init(&c->outbox);
	job_queue_init(&c->jobs, c->peer.uid);
	upcall_init(c);
	assign_events(c);
	error = registry_add(c);
	if (error) {
		mutex_fini(&c->lock);
		kfree(c);
		return error;
	}
	atomic_fetch_add_explicit(&c->server->nr_alive, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&worker->nr_connections, 1, memory_order_relaxed);
	return 0;
}

void connection_set_past(struct connection *c, const struct connection_past *past)
{
	c->session = past->session;
	c->greeted = true;
	c->resumed = true;
	atomic_store(&c->has_memory, true);
	if (past->upcall_sock >= 0)
		upcall_adopt(c, past->upcall_sock, past->last_upcall);
	/* Nobody knows what lies in its socket. */
	if (!unread_is_taken(c->sock) &&
	    !unread_recharge(&c->server->unread, c->peer.uid, UNREAD_FDS_MAX))
		c->fds_unread = UNREAD_FDS_MAX;
}

void connection_resume(struct connection *c)
{
	mutex_lock(&c->lock);
	wake_locked(c);
	mutex_unlock(&c->lock);
	connection_put(c);
}

int connection_new(struct worker *worker, int sock, const struct peer_identity *identity)
{
	struct connection *c;
	int                error = connection_adopt(worker, sock, identity, &c);

	if (error)
		return error;
	if (worker == this_worker) {
		start(c);
		connection_put(c);
	} else {
		connection_resume(c);
	}
	return 0;
}
