/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_oom - pools that promise more than there is, and who is ended when it shows
 */
#include "client/oom.h"

#include <string.h>

#include "client/relief.h"
#include "client/session.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/space/fault.h"
#include "mmbroker.h"
#include "os/os.h"

enum { MIB = 1 << 20, STRIDE = 3 * 4096 /* nothing is populated ahead */ };

static struct session *a, *b;
static struct client_counts before;

static uint32_t open_pool(struct session *s, const char *name, uint32_t flags)
{
	struct pool_open_args args = { .name = name, .flags = flags | MMB_POOL_CREATE,
				       .mode = 0666 };
	uint32_t handle;

	EXPECT_EQ(client_open_pool(s, &args, &handle), 0);
	return handle;
}

static void take(struct session *s, uint32_t pool, uint64_t bytes)
{
	client_region(s, pool, "", bytes, MMB_REGION_CREATE | MMB_REGION_POPULATE);
}

static void retry_after(uint64_t ms)
{
	fake_os_advance_ns(ms * 1000 * 1000);
	fault_retry_parked(os->now_ns());
}

static void a_region_may_be_longer_than_what_there_is(void)
{
	struct region_opened r;
	uint32_t pool;

	client_begin_two(&a, &b, &before);
	pool = open_pool(a, "p", MMB_POOL_OVERCOMMIT);
	r = client_region(a, pool, "", 1ull << 29, MMB_REGION_CREATE);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT_EQ(client_touch(a, r.address + (1ull << 28)), TOUCH_MAPPED);
	client_expect_valid();
	client_end_two(a, b, &before);
}

/* Until one isn't mapped: what it is then, and *at behind it. */
static enum client_touched touch_all(const struct region_opened *r, uint64_t *at)
{
	enum client_touched how = TOUCH_MAPPED;

	for (*at = 0; *at < r->length && how == TOUCH_MAPPED; *at += STRIDE)
		how = client_touch(a, r->address + *at);
	return how;
}

static void a_page_that_cant_be_had_fails(void)
{
	struct region_opened r;
	enum client_touched how;
	uint64_t at;

	client_begin_two(&a, &b, &before);
	r = client_region(a, open_pool(a, "p", MMB_POOL_OVERCOMMIT), "", 1ull << 28,
			  MMB_REGION_CREATE);
	how = touch_all(&r, &at);
	EXPECT_EQ(how, TOUCH_WAITS);
	EXPECT(at > MIB);
	relief_run(); /* who could give something back is asked first */
	EXPECT_EQ(client_told.nr_pressures, 1);
	EXPECT_EQ(client_told.pressure.level, 2);
	retry_after(300);
	EXPECT_EQ(client_touch(a, r.address + at - STRIDE), TOUCH_SIGBUS);
	retry_after(20);
	EXPECT_EQ(client_told.nr_kills, 0);
	client_expect_valid();
	client_end_two(a, b, &before);
}

static void with_the_policy_a_page_that_cant_be_had_ends_a_session(void)
{
	struct region_opened r;
	enum client_touched how;
	uint64_t at;

	client_begin_two(&a, &b, &before);
	r = client_region(a, open_pool(a, "p", MMB_POOL_OVERCOMMIT | MMB_POOL_OOM_KILL), "",
			  1ull << 28, MMB_REGION_CREATE);
	how = touch_all(&r, &at);
	EXPECT_EQ(how, TOUCH_WAITS);
	relief_run();
	EXPECT_EQ(client_told.nr_kills, 0);
	retry_after(300);
	relief_run();
	EXPECT_EQ(client_told.nr_kills, 1);
	EXPECT(client_told.killed == a);
	client_leave(a);
	retry_after(20); /* the fault is looked at again, and gone */
	a = client_session(1000);
	client_end_two(a, b, &before);
}

static void the_biggest_session_of_the_pool_is_ended(void)
{
	uint32_t ours, theirs, other;
	struct pool *pool;

	client_begin_two(&a, &b, &before);
	ours = open_pool(a, "p", MMB_POOL_OVERCOMMIT | MMB_POOL_OOM_KILL);
	theirs = open_pool(b, "p", 0);
	other = open_pool(a, "q", 0);
	take(a, other, 8 * MIB); /* more than all the rest, but not this pool's (O1) */
	take(a, ours, MIB);
	take(b, theirs, 2 * MIB);
	pool = client_pool_of(a, ours);
	memcg_oom(&pool->memcg, 1);
	relief_run();
	EXPECT_EQ(client_told.nr_kills, 1);
	EXPECT(client_told.killed == b);
	EXPECT(strstr(client_told.reason, "out of memory in pool p: the biggest of 2 sessions"));
	EXPECT_EQ(atomic_load(&pool->memcg.events[MEMCG_EVENT_OOM_KILL]), 1);
	memcg_oom(&pool->memcg, 1); /* O2 */
	relief_run();
	EXPECT_EQ(client_told.nr_kills, 1);
	fake_os_advance_ns(6ull * 1000 * 1000 * 1000);
	memcg_oom(&pool->memcg, 1);
	relief_run();
	EXPECT_EQ(client_told.nr_kills, 2);
	client_end_two(a, b, &before);
}

static void nobody_is_ended_without_that_policy(void)
{
	struct pool *pool;
	uint32_t handle;

	client_begin_two(&a, &b, &before);
	handle = open_pool(a, "p", MMB_POOL_OVERCOMMIT);
	take(a, handle, MIB);
	pool = client_pool_of(a, handle);
	memcg_oom(&pool->memcg, 1);
	relief_run();
	EXPECT_EQ(client_told.nr_kills, 0);
	EXPECT_EQ(atomic_load(&pool->memcg.events[MEMCG_EVENT_OOM]), 1);
	client_end_two(a, b, &before);
}

static void a_pool_without_sessions_that_have_memory_ends_nobody(void)
{
	uint32_t handle, other;
	struct pool *pool;

	client_begin_two(&a, &b, &before);
	handle = open_pool(a, "p", MMB_POOL_OVERCOMMIT | MMB_POOL_OOM_KILL);
	other = open_pool(b, "q", 0);
	take(b, other, MIB);
	pool = client_pool_of(a, handle);
	memcg_oom(&pool->memcg, 1);
	relief_run();
	EXPECT_EQ(client_told.nr_kills, 0);
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "a pool that overcommits makes regions of any length",
	  a_region_may_be_longer_than_what_there_is },
	{ "a page that can't be had fails at its touch", a_page_that_cant_be_had_fails },
	{ "with MMB_POOL_OOM_KILL it ends a session instead",
	  with_the_policy_a_page_that_cant_be_had_ends_a_session },
	{ "the session with most of the pool is ended, one at a time (O1, O2)",
	  the_biggest_session_of_the_pool_is_ended },
	{ "without MMB_POOL_OOM_KILL nobody is ended", nobody_is_ended_without_that_policy },
	{ "who has no memory of the pool isn't ended (O1)",
	  a_pool_without_sessions_that_have_memory_ends_nobody },
};
TEST_MAIN(cases)
