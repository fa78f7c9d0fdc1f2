/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_heartbeat - who hangs is found, and nobody else is blamed
 *
 * Time is what the test says it is.
 */
#include "base/heartbeat.h"

#include <pthread.h>
#include <string.h>

#include "lib/test.h"

enum { SECOND = 1000000000, LATE = 2 * SECOND };

static char name[HEARTBEAT_NAME_BYTES];
static uint64_t now = 1000ull * SECOND;

static uint64_t look(void)
{
	now += SECOND;
	return heartbeat_oldest(now, LATE, name);
}

static void silence_is_found(void)
{
	struct heartbeat hb;

	heartbeat_register(&hb, "worker");
	look();
	heartbeat_touch();
	EXPECT_EQ(look(), 0);
	EXPECT_EQ(look(), SECOND);
	EXPECT_EQ(look(), 2ull * SECOND);
	EXPECT(!strcmp(name, "worker"));
	heartbeat_touch();
	EXPECT_EQ(look(), 0);
	EXPECT(!strcmp(name, ""));
	heartbeat_unregister(&hb);
}

static void waiting_for_work_is_no_hang(void)
{
	struct heartbeat hb;

	heartbeat_register(&hb, "worker");
	look();
	heartbeat_idle();
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(look(), 0);
	heartbeat_idle();
	EXPECT_EQ(look(), 0);
	heartbeat_touch();
	EXPECT_EQ(look(), 0);
	EXPECT_EQ(look(), SECOND);
	heartbeat_unregister(&hb);
}

static void a_late_look_blames_nobody(void)
{
	struct heartbeat hb;

	heartbeat_register(&hb, "worker");
	look();
	EXPECT_EQ(look(), SECOND);
	now += 100ull * SECOND;
	EXPECT_EQ(look(), 0);
	EXPECT_EQ(look(), SECOND);
	heartbeat_unregister(&hb);
}

static void *other_thread(void *arg)
{
	struct heartbeat *hb = arg;

	heartbeat_register(hb, "other");
	this_heartbeat = NULL; /* the thread ends, its heartbeat stays: it hangs */
	return NULL;
}

static void the_worst_is_named(void)
{
	struct heartbeat own, other;
	pthread_t thread;

	heartbeat_register(&own, "own");
	EXPECT_EQ(pthread_create(&thread, NULL, other_thread, &other), 0);
	pthread_join(thread, NULL);
	EXPECT_EQ(heartbeat_count(), 2);
	look();
	for (int i = 0; i < 3; i++) {
		heartbeat_touch();
		look();
	}
	EXPECT(!strcmp(name, "other"));
	heartbeat_unregister(&other);
	this_heartbeat = &own;
	heartbeat_touch();
	EXPECT_EQ(look(), 0);
	heartbeat_unregister(&own);
	EXPECT_EQ(heartbeat_count(), 0);
}

static void touching_without_a_heartbeat_is_fine(void)
{
	heartbeat_touch();
	heartbeat_idle();
	EXPECT_EQ(look(), 0);
}

static const struct test_case cases[] = {
	{ "a thread that works and stays silent is found, with its name", silence_is_found },
	{ "a thread that waits for work is never blamed", waiting_for_work_is_no_hang },
	{ "after a look that came late everybody gets new time", a_late_look_blames_nobody },
	{ "of several the one that is silent longest is named", the_worst_is_named },
	{ "threads without a heartbeat may call what threads with one call",
	  touching_without_a_heartbeat_is_fine },
};
TEST_MAIN(cases)
