/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_poison - a request that ends each daemon is refused in the end, and the others go on; a
 *               resume that takes long costs nobody anything but that
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "system/kill_scene.h"
#include "system/stage.h"

enum { BYTES = MIB, OBJECTS = 2000, STEP_OVER = 1, STEP_DIED = 1 };

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

/* ---- a fault ---- */

static const char *const fault[] = { "MMB_INJECT=UFFD_CONTINUE:1:abort", "MMB_INJECT_NOW=1", NULL };
static const struct setting fault_setting = { .flags = flags, .environment = fault };

static void touch(struct actor *a)
{
	act_open(a);
	act_pool(a, 0);
	act_at(act_region(a, BYTES, 0))[0] = 1;
	CLIENT_EXPECT(!"the touch has ended");
}

static void whose_faults_end_daemons_ends(void)
{
	struct fixture *f;

	stage_set(&fault_setting);
	f = stage_begin();
	CAST(ROLE(touch, .status = -SIGKILL));
	EXPECT(stage_ended(0));
	fixture_reconnect(f);
	EXPECT(fixture_log_says(f, "again and again while it served its faults"));
	stage_end();
}

/* ---- a resume that takes longer than the keeper's tick ---- */

static const char *const slow[] = { "MMB_INJECT=RESUMING:1:rest", "MMB_INJECT_NOW=1", NULL };
static const struct setting slow_setting = { .flags = flags, .environment = slow };

static size_t size_of(unsigned int i)
{
	return 64 + i % 29 * 96;
}

static void keep_objects(struct actor *a)
{
	static void *objects[OBJECTS];

	act_open(a);
	act_common_pool(a);
	for (unsigned int i = 0; i < OBJECTS; i++) {
		objects[i] = mmb_malloc(a->pool, size_of(i));
		CLIENT_EXPECT(objects[i]);
		stamp(objects[i], size_of(i), i);
	}
	atomic_fetch_add(&board->number[0], 1);
	await(STEP_DIED);
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < OBJECTS; i++) {
			CLIENT_EXPECT(is_stamped(objects[i], size_of(i), i));
			mmb_free(objects[i]);
		}
		for (unsigned int i = 0; i < OBJECTS; i++) {
			objects[i] = mmb_malloc(a->pool, size_of(i));
			CLIENT_EXPECT(objects[i]);
			stamp(objects[i], size_of(i), i);
		}
	}
	for (unsigned int i = 0; i < OBJECTS; i++)
		mmb_free(objects[i]);
}

static void a_slow_resume_costs_no_object(void)
{
	struct fixture *f;

	stage_set(&slow_setting);
	f = stage_begin();
	CAST(ROLE(keep_objects), ROLE(keep_objects));
	wait_for_number(0, 2);
	EXPECT_EQ(kill_often(f->pid, 1, NULL, NULL), 1);
	fixture_reconnect(f);
	cue(STEP_DIED);
	EXPECT(stage_ended(0));
	EXPECT(stage_ended(1));
	EXPECT(!fixture_log_says(f, "slab_map_conjured"));
	stage_end();
}

static const struct test_case cases[] = {
	{ "a request that ends each daemon is refused, and others go on",
	  a_request_that_ends_daemons_is_refused },
	{ "a client whose faults end each daemon ends", whose_faults_end_daemons_ends },
	{ "a resume that takes long costs no object", a_slow_resume_costs_no_object },
	STAGE_STOPS,
};
TEST_MAIN(cases)
