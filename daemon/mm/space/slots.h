/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots - slots that are held without need come back
 *
 * Purpose     What is promised beyond memory has slots (mm/phys/promise.h), but others can hold
 *             them: copies of pages that are in memory, and pages that were paged out though there
 *             is room for them. Who finds no slot takes both away, and for a while nobody gets one
 *             who could do without.
 * Locking     none; one thread at a time brings pages back.
 * Not here    Slots themselves (map/swap.h), which page goes (reclaim.h).
 */
#ifndef MMB_SPACE_SLOTS_H
#define MMB_SPACE_SLOTS_H

#include <stdbool.h>

/* Some copies go, and where that isn't enough and `needed`, since somebody waits for a page that
 * was promised, some pages come in. False: another thread is at that just now. */
bool slots_take_back(bool needed);
/* Whether slots are only for who needs one, for now. */
bool slots_are_scarce(void);

#endif
