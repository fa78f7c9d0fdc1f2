/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evidence - what /proc tells of who keeps the lock of a file of ours, and who waits for it
 *
 * Purpose     To have a file open is no evidence, nor is a plain fault: all of a pool have both.
 *             Who is seen in a call on it that takes its lock keeps it, or waits for it. Which file
 *             a ring's worker writes to isn't told, nor which one a descriptor was that is
 *             another's since: then it is told by whom the process is run.
 * Invariants  E1  nothing is allocated and no lock is taken, see os/bounded.h.
 * Locking     the users of clients are noted by any thread; one at a time looks.
 * Not here    Who is looked at and ended (culprit.h); a map's lock (map_keeper.h).
 */
#ifndef MMB_OS_EVIDENCE_H
#define MMB_OS_EVIDENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How sure it is that a process keeps the lock. */
enum evidence { NOT_IT, POSSIBLY, PROBABLY, LIKELY, IS_IN_CALL };

/* Of a client: weak evidence counts for it first. */
void evidence_note_uid(uid_t uid);
/* A thread of ours waits for a lock so that no signal wakes it, each time it is looked at. */
bool evidence_waits_for_lock(pid_t tid);

/* ---- within bounded_run(): they may wait for the process for ever ---- */

enum evidence evidence_of(pid_t pid, int our_fd);
/* It had been started at that time since the host was booted: it is no later one of its number. */
bool evidence_is_as_old(pid_t pid, uint64_t since_ns);
/* Up to two numbers of a line of /proc/PID/status, which anybody may read (the folder of a process
 * that isn't dumpable is root's); how many there are. */
int evidence_status(pid_t pid, const char *format, unsigned long numbers[2]);

#endif
