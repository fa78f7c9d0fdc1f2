/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc - the way of an allocation: pageset, watermarks, growth, slow path
 *
 * Purpose     See alloc.h. A zone is tried above its low mark first and grown if it is below; only
 *             when no zone can grow are frames between the low and the min mark used. So a pool
 *             grows on its own node before it takes frames of a farther one.
 * After       __alloc_pages and __alloc_pages_slowpath of Linux, without reclaim.
 */
#include "mm/balance/alloc.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "mm/balance/alloc_failure.h"
#include "mm/phys/buddy.h"
#include "mm/phys/guard.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "os/os.h"

enum {
	RETRIES_DEFAULT = 1,  /* while draining gives something */
	RETRIES_RECLAIM = 16, /* while pages of regions go; each is one walk for what is missing */
	RETRIES_MAYFAIL = 16, /* MAX_RECLAIM_RETRIES */
	GROW_STEPS_MAX = 64,  /* to get above a mark; each step moves the mark by 1/256 of itself */
	WAIT_NS_MIN = 250000, /* doubled up to 16 ms */
};

/* What a request means, found once. */
struct alloc_context {
	const struct alloc_request *request;
	enum migratetype            type;
	unsigned int                flags;    /* ALLOC_*, without a mark */
	bool                        may_wait; /* grow, drain, sleep */
	bool                        leaves;   /* others wait for the caller */
	uint32_t                    nr_zones;
	struct zone                *zones[MAX_NUMNODES]; /* nearest first */
	enum grow_failure           why[MAX_NUMNODES]; /* of each zone's last growth */
};

static _Atomic(balance_low_fn) low_hook;
static _Atomic(balance_reclaim_fn) reclaim_hook;
static struct {
	_Atomic uint64_t nr_slow, nr_stall, nr_failed, nr_holes;
} counters;

void balance_set_low_hook(balance_low_fn hook)
{
	atomic_store(&low_hook, hook);
}

void alloc_events(struct alloc_events *out)
{
	*out = (struct alloc_events){
		.nr_slow = counters.nr_slow,
		.nr_stall = counters.nr_stall,
		.nr_failed = counters.nr_failed,
		.nr_holes = counters.nr_holes,
	};
}

static bool is_sane(const struct alloc_request *request)
{
	uint32_t both = GFP_MOVABLE | GFP_RECLAIMABLE;
	uint32_t no_wait = request->gfp & (GFP_NOWAIT | GFP_ATOMIC);
	uint32_t retry = request->gfp & (GFP_NORETRY | GFP_RETRY_MAYFAIL | GFP_NOFAIL);

	if (request->order > MAX_ORDER || (request->gfp & ~(uint32_t)GFP_ALL))
		return false;
	if (request->node < 0 || request->node >= nr_nodes)
		return false;
	if ((request->gfp & both) == both || (retry & (retry - 1)))
		return false;
	return !(no_wait && (request->gfp & GFP_NOFAIL));
}

static void find_zones(struct alloc_context *ac)
{
	const struct alloc_request *request = ac->request;
	enum zonelist_kind          kind = request->gfp & GFP_THISNODE ? ZONELIST_NOFALLBACK
								       : ZONELIST_FALLBACK;
	const struct zonelist      *list = node_zonelist(request->node, kind);

	for (uint32_t i = 0; i < list->nr; i++) {
		int          node = list->nodes[i];
		struct zone *zone = request->zones->normal[node];

		if (zone && (!request->nodes || request->nodes & 1ull << node))
			ac->zones[ac->nr_zones++] = zone;
	}
}

static enum alloc_failure_kind prepare(const struct alloc_request *request,
				       struct alloc_context *ac)
{
	if (!is_sane(request))
		return ALLOC_FAILED_REQUEST;
	ac->request = request;
	ac->nr_zones = 0;
	memset(ac->why, 0, sizeof(ac->why)); /* GROW_OK */
	ac->type = MIGRATE_UNMOVABLE;
	ac->flags = 0;
	ac->leaves = false;
	if (request->gfp & GFP_MOVABLE) {
		ac->type = MIGRATE_MOVABLE;
		ac->flags |= ALLOC_CMA;
	}
	if (request->gfp & GFP_RECLAIMABLE)
		ac->type = MIGRATE_RECLAIMABLE;
	if (request->gfp & GFP_ATOMIC)
		ac->flags |= ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK |
			     (request->order ? ALLOC_HIGHATOMIC : 0);
	ac->may_wait = !(request->gfp & (GFP_NOWAIT | GFP_ATOMIC));
	find_zones(ac);
	return ac->nr_zones ? ALLOC_FAILED_NOT : ALLOC_FAILED_NODES;
}

static void count_numa(const struct alloc_context *ac, struct zone *zone)
{
	struct zone *wanted = ac->request->zones->normal[ac->request->node];

	if (likely(zone == wanted))
		return;
	atomic_fetch_add(&zone->numa_miss, 1);
	if (wanted)
		atomic_fetch_add(&wanted->numa_foreign, 1);
}

