/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regions - bookkeeping of what each page of a region must hold
 *
 * Purpose     Ranges, writing them, checking them, dropping them; for unnamed and named regions.
 * Invariants  see client.h S2, pattern.h T1
 */
#include <errno.h>
#include <stdlib.h>

#include "stress/client.h"

int stress_region_keep(struct stress_client *c, struct stress_region *r, uint32_t generation)
{
	r->base = mmb_region_address(r->region);
	r->generations = calloc(r->own_pages, sizeof(*r->generations));
	if (r->base == NULL || r->generations == NULL)
		return stress_fail(c, "a region without an address");
	for (uint32_t i = 0; i < r->own_pages; i++)
		r->generations[i] = generation;
	return 0;
}

void stress_region_drop(struct stress_region *r)
{
	free(r->generations);
	*r = (struct stress_region){ 0 };
}

struct stress_range stress_range_pick(struct stress_client *c, const struct stress_region *r,
				      uint32_t longest)
{
	struct stress_range range = { .first = r->own_first + stress_pick(c, r->own_pages) };
	uint32_t room = r->own_first + r->own_pages - range.first;

	range.nr = 1 + stress_pick(c, r->page_size > 4096 ? 2 : longest);
	if (range.nr > room)
		range.nr = room;
	return range;
}

void stress_range_write(struct stress_region *r, struct stress_range range)
{
	for (uint32_t page = range.first; page < range.first + range.nr; page++) {
		uint32_t *generation = &r->generations[page - r->own_first];

		*generation = *generation >= PATTERN_GENERATION_MAX ? 1 : *generation + 1;
		pattern_fill(r->base + (size_t)page * r->page_size, r->page_size,
			     pattern_key(r->object, page), *generation);
	}
}

/* Pages of others may hold zeros or any generation of their pattern. */
int stress_range_check(struct stress_client *c, struct stress_region *r, struct stress_range range)
{
	for (uint32_t page = range.first; page < range.first + range.nr; page++) {
		bool own = page >= r->own_first && page < r->own_first + r->own_pages;
		uint32_t wanted = own ? r->generations[page - r->own_first] : PATTERN_ANY;
		const char *at = r->base + (size_t)page * r->page_size;
		ptrdiff_t wrong = pattern_check(at, r->page_size, pattern_key(r->object, page),
						wanted);

		if (wrong >= 0)
			return stress_fail(c, "page %u of %u (%u bytes each, at %p) holds %#llx at"
					      " %#tx, expected generation %#x",
					   page, r->pages, r->page_size, (const void *)at,
					   (unsigned long long)*(const uint64_t *)(at + wrong),
					   wrong, wanted);
	}
	return 0;
}

int stress_range_drop(struct stress_client *c, struct stress_region *r, struct stress_range range)
{
	int code = mmb_region_advise(r->region, (size_t)range.first * r->page_size,
				     (size_t)range.nr * r->page_size, MMB_ADVISE_DONTNEED);
	bool pinned = r->locked || r->locked_pages != 0;

	/* What is locked may refuse to go; how much of the range went first is not said. */
	if (code != 0 && !(pinned && (code == -EBUSY || code == -EINVAL || code == -EPERM)))
		return stress_fail(c, "DONTNEED: %d, %s", code, mmb_error());
	for (uint32_t page = range.first; page < range.first + range.nr; page++)
		r->generations[page - r->own_first] = code == 0 ? 0 : PATTERN_ANY;
	return 0;
}
