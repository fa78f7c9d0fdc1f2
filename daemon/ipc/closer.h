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
 * Locking     one leaf mutex inside.
 */
#ifndef MMB_IPC_CLOSER_H
#define MMB_IPC_CLOSER_H

/* Fits wire_message.discard. */
void closer_discard(int fd);

#endif
