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

#include <stdbool.h>

void gate_enter(void);
void gate_leave(void);
/* Waits until nobody is inside, and keeps everybody out. */
void gate_close(void);
void gate_open(void);
/* Who enters now may have to wait for a walk. */
bool gate_closes(void);

#endif
