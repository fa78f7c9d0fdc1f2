/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_ahead - made when wanted, handed over whole, given back when it isn't
 *
 * Locking     see arena_ahead.h.
 */
#include "client/arena_ahead.h"

#include <errno.h>
#include <stdio.h>

#include "base/lock.h"
#include "client/address.h"
#include "client/pool.h"
#include "mm/obj/slab.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "mm/phys/zone_grow.h"
#include "os/os.h"

enum {
	SMALL_PART = 128, /* A1 */
	PART_TO_MAKE = 8,
	PART_TO_KEEP = 16,
};
static const uint64_t unwanted_ns = 60 * 1000000000ull;

/* l: lock   a: atomic   p: its thread */
static struct {
	struct mutex lock;
	bool kept;                                /* (l) */
	uint64_t nodes;                           /* (l) bit n: one is to be made on node n */
	uint64_t wanted_ns;                       /* (l) last */
	struct arena_ahead *ready[MAX_NUMNODES];  /* (l) */
	_Atomic uint64_t bytes;                   /* (a) */
	struct work work;                         /* (p) */
} ahead;

/* Most processes have no more objects. */
enum { ARENA_LEAD = 16 * PAGEBLOCK_SIZE };

/* Its pageblock, and the first page of its slab map. */
enum { ARENA_AHEAD_BYTES = PAGEBLOCK_SIZE + PAGE_SIZE };

/* ---- plans ---- */

bool arena_plan(int node, uint64_t max, struct arena_plan *out)
{
	struct stock_snapshot stock;

	/* Arenas are hugepage-backed where the node has such a stock. */
	*out = (struct arena_plan){ .node = node, .kind = STOCK_HUGE };
	if (!stock_snapshot(node, STOCK_HUGE, &stock)) {
		out->kind = STOCK_BASE;
		if (!stock_snapshot(node, STOCK_BASE, &stock))
			return false;
	}
	out->nr_frames = round_up(max_t(uint64_t, min_t(uint64_t, stock.reserve, max), 1),
				  PAGEBLOCK_PAGES << 1);
	return true;
}

int arena_reserve(const struct arena_plan *plan, struct range *window)
{
	uint64_t bytes = plan->nr_frames << PAGE_SHIFT;
	uint64_t align = PAGEBLOCK_SIZE << 1;

	if (plan->kind == STOCK_HUGE)
		return address_alloc_early(window, bytes, align, ARENA_LEAD);
	return address_alloc(window, bytes, align);
}

int arena_section(const struct arena_plan *plan, const struct section_request *request,
		  struct section **out)
{
	struct section_request want = *request;

	want.kind = plan->kind;
	want.type = SECTION_ARENA;
	want.node = plan->node;
	want.nr_frames = plan->nr_frames;
	want.map = true;
	return section_add(&want, out);
}

/* ---- making ---- */

/* Has the node so much to spare? */
static bool affords(const struct arena_plan *plan, uint64_t part)
{
	uint64_t limit = stock_limit(plan->node, plan->kind);

	return limit / SMALL_PART >= PAGEBLOCK_PAGES &&
	       stock_available(plan->node, plan->kind) > limit / part;
}

static int make_parts(const struct arena_plan *plan, struct arena_ahead *a)
{
	char name[SECTION_NAME_BYTES];
	int r = arena_reserve(plan, &a->window);

	if (r)
		return r;
	snprintf(name, sizeof(name), "arena-ahead-%d", plan->node);
	r = arena_section(plan, &(struct section_request){ .name = name, .owner = a },
			  &a->section);
	if (!r)
		r = slab_map_new(a->section, 0, &a->map);
	if (!r)
		r = slab_map_lease(a->map, a->section->pfn, 1);
	if (!r) {
		slab_map_return(a->map, a->section->pfn);
		r = zone_block_ahead(a->section, plan->kind == STOCK_BASE);
	}
	if (!r)
		atomic_fetch_add(&ahead.bytes, ARENA_AHEAD_BYTES);
	return r;
}

static void free_parts(struct arena_ahead *a)
{
	if (a->map)
		slab_map_free(a->map);
	if (a->section)
		section_remove(a->section);
	address_free(&a->window);
	kfree(a);
}

void arena_ahead_discard(struct arena_ahead *a)
{
	zone_block_drop(a->section);
	free_parts(a);
	atomic_fetch_sub(&ahead.bytes, ARENA_AHEAD_BYTES);
}

/* True: it is there for the next one. */
static bool put(int node, struct arena_ahead *a)
{
	bool wanted;

	mutex_lock(&ahead.lock);
	wanted = ahead.kept && !ahead.ready[node];
	if (wanted)
		ahead.ready[node] = a;
	mutex_unlock(&ahead.lock);
	return wanted;
}

static struct arena_ahead *take_out(int node)
{
	struct arena_ahead *a;

