/* SPDX-License-Identifier: Apache-2.0 */
/*
 * closer - closes strangers' descriptors away from the event loops
 *
 * Purpose     close(2) of a file on a client's own file system (FUSE) waits for that client. A
 *             descriptor nobody wanted is therefore closed by a thread of its own, which starts
 *             with the first one; when all such threads are at work another one is started, up to
 *             a bound.
 * Invariants  S1  a descriptor handed over is closed once; a holder that blocks its close keeps
 *                 descriptors of the daemon busy, within RLIMIT_NOFILE, and no thread else.
 *             S2  a uid's descriptors keep at most CLOSERS_PER_UID threads, and no more than it
 *                 leaves to others; who is behind them in the queue is of the same uid.
 *             S3  a uid that has had CLOSER_QUEUE_MAX descriptors in the queue for a second, or has
 *                 CLOSER_QUEUE_MOST, is refused by whoever would receive more from it. Many at
 *                 once that don't block are closed in time.
 * Locking     one leaf mutex inside.
 */
#ifndef MMB_IPC_CLOSER_H
#define MMB_IPC_CLOSER_H

#include <stdbool.h>
#include <sys/types.h>

enum { CLOSERS_MAX = 32, CLOSERS_PER_UID = 4, CLOSER_QUEUE_MAX = 64, CLOSER_QUEUE_MOST = 1024 };

/* Fits wire_message.discard; uid: whose process sent it. */
void closer_discard(int fd, uid_t uid);
/* S3 */
bool closer_is_full(uid_t uid);

#endif
