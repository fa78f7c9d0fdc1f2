/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper - one thread: due work first, then sleep until the next second or a call
 *
 * Locking     keeper.lock for what was asked for; it is dropped while working.
 */
#include "client/keeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/log.h"
#include "client/arena_ahead.h"
#include "client/gate.h"
#include "client/hugetlb_audit.h"
#include "client/pressure.h"
#include "client/relief.h"
#include "client/resume.h"
#include "client/session.h"
#include "client/suspect.h"
#include "mm/balance/tick.h"
#include "mm/obj/slab.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "mm/phys/zone_audit.h"
#include "mm/space/lane.h"
#include "mm/space/lineage.h"
#include "os/os.h"

enum { TICK_NS = 1000 * 1000 * 1000, REFILL_STEPS = 64, LOW_ZONES = 16 };
enum { SETTLE_STEPS = 4 }; /* some milliseconds: a zone that gets low waits so long */

/* l: lock */
static struct {
	struct mutex lock;
	pthread_cond_t wanted;
	pthread_t thread; /* fixed while running */
	bool stopping;           /* (l) */
	uint32_t low[LOW_ZONES]; /* (l) ids of zones that are low */
	uint32_t nr_low;         /* (l) */
	bool pressed;            /* (l) pools are short */
} keeper;

void keeper_low(struct zone *zone)
{
	mutex_lock(&keeper.lock);
	for (uint32_t i = 0; i < keeper.nr_low; i++) {
		if (keeper.low[i] == zone->id) {
			mutex_unlock(&keeper.lock);
			return;
		}
	}
	if (keeper.nr_low < LOW_ZONES)
		keeper.low[keeper.nr_low++] = zone->id;
	pthread_cond_signal(&keeper.wanted);
	mutex_unlock(&keeper.lock);
}

/* ---- pressure ---- */

void keeper_pressed(void)
{
	mutex_lock(&keeper.lock);
	keeper.pressed = true;
	pthread_cond_signal(&keeper.wanted);
	mutex_unlock(&keeper.lock);
}

/* Growing is the first answer; clients are asked only if the zone stays low. */
static void relieve(uint32_t zone_id)
{
	struct pool *pool;

	gate_enter();
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone)) {
		if (zone->id != zone_id)
			continue;
		balance_zone(zone);
		pool = zone->owner; /* as long as its zone is walked */
		if (pool && zone_free_pages_nr(zone) < zone_wmark(zone, WMARK_LOW))
			memcg_pressure(&pool->memcg, MEMCG_LEVEL_LOW,
				       zone_wmark(zone, WMARK_HIGH));
	}
	gate_leave();
}

/* ---- audits ---- */

static void audit_region(struct region *region, void *arg)
{
	int64_t punched = region_audit(region);

	region_return_promises(region);
	lineage_tick(region);
	if (punched > 0)
		log_emit_limited(
			LOG_WARNING, "frames_conjured",
			"region %s: %lld frames appeared in holes of its file, put there by a "
			"client; punched",
			region->name[0] ? region->name : "(unnamed)", (long long)punched);
}

static void audit_zones(void)
{
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone)) {
		int64_t punched = zone_audit(zone);

		if (punched > 0)
			log_emit_limited(LOG_WARNING, "blocks_conjured",
					 "pool %u: frames appeared in %lld absent pageblocks "
					 "of its arena, put there by a client; punched",
					 zone->pool, (long long)punched);
	}
}

static void tick_pool(struct pool *pool)
{
	int64_t punched = leases_tick(&pool->leases);

	members_tick(&pool->members);
	heartbeat_touch();
	if (punched > 0)
		log_emit_limited(LOG_WARNING, "slab_map_conjured",
				 "pool %llu: %lld pages of its slab map appeared in holes, put "
				 "there by a client; punched",
				 (unsigned long long)pool->id, (long long)punched);
}

static void tick_pools(void)
{
	struct pool *pool = NULL;

	while ((pool = pool_walk_next(pool)))
		tick_pool(pool);
}

/* Twice as often: what stands empty for two of these ticks goes back. */
static void tick_zones(void)
{
	gate_enter();
	balance_tick();
	gate_leave();
}

/* Once, a minute of ticks after the start. */
static void forget_suspects(void)
{
	static unsigned int ticks; /* the keeper's own */

	if (ticks <= SUSPECTS_FORGET_S && ++ticks > SUSPECTS_FORGET_S)
		suspects_forget();
}

