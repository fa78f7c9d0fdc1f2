/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_map - pages of headers come with the first leased unit and go after the last
 *
 * Locking     see slab_map.h. A page is populated under the lock: one small fallocate.
 */
#include "client/slab_map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inject.h"
#include "mm/phys/stock.h"
#include "os/os.h"

static uint64_t page_offset(uint32_t i)
{
	return (uint64_t)i << PAGE_SHIFT;
}

int slab_map_new(const struct section *arena, uint64_t pool, struct slab_map **out)
{
	uint32_t nr_blocks = (uint32_t)(arena->nr_frames >> PAGEBLOCK_ORDER);
	char name[SECTION_NAME_BYTES];
	struct section_request want = { .name = name,
					.nr_frames = round_up(nr_blocks, PAGEBLOCK_PAGES),
					.kind = STOCK_BASE,
					.type = SECTION_SLAB_MAP,
					.node = arena->node,
					.owner_id = pool };
	struct slab_map *map = INJECT(HEAP) ? NULL : calloc(1, sizeof(*map));
	int r = -ENOMEM;

	if (map)
		map->blocks = calloc(nr_blocks, sizeof(map->blocks[0]));
	snprintf(name, sizeof(name), "slabs-%llu-%d", (unsigned long long)pool, arena->node);
	if (map && map->blocks) {
		want.owner = map;
		r = section_add(&want, &map->section);
	}
	if (r) {
		if (map)
			free(map->blocks);
		free(map);
		return r;
	}
	map->first_block = pfn_to_block(arena->pfn);
	map->nr_blocks = nr_blocks;
	map->node = arena->node;
	*out = map;
	return 0;
}

static void uncharge(struct slab_map *map, uint32_t pages)
{
	stock_put(map->node, STOCK_BASE, pages);
	stock_uncommit(map->node, STOCK_BASE, pages);
}

void slab_map_free(struct slab_map *map)
{
	uint32_t populated = map->nr_populated;

	section_remove(map->section);
	uncharge(map, populated);
	free(map->blocks);
	free(map);
}

static int fill_page(struct slab_map *map, uint32_t i)
{
	struct stock_populate_request want = { .section = map->section,
					       .offset = page_offset(i),
					       .length = PAGE_SIZE,
					       .node = map->node };

	return stock_populate(&want);
}

static int populate(struct slab_map *map, uint32_t i)
{
	int r = stock_commit(map->node, STOCK_BASE, 1);

	if (r)
		return r;
	r = stock_take(map->node, STOCK_BASE, 1);
	if (r) {
		stock_uncommit(map->node, STOCK_BASE, 1);
		return r;
	}
	r = fill_page(map, i);
	if (r) {
		uncharge(map, 1);
		return -ENOMEM;
	}
	map->blocks[i].populated = true;
	map->nr_populated++;
	return 0;
}

/* What is present counts as populated: what nobody needs goes with the next ticks. */
static int adopt_pages(struct slab_map *map)
{
	int64_t at = 0;
	int r = 0;

	for (; !r && (at = os->next_present(map->section->fd, (uint64_t)at)) >= 0;
	     at += PAGE_SIZE) {
		if ((uint64_t)at >> PAGE_SHIFT >= map->nr_blocks)
			break;
		r = stock_commit(map->node, STOCK_BASE, 1);
		if (!r)
			r = stock_take(map->node, STOCK_BASE, 1);
		map->blocks[at >> PAGE_SHIFT].populated = true;
		map->nr_populated++;
	}
	return r;
}

int slab_map_resume(const struct section *arena, struct section *section, struct slab_map **out)
{
	struct slab_map *map = calloc(1, sizeof(*map));

	if (!map)
		return -ENOMEM;
	map->first_block = pfn_to_block(arena->pfn);
	map->nr_blocks = (uint32_t)(arena->nr_frames >> PAGEBLOCK_ORDER);
	map->node = arena->node;
	map->section = section;
	map->blocks = calloc(map->nr_blocks, sizeof(map->blocks[0]));
	if (!map->blocks) {
		free(map);
		return -ENOMEM;
	}
	section->owner = map;
	*out = map;
	return adopt_pages(map);
}

/* Number of the unit in its window. */
static uint32_t unit_of(const struct slab_map *map, uint32_t pfn)
{
	uint32_t unit = (pfn - block_to_pfn(map->first_block)) >> UNIT_ORDER;

	CHECK(is_aligned(pfn, UNIT_PAGES) && unit < map->nr_blocks * UNITS_PER_BLOCK);
	return unit;
}

