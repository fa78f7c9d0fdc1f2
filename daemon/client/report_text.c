/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_text - the numbers of the kernel-format texts, gathered from pools, zones and stocks
 *
 * Purpose     Fills a struct text_snapshot for the whole broker or one pool and formats it.
 * Meaning     The broker is the machine: MemTotal is its reserve (a pool's: its limit, if it has
 *             one), MemFree what has no owner yet or lies free in arenas, MemAvailable what could
 *             still be granted. Unnamed regions are anonymous memory, named ones shared memory.
 * Locking     pools_lock and one pool->lock at a time while a pool is added; zones by their
 *             snapshots. The figures of different pools are of slightly different moments.
 * Not here    The shape of the texts (text_format.c), maps (report_maps).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/workqueue.h"
#include "client/pool_limits.h"
#include "client/pool_region.h"
#include "client/report.h"
#include "client/text_format.h"
#include "mm/balance/swap_io.h"
#include "mm/map/swap.h"
#include "mm/obj/slab.h"
#include "mm/phys/meta.h"
#include "mm/phys/node.h"
#include "mm/space/fault.h"
#include "mm/space/reclaim.h"

static_assert((int)TEXT_MIGRATETYPES == (int)MIGRATE_TYPES, "the names are in the enum's order");

struct gather {
	struct text_snapshot *s;
	const char *pool; /* "": all */
	bool found;
	uint64_t max, committed; /* frames, of the one pool */
	uint64_t commit_limit;   /* the same */
	uint64_t slots_max;      /* that the one pool may have */
	uint64_t slots, swapped; /* that words of the pools name; of pages that aren't resident */
	uint64_t used;           /* frames present in the pools */
	uint64_t arena_free;     /* of these, free in arenas */
};

static struct text_zone *normal_zone(struct text_snapshot *s, int node)
{
	return &s->zones[2 * node];
}

static struct text_zone *movable_zone(struct text_snapshot *s, int node)
{
	return &s->zones[2 * node + 1];
}

static uint64_t left_of(uint64_t all, uint64_t taken)
{
	return all > taken ? all - taken : 0;
}

static void prepare(struct text_snapshot *s)
{
	s->nr_nodes = (uint32_t)nr_nodes;
	s->nr_zones = 2 * s->nr_nodes;
	for (int node = 0; node < nr_nodes; node++) {
		s->nodes[node].id = (uint32_t)node;
		normal_zone(s, node)->node = movable_zone(s, node)->node = (uint32_t)node;
		normal_zone(s, node)->unreclaimable = movable_zone(s, node)->unreclaimable =
			kswapd_gave_up(node);
		normal_zone(s, node)->name = "Normal";
		movable_zone(s, node)->name = "Movable";
	}
}

/* ---- zones ---- */

static struct text_pageset *pageset_of(struct text_zone *z, uint32_t cpu)
{
	for (uint32_t i = 0; i < z->nr_pagesets; i++)
		if (z->pagesets[i].cpu == cpu)
			return &z->pagesets[i];
	z->pagesets[z->nr_pagesets].cpu = cpu;
	return &z->pagesets[z->nr_pagesets++];
}

static void add_pagesets(struct text_zone *z, const struct zone_snapshot *from)
{
	for (uint32_t i = 0; i < from->nr_pagesets; i++) {
		struct text_pageset *p = pageset_of(z, (uint32_t)from->pagesets[i].cpu);

		p->count += from->pagesets[i].count;
		p->high += from->pagesets[i].high;
		p->batch = max_t(uint32_t, p->batch, from->pagesets[i].batch);
		p->high_min += from->pagesets[i].high_min;
		p->high_max += from->pagesets[i].high_max;
	}
}

static void add_frames(struct gather *g, int node, enum stock_kind kind, uint64_t frames)
{
	g->used += frames;
	if (kind == STOCK_HUGE) {
		g->s->memory.direct_2m += frames;
		g->s->nodes[node].hugetlb += frames;
	} else {
		g->s->memory.direct_4k += frames;
	}
}

