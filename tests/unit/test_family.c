/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_family - mm/map/family.c: the tree of regions cloned from each other
 */
#include "mm/map/family.h"

#include "lib/phys_fixture.h"
#include "lib/test.h"

enum { NR = 7 };
static int regions[NR]; /* only their addresses count */

static void begin(void)
{
	phys_start(&(struct phys_setup){ .base_mib = 64, .no_metadata = true, .objects = true });
	families_init();
}

static void expect_valid(struct family *family)
{
	struct validation v = { 0 };

	family_validate(family, &v);
	EXPECT_EQ(v.nr_differences, 0);
}

static void the_walk_visits_all_below_parents_first(void)
{
	struct kin *kin[NR], *at;
	int order[NR], nr = 0;

	begin();
	kin[0] = family_new(&regions[0]);
	kin[1] = family_join(kin[0], &regions[1]);
	kin[2] = family_join(kin[1], &regions[2]);
	kin[3] = family_join(kin[1], &regions[3]);
	kin[4] = family_join(kin[3], &regions[4]);
	kin[5] = family_join(kin[0], &regions[5]);
	kin[6] = family_join(kin[5], &regions[6]);
	expect_valid(kin[0]->family);
	for (at = family_below(kin[1], kin[1]); at; at = family_below(kin[1], at))
		order[nr++] = (int)((int *)at->region - regions);
	EXPECT_EQ(nr, 3);
	EXPECT_EQ(order[0], 2);
	EXPECT_EQ(order[1], 3);
	EXPECT_EQ(order[2], 4);
	for (nr = 0, at = family_below(kin[0], kin[0]); at; at = family_below(kin[0], at))
		nr++;
	EXPECT_EQ(nr, NR - 1);
	EXPECT(!family_below(kin[6], kin[6]));
	EXPECT_EQ(kin[4]->depth, 3);
	for (int i = NR - 1; i >= 0; i--) {
		expect_valid(kin[i]->family);
		family_leave(kin[i]);
	}
	phys_stop();
}

static const struct test_case cases[] = {
	{ "the walk visits all below, parents first", the_walk_visits_all_below_parents_first },
};
TEST_MAIN(cases)
