/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_stat - sums over a pool's regions and zones
 *
 * Locking     pool->lock while the regions are added up.
 */
#include "client/pool_stat.h"

#include "client/pool_limits.h"
#include "mm/space/lineage.h"
#include "os/os.h"

void region_stat_take(const struct pool_region *pr, struct region_stat *out)
{
	struct region *region = pr->region;
	unsigned int shift = region->page_shift;

	*out = (struct region_stat){
		.length = pr->bytes,
		.page_size = region_page_bytes(region),
		.resident = atomic_load(&region->nr_resident) << shift,
		.inherited = atomic_load(&region->nr_inherit) << shift,
		.locked = atomic_load(&region->nr_locked) << shift,
		.swapped = atomic_load(&region->nr_swapped) << shift,
		.refaults = atomic_load(&region->nr_refaults),
		.faults = atomic_load(&region->nr_faults),
		.write_faults = atomic_load(&region->nr_write_faults),
		.sessions = pr->nr_handles,
	};
}

void region_stat_count(struct region *region, struct region_stat *out)
{
	struct lineage_count count;
	unsigned int shift = region->page_shift;

	lineage_count(region, &count);
	out->shared = count.shared << shift;
	out->own = count.own << shift;
	out->charged = lineage_charged(region) << shift;
}

void pool_stat_take(struct pool *pool, struct pool_stat *out)
{
	struct pool_region *pr;
	struct psi_snapshot stalls;

	psi_snapshot(&pool->memcg.psi, os->now_ns(), &stalls);
	*out = (struct pool_stat){
		.committed = atomic_load(&pool->committed),
		.sessions = pool->nr_handles,
		.refused = atomic_load(&pool->nr_refused),
		.peak = atomic_load(&pool->memcg.peak) << PAGE_SHIFT,
		.leased = leases_bytes(&pool->leases),
		.some_stall_us = stalls.total_us[PSI_SOME],
		.full_stall_us = stalls.total_us[PSI_FULL],
	};
	pool_limits_get(pool, &out->limits);
	mutex_lock(&pool->lock);
	out->arena = pool_arena_bytes(pool);
	out->resident = out->arena;
	list_for_each_entry(pr, &pool->regions, link) {
		struct region_stat one;

		region_stat_take(pr, &one);
		out->regions++;
		out->resident += one.resident;
		out->locked += one.locked;
		out->swapped += one.swapped;
	}
	list_for_each_entry(pr, &pool->lingering, link) {
		struct region_stat one;

		region_stat_take(pr, &one);
		out->resident += one.resident;
		out->locked += one.locked;
		out->swapped += one.swapped;
	}
	mutex_unlock(&pool->lock);
}
