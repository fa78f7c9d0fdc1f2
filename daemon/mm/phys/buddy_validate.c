/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buddy_validate - recomputes from struct pages what the lists and counters claim
 *
 * Purpose     One walk over all present frames (zone_census_locked), which buddy_validate_locked
 *             and zone_validate compare with lists, counters and pagesets.
 */
#include <string.h>

#include "mm/phys/buddy_lists.h"
#include "mm/phys/zone_census.h"

static void check_tails(const struct page *page, unsigned int order, struct validation *v)
{
	for (uint32_t i = 1; i < 1u << order; i++)
		validation_compare(v, PG_TAIL, pg_state(page + i),
				   "state of frame %u inside the block at %u",
				   page_to_pfn(page) + i, page_to_pfn(page));
}

static void check_free(struct zone *zone, const struct page *page, struct validation *v)
{
	uint32_t         pfn = page_to_pfn(page), buddy_pfn = pfn ^ 1u << pg_order(page);
	enum migratetype type = pg_word_type(pg_load(page));

	validation_compare(v, pfn_migratetype(pfn), type, "list type of the free block at %u", pfn);
	if (pg_order(page) == MAX_ORDER || !zone_has_pfn(zone, buddy_pfn) ||
	    !block_is_present(pfn_to_block(buddy_pfn)))
		return;
	if (!is_free_block(pfn_to_page(buddy_pfn), pg_order(page)))
		return;
	validation_expect(v, pfn_migratetype(buddy_pfn) != type &&
			  (type >= MIGRATE_PCPTYPES ||
			   pfn_migratetype(buddy_pfn) >= MIGRATE_PCPTYPES),
			  "free blocks at %u and %u of order %u are merged", pfn, buddy_pfn,
			  pg_order(page));
}

/* Counts the block at pfn; returns its frames. */
static uint32_t count_block(struct zone *zone, uint32_t pfn, struct zone_census *census,
			    struct validation *v)
{
	struct page *page = pfn_to_page(pfn);
	uint32_t     word = pg_load(page);
	unsigned int order = pg_word_order(word);

	validation_compare(v, zone->id, page->zone_id, "zone of frame %u", pfn);
	validation_expect(v, is_aligned(pfn, 1u << order), "the block at %u of order %u is aligned",
			  pfn, order);
	switch (pg_word_state(word)) {
	case PG_BUDDY:
		check_free(zone, page, v);
		census->free[pg_word_type(word)][order]++;
		break;
	case PG_PCP:
		census->pcp[order]++;
		break;
	case PG_ALLOCATED:
	case PG_CLAIMED:
		census->granted += 1u << order;
		break;
	case PG_RESERVED:
		census->reserved++;
		return 1;
	default:
		validation_expect(v, 0, "frame %u belongs to a block", pfn);
		return 1;
	}
	check_tails(page, order, v);
	return 1u << order;
}

void zone_census_locked(struct zone *zone, struct zone_census *census, struct validation *v)
{
	uint32_t pfn = zone->start_pfn;

	memset(census, 0, sizeof(*census));
	while (pfn < zone->end_pfn) {
		if (!block_is_present(pfn_to_block(pfn))) {
			pfn = block_to_pfn(pfn_to_block(pfn) + 1);
			continue;
		}
		pfn += count_block(zone, pfn, census, v);
	}
	for (uint32_t block = pfn_to_block(zone->start_pfn); block < pfn_to_block(zone->end_pfn);
	     block++)
		if (block_is_present(block))
			census->blocks[pfn_migratetype(block_to_pfn(block))]++;
}

static void check_list(struct zone *zone, unsigned int order, enum migratetype type,
		       struct validation *v)
{
	struct free_area *area = &zone->free_area[order];
	struct page      *page;
	uint64_t          nr = 0;

	list_for_each_entry(page, &area->free_list[type], lru) {
		nr++;
		validation_compare(v, pg_word(PG_BUDDY, order, type), pg_load(page),
				   "state word of frame %u on a free list", page_to_pfn(page));
		if (nr > area->nr_free[type])
			break;
	}
	validation_compare(v, nr, area->nr_free[type], "length of the free list %u %s", order,
			   migratetype_name(type));
}

void buddy_validate_locked(struct zone *zone, struct validation *v)
{
	struct zone_census census;
	uint64_t           nr_free = 0, nr_cma = 0;

	zone_census_locked(zone, &census, v);
	for (int type = 0; type < MIGRATE_TYPES; type++) {
		for (unsigned int order = 0; order <= MAX_ORDER; order++) {
			check_list(zone, order, (enum migratetype)type, v);
			validation_compare(v, census.free[type][order],
					   zone->free_area[order].nr_free[type],
					   "free blocks of order %u %s by struct pages", order,
					   migratetype_name((enum migratetype)type));
			nr_free += census.free[type][order] << order;
			nr_cma += type == MIGRATE_CMA ? census.free[type][order] << order : 0;
		}
		validation_compare(v, census.blocks[type], zone->nr_blocks[type],
				   "pageblocks of type %s",
				   migratetype_name((enum migratetype)type));
	}
	validation_compare(v,
			   census.blocks[MIGRATE_HIGHATOMIC] + census.blocks[MIGRATE_CMA] +
				   census.blocks[MIGRATE_ISOLATE],
			   zone->nr_special, "pageblocks that pagesets leave alone");
	validation_compare(v, nr_free, zone->nr_free, "free frames of zone %u", zone->id);
	validation_compare(v, nr_cma, zone->nr_free_cma, "free CMA frames of zone %u", zone->id);
	validation_compare(v, zone->nr_blocks[MIGRATE_HIGHATOMIC] << PAGEBLOCK_ORDER,
			   zone->nr_highatomic, "frames in HighAtomic pageblocks");
}
