/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memblock - adding, splitting and merging the regions of the two lists
 *
 * Invariants  see memblock.h. B5  a change looks for room in the list before it changes anything.
 * Not here    Searching and allocating (memblock_alloc.c).
 * After       Linux mm/memblock.c.
 */
#include "mm/phys/memblock.h"

#include <errno.h>
#include <string.h>

/* The size, cut so that base + size doesn't overflow. */
static uint64_t cap_size(uint64_t base, uint64_t size)
{
	return min_t(uint64_t, size, UINT64_MAX - base);
}

static void init_type(struct memblock_type *type, const char *name, struct memblock_region *init)
{
	type->cnt = 0;
	type->max = INIT_MEMBLOCK_REGIONS;
	type->total_size = 0;
	type->regions = init;
	type->regions_at = 0;
	type->name = name;
}

void memblock_init(struct memblock *mb, memblock_phys_to_virt_fn phys_to_virt)
{
	init_type(&mb->memory, "memory", mb->memory_init);
	init_type(&mb->reserved, "reserved", mb->reserved_init);
	mb->bottom_up = false;
	mb->can_resize = false;
	mb->has_mirror = false;
	mb->current_limit = UINT64_MAX;
	mb->phys_to_virt = phys_to_virt;
}

void memblock_allow_resize(struct memblock *mb)
{
	mb->can_resize = true;
}

void memblock_set_bottom_up(struct memblock *mb, bool enable)
{
	mb->bottom_up = enable;
}

void memblock_set_current_limit(struct memblock *mb, uint64_t limit)
{
	mb->current_limit = limit;
}

/* ---- one list ---- */

static void insert_region(struct memblock_type *type, uint32_t at,
			  const struct memblock_region *region)
{
	struct memblock_region *r = &type->regions[at];

	CHECK(type->cnt < type->max);
	memmove(r + 1, r, (type->cnt - at) * sizeof(*r));
	*r = *region;
	type->cnt++;
	type->total_size += region->size;
}

static void remove_region(struct memblock_type *type, uint32_t at)
{
	struct memblock_region *r = &type->regions[at];

	type->total_size -= r->size;
	type->cnt--;
	memmove(r, r + 1, (type->cnt - at) * sizeof(*r));
}

/* Makes one region of neighbours that touch and are alike (B2). */
static void merge_regions(struct memblock_type *type)
{
	uint32_t i = 0;

	while (i + 1 < type->cnt) {
		struct memblock_region *this = &type->regions[i], *next = this + 1;

		if (memblock_region_end(this) != next->base || this->nid != next->nid ||
		    this->flags != next->flags) {
			i++;
			continue;
		}
		this->size += next->size;
		memmove(next, next + 1, (type->cnt - i - 2) * sizeof(*next));
		type->cnt--;
	}
}

/* Cuts the region at `address`, which lies inside it. */
static void split_region(struct memblock_type *type, uint32_t at, uint64_t address)
{
	struct memblock_region *r = &type->regions[at], upper = *r;

	upper.base = address;
	upper.size = memblock_region_end(r) - address;
	r->size -= upper.size;
	type->total_size -= upper.size;
	insert_region(type, at + 1, &upper);
}

/*
 * Doubles the list. [avoid, + avoid_size) is about to be reserved, so the new list can't live
 * there. Growing the reserved list reserves its new home only once it has moved in.
 */
static int double_list(struct memblock *mb, struct memblock_type *type, uint64_t avoid,
		       uint64_t avoid_size)
{
	uint64_t old_bytes = type->max * sizeof(*type->regions), old_at = type->regions_at;
	uint64_t bytes = round_up(old_bytes * 2, PAGE_SIZE), at;
	void    *home;

	if (!mb->can_resize)
		return -ENOMEM;
	if (type != &mb->reserved)
		avoid = avoid_size = 0;
	at = memblock_find_in_range(mb, avoid + avoid_size, mb->current_limit, bytes, PAGE_SIZE);
	if (!at && avoid_size)
		at = memblock_find_in_range(mb, 0, min_t(uint64_t, avoid, mb->current_limit),
					    bytes, PAGE_SIZE);
	if (!at || (type == &mb->memory && memblock_reserve(mb, at, bytes)))
		return -ENOMEM;
	home = mb->phys_to_virt(at);
	memcpy(home, type->regions, type->cnt * sizeof(*type->regions));
	type->regions = home;
	type->regions_at = at;
	type->max *= 2;
	if (type == &mb->reserved)
		CHECK(memblock_reserve(mb, at, bytes) == 0);
	/* With the other list full and no memory to grow it, the old home stays reserved. */
	if (old_at)
		memblock_free(mb, old_at, round_up(old_bytes, PAGE_SIZE));
	return 0;
}

/* Makes room for nr more regions (B5). */
static int ensure_room(struct memblock *mb, struct memblock_type *type, uint32_t nr,
		       const struct memblock_region *coming)
{
	while (type->cnt + nr > type->max)
		if (double_list(mb, type, coming->base, coming->size))
			return -ENOMEM;
	return 0;
}

