/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota - the node that can give most easily, and what is kept there for others
 */
#include "mm/space/quota.h"

#include <errno.h>

#include "mm/phys/node.h"
#include "mm/space/reclaim.h"

/* kept: so much is for other pages, if it is there. */
static uint64_t take_of_node(struct region *region, int node, uint64_t nr, int64_t kept)
{
	int64_t have = atomic_load_explicit(&region->quota[node], memory_order_relaxed);

	if (have <= kept && region->overcommit) {
		kept = max_t(int64_t, have, 0);
		if (region_promise(region, node, nr))
			have = atomic_load(&region->quota[node]);
	}
	while (have > kept) {
		uint64_t want = min_t(uint64_t, nr, have - kept);

		if (region->policy == POLICY_INTERLEAVE && nr_nodes > 1)
			want = 1;
		if (atomic_compare_exchange_weak(&region->quota[node], &have,
						 have - (int64_t)want))
			return want;
	}
	return 0;
}

/* Q2: what is out takes its own promise with it when it comes back, and nobody else does. */
static int64_t kept_for_swapped(const struct region *region, uint64_t page)
{
	if (!region->overcommit ||
	    word_state(word_load(&region->words[page])) == PAGE_SWAPPED)
		return 0;
	return (int64_t)atomic_load(&region->nr_swapped);
}

/* Nodes that can give frames come first: slots were promised for what all of them can't hold. */
enum want_of_node { WITH_PLENTY, WITH_FRAMES, ANY, NR_WANTS };

static bool suits(const struct region *region, int node, enum want_of_node want)
{
	if (want == WITH_PLENTY)
		return !reclaim_is_short(region, node);
	return want == ANY || stock_free_evictable(node, region->kind) >=
				      region_frames_per_page(region);
}

int region_take_quota(struct region *region, uint64_t page, uint64_t nr, uint64_t *got)
{
	int first =
		region->policy == POLICY_INTERLEAVE ? (int)(page % nr_nodes) : region->home_node;
	int64_t kept = kept_for_swapped(region, page);

	for (int want = nr_nodes > 1 ? WITH_PLENTY : ANY; want < NR_WANTS; want++) {
		for (int i = 0; i < nr_nodes; i++) {
			int node = (first + i) % nr_nodes;

			if (!suits(region, node, want))
				continue;
			*got = take_of_node(region, node, nr, kept);
			if (*got)
				return node;
		}
	}
	*got = 0;
	return -ENOMEM;
}
