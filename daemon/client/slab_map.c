/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_map - pages of headers come with the first leased unit and go after the last
 *
 * Locking     see slab_map.h. A page is populated under the lock: one small fallocate.
 */
#include "client/slab_map.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mm/obj/slab.h"
#include "mm/phys/stock.h"
#include "os/os.h"

static uint64_t page_offset(uint32_t i)
{
	return (uint64_t)i << PAGE_SHIFT;
}

static uint32_t nr_parts(const struct slab_map *map)
{
	return (map->nr_blocks + SLAB_MAP_PART - 1) / SLAB_MAP_PART;
}

/* NULL: nothing was ever there. */
static struct slab_block *find_block(const struct slab_map *map, uint32_t i)
{
	struct slab_block *part = map->parts[i / SLAB_MAP_PART];

	return part ? &part[i % SLAB_MAP_PART] : NULL;
}

uint32_t slab_map_leased(const struct slab_map *map, uint32_t block)
{
	const struct slab_block *b = find_block(map, block);

	return b ? b->leased : 0;
}

static bool is_populated(const struct slab_map *map, uint32_t i)
{
	const struct slab_block *block = find_block(map, i);

	return block && block->populated;
}

/* NULL: no memory. */
static struct slab_block *make_block(struct slab_map *map, uint32_t i)
{
	struct slab_block **part = &map->parts[i / SLAB_MAP_PART];

	if (!*part)
		*part = kcalloc(SLAB_MAP_PART, sizeof(**part), GFP_KERNEL);
	return find_block(map, i);
}

static void free_map(struct slab_map *map)
{
	for (uint32_t i = 0; map->parts && i < nr_parts(map); i++)
		kfree(map->parts[i]);
	kfree(map->parts);
	kfree(map);
}

static struct slab_map *make_map(const struct section *arena)
{
	struct slab_map *map = kzalloc(sizeof(*map), GFP_KERNEL);

	if (!map)
		return NULL;
	map->first_block = pfn_to_block(arena->pfn);
	map->nr_blocks = (uint32_t)(arena->nr_frames >> PAGEBLOCK_ORDER);
	map->node = arena->node;
	map->parts = kcalloc(nr_parts(map), sizeof(map->parts[0]), GFP_KERNEL);
	if (map->parts)
		return map;
	free_map(map);
	return NULL;
}

int slab_map_new(const struct section *arena, uint64_t pool, struct slab_map **out)
{
	char name[SECTION_NAME_BYTES];
	struct slab_map *map = make_map(arena);
	struct section_request want = { .name = name,
					.kind = STOCK_BASE,
					.type = SECTION_SLAB_MAP,
					.node = arena->node,
					.owner = map,
					.owner_id = pool };
	int r;

	if (!map)
		return -ENOMEM;
	want.nr_frames = round_up(map->nr_blocks, PAGEBLOCK_PAGES);
	if (pool)
		snprintf(name, sizeof(name), "slabs-%llu-%d", (unsigned long long)pool,
			 arena->node);
	else
		snprintf(name, sizeof(name), "slabs-ahead-%d", arena->node);
	r = section_add(&want, &map->section);
	if (r)
		free_map(map);
	else
		*out = map;
	return r;
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
	free_map(map);
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
	struct slab_block *block = make_block(map, i);
	int r = block ? stock_commit(map->node, STOCK_BASE, 1) : -ENOMEM;

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
	block->populated = true;
	map->nr_populated++;
	return 0;
}

int slab_map_resume(const struct section *arena, struct section *section, struct slab_map **out)
{
	struct slab_map *map = make_map(arena);

	if (!map)
		return -ENOMEM;
	map->section = section;
	section->owner = map;
	*out = map;
	return 0;
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
		int r = is_populated(map, i) ? 0 : populate(map, i);

		if (r)
			return r;
	}
	for (uint32_t unit = first; unit <= last; unit++) {
		struct slab_block *block = find_block(map, unit / UNITS_PER_BLOCK);
		uint32_t bit = 1u << unit % UNITS_PER_BLOCK;

		CHECK(!(block->leased & bit));
		map->nr_used += !block->leased;
		block->leased |= bit;
		block->idle = false;
	}
	return 0;
}

