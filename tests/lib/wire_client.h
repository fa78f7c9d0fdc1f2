/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_client - the least client, for tests of the protocol
 *
 * Purpose     Sends requests, right or wrong ones, and reads replies with a deadline, so that a
 *             lost reply is a failure and not a hang.
 * Locking     one thread a client.
 */
#ifndef MMB_TESTS_LIB_WIRE_CLIENT_H
#define MMB_TESTS_LIB_WIRE_CLIENT_H

#include <stdalign.h>

#include "proto/wire.h"

enum { WIRE_CLIENT_WAIT_MS = 20000 };

struct wire_client {
	int                         sock;
	uint64_t                    last_id;
	uint8_t                     rx[MMB_PACKET_MAX];
	alignas(16) uint8_t         scratch_bytes[WIRE_SCRATCH_BYTES];
	struct wire_scratch         scratch;
	struct wire_message         message; /* the last reply's, with its descriptors */
	struct wire_packet          packet;  /* the last reply's */
	int                         upcalls; /* HELLO's upcall socket, or -1 */
};

/* Takes over a connected socket. */
void wire_client_init(struct wire_client *c, int sock);
/* -errno. */
int wire_client_connect(struct wire_client *c, const char *path);
void wire_client_fini(struct wire_client *c);

/* Sends a request and returns its id; fds may be empty. 0: it couldn't be sent. */
uint64_t wire_client_send(struct wire_client *c, uint32_t method, const ProtobufCMessage *body,
			  struct wire_fds fds);
/* Reads one reply: 1, or 0 when the daemon has closed the connection, or -ETIMEDOUT. */
int wire_client_recv(struct wire_client *c, int wait_ms);
/* Both. The reply's code; -ECONNRESET when the connection is closed instead of a reply. */
int wire_client_call(struct wire_client *c, uint32_t method, const ProtobufCMessage *body);
/* The last reply's message. NULL: it isn't one. */
const void *wire_client_reply(struct wire_client *c);
/* HELLO with all features; keeps the upcall socket and closes the rest. */
int wire_client_hello(struct wire_client *c, const char *name, bool control);
/* 1 once the daemon has closed the connection, unread replies skipped; 0 after a while. */
int wire_client_is_closed(struct wire_client *c);

#endif
