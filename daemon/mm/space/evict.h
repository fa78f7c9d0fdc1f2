/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict - takes the frames of pages, whose contents go to slots of swap areas
 *
 * Purpose     Block after block of a region: its old pages are write-protected together, written
 *             together, and their frames punched in runs. While the disk has one block the next is
 *             chosen, protected and copied.
 * Order       word CLEAN by compare-and-swap; wait for mappings under way (mapping.h);
 *             write-protect in every mapper; write; word BUSY with the slot by compare-and-swap, if
 *             it still is CLEAN; punch; SWAPPED; wake.
 * Invariants  E1  a page that is written or locked meanwhile isn't CLEAN any more or says so, and
 *                 survives; one that others inherit goes for all of them (heirs.h), or survives.
 *                 One that is touched without being written survives, too, and keeps its copy.
 *             E2  a page whose mappers can't all be protected at once survives.
 *             E3  one thread evicts from a region at a time: nobody waits for it. It may let
 *                 another help, with other blocks. Two in one block would each take the other's
 *                 CLEAN for their own, and miss a write between them.
 *             E4  a page of zeros whose frame a client has punched is left for its next fault to
 *                 find.
 *             E5  a copy in an area that is to go, or whose disk has failed, doesn't count: the
 *                 page is written to another, or survives.
 * Crash       before BUSY the page is present and nothing of it is lost: the slot isn't named by
 *             any word. After it the word names the slot: if the file has the page it is present,
 *             else it is swapped.
 * Not here    Whose pages, how many, and when (reclaim.c).
 */
#ifndef MMB_SPACE_EVICT_H
#define MMB_SPACE_EVICT_H

#include "mm/space/swapper.h"

enum { EVICT_BLOCK_BYTES = 2 << 20, EVICT_BLOCK_HUGE = 4 /* pages of 2 MiB */ };

static inline uint64_t evict_block_pages(const struct region *region)
{
	return max_t(uint64_t, EVICT_BLOCK_BYTES >> region->page_shift, EVICT_BLOCK_HUGE);
}

struct evict_filter {
	int node;     /* frames of this one; -1: of any */
	bool all_ages; /* young and active ones, too */
	bool unwanted; /* only what clients have freed lazily: it needs no slot */
	unsigned int old; /* generations after which an inactive page goes */
	bool hard;     /* nothing inactive is left: active ones don't wait to be asked */
	uint64_t most; /* frames; of a block no more are begun; 0: all of it */
};

/* Frames. */
struct evict_result {
	uint64_t nr_scanned, nr_freed; /* added up */
	uint64_t nr_begun;             /* of the last block: most of them will be freed, too */
	uint64_t scanned_on[MAX_NUMNODES]; /* by node, since the caller has set them to 0 */
};
/* While a predecessor's windows come back nobody can tell where a page is mapped, and so nothing is
 * evicted. */
void evict_rest(bool rest);
/* False: another thread evicts from the region (E3), or all rest. Else blocks, and an end. */
bool evict_begin(struct swapper *s, struct region *region);
/* Pages of one block, which is at most SWAPPER_PAGES long. They go with the next call. */
void evict_block(struct swapper *s, struct region *region, struct page_range block,
		 const struct evict_filter *filter, struct evict_result *result);
/* The blocks so far are settled. Also for a thread that helps who has begun. */
void evict_flush(struct swapper *s, struct region *region, struct evict_result *result);
void evict_end(struct swapper *s, struct region *region, struct evict_result *result);
/* Has any thread found no slot for a page since this was called last? */
bool evict_missed_slots(void);
/* Write-protects the range and lets its pages be dropped instead of written, until they are written
 * to. Best effort. */
void evict_lazily(struct region *region, struct page_range range);

#endif