static void add_zone(struct gather *g, struct zone *zone)
{
	struct zone_snapshot from;
	struct text_zone *z = normal_zone(g->s, zone->node);

	zone_snapshot(zone, &from);
	if (z->present == 0 || from.start_pfn < z->start_pfn)
		z->start_pfn = from.start_pfn;
	z->nr_free += from.nr_free;
	z->nr_free_cma += from.nr_free_cma;
	z->cma += from.pageblocks[MIGRATE_CMA] << PAGEBLOCK_ORDER;
	z->boost += from.boost;
	z->min += from.min;
	z->low += from.low;
	z->high += from.high;
	z->spanned += from.spanned;
	z->present += from.present;
	z->managed += from.managed;
	for (int type = 0; type < MIGRATE_TYPES; type++) {
		z->pageblocks[type] += from.pageblocks[type];
		for (int order = 0; order < NR_ORDERS; order++)
			z->free[type][order] += from.free[type][order];
	}
	add_pagesets(z, &from);
	add_frames(g, zone->node, zone->section->kind, from.present);
	g->s->memory.percpu += from.nr_pcp;
	g->s->events.pgalloc_normal += from.events.pgalloc;
	g->s->events.pgfree += from.events.pgfree;
	z->numa_hit += from.numa_hit;
	z->numa_miss += from.numa_miss;
	z->numa_foreign += from.numa_foreign;
	g->s->events.numa_hit += from.numa_hit;
	g->s->events.numa_miss += from.numa_miss;
	g->s->events.numa_foreign += from.numa_foreign;
	if (from.pool != 0)
		g->arena_free += from.nr_free;
}

/* Before zones are walked: one that ends meanwhile isn't counted twice. */
static void add_ended(struct text_snapshot *s)
{
	for (int node = 0; node < nr_nodes; node++) {
		struct text_zone *z = normal_zone(s, node);
		struct zone_ended ended;

		zone_ended_read(node, &ended);
		s->events.pgalloc_normal += ended.pgalloc;
		s->events.pgfree += ended.pgfree;
		s->events.numa_hit += ended.numa_hit;
		s->events.numa_miss += ended.numa_miss;
		s->events.numa_foreign += ended.numa_foreign;
		z->numa_hit += ended.numa_hit;
		z->numa_miss += ended.numa_miss;
		z->numa_foreign += ended.numa_foreign;
	}
}

/* A counter that has been told. One that was read while its zone was neither there nor ended
 * stays where it was. */
static void never_back(_Atomic uint64_t *told, uint64_t *counter)
{
	uint64_t before = atomic_load(told);

	while (before < *counter && !atomic_compare_exchange_weak(told, &before, *counter))
		;
	*counter = max_t(uint64_t, before, *counter);
}

static void keep_told(struct text_events *e)
{
	static struct {
		_Atomic uint64_t pgalloc, pgfree, numa_hit, numa_miss, numa_foreign;
	} told;

	never_back(&told.pgalloc, &e->pgalloc_normal);
	never_back(&told.pgfree, &e->pgfree);
	never_back(&told.numa_hit, &e->numa_hit);
	never_back(&told.numa_miss, &e->numa_miss);
	never_back(&told.numa_foreign, &e->numa_foreign);
}

/* The daemon's own memory, pool 0, which is on no list of pools. */
static void add_own_zones(struct gather *g)
{
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone))
		if (zone->type == ZONE_NORMAL && zone->pool == 0)
			add_zone(g, zone);
}

/* ---- regions ---- */

static void add_region(struct gather *g, const struct pool_region *pr)
{
	const struct region *region = pr->region;
	uint64_t frames = region_frames_per_page(region);

	for (int node = 0; node < nr_nodes; node++) {
		uint64_t charged = atomic_load(&region->committed[node]);
		int64_t left = atomic_load(&region->quota[node]);
		uint64_t resident = (uint64_t)max_t(int64_t, (int64_t)charged - left, 0) * frames;
		struct text_zone *z = movable_zone(g->s, node);

		z->spanned += charged * frames;
		z->present += resident;
		z->managed += resident;
		add_frames(g, node, region->kind, resident);
		if (pr->name[0] != '\0')
			g->s->nodes[node].shmem += resident;
		else
			g->s->nodes[node].anon += resident;
		g->s->nodes[node].unevictable += atomic_load(&region->locked_on[node]) * frames;
	}
	g->s->memory.locked += atomic_load(&region->nr_locked) * frames;
	g->s->memory.page_tables += region_table_bytes(region) >> PAGE_SHIFT;
	g->swapped += atomic_load(&region->nr_swapped) * frames;
}

