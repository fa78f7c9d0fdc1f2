/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upcall - messages from the daemon that a client's pager thread acts on
 *
 * Purpose     One socketpair a session that wants one: its other end goes to the client with the
 *             reply of HELLO or of UPCALLS.
 *             Sending never waits: what the socket has no room for is dropped and counted.
 *             A client that doesn't acknowledge in time is unresponsive until it does.
 * Invariants  A1  nr_pending is at most UPCALLS_PENDING; pending is in the order of sending.
 *             A2  a client acknowledges only ids that were sent.
 * Locking     the connection's lock; nobody ever waits for an acknowledgement.
 * Not here    What the client does with a message (the library's pager).
 */
#ifndef MMB_IPC_UPCALL_H
#define MMB_IPC_UPCALL_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/verbs.h"
#include "proto/wire.h"

enum { UPCALLS_PENDING = 64 };

struct upcall_pending {
	uint64_t id;
	uint64_t deadline_ns;
};

/* w: the connection's worker only   l: connection's lock */
struct upcall_channel {
	int                   sock;        /* (l) -1: none */
	bool                  unresponsive; /* (l) */
	uint32_t              nr_pending;  /* (l) */
	uint64_t              last_id;     /* (l) */
	struct upcall_pending pending[UPCALLS_PENDING]; /* (l) */
	struct event          ev_ack;      /* (w) */
	struct event          ev_deadline; /* (w) added from any thread under l */
};

struct connection;
struct lane;

void upcall_init(struct connection *c);
/* Any thread. */
bool upcall_is_open(struct connection *c);
/* On the worker: the client has closed its end, or had no room for it. */
bool upcall_is_deserted(const struct connection *c);
/* On the worker, while it isn't open: makes the channel and starts listening to it; *client_end is
 * the caller's to send and close. */
int upcall_open(struct connection *c, int *client_end);
/* The socket that a predecessor opened, before the worker runs; then, on the worker, listen. */
void upcall_adopt(struct connection *c, int sock, uint64_t last_id);
void upcall_listen(struct connection *c);
/* Any thread: tells the client, on the session's own socket, that requests may have been lost. */
void upcall_resumed(struct connection *c);
/* On the worker: stops listening and closes. */
void upcall_close(struct connection *c);
/* The same, but the socket stays: this side says nothing any more, and the other one shuts it when
 * it is out of its heaps. -1: there is none. */
int upcall_hang_up(struct connection *c);
/* Any thread; gives up rather than wait. -ENOTCONN without a channel, -EAGAIN when dropped. */
int upcall_send(struct connection *c, enum mmb_upcall number, const ProtobufCMessage *body);
/* Any thread: tells the client that the daemon is about to go; without a channel on the session's
 * own socket, with id 0 and nothing to acknowledge. */
void upcall_goodbye(struct connection *c, const char *reason);

/* For session_set_upcalls; the context is a connection's key (ipc/registry.h), so that a call
 * that comes too late finds nothing. */
extern const struct upcall_ops upcall_ops;

#endif
