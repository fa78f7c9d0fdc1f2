/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_inject - failing the chosen pass
 */
#include "base/inject.h"

#include <errno.h>
#include <string.h>

#include "lib/test.h"

static void disarmed_passes(void)
{
	inject_arm(INJECT_PUNCH, 0, 0);
	EXPECT_EQ(INJECT(PUNCH), 0);
	EXPECT_EQ(INJECT(POPULATE), 0);
}

static void nth_pass_fails_once(void)
{
	inject_arm(INJECT_PUNCH, 3, -EIO);
	EXPECT_EQ(INJECT(PUNCH), 0);
	EXPECT_EQ(INJECT(POPULATE), 0);
	EXPECT_EQ(INJECT(PUNCH), 0);
	EXPECT_EQ(INJECT(PUNCH), -EIO);
	EXPECT_EQ(INJECT(PUNCH), 0);
	EXPECT_EQ(inject_passes(INJECT_PUNCH), 4);
	EXPECT_EQ(inject_passes(INJECT_POPULATE), 1);
	inject_arm(INJECT_PUNCH, 0, 0);
}

static void any_point_counts_together(void)
{
	inject_arm(NR_INJECT_POINTS, 2, -ENOMEM);
	EXPECT_EQ(INJECT(MAP), 0);
	EXPECT_EQ(INJECT(PUNCH), -ENOMEM);
	EXPECT_EQ(INJECT(PUNCH), 0);
	inject_arm(NR_INJECT_POINTS, INJECT_COUNT_ONLY, 0);
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(INJECT(SLAB), 0);
	EXPECT_EQ(inject_passes(NR_INJECT_POINTS), 10);
	inject_arm(NR_INJECT_POINTS, 0, 0);
}

static void points_have_names(void)
{
	EXPECT(!strcmp(inject_name(INJECT_UFFD_CONTINUE), "UFFD_CONTINUE"));
	for (int i = 0; i <= NR_INJECT_POINTS; i++)
		EXPECT(inject_name((enum inject_point)i) != NULL);
}

static const struct test_case cases[] = {
	{ "nothing fails while disarmed", disarmed_passes },
	{ "exactly the nth pass of the armed point fails", nth_pass_fails_once },
	{ "all points can be counted together, or only counted", any_point_counts_together },
	{ "every point has a name", points_have_names },
};
TEST_MAIN(cases)
