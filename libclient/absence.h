/* SPDX-License-Identifier: Apache-2.0 */
/*
 * absence - how a client that gave a deadline notices that no broker serves, and what it does then
 *
 * Purpose     A socket that is open says nothing: a keeper holds it while there is no broker, and a
 *             broker may hang. So the pager asks, a few times in daemon_timeout_ms, and waits that
 *             long for an answer. Without one the session is over: calls fail, and who touches
 *             memory that isn't mapped gets SIGBUS, from this process's own descriptor of the
 *             userfaultfd. A broker that comes later finds the session closed.
 * Invariants  N1  rounds are counted, and not time: this process may have been stopped as well.
 *             N2  every page that is missed later, too, raises SIGBUS: a later broker takes the
 *                 session's memory back while windows are still mapped.
 * Locking     the pager's thread only.
 */
#ifndef MMB_LIBCLIENT_ABSENCE_H
#define MMB_LIBCLIENT_ABSENCE_H

#include <stdbool.h>
#include <stdint.h>

struct mmb;

enum absence {
	ABSENCE_NOT,     /* it has answered */
	ABSENCE_SILENT,  /* not for daemon_timeout_ms */
	ABSENCE_UNKNOWN, /* the session has ended another way, or is being closed */
};

/* Between two questions; 0: no deadline was given. */
uint64_t absence_look_ms(const struct mmb *mmb);
/* Waits for an answer. */
enum absence absence_ask(struct mmb *mmb);
/* The connection was closed by the broker's end: waits for the rest of the deadline. False: this
 * side closes meanwhile. */
bool absence_wait(struct mmb *mmb);
/* Ends the session, and answers its faults until mmb_close(). */
void absence_end(struct mmb *mmb);

#endif
