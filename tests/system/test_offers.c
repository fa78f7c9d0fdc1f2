/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_offers - a pool that comes with HELLO: taken, left, late, and with the daemon killed
 *
 * Purpose     What a program that began with a private pool gets the next time, whatever becomes
 *             of it or of the daemon before it is used.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client_process.h"
#include "system/kill_scene.h"
#include "system/stage.h"

enum { OBJECT = 64, OBJECTS = 3000, SOON_MS = 20, PATIENCE = 1000, STEP = 1 };

static const char *const flags[] = { "--supervise", "--memory.reserve=512M", NULL };
static const struct setting setting = { .flags = flags };
static struct fixture *fixture;

static void begin(void)
{
	stage_set(&setting);
	fixture = stage_begin();
}

static int64_t nr_pools(const struct actor *a)
{
	return json_number(mmbctl(a->socket, "status --json"), "\"pools\"", "pools");
}

/* Whether so many pools exist soon. */
static bool pools_become(const struct actor *a, int64_t nr)
{
	for (int i = 0; i < PATIENCE; i++) {
		if (nr_pools(a) == nr)
			return true;
		rest_us(SOON_MS * 1000);
	}
	return false;
}

static void use(struct actor *a)
{
	char *object[OBJECTS];

	for (int i = 0; i < OBJECTS; i++) {
		object[i] = mmb_malloc(a->pool, OBJECT);
		CLIENT_EXPECT(object[i] != NULL);
		memset(object[i], i, OBJECT);
	}
	for (int i = 0; i < OBJECTS; i++) {
		CLIENT_EXPECT_EQ(object[i][OBJECT - 1], (char)i);
		mmb_free(object[i]);
	}
}

static void open_pool(struct actor *a)
{
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &a->pool), 0);
}

/* The first one of its name, and then one that is offered a pool: when an arena is ready. */
static void open_offered(struct actor *a)
{
	for (int i = 0; i < PATIENCE; i++) {
		act_open(a);
		if (nr_pools(a) == 1)
			return;
		open_pool(a);
		use(a);
		mmb_close(a->mmb);
		a->mmb = NULL;
		CLIENT_EXPECT(pools_become(a, 0));
		rest_us(SOON_MS * 1000);
	}
	CLIENT_EXPECT(!"no pool is offered");
}

static void take(struct actor *a)
{
	open_offered(a);
	open_pool(a);
	CLIENT_EXPECT_EQ(nr_pools(a), 1);
	use(a);
	CLIENT_EXPECT_EQ(nr_pools(a), 1);
}

static void take_and_wait(struct actor *a)
{
	char *object;

	take(a);
	object = mmb_malloc(a->pool, OBJECT);
	CLIENT_EXPECT(object != NULL);
	memset(object, 7, OBJECT);
	/* Longer than an offer stands. */
	rest_us(2500 * 1000);
	CLIENT_EXPECT_EQ(nr_pools(a), 1);
	CLIENT_EXPECT_EQ(object[OBJECT - 1], 7);
	use(a);
}

static void open_another(struct actor *a)
{
	open_offered(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "another", MMB_POOL_CREATE, NULL, &a->pool), 0);
	CLIENT_EXPECT(pools_become(a, 1));
	use(a);
}

static void come_late(struct actor *a)
{
	open_offered(a);
	CLIENT_EXPECT(pools_become(a, 0));
	open_pool(a);
	use(a);
	CLIENT_EXPECT_EQ(nr_pools(a), 1);
}

static void leave_it(struct actor *a)
{
	open_offered(a);
	mmb_close(a->mmb);
	a->mmb = NULL;
	CLIENT_EXPECT(pools_become(a, 0));
}

static void die_with_it(struct actor *a)
{
	open_offered(a);
	kill(getpid(), SIGKILL);
}

static void offers_are_taken_or_come_back(void)
{
	begin();
	PLAY(ROLE(take_and_wait));
	begin();
	PLAY(ROLE(open_another));
	begin();
	PLAY(ROLE(come_late));
	begin();
	PLAY(ROLE(leave_it));
	begin();
	PLAY(ROLE(die_with_it, -SIGKILL));
}

/* ---- the daemon is killed ---- */

static void kill_daemon(void)
{
	pid_t worker = worker_of(fixture->pid);

	CLIENT_EXPECT(worker > 0 && !kill(worker, SIGKILL) && worker_dies(fixture->pid, worker));
}

static void die_before_it_is_taken(struct actor *a)
{
	open_offered(a);
	kill_daemon();
	open_pool(a);
	use(a);
	CLIENT_EXPECT_EQ(nr_pools(a), 1);
	cue(STEP);
}

static void die_after_it_was_taken(struct actor *a)
{
	char *object;

	open_offered(a);
	open_pool(a);
	object = mmb_malloc(a->pool, OBJECT);
	CLIENT_EXPECT(object != NULL);
	memset(object, 9, OBJECT);
	kill_daemon();
	CLIENT_EXPECT_EQ(object[OBJECT - 1], 9);
	rest_us(2500 * 1000);
	use(a);
	CLIENT_EXPECT_EQ(object[OBJECT - 1], 9);
	CLIENT_EXPECT_EQ(nr_pools(a), 1);
	cue(STEP);
}

static void die_and_give_it_back(struct actor *a)
{
	open_offered(a);
	kill_daemon();
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "another", MMB_POOL_CREATE, NULL, &a->pool), 0);
	CLIENT_EXPECT(pools_become(a, 1));
	use(a);
	cue(STEP);
}

static void play_with_death(act_fn act)
{
	begin();
	CAST(ROLE(act));
	EXPECT(cue_comes(STEP));
	fixture_reconnect(fixture);
	stage_end();
}

static void a_death_of_the_daemon_takes_nothing(void)
{
	play_with_death(die_before_it_is_taken);
	play_with_death(die_after_it_was_taken);
	play_with_death(die_and_give_it_back);
}

static const struct test_case cases[] = {
	{ "an offered pool is taken, or comes back", offers_are_taken_or_come_back },
	{ "a death of the daemon takes nothing", a_death_of_the_daemon_takes_nothing },
	STAGE_STOPS,
};
TEST_MAIN(cases)
