/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pingpong - the bare round trip: two processes and a socket of the kind the broker uses
 *
 * Purpose     The floor under every request: a child echoes packets of a PING's size on a
 *             SOCK_SEQPACKET pair, with a blocking recv and send on either side.
 */
#ifndef MMB_BENCH_PINGPONG_H
#define MMB_BENCH_PINGPONG_H

#include "lib/bench.h"

enum { PINGPONG_P50, PINGPONG_P99, PINGPONG_CONNECT }; /* ns; 3 round trips plus 50 us */

struct pingpong_args {
	int          place, peer_place; /* CPUs of the two ends, or PLACE_ANYWHERE */
	unsigned int rounds;
};

/* A side: arg is a struct pingpong_args. */
int pingpong_side(struct bench *b, const void *arg, struct sample *out);

#endif