/* Walks the parts of `area` that the list doesn't have yet; inserts them or only counts them. */
static uint32_t fill_gaps(struct memblock_type *type, const struct memblock_region *area,
			  bool insert)
{
	uint64_t base = area->base, end = memblock_region_end(area);
	uint32_t nr = 0, i;

	for (i = 0; i < type->cnt; i++) {
		const struct memblock_region *r = &type->regions[i];
		struct memblock_region        gap = *area;

		if (r->base >= end)
			break;
		if (memblock_region_end(r) <= base)
			continue;
		if (r->base > base) {
			gap.base = base;
			gap.size = r->base - base;
			nr++;
			if (insert)
				insert_region(type, i++, &gap);
		}
		base = min_t(uint64_t, memblock_region_end(&type->regions[i]), end);
	}
	if (base < end) {
		struct memblock_region gap = *area;

		gap.base = base;
		gap.size = end - base;
		nr++;
		if (insert)
			insert_region(type, i, &gap);
	}
	return nr;
}

/* What the list has already keeps its node and flags. */
static int add_range(struct memblock *mb, struct memblock_type *type,
		     const struct memblock_region *wanted)
{
	struct memblock_region area = *wanted;
	uint32_t               nr;

	area.size = cap_size(area.base, area.size);
	if (area.size == 0)
		return 0;
	/* Growing the reserved list reserves something, so the count is taken again. */
	do {
		nr = fill_gaps(type, &area, false);
		if (type->cnt + nr <= type->max)
			break;
	} while (!ensure_room(mb, type, nr, &area));
	if (type->cnt + nr > type->max)
		return -ENOMEM;
	fill_gaps(type, &area, true);
	merge_regions(type);
	return 0;
}

/* Cuts the list at both ends of the range. [*first, *last) are the regions inside it. */
static int isolate_range(struct memblock *mb, struct memblock_type *type,
			 const struct memblock_region *range, uint32_t *first, uint32_t *last)
{
	uint64_t base = range->base, end = base + cap_size(base, range->size);

	*first = *last = 0;
	if (base == end)
		return 0;
	if (ensure_room(mb, type, 2, range))
		return -ENOMEM;
	for (uint32_t i = 0; i < type->cnt; i++) {
		if (type->regions[i].base >= end)
			break;
		if (memblock_region_end(&type->regions[i]) <= base)
			continue;
		if (type->regions[i].base < base) {
			split_region(type, i, base);
			continue;
		}
		if (memblock_region_end(&type->regions[i]) > end)
			split_region(type, i, end);
		if (*first == *last)
			*first = i;
		*last = i + 1;
	}
	return 0;
}

static int remove_range(struct memblock *mb, struct memblock_type *type, uint64_t base,
			uint64_t size)
{
	struct memblock_region range = { .base = base, .size = size };
	uint32_t               first, last;
	int                    error = isolate_range(mb, type, &range, &first, &last);

	while (!error && last > first)
		remove_region(type, --last);
	return error;
}

/* ---- the public changes ---- */

int memblock_add_node(struct memblock *mb, uint64_t base, uint64_t size, int nid, uint32_t flags)
{
	struct memblock_region area = { .base = base, .size = size, .flags = flags, .nid = nid };

	if (flags & MEMBLOCK_MIRROR)
		mb->has_mirror = true;
	return add_range(mb, &mb->memory, &area);
}

int memblock_add(struct memblock *mb, uint64_t base, uint64_t size)
{
	return memblock_add_node(mb, base, size, NUMA_NO_NODE, MEMBLOCK_NONE);
}

int memblock_remove(struct memblock *mb, uint64_t base, uint64_t size)
{
	return remove_range(mb, &mb->memory, base, size);
}

int memblock_reserve(struct memblock *mb, uint64_t base, uint64_t size)
{
	struct memblock_region area = { .base = base, .size = size, .nid = NUMA_NO_NODE };

	return add_range(mb, &mb->reserved, &area);
}

int memblock_free(struct memblock *mb, uint64_t base, uint64_t size)
{
	return remove_range(mb, &mb->reserved, base, size);
}

int memblock_set_node(struct memblock *mb, uint64_t base, uint64_t size, int nid)
{
	struct memblock_region range = { .base = base, .size = size };
	uint32_t               first, last;
	int error = isolate_range(mb, &mb->memory, &range, &first, &last);

	if (error)
		return error;
	for (uint32_t i = first; i < last; i++)
		mb->memory.regions[i].nid = nid;
	merge_regions(&mb->memory);
	return 0;
}

static int change_flag(struct memblock *mb, const struct memblock_region *range, uint32_t clear,
		       uint32_t set)
{
	uint32_t first, last;
	int      error = isolate_range(mb, &mb->memory, range, &first, &last);

	if (error)
		return error;
	for (uint32_t i = first; i < last; i++)
		mb->memory.regions[i].flags = (mb->memory.regions[i].flags & ~clear) | set;
	merge_regions(&mb->memory);
	return 0;
}

