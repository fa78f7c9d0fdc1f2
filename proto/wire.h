/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire - the one piece of framing and descriptor-passing code
 *
 * Purpose     One Packet of mmbroker.proto is one SOCK_SEQPACKET message with up to
 *             MMB_PACKET_FDS descriptors. Used by the daemon, the library and mmbctl.
 * Invariants  W1  Nothing here calls malloc: message bodies are unpacked into a buffer of the
 *                 caller's, and one that doesn't fit is refused.
 *             W2  A descriptor that was received is either in wire_message.fds or closed.
 *             W3  Bytes from a peer are only ever read within the length that was received.
 * Locking     none; a wire_scratch and a wire_message belong to one thread at a time.
 * Not here    What a method means, sockets' addresses, waiting.
 *
 * The Packet header is encoded and decoded by hand, because every request pays for it; the
 * unit test compares both directions with protobuf-c's own.
 */
#ifndef MMB_PROTO_WIRE_H
#define MMB_PROTO_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/methods.h"
#include "proto/mmbroker.pb-c.h"

/* ---- the method table ---- */

enum wire_access { WIRE_FIRST, WIRE_SESSION, WIRE_READ, WIRE_ADMIN };

struct wire_method {
	const char                       *name; /* NULL: no such method */
	const ProtobufCMessageDescriptor *request, *reply;
	uint8_t                           nr_fds; /* with the request */
	enum wire_access                  access;
};

/* NULL for a number that names no method. */
const struct wire_method *wire_method(uint32_t number);
/* An upcall's request; replies are Empty. NULL for a number that names no upcall. */
const struct wire_method *wire_upcall(uint32_t number);

/* ---- memory for unpacked bodies ---- */

/* Enough for any request, and for any reply the daemon makes, within MMB_PACKET_MAX. */
enum { WIRE_SCRATCH_BYTES = 96 * 1024 };

struct wire_scratch {
	ProtobufCAllocator allocator; /* allocator_data points to this struct */
	uint8_t           *next, *end;
	bool               exhausted;
};

/* buffer: aligned to 16. Initialising again frees everything unpacked before. */
void wire_scratch_init(struct wire_scratch *scratch, void *buffer, size_t bytes);
/* For arrays that live as long as the unpacked message; NULL when exhausted. */
void *wire_scratch_alloc(struct wire_scratch *scratch, size_t bytes);

/* ---- packets ---- */

struct wire_packet {
	uint32_t       method;
	uint64_t       id;
	int32_t        code;
	const char    *error; /* error_bytes long; decoded ones point into the packet: no NUL */
	size_t         error_bytes;
	uint64_t       again; /* requests: the id it had in a lost one; 0: none */
	const uint8_t *body; /* encoding: if there is no message */
	size_t         body_bytes;
};

/* Splits a packet without copying. -EPROTO: not a Packet. */
int wire_decode(const uint8_t *bytes, size_t nr, struct wire_packet *out);
/* Writes a packet with `body` (NULL: the head's bytes) and returns its length; -EMSGSIZE. */
ssize_t wire_encode(const struct wire_packet *head, const ProtobufCMessage *body, uint8_t *out,
		    size_t capacity);
/* Unpacks the body of a packet. -EPROTO: not this message; -ENOBUFS: scratch exhausted. */
int wire_unpack(const struct wire_packet *packet, const ProtobufCMessageDescriptor *descriptor,
		struct wire_scratch *scratch, ProtobufCMessage **out);

/* ---- sockets ---- */

struct wire_message {
	uint8_t *bytes; /* set by the caller; MMB_PACKET_MAX long to take any packet */
	size_t   capacity;
	size_t   length; /* received */
	int      fds[MMB_PACKET_FDS];
	uint32_t nr_fds;
	bool     interruptible; /* set by the caller: a signal ends the wait with -EINTR */
	/* Set by the caller: descriptors that this process has no room for are no reason to refuse
	 * the packet. All of them are closed then, and `cut` says so. */
	bool     may_be_cut;
	bool     cut;
	/* Closes a received descriptor that nobody wants; NULL: close(2). The daemon defers it,
	 * because closing a stranger's file may block. */
	void (*discard)(int fd, uid_t sender);
	uid_t sender; /* set by the caller, for that */
};

struct wire_fds {
	const int *fds; /* stay the caller's */
	uint32_t   nr;  /* at most MMB_PACKET_FDS */
};

/* One packet, whole. flags as for send(2); SIGPIPE is never raised. 0 or -errno. */
int wire_send(int sock, const void *bytes, size_t nr, struct wire_fds fds, int flags);
/* One packet: its length, or 0 when the peer is gone or sent an empty one, which no Packet is.
 * -EPROTO, with all descriptors closed, when packet or descriptors didn't fit (but see may_be_cut)
 * or came in another kind of control message; else -errno. flags as for recv(2). Descriptors arrive
 * close-on-exec. */
ssize_t wire_recv(int sock, struct wire_message *message, int flags);
/* Closes the descriptors that are still in the message. */
void wire_discard_fds(struct wire_message *message);

#endif