/* It was promised before: nobody asks whether it fits. */
static int adopt_page(struct slab_map *map, uint32_t i)
{
	struct slab_block *block = make_block(map, i);
	int r = block ? stock_readopt(map->node, STOCK_BASE, 1) : -ENOMEM;

	if (r)
		return r;
	block->populated = true;
	map->nr_populated++;
	return 0;
}

int slab_map_resume_unit(struct slab_map *map, uint32_t pfn)
{
	uint32_t block = unit_of(map, pfn) / UNITS_PER_BLOCK;
	int r = is_populated(map, block) ? 0 : adopt_page(map, block);

	return r ? r : slab_map_lease(map, pfn, 1);
}

static void stamp(const struct slab_map *map, uint32_t unit, uint32_t units, uint32_t member)
{
	struct slab_header headers[SLAB_UNITS_MAX];

	memset(headers, 0, units * sizeof(headers[0]));
	for (uint32_t i = 0; i < units; i++)
		headers[i].shared = (uint64_t)member << SLAB_MEMBER_SHIFT << 32;
	os->write(map->section->fd, (uint64_t)unit * SLAB_HEADER_BYTES, headers,
		  units * sizeof(headers[0]));
}

void slab_map_stamp(const struct slab_map *map, uint32_t pfn, uint32_t units, uint32_t member)
{
	stamp(map, unit_of(map, pfn), units, member);
}

bool slab_map_is_given(const struct slab_map *map, uint32_t pfn, uint32_t member)
{
	uint32_t owner = member << SLAB_MEMBER_SHIFT;
	struct slab_header header;

	return member &&
	       !os->read(map->section->fd, (uint64_t)unit_of(map, pfn) * SLAB_HEADER_BYTES,
			 &header, sizeof(header)) &&
	       header.given == owner && header.shared >> 32 == owner;
}

void slab_map_return(struct slab_map *map, uint32_t pfn)
{
	uint32_t unit = unit_of(map, pfn);
	struct slab_block *block = find_block(map, unit / UNITS_PER_BLOCK);
	uint32_t bit = 1u << unit % UNITS_PER_BLOCK;

	CHECK(block && block->leased & bit);
	block->leased &= ~bit;
	map->nr_used -= !block->leased;
}

void slab_map_shrink(struct slab_map *map, uint32_t max, bool at_once)
{
	for (uint32_t i = 0; i < map->nr_blocks && map->nr_populated > map->nr_used; i++) {
		struct slab_block *block = find_block(map, i);

		if (!block || !block->populated || block->leased)
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

void slab_map_forget(struct slab_map *map)
{
	for (uint32_t i = 0; i < map->nr_blocks; i++) {
		uint32_t leased = slab_map_leased(map, i);

		for (uint32_t unit = 0; leased && unit < UNITS_PER_BLOCK; unit++)
			if (!(leased >> unit & 1))
				stamp(map, i * UNITS_PER_BLOCK + unit, 1, 0);
	}
}

static bool is_ours(const struct slab_map *map, uint64_t i)
{
	return i < map->nr_blocks && is_populated(map, (uint32_t)i);
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
		if (is_populated(map, i) &&
		    os->has_hole(map->section->fd, page_offset(i), PAGE_SIZE))
			fill_page(map, i);
	return nr;
}

void slab_map_validate(const struct slab_map *map, struct validation *v)
{
	uint32_t populated = 0, used = 0;

	for (uint32_t i = 0; i < map->nr_blocks; i++) {
		const struct slab_block *block = find_block(map, i);

		if (!block)
			continue;
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
