/* SPDX-License-Identifier: Apache-2.0 */
/*
 * free_checked - frees that clients ask for
 *
 * Purpose     See alloc.h. A claim is the only moment at which several clients, or one in several
 *             threads, can be after the same run; exactly one wins.
 * Locking     zone->lock while a pfn that may be a lie is looked at, so that its pageblock, and its
 *             part of vmemmap, can't go away meanwhile.
 */
#include <errno.h>

#include "mm/balance/alloc.h"

static struct zone *find_zone(const struct pool_zones *zones, uint64_t pfn)
{
	for (int node = 0; node < MAX_NUMNODES; node++)
		if (zones->normal[node] && zone_has_pfn(zones->normal[node], pfn))
			return zones->normal[node];
	return NULL;
}

/* What is wrong with freeing the block that starts there, by its state word. */
static enum free_fault fault_of(const struct free_request *request, struct page *page,
				uint32_t word)
{
	struct page *head;

	switch (pg_word_state(word)) {
	case PG_ALLOCATED:
		if (!request->session || page_session(page) != request->session)
			return FREE_FOREIGN;
		if (request->before && page->grant.heard >= request->before)
			return FREE_DOUBLE; /* since then it has been granted anew */
		if (request->handle && page[1].grant.request != request->handle)
			return FREE_FOREIGN;
		return pg_word_order(word) == request->order ? FREE_OK : FREE_WRONG_ORDER;
	case PG_BUDDY:
	case PG_PCP:
	case PG_CLAIMED:
		return FREE_DOUBLE;
	case PG_RESERVED:
		return FREE_FOREIGN;
	default:
		break;
	}
	head = page_head(page);
	return head && pg_state(head) == PG_ALLOCATED ? FREE_INSIDE : FREE_DOUBLE;
}

static bool claim(struct page *page, uint32_t word)
{
	uint32_t claimed = pg_word(PG_CLAIMED, pg_word_order(word), pg_word_type(word));

	return atomic_compare_exchange_strong(&page->state, &word, claimed);
}

int page_claim(const struct free_request *request, struct page **out, enum free_fault *fault)
{
	struct zone *zone = find_zone(request->zones, request->pfn);
	struct page *page;
	uint32_t     word;

	*fault = FREE_FOREIGN;
	if (!zone)
		return -EINVAL;
	*fault = FREE_ABSENT;
	mutex_lock(&zone->lock);
	if (block_is_present(pfn_to_block((uint32_t)request->pfn))) {
		page = pfn_to_page((uint32_t)request->pfn);
		word = atomic_load_explicit(&page->state, memory_order_acquire);
		*fault = fault_of(request, page, word);
		if (*fault == FREE_OK && !claim(page, word))
			*fault = FREE_DOUBLE;
		*out = page;
	}
	mutex_unlock(&zone->lock);
	return *fault == FREE_OK ? 0 : -EINVAL;
}

void page_unclaim(struct page *page)
{
	uint32_t word = pg_load(page);

	CHECK(pg_word_state(word) == PG_CLAIMED);
	pg_store(page, pg_word(PG_ALLOCATED, pg_word_order(word), pg_word_type(word)));
}

void free_claimed_page(struct page *page)
{
	uint32_t word = pg_load(page);

	CHECK(pg_word_state(word) == PG_CLAIMED);
	page_clear_owner(page);
	free_unref_page(page_zone(page), page, pg_word_order(word));
}

int free_pages_checked(const struct free_request *request, enum free_fault *fault)
{
	struct page *page;
	int          r = page_claim(request, &page, fault);

	if (!r)
		free_claimed_page(page);
	return r;
}

const char *free_fault_text(enum free_fault fault)
{
	static const char *const texts[NR_FREE_FAULTS] = {
		[FREE_OK] = "nothing is wrong",
		[FREE_FOREIGN] = "the address is not of a run that this session took",
		[FREE_ABSENT] = "the address was never granted, or has been given back",
		[FREE_DOUBLE] = "the run is free already",
		[FREE_INSIDE] = "the address is inside a run, not its start",
		[FREE_WRONG_ORDER] = "the run was taken with another order",
	};

	return fault < NR_FREE_FAULTS ? texts[fault] : "unknown";
}
