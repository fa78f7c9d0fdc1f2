/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_inject - failing the chosen pass
 */
#include "base/inject.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void turns_are_counted_alone(void)
{
	inject_arm(NR_INJECT_POINTS, 1, -ENOMEM);
	INJECT_TURN(LANE_TURN);
	EXPECT_EQ(inject_passes(NR_INJECT_POINTS), 0);
	EXPECT_EQ(inject_passes(INJECT_LANE_TURN), 1);
	EXPECT_EQ(INJECT(PUNCH), -ENOMEM);
	inject_arm(NR_INJECT_POINTS, 0, 0);
}

/* The child's third pass ends it. */
static int status_after(enum inject_action action)
{
	int   status = 0;
	pid_t child = fork();

	if (child == 0) {
		alarm(1); /* ends who hangs */
		inject_act(action);
		inject_arm(INJECT_MAP, 3, -EIO);
		for (int i = 0; i < 3; i++) {
			if (INJECT(MAP))
				_exit(7);
		}
		_exit(0);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void a_pass_can_hang_or_kill(void)
{
	EXPECT_EQ(status_after(INJECT_FAIL), 7);
	EXPECT_EQ(status_after(INJECT_HANG), -SIGALRM);
	EXPECT_EQ(status_after(INJECT_KILL), -SIGKILL);
}

static void points_have_names(void)
{
	EXPECT(!strcmp(inject_name(INJECT_UFFD_CONTINUE), "UFFD_CONTINUE"));
	for (int i = 0; i <= NR_INJECT_POINTS; i++)
		EXPECT(inject_name((enum inject_point)i) != NULL);
	EXPECT_EQ(inject_find("KEEPER_TURN"), INJECT_KEEPER_TURN);
	EXPECT_EQ(inject_find("MEMFD_NEW"), INJECT_MEMFD_NEW);
	EXPECT_EQ(inject_find("nothing"), NR_INJECT_POINTS);
}

static const struct test_case cases[] = {
	{ "nothing fails while disarmed", disarmed_passes },
	{ "exactly the nth pass of the armed point fails", nth_pass_fails_once },
	{ "all points can be counted together, or only counted", any_point_counts_together },
	{ "turns of loops aren't among any points", turns_are_counted_alone },
	{ "the chosen pass fails, hangs or ends the process", a_pass_can_hang_or_kill },
	{ "every point has a name, and is found by it", points_have_names },
};
TEST_MAIN(cases)
