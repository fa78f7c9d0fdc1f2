/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_arena - a pool's arena: a window, a section and a zone per node
 *
 * Purpose     The arena part of pool.h: made at first use, charged to the pool by pageblocks, its
 *             frames translated to client addresses and back.
 * Locking     pool->lock (RANK_ARENA) for making; see pool.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/account.h"
#include "client/address.h"
#include "client/arena_ahead.h"
#include "client/pool.h"
#include "client/pool_limits.h"
#include "mm/map/swap.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "mm/phys/zone_resume.h"
#include "mm/space/reclaim.h"

static int charge_frames(void *arg, uint64_t frames)
{
	struct pool *pool = arg;
	int r = pool_charge(pool, frames << PAGE_SHIFT);

	if (r)
		return r;
	r = memcg_charge(&pool->memcg, MEMCG_ARENA, frames);
	if (r)
		pool_uncharge(pool, frames << PAGE_SHIFT);
	return r;
}

static void uncharge_frames(void *arg, uint64_t frames)
{
	struct pool *pool = arg;

	memcg_uncharge(&pool->memcg, MEMCG_ARENA, frames);
	pool_uncharge(pool, frames << PAGE_SHIFT);
}

/* Only where that can help: not where commit or what is pinned has reached its limit. */
static uint64_t reclaim_frames(void *arg, uint64_t frames)
{
	struct pool *pool = arg;
	struct memcg *memcg = &pool->memcg;
	uint64_t max = memcg_limit(memcg, MEMCG_MAX);
	uint64_t stays = atomic_load(&memcg->pinned) + memcg_kept(memcg, max);

	frames = min_t(uint64_t, frames, stays < max ? max - stays : 0);
	if (!swap_capacity() ||
	    atomic_load(&pool->committed) + (frames << PAGE_SHIFT) > pool_commit_limit(pool))
		return 0;
	return reclaim_margin(memcg, frames);
}

static const struct zone_charge arena_charge = { charge_frames, uncharge_frames, reclaim_frames };

static void unmake_arena_node(struct pool *pool, int node)
{
	if (pool->zones.normal[node])
		zone_free(pool->zones.normal[node]);
	if (pool->sections[node]) {
		account_uncharge_span(pool->uid, pool->sections[node]->nr_frames);
		section_remove(pool->sections[node]);
	}
	address_free(&pool->windows[node]);
	pool->zones.normal[node] = NULL;
	pool->sections[node] = NULL;
}

static int make_zone(struct pool *pool, int node, struct section *section, bool has_block)
{
	struct zone_request want = { .type = ZONE_NORMAL,
				     .node = node,
				     .pool = (uint32_t)pool->id,
				     .section = section,
				     .huge = section->kind == STOCK_BASE,
				     .has_block = has_block,
				     .charge = &arena_charge,
				     .charge_arg = pool,
				     .owner = pool };

	return zone_new(&want, &pool->zones.normal[node]);
}

static void note_window(struct pool *pool, int node)
{
	record_word_set(&pool->record->windows[node], pool->windows[node].start >> PAGE_SHIFT);
}

/* What was made ahead becomes the pool's. */
static int adopt_arena_node(struct pool *pool, int node, struct arena_ahead *a)
{
	int r = make_zone(pool, node, a->section, true);

	if (r) {
		arena_ahead_discard(a);
		return r;
	}
	address_move(&pool->windows[node], &a->window);
	note_window(pool, node);
	section_give(a->section, pool, pool->id);
	section_give(a->map->section, a->map, pool->id);
	pool->sections[node] = a->section;
	leases_take_map(&pool->leases, node, a->map);
	arena_ahead_taken(a);
	return 0;
}

/* The window and the section, or those that were made ahead, and the zone. */
static int make_parts(struct pool *pool, const struct arena_plan *plan)
{
	char name[SECTION_NAME_BYTES];
	struct arena_ahead *ahead = arena_ahead_take(plan);
	int node = plan->node;
	int r;

	if (ahead)
		return adopt_arena_node(pool, node, ahead);
	snprintf(name, sizeof(name), "arena-%llu-%d", (unsigned long long)pool->id, node);
	r = arena_reserve(plan, &pool->windows[node]);
	if (!r) {
		note_window(pool, node);
		r = arena_section(plan,
				  &(struct section_request){
					  .name = name, .owner = pool, .owner_id = pool->id },
				  &pool->sections[node]);
	}
	if (!r)
		r = make_zone(pool, node, pool->sections[node], false);
	return r;
}

