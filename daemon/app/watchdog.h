/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog - feeds the service manager's watchdog as long as every thread turns
 *
 * Purpose     Looks at all heartbeats four times in the manager's period. While all are fresh the
 *             manager hears so; when one is older than half the period it hears at once that this
 *             process hangs, and ends it.
 * Invariants  W1  a thread that hangs ends the process within 3/4 of the period.
 *             W2  a process that nobody watches doesn't watch itself: it may be in a debugger.
 * Locking     main thread only.
 */
#ifndef MMB_APP_WATCHDOG_H
#define MMB_APP_WATCHDOG_H

#include <stdint.h>

/* Reads WATCHDOG_USEC and WATCHDOG_PID. */
void watchdog_init(void);
/* Milliseconds from one look to the next; 0: nobody watches. */
uint64_t watchdog_interval_ms(void);
/* A look; may not return. */
void watchdog_look(uint64_t now_ns);

#endif
