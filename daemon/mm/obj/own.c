/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own - the way to a block of pool 0: above the mark, after growing, out of the reserve
 *
 * Purpose     See own.h.
 * Locking     zones[] is fixed before the first allocation.
 */
#include "mm/obj/own.h"

#include <string.h>

#include "base/inject.h"
#include "mm/phys/buddy.h"
#include "mm/phys/node.h"
#include "mm/phys/zone_grow.h"

static struct zone *zones[MAX_NUMNODES]; /* c: fixed */
static int          nr_zones;            /* c: fixed; no zone from this node on */

void own_set_zone(int node, struct zone *zone)
{
	zones[node] = zone;
	for (nr_zones = MAX_NUMNODES; nr_zones && !zones[nr_zones - 1];)
		nr_zones--;
}

struct zone *own_zone(int node)
{
	return zones[node];
}

bool own_has_pfn(uint64_t pfn)
{
	for (int node = 0; node < nr_zones; node++)
		if (zones[node] && zone_has_pfn(zones[node], pfn))
			return block_is_present(pfn_to_block((uint32_t)pfn));
	return false;
}

static struct page *take(struct zone *zone, unsigned int order, unsigned int flags)
{
	struct page *page;

	if (!zone_watermark_ok(zone, order, flags))
		return NULL;
	mutex_lock(&zone->lock);
	page = buddy_alloc_locked(zone, order, MIGRATE_UNMOVABLE, flags);
	if (page) {
		page_set_owner(page, 0, 0);
		pg_store(page, pg_word(PG_ALLOCATED, order, MIGRATE_UNMOVABLE));
		zone->events.pgalloc += 1u << order;
		zone->events.nr_direct++;
	}
	mutex_unlock(&zone->lock);
	return page;
}

static struct page *take_growing(struct zone *zone, unsigned int order, uint32_t gfp)
{
	struct page      *page = take(zone, order, ALLOC_WMARK_MIN);
	enum grow_failure why;

	while (!page && !(gfp & (GFP_NOWAIT | GFP_ATOMIC)) &&
	       !zone_grow_to(zone, order, WMARK_MIN, &why))
		page = take(zone, order, ALLOC_WMARK_MIN);
	return page;
}

struct page *own_alloc(int node, unsigned int order, uint32_t gfp, int *from)
{
	enum zonelist_kind     kind = gfp & GFP_THISNODE ? ZONELIST_NOFALLBACK : ZONELIST_FALLBACK;
	const struct zonelist *list = node_zonelist(node, kind);
	struct page           *page = NULL;

	if (order > MAX_ORDER || INJECT(SLAB_PAGES))
		return NULL;
	for (uint32_t i = 0; i < list->nr && !page; i++) {
		*from = list->nodes[i];
		if (zones[*from])
			page = take_growing(zones[*from], order, gfp);
	}
	/* All of the zone is the daemon's own: what the mark keeps is kept for just this. */
	for (uint32_t i = 0; i < list->nr && !page && !(gfp & GFP_NOWAIT); i++) {
		*from = list->nodes[i];
		if (zones[*from])
			page = take(zones[*from], order, ALLOC_NO_WATERMARKS);
	}
	if (page && (gfp & GFP_ZERO))
		memset(page_to_virt(page), 0, (size_t)PAGE_SIZE << order);
	return page;
}

void own_free(struct page *page, unsigned int order)
{
	struct zone *zone = page_zone(page);

	CHECK((pg_load(page) & 0xff) == pg_word(PG_ALLOCATED, order, (enum migratetype)0));
	mutex_lock(&zone->lock);
	buddy_free_locked(zone, page, order);
	zone->events.pgfree += 1u << order;
	mutex_unlock(&zone->lock);
}

uint64_t own_present(void)
{
	uint64_t frames = 0;

	for (int node = 0; node < nr_zones; node++)
		if (zones[node])
			frames += atomic_load(&zones[node]->present);
	return frames;
}
