/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memblock_alloc - questions to the two lists, walks over free memory, allocation
 *
 * Invariants  see memblock.h. A free range is a part of a memory region that lies in a gap of the
 *             reserved list; gap i is the one before reserved region i, gap cnt the last.
 * Not here    Changing the lists (memblock.c).
 * After       Linux mm/memblock.c.
 */
#include <string.h>

#include "mm/phys/memblock.h"

/* ---- questions ---- */

/* The region with the address, or NULL. */
static const struct memblock_region *search(const struct memblock_type *type, uint64_t address)
{
	uint32_t low = 0, high = type->cnt;

	while (low < high) {
		uint32_t                      middle = low + (high - low) / 2;
		const struct memblock_region *r = &type->regions[middle];

		if (address < r->base)
			high = middle;
		else if (address >= memblock_region_end(r))
			low = middle + 1;
		else
			return r;
	}
	return NULL;
}

uint64_t memblock_phys_mem_size(const struct memblock *mb)
{
	return mb->memory.total_size;
}

uint64_t memblock_reserved_size(const struct memblock *mb)
{
	return mb->reserved.total_size;
}

uint64_t memblock_start_of_DRAM(const struct memblock *mb)
{
	return mb->memory.cnt ? mb->memory.regions[0].base : 0;
}

uint64_t memblock_end_of_DRAM(const struct memblock *mb)
{
	return mb->memory.cnt ? memblock_region_end(&mb->memory.regions[mb->memory.cnt - 1]) : 0;
}

bool memblock_is_memory(const struct memblock *mb, uint64_t address)
{
	return search(&mb->memory, address) != NULL;
}

bool memblock_is_map_memory(const struct memblock *mb, uint64_t address)
{
	const struct memblock_region *r = search(&mb->memory, address);

	return r && !(r->flags & MEMBLOCK_NOMAP);
}

bool memblock_is_region_memory(const struct memblock *mb, uint64_t base, uint64_t size)
{
	const struct memblock_region *r = search(&mb->memory, base);

	return r && size <= memblock_region_end(r) - base;
}

bool memblock_is_reserved(const struct memblock *mb, uint64_t address)
{
	return search(&mb->reserved, address) != NULL;
}

bool memblock_overlaps_region(const struct memblock_type *type, uint64_t base, uint64_t size)
{
	uint64_t end = base + min_t(uint64_t, size, UINT64_MAX - base);

	for (uint32_t i = 0; i < type->cnt && type->regions[i].base < end; i++)
		if (memblock_region_end(&type->regions[i]) > base)
			return true;
	return false;
}

bool memblock_is_region_reserved(const struct memblock *mb, uint64_t base, uint64_t size)
{
	return memblock_overlaps_region(&mb->reserved, base, size);
}

int memblock_search_pfn_nid(const struct memblock *mb, uint64_t pfn, uint64_t *start_pfn,
			    uint64_t *end_pfn)
{
	const struct memblock_region *r = search(&mb->memory, pfn << PAGE_SHIFT);

	if (!r)
		return -1;
	*start_pfn = r->base >> PAGE_SHIFT;
	*end_pfn = memblock_region_end(r) >> PAGE_SHIFT;
	return r->nid;
}

/* ---- walks ---- */

static bool skipped(const struct memblock_region *r, const struct memblock_walk *w)
{
	if (w->nid != NUMA_NO_NODE && r->nid != w->nid)
		return true;
	if ((r->flags & MEMBLOCK_HOTPLUG) && !(w->flags & MEMBLOCK_HOTPLUG))
		return true;
	if ((w->flags & MEMBLOCK_MIRROR) && !(r->flags & MEMBLOCK_MIRROR))
		return true;
	return (r->flags & MEMBLOCK_NOMAP) && !w->reserved_too;
}

static uint64_t gap_start(const struct memblock_type *reserved, uint32_t gap)
{
	return gap ? memblock_region_end(&reserved->regions[gap - 1]) : 0;
}

static uint64_t gap_end(const struct memblock_type *reserved, uint32_t gap)
{
	return gap < reserved->cnt ? reserved->regions[gap].base : UINT64_MAX;
}

