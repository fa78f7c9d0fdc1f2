/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suspect - requests, and faults, that daemons die by
 *
 * Purpose     After a restart the library repeats what was lost, and threads fault again. A request
 *             that ends the daemon by itself would end each of them, for all clients: so whoever
 *             dies at one (a broken invariant, a signal, a thread that hangs) notes which, in the
 *             session's record. Of a session with REQUEST_DEATHS_MAX deaths (verbs.h) the last one
 *             noted is refused when it is repeated; if that was a fault, its client ends. SIGKILL
 *             comes from outside, and blames nobody.
 * Invariants  P1  only what the thread was at that died is noted, and not what others were at,
 *                 or what waited; and it is forgotten by a daemon that has served for a minute.
 *             P2  a fault at which a thread hangs is noted for nobody: what it waits for may be
 *                 another's, and to end a client for that is worse than another death.
 * Crash       this is for it. What a refused request has made before stays the session's.
 * Locking     none: one word, changed by who dies. See base/heartbeat.h.
 */
#ifndef MMB_CLIENT_SUSPECT_H
#define MMB_CLIENT_SUSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/phys/record.h"

/* Before there are threads. */
void suspects_init(void);
/* A daemon has served for a while: what others died by wasn't what is asked for now. */
enum { SUSPECTS_FORGET_S = 60 };
void suspects_forget(void);
enum { SUSPECT_FAULT = 0 }; /* no request's id */
/* Of the session, as the last daemon has left it, if that was at the request with that first id;
 * else 0. */
uint32_t suspect_deaths(const struct record_word *word, uint64_t request);

#endif
