/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch - from a packet to a handler and back to a reply
 *
 * Purpose     Checks a packet's form, the connection's state and the caller's rights by the
 *             method table, unpacks the body, runs the handler here or on a work thread, and
 *             sends exactly one reply.
 * Invariants  D1  a request that could be decoded gets exactly one reply.
 *             D2  what breaks the protocol is answered if it can be, and ends the session.
 *             D3  a handler sees a message that matches the table and the right number of
 *                 descriptors; everything in them is still the client's word.
 * Locking     a request belongs to the thread that runs it.
 * Not here    What the methods do (handle_*.c, client/verbs.h).
 */
#ifndef MMB_IPC_DISPATCH_H
#define MMB_IPC_DISPATCH_H

#include "ipc/connection.h"

struct request {
	struct connection        *connection;
	struct session           *session; /* NULL before HELLO */
	const struct wire_method *method;
	struct wire_packet        packet; /* error and body point into somebody's buffer */
	const void               *message; /* unpacked body, in the scratch */
	struct wire_message      *received; /* with the descriptors; NULL on a work thread */
	struct lane              *lane;
	struct wire_scratch       scratch;
	uint64_t                  started_ns;
	struct refusal            why;   /* the sentence of a refusal */
	bool                      fatal; /* a refusal that ends the session as well */
	bool                      replied;
	uint32_t                  fds_promised; /* that the reply may have */
	bool                      again; /* to be run once more, on a work thread, later */
	uint64_t                  done;  /* what earlier turns have done, as the verb says */
};

/* Worker only. 0, or a code for connection_end with `why` filled. Descriptors that nobody took
 * are left in the message. */
int dispatch(struct connection *c, struct wire_message *m, struct lane *lane, struct refusal *why);

/* Handlers end with one of these: a reply with its descriptors, which stay the caller's, or a
 * negative errno with r->why. reply_empty is for methods that answer with Empty. */
int request_reply(struct request *r, const ProtobufCMessage *reply, struct wire_fds fds);
int reply_empty(struct request *r);
/* The reply may have up to nr descriptors; refused while the client's user has too many unread. */
int promise_fds(struct request *r, uint32_t nr);
/* True: it isn't to wait here, and will be run once more on a work thread. */
bool request_defers(struct request *r);
/* True: try once more. What has just been closed counts, too: memory and places in limits. That is
 * also if it came back while the request was refused: `settling` is what frames_settling() said
 * before that. Waits for it, or defers the request. */
bool request_settles(struct request *r, int error, bool settling);
/* Where the request stands in its session's stream. */
struct request_past request_past(const struct request *r);

/* -EINVAL unless s is at most MMB_NAME_MAX bytes of printable UTF-8. what: "pool name", ... */
int check_name(struct request *r, const char *what, const char *s);

/* 0 after a reply, or a negative errno with r->why. */
#define X(number, name, request_, reply, fds, access) int handle_##name(struct request *r);
MMB_METHODS(X)
#undef X

#endif
