/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_reclaim_places - whose frames go where several nodes have some: reclaim.c
 */
#include "mm/space/reclaim.h"

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/space/residency.h"

enum { NR = 1024, SWAP_MIB = 16 };

static struct region *new_region(const struct region_request *want)
{
	struct region_refusal why;
	struct region *region;

	EXPECT_EQ(region_new(want, &region, &why), 0);
	return region;
}

static struct region *half_full_on(int node)
{
	struct region_request want = { .name = "", .nr_pages = NR, .page_shift = PAGE_SHIFT,
				       .policy = POLICY_BIND, .node_mask = 1ull << node };
	struct region *region = new_region(&want);

	EXPECT_EQ(region_populate(region, (struct page_range){ 0, NR / 2 }), 0);
	return region;
}

/* Frames of another node would be of no use. */
static void what_is_short_on_a_node_is_made_there(void)
{
	struct region *far, *near;

	space_begin(&(struct space_options){ .nr_nodes = 2, .swap_mib = SWAP_MIB });
	far = half_full_on(1);
	near = half_full_on(0);
	EXPECT(reclaim_for(near));
	EXPECT(space_present(0, STOCK_BASE) < NR / 2);
	EXPECT_EQ(space_present(1, STOCK_BASE), NR / 2);
	space_drop_region(far);
	space_drop_region(near);
	space_end_swap();
}

static const struct test_case cases[] = {
	{ "who is short on a node gets frames of that one", what_is_short_on_a_node_is_made_there },
};
TEST_MAIN(cases)
