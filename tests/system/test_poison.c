/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_poison - a request that ends each daemon is refused in the end, and the others go on
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "system/kill_scene.h"
#include "system/stage.h"

enum { BYTES = MIB, STEP_OVER = 1 };

static const char *const flags[] = { "--supervise", "--memory.reserve=128M", NULL };
/* Each daemon anew. */
static const char *const environment[] = { "MMB_INJECT=CLONE_JOIN:1:abort", "MMB_INJECT_NOW=1",
					   NULL };
static const struct setting setting = { .flags = flags, .environment = environment };

static void clone(struct actor *a)
{
	struct mmb_region *region, *copy = NULL;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	stamp(act_at(region), BYTES, 1);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, NULL, &copy), -EIO);
	CLIENT_EXPECT(strstr(mmb_error(), "has died"));
	/* What it has otherwise is as it was. */
	CLIENT_EXPECT(is_stamped(act_at(region), BYTES, 1));
	CLIENT_EXPECT(act_region(a, BYTES, 0));
	cue(STEP_OVER);
}

static void work_meanwhile(struct actor *a)
{
	struct mmb_region *region;
	uint64_t seed = 0;

	act_open(a);
	act_pool(a, 0);
	while (atomic_load(&board->reached) < STEP_OVER) {
		region = act_region(a, BYTES, 0);
		stamp(act_at(region), BYTES, ++seed);
		CLIENT_EXPECT(is_stamped(act_at(region), BYTES, seed));
		mmb_region_close(region);
	}
}

static void a_request_that_ends_daemons_is_refused(void)
{
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(clone), ROLE(work_meanwhile), ROLE(work_meanwhile));
	EXPECT(cue_comes(STEP_OVER));
	for (unsigned int i = 0; i < 3; i++)
		EXPECT(stage_ended(i));
	fixture_reconnect(f);
	EXPECT(fixture_log_says(f, "uid 0: 3 daemons died while they were at it") || getuid());
	stage_end();
}

static const struct test_case cases[] = {
	{ "a request that ends each daemon is refused, and others go on",
	  a_request_that_ends_daemons_is_refused },
	STAGE_STOPS,
};
TEST_MAIN(cases)
