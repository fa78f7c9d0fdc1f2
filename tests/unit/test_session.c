/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_session - connecting, attaching, the fault log, and the end at every point
 */
#include "client/session.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/inject.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { UID = 1000, OTHER_UID = 2000, MIB = 1 << 20 };

static int attach(struct session *s, int uffd)
{
	struct attach_args args = { .uffd = uffd };

	return session_attach(s, &args, &client_why);
}

/* ---- limits ---- */

static void a_uid_has_so_many_sessions(void)
{
	struct session *all[CLIENT_SESSIONS_PER_UID], *other, *none;
	int error;

	client_begin(NULL);
	for (int i = 0; i < CLIENT_SESSIONS_PER_UID; i++)
		all[i] = client_session(UID);
	none = client_connect(UID, &client_why, &error);
	EXPECT(!none);
	EXPECT_EQ(error, -EDQUOT);
	client_expect_words("limits.sessions_per_uid");
	other = client_session(OTHER_UID);
	EXPECT_EQ(session_count(), CLIENT_SESSIONS_PER_UID + 1);
	client_leave(all[0]);
	all[0] = client_session(UID); /* one may come for each that goes */
	for (int i = 0; i < CLIENT_SESSIONS_PER_UID; i++)
		client_leave(all[i]);
	client_leave(other);
	client_end();
}

static void a_session_that_cant_be_made_leaves_nothing(void)
{
	static const enum inject_point points[] = { INJECT_SESSION_NEW, INJECT_SLAB };
	struct client_counts before;
	int error;

	client_begin(NULL);
	client_count(&before);
	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++) {
		inject_arm(points[i], 1, -ENOMEM);
		EXPECT(!client_connect(UID, &client_why, &error));
		EXPECT_EQ(error, -ENOMEM);
		inject_arm(points[i], 0, 0);
		client_expect_counts(&before);
	}
	client_end();
}

static void sessions_are_told_apart_by_ids(void)
{
	struct session *a, *b;

	client_begin(NULL);
	a = client_session(UID);
	b = client_session(UID);
	EXPECT(session_id(a) && session_id(a) < session_id(b));
	client_leave(a);
	client_leave(b);
	client_end();
}

/* ---- attach ---- */

static void only_a_userfaultfd_is_attached(void)
{
	struct session *s;
	int error, fd;

	client_begin(NULL);
	s = client_connect(UID, &client_why, &error);
	fd = os->memfd_new("no userfaultfd", PAGE_SIZE, 0);
	EXPECT_REFUSED(attach(s, fd), -EPROTO, "no userfaultfd");
	os->close(fd); /* what is none stays ours */
	EXPECT_EQ(attach(s, fake_uffd_new()), 0);
	EXPECT_REFUSED(attach(s, fake_uffd_new()), -EEXIST, "attached already");
	client_leave(s);
	client_end();
}

static void memory_needs_an_attached_userfaultfd(void)
{
	struct region_open_args args = { .name = "", .length = MIB };
	struct region_opened opened;
	struct client_counts before;
	struct session *s;
	int error;

	client_begin(NULL);
	client_count(&before);
	s = client_connect(UID, &client_why, &error);
	args.pool = client_pool(s, "p", MMB_POOL_CREATE);
	EXPECT_REFUSED(verb_region_open(s, &args, &opened, &client_why), -EUNATCH, "ATTACH");
	client_leave(s);
	client_settle();
	client_expect_counts(&before);
	client_end();
}

/* ---- fault log ---- */

static struct mmb_fault_log *open_log(struct session *s)
{
	int fd = session_fault_log_fd(s);
	struct mmb_fault_log *log;

