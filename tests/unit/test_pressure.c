/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pressure - stalled time of pools and sessions as operators read it
 */
#include "client/pressure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/session.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { MS = 1000 * 1000 };

static struct session *a, *b;
static struct client_counts before;

/* The kind's total in microseconds. */
static uint64_t total(const char *pool, uint64_t session, const char *kind)
{
	char *text, *line;
	uint64_t us;

	EXPECT_EQ(report_pressure(pool, session, &text, &client_why), 0);
	line = strstr(text, kind);
	EXPECT(line && strstr(line, "total="));
	us = strtoull(strstr(line, "total=") + 6, NULL, 10);
	free(text);
	return us;
}

static void stalls_show_for_pool_and_session(void)
{
	struct pool_stat stat;
	uint32_t handle;
	struct pool *pool;

	client_begin_two(&a, &b, &before);
	handle = client_pool(a, "p", MMB_POOL_CREATE);
	client_pool(b, "q", MMB_POOL_CREATE);
	pool = client_pool_of(a, handle);
	memstall_enter(&pool->memcg, &a->mm->psi);
	fake_os_advance_ns(MS);
	memstall_leave(&pool->memcg, &a->mm->psi);
	EXPECT_EQ(total("p", 0, "some"), 1000);
	EXPECT_EQ(total("", a->id, "some"), 1000);
	EXPECT(total("", 0, "some") >= total("p", 0, "some"));
	EXPECT_EQ(total("q", 0, "some"), 0);
	EXPECT_EQ(total("", b->id, "some"), 0);
	EXPECT_EQ(verb_pool_stat(a, handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.some_stall_us, total("p", 0, "some"));
	EXPECT_EQ(stat.full_stall_us, total("p", 0, "full"));
	client_end_two(a, b, &before);
}

static void full_needs_all_threads_that_fault(void)
{
	uint64_t full;
	struct pool *pool;

	client_begin_two(&a, &b, &before);
	pool = client_pool_of(a, client_pool(a, "p", MMB_POOL_CREATE));
	client_pool(a, "p", 0); /* once more, and no more threads for that */
	atomic_store(&a->mm->nr_tasks, 2);
	pressure_tick();
	EXPECT_EQ(pool->memcg.psi.nr_tasks, 2);
	EXPECT_EQ(memcg_root()->psi.nr_tasks, 2);
	full = total("p", 0, "full");
	memstall_enter(&pool->memcg, &a->mm->psi);
	fake_os_advance_ns(MS);
	EXPECT_EQ(total("p", 0, "full"), full);
	EXPECT_EQ(total("", a->id, "full"), 0);
	memstall_enter(&pool->memcg, &a->mm->psi);
	fake_os_advance_ns(MS);
	EXPECT_EQ(total("p", 0, "full"), full + 1000);
	EXPECT_EQ(total("", a->id, "full"), 1000);
	memstall_leave(&pool->memcg, &a->mm->psi);
	memstall_leave(&pool->memcg, &a->mm->psi);
	client_end_two(a, b, &before);
}

static void strangers_are_refused(void)
{
	char *text;

	client_begin_two(&a, &b, &before);
	EXPECT_REFUSED(report_pressure("none", 0, &text, &client_why), -ENOENT, "no pool 'none'");
	EXPECT_REFUSED(report_pressure("", 1ull << 40, &text, &client_why), -ENOENT, "no session");
	EXPECT_REFUSED(report_pressure("p", 1, &text, &client_why), -EINVAL, "not both");
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "a stall shows for its pool and session, and for no other",
	  stalls_show_for_pool_and_session },
	{ "full is when all threads that fault wait", full_needs_all_threads_that_fault },
	{ "a pool or session that isn't there is refused", strangers_are_refused },
};
TEST_MAIN(cases)
