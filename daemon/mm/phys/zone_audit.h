/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_audit - frames that clients conjured in absent pageblocks of an arena
 *
 * Purpose     Whoever has an arena's descriptor can make pages appear in its holes, at a cost
 *             that nobody is charged; found by the file's size on disk, and punched.
 * Invariants  A1  a pageblock is punched only while absent, with zone->grow held.
 * Locking     zone->grow, a pageblock at a time.
 */
#ifndef MMB_MM_PHYS_ZONE_AUDIT_H
#define MMB_MM_PHYS_ZONE_AUDIT_H

#include "mm/phys/zone.h"

/* Pageblocks punched, or negative errno. */
int64_t zone_audit(struct zone *zone);

#endif
