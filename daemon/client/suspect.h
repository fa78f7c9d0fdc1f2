/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suspect - requests that daemons die by
 *
 * Purpose     After a restart the library repeats what was lost. A request that ends the daemon by
 *             itself would end each of them, for all clients: so whoever dies at one (a broken
 *             invariant, a signal, a thread that hangs) notes which, in the session's record, and
 *             one that is repeated after REQUEST_DEATHS_MAX deaths (verbs.h) is refused. SIGKILL
 *             comes from outside, and blames nobody.
 * Invariants  P1  only a request that a thread was at is noted, and not those that others were at
 *                 or that waited.
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
/* Of the request with that first id, as the last daemon has left it. */
uint32_t suspect_deaths(const struct record_word *word, uint64_t request);

#endif