/* The common part of region and gap, as the walk's result; false if there is none. */
static bool meet(const struct memblock *mb, struct memblock_walk *w,
		 const struct memblock_region *r, uint32_t gap)
{
	w->start = max_t(uint64_t, r->base, gap_start(&mb->reserved, gap));
	w->end = min_t(uint64_t, memblock_region_end(r), gap_end(&mb->reserved, gap));
	w->found_nid = r->nid;
	return w->start < w->end;
}

static bool whole_region(struct memblock_walk *w, const struct memblock_region *r)
{
	w->start = r->base;
	w->end = memblock_region_end(r);
	w->found_nid = r->nid;
	return true;
}

bool memblock_walk_next(const struct memblock *mb, struct memblock_walk *w)
{
	for (; w->memory < mb->memory.cnt; w->memory++) {
		const struct memblock_region *r = &mb->memory.regions[w->memory];

		if (skipped(r, w))
			continue;
		if (w->reserved_too) {
			w->memory++;
			return whole_region(w, r);
		}
		while (w->reserved <= mb->reserved.cnt &&
		       gap_start(&mb->reserved, w->reserved) < memblock_region_end(r)) {
			bool found = meet(mb, w, r, w->reserved);

			if (gap_end(&mb->reserved, w->reserved) < memblock_region_end(r)) {
				w->reserved++;
				if (found)
					return true;
				continue;
			}
			if (!found)
				break;
			w->memory++; /* the gap reaches into the next region */
			return true;
		}
	}
	return false;
}

/* memory and reserved are one more than the region and the gap to look at. */
bool memblock_walk_prev(const struct memblock *mb, struct memblock_walk *w)
{
	if (!w->started) {
		w->started = true;
		w->memory = mb->memory.cnt;
		w->reserved = mb->reserved.cnt + 1;
	}
	for (; w->memory > 0; w->memory--) {
		const struct memblock_region *r = &mb->memory.regions[w->memory - 1];

		if (skipped(r, w))
			continue;
		if (w->reserved_too) {
			w->memory--;
			return whole_region(w, r);
		}
		while (w->reserved > 0 && gap_end(&mb->reserved, w->reserved - 1) > r->base) {
			bool found = meet(mb, w, r, w->reserved - 1);

			if (gap_start(&mb->reserved, w->reserved - 1) > r->base) {
				w->reserved--;
				if (found)
					return true;
				continue;
			}
			if (!found)
				break;
			w->memory--;
			return true;
		}
	}
	return false;
}

/* ---- searching ---- */

/* The part of [low, high) that suits, at the end the direction asks for. */
static bool place(const struct memblock_request *want, uint64_t low, uint64_t high, bool bottom_up,
		  uint64_t *found)
{
	uint64_t at;

	low = max_t(uint64_t, low, want->min_addr);
	high = min_t(uint64_t, high, want->max_addr);
	if (low >= high || high - low < want->size)
		return false;
	if (bottom_up) {
		if (low > UINT64_MAX - want->align)
			return false;
		at = round_up(low, want->align);
	} else {
		at = round_down(high - want->size, want->align);
	}
	*found = at;
	return at >= low && at < high && high - at >= want->size;
}

uint64_t memblock_find_in_range_node(const struct memblock *mb,
				     const struct memblock_request *want)
{
	struct memblock_request bounded = *want;
	struct memblock_walk    w = { .nid = want->nid, .flags = want->flags };
	uint64_t                found;

	if (!bounded.size)
		return 0;
	if (!bounded.align)
		bounded.align = CACHELINE;
	if (bounded.max_addr == MEMBLOCK_ALLOC_ACCESSIBLE)
		bounded.max_addr = mb->current_limit;
	bounded.min_addr = max_t(uint64_t, bounded.min_addr, PAGE_SIZE); /* B4 */
	while (mb->bottom_up ? memblock_walk_next(mb, &w) : memblock_walk_prev(mb, &w))
		if (place(&bounded, w.start, w.end, mb->bottom_up, &found))
			return found;
	return 0;
}

static uint32_t preferred_flags(const struct memblock *mb)
{
	return mb->has_mirror ? MEMBLOCK_MIRROR : MEMBLOCK_NONE;
}

