/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call - requests and replies on the connection's socket
 *
 * Purpose     See call.h.
 * Not here    Upcalls: they have a socket of their own (pager.c).
 */
#include "call.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "method.h"
#include "undo.h"

/* ---- time ---- */

uint64_t call_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t call_deadline(uint64_t ms)
{
	uint64_t now = call_now_ms();

	return ms < UINT64_MAX - now ? now + ms : UINT64_MAX;
}

int call_left_ms(uint64_t deadline)
{
	const uint64_t longest = 1u << 30; /* poll(2) takes no more than 24 days */
	uint64_t now = call_now_ms();

	if (now >= deadline)
		return 0;
	return (int)(deadline - now < longest ? deadline - now : longest);
}

/* ---- the channel ---- */

void channel_init(struct channel *ch, int sock)
{
	const struct timeval while_ms = { .tv_usec = CHANNEL_RECEIVE_MS * 1000 };

	ch->sock = sock;
	ch->bounded = !setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &while_ms, sizeof(while_ms));
	ch->next_id = 1;
	ch->nr_soon = CHANNEL_SOON;
	pthread_mutex_init(&ch->lock, NULL);
	LIST_INIT(&ch->pending);
	LIST_INIT(&ch->unsent);
	LIST_INIT(&ch->free);
}

/* C6 */
static void break_locked(struct channel *ch, int error, const char *reason)
{
	struct call *c;

	if (ch->error)
		return;
	ch->error = error;
	snprintf(ch->reason, sizeof(ch->reason), "%s", reason);
	LIST_FOREACH(c, &ch->pending, link)
		pthread_cond_signal(&c->wake);
	/* Wakes a reader that sleeps in poll, and tells the daemon. */
	shutdown(ch->sock, ch->held ? SHUT_RD : SHUT_RDWR);
}

void channel_break(struct mmb *mmb, int error, const char *reason)
{
	pthread_mutex_lock(&mmb->channel.lock);
	break_locked(&mmb->channel, error, reason);
	pthread_mutex_unlock(&mmb->channel.lock);
	pager_kick(mmb, true);
}

void channel_hold(struct channel *ch)
{
	pthread_mutex_lock(&ch->lock);
	ch->held = true;
	pthread_mutex_unlock(&ch->lock);
}

bool channel_is_broken(struct channel *ch)
{
	bool broken;

	pthread_mutex_lock(&ch->lock);
	broken = ch->error;
	pthread_mutex_unlock(&ch->lock);
	return broken;
}

int channel_failure(struct channel *ch)
{
	int error;

	pthread_mutex_lock(&ch->lock);
	error = ch->error ? fail(ch->error, "%s", ch->reason) : 0;
	pthread_mutex_unlock(&ch->lock);
	return error;
}

void channel_release(struct channel *ch)
{
	pthread_mutex_lock(&ch->lock);
	ch->held = false;
	if (ch->error)
		shutdown(ch->sock, SHUT_RDWR);
	pthread_mutex_unlock(&ch->lock);
}

static void free_calls(struct call_list *list)
{
	struct call *c;

	while ((c = LIST_FIRST(list))) {
		LIST_REMOVE(c, link);
		wire_discard_fds(&c->message);
		pthread_cond_destroy(&c->wake);
		free(c);
	}
}

void channel_trim(struct channel *ch)
{
	pthread_mutex_lock(&ch->lock);
	free_calls(&ch->free);
	pthread_mutex_unlock(&ch->lock);
}

void channel_fini(struct channel *ch)
{
	free_calls(&ch->pending);
	free_calls(&ch->unsent);
	free_calls(&ch->free);
	pthread_mutex_destroy(&ch->lock);
}

int call_protocol_error(struct mmb *mmb, const char *what)
{
	char reason[ERROR_BYTES];

	snprintf(reason, sizeof(reason), "the broker broke the protocol: %s; the session is "
		 "closed, check that daemon and library are of one release", what);
	channel_break(mmb, -EPROTO, reason);
	return fail(-EPROTO, "%s", reason);
}

/* ---- calls ---- */

