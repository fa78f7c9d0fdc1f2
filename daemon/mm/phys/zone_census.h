/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_census - what struct pages say about a zone, counted in one walk
 *
 * Purpose     Shared by the validators of buddy, pageset and zone.
 */
#ifndef MMB_MM_PHYS_ZONE_CENSUS_H
#define MMB_MM_PHYS_ZONE_CENSUS_H

#include "mm/phys/zone.h"

struct zone_census {
	uint64_t free[MIGRATE_TYPES][NR_ORDERS]; /* blocks */
	uint64_t pcp[NR_ORDERS];                 /* blocks */
	uint64_t granted, reserved;              /* frames */
	uint64_t blocks[MIGRATE_TYPES];          /* present pageblocks */
};

void zone_census_locked(struct zone *zone, struct zone_census *census, struct validation *v);

#endif
