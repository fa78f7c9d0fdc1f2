/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page - names of states and types, and the way from any frame to the head of its block
 *
 * Purpose     See page.h.
 */
#include "mm/phys/page.h"

const char *migratetype_name(enum migratetype type)
{
	static const char *const names[MIGRATE_TYPES] = {
		"Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate",
	};

	return names[type];
}

const char *pg_state_name(enum pg_state state)
{
	static const char *const names[NR_PG_STATES] = {
		"tail", "free", "on a pageset", "granted", "claimed", "reserved",
	};

	return state < NR_PG_STATES ? names[state] : "unknown";
}

struct page *page_head(struct page *page)
{
	uint32_t pfn = page_to_pfn(page);

	for (unsigned int order = 0; order <= MAX_ORDER; order++) {
		uint32_t     head_pfn = pfn & ~((1u << order) - 1);
		struct page *head = pfn_to_page(head_pfn);
		uint32_t     word;

		if (!block_is_present(pfn_to_block(head_pfn)))
			return NULL;
		word = pg_load(head);
		if (pg_word_state(word) != PG_TAIL)
			return pg_word_order(word) >= order ? head : NULL;
	}
	return NULL;
}