static void add_pool(struct pool *pool, void *arg)
{
	struct gather *g = arg;
	struct pool_region *pr;

	if (g->pool[0] != '\0' && !pool_has_name(pool, g->pool))
		return;
	g->found = true;
	g->max = memcg_limit(&pool->memcg, MEMCG_MAX);
	g->commit_limit = g->max;
	if (!atomic_load(&pool->memcg.overcommit))
		g->commit_limit = pool_commit_limit(pool) >> PAGE_SHIFT;
	g->committed = atomic_load(&pool->committed) >> PAGE_SHIFT;
	g->slots_max = memcg_limit(&pool->memcg, MEMCG_SWAP_MAX);
	g->slots += memcg_read(&pool->memcg, MEMCG_SWAP);
	g->used += memcg_read(&pool->memcg, MEMCG_TABLES);
	mutex_lock(&pool->lock);
	for (int node = 0; node < nr_nodes; node++) {
		if (pool->zones.normal[node])
			add_zone(g, pool->zones.normal[node]);
		g->s->nodes[node].active += atomic_load(&pool->memcg.lruvec[node].nr_active);
	}
	list_for_each_entry(pr, &pool->regions, link)
		add_region(g, pr);
	list_for_each_entry(pr, &pool->lingering, link)
		add_region(g, pr);
	mutex_unlock(&pool->lock);
}

/* ---- stocks and totals ---- */

static void add_stock(struct text_snapshot *s, int node, enum stock_kind kind)
{
	struct text_memory *m = &s->memory;
	struct stock_snapshot stock;

	if (!stock_snapshot(node, kind, &stock))
		return;
	m->total += stock.reserve;
	m->free += left_of(stock.reserve, stock.present);
	m->available += stock_available(node, kind);
	m->commit_limit += left_of(stock.reserve, stock.margin);
	m->committed += stock.committed;
	if (kind == STOCK_HUGE) {
		uint64_t free = left_of(stock.reserve, stock.present);

		m->huge_total += stock.reserve / PAGEBLOCK_PAGES;
		m->huge_free += free / PAGEBLOCK_PAGES;
		/* With swap more is promised than is free. */
		m->huge_reserved += min_t(uint64_t, left_of(stock.committed, stock.present), free) /
				    PAGEBLOCK_PAGES;
	}
}

static void add_nodes(struct text_snapshot *s)
{
	for (int node = 0; node < nr_nodes; node++) {
		struct text_node *n = &s->nodes[node];
		uint64_t evictable = left_of(n->anon + n->shmem, n->unevictable);

		/* Each was read at its own moment. */
		n->active = min_t(uint64_t, n->active, evictable);
		s->memory.anon += n->anon;
		s->memory.shmem += n->shmem;
		s->memory.hugetlb += n->hugetlb;
		s->memory.active += n->active;
		s->memory.inactive += evictable - n->active;
	}
}

/* Limits of one pool stand in for those of the stocks. */
static void narrow(struct gather *g)
{
	struct text_memory *m = &g->s->memory;

	g->s->of_pool = true;
	if (g->max && g->max != MEMCG_NO_LIMIT) {
		m->total = g->max;
		m->commit_limit = g->commit_limit;
	}
	m->committed = g->committed;
	m->free = min_t(uint64_t, m->free, left_of(m->total, g->used));
	m->available = min_t(uint64_t, m->available, left_of(m->commit_limit, g->committed));
	m->available = min_t(uint64_t, m->available, m->total);
	m->swap_total = min_t(uint64_t, m->swap_total, g->slots_max);
	m->swap_free = min_t(uint64_t, m->swap_free, left_of(m->swap_total, g->slots));
	m->huge_total = m->direct_2m / PAGEBLOCK_PAGES;
	m->huge_free = 0;
	m->huge_reserved = 0;
}

