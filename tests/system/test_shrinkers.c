/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shrinkers - pools above their limits ask their clients, who give back; nobody waits for one
 * that doesn't; operators make, limit and remove pools
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

enum { OBJECT = 64 << 10, NR_OBJECTS = 128, HIGH = 2 * MIB, PATIENCE = 30 };
enum { FULL = 1, STOPPED, GO_ON };

/* What a program could do without. */
struct cache {
	void *objects[NR_OBJECTS];
	_Atomic unsigned int nr;
	_Atomic uint64_t calls;
};

static size_t shrink(void *arg, size_t bytes)
{
	struct cache *c = arg;
	size_t freed = 0;

	atomic_fetch_add(&c->calls, 1);
	while (c->nr && freed < bytes) {
		mmb_free(c->objects[--c->nr]);
		freed += OBJECT;
	}
	return freed;
}

static void open_limited(struct actor *a, uint64_t high)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .mode = 0666,
						  .high = high };

	act_open(a);
	if (mmb_pool_open(a->mmb, "limited", MMB_POOL_CREATE, &options, &a->pool))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(a->pool);
}

static void fill(struct actor *a, struct cache *c)
{
	for (c->nr = 0; c->nr < NR_OBJECTS;) {
		void *object = mmb_malloc(a->pool, OBJECT);

		CLIENT_EXPECT(object);
		memset(object, 1, OBJECT);
		c->objects[c->nr++] = object;
	}
}

static struct mmb_pool_stat stat_of(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	return stat;
}

static bool is_below_high(void *arg)
{
	return stat_of(arg).resident <= HIGH + HUGE_PAGE;
}

static void give_back_when_asked(struct actor *a)
{
	static struct cache c;

	open_limited(a, HIGH);
	fill(a, &c);
	CLIENT_EXPECT(stat_of(a).resident > HIGH + HUGE_PAGE);
	CLIENT_EXPECT_EQ(mmb_shrinker_register(a->pool, shrink, &c), 0);
	CLIENT_EXPECT(test_wait(is_below_high, a, PATIENCE));
	CLIENT_EXPECT(atomic_load(&c.calls) > 0);
	CLIENT_EXPECT_EQ(mmb_shrinker_unregister(a->pool, shrink, &c), 0);
	while (c.nr)
		mmb_free(c.objects[--c.nr]);
}

static void a_pool_above_high_gets_below_it(void)
{
	PLAY(ROLE(give_back_when_asked));
}

/* The broker asks a session by one of them. */
static void give_back_through_another_handle(struct actor *a)
{
	struct mmb_pool *second = NULL;
	static struct cache c;

	open_limited(a, HIGH);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "limited", 0, NULL, &second), 0);
	fill(a, &c);
	CLIENT_EXPECT(stat_of(a).resident > HIGH + HUGE_PAGE);
	CLIENT_EXPECT_EQ(mmb_shrinker_register(second, shrink, &c), 0);
	CLIENT_EXPECT(test_wait(is_below_high, a, PATIENCE));
	CLIENT_EXPECT(atomic_load(&c.calls) > 0);
	CLIENT_EXPECT_EQ(mmb_shrinker_unregister(second, shrink, &c), 0);
	while (c.nr)
		mmb_free(c.objects[--c.nr]);
	mmb_pool_close(second);
}

static void any_handle_is_asked(void)
{
	PLAY(ROLE(give_back_through_another_handle));
}

static void hold_and_be_stopped(struct actor *a)
{
	static struct cache c;

	open_limited(a, HIGH);
	fill(a, &c);
	cue(FULL);
	for (;;)
		pause();
}

static void work_beside_it(struct actor *a)
{
	static struct cache c;

	await(STOPPED);
	open_limited(a, HIGH);
	for (int i = 0; i < 20; i++) {
		fill(a, &c);
		while (c.nr)
			mmb_free(c.objects[--c.nr]);
	}
	CLIENT_EXPECT(strstr(mmbctl(a->socket, "pressure --pool limited"), "some avg10="));
	cue(GO_ON);
}

static void a_stopped_client_delays_nobody(void)
{
	stage_begin();
	CAST(ROLE(hold_and_be_stopped, .status = -SIGKILL), ROLE(work_beside_it));
	EXPECT(cue_comes(FULL));
	EXPECT(stop_process(stage_pid(0)));
	cue(STOPPED);
	EXPECT(cue_comes(GO_ON));
	stage_kill(0, SIGKILL);
	stage_end();
}

static void use_a_kept_pool(struct actor *a)
{
	act_open(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "kept", 0, NULL, &a->pool), 0);
	CLIENT_EXPECT_EQ(stat_of(a).max, 32 * MIB);
	CLIENT_EXPECT(!mmbctl(a->socket, "pool set kept max=1G min=2G"));
	CLIENT_EXPECT(!mmbctl(a->socket, "pool rm kept"));
	CLIENT_EXPECT(mmbctl(a->socket, "pool set kept max=48M swap_max=0 high=40M"));
	CLIENT_EXPECT_EQ(stat_of(a).max, 48 * MIB);
	CLIENT_EXPECT_EQ(stat_of(a).swap_max, 1);
	CLIENT_EXPECT(mmbctl(a->socket, "pool set kept max=none"));
	CLIENT_EXPECT_EQ(stat_of(a).max, 0);
}

static bool kept_goes(void *socket)
{
	return mmbctl(socket, "pool rm kept") != NULL;
}

static void operators_make_limit_and_remove_pools(void)
{
	struct fixture *f = stage_begin();

	EXPECT(mmbctl(f->socket, "pool create kept mode=0666 max=32M low=8M min=4M"));
	EXPECT_EQ(json_number(mmbctl(f->socket, "pools --json"), "\"kept\"", "min"), 4 * MIB);
	EXPECT(!mmbctl(f->socket, "pool create kept"));
	CAST(ROLE(use_a_kept_pool));
	EXPECT(stage_ended(0));
	/* The daemon hears of the client's end later. */
	EXPECT(test_wait(kept_goes, f->socket, 30));
	EXPECT(!mmbctl(f->socket, "pool rm kept"));
	stage_end();
}

static const struct test_case cases[] = {
	{ "a pool above high asks its clients, and gets below it",
	  a_pool_above_high_gets_below_it },
	{ "so does one that has been opened twice, whichever handle has the shrinker",
	  any_handle_is_asked },
	{ "a stopped client of a pool above its limit delays nobody",
	  a_stopped_client_delays_nobody },
	{ "operators make, limit and remove pools", operators_make_limit_and_remove_pools },
	STAGE_STOPS,
};
TEST_MAIN(cases)
