/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper - the background thread: balance, refill, audits, pressure
 *
 * Purpose     Twice a second pools breathe, pagesets decay; once slow sessions come back, regions'
 *             files are compared with their page tables, the host's hugepage reservations are
 *             looked at. At once when a zone says that it is low: balance it, and ask its pool's
 *             clients to give cached memory back.
 * Locking     one leaf mutex for the wake-up; everything is done with no lock held.
 */
#ifndef MMB_CLIENT_KEEPER_H
#define MMB_CLIENT_KEEPER_H

struct zone;

int keeper_start(void);
void keeper_stop(void);
/* Any thread, no lock held: this zone fell below its low mark. */
void keeper_low(struct zone *zone);
/* Pools are short: see relief.h. Any thread. */
void keeper_pressed(void);

#endif