int memblock_mark_hotplug(struct memblock *mb, uint64_t base, uint64_t size)
{
	struct memblock_region range = { .base = base, .size = size };

	return change_flag(mb, &range, 0, MEMBLOCK_HOTPLUG);
}

int memblock_clear_hotplug(struct memblock *mb, uint64_t base, uint64_t size)
{
	struct memblock_region range = { .base = base, .size = size };

	return change_flag(mb, &range, MEMBLOCK_HOTPLUG, 0);
}

int memblock_mark_mirror(struct memblock *mb, uint64_t base, uint64_t size)
{
	struct memblock_region range = { .base = base, .size = size };

	mb->has_mirror = true;
	return change_flag(mb, &range, 0, MEMBLOCK_MIRROR);
}

int memblock_mark_nomap(struct memblock *mb, uint64_t base, uint64_t size)
{
	struct memblock_region range = { .base = base, .size = size };

	return change_flag(mb, &range, 0, MEMBLOCK_NOMAP);
}

int memblock_clear_nomap(struct memblock *mb, uint64_t base, uint64_t size)
{
	struct memblock_region range = { .base = base, .size = size };

	return change_flag(mb, &range, MEMBLOCK_NOMAP, 0);
}

void memblock_trim_memory(struct memblock *mb, uint64_t align)
{
	struct memblock_type *type = &mb->memory;
	uint32_t              i = 0;

	while (i < type->cnt) {
		struct memblock_region *r = &type->regions[i];
		uint64_t                start = round_up(r->base, align);
		uint64_t                end = round_down(memblock_region_end(r), align);

		if (start >= end) {
			remove_region(type, i);
			continue;
		}
		type->total_size -= r->size - (end - start);
		r->base = start;
		r->size = end - start;
		i++;
	}
}

/* Cuts every region to [base, end), those with a spared flag excepted. Needs no room. */
static void keep_range(struct memblock_type *type, uint64_t base, uint64_t end, uint32_t spared)
{
	for (uint32_t i = type->cnt; i-- > 0;) {
		struct memblock_region *r = &type->regions[i];
		uint64_t                low = max_t(uint64_t, r->base, base);
		uint64_t                high = min_t(uint64_t, memblock_region_end(r), end);

		if (r->flags & spared)
			continue;
		if (low >= high) {
			remove_region(type, i);
			continue;
		}
		type->total_size -= r->size - (high - low);
		r->base = low;
		r->size = high - low;
	}
}

void memblock_enforce_memory_limit(struct memblock *mb, uint64_t limit)
{
	uint64_t left = limit, end = 0;

	if (!limit || limit >= mb->memory.total_size)
		return;
	for (uint32_t i = 0; i < mb->memory.cnt && left; i++) {
		const struct memblock_region *r = &mb->memory.regions[i];
		uint64_t                      part = min_t(uint64_t, left, r->size);

		left -= part;
		end = r->base + part;
	}
	keep_range(&mb->memory, 0, end, 0);
	keep_range(&mb->reserved, 0, end, 0);
}

void memblock_cap_memory_range(struct memblock *mb, uint64_t base, uint64_t size)
{
	uint64_t end = base + cap_size(base, size);

	if (!size)
		return;
	keep_range(&mb->memory, base, end, MEMBLOCK_NOMAP);
	keep_range(&mb->reserved, base, end, 0);
}

/* ---- the audit ---- */

static void validate_type(const struct memblock_type *type, struct validation *v)
{
	uint64_t total = 0;

	validation_expect(v, type->cnt <= type->max, "memblock %s: more regions than room",
			  type->name);
	for (uint32_t i = 0; i < type->cnt; i++) {
		const struct memblock_region *r = &type->regions[i], *prev = r - 1;

		total += r->size;
		validation_expect(v, r->size > 0, "memblock %s: region %u is empty", type->name,
				  i);
		if (i == 0)
			continue;
		validation_expect(v, memblock_region_end(prev) <= r->base,
				  "memblock %s: regions %u and %u overlap", type->name, i - 1, i);
		validation_expect(v, memblock_region_end(prev) < r->base || prev->nid != r->nid ||
					     prev->flags != r->flags,
				  "memblock %s: regions %u and %u should be one", type->name,
				  i - 1, i);
	}
	validation_compare(v, total, type->total_size, "memblock %s: bytes", type->name);
}

static void validate_home(const struct memblock *mb, const struct memblock_type *type,
			  struct validation *v)
{
	uint64_t bytes = round_up(type->max * sizeof(*type->regions), PAGE_SIZE);

	if (type->regions_at)
		for (uint64_t at = type->regions_at; at < type->regions_at + bytes; at += PAGE_SIZE)
			validation_expect(v, memblock_is_reserved(mb, at),
					  "memblock %s: its list at %#llx isn't reserved",
					  type->name, (unsigned long long)at);
}

void memblock_validate(const struct memblock *mb, struct validation *v)
{
	validate_type(&mb->memory, v);
	validate_type(&mb->reserved, v);
	validate_home(mb, &mb->memory, v);
	validate_home(mb, &mb->reserved, v);
}
