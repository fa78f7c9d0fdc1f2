/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_stat - a pool's figures at this moment
 */
#ifndef MMB_CLIENT_POOL_STAT_H
#define MMB_CLIENT_POOL_STAT_H

#include "client/pool_region.h"
#include "client/verbs.h"

void pool_stat_take(struct pool *pool, struct pool_stat *out);
void region_stat_take(const struct pool_region *pr, struct region_stat *out);
/* What depends on others of its family: looks at each page, with no lock held. */
void region_stat_count(struct region *region, struct region_stat *out);

#endif
