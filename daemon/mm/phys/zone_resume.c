/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_resume - the frames of an arena after the daemon that granted them has died
 *
 * Purpose     Struct pages say what is granted; everything else of a present pageblock is free,
 *             wherever it was: on lists, on pagesets, on its way in or out. Free lists, counters
 *             and charges are made anew.
 * Invariants  U1  a block is granted if its head is PG_ALLOCATED with an owner: the owner is set
 *                 after the grant, and cleared before the free (F4 of page.h). PG_CLAIMED is freed:
 *                 its client has asked for that. But a unit that is claimed counts as granted:
 *                 who frees it has its header to clear (client/leases.h).
 *             U2  pageblocks without BLOCK_PRESENT have no memory, and no vmemmap.
 * Locking     none: nobody else knows the zone yet, but the buddy wants its lock held.
 */
#include "mm/phys/zone_resume.h"

#include <errno.h>

#include "mm/phys/buddy.h"
#include "mm/phys/stock.h"
#include "os/os.h"

static void forget_blocks(const struct zone *zone, uint32_t from, uint32_t end)
{
	uint32_t pfn = block_to_pfn(from);
	uint64_t nr = (uint64_t)(end - from) << PAGEBLOCK_ORDER;

	if (from == end)
		return;
	meta_forget(META_VMEMMAP, pfn, pfn + nr);
	os->punch(zone->section->fd, section_offset(zone->section, pfn), nr << PAGE_SHIFT);
}

/* U2; types that only last while somebody works with them end. How many blocks are present. */
static uint32_t settle_blocks(struct zone *zone)
{
	uint32_t from = pfn_to_block(zone->start_pfn), end = pfn_to_block(zone->end_pfn), nr = 0;

	for (uint32_t block = from; block < end; block++) {
		uint8_t flags = block_load(block);

		if (!(flags & BLOCK_PRESENT)) {
			atomic_store(&block_flags[block], 0);
			continue;
		}
		if ((flags & BLOCK_TYPE_MASK) >= MIGRATE_PCPTYPES)
			flags = BLOCK_PRESENT | MIGRATE_MOVABLE;
		atomic_store(&block_flags[block], flags);
		zone->nr_blocks[flags & BLOCK_TYPE_MASK]++;
		zone->top_block = block + 1;
		nr++;
		forget_blocks(zone, from, block);
		from = block + 1;
	}
	forget_blocks(zone, from, end);
	return nr;
}

static int adopt_frames(struct zone *zone, uint64_t frames)
{
	enum stock_kind kind = zone->section->kind;
	int             r = 0;

	for (uint32_t block = pfn_to_block(zone->start_pfn); block < zone->top_block && !r; block++)
		if (block_is_present(block))
			r = meta_adopt(META_VMEMMAP, block_to_pfn(block), PAGEBLOCK_PAGES);
	if (!r)
		r = stock_readopt(zone->node, kind, frames);
	if (!r && zone->charge)
		r = zone->charge->charge(zone->charge_arg, frames);
	return r;
}

static bool has_owner(const struct page *page)
{
	uint64_t owner = page_session(page);

	return pg_state(page) == PG_CLAIMED ? owner & PAGE_UNIT
					    : pg_state(page) == PG_ALLOCATED && owner;
}

static bool is_granted(const struct zone *zone, const struct page *page)
{
	uint32_t pfn = page_to_pfn(page), order = pg_order(page);

	return has_owner(page) && order <= MAX_ORDER &&
	       is_aligned(pfn, 1u << order) && pfn + (1u << order) <= zone->end_pfn &&
	       block_is_present(pfn_to_block(pfn + (1u << order) - 1));
}

static void reserve_frame(struct page *page)
{
	page_clear_owner(page);
	page->slab_head = page->slab_node = 0;
	atomic_store(&page->slab_word, 0);
	atomic_store(&page->slab_cache, NULL);
	pg_store(page, pg_word(PG_RESERVED, 0, 0));
}

/* First every frame that isn't granted is marked: the buddy looks at neighbours. Returns frames
 * granted. */
static uint64_t mark_frames(struct zone *zone)
{
	uint32_t end = block_to_pfn(zone->top_block), step;
	uint64_t granted = 0;

	for (uint32_t pfn = zone->start_pfn; pfn < end; pfn += step) {
		struct page *page = pfn_to_page(pfn);

		step = PAGEBLOCK_PAGES;
		if (!block_is_present(pfn_to_block(pfn)))
			continue;
		step = 1;
		if (!is_granted(zone, page)) {
			page->zone_id = zone->id;
			reserve_frame(page);
			continue;
		}
		step <<= pg_order(page);
		list_init(&page->lru);
		for (uint32_t i = 0; i < step; i++)
			page[i].zone_id = zone->id;
		granted += step;
	}
	return granted;
}

static void free_marked(struct zone *zone)
{
	uint32_t end = block_to_pfn(zone->top_block), nr;

	for (uint32_t pfn = zone->start_pfn; pfn < end; pfn += nr) {
		nr = PAGEBLOCK_PAGES;
		if (!block_is_present(pfn_to_block(pfn)))
			continue;
		for (nr = 0; nr < PAGEBLOCK_PAGES - pfn % PAGEBLOCK_PAGES; nr++)
			if (pg_state(pfn_to_page(pfn + nr)) != PG_RESERVED)
				break;
		if (nr)
			zone_boot_free(zone, pfn, nr);
		else
			nr = 1u << pg_order(pfn_to_page(pfn));
	}
}

int zone_resume(struct zone *zone)
{
	uint64_t frames, granted;
	int      r;

	frames = (uint64_t)settle_blocks(zone) << PAGEBLOCK_ORDER;
	r = adopt_frames(zone, frames);
	if (r)
		return r;
	atomic_store(&zone->present, frames);
	granted = mark_frames(zone);
	atomic_store(&zone->managed, granted);
	free_marked(zone);
	mutex_lock(&zone->lock);
	zone_set_watermarks_locked(zone);
	mutex_unlock(&zone->lock);
	return 0;
}

void zone_for_each_granted(struct zone *zone, void (*fn)(struct page *page, void *arg), void *arg)
{
	uint32_t end = block_to_pfn(zone->top_block), step;

	for (uint32_t pfn = zone->start_pfn; pfn < end; pfn += step) {
		struct page *page = pfn_to_page(pfn);

		step = PAGEBLOCK_PAGES;
		if (!block_is_present(pfn_to_block(pfn)))
			continue;
		step = pg_state(page) == PG_TAIL ? 1 : 1u << pg_order(page);
		if (has_owner(page))
			fn(page, arg);
	}
}