	mutex_lock(&ahead.lock);
	a = ahead.ready[node];
	ahead.ready[node] = NULL;
	mutex_unlock(&ahead.lock);
	return a;
}

static void make(int node)
{
	struct arena_plan plan;
	struct arena_ahead *a;

	if (!arena_plan(node, UINT64_MAX, &plan) || !affords(&plan, PART_TO_MAKE))
		return;
	a = kzalloc(sizeof(*a), GFP_KERNEL);
	if (!a)
		return;
	if (make_parts(&plan, a))
		free_parts(a);
	else if (!put(node, a))
		arena_ahead_discard(a);
}

static void make_wanted(struct work *unused)
{
	uint64_t nodes;

	mutex_lock(&ahead.lock);
	nodes = ahead.nodes;
	ahead.nodes = 0;
	mutex_unlock(&ahead.lock);
	for (; nodes; nodes &= nodes - 1)
		make(__builtin_ctzll(nodes));
	(void)unused;
}

void arena_ahead_want(int node)
{
	bool wanted;

	mutex_lock(&ahead.lock);
	wanted = ahead.kept && !ahead.ready[node];
	if (wanted)
		ahead.nodes |= 1ull << node;
	ahead.wanted_ns = os->now_ns();
	mutex_unlock(&ahead.lock);
	if (wanted)
		pools_work(&ahead.work);
}

/* ---- taking, and giving back ---- */

struct arena_ahead *arena_ahead_take(const struct arena_plan *plan)
{
	struct arena_ahead *a;

	mutex_lock(&ahead.lock);
	a = ahead.ready[plan->node];
	if (a && (a->section->nr_frames != plan->nr_frames || a->section->kind != plan->kind))
		a = NULL;
	if (a)
		ahead.ready[plan->node] = NULL;
	mutex_unlock(&ahead.lock);
	return a;
}

bool arena_ahead_is_ready(int node)
{
	bool ready;

	mutex_lock(&ahead.lock);
	ready = ahead.ready[node];
	mutex_unlock(&ahead.lock);
	return ready;
}

void arena_ahead_taken(struct arena_ahead *a)
{
	kfree(a);
	atomic_fetch_sub(&ahead.bytes, ARENA_AHEAD_BYTES);
}

uint64_t arenas_ahead_bytes(void)
{
	return atomic_load(&ahead.bytes);
}

bool arenas_ahead_drop(void)
{
	bool any = false;

	for (int node = 0; node < nr_nodes; node++) {
		struct arena_ahead *a = take_out(node);

		if (!a)
			continue;
		arena_ahead_discard(a);
		any = true;
	}
	return any;
}

void arenas_ahead_tick(void)
{
	struct arena_plan plan;
	bool unwanted = false;

	mutex_lock(&ahead.lock);
	unwanted = os->now_ns() - ahead.wanted_ns > unwanted_ns;
	mutex_unlock(&ahead.lock);
	for (int node = 0; node < nr_nodes; node++) {
		struct arena_ahead *a;

		if (!unwanted && arena_plan(node, UINT64_MAX, &plan) &&
		    affords(&plan, PART_TO_KEEP))
			continue;
		a = take_out(node);
		if (a)
			arena_ahead_discard(a);
	}
}

void arenas_ahead_keep(bool keep)
{
	mutex_lock(&ahead.lock);
	ahead.kept = keep;
	mutex_unlock(&ahead.lock);
	if (!keep)
		arenas_ahead_drop();
}

void arenas_ahead_init(void)
{
	mutex_init(&ahead.lock, RANK_LEAF, "arenas ahead");
	work_init(&ahead.work, make_wanted);
	ahead.kept = false;
	ahead.nodes = 0;
}

void arenas_ahead_fini(void)
{
	arenas_ahead_keep(false);
	mutex_fini(&ahead.lock);
}

static void validate_one(const struct arena_ahead *a, struct validation *v)
{
	const struct section *section = a->section;

	validation_compare(v, 0, section_records[section->id].owner_id,
			   "owner of section %u, made ahead", section->id);
	validation_expect(v, !block_is_present(pfn_to_block(section->pfn)),
			  "the pageblock of section %u is in no zone", section->id);
	validation_compare(v, PAGEBLOCK_SIZE, (uint64_t)os->allocated(section->fd),
			   "bytes in the file of section %u, made ahead", section->id);
	validation_compare(v, 0, a->map->nr_used, "slab map pages in use, of section %u",
			   section->id);
	slab_map_validate(a->map, v);
}

void arenas_ahead_validate(struct validation *v)
{
	for (int node = 0; node < nr_nodes; node++) {
		struct arena_ahead *a = take_out(node);

		if (!a)
			continue;
		validate_one(a, v);
		if (!put(node, a))
			arena_ahead_discard(a);
	}
}