/* Grows the nth zone until a block can be taken above the mark; false when it can't be had. */
static bool grow_until_ok(struct alloc_context *ac, uint32_t n, enum zone_watermark mark)
{
	unsigned int order = ac->request->order;
	struct zone *zone = ac->zones[n];

	for (int i = 0; i < GROW_STEPS_MAX; i++) {
		if (zone_grow_to(zone, order, mark, &ac->why[n]))
			return false;
		if (zone_watermark_ok(zone, order, ac->flags | (unsigned int)mark))
			return true;
	}
	return false;
}

/* From the nearest zone that is, or with `grow` can be brought, above the mark. */
static struct page *get_page_from_freelist(struct alloc_context *ac, enum zone_watermark mark,
					   bool grow)
{
	unsigned int order = ac->request->order;

	for (uint32_t i = 0; i < ac->nr_zones; i++) {
		struct zone *zone = ac->zones[i];
		struct page *page;

		if (!zone_watermark_ok(zone, order, ac->flags | (unsigned int)mark) &&
		    !(grow && grow_until_ok(ac, i, mark)))
			continue;
		page = rmqueue(zone, order, ac->type, ac->flags);
		if (page) {
			count_numa(ac, zone);
			return page;
		}
	}
	return NULL;
}

static void wake_background(struct alloc_context *ac)
{
	balance_low_fn hook = atomic_load(&low_hook);

	for (uint32_t i = 0; hook && i < ac->nr_zones; i++)
		hook(ac->zones[i]);
}

/* Frames that lie where the request can't see them come back to the free areas. */
static uint64_t drain(struct alloc_context *ac)
{
	uint64_t frames = 0;

	for (uint32_t i = 0; i < ac->nr_zones; i++) {
		struct zone *zone = ac->zones[i];

		frames += pcp_drain_all(zone);
		mutex_lock(&zone->lock);
		frames += unreserve_highatomic_locked(zone);
		mutex_unlock(&zone->lock);
	}
	return frames;
}

/* Waits a little for others to free; false at the deadline. */
static bool wait_for_frees(const struct alloc_request *request, unsigned int attempt)
{
	unsigned int    doublings = min_t(unsigned int, attempt, 6);
	struct timespec wait = { 0, WAIT_NS_MIN << doublings };

	if ((request->gfp & GFP_NOFAIL) && os->now_ns() >= request->deadline_ns)
		return false;
	atomic_fetch_add(&counters.nr_stall, 1);
	nanosleep(&wait, NULL);
	return true;
}

/* retries: so many are worth it where the flags say nothing else */
static bool should_retry(struct alloc_context *ac, unsigned int attempt, unsigned int retries)
{
	uint32_t gfp = ac->request->gfp;

	if (gfp & GFP_NORETRY)
		return false;
	if (gfp & GFP_NOFAIL)
		return wait_for_frees(ac->request, attempt);
	if (gfp & GFP_RETRY_MAYFAIL)
		return attempt < RETRIES_MAYFAIL && wait_for_frees(ac->request, attempt / 4);
	return attempt < retries;
}

void balance_set_reclaim_hook(balance_reclaim_fn hook)
{
	atomic_store(&reclaim_hook, hook);
}

/* Helps where the stock has promised the frames, but is full of pages that can be evicted. */
static uint64_t reclaim_stock(int node, enum stock_kind kind, uint64_t frames)
{
	balance_reclaim_fn hook = atomic_load(&reclaim_hook);

	if (!hook || node < 0 || stock_available(node, kind) < frames)
		return 0;
	return hook(node, kind, frames);
}

/* Room for the next growth. The struct pages come from a stock of their own, or from the same one,
 * which must then have room for both at a time. */
static uint64_t reclaim_for_growth(struct zone *zone, unsigned int order, enum grow_failure why)
{
	enum stock_kind kind = zone->section->kind;
	uint64_t        frames = max_t(uint64_t, 1ull << order, PAGEBLOCK_PAGES);
	uint64_t        meta = frames * sizeof(struct page) / PAGE_SIZE;
	int             meta_node = stock_metadata_node();
	bool            one_stock = kind == STOCK_BASE && zone->node == meta_node;

	/* It may have to grow past its mark, too. */
	if (why == GROW_POOL && zone->charge && zone->charge->reclaim)
		return zone->charge->reclaim(zone->charge_arg, frames + PAGEBLOCK_PAGES);
	if (!zone->pool)
		return 0;
	if (one_stock && (why == GROW_COMMIT || why == GROW_META))
		return reclaim_stock(meta_node, STOCK_BASE, frames + meta);
	if (why == GROW_COMMIT)
		return reclaim_stock(zone->node, kind, frames);
	return why == GROW_META ? reclaim_stock(meta_node, STOCK_BASE, meta) : 0;
}

/* For the nearest zone that this helps. */
static uint64_t reclaim(struct alloc_context *ac)
{
	uint64_t frames = 0;

	for (uint32_t i = 0; i < ac->nr_zones && !frames; i++)
		frames = reclaim_for_growth(ac->zones[i], ac->request->order, ac->why[i]);
	return frames;
}

