/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pageset_hit - the two halves of a pageset hit, compiled as the daemon compiles them
 *
 * Purpose     hits.py disassembles them: what is here is all that a hit executes, and the calls
 *             are those of a miss.
 */
#include "mm/balance/alloc.h"

struct page *hit_of_alloc_pages(const struct alloc_request *request);
void hit_of_free_pages(struct page *page, unsigned int order);

struct page *hit_of_alloc_pages(const struct alloc_request *request)
{
	struct page *page;

	return alloc_pages(request, &page) == 0 ? page : NULL;
}

void hit_of_free_pages(struct page *page, unsigned int order)
{
	free_pages(page, order);
}
