/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate - lets a verify walk see zones and pagesets at rest
 *
 * Purpose     Whoever moves frames of zones passes the gate meanwhile; a walk closes it, so that
 *             lists don't change under it. Faults don't pass it: they move no frames of zones.
 * Locking     a reader-writer lock, outermost of all: taken with nothing held.
 */
#ifndef MMB_CLIENT_GATE_H
#define MMB_CLIENT_GATE_H

void gate_enter(void);
void gate_leave(void);
/* Waits until nobody is inside, and keeps everybody out. */
void gate_close(void);
void gate_open(void);

#endif