static struct page *alloc_slow(struct alloc_context *ac)
{
	struct page *page;

	atomic_fetch_add(&counters.nr_slow, 1);
	wake_background(ac);
	page = get_page_from_freelist(ac, WMARK_MIN, false);
	if (page || !ac->may_wait)
		return page;
	for (unsigned int attempt = 0;; attempt++) {
		unsigned int retries = drain(ac) ? RETRIES_DEFAULT : 0;

		if (reclaim(ac))
			retries = RETRIES_RECLAIM;
		page = get_page_from_freelist(ac, WMARK_MIN, true);
		if (page || !should_retry(ac, attempt, retries))
			return page;
		ac->leaves = ac->request->others_wait && ac->request->others_wait();
		if (ac->leaves)
			return NULL;
	}
}

/* The block reads zero, or is free again. A client may have punched its frames: they are ours to
 * replace. */
static int zero_block(struct page *page, unsigned int order)
{
	struct zone                  *zone = page_zone(page);
	struct stock_populate_request refill = {
		.section = zone->section,
		.offset = section_offset(zone->section, page_to_pfn(page)),
		.length = (uint64_t)PAGE_SIZE << order,
		.node = zone->node,
	};
	int r = guarded_zero(page_to_virt(page), refill.length);

	if (likely(!r))
		return 0;
	atomic_fetch_add(&counters.nr_holes, 1);
	if (zone->section->kind == STOCK_HUGE) {
		uint64_t end = round_up(refill.offset + refill.length, PAGEBLOCK_SIZE);

		refill.offset = round_down(refill.offset, PAGEBLOCK_SIZE);
		refill.length = end - refill.offset;
	}
	r = stock_populate(&refill);
	if (!r)
		r = guarded_zero(page_to_virt(page), (uint64_t)PAGE_SIZE << order);
	if (r)
		free_pages(page, order);
	return r;
}

static int finish(const struct alloc_context *ac, struct page *page)
{
	page_set_owner(page, ac->request->session, ac->request->pool);
	return ac->request->gfp & GFP_ZERO ? zero_block(page, ac->request->order) : 0;
}

/* The calling CPU's pageset of the nearest zone. */
static struct page *try_pageset(const struct alloc_context *ac)
{
	struct pcp_want want = pcp_want_of(ac->zones[0], ac->request->order, ac->type);

	return ac->flags & ALLOC_HIGHATOMIC ? NULL : pcp_alloc_hit(&want);
}

static int fail_in(const struct alloc_context *ac, const struct zone *zone,
		   enum alloc_failure_kind kind)
{
	atomic_fetch_add(&counters.nr_failed, 1);
	if (ac->request->failure)
		alloc_failure_fill(ac->request->failure, ac->request, zone, kind);
	return kind == ALLOC_FAILED_REQUEST ? -EINVAL : -ENOMEM;
}

static int fail(const struct alloc_context *ac, enum alloc_failure_kind kind)
{
	return fail_in(ac, ac->nr_zones ? ac->zones[0] : NULL, kind);
}

/* The nearest zone that couldn't grow says why, with its own figures. */
static int fail_to_grow(const struct alloc_context *ac)
{
	uint32_t n = 0;

	while (n < ac->nr_zones && ac->why[n] == GROW_OK)
		n++;
	n = n < ac->nr_zones ? n : 0;
	return fail_in(ac, ac->zones[n], alloc_failure_of(ac->may_wait, ac->why[n]));
}

static int alloc_one(struct alloc_context *ac, bool slow, struct page **out)
{
	struct page *page = try_pageset(ac);

	if (!page)
		page = get_page_from_freelist(ac, ac->request->to_min ? WMARK_MIN : WMARK_LOW,
					      ac->may_wait && !ac->request->at_once);
	if (!page && ac->request->at_once)
		return -EAGAIN;
	if (!page && slow)
		page = alloc_slow(ac);
	if (!page && ac->leaves)
		return -EAGAIN;
	if (!page)
		return fail_to_grow(ac);
	if (finish(ac, page))
		return fail(ac, ALLOC_FAILED_HOST);
	*out = page;
	return 0;
}

int alloc_pages_bulk(const struct alloc_request *request, unsigned int nr, struct page **pages)
{
	struct alloc_context    ac;
	enum alloc_failure_kind kind = prepare(request, &ac);
	unsigned int            got = 0;
	int                     r = INJECT(ALLOC_PAGES);

	if (kind != ALLOC_FAILED_NOT) {
		ac.request = request;
		ac.nr_zones = 0;
		return fail(&ac, kind);
	}
	if (r) {
		fail(&ac, ALLOC_FAILED_INJECTED);
		return r;
	}
	while (got < nr) {
		r = alloc_one(&ac, got == 0, &pages[got]);
		if (r)
			break;
		got++;
	}
	return got ? (int)got : r;
}

int alloc_pages_miss(const struct alloc_request *request, struct page **out)
{
	int r = alloc_pages_bulk(request, 1, out);

	return r < 0 ? r : 0;
}
