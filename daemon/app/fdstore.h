/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdstore - who keeps the daemon's descriptors while there is no daemon
 *
 * Purpose     One way to both keepers: the daemon's own supervisor (app/supervisor.h), over a
 *             socket pair, or the service manager's descriptor store. With neither, nothing is
 *             kept (os/keep.h).
 * Invariants  S1  a keeper that takes nothing, or a kernel that lets this user send no descriptor
 *                 (ETOOMANYREFS), holds up whoever wants something kept for a second, once; from
 *                 then on it is refused at once until something goes through.
 *             S2  the supervisor's child inherits what was kept, and is sent nothing: no limit on
 *                 descriptors in sockets can keep a daemon from its memory.
 * Crash       a descriptor is kept before the record that names it is sealed, and dropped when that
 *             has ended: what is kept and named by nobody is dropped by the next daemon.
 * Locking     none: sending is one system call a descriptor, from any thread; a
 *             leaf mutex for drops that are owed.
 */
#ifndef MMB_APP_FDSTORE_H
#define MMB_APP_FDSTORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sysexits.h>

/* Of the socket pair: the child's end, in the environment. */
#define FDSTORE_VARIABLE "MMB_SUPERVISOR_FD"
/* What is kept: a file of struct fdstore_entry, whose descriptors the child has inherited. */
#define FDSTORE_TABLE "MMB_SUPERVISOR_TABLE"
/* When the last child's death was noticed, in nanoseconds of the monotonic clock. */
#define FDSTORE_NOTICED "MMB_NOTICED_NS"
/* Set for a release that goes on because a later one couldn't: it is the last to try. */
#define FDSTORE_GIVEN_BACK "MMB_GIVEN_BACK"

enum { FDSTORE_REFUSED = EX_PROTOCOL }; /* exit status: the supervisor starts what it keeps */

enum fdstore_op {
	FDSTORE_KEEP = 1, /* with a descriptor */
	FDSTORE_DROP,
	FDSTORE_READY, /* it serves */
	FDSTORE_ALIVE, /* all its threads turn */
	FDSTORE_BARRIER, /* with a descriptor, which shows by its end that this was read */
};

/* From the child to the supervisor. */
struct fdstore_message {
	uint32_t op, key;
};

struct fdstore_entry {
	uint32_t key;
	int      fd;
};

/* Takes what a predecessor has left, and keeps from now on, if there is a keeper. Negative errno:
 * what was left can't be taken. */
int  fdstore_init(void);
/* Whether all sessions that the limits allow can be kept; else a sentence in text. */
enum { FDSTORE_WHY_BYTES = 320 };
bool fdstore_holds(unsigned long long sessions, char text[FDSTORE_WHY_BYTES]);
/* Keeps room for that many sessions, whatever regions there are. How many regions one user may have
 * beside it, at most `regions`: half of what the keeper has room for. */
uint32_t fdstore_share(uint32_t sessions, uint32_t regions);
/* Clients are served. */
void fdstore_ready(void);
/* All threads turn. Doesn't wait. */
void fdstore_alive(void);
bool fdstore_has_supervisor(void);
/* This program is kept, too: what it leaves a later release may refuse to take over. */
int  fdstore_keep_program(void);
/* What was left is of a release that this one doesn't understand, and nothing of it has been
 * touched: the release that left it goes on in this process's place. Returns if it can't. */
void fdstore_give_back(char **argv);

/* Receives a message and FDSTORE_KEEP's descriptor, without waiting. 1, 0 at the end, or -errno. */
int fdstore_receive(int sock, struct fdstore_message *m, int *fd);

#endif
