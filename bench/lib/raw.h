/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw - a client of the protocol without the library
 *
 * Purpose     What the public interface doesn't offer: PING, STATUS and VERIFY, as a control
 *             session, and the shortest possible path for timing round trips.
 * Errors      0 or a negative errno after bench_because(); the daemon's own code and sentence
 *             where it refused.
 */
#ifndef MMB_BENCH_LIB_RAW_H
#define MMB_BENCH_LIB_RAW_H

#include "lib/child.h"
#include "proto/wire.h"

struct raw;

/* Connects and says HELLO. *out is NULL on failure. */
int raw_open(const char *socket, struct raw **out);
void raw_close(struct raw *r);
/* What it takes, all of it resident: bytes that a measured program hasn't. */
size_t raw_memory(void);
/* One request, one reply. The reply lives until the next call; NULL reply: not wanted. */
int raw_call(struct raw *r, uint32_t method, const ProtobufCMessage *request,
	     ProtobufCMessage **reply);
int raw_ping(struct raw *r);

/* What the daemon owes and holds, summed over nodes and stocks. present and committed are what
 * clients have: the metadata, which the broker charges to itself, is taken off. */
struct raw_status {
	uint64_t pid, pools, sessions, regions, metadata, spanned, faults, poisoned, bad_messages;
	uint64_t reserve, reserve_huge, held, present, committed;
};
int raw_status(struct raw *r, struct raw_status *out);
/* A client's memory goes back in the background, and the next side must not pay for that: waits
 * until no more than this is present. */
int raw_settle(struct raw *r, uint64_t present);
/* A side that uses the broker there: child_run(), and then raw_settle() to what was before. */
int raw_child_run(const char *socket, child_fn run, void *arg, unsigned int timeout_ms,
		  struct sample *out);
/* *differences that the daemon's own verify found, the first sentence in report. */
int raw_verify(struct raw *r, uint64_t *differences, char *report, size_t bytes);

#endif