	EXPECT(fd >= 0);
	log = mmap(NULL, MMB_FAULT_LOG_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	EXPECT(log != MAP_FAILED);
	os->close(fd);
	return log;
}

static void poison_fifth_page(const struct window *w, void *unused)
{
	EXPECT(region_poison(w->region, 5, "a test"));
}

static void a_lost_page_is_told_in_the_log(void)
{
	struct mmb_fault_log *log;
	struct region_opened r;
	struct session *s;

	client_begin(NULL);
	s = client_session(UID);
	log = open_log(s);
	r = client_region(s, client_pool(s, "", MMB_POOL_PRIVATE), "data", MIB, MMB_REGION_CREATE);
	EXPECT_EQ(client_touch(s, r.address + 3 * PAGE_SIZE), TOUCH_MAPPED);
	EXPECT_EQ(log->head, 0);
	mm_for_each_window(s->mm, poison_fifth_page, NULL);
	EXPECT_EQ(client_touch(s, r.address + 5 * PAGE_SIZE), TOUCH_SIGBUS);
	EXPECT_EQ(log->head, 1);
	EXPECT_EQ(log->records[0].seq, 2);
	EXPECT_EQ(log->records[0].address, r.address + 5 * PAGE_SIZE);
	EXPECT_EQ(log->records[0].offset, 5 * PAGE_SIZE);
	EXPECT_EQ(log->records[0].length, PAGE_SIZE);
	EXPECT_EQ(log->records[0].error, -EIO);
	EXPECT(!strcmp(log->records[0].region, "data"));
	EXPECT(!strcmp(log->records[0].cause, "a test"));
	munmap(log, MMB_FAULT_LOG_BYTES);
	client_leave(s);
	client_end();
}

static void the_log_is_a_ring(void)
{
	struct fault_record record = { .length = PAGE_SIZE, .region = "r", .cause = "c" };
	struct mmb_fault_log *log;
	struct session *s;

	client_begin(NULL);
	s = client_session(UID);
	session_log_fault(s, &record); /* nobody has asked for the log: nothing happens */
	log = open_log(s);
	for (uint64_t i = 0; i < MMB_FAULT_RECORDS + 3; i++) {
		record.address = i * PAGE_SIZE;
		session_log_fault(s, &record);
	}
	EXPECT_EQ(log->head, MMB_FAULT_RECORDS + 3);
	EXPECT_EQ(log->records[2].address, (MMB_FAULT_RECORDS + 2) * PAGE_SIZE);
	EXPECT_EQ(log->records[2].seq, 4);
	EXPECT_EQ(log->records[3].address, 3 * PAGE_SIZE);
	EXPECT_EQ(log->records[3].seq, 2);
	munmap(log, MMB_FAULT_LOG_BYTES);
	client_leave(s);
	client_end();
}

static void a_log_that_cant_be_made_leaves_nothing(void)
{
	static const enum inject_point points[] = { INJECT_MEMFD_NEW, INJECT_POPULATE,
						    INJECT_REOPEN };
	struct fake_os_counts before, after;
	struct session *s;

	client_begin(NULL);
	s = client_session(UID);
	fake_os_count(&before);
	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++) {
		inject_arm(points[i], 1, -EMFILE);
		EXPECT(session_fault_log_fd(s) < 0);
		inject_arm(points[i], 0, 0);
		fake_os_count(&after);
		EXPECT(after.files == before.files || points[i] == INJECT_REOPEN);
	}
	client_leave(s);
	client_end();
}

/* ---- the end ---- */

static void nothing_works_after_the_end(void)
{
	struct region_open_args args = { .name = "", .length = MIB };
	struct pool_open_args pool_args = { .name = "q", .flags = MMB_POOL_CREATE };
	struct region_opened opened;
	struct region_opened r;
	struct session *s;
	uint32_t handle;

	client_begin(NULL);
	s = client_session(UID);
	args.pool = client_pool(s, "p", MMB_POOL_CREATE);
	r = client_region(s, args.pool, "", MIB, 0);
	session_end(s, "a test");
	session_end(s, "once more");
	EXPECT_EQ(session_count(), 0);
	EXPECT_EQ(verb_region_open(s, &args, &opened, &client_why), -EBADF);
	EXPECT_EQ(verb_region_close(s, r.handle, &client_why), -EBADF);
	EXPECT_EQ(verb_pool_close(s, args.pool, &client_why), -EBADF);
	EXPECT(client_open_pool(s, &pool_args, &handle) < 0);
	EXPECT_REFUSED(attach(s, fake_uffd_new()), -ENOTCONN, "ended");
	session_put(s);
	client_end();
}

/* What a client does, step by step; it may end after any of them. */
struct script {
	struct session *s;
	uint32_t pool, twice;
	struct region_opened small, large, shared;
	uint64_t pages[4];
};

static void script_attach(struct script *c)
{
	EXPECT_EQ(attach(c->s, fake_uffd_new()), 0);
}

static void script_pool(struct script *c)
{
	c->pool = client_pool(c->s, "p", MMB_POOL_CREATE);
	c->twice = client_pool(c->s, "p", 0);
}

static void script_regions(struct script *c)
{
	c->small = client_region(c->s, c->pool, "", 8 * MIB, 0);
	c->shared = client_region(c->s, c->pool, "shared", MIB, MMB_REGION_CREATE);
}

static void script_faults(struct script *c)
{
	for (uint64_t i = 0; i < 64; i++)
		EXPECT_EQ(client_touch(c->s, c->small.address + i * PAGE_SIZE), TOUCH_MAPPED);
	EXPECT_EQ(client_touch(c->s, c->shared.address), TOUCH_MAPPED);
}

static void script_pages(struct script *c)
{
	struct pages_args args = { .pool = c->twice, .order = 3, .nr = 4, .addresses = c->pages };
	uint32_t got;

	EXPECT_EQ(verb_pages_alloc(c->s, &args, &got, &client_why), 0);
}

static void script_lock(struct script *c)
{
	struct region_range_args range = { .region = c->shared.handle, .length = MIB };

	EXPECT_EQ(verb_region_lock(c->s, &range, &client_why), 0);
}

