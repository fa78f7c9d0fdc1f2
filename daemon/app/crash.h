/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash - signals that the process raises itself and dies by
 *
 * Purpose     What it was at when it died is noted for the next daemon (base/heartbeat.h): a
 *             request that ends each daemon is refused in the end. Then the signal goes on to
 *             whoever had it before: the kernel, or a sanitizer. SIGBUS is mm/phys/guard.h's.
 * Locking     none: nothing but stores.
 */
#ifndef MMB_APP_CRASH_H
#define MMB_APP_CRASH_H

int crash_init(void);

#endif
