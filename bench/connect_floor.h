/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect_floor - the least that a session with its first region can cost
 *
 * Purpose     The system calls that no broker of this kind can do without, in two processes and
 *             with nothing between them: a connection whose peer is known, a userfaultfd made and
 *             handed over, three round trips, a sealed memfd made, handed over, mapped without
 *             access, registered and opened. No messages are packed, nothing is looked up, charged
 *             or recorded.
 * Not here    The round trip alone (pingpong.h).
 */
#ifndef MMB_BENCH_CONNECT_FLOOR_H
#define MMB_BENCH_CONNECT_FLOOR_H

#include "lib/bench.h"

struct connect_floor_args {
	int          place, peer_place; /* CPUs, or PLACE_ANYWHERE */
	unsigned int rounds;
};

enum { CONNECT_FLOOR_P50 };

/* A side: arg is a struct connect_floor_args. */
int connect_floor_side(struct bench *b, const void *arg, struct sample *out);

#endif
