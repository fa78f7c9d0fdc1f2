/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_suspect - client/suspect.c: a request that daemons die by is counted, and no other;
 *                client/survivor.c: a process is found again by its mark; who ended with a daemon
 *                keeps its numbers
 */
#include "client/suspect.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/heartbeat.h"
#include "client/session.h"
#include "client/survivor.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "os/process.h"

enum { UID = 1000, PATIENCE = 20 };

static struct heartbeat heart;

static void one_request_is_counted(void)
{
	char name[HEARTBEAT_NAME_BYTES];
	struct session *s;

	client_begin(NULL);
	heartbeat_register(&heart, "test");
	s = client_session(UID);
	heartbeat_blame_self(); /* at nobody's work */
	session_work(s, 7);
	EXPECT_EQ(session_request_deaths(s, 7), 0);
	for (uint32_t deaths = 1; deaths <= REQUEST_DEATHS_MAX; deaths++) {
		heartbeat_blame_self();
		EXPECT_EQ(session_request_deaths(s, 7), deaths);
		EXPECT_EQ(session_request_deaths(s, 8), 0);
	}
	session_work(NULL, 0);
	heartbeat_blame_self();
	EXPECT_EQ(session_request_deaths(s, 7), REQUEST_DEATHS_MAX);
	/* Another one of the session's goes on: by turns neither would have enough. */
	session_work(s, 8);
	heartbeat_blame_oldest(); /* nobody has looked */
	EXPECT_EQ(session_request_deaths(s, 8), 0);
	for (uint64_t now_ns = 1; now_ns < 4; now_ns++)
		heartbeat_oldest(now_ns, 10, name);
	EXPECT(!strcmp(name, "test"));
	heartbeat_blame_oldest();
	EXPECT_EQ(session_request_deaths(s, 8), REQUEST_DEATHS_MAX + 1);
	EXPECT_EQ(session_request_deaths(s, 7), 0);
	suspects_forget();
	EXPECT_EQ(session_request_deaths(s, 8), 0);
	session_work(s, SUSPECT_FAULT);
	heartbeat_blame_oldest();
	EXPECT_EQ(session_request_deaths(s, SUSPECT_FAULT), 0);
	heartbeat_blame_self();
	EXPECT_EQ(session_request_deaths(s, SUSPECT_FAULT), 1);
	session_work(NULL, 0);
	client_leave(s);
	heartbeat_unregister(&heart);
	client_end();
}

static pid_t begin_process(int *pidfd)
{
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	EXPECT(pid > 0 && *pidfd >= 0);
	return pid;
}

static bool has_ended(void *survivor)
{
	fake_os_advance_ns(1000ull * 1000 * 1000);
	return survivor_has_ended(survivor);
}

static void a_process_is_found_by_its_mark(void)
{
	struct survivor *s, *same;
	uint64_t mark;
	int pidfd, found;
	pid_t pid;

	client_begin(NULL);
	pid = begin_process(&pidfd);
	mark = process_mark(pid, pidfd);
	EXPECT(mark && mark < 1ull << PROCESS_MARK_BITS);
	found = process_find(mark);
	EXPECT(found >= 0);
	close(found);
	EXPECT_EQ(process_find(mark ^ 1), -ESRCH); /* whoever has its pid was started later */
	s = survivor_get(mark);
	same = survivor_get(mark);
	EXPECT(s && s == same && !survivor_has_ended(s));
	EXPECT(survivor_get(0) == NULL);
	kill(pid, SIGKILL);
	EXPECT(test_wait(has_ended, s, PATIENCE));
	survivor_put(same);
	EXPECT(survivor_has_ended(s));
	survivor_put(s);
	EXPECT_EQ(process_find(mark), -ESRCH); /* its parent hasn't heard of it yet */
	waitpid(pid, NULL, 0);
	EXPECT_EQ(process_find(mark), -ESRCH);
	EXPECT_EQ(process_mark(pid, pidfd), 0);
	s = survivor_get(mark); /* it ended before the daemon looked */
	EXPECT(s && survivor_has_ended(s));
	survivor_put(s);
	survivor_put(NULL);
	close(pidfd);
	client_end();
}

/* Its session's slot is another one's soon, and a second death would give that its pool. */
static void who_ended_with_a_daemon_is_marked(void)
{
	enum { GONE = 77, SHARE = 1000 };
	struct session *s, *late;
	struct handle_record *record;
	struct pool_handle *ph;
	struct pool *pool;
	void *fresh = NULL;
	uint32_t handle;

	client_begin(NULL);
	s = client_session(UID);
	handle = client_pool(s, "p", MMB_POOL_CREATE);
	pool = client_pool_of(s, handle);
	EXPECT_EQ(record_new(RECORD_HANDLE, &fresh), 0);
	record = fresh;
	record->object = pool->id;
	record->share = SHARE;
	record->what = HANDLE_OF_POOL;
	record->member = GONE;
	record_commit(RECORD_HANDLE, record);
	EXPECT(!member_is_marked(record));
	EXPECT_EQ(member_resume_ended(pool, record), 0);
	EXPECT(member_is_marked(record));
	/* What it leased has the number of its share, which nobody gets again. */
	late = client_session(UID);
	handle = client_pool(late, "p", 0);
	ph = session_pool(late, handle, &client_why);
	EXPECT(ph && ph->id > SHARE);
	pool_handle_put(ph);
	members_tick(&pool->members);
	EXPECT_EQ(client_told.orphans_of, GONE);
	client_leave(late);
	client_leave(s);
	client_end();
}

static const struct test_case cases[] = {
	{ "the request that daemons die by is counted, and no other", one_request_is_counted },
	{ "a process is found again by its mark", a_process_is_found_by_its_mark },
	{ "who ended with a daemon is marked, and its share's number isn't given again",
	  who_ended_with_a_daemon_is_marked },
};
TEST_MAIN(cases)
