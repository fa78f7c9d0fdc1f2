/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_grow - charge, commit, take, populate; and all of it backwards
 *
 * Purpose     See zone_grow.h.
 * Invariants  A failure at any step leaves every counter as it was.
 */
#include "mm/phys/zone_grow.h"

#include <errno.h>

#include "base/inject.h"
#include "base/log.h"
#include "mm/phys/buddy.h"
#include "mm/phys/stock.h"
#include "os/os.h"

/* Frames granted, and an eighth more, fit below this pfn: what is freed there is used first. */
static void set_packing_locked(struct zone *zone)
{
	uint64_t granted = zone->managed - zone->nr_free;
	uint64_t below = zone->start_pfn + round_up(granted + granted / 8, PAGEBLOCK_PAGES);

	zone->pack_below = (uint32_t)min_t(uint64_t, below, zone->end_pfn);
}

/* Lowest run of nr absent pageblocks, aligned to nr (1 or 2); the zone's end if there is none. */
static uint32_t find_absent(struct zone *zone, uint32_t nr)
{
	uint32_t end = pfn_to_block(zone->end_pfn), block;

	while (zone->absent_hint < end && block_is_present(zone->absent_hint))
		zone->absent_hint++;
	for (block = (uint32_t)round_up(zone->absent_hint, nr); block + nr <= end; block += nr)
		if (!block_is_present(block) && !block_is_present(block + nr - 1))
			return block;
	return end;
}

/* Who pays, outermost first. */
static int charge_frames(struct zone *zone, uint64_t frames, enum grow_failure *why)
{
	enum stock_kind kind = zone->section->kind;
	int             r = 0;

	*why = GROW_POOL;
	if (zone->charge)
		r = zone->charge->charge(zone->charge_arg, frames);
	if (r)
		return r;
	*why = GROW_COMMIT;
	r = (zone->pool ? stock_commit : stock_commit_own)(zone->node, kind, frames);
	if (r)
		goto out_charge;
	r = (zone->pool ? stock_take_fixed : stock_take)(zone->node, kind, frames);
	if (!r)
		return 0;
	stock_uncommit(zone->node, kind, frames);
out_charge:
	if (zone->charge)
		zone->charge->uncharge(zone->charge_arg, frames);
	return r;
}

static void uncharge_frames(struct zone *zone, uint64_t frames)
{
	stock_put(zone->node, zone->section->kind, frames);
	stock_uncommit(zone->node, zone->section->kind, frames);
	if (zone->charge)
		zone->charge->uncharge(zone->charge_arg, frames);
}

/* Memory behind frames and their struct pages; nothing stays on failure. */
static int populate(const struct stock_populate_request *request, enum grow_failure *why)
{
	uint64_t pfn = request->section->pfn + (request->offset >> PAGE_SHIFT);
	uint64_t nr = request->length >> PAGE_SHIFT;
	int      r;

	*why = GROW_META;
	r = meta_populate(META_VMEMMAP, pfn, nr);
	if (r)
		return r;
	*why = GROW_HOST;
	r = stock_populate(request);
	if (!r)
		return 0;
	os->punch(request->section->fd, request->offset, request->length);
	meta_release(META_VMEMMAP, pfn, nr);
	return r;
}

static int populate_frames(struct zone *zone, uint32_t pfn, uint32_t nr, enum grow_failure *why)
{
	struct stock_populate_request request = {
		.section = zone->section,
		.offset = section_offset(zone->section, pfn),
		.length = (uint64_t)nr << PAGE_SHIFT,
		.node = zone->node,
		.huge = zone->huge,
	};

	return populate(&request, why);
}

static void add_blocks(struct zone *zone, uint32_t block, uint32_t nr)
{
	uint32_t pfn = block_to_pfn(block);

	for (uint32_t i = 0; i < nr << PAGEBLOCK_ORDER; i++)
		pfn_to_page(pfn + i)->zone_id = zone->id;
	mutex_lock(&zone->lock);
	for (uint32_t i = 0; i < nr; i++)
		buddy_add_block_locked(zone, block + i);
	atomic_fetch_add(&zone->present, (uint64_t)nr << PAGEBLOCK_ORDER);
	atomic_fetch_add(&zone->managed, (uint64_t)nr << PAGEBLOCK_ORDER);
	zone->events.nr_grown += nr;
	zone_set_watermarks_locked(zone);
	set_packing_locked(zone);
	mutex_unlock(&zone->lock);
	zone->top_block = max_t(uint32_t, zone->top_block, block + nr);
}

static int grow_blocks(struct zone *zone, uint32_t nr, enum grow_failure *why)
{
	uint32_t frames = nr << PAGEBLOCK_ORDER;
	uint32_t block = find_absent(zone, nr);
	int      r;

	*why = GROW_FULL;
	if (block == pfn_to_block(zone->end_pfn))
		return -ENOSPC;
	r = charge_frames(zone, frames, why);
	if (r)
		return r;
	r = populate_frames(zone, block_to_pfn(block), frames, why);
	if (r) {
		uncharge_frames(zone, frames);
		return r;
	}
	add_blocks(zone, block, nr);
	*why = GROW_OK;
	return 0;
}

int zone_grow(struct zone *zone, unsigned int order, enum grow_failure *why)
{
	int r = INJECT(ZONE_GROW);

	*why = GROW_INJECTED;
	if (r)
		return r;
	mutex_lock(&zone->grow);
	r = grow_blocks(zone, order > PAGEBLOCK_ORDER ? 2 : 1, why);
	mutex_unlock(&zone->grow);
	return r;
}