static struct call *new_call(void)
{
	struct call *c = malloc(sizeof(*c));
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	/* The buffers stay untouched. */
	memset(c, 0, offsetof(struct call, out));
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_condattr_destroy(&attr);
	c->message.interruptible = true;
	c->message.may_be_cut = true;
	c->message.bytes = c->bytes;
	c->message.capacity = MMB_PACKET_MAX;
	return c;
}

struct call *call_get(struct mmb *mmb, int *error)
{
	struct channel *ch = &mmb->channel;
	struct call *c;

	pthread_mutex_lock(&ch->lock);
	if (ch->error) {
		*error = fail(ch->error, "%s", ch->reason);
		pthread_mutex_unlock(&ch->lock);
		return NULL;
	}
	/* Under the lock: whoever breaks the channel closes the descriptors only afterwards. */
	connection_enter(mmb);
	c = LIST_FIRST(&ch->free);
	if (c)
		LIST_REMOVE(c, link);
	pthread_mutex_unlock(&ch->lock);
	if (!c)
		c = new_call();
	if (!c) {
		connection_leave(mmb);
		*error = fail(-ENOMEM, "no memory for a request of %zu bytes", sizeof(*c));
		return NULL;
	}
	c->done = c->orphan = c->waiting = c->timed_out = c->lost = false;
	c->message.cut = false;
	c->again = 0;
	c->soon_ns = 0;
	c->timeout_ms = mmb->timeout_ms;
	return c;
}

void call_free(struct mmb *mmb, struct call *c)
{
	wire_discard_fds(&c->message);
	pthread_mutex_lock(&mmb->channel.lock);
	LIST_INSERT_HEAD(&mmb->channel.free, c, link);
	pthread_mutex_unlock(&mmb->channel.lock);
}

int call_take_fds(struct mmb *mmb, struct call *c, uint32_t nr, int *fds)
{
	if (c->message.nr_fds != nr)
		return call_protocol_error(mmb, "a reply has a wrong number of descriptors");
	memcpy(fds, c->message.fds, nr * sizeof(*fds));
	c->message.nr_fds = 0;
	return 0;
}

/* ---- sending ---- */

/* What it sent on this socket before it went. A thread that reads already comes by it itself. */
static void hear_last_words(struct mmb *mmb)
{
	struct channel *ch = &mmb->channel;
	struct wire_message message = { .capacity = MMB_PACKET_MAX };
	struct wire_packet packet;
	bool mine;

	pthread_mutex_lock(&ch->lock);
	mine = !ch->reading && !ch->error;
	ch->reading |= mine;
	pthread_mutex_unlock(&ch->lock);
	if (!mine)
		return;
	message.bytes = malloc(message.capacity);
	while (message.bytes && wire_recv(ch->sock, &message, MSG_DONTWAIT) > 0) {
		wire_discard_fds(&message);
		if (!wire_decode(message.bytes, message.length, &packet))
			pager_hear(&mmb->pager, &packet);
	}
	free(message.bytes);
	pthread_mutex_lock(&ch->lock);
	ch->reading = false;
	pthread_mutex_unlock(&ch->lock);
}

int call_gone(struct mmb *mmb)
{
	char reason[ERROR_BYTES], last_words[ERROR_BYTES / 2];

	hear_last_words(mmb);
	pager_last_words(&mmb->pager, last_words, sizeof(last_words));
	snprintf(reason, sizeof(reason), "the broker closed the connection%s%s; this session "
		 "is over, close it with mmb_close() and open another", last_words[0] ? ": " : "",
		 last_words);
	channel_break(mmb, -ENOTCONN, reason);
	return -ENOTCONN;
}

/* A PING goes out all the same: who waits for its reply reads those that came too late as well. */
static int check_locked(const struct channel *ch, const struct call *c)
{
	if (ch->error)
		return ch->error;
	return ch->nr_orphans >= CALL_ORPHANS_MAX && c->method != MMB_METHOD_PING ? -ETIMEDOUT : 0;
}

/* C5: the id is given, and the packet with it sent, under one lock. The request is a message, or
 * the body of the packet that is in c->out. */
