/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_verify - recomputes everything that can be recomputed, on the live daemon
 *
 * Purpose     Zones and pagesets at rest behind the gate; regions, maps and stocks move on with
 *             faults, so a difference counts only if it is still there when looked at again.
 */
#include <time.h>

#include "base/heartbeat.h"
#include "client/address.h"
#include "client/arena_ahead.h"
#include "client/gate.h"
#include "client/report.h"
#include "client/session.h"
#include "mm/map/swap.h"
#include "mm/obj/slab.h"
#include "mm/space/lineage.h"
#include "mm/phys/node.h"

enum { TRIES = 12 };
static const struct timespec pause_between = { .tv_nsec = 50 * 1000 * 1000 };

/* Returns what it is charged for. A family is validated with its oldest member. */
static uint64_t verify_region(struct pool_region *pr, uint64_t counted[NR_MEMCG_KINDS],
			      struct promise_share *promises, struct validation *v)
{
	struct kin *kin = region_kin(pr->region);

	region_validate(pr->region, v);
	region_count_charge(pr->region, counted);
	region_count_promises(pr->region, promises);
	counted[MEMCG_TABLES] += pr->tables;
	if (kin && family_is_oldest(kin))
		lineage_validate(kin->family, v);
	return pr->charged;
}

static void verify_pool(struct pool *pool, void *arg)
{
	struct validation *v = arg;
	struct pool_region *pr;
	uint64_t counted[NR_MEMCG_KINDS] = { 0 };
	struct promise_share promises = { 0 };
	uint64_t arena, bytes;

	mutex_lock(&pool->lock);
	arena = pool_arena_bytes(pool);
	bytes = arena;
	counted[MEMCG_ARENA] = arena >> PAGE_SHIFT;
	list_for_each_entry(pr, &pool->regions, link)
		bytes += verify_region(pr, counted, &promises, v);
	list_for_each_entry(pr, &pool->lingering, link)
		bytes += verify_region(pr, counted, &promises, v);
	memcg_validate(&pool->memcg, counted, v);
	memcg_validate_promises(&pool->memcg, &promises, v);
	validation_compare(v, bytes, atomic_load(&pool->committed), "pool %s: committed bytes",
			   pool->name);
	validation_compare(v, (bytes - arena) >> PAGE_SHIFT, atomic_load(&pool->memcg.promised),
			   "pool %s: frames promised to regions", pool->name);
	leases_validate(pool, v);
	mutex_unlock(&pool->lock);
}

static void verify_session(struct session *s, void *arg)
{
	struct mm *mm = NULL;

	mutex_lock(&s->lock);
	if (!s->ended && s->mm && mm_get(s->mm))
		mm = s->mm;
	mutex_unlock(&s->lock);
	if (!mm)
		return;
	mm_validate(mm, arg);
	mm_put(mm);
}

/* What clients have done to slab maps since the last tick is made good first. */
static void settle_pool(struct pool *pool, void *unused)
{
	leases_tick(&pool->leases);
}

static void walk(struct validation *v)
{
	*v = (struct validation){ 0 };
	pools_flush();
	regions_flush();
	pool_for_each(settle_pool, NULL);
	gate_close();
	meta_validate(v);
	swap_validate(v);
	section_validate(v);
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone))
		if (zone->type == ZONE_NORMAL)
			zone_validate(zone, v);
	slab_validate(v);
	pool_for_each(verify_pool, v);
	session_for_each(verify_session, v);
	arenas_ahead_validate(v);
	stock_validate(v);
	addresses_validate(v);
	gate_open();
}

void report_verify(struct validation *v)
{
	for (int i = 0; i < TRIES; i++) {
		walk(v);
		if (!v->nr_differences)
			return;
		heartbeat_sleep(&pause_between);
	}
}
