/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply - waiting for replies: leader and followers on one socket
 *
 * Purpose     call_wait(): the waiting thread that finds nobody reading reads (C2 of call.h), for
 *             itself and for the others, until its own reply is in; then it wakes the next reader.
 * Locking     channel.lock, given up while polling, receiving and undoing.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "call.h"
#include "connection.h"
#include "method.h"
#include "undo.h"

enum { SOON_NS = 100 * 1000 };

/* ---- reading, by whoever set channel.reading ---- */

/* Gives a packet that `me` received to the pending call it answers; NULL if nobody sent it. */
static struct call *deliver_locked(struct channel *ch, struct call *me, uint64_t id)
{
	struct call *c;

	LIST_FOREACH(c, &ch->pending, link)
		if (c->id == id)
			break;
	if (!c)
		return NULL;
	if (c != me) {
		memcpy(c->bytes, me->bytes, me->message.length);
		memcpy(c->message.fds, me->message.fds, sizeof(c->message.fds));
		c->message.length = me->message.length;
		c->message.nr_fds = me->message.nr_fds;
		c->message.cut = me->message.cut;
		me->message.nr_fds = 0;
	}
	LIST_REMOVE(c, link);
	c->done = true;
	if (c->orphan)
		ch->nr_orphans--;
	else if (c->waiting)
		pthread_cond_signal(&c->wake);
	return c;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The broker doesn't sleep either while a session begins, and answers in less time than it takes to
 * be woken. Who else wants the CPU gets it. */
static ssize_t receive_soon(struct channel *ch, struct wire_message *message)
{
	uint64_t until = now_ns() + SOON_NS;
	ssize_t got = wire_recv(ch->sock, message, MSG_DONTWAIT);

	while (got == -EAGAIN && now_ns() < until) {
		sched_yield();
		got = wire_recv(ch->sock, message, MSG_DONTWAIT);
	}
	return got;
}

/* Keeps its CPU: who yields beside a busy thread gets it back milliseconds later. */
static ssize_t receive_short(struct channel *ch, struct call *me)
{
	uint64_t until = now_ns() + me->soon_ns;
	ssize_t got;

	do {
		got = wire_recv(ch->sock, &me->message, MSG_DONTWAIT);
	} while (got == -EAGAIN && now_ns() < until);
	me->soon_ns = 0;
	return got;
}

/* Waits no longer than until the deadline, and no longer than a while. */
static ssize_t receive_some(struct channel *ch, struct call *me, uint64_t deadline)
{
	struct pollfd p = { .fd = ch->sock, .events = POLLIN };
	struct wire_message *message = &me->message;
	int left = call_left_ms(deadline);
	ssize_t got = -EAGAIN;

	if (ch->nr_soon) {
		ch->nr_soon--;
		got = receive_soon(ch, message);
	}
	if (got == -EAGAIN && me->soon_ns)
		got = receive_short(ch, me);
	if (got != -EAGAIN)
		return got;
	/* One system call instead of two where the socket's own timeout is early enough. */
	if (ch->bounded && left >= CHANNEL_RECEIVE_MS)
		return wire_recv(ch->sock, message, 0);
	if (poll(&p, 1, left) <= 0)
		return -EAGAIN;
	return wire_recv(ch->sock, message, MSG_DONTWAIT);
}

/* -EAGAIN: nothing there yet. Otherwise the connection is broken, or a packet is in. */
static int receive_reply(struct mmb *mmb, struct call *me, struct wire_packet *packet,
			 uint64_t deadline)
{
	ssize_t got = receive_some(&mmb->channel, me, deadline);

	/* The broker closed with requests unread. What it had said before is still there, once. */
	if (got == -ECONNRESET)
		got = wire_recv(mmb->channel.sock, &me->message, MSG_DONTWAIT);
	if (got == -EAGAIN || got == -EINTR)
		return -EAGAIN;
	if (got == -EPROTO)
		return call_protocol_error(mmb, "a packet was too long, or had too many "
						"descriptors");
	if (got <= 0)
		return call_gone(mmb);
	if (wire_decode(me->bytes, me->message.length, packet))
		return call_protocol_error(mmb, "a packet could not be decoded");
	return 0;
}

/* Packets that answer no call have id 0: a goodbye, why this connection isn't wanted, or why
 * ATTACH, which nobody waits for, was refused: then the session can do nothing. */
static void hear(struct mmb *mmb, struct call *me, const struct wire_packet *packet)
{
	char reason[ERROR_BYTES];

	wire_discard_fds(&me->message);
	if (!packet->id && packet->method == MMB_UPCALL_RESUMED) {
		call_ask_lost(mmb);
		return;
	}
	if (packet->id && packet->method == MMB_METHOD_SYNC) {
		call_hear_lost(mmb, packet);
		return;
	}
	if (pager_hear(&mmb->pager, packet))
		return;
	if (packet->id || packet->code >= 0 ||
	    (packet->method != MMB_METHOD_HELLO && packet->method != MMB_METHOD_ATTACH)) {
		call_protocol_error(mmb, "a reply answers no request");
		return;
	}
	snprintf(reason, sizeof(reason), "%.*s", (int)packet->error_bytes, packet->error);
	channel_break(mmb, packet->code, reason);
}

/* Waits for one packet and delivers it. The channel's lock is held on entry and on return. */
static void read_one(struct mmb *mmb, struct call *me, uint64_t deadline)
{
	struct channel *ch = &mmb->channel;
	struct wire_packet packet;
	struct call *answered;

	pthread_mutex_unlock(&ch->lock);
	if (receive_reply(mmb, me, &packet, deadline)) {
		pthread_mutex_lock(&ch->lock);
		return;
	}
	pthread_mutex_lock(&ch->lock);
	answered = deliver_locked(ch, me, packet.id);
	call_send_unsent_locked(ch);
	if (answered && !answered->orphan)
		return;
	pthread_mutex_unlock(&ch->lock);
	if (answered)
		undo_late_reply(mmb, answered);
	else
		hear(mmb, me, &packet);
	pthread_mutex_lock(&ch->lock);
}

/* ---- waiting ---- */

static void sleep_locked(struct channel *ch, struct call *c, uint64_t deadline)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline / 1000),
		.tv_nsec = (long)(deadline % 1000) * 1000000,
	};

	c->waiting = true;
	pthread_cond_timedwait(&c->wake, &ch->lock, &until);
	c->waiting = false;
}