/* All that the pool could ever take from the node, or what is left for it. */
static bool plan_for(const struct pool *pool, int node, struct arena_plan *plan)
{
	uint64_t frames;

	if (!arena_plan(node, memcg_limit(&pool->memcg, MEMCG_MAX), plan))
		return false;
	frames = account_arena_frames(pool->uid, plan->nr_frames);
	frames = min_t(uint64_t, frames, section_frames_max());
	plan->nr_frames = round_up(max_t(uint64_t, frames, 1), PAGEBLOCK_PAGES << 1);
	return true;
}

static int make_arena_node(struct pool *pool, int node)
{
	struct arena_plan plan;
	int r;

	if (!plan_for(pool, node, &plan))
		return 0;
	r = account_charge_span(pool->uid, plan.nr_frames);
	if (r)
		return r;
	r = make_parts(pool, &plan);
	if (r && !pool->sections[node])
		account_uncharge_span(pool->uid, plan.nr_frames);
	if (r)
		unmake_arena_node(pool, node);
	return r;
}

void pool_unmake_arena(struct pool *pool)
{
	for (int node = 0; node < nr_nodes; node++)
		unmake_arena_node(pool, node);
}

/* Its record says that the arena was complete. */
int pool_resume_arena(struct pool *pool, struct section *section)
{
	int node = section->node;
	uint64_t start;
	int r;

	if (pool->sections[node] || !record_word_get(&pool->record->windows[node], &start))
		return -EUCLEAN;
	r = address_take(&pool->windows[node], start << PAGE_SHIFT,
			 section->nr_frames << PAGE_SHIFT);
	if (!r)
		r = make_zone(pool, node, section, false);
	if (!r)
		r = zone_resume(pool->zones.normal[node]);
	if (!r)
		r = account_recharge_span(pool->uid, section->nr_frames);
	if (r)
		return r; /* the daemon doesn't start */
	section->owner = pool;
	pool->sections[node] = section;
	pool->has_arena = true;
	return 0;
}

int pool_make_arena(struct pool *pool, struct refusal *why)
{
	int r = 0;

	mutex_lock(&pool->lock);
	for (int node = 0; node < nr_nodes && !pool->has_arena && !r; node++)
		r = make_arena_node(pool, node);
	if (r) {
		pool_unmake_arena(pool);
		leases_drop_maps(&pool->leases);
	} else {
		/* Crash: before this the sections are nobody's, and no client knows them; those
		 * that were made ahead, too. */
		if (!pool->has_arena)
			record_word_set(&pool->record->has_arena, 1);
		pool->has_arena = true;
	}
	mutex_unlock(&pool->lock);
	if (r == -EDQUOT)
		return refuse(why, r,
			      "pool '%s': regions of uid %u and the arenas of its pools may span "
			      "%llu bytes, resident or not, and no more than is left for others: "
			      "its arena doesn't fit; close some, or raise limits.span_per_uid",
			      pool->name, pool->uid,
			      (unsigned long long)limits_get()->span_per_uid);
	if (r)
		return refuse(why, r,
			      "pool '%s': its arena can't be set up (%s); "
			      "close pools that aren't needed, or give this one a max",
			      pool->name, strerror(-r));
	return 0;
}

uint64_t pool_arena_bytes(struct pool *pool)
{
	uint64_t bytes = 0;

	for (int node = 0; node < nr_nodes; node++) {
		struct zone *zone = pool->zones.normal[node];

		if (zone)
			bytes += atomic_load(&zone->present) << PAGE_SHIFT;
	}
	return bytes;
}

uint64_t pool_pfn_to_address(struct pool *pool, uint64_t pfn)
{
	for (int node = 0; node < nr_nodes; node++) {
		struct section *section = pool->sections[node];

		if (section && pfn >= section->pfn && pfn < section->pfn + section->nr_frames)
			return pool->windows[node].start + section_offset(section, (uint32_t)pfn);
	}
	return 0;
}

uint64_t pool_address_to_pfn(struct pool *pool, uint64_t address)
{
	for (int node = 0; node < nr_nodes; node++) {
		const struct range *window = &pool->windows[node];

		if (pool->sections[node] && address >= window->start &&
		    address < window->start + window->length)
			return pool->sections[node]->pfn +
			       ((address - window->start) >> PAGE_SHIFT);
	}
	return UINT64_MAX;
}