uint64_t memblock_find_in_range(const struct memblock *mb, uint64_t start, uint64_t end,
				uint64_t size, uint64_t align)
{
	struct memblock_request want = {
		.size = size, .align = align, .min_addr = start, .max_addr = end,
		.nid = NUMA_NO_NODE, .flags = preferred_flags(mb),
	};
	uint64_t found = memblock_find_in_range_node(mb, &want);

	if (!found && want.flags) {
		want.flags = MEMBLOCK_NONE;
		found = memblock_find_in_range_node(mb, &want);
	}
	return found;
}

/* ---- allocating ---- */

static uint64_t find_and_reserve(struct memblock *mb, const struct memblock_request *want)
{
	uint64_t found = memblock_find_in_range_node(mb, want);

	/* Reserving may move the list of reservations to where we found room: it avoids that. */
	return found && !memblock_reserve(mb, found, want->size) ? found : 0;
}

/* The node first, then any node unless exact, then both again without insisting on mirrors. */
static uint64_t alloc_range(struct memblock *mb, const struct memblock_request *want, bool exact)
{
	struct memblock_request attempt = *want;
	uint64_t                found;

	for (attempt.flags |= preferred_flags(mb);; attempt.flags &= ~(uint32_t)MEMBLOCK_MIRROR) {
		attempt.nid = want->nid;
		found = find_and_reserve(mb, &attempt);
		if (!found && want->nid != NUMA_NO_NODE && !exact) {
			attempt.nid = NUMA_NO_NODE;
			found = find_and_reserve(mb, &attempt);
		}
		if (found || !(attempt.flags & MEMBLOCK_MIRROR))
			return found;
	}
}

uint64_t memblock_phys_alloc_range(struct memblock *mb, uint64_t size, uint64_t align,
				   uint64_t start, uint64_t end)
{
	struct memblock_request want = {
		.size = size, .align = align, .min_addr = start, .max_addr = end,
		.nid = NUMA_NO_NODE,
	};

	return alloc_range(mb, &want, false);
}

uint64_t memblock_phys_alloc(struct memblock *mb, uint64_t size, uint64_t align)
{
	return memblock_phys_alloc_range(mb, size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE);
}

uint64_t memblock_phys_alloc_try_nid(struct memblock *mb, uint64_t size, uint64_t align, int nid)
{
	struct memblock_request want = { .size = size, .align = align, .nid = nid };

	return alloc_range(mb, &want, false);
}

static void *alloc_virt(struct memblock *mb, const struct memblock_request *want, bool exact)
{
	struct memblock_request attempt = *want;
	uint64_t                found;

	if (attempt.max_addr > mb->current_limit)
		attempt.max_addr = mb->current_limit;
	found = alloc_range(mb, &attempt, exact);
	if (!found && attempt.min_addr) {
		attempt.min_addr = 0;
		found = alloc_range(mb, &attempt, exact);
	}
	return found ? mb->phys_to_virt(found) : NULL;
}

void *memblock_alloc_try_nid_raw(struct memblock *mb, const struct memblock_request *want)
{
	return alloc_virt(mb, want, false);
}

void *memblock_alloc_exact_nid_raw(struct memblock *mb, const struct memblock_request *want)
{
	return alloc_virt(mb, want, true);
}

void *memblock_alloc_try_nid(struct memblock *mb, const struct memblock_request *want)
{
	void *memory = alloc_virt(mb, want, false);

	return memory ? memset(memory, 0, want->size) : NULL;
}

void *memblock_alloc(struct memblock *mb, uint64_t size, uint64_t align)
{
	struct memblock_request want = { .size = size, .align = align, .nid = NUMA_NO_NODE };

	return memblock_alloc_try_nid(mb, &want);
}

/* ---- the end of boot ---- */

uint64_t memblock_free_all(struct memblock *mb, memblock_free_pages_fn free_pages, void *context)
{
	struct memblock_walk w;
	uint64_t             nr_pages = 0;

	for_each_free_mem_range(mb, &w, NUMA_NO_NODE, MEMBLOCK_HOTPLUG) {
		uint64_t start = round_up(w.start, PAGE_SIZE) >> PAGE_SHIFT;
		uint64_t end = w.end >> PAGE_SHIFT;

		if (start >= end)
			continue;
		free_pages(context, start, end, w.found_nid);
		nr_pages += end - start;
	}
	return nr_pages;
}