/* C2: somebody else has to read from now on. */
static void hand_over_locked(struct channel *ch)
{
	struct call *c;

	if (ch->reading)
		return;
	LIST_FOREACH(c, &ch->pending, link) {
		if (c->waiting) {
			pthread_cond_signal(&c->wake);
			return;
		}
	}
}

/* 0: the reply's bytes are in. */
static int await_bytes(struct mmb *mmb, struct call *c, uint64_t deadline)
{
	struct channel *ch = &mmb->channel;
	int error = 0;

	pthread_mutex_lock(&ch->lock);
	while (!c->done && !c->lost && !ch->error && call_left_ms(deadline)) {
		if (ch->reading) {
			sleep_locked(ch, c, deadline);
			continue;
		}
		ch->reading = true;
		read_one(mmb, c, deadline);
		ch->reading = false;
	}
	hand_over_locked(ch);
	if (!c->done && !ch->error && c->lost) {
		LIST_REMOVE(c, link);
		error = -ERESTART;
	} else if (!c->done) {
		error = ch->error ? ch->error : -ETIMEDOUT;
		c->timed_out = !ch->error;
		if (ch->error)
			LIST_REMOVE(c, link);
	}
	pthread_mutex_unlock(&ch->lock);
	return error;
}

int call_unpack(struct call *c, const struct wire_packet *packet)
{
	size_t used = (c->message.length + 15) & ~(size_t)15;
	ProtobufCMessage *reply;
	int error;

	wire_scratch_init(&c->scratch, c->bytes + used, sizeof(c->bytes) - used);
	error = wire_unpack(packet, method_of(c->method)->reply, &c->scratch, &reply);
	if (!error)
		c->reply = reply;
	return error;
}

static int unpack(struct mmb *mmb, struct call *c)
{
	struct wire_packet packet;

	/* Decoded before, by whoever received it: can't fail. */
	wire_decode(c->bytes, c->message.length, &packet);
	if (packet.method != c->method || packet.code > 0)
		return call_protocol_error(mmb, "a reply names another method than its request");
	if (packet.code)
		return fail(packet.code, "%.*s", (int)packet.error_bytes, packet.error);
	if (c->message.cut) {
		call_abandon(c); /* what was granted is given back */
		return fail(-EMFILE, "this process has no room for the descriptors that the broker "
			    "sent with its answer to %s; close some, or raise RLIMIT_NOFILE",
			    method_of(c->method)->name);
	}
	if (call_unpack(c, &packet))
		return call_protocol_error(mmb, "a reply's body could not be unpacked");
	return 0;
}

/* C7. -ERESTART: it is to be sent once more; 0: its reply counts. */
static int attach_again(struct mmb *mmb, const struct call *c, uint64_t deadline)
{
	struct wire_packet packet;
	int error;

	wire_decode(c->bytes, c->message.length, &packet);
	if (packet.code != -EUNATCH || !call_left_ms(deadline))
		return 0;
	error = connection_attach(mmb, c->id);
	return error ? error : -ERESTART;
}

int call_wait(struct mmb *mmb, struct call *c)
{
	uint64_t deadline = call_deadline(c->timeout_ms);
	int error;

	do {
		error = await_bytes(mmb, c, deadline);
		if (!error)
			error = attach_again(mmb, c, deadline);
		if (error == -ERESTART)
			error = call_repeat(mmb, c);
		else
			break;
	} while (!error);
	if (error == 1)
		error = 0;
	return error ? call_fail(mmb, c, error) : unpack(mmb, c);
}

int call_begin(struct mmb *mmb, struct call *c, uint32_t method, const ProtobufCMessage *request)
{
	c->method = method;
	return call_send(mmb, c, request);
}

int call_run(struct mmb *mmb, struct call *c, uint32_t method, const ProtobufCMessage *request)
{
	int error = call_begin(mmb, c, method, request);

	return error ? error : call_wait(mmb, c);
}

int call_simple(struct mmb *mmb, uint32_t method, const ProtobufCMessage *request)
{
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return error;
	error = call_run(mmb, c, method, request);
	call_put(mmb, c);
	return error;
}
