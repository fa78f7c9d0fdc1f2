/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tick - what background threads call: pools breathe, pagesets decay, stocks refill
 *
 * Purpose     balance_zone() brings one zone back above its high mark. balance_tick(), called twice
 *             a second, decays pagesets, gives back empty pageblocks that were empty a tick ago
 *             too, and ends watermark boosts. balance_refill() moves held memory of every stock to
 *             where it should be.
 * Locking     none; may wait for the host. One thread at a time.
 */
#ifndef MMB_MM_BALANCE_TICK_H
#define MMB_MM_BALANCE_TICK_H

#include "mm/phys/zone.h"

void balance_zone(struct zone *zone);
/* Returns frames given back to the stocks. */
uint64_t balance_tick(void);
/* At most max_steps pageblocks in all; true if there is more to do. */
bool balance_refill(unsigned int max_steps);
/* Start-up in hold mode, continued: locks at most max_steps pageblocks that were only taken; true
 * if there is more to do. */
bool balance_settle(unsigned int max_steps);
/* Everything empty in this zone goes back now, pagesets included (trim). Returns frames. */
uint64_t balance_trim(struct zone *zone);

#endif