static void script_large(struct script *c)
{
	struct region_open_args args = { .pool = c->pool,
					 .name = "",
					 .length = 4 * MIB,
					 .page_size = PAGEBLOCK_SIZE,
					 .flags = MMB_REGION_POPULATE };

	EXPECT_EQ(verb_region_open(c->s, &args, &c->large, &client_why), 0);
	client_map(c->s, &c->large);
}

static void script_parked(struct script *c)
{
	fake_os_set_limit(0, fake_os_used(0, false), fake_os_used(0, true));
	EXPECT_EQ(client_touch(c->s, c->small.address + 7 * MIB), TOUCH_WAITS);
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
}

static void (*const steps[])(struct script *) = {
	script_attach, script_pool, script_regions, script_faults,
	script_pages,  script_lock, script_large,   script_parked,
};

static void retry_parked(void)
{
	fake_os_advance_ns(1000000000);
	fault_retry_parked(os->now_ns());
	fake_os_advance_ns(1000000000);
	EXPECT_EQ(fault_retry_parked(os->now_ns()), 0);
}

static void run_script(unsigned int nr_steps)
{
	struct client_counts before;
	struct script c = { 0 };
	int error;

	client_begin(&(struct client_options){ .space.huge_mib = 32 });
	client_count(&before);
	c.s = client_connect(UID, &client_why, &error);
	for (unsigned int i = 0; i < nr_steps; i++)
		steps[i](&c);
	client_expect_valid();
	client_leave(c.s);
	EXPECT_EQ(session_count(), 0);
	retry_parked();     /* whoever waited is gone, and so is who would be told */
	if (nr_steps > 2) { /* "shared" has a name and stays */
		c.s = client_session(0);
		c.pool = client_pool(c.s, "p", 0);
		EXPECT_EQ(client_unlink(c.s, c.pool, "shared", &client_why), 0);
		client_leave(c.s);
	}
	client_settle();
	client_expect_counts(&before);
	client_end();
}

static void the_end_gives_everything_back_at_any_point(void)
{
	for (unsigned int i = 0; i <= ARRAY_SIZE(steps); i++)
		run_script(i);
}

static void a_reference_outlives_the_end(void)
{
	struct session *s;

	client_begin(NULL);
	s = client_session(UID);
	session_get(s);
	client_leave(s);
	EXPECT_EQ(session_count(), 0);
	EXPECT(session_id(s) > 0);
	session_put(s);
	client_end();
}

static void a_client_that_cant_be_poisoned_is_killed(void)
{
	struct session *s;
	struct region_opened r;

	client_begin(&(struct client_options){ .space.cannot_poison = true });
	s = client_session(UID);
	r = client_region(s, client_pool(s, "p", MMB_POOL_CREATE), "", MIB, 0);
	EXPECT_EQ(mm_remove_range(s->mm, r.address, PAGE_SIZE), 0);
	space_fault(s->mm, r.address, 0);
	retry_parked();
	EXPECT_EQ(client_told.nr_kills, 1);
	EXPECT(strstr(client_told.reason, "can't poison"));
	client_leave(s);
	client_end();
}

static void nr_each(struct session *s, void *arg)
{
	++*(unsigned int *)arg;
}

static void a_walk_visits_each_live_session(void)
{
	struct session *all[5];
	unsigned int nr = 0;

	client_begin(NULL);
	for (int i = 0; i < 5; i++)
		all[i] = client_session(UID);
	session_end(all[2], "a test");
	session_for_each(nr_each, &nr);
	EXPECT_EQ(nr, 4);
	for (int i = 0; i < 5; i++)
		client_leave(all[i]);
	client_end();
}

static const struct test_case cases[] = {
	{ "a uid has so many sessions", a_uid_has_so_many_sessions },
	{ "a session that can't be made leaves nothing",
	  a_session_that_cant_be_made_leaves_nothing },
	{ "sessions are told apart by growing ids", sessions_are_told_apart_by_ids },
	{ "only a userfaultfd is attached, and once", only_a_userfaultfd_is_attached },
	{ "memory needs an attached userfaultfd", memory_needs_an_attached_userfaultfd },
	{ "a lost page is told in the client's log", a_lost_page_is_told_in_the_log },
	{ "the log is a ring", the_log_is_a_ring },
	{ "a log that can't be made leaves nothing", a_log_that_cant_be_made_leaves_nothing },
	{ "nothing works after the end (S2)", nothing_works_after_the_end },
	{ "the end gives everything back, at any point (S1)",
	  the_end_gives_everything_back_at_any_point },
	{ "a reference outlives the end", a_reference_outlives_the_end },
	{ "a client that can't be poisoned is killed", a_client_that_cant_be_poisoned_is_killed },
	{ "a walk visits each live session", a_walk_visits_each_live_session },
};
TEST_MAIN(cases)
