/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_resume - the frames of an arena after the daemon that granted them has died
 *
 * Locking     one thread, before the zone serves.
 */
#ifndef MMB_MM_PHYS_ZONE_RESUME_H
#define MMB_MM_PHYS_ZONE_RESUME_H

#include "mm/phys/zone.h"

/* A new zone over a predecessor's section: what is granted stays, the rest of what is present is
 * free. -ENOMEM: the stock, the pool or the host's commit has no room for what exists. */
int zone_resume(struct zone *zone);
/* fn for the head of each granted block; it may free that one. */
void zone_for_each_granted(struct zone *zone, void (*fn)(struct page *page, void *arg), void *arg);

#endif
