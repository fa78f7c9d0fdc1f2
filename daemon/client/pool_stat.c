/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_stat - sums over a pool's regions and zones
 *
 * Locking     pool->lock while the regions are added up.
 */
#include "client/pool_stat.h"

void region_stat_take(const struct pool_region *pr, struct region_stat *out)
{
	struct region *region = pr->region;
	unsigned int shift = region->page_shift;

	*out = (struct region_stat){
		.length = pr->bytes,
		.page_size = region_page_bytes(region),
		.resident = atomic_load(&region->nr_resident) << shift,
		.locked = atomic_load(&region->nr_locked) << shift,
		.faults = atomic_load(&region->nr_faults),
		.write_faults = atomic_load(&region->nr_write_faults),
		.sessions = pr->nr_handles,
	};
}

void pool_stat_take(struct pool *pool, struct pool_stat *out)
{
	struct pool_region *pr;

	*out = (struct pool_stat){
		.committed = atomic_load(&pool->committed),
		.max = pool->max,
		.sessions = pool->nr_handles,
		.refused = atomic_load(&pool->nr_refused),
		.leased = leases_bytes(&pool->leases),
	};
	mutex_lock(&pool->lock);
	out->arena = pool_arena_bytes(pool);
	out->resident = out->arena;
	list_for_each_entry(pr, &pool->regions, link) {
		struct region_stat one;

		region_stat_take(pr, &one);
		out->regions++;
		out->resident += one.resident;
		out->locked += one.locked;
	}
	mutex_unlock(&pool->lock);
}