static void add_reclaim_events(struct text_events *e)
{
	const struct reclaim_stats *r = &reclaim_stats;

	e->allocstall_movable = atomic_load(&r->allocstall);
	e->pageoutrun = atomic_load(&r->pageoutrun);
	e->pswpin = atomic_load(&r->pswpin);
	e->pswpout = atomic_load(&r->pswpout);
	e->pgscan_kswapd = atomic_load(&r->pgscan_kswapd);
	e->pgscan_direct = atomic_load(&r->pgscan_direct);
	e->pgsteal_kswapd = atomic_load(&r->pgsteal_kswapd);
	e->pgsteal_direct = atomic_load(&r->pgsteal_direct);
	e->pgpgin = swap_io_stat.pages_in << (PAGE_SHIFT - 10);
	e->pgpgout = swap_io_stat.pages_out << (PAGE_SHIFT - 10);
	e->refault_anon = atomic_load(&r->workingset_refault_anon);
	e->activate_anon = atomic_load(&r->workingset_activate_anon);
	e->pgactivate = atomic_load(&r->pgactivate);
	e->pgdeactivate = atomic_load(&r->pgdeactivate);
	e->pglazyfree = atomic_load(&r->pglazyfree);
}

static void add_events(struct text_events *e)
{
	struct alloc_events alloc;

	alloc_events(&alloc);
	e->allocstall_normal = alloc.nr_stall;
	e->pgfault = atomic_load(&fault_stats.nr_faults);
	e->pgmajfault = atomic_load(&fault_stats.nr_major);
	e->oom_kill = atomic_load(&memcg_root()->events[MEMCG_EVENT_OOM_KILL]);
	add_reclaim_events(e);
	e->swap_ra = swap_io_stat.ahead;
	e->swap_ra_hit = swap_io_stat.ahead_hits;
}

/* -ENOENT: no pool of that name. */
static int fill(struct text_snapshot *s, const char *pool)
{
	struct gather g = { .s = s, .pool = pool, .found = pool[0] == '\0' };

	prepare(s);
	if (g.pool[0] == '\0') {
		add_ended(s);
		add_own_zones(&g);
	}
	pool_for_each(add_pool, &g);
	if (!g.found)
		return -ENOENT;
	add_nodes(s);
	for (int node = 0; node < nr_nodes; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++)
			add_stock(s, node, (enum stock_kind)kind);
	s->memory.swap_total = swap_capacity();
	s->memory.swap_free = swap_free_slots();
	s->memory.commit_limit += swap_promisable(s->memory.swap_total);
	s->memory.swap_cached = left_of(g.slots, g.swapped);
	if (pool[0] != '\0') {
		narrow(&g);
	} else {
		s->memory.slab = slab_bytes() >> PAGE_SHIFT;
		s->memory.page_tables = meta_window_bytes(META_WORDS) >> PAGE_SHIFT;
		add_events(&s->events);
		keep_told(&s->events);
	}
	s->memory.free += g.arena_free;
	s->memory.available += g.arena_free;
	return 0;
}

int report_text(enum report_text what, const char *pool, char **out, struct refusal *why)
{
	static void (*const formats[])(FILE *, const struct text_snapshot *) = {
		[TEXT_MEMINFO] = text_meminfo,   [TEXT_BUDDYINFO] = text_buddyinfo,
		[TEXT_ZONEINFO] = text_zoneinfo, [TEXT_PAGETYPEINFO] = text_pagetypeinfo,
		[TEXT_VMSTAT] = text_vmstat,
	};
	struct text_snapshot *s = calloc(1, sizeof(*s));
	size_t length;
	FILE *stream;
	int error;

	*out = NULL;
	if (!s)
		return refuse(why, -ENOMEM, "no memory for the report");
	error = fill(s, pool);
	if (error) {
		free(s);
		return report_no_pool(pool, why);
	}
	stream = open_memstream(out, &length);
	if (stream)
		formats[what](stream, s);
	free(s);
	if (!stream || fclose(stream) != 0) {
		free(*out);
		*out = NULL;
		return refuse(why, -ENOMEM, "no memory for the report");
	}
	return 0;
}
