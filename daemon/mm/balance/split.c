/* SPDX-License-Identifier: Apache-2.0 */
/*
 * split - the heads of the parts, last one first
 *
 * Purpose     See split.h. Walks from block to block (page_head, the census of pageblocks) hold the
 *             zone's lock and see the block either whole or in parts.
 */
#include "mm/balance/split.h"

#include "mm/phys/zone.h"

void split_page(struct page *page, unsigned int order)
{
	struct zone *zone = page_zone(page);
	uint32_t     word = pg_load(page);
	uint32_t     part = pg_word(PG_ALLOCATED, order, pg_word_type(word));

	CHECK(pg_word_state(word) == PG_ALLOCATED && pg_word_order(word) >= order);
	CHECK(!page_session(page));
	mutex_lock(&zone->lock);
	for (uint32_t i = 1u << pg_word_order(word); i; i -= 1u << order)
		pg_store(page + i - (1u << order), part);
	mutex_unlock(&zone->lock);
}