static int send_locked(struct channel *ch, struct call *c, const ProtobufCMessage *request,
		       const struct wire_packet *old)
{
	struct wire_packet head = { .method = c->method, .id = ch->next_id, .again = c->again };
	uint8_t *out = c->out;
	ssize_t length;

	if (old) {
		head.body = old->body;
		head.body_bytes = old->body_bytes;
		out = c->bytes;
	}
	length = wire_encode(&head, request, out, MMB_PACKET_MAX);
	if (length < 0)
		return (int)length;
	if (old)
		memcpy(c->out, out, (size_t)length);
	c->id = ch->next_id++;
	c->out_bytes = (size_t)length;
	return wire_send(ch->sock, c->out, c->out_bytes, (struct wire_fds){ .nr = 0 },
			 MSG_DONTWAIT);
}

int call_send_unsent_locked(struct channel *ch)
{
	struct wire_packet old;
	struct call *c;
	int error;

	while (!ch->error && (c = LIST_FIRST(&ch->unsent))) {
		wire_decode(c->out, c->out_bytes, &old); /* our own: can't fail */
		error = send_locked(ch, c, NULL, &old);
		if (error)
			return error;
		LIST_REMOVE(c, link);
		LIST_INSERT_HEAD(&ch->pending, c, link);
	}
	return 0;
}

void call_send_orphan(struct mmb *mmb, struct call *c)
{
	struct channel *ch = &mmb->channel;

	c->orphan = true;
	pthread_mutex_lock(&ch->lock);
	ch->nr_orphans++;
	LIST_INSERT_HEAD(&ch->unsent, c, link);
	call_send_unsent_locked(ch);
	pthread_mutex_unlock(&ch->lock);
}

/* On 0 the call is pending. */
static int transmit(struct mmb *mmb, struct call *c, const ProtobufCMessage *request,
		    const struct wire_packet *old)
{
	struct channel *ch = &mmb->channel;
	uint64_t deadline = call_deadline(c->timeout_ms);
	struct pollfd p = { .fd = ch->sock, .events = POLLOUT };
	struct wire_packet again;
	int error;

	for (;;) {
		pthread_mutex_lock(&ch->lock);
		error = call_send_unsent_locked(ch);
		if (!error)
			error = check_locked(ch, c);
		if (!error)
			error = send_locked(ch, c, request, old);
		if (!error)
			LIST_INSERT_HEAD(&ch->pending, c, link);
		pthread_mutex_unlock(&ch->lock);
		if (error != -EAGAIN)
			return error;
		if (!call_left_ms(deadline))
			return -ETIMEDOUT;
		poll(&p, 1, call_left_ms(deadline));
		if (old && !wire_decode(c->out, c->out_bytes, &again))
			old = &again; /* the packet has moved */
	}
}

/* The sentence for a call that ends without a reply. */
int call_fail(struct mmb *mmb, const struct call *c, int error)
{
	struct channel *ch = &mmb->channel;
	int code;

	if (error == -ETIMEDOUT)
		return fail(error, "the broker has not answered %s for %llu ms; it may be stuck or "
			    "overloaded: look at mmbctl status, or raise operation_timeout_ms",
			    method_of(c->method)->name, (unsigned long long)c->timeout_ms);
	pthread_mutex_lock(&ch->lock);
	code = ch->error ? fail(ch->error, "%s", ch->reason)
			 : fail(error, "%s could not be sent to the broker (errno %d)",
				method_of(c->method)->name, -error);
	pthread_mutex_unlock(&ch->lock);
	return code;
}

int call_send(struct mmb *mmb, struct call *c, const ProtobufCMessage *request)
{
	int error = transmit(mmb, c, request, NULL);

	if (!error)
		return 0;
	if (error == -EPIPE || error == -ECONNRESET)
		error = call_gone(mmb);
	return call_fail(mmb, c, error);
}

/* ---- after a restart of the broker ---- */

/* It only counts, and the broker counts anew. */
static bool counts_as_done(uint32_t method)
{
	return method == MMB_METHOD_CACHE_CLOSE;
}

