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
		.swapped = atomic_load(&region->nr_swapped) << shift,
		.refaults = atomic_load(&region->nr_refaults),
		.faults = atomic_load(&region->nr_faults),
		.write_faults = atomic_load(&region->nr_write_faults),
		.sessions = pr->nr_handles,
	};
}

/* As it was given: 0 is no limit. */
static uint64_t pool_limit_shown(const struct pool *pool, enum memcg_limit which)
{
	uint64_t bytes = pool_limit(pool, which);

	return bytes == UINT64_MAX ? 0 : bytes;
}

void pool_stat_take(struct pool *pool, struct pool_stat *out)
{
	struct pool_region *pr;

	*out = (struct pool_stat){
		.committed = atomic_load(&pool->committed),
		.max = pool_limit_shown(pool, MEMCG_MAX),
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
