/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page - what is known of each 2 MiB page that ranges lie in, by address
 *
 * Purpose     See page.h.
 */
#include "ranges/page.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "error.h"

enum { ADDRESS_BITS = 47, LEAF_BITS = 13, ROOT_BITS = ADDRESS_BITS - RANGE_PAGE_SHIFT - LEAF_BITS };
static_assert(ROOT_BITS == 13, "root and leaf are of a size");

static _Atomic(struct range_page *) root[1 << ROOT_BITS];

struct range_page *range_page(uint64_t address)
{
	uint64_t page = address >> RANGE_PAGE_SHIFT;
	struct range_page *leaf;

	if (address >> ADDRESS_BITS)
		return NULL;
	leaf = atomic_load_explicit(&root[page >> LEAF_BITS], memory_order_acquire);
	return leaf ? &leaf[page & ((1 << LEAF_BITS) - 1)] : NULL;
}

int range_pages_make(uint64_t address, uint64_t length)
{
	uint64_t first = address >> (RANGE_PAGE_SHIFT + LEAF_BITS);
	uint64_t last = (address + length - 1) >> (RANGE_PAGE_SHIFT + LEAF_BITS);

	if (length > 1ull << ADDRESS_BITS || (address + length) >> ADDRESS_BITS)
		return fail(-ENOMEM, "ranges can't lie above the user's half of the address space");
	for (uint64_t i = first; i <= last; i++) {
		struct range_page *none = NULL, *leaf;

		if (atomic_load_explicit(&root[i], memory_order_relaxed))
			continue;
		leaf = calloc(1 << LEAF_BITS, sizeof(*leaf));
		if (!leaf)
			return fail(-ENOMEM, "no memory to keep track of large objects");
		/* Another pool's heap may have been faster. */
		if (!atomic_compare_exchange_strong(&root[i], &none, leaf))
			free(leaf);
	}
	return 0;
}

void range_pages_own(uint64_t address, uint64_t length, struct range_heap *heap)
{
	for (uint64_t at = address; at < address + length; at += RANGE_PAGE) {
		struct range_page *page = range_page(at);

		atomic_store_explicit(&page->freed_ms, 0, memory_order_relaxed);
		page->object = NULL;
		atomic_store_explicit(&page->heap, heap, memory_order_release);
	}
}