int slab_map_lease(struct slab_map *map, uint32_t pfn, uint32_t units)
{
	uint32_t first = unit_of(map, pfn), last = first + units - 1;

	CHECK(units && last < map->nr_blocks * UNITS_PER_BLOCK);
	for (uint32_t i = first / UNITS_PER_BLOCK; i <= last / UNITS_PER_BLOCK; i++) {
		int r = map->blocks[i].populated ? 0 : populate(map, i);

		if (r)
			return r;
	}
	for (uint32_t unit = first; unit <= last; unit++) {
		struct slab_block *block = &map->blocks[unit / UNITS_PER_BLOCK];
		uint32_t bit = 1u << unit % UNITS_PER_BLOCK;

		CHECK(!(block->leased & bit));
		map->nr_used += !block->leased;
		block->leased |= bit;
		block->idle = false;
	}
	return 0;
}

void slab_map_stamp(const struct slab_map *map, uint32_t pfn, uint32_t units, uint32_t member)
{
	struct slab_header headers[SLAB_UNITS_MAX];

	memset(headers, 0, units * sizeof(headers[0]));
	for (uint32_t i = 0; i < units; i++)
		headers[i].shared = (uint64_t)member << SLAB_MEMBER_SHIFT << 32;
	os->write(map->section->fd, (uint64_t)unit_of(map, pfn) * SLAB_HEADER_BYTES, headers,
		  units * sizeof(headers[0]));
}

void slab_map_return(struct slab_map *map, uint32_t pfn)
{
	uint32_t unit = unit_of(map, pfn);
	struct slab_block *block = &map->blocks[unit / UNITS_PER_BLOCK];
	uint32_t bit = 1u << unit % UNITS_PER_BLOCK;

	CHECK(block->leased & bit);
	block->leased &= ~bit;
	map->nr_used -= !block->leased;
}

void slab_map_shrink(struct slab_map *map, uint32_t max, bool at_once)
{
	for (uint32_t i = 0; i < map->nr_blocks && map->nr_populated > map->nr_used; i++) {
		struct slab_block *block = &map->blocks[i];

		if (!block->populated || block->leased)
			continue;
		if (!block->idle && !at_once) {
			block->idle = true;
			continue;
		}
		if (!max || os->punch(map->section->fd, page_offset(i), PAGE_SIZE))
			return;
		max--;
		block->populated = block->idle = false;
		map->nr_populated--;
		uncharge(map, 1);
	}
}

static bool is_ours(const struct slab_map *map, uint64_t i)
{
	return i < map->nr_blocks && map->blocks[i].populated;
}

int64_t slab_map_audit(struct slab_map *map)
{
	int64_t allocated = os->allocated(map->section->fd), nr = 0, at = 0;
	uint64_t expected = page_offset(map->nr_populated);

	if (allocated < 0 || (uint64_t)allocated == expected)
		return min_t(int64_t, allocated, 0);
	while ((uint64_t)allocated > expected &&
	       (at = os->next_present(map->section->fd, (uint64_t)at)) >= 0) {
		if (!is_ours(map, (uint64_t)at >> PAGE_SHIFT) &&
		    !os->punch(map->section->fd, (uint64_t)at, PAGE_SIZE))
			nr++;
		at += PAGE_SIZE;
	}
	for (uint32_t i = 0; i < map->nr_blocks && (uint64_t)allocated < expected; i++)
		if (map->blocks[i].populated &&
		    os->has_hole(map->section->fd, page_offset(i), PAGE_SIZE))
			fill_page(map, i);
	return nr;
}

void slab_map_validate(const struct slab_map *map, struct validation *v)
{
	uint32_t populated = 0, used = 0;

	for (uint32_t i = 0; i < map->nr_blocks; i++) {
		const struct slab_block *block = &map->blocks[i];

		populated += block->populated;
		used += block->leased != 0;
		validation_expect(v, block->populated || !block->leased,
				  "slab map of section %u: the page of block %u is there",
				  map->section->id, i);
	}
	validation_compare(v, populated, map->nr_populated, "slab map of section %u: pages",
			   map->section->id);
	validation_compare(v, used, map->nr_used, "slab map of section %u: pages in use",
			   map->section->id);
}
