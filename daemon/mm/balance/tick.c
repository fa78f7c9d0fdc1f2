/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tick - background work on zones and stocks
 *
 * Purpose     See tick.h.
 */
#include "mm/balance/tick.h"

#include "mm/phys/buddy.h"
#include "mm/phys/node.h"
#include "mm/phys/pcp.h"
#include "mm/phys/stock.h"
#include "mm/phys/zone_grow.h"

enum {
	GROW_BLOCKS_MAX = 64,   /* 128 MiB in one go */
	SHRINK_BLOCKS_MAX = 1024, /* 2 GiB a tick */
	KEEP_DIVISOR = 16,      /* of the granted pageblocks' number stays empty and present */
};

void balance_zone(struct zone *zone)
{
	enum grow_failure why;

	for (int i = 0; i < GROW_BLOCKS_MAX; i++)
		if (zone_watermark_ok(zone, 0, ALLOC_WMARK_HIGH) ||
		    zone_grow_to(zone, 0, WMARK_HIGH, &why))
			return;
}

/* Pageblocks to keep: some for what is in use, and what the high mark needs. */
static uint32_t blocks_to_keep(struct zone *zone)
{
	uint64_t managed = zone->managed, free = zone_free_pages_nr(zone);
	uint64_t granted = managed > free ? managed - free : 0;
	uint64_t keep = granted / PAGEBLOCK_PAGES / KEEP_DIVISOR;
	uint64_t mark = round_up(zone_wmark(zone, WMARK_HIGH), PAGEBLOCK_PAGES) >> PAGEBLOCK_ORDER;

	if (!granted)
		return 0;
	/* Pool 0 is nobody's: what it had at its peak isn't kept for the next one. */
	if (zone->section->type == SECTION_META)
		return zone_wmark(zone, WMARK_MIN) ? (uint32_t)mark : 0;
	keep = max_t(uint64_t, keep, 1);
	return (uint32_t)max_t(uint64_t, keep, mark);
}

/* No reason to keep pageblocks for high-order atomic requests. */
static void end_highatomic(struct zone *zone)
{
	mutex_lock(&zone->lock);
	while (unreserve_highatomic_locked(zone))
		;
	mutex_unlock(&zone->lock);
}

static uint64_t tick_zone(struct zone *zone)
{
	uint32_t empty, idle, keep, nr = 0;

	pcp_decay(zone);
	if (zone->boost) {
		balance_zone(zone);
		zone_end_boost(zone);
	}
	if (zone->nr_highatomic && zone_free_pages_nr(zone) == zone->managed)
		end_highatomic(zone);
	empty = zone_nr_empty_blocks(zone);
	idle = min_t(uint32_t, empty, zone->nr_empty_seen);
	keep = blocks_to_keep(zone);
	if (idle > keep)
		nr = zone_shrink(zone, empty - idle + keep, SHRINK_BLOCKS_MAX);
	zone->nr_empty_seen = zone_nr_empty_blocks(zone);
	return (uint64_t)nr << PAGEBLOCK_ORDER;
}

uint64_t balance_tick(void)
{
	uint64_t frames = 0;

	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone))
		if (zone->type == ZONE_NORMAL)
			frames += tick_zone(zone);
	stock_keep_credit();
	return frames;
}

bool balance_refill(unsigned int max_steps)
{
	bool more = false;

	for (int i = 0; i < nr_nodes * NR_STOCK_KINDS; i++) {
		enum stock_kind kind = (enum stock_kind)(i % NR_STOCK_KINDS);
		int             r = 0;

		while (max_steps && (r = stock_refill_step(i / NR_STOCK_KINDS, kind)) > 0)
			max_steps--;
		more |= r > 0;
	}
	return more;
}

bool balance_settle(unsigned int max_steps)
{
	bool more = false;

	for (int node = 0; node < nr_nodes && !more; node++)
		do
			more = stock_settle_step(node, STOCK_BASE);
		while (more && --max_steps);
	return more;
}

uint64_t balance_trim(struct zone *zone)
{
	pcp_drain_all(zone);
	end_highatomic(zone);
	return (uint64_t)zone_shrink(zone, 0, UINT32_MAX) << PAGEBLOCK_ORDER;
}
