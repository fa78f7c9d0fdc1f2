/* SPDX-License-Identifier: Apache-2.0 */
/*
 * last_close - userfaultfds of sessions that have ended
 *
 * Purpose     Whoever closes a userfaultfd last waits for the lock of the client's map, which a
 *             reader of the client's memory may keep for ever. That must not be the keeper, which
 *             would hang: the service manager itself. So a descriptor is closed here when the
 *             keeper has said that it has let go of everything that it was told to drop before, by
 *             a thread that nobody misses.
 * Invariants  L1  what is dropped before last_close() is closed by the keeper before it is here.
 *             L2  closes that don't come back hold up those of the same user, after four of them,
 *                 and no session's end. What is left then stays open: it is of ended sessions.
 * Crash       the kernel closes what is left with the process.
 * Locking     a leaf mutex.
 * Not here    Descriptors that clients have sent for nothing (ipc/closer.h).
 */
#ifndef MMB_OS_LAST_CLOSE_H
#define MMB_OS_LAST_CLOSE_H

#include <stdbool.h>

int last_close_start(void);
/* Closes what is left without asking anybody. Doesn't wait for a close that lasts. */
void last_close_stop(void);
/* Whose it is says holdup_set_owner(). False: it isn't running, and the descriptor is the caller's
 * still. */
bool last_close(int fd);

#endif
