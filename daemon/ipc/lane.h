/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane - the buffers and counters of one thread that serves requests
 *
 * Purpose     Receiving, unpacking, encoding and measuring a request without malloc and without
 *             sharing a cache line: each control worker and each work thread owns one lane.
 * Invariants  N1  a lane's buffers hold at most one request's packet, message and reply.
 *             They are like the thread's stack, no metadata: of those of a thread that has nothing
 *             to do no page is there.
 * Locking     none: the owning thread only, but for the histogram, which anybody may read.
 */
#ifndef MMB_IPC_LANE_H
#define MMB_IPC_LANE_H

#include <pthread.h>
#include <stdalign.h>
#include <stdint.h>

#include "base/histogram.h"
#include "os/topology.h"
#include "proto/wire.h"

struct lane {
	alignas(64) uint8_t scratch[WIRE_SCRATCH_BYTES];
	uint8_t             rx[MMB_PACKET_MAX];
	uint8_t             tx[MMB_PACKET_MAX];
	struct histogram    latency; /* ns from receipt to reply; one value a request */
};

struct lane *lane_new(void);
void lane_free(struct lane *lane);

/* Starts a thread that takes no asynchronous signals. */
int lane_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);
/* First and last call of such a thread: its name and its CPU slot. topology may be NULL. */
void lane_thread_enter(const char *name, const struct topology *topology);
void lane_thread_leave(void);

#endif