int call_repeat(struct mmb *mmb, struct call *c)
{
	struct wire_packet old;
	int error;

	c->lost = c->done = false;
	if (c->method == MMB_METHOD_HELLO)
		return call_gone(mmb); /* nobody knows this session: another one is opened */
	if (counts_as_done(c->method)) {
		struct wire_packet done = { .method = c->method, .id = c->id };

		c->message.length = (size_t)wire_encode(&done, NULL, c->bytes, MMB_PACKET_MAX);
		return 1;
	}
	if (!c->again)
		c->again = c->id;
	if (wire_decode(c->out, c->out_bytes, &old))
		return -EPROTO;
	error = transmit(mmb, c, NULL, &old);
	return error == -EPIPE || error == -ECONNRESET ? call_gone(mmb) : error;
}

/* Nobody waits for it as for a call: whoever reads the answer acts on it. */
void call_ask_lost(struct mmb *mmb)
{
	struct channel *ch = &mmb->channel;
	struct pollfd p = { .fd = ch->sock, .events = POLLOUT };
	struct wire_packet head = { .method = MMB_METHOD_SYNC };
	uint64_t deadline = call_deadline(mmb->timeout_ms);
	uint8_t packet[128];
	ssize_t length;
	int error;

	do {
		pthread_mutex_lock(&ch->lock);
		head.id = ch->next_id++;
		length = wire_encode(&head, NULL, packet, sizeof(packet));
		error = length < 0 ? (int)length
				   : wire_send(ch->sock, packet, (size_t)length,
					       (struct wire_fds){ .nr = 0 }, MSG_DONTWAIT);
		pthread_mutex_unlock(&ch->lock);
		if (error == -EAGAIN)
			poll(&p, 1, call_left_ms(deadline));
	} while (error == -EAGAIN && call_left_ms(deadline));
}

/* Ends lost calls that nobody waits for; the others learn it where they wait. */
static struct call *mark_lost_locked(struct channel *ch, uint64_t first)
{
	struct call *c, *next;

	for (c = LIST_FIRST(&ch->pending); c; c = next) {
		next = LIST_NEXT(c, link);
		if (c->id >= first)
			continue;
		if (c->orphan) {
			LIST_REMOVE(c, link);
			ch->nr_orphans--;
			return c;
		}
		c->lost = true;
		if (c->waiting)
			pthread_cond_signal(&c->wake);
	}
	return NULL;
}

/* What it has made is still to be undone. Without waiting: the reader is here. */
static void repeat_orphan(struct mmb *mmb, struct call *c)
{
	c->lost = false;
	if (!c->again)
		c->again = c->id;
	if (counts_as_done(c->method))
		call_free(mmb, c);
	else
		call_send_orphan(mmb, c);
}

/* Nobody waits for it any more. False: the reply came between call_wait() giving up and now. */
static bool make_orphan(struct mmb *mmb, struct call *c)
{
	struct channel *ch = &mmb->channel;
	bool lost, done;

	pthread_mutex_lock(&ch->lock);
	done = c->done;
	lost = !done && c->lost && !ch->error;
	c->orphan = !done;
	if (lost)
		LIST_REMOVE(c, link);
	else
		ch->nr_orphans += !done;
	pthread_mutex_unlock(&ch->lock);
	if (lost)
		repeat_orphan(mmb, c);
	return !done;
}

void call_put(struct mmb *mmb, struct call *c)
{
	if (!c->timed_out)
		call_free(mmb, c);
	else if (!make_orphan(mmb, c))
		undo_late_reply(mmb, c);
	connection_leave(mmb);
}

void call_hear_lost(struct mmb *mmb, const struct wire_packet *packet)
{
	uint8_t memory[256] __attribute__((aligned(16)));
	const Mmb__Wire__SyncReply *reply;
	struct wire_scratch scratch;
	ProtobufCMessage *message;
	struct call *orphan;

	wire_scratch_init(&scratch, memory, sizeof(memory));
	if (packet->code ||
	    wire_unpack(packet, &mmb__wire__sync_reply__descriptor, &scratch, &message))
		return;
	reply = (const void *)message;
	do {
		pthread_mutex_lock(&mmb->channel.lock);
		orphan = mark_lost_locked(&mmb->channel, reply->first);
		pthread_mutex_unlock(&mmb->channel.lock);
		if (orphan)
			repeat_orphan(mmb, orphan);
	} while (orphan);
	if (!reply->attached)
		connection_attach(mmb, packet->id);
}
