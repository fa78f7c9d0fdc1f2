/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc_failure - the figures at the moment of a failure, and the sentence about them
 *
 * Purpose     See alloc.h (alloc_failure_format). Never on a path that succeeds.
 */
#include "mm/balance/alloc_failure.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mm/phys/stock.h"

enum alloc_failure_kind alloc_failure_of(bool may_wait, enum grow_failure why)
{
	static const enum alloc_failure_kind kinds[] = {
		[GROW_OK] = ALLOC_FAILED_WATERMARK, [GROW_FULL] = ALLOC_FAILED_FULL,
		[GROW_POOL] = ALLOC_FAILED_POOL,    [GROW_COMMIT] = ALLOC_FAILED_COMMIT,
		[GROW_META] = ALLOC_FAILED_META,    [GROW_HOST] = ALLOC_FAILED_HOST,
		[GROW_INJECTED] = ALLOC_FAILED_INJECTED,
	};

	return may_wait ? kinds[why] : ALLOC_FAILED_WATERMARK;
}

static bool is_fragmented(const struct alloc_failure *f)
{
	return f->order > 0 && f->nr_free > f->min + (1ull << f->order);
}

void alloc_failure_fill(struct alloc_failure *out, const struct alloc_request *request,
			const struct zone *zone, enum alloc_failure_kind kind)
{
	*out = (struct alloc_failure){
		.kind = kind,
		.order = request->order,
		.gfp = request->gfp,
		.node = request->node,
	};
	if (!zone)
		return;
	out->node = zone->node;
	out->nr_free = zone_free_pages_nr(zone);
	out->min = zone_wmark(zone, WMARK_MIN);
	out->managed = zone->managed;
	out->huge = zone->section->kind == STOCK_HUGE;
	out->commit_node = zone->node;
	if (kind == ALLOC_FAILED_META && stock_metadata_node() >= 0) {
		out->commit_node = stock_metadata_node();
		out->huge = false;
	}
	out->commit_left = stock_available(out->commit_node, out->huge ? STOCK_HUGE : STOCK_BASE);
	if (kind != ALLOC_FAILED_INJECTED && kind != ALLOC_FAILED_HOST && is_fragmented(out))
		out->kind = ALLOC_FAILED_FRAGMENTED;
}

void alloc_failure_format(const struct alloc_failure *f, char *out, size_t bytes)
{
	static const char *const causes[NR_ALLOC_FAILURES] = {
		[ALLOC_FAILED_NOT] = "it did not fail",
		[ALLOC_FAILED_REQUEST] = "the order is above 10 or the flags contradict each other",
		[ALLOC_FAILED_NODES] = "the node policy leaves no node with memory of this pool",
		[ALLOC_FAILED_WATERMARK] = "what is free is kept in reserve, and the flags forbid "
					   "to wait for more; ask without NOWAIT or ATOMIC",
		[ALLOC_FAILED_FRAGMENTED] = "enough is free, but not in one piece; ask for a "
					    "smaller order",
		[ALLOC_FAILED_FULL] = "the pool's arena there is as large as it may get: its max, "
				      "the node's reserve, or what its user's "
				      "limits.span_per_uid had left",
		[ALLOC_FAILED_POOL] = "the pool is at its limit (max)",
		[ALLOC_FAILED_COMMIT] = "the broker's reserve is committed; free memory or raise "
					"memory.reserve",
		[ALLOC_FAILED_HOST] = "the host does not give the memory that was reserved; use "
				      "reserve_mode = hold",
		[ALLOC_FAILED_INJECTED] = "a test asked for it",
	};

	const char *cause = f->kind < NR_ALLOC_FAILURES ? causes[f->kind] : "unknown";
	const char *where = f->commit_node == f->node ? "" : " there";
	char        meta[128];

	snprintf(meta, sizeof(meta),
		 "node %d has no memory left to describe new frames with; free memory or raise "
		 "memory.reserve", f->commit_node);
	if (f->kind == ALLOC_FAILED_META)
		cause = meta;
	if (f->kind == ALLOC_FAILED_COMMIT && f->huge)
		cause = "the reserve of huge pages, which arenas are made of, is committed; free "
			"memory or raise memory.reserve_huge";
	snprintf(out, bytes,
		 "no run of order %" PRIu32 " on node %d: %s (free %" PRIu64
		 " KiB, min mark %" PRIu64 " KiB, managed %" PRIu64 " KiB, committable%s %" PRIu64
		 " KiB)",
		 f->order, f->node, cause,
		 f->nr_free << (PAGE_SHIFT - 10), f->min << (PAGE_SHIFT - 10),
		 f->managed << (PAGE_SHIFT - 10), where, f->commit_left << (PAGE_SHIFT - 10));
}
