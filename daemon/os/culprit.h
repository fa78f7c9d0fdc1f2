/* SPDX-License-Identifier: Apache-2.0 */
/*
 * culprit - the search for who keeps a lock, through all processes, and its end
 *
 * Purpose     What os/holdup.h promises in H2 to H5: who is looked at, in which order, and what
 *             must be seen of a process before it is killed.
 * Invariants  C1  a process is killed by the pidfd that was there before it was looked at.
 *             C2  nobody is killed once the call has ended.
 *             C3  no process holds up the search for long, whatever keeps the look at it: all looks
 *                 are given up in the end (os/bounded.h), and no thread is left behind.
 * Locking     one thread.
 * Not here    What is seen (evidence.h, map_keeper.h); which calls are stuck (holdup.h).
 */
#ifndef MMB_OS_CULPRIT_H
#define MMB_OS_CULPRIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CULPRIT_MAP_MS = 4000 }; /* a map may be locked for so long */

/* Somebody keeps a lock that a call of ours on a descriptor waits for. */
struct hold {
	int fd;
	bool (*is_stuck)(const void *call); /* in that call still */
	const void *call;
};

/* Of a file's lock. */
void culprit_end_writer(const struct hold *hold);
/* Of a map's lock: the process that it is of, since when the host had been booted for so long. */
void culprit_end_owner(const struct hold *hold, pid_t owner, uint64_t since_ns);
/* Others of that user. */
void culprit_end_keepers(const struct hold *hold, uid_t owner);

#endif
