/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify - what the service manager is told, and how long that may take
 *
 * Purpose     Datagrams to $NOTIFY_SOCKET. A manager that reads nothing for a while, as when it
 *             executes itself anew, must not hold up a thread that serves clients: what only shows
 *             a state is dropped when there is no room, and what must arrive waits for a bounded
 *             time, once: until the manager reads again, later ones fail at once.
 * Invariants  N1  that the daemon is ready is told as soon as there is room, however late.
 * Locking     any thread; the state of the socket is atomic.
 * Not here    Which descriptors are kept (app/fdstore.h).
 */
#ifndef MMB_APP_NOTIFY_H
#define MMB_APP_NOTIFY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Without a manager nothing is sent, and nothing fails. Negative errno: it can't be reached. */
int notify_init(void);
bool notify_is_on(void);
/* Dropped if there is no room. False: it was dropped, or nobody listens. */
bool notify_show(const char *state);
/* With a descriptor, or -1. -EAGAIN: the manager reads nothing; -ETOOMANYREFS: this user may send
 * no more descriptors. */
int notify_send(const char *state, int fd);
/* Whether an error is one of these two, which pass. */
bool notify_may_pass(int error);
/* To any keeper's socket, without waiting: a descriptor, or -1. */
int notify_send_once(int sock, const void *bytes, size_t nr, int fd);
/* a: atomic   c: fixed */
struct notify_stall {
	_Atomic bool is_on;     /* (a) it has been waited for in vain */
	const char  *id, *who;  /* (c) of the log's line, and in it */
};
/* What came of sending to a keeper that was stalled, or not: the stall is logged when it begins. */
void notify_note_stall(struct notify_stall *of, bool was, int r);
/* READY=1, now or from a later notify_look() (N1). */
void notify_ready(void);
void notify_look(void);

#endif
