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

#include "client/address.h"
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

/* Arenas are hugepage-backed where the node has such a stock. */
static bool arena_stock(int node, struct stock_snapshot *stock, enum stock_kind *kind)
{
	*kind = STOCK_HUGE;
	if (stock_snapshot(node, STOCK_HUGE, stock))
		return true;
	*kind = STOCK_BASE;
	return stock_snapshot(node, STOCK_BASE, stock);
}

/* Address space for all the pool could ever take from this node. */
static uint64_t arena_frames(const struct pool *pool, const struct stock_snapshot *stock)
{
	uint64_t frames = min_t(uint64_t, stock->reserve, memcg_limit(&pool->memcg, MEMCG_MAX));

	return round_up(max_t(uint64_t, frames, 1), PAGEBLOCK_PAGES << 1);
}

static void unmake_arena_node(struct pool *pool, int node)
{
	if (pool->zones.normal[node])
		zone_free(pool->zones.normal[node]);
	if (pool->sections[node])
		section_remove(pool->sections[node]);
	address_free(&pool->windows[node]);
	pool->zones.normal[node] = NULL;
	pool->sections[node] = NULL;
}

static int make_arena_node(struct pool *pool, int node)
{
	struct stock_snapshot stock;
	enum stock_kind kind;
	char name[SECTION_NAME_BYTES];
	struct section_request want = { .name = name,
					.type = SECTION_ARENA,
					.node = node,
					.map = true,
					.owner = pool,
					.owner_id = pool->id };
	struct zone_request zone = { .type = ZONE_NORMAL,
				     .node = node,
				     .pool = (uint32_t)pool->id,
				     .charge = &arena_charge,
				     .charge_arg = pool,
				     .owner = pool };
	int r;

	if (!arena_stock(node, &stock, &kind))
		return 0;
	snprintf(name, sizeof(name), "arena-%llu-%d", (unsigned long long)pool->id, node);
	want.kind = kind;
	want.nr_frames = arena_frames(pool, &stock);
	zone.huge = kind == STOCK_BASE;
	r = address_alloc(&pool->windows[node], want.nr_frames << PAGE_SHIFT, PAGEBLOCK_SIZE << 1);
	if (!r)
		record_word_set(&pool->record->windows[node],
				pool->windows[node].start >> PAGE_SHIFT);
	if (!r)
		r = section_add(&want, &pool->sections[node]);
	if (!r) {
		zone.section = pool->sections[node];
		r = zone_new(&zone, &pool->zones.normal[node]);
	}
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
	struct zone_request want = { .type = ZONE_NORMAL,
				     .node = node,
				     .pool = (uint32_t)pool->id,
				     .section = section,
				     .huge = section->kind == STOCK_BASE,
				     .charge = &arena_charge,
				     .charge_arg = pool,
				     .owner = pool };
	uint64_t start;
	int r;

	if (pool->sections[node] || !record_word_get(&pool->record->windows[node], &start))
		return -EUCLEAN;
	r = address_take(&pool->windows[node], start << PAGE_SHIFT,
			 section->nr_frames << PAGE_SHIFT);
	if (!r)
		r = zone_new(&want, &pool->zones.normal[node]);
	if (!r)
		r = zone_resume(pool->zones.normal[node]);
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
	} else {
		/* Crash: before this the sections are nobody's, and no client knows them. */
		if (!pool->has_arena)
			record_word_set(&pool->record->has_arena, 1);
		pool->has_arena = true;
	}
	mutex_unlock(&pool->lock);
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