int zone_grow_to(struct zone *zone, unsigned int order, enum zone_watermark mark,
		 enum grow_failure *why)
{
	int r = INJECT(ZONE_GROW);

	*why = GROW_INJECTED;
	if (r)
		return r;
	*why = GROW_OK;
	mutex_lock(&zone->grow);
	if (!zone_watermark_ok(zone, order, (unsigned int)mark))
		r = grow_blocks(zone, order > PAGEBLOCK_ORDER ? 2 : 1, why);
	mutex_unlock(&zone->grow);
	return r;
}

/* ---- the first pageblock of a section that has no zone yet ---- */

static void uncommit_block(const struct section *section)
{
	stock_put(section->node, section->kind, PAGEBLOCK_PAGES);
	stock_uncommit(section->node, section->kind, PAGEBLOCK_PAGES);
}

/* So that whoever adds them to a zone needn't wait for eight page faults. */
static void touch_pages(uint32_t pfn)
{
	for (uint32_t i = 0; i < PAGEBLOCK_PAGES; i += PAGE_SIZE / sizeof(struct page))
		pfn_to_page(pfn + i)->zone_id = 0;
}

int zone_block_ahead(struct section *section, bool huge)
{
	struct stock_populate_request request = {
		.section = section,
		.length = PAGEBLOCK_SIZE,
		.node = section->node,
		.huge = huge,
	};
	enum grow_failure why;
	int               r = stock_commit(section->node, section->kind, PAGEBLOCK_PAGES);

	if (r)
		return r;
	r = stock_take_fixed(section->node, section->kind, PAGEBLOCK_PAGES);
	if (r) {
		stock_uncommit(section->node, section->kind, PAGEBLOCK_PAGES);
		return r;
	}
	r = populate(&request, &why);
	if (r)
		uncommit_block(section);
	else
		touch_pages(section->pfn);
	return r;
}

void zone_block_drop(struct section *section)
{
	int r = os->punch(section->fd, 0, PAGEBLOCK_SIZE);

	CHECK(!r);
	meta_release(META_VMEMMAP, section->pfn, PAGEBLOCK_PAGES);
	uncommit_block(section);
}

void zone_block_adopt(struct zone *zone)
{
	mutex_assert_held(&zone->grow);
	if (zone->charge && zone->charge->charge(zone->charge_arg, PAGEBLOCK_PAGES))
		zone_block_drop(zone->section);
	else
		add_blocks(zone, pfn_to_block(zone->start_pfn), 1);
}

/* ---- shrinking ---- */

/* Takes the highest empty pageblock below *top out of the buddy; false if there is none. */
static bool isolate_top_block(struct zone *zone, uint32_t *top)
{
	uint32_t start = pfn_to_block(zone->start_pfn);
	bool     found = false;

	mutex_lock(&zone->lock);
	while (*top > start && !found)
		found = buddy_remove_block_locked(zone, --*top);
	if (found) {
		atomic_fetch_sub(&zone->present, PAGEBLOCK_PAGES);
		atomic_fetch_sub(&zone->managed, PAGEBLOCK_PAGES);
		zone->events.nr_shrunk++;
		zone_set_watermarks_locked(zone);
	}
	mutex_unlock(&zone->lock);
	return found;
}

/* Gives an isolated pageblock back. False: the host refused, and it is in the buddy again. */
static bool release_block(struct zone *zone, uint32_t block)
{
	uint32_t pfn = block_to_pfn(block);
	int      r = os->punch(zone->section->fd, section_offset(zone->section, pfn),
			       PAGEBLOCK_SIZE);

	if (r) {
		log_emit_limited(LOG_WARNING, "zone_shrink", "punching pageblock %u: error %d",
				 block, -r);
		mutex_lock(&zone->lock);
		zone->events.nr_shrunk--;
		zone->events.nr_grown--;
		mutex_unlock(&zone->lock);
		add_blocks(zone, block, 1);
		return false;
	}
	meta_release(META_VMEMMAP, pfn, PAGEBLOCK_PAGES);
	uncharge_frames(zone, PAGEBLOCK_PAGES);
	zone->absent_hint = min_t(uint32_t, zone->absent_hint, block);
	return true;
}

uint32_t zone_nr_empty_blocks(struct zone *zone)
{
	uint64_t nr = 0;

	for (int type = 0; type < MIGRATE_PCPTYPES; type++)
		nr += zone->free_area[PAGEBLOCK_ORDER].nr_free[type] +
		      2 * zone->free_area[MAX_ORDER].nr_free[type];
	return (uint32_t)nr;
}

uint32_t zone_shrink(struct zone *zone, uint32_t keep, uint32_t max)
{
	uint32_t top, nr = 0;

	mutex_lock(&zone->grow);
	mutex_lock(&zone->lock);
	set_packing_locked(zone);
	mutex_unlock(&zone->lock);
	top = zone->top_block;
	while (nr < max && zone_nr_empty_blocks(zone) > keep && isolate_top_block(zone, &top)) {
		if (!release_block(zone, top))
			break;
		nr++;
	}
	while (zone->top_block > pfn_to_block(zone->start_pfn) &&
	       !block_is_present(zone->top_block - 1))
		zone->top_block--;
	mutex_unlock(&zone->grow);
	return nr;
}
