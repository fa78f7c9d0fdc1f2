/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usercopy - bounds of what is copied between clients' messages and the daemon's objects
 *
 * Purpose     See check_object_size() in slab.h. A length that came from a client and got past its
 *             own check still can't read or write a neighbour: the last wall, not the first.
 * Locking     none: the caller owns the object.
 */
#include <string.h>

#include "mm/obj/own.h"
#include "mm/obj/slub.h"

static uint64_t pfn_of(const void *at)
{
	return (uint64_t)((const char *)at - direct_map) >> PAGE_SHIFT;
}

static bool fits_object(const struct page *page, const void *at, size_t nr)
{
	const struct kmem_cache *s = page->slab_cache;
	uint64_t                 offset = (uint64_t)((const char *)at - slab_base(s, page));
	uint64_t                 inside = offset % s->size;

	if (offset >= (uint64_t)slab_load(page).objects * s->size || inside < s->useroffset)
		return false;
	inside -= s->useroffset;
	return inside <= s->usersize && nr <= s->usersize - inside;
}

/* In a block that is no slab: a large object, or nobody's. */
static bool fits_block(const void *at, size_t nr)
{
	struct page *head = page_head(pfn_to_page((uint32_t)pfn_of(at)));
	uint64_t     offset;

	if (!head || pg_state(head) != PG_ALLOCATED)
		return false;
	offset = (uint64_t)((const char *)at - (const char *)page_to_virt(head));
	return nr <= ((uint64_t)PAGE_SIZE << pg_order(head)) - offset;
}

bool check_object_size(const void *at, size_t nr)
{
	const struct page *page;

	if (!nr)
		return true;
	if ((uintptr_t)at + nr < (uintptr_t)at)
		return false;
	if (!own_has_pfn(pfn_of(at)))
		return !own_has_pfn(pfn_of((const char *)at + nr - 1));
	page = virt_to_slab(at);
	return page ? fits_object(page, at, nr) : fits_block(at, nr);
}

void usercopy_in(void *object, const void *from, size_t nr)
{
	CHECK(check_object_size(object, nr));
	memcpy(object, from, nr);
}

void usercopy_out(void *to, const void *object, size_t nr)
{
	CHECK(check_object_size(object, nr));
	memcpy(to, object, nr);
}
