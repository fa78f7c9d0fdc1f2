/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox - packets a peer's socket had no room for yet
 *
 * Purpose     A connection never blocks in send: what doesn't fit waits here, in order, until
 *             the socket is writable again.
 * Invariants  B1  nr_bytes and nr_packets are the sums over the list.
 *             B2  queued descriptors are duplicates that the outbox owns.
 * Locking     the connection's lock.
 * Not here    Bounds and deadlines (connection).
 */
#ifndef MMB_IPC_OUTBOX_H
#define MMB_IPC_OUTBOX_H

#include "base/list.h"
#include "proto/wire.h"

struct outbox {
	struct list_head packets;
	uint32_t         nr_packets;
	size_t           nr_bytes;
};

void outbox_init(struct outbox *box);
void outbox_fini(struct outbox *box);
/* Copies the packet and duplicates its descriptors. */
int outbox_push(struct outbox *box, const void *bytes, size_t nr, struct wire_fds fds);
/* Sends from the front. 0: empty now; -EAGAIN: the socket is full; else the socket's error. */
int outbox_flush(struct outbox *box, int sock);

#endif
