/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc - one control session with the broker, one request at a time
 *
 * Purpose     Connects, says HELLO as a tool (no memory, no descriptors), sends a request and
 *             waits for its reply; each call has the whole timeout.
 * Invariants  R1  after a failed call nothing more is sent: a late reply can't be mistaken for
 *                 the next one's.
 * Errors      CTL_* exit codes; the sentence is in error[], printed by rpc_fail.
 * Not here    Packets (proto/wire.h), what the replies mean (status.c, lists.c, texts.c).
 */
#ifndef MMB_TOOLS_RPC_H
#define MMB_TOOLS_RPC_H

#include <sys/un.h>

#include "proto/wire.h"
#include "tools/verbs.h"

enum { RPC_ERROR_BYTES = 640 };

struct rpc {
	int                  fd; /* -1: closed */
	unsigned int         timeout_ms;
	uint64_t             last_id;
	char                 path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char                 error[RPC_ERROR_BYTES];
	struct wire_scratch  scratch;
	uint8_t              packet[MMB_PACKET_MAX];
	_Alignas(16) uint8_t memory[WIRE_SCRATCH_BYTES]; /* of the last reply */
};

/* The broker at --socket, $MMB_SOCKET, the user's or the system's socket. */
int rpc_open(struct rpc *r, const struct invocation *in);
/* *reply is valid until the next call. */
int rpc_call(struct rpc *r, uint32_t method, const ProtobufCMessage *request,
	     const ProtobufCMessage **reply);
/* Opens, calls, closes, and prints what went wrong. */
int rpc_ask(struct rpc *r, const struct invocation *in, const ProtobufCMessage *request,
	    const ProtobufCMessage **reply);
/* One request whose answer is only whether it was done: an exit code, and printed if not. */
int rpc_order(const struct invocation *in, uint32_t method, const ProtobufCMessage *m);
/* Prints r->error after the verb's name and returns code. */
int rpc_fail(const struct rpc *r, const struct invocation *in, int code);
void rpc_close(struct rpc *r);

#endif