static void tick(void)
{
	forget_suspects();
	lanes_tick();
	pressure_tick();
	relief_run();
	offers_tick();
	arenas_ahead_tick();
	region_for_each(audit_region, NULL);
	audit_zones();
	tick_pools();
	hugetlb_audit();
	slab_tick();
	tick_zones();
	while (balance_refill(REFILL_STEPS))
		;
}

/* Half of a second has gone, or the other half. */
static void tick_half(bool *first)
{
	if (*first)
		tick_zones();
	else
		tick();
	*first = !*first;
}

/* Start-up took memory that is still to be locked against the host's swap. */
static bool has_to_settle(void)
{
	struct stock_snapshot s;
	bool more = false;

	for (int node = 0; node < nr_nodes; node++)
		more |= stock_snapshot(node, STOCK_BASE, &s) && s.bare && s.locked;
	return more;
}

static void log_settled(void)
{
	struct stock_snapshot s;

	for (int node = 0; node < nr_nodes; node++)
		if (stock_snapshot(node, STOCK_BASE, &s))
			log_emit(s.bare ? LOG_WARNING : LOG_INFO, "stock_locked",
				 "node %d: %llu MiB of the base stock are locked against swap%s",
				 node, (unsigned long long)((s.held - s.bare) >> 8),
				 s.bare ? ", the rest is not: LimitMEMLOCK ends there" : "");
}

static void wait_for_work(uint64_t next_ns)
{
	struct timespec until = { .tv_sec = (time_t)(next_ns / TICK_NS),
				  .tv_nsec = (long)(next_ns % TICK_NS) };

	while (!keeper.stopping && !keeper.nr_low && !keeper.pressed && os->now_ns() < next_ns)
		mutex_timedwait(&keeper.lock, &keeper.wanted, &until);
}

static void *keeper_main(void *unused)
{
	uint64_t next_ns = os->now_ns() + TICK_NS / 2;
	bool first = true; /* half of a second */
	bool settling = has_to_settle();
	struct heartbeat hb;

	heartbeat_register(&hb, "keeper");
	cpu_slot_register(0);
	mutex_lock(&keeper.lock);
	for (;;) {
		if (!settling)
			wait_for_work(next_ns);
		if (keeper.stopping)
			break;
		heartbeat_touch();
		INJECT_TURN(KEEPER_TURN);
		if (settling) {
			mutex_unlock(&keeper.lock);
			settling = balance_settle(SETTLE_STEPS);
			if (!settling)
				log_settled();
			mutex_lock(&keeper.lock);
		}
		while (keeper.nr_low) {
			uint32_t id = keeper.low[--keeper.nr_low];

			mutex_unlock(&keeper.lock);
			relieve(id);
			mutex_lock(&keeper.lock);
		}
		if (keeper.pressed) {
			keeper.pressed = false;
			mutex_unlock(&keeper.lock);
			relief_run();
			mutex_lock(&keeper.lock);
		}
		if (os->now_ns() >= next_ns) {
			mutex_unlock(&keeper.lock);
			if (!resume_is_under_way())
				tick_half(&first);
			next_ns = os->now_ns() + TICK_NS / 2;
			mutex_lock(&keeper.lock);
		}
	}
	mutex_unlock(&keeper.lock);
	cpu_slot_unregister();
	heartbeat_unregister(&hb);
	return unused;
}

int keeper_start(void)
{
	mutex_init(&keeper.lock, RANK_LEAF, "keeper");
	condition_init(&keeper.wanted);
	keeper.stopping = false;
	if (pthread_create(&keeper.thread, NULL, keeper_main, NULL))
		return -EAGAIN;
	pthread_setname_np(keeper.thread, "mmb-keeper");
	balance_set_low_hook(keeper_low);
	memcg_set_pressure_hook(keeper_pressed);
	return 0;
}

void keeper_stop(void)
{
	balance_set_low_hook(NULL);
	memcg_set_pressure_hook(NULL);
	mutex_lock(&keeper.lock);
	keeper.stopping = true;
	pthread_cond_signal(&keeper.wanted);
	mutex_unlock(&keeper.lock);
	pthread_join(keeper.thread, NULL);
	pthread_cond_destroy(&keeper.wanted);
	mutex_fini(&keeper.lock);
}
