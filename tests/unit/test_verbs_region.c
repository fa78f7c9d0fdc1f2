/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_verbs_region - regions by name and without: opened, shared, refused, placed, closed
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/inject.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { UID = 1000, OTHER_UID = 2000, MIB = 1 << 20 };

static struct session *a, *b;
static uint32_t pool_a, pool_b; /* one pool, for both uids */
static struct client_counts before;

static uint32_t open_to_all(struct session *s)
{
	struct pool_open_args args = { .name = "p", .flags = MMB_POOL_CREATE, .mode = 0666 };
	uint32_t handle = 0;

	EXPECT_EQ(client_open_pool(s, &args, &handle), 0);
	return handle;
}

static void begin_with(const struct client_options *options)
{
	client_begin(options);
	client_count(&before);
	a = client_session(UID);
	b = client_session(OTHER_UID);
	pool_a = open_to_all(a);
	pool_b = open_to_all(b);
}

static int open_region(struct session *s, struct region_open_args args,
		       struct region_opened *opened)
{
	args.pool = s == a ? pool_a : pool_b;
	return verb_region_open(s, &args, opened, &client_why);
}

static int try_open(struct session *s, const char *name, uint32_t flags, uint32_t mode)
{
	struct region_open_args args = { .name = name,
					 .flags = flags,
					 .mode = mode,
					 .length = flags & MMB_REGION_CREATE ? MIB : 0 };
	struct region_opened opened;
	int r = open_region(s, args, &opened);

	if (!r)
		client_map(s, &opened);
	return r;
}

static void unlink_name(const char *name)
{
	EXPECT_EQ(client_unlink(a, pool_a, name, &client_why), 0);
}

/* ---- names ---- */

static void a_region_is_made_once_and_shared(void)
{
	struct region_opened first, second;

	begin_with(NULL);
	EXPECT_REFUSED(try_open(a, "r", 0, 0), -ENOENT, "MMB_REGION_CREATE");
	EXPECT_EQ(open_region(a,
			      (struct region_open_args){ .name = "r",
							 .length = MIB,
							 .mode = 0666,
							 .flags = MMB_REGION_CREATE },
			      &first),
		  0);
	EXPECT(first.created);
	EXPECT_EQ(first.page_size, PAGE_SIZE);
	client_map(a, &first);
	second = client_region(b, pool_b, "r", 0, 0);
	EXPECT(!second.created);
	EXPECT_EQ(second.length, MIB);
	EXPECT_EQ(second.address, first.address); /* the same in all clients */
	EXPECT_EQ(client_touch(a, first.address), TOUCH_MAPPED);
	EXPECT_EQ(client_touch(b, first.address), TOUCH_MAPPED);
	EXPECT_REFUSED(try_open(b, "r", MMB_REGION_CREATE | MMB_REGION_EXCL, 0), -EEXIST, "exists");
	unlink_name("r");
	client_end_two(a, b, &before);
}

static void a_named_region_outlives_its_users(void)
{
	struct region_opened r;
	struct region_stat stat;

	begin_with(NULL);
	r = client_region(a, pool_a, "r", MIB, MMB_REGION_CREATE);
	EXPECT_EQ(client_touch(a, r.address + 7 * PAGE_SIZE), TOUCH_MAPPED);
	EXPECT_EQ(verb_region_close(a, r.handle, &client_why), 0);
	client_leave(a);
	a = client_session(UID);
	pool_a = open_to_all(a);
	r = client_region(a, pool_a, "r", 0, 0);
	EXPECT_EQ(verb_region_stat(a, r.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.resident, PAGE_SIZE);
	EXPECT_EQ(stat.length, MIB);
	unlink_name("r");
	client_end_two(a, b, &before);
}

static void an_unlinked_region_lives_with_its_users(void)
{
	struct region_opened old, fresh;

	begin_with(NULL);
	old = client_region(a, pool_a, "r", MIB, MMB_REGION_CREATE);
	EXPECT_EQ(client_touch(a, old.address), TOUCH_MAPPED);
	unlink_name("r");
	EXPECT_REFUSED(try_open(a, "r", 0, 0), -ENOENT, "no region");
	EXPECT_REFUSED(client_unlink(a, pool_a, "r", &client_why), -ENOENT, "no region");
	fresh = client_region(a, pool_a, "r", 2 * MIB, MMB_REGION_CREATE);
	EXPECT(fresh.address != old.address);
	EXPECT_EQ(client_touch(a, old.address + PAGE_SIZE), TOUCH_MAPPED);
	EXPECT_EQ(verb_region_close(a, old.handle, &client_why), 0);
	regions_flush();
	EXPECT_EQ(pool_region_live(), 1);
	unlink_name("r");
	client_end_two(a, b, &before);
}

static void unnamed_regions_are_nobody_else_s(void)
{
	struct region_opened one, two;

	begin_with(NULL);
	one = client_region(a, pool_a, "", MIB, 0);
	two = client_region(a, pool_a, "", MIB, 0);
	EXPECT(one.handle != two.handle && one.address != two.address);
	EXPECT_EQ(pool_region_live(), 2);
	EXPECT_EQ(verb_region_close(a, one.handle, &client_why), 0);
	regions_flush();
	EXPECT_EQ(pool_region_live(), 1);
	EXPECT_REFUSED(verb_region_close(a, one.handle, &client_why), -EBADF, "handle");
	client_end_two(a, b, &before);
}

static void mode_bits_decide_who_may_open(void)
{
	struct region_opened r;

	begin_with(NULL);
	EXPECT_EQ(try_open(a, "mine", MMB_REGION_CREATE, 0600), 0);
	EXPECT_EQ(try_open(a, "look", MMB_REGION_CREATE, 0644), 0);
	EXPECT_REFUSED(try_open(b, "mine", 0, 0), -EACCES, "for writing");
	EXPECT_REFUSED(try_open(b, "mine", MMB_REGION_READONLY, 0), -EACCES, "for reading");
	EXPECT_REFUSED(try_open(b, "look", 0, 0), -EACCES, "mode 0644");
	r = client_region(b, pool_b, "look", 0, MMB_REGION_READONLY);
	EXPECT_EQ(r.flags, MMB_REGION_READONLY);
	EXPECT_REFUSED(client_unlink(b, pool_b, "look", &client_why), -EACCES, "owner");
	unlink_name("mine");
	unlink_name("look");
	client_end_two(a, b, &before);
}

/* ---- refusals ---- */

static void wrong_arguments_are_refused_in_words(void)
{
	static const struct {
		struct region_open_args args;
		const char *words;
	} table[] = {
		{ { .name = "", .length = MIB, .flags = 32 }, "unknown bits" },
		{ { .name = "", .length = MIB, .flags = MMB_REGION_READONLY },
		  "nobody could fill" },
		{ { .name = "a/b", .length = MIB, .flags = 1 }, "no '/'" },
		{ { .name = "", .length = 0 }, "above 0" },
		{ { .name = "r", .length = 0, .flags = 1 }, "needs a length" },
		{ { .name = "", .length = MIB + 1 }, "multiple" },
		{ { .name = "", .length = MIB, .page_size = PAGEBLOCK_SIZE }, "multiple" },
		{ { .name = "", .length = MIB, .page_size = 8192 }, "4096 or 2097152" },
		{ { .name = "", .length = 1ull << 43 }, "2^43" },
		{ { .name = "", .length = UINT64_MAX & ~4095ull }, "2^43" },
		{ { .name = "", .length = MIB, .mode = 01777 }, "permission bits" },
		{ { .name = "", .length = MIB, .nodes = { 77, 0 } }, "node policy" },
		{ { .name = "", .length = MIB, .nodes = { 2, 0 } }, "needs a node mask" },
		{ { .name = "", .length = MIB, .address = 4097 * 4096 + 1 }, "can't be mapped" },
		{ { .name = "", .length = MIB, .address = 4096 }, "can't be mapped" },
		{ { .name = "", .length = MIB, .address = (1ull << 47) - 4096 },
		  "can't be mapped" },
		{ { .name = "", .length = MIB, .address = 1ull << 63 }, "can't be mapped" },
	};
	struct region_opened opened;

	begin_with(NULL);
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		EXPECT_REFUSED(open_region(a, table[i].args, &opened), -EINVAL, table[i].words);
		EXPECT(opened.fd < 0);
	}
	EXPECT_EQ(pool_region_live(), 0);
	client_end_two(a, b, &before);
}

static void what_differs_from_the_region_is_refused(void)
{
	struct region_opened opened;

	begin_with(NULL);
	client_region(a, pool_a, "r", 2 * MIB, MMB_REGION_CREATE);
	EXPECT_REFUSED(
		open_region(a, (struct region_open_args){ .name = "r", .length = MIB }, &opened),
		-EINVAL, "2097152 bytes, not");
	EXPECT_REFUSED(
		open_region(a,
			    (struct region_open_args){ .name = "r", .page_size = PAGEBLOCK_SIZE },
			    &opened),
		-EINVAL, "pages of 4096");
	EXPECT_EQ(open_region(a,
			      (struct region_open_args){
				      .name = "r", .length = 2 * MIB, .page_size = PAGE_SIZE },
			      &opened),
		  0);
	client_map(a, &opened);
	unlink_name("r");
	client_end_two(a, b, &before);
}

static void more_than_there_is_is_refused_with_figures(void)
{
	struct region_opened opened;

	begin_with(&(struct client_options){ .space.huge_mib = 16 });
	EXPECT_REFUSED(open_region(a, (struct region_open_args){ .name = "", .length = 1ull << 32 },
				   &opened),
		       -ENOMEM, "memory.reserve");
	EXPECT_REFUSED(open_region(a,
				   (struct region_open_args){ .name = "",
							      .length = 64 * MIB,
							      .page_size = PAGEBLOCK_SIZE },
				   &opened),
		       -ENOMEM, "memory.reserve_huge");
	client_end_two(a, b, &before);
}

static void a_session_has_so_many_regions(void)
{
	begin_with(NULL);
	for (int i = 0; i < CLIENT_REGIONS_PER_SESSION; i++)
		client_region(a, pool_a, "", MIB, 0);
	EXPECT_REFUSED(try_open(a, "", MMB_REGION_CREATE, 0), -EDQUOT, "regions_per_session");
	regions_flush();
	EXPECT_EQ(pool_region_live(), CLIENT_REGIONS_PER_SESSION);
	client_end_two(a, b, &before);
}

static void a_uid_has_so_many_regions(void)
{
	struct session *more;
	uint32_t pool;
	struct region_open_args args = { .name = "", .length = MIB };
	struct region_opened opened;

	begin_with(NULL);
	more = client_session(UID);
	pool = open_to_all(more);
	for (int i = 0; i < CLIENT_REGIONS_PER_UID; i++)
		client_region(i % 2 ? a : more, i % 2 ? pool_a : pool, "", MIB, 0);
	args.pool = pool;
	EXPECT_REFUSED(verb_region_open(more, &args, &opened, &client_why), -EDQUOT,
		       "regions_per_uid");
	client_region(b, pool_b, "", MIB, 0);
	client_leave(more);
	client_end_two(a, b, &before);
}

static struct region_opened open_span(struct session *s, uint32_t pool, uint64_t length)
{
	struct region_open_args args = { .name = "", .length = length, .pool = pool };
	struct region_opened opened = { 0 };

	EXPECT_EQ(verb_region_open(s, &args, &opened, &client_why), 0);
	client_map(s, &opened);
	return opened;
}

/* One that promises nothing takes its length of the span all the same, and leaves others some. */
static void a_uid_spans_so_much(void)
{
	const uint64_t gib = 1 << 30;
	struct region_open_args args = { .name = "", .length = gib };
	struct limits usual, limits;
	struct region_opened first, opened;
	uint32_t over_a, over_b;

	begin_with(NULL);
	usual = *limits_get();
	limits = usual;
	limits.span_per_uid = 2 * gib;
	accounts_set_limits(&limits);
	over_a = client_pool(a, "over", MMB_POOL_CREATE | MMB_POOL_OVERCOMMIT);
	over_b = client_pool(b, "other", MMB_POOL_CREATE | MMB_POOL_OVERCOMMIT);
	first = open_span(a, over_a, gib + MIB);
	args.pool = over_a;
	EXPECT_REFUSED(verb_region_open(a, &args, &opened, &client_why), -EDQUOT,
		       "limits.span_per_uid");
	opened = open_span(a, over_a, gib - 2 * MIB); /* pageblocks: all that is left */
	args.length = 4096;
	EXPECT_REFUSED(verb_region_open(a, &args, &opened, &client_why), -EDQUOT,
		       "limits.span_per_uid");
	EXPECT_EQ(verb_region_close(a, first.handle, &client_why), 0);
	client_settle();
	open_span(a, over_a, 4096);

	/* Another's share is its own, but for the last part of all. */
	args.pool = over_b;
	args.length = 2 * gib;
	limits.span_per_uid = 3 * gib;
	accounts_set_limits(&limits);
	open_span(b, over_b, gib + gib / 2);
	args.length = gib + gib / 4;
	EXPECT_REFUSED(verb_region_open(b, &args, &opened, &client_why), -ENOSPC, "1 GiB or less");
	open_span(b, over_b, gib / 2);
	accounts_set_limits(&usual);
	client_end_two(a, b, &before);
}

static void invented_handles_are_refused(void)
{
	struct region_open_args args = { .name = "", .length = MIB };
	struct region_opened r, opened;
	struct region_stat stat;

	begin_with(NULL);
	r = client_region(b, pool_b, "", MIB, 0);
	client_region(a, pool_a, "", MIB, 0);
	for (uint32_t i = 1; i < 4; i++) {
		uint32_t handle = r.handle + i;

		EXPECT_REFUSED(verb_region_close(a, handle, &client_why), -EBADF, "handle");
		EXPECT_REFUSED(verb_region_stat(a, handle, &stat, &client_why), -EBADF, "handle");
		EXPECT_REFUSED(verb_region_window(a, handle, 1 << 30, &client_why), -EBADF,
			       "handle");
		args.pool = pool_a + i;
		EXPECT_REFUSED(verb_region_open(a, &args, &opened, &client_why), -EBADF, "handle");
		EXPECT_REFUSED(client_unlink(a, pool_a + i, "r", &client_why), -EBADF,
			       "handle");
	}
	client_end_two(a, b, &before);
}

/* ---- places ---- */

static void a_region_has_one_address_in_all_clients_if_it_is_free(void)
{
	struct region_opened first, again;

	begin_with(NULL);
	first = client_region(a, pool_a, "r", MIB, MMB_REGION_CREATE);
	again = client_region(a, pool_a, "r", 0, 0); /* once more: elsewhere */
	EXPECT(again.address != first.address);
	EXPECT_EQ(client_touch(a, again.address), TOUCH_MAPPED);
	EXPECT_EQ(client_touch(a, first.address), TOUCH_MAPPED);
	unlink_name("r");
	client_end_two(a, b, &before);
}

static void a_client_may_name_the_address(void)
{
	uint64_t wanted = 0x4f0000000000ull;
	struct region_open_args args = { .name = "", .length = MIB, .address = wanted };
	struct region_opened r;

	begin_with(NULL);
	EXPECT_EQ(open_region(a, args, &r), 0);
	EXPECT_EQ(r.address, wanted);
	client_map(a, &r);
	EXPECT_EQ(client_touch(a, wanted + 5 * PAGE_SIZE), TOUCH_MAPPED);
	args.address = wanted + MIB - PAGE_SIZE;
	EXPECT_REFUSED(open_region(a, args, &r), -EADDRNOTAVAIL, "no place");
	client_end_two(a, b, &before);
}

static void a_window_may_move(void)
{
	uint64_t wanted = 0x4f0000000000ull;
	struct region_opened one, two;

	begin_with(NULL);
	one = client_region(a, pool_a, "", MIB, 0);
	two = client_region(a, pool_a, "", MIB, 0);
	EXPECT_REFUSED(verb_region_window(a, one.handle, wanted + 1, &client_why), -EINVAL,
		       "not aligned");
	EXPECT_REFUSED(verb_region_window(a, one.handle, 0, &client_why), -EINVAL, "outside");
	EXPECT_REFUSED(verb_region_window(a, one.handle, two.address, &client_why), -EEXIST,
		       "no window");
	EXPECT_EQ(client_touch(a, one.address), TOUCH_MAPPED); /* it is where it was */
	EXPECT_EQ(verb_region_window(a, one.handle, wanted, &client_why), 0);
	EXPECT_EQ(mm_remove_range(a->mm, two.address, MIB), 0);
	EXPECT_EQ(a->mm->nr_windows, 1);
	client_end_two(a, b, &before);
}

/* ---- readiness ---- */

static void populated_and_locked_regions_are_resident(void)
{
	struct region_open_args args = { .name = "", .length = MIB };
	struct region_opened r;
	struct region_stat stat;

	begin_with(NULL);
	args.flags = MMB_REGION_POPULATE;
	EXPECT_EQ(open_region(a, args, &r), 0);
	client_map(a, &r);
	EXPECT_EQ(verb_region_stat(a, r.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.resident, MIB);
	EXPECT_EQ(stat.locked, 0);
	args.flags = MMB_REGION_LOCKED;
	EXPECT_EQ(open_region(a, args, &r), 0);
	client_map(a, &r);
	EXPECT_EQ(verb_region_stat(a, r.handle, &stat, &client_why), 0);
	EXPECT_EQ(stat.locked, MIB);
	client_end_two(a, b, &before);
}

static void large_pages_say_what_they_are(void)
{
	struct region_open_args args = { .name = "",
					 .length = 4 * MIB,
					 .page_size = PAGEBLOCK_SIZE };
	struct region_opened r;

	for (uint64_t huge = 0; huge <= 16; huge += 16) {
		begin_with(&(struct client_options){ .space.huge_mib = huge });
		EXPECT_EQ(open_region(a, args, &r), 0);
		EXPECT_EQ(r.page_size, PAGEBLOCK_SIZE);
		EXPECT_EQ(r.hugetlb, huge != 0);
		EXPECT(is_aligned(r.address, PAGEBLOCK_SIZE));
		client_map(a, &r);
		EXPECT_EQ(client_touch(a, r.address + 3 * MIB), TOUCH_MAPPED);
		client_end_two(a, b, &before);
	}
}

/* Fails the nth pass of the point while the region is opened; false if it opened all the same. */
static bool fails_cleanly(enum inject_point point, uint64_t nth)
{
	struct region_open_args args = { .name = "r",
					 .length = MIB,
					 .flags = MMB_REGION_CREATE | MMB_REGION_POPULATE };
	struct region_opened opened;
	struct client_counts here;
	int r;

	client_count(&here);
	inject_arm(point, nth, -ENOMEM);
	r = open_region(a, args, &opened);
	inject_arm(point, 0, 0);
	if (r) {
		EXPECT_EQ(r, -ENOMEM);
		EXPECT(client_why.text[0]);
		EXPECT(opened.fd < 0);
		EXPECT_REFUSED(try_open(a, "r", 0, 0), -ENOENT, "no region");
	} else {
		os->close(opened.fd);
		unlink_name("r");
		EXPECT_EQ(verb_region_close(a, opened.handle, &client_why), 0);
	}
	regions_flush();
	client_expect_counts(&here);
	return r != 0;
}

static void a_region_that_cant_be_given_is_not_left_behind(void)
{
	static const enum inject_point points[] = {
		INJECT_REGION_NEW, INJECT_COMMIT, INJECT_MEMFD_NEW, INJECT_META_POPULATE,
		INJECT_WINDOW_ADD, INJECT_REOPEN, INJECT_POPULATE,
	};

	begin_with(NULL);
	client_region(a, pool_a, "", MIB, 0); /* the tables have grown */
	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++) {
		EXPECT(fails_cleanly(points[i], 1));
		for (uint64_t nth = 2; fails_cleanly(points[i], nth); nth++)
			EXPECT(nth < 20);
	}
	client_end_two(a, b, &before);
}

/* What a dead daemon has begun, and its successor can't finish. */
static void nor_is_one_whose_request_fails_when_repeated(void)
{
	struct region_open_args args = { .name = "r", .length = MIB, .flags = MMB_REGION_CREATE,
					 .request = 77 };
	struct region_opened first, again;

	begin_with(NULL);
	EXPECT_EQ(open_region(a, args, &first), 0);
	os->close(first.fd);
	args.again = true;
	EXPECT_EQ(open_region(a, args, &again), 0);
	EXPECT_EQ(again.handle, first.handle);
	EXPECT(again.created);
	os->close(again.fd);
	args.flags |= MMB_REGION_POPULATE;
	inject_arm(INJECT_POPULATE, 1, -ENOMEM);
	EXPECT_EQ(open_region(a, args, &again), -ENOMEM);
	inject_arm(INJECT_POPULATE, 0, 0);
	EXPECT_REFUSED(verb_region_close(a, first.handle, &client_why), -EBADF, "handle");
	EXPECT_REFUSED(try_open(a, "r", 0, 0), -ENOENT, "no region");
	client_end_two(a, b, &before);
}

/* Whoever may only read opened it under an id, and says that another request had that id. */
static void nothing_is_repeated_that_was_not_asked_for_before(void)
{
	struct region_open_args args = { .name = "r", .flags = MMB_REGION_READONLY,
					 .request = 77 };
	struct region_clone_args clone = { .name = "mine" };
	const struct region_clone_request want = { .request = 77, .again = true, .clones = &clone,
						   .nr = 1 };
	struct region_opened of_a, opened, again;
	uint32_t handle;

	begin_with(NULL);
	EXPECT_EQ(open_region(a, (struct region_open_args){ .name = "r", .length = MIB,
							    .flags = MMB_REGION_CREATE,
							    .mode = 0644 }, &of_a), 0);
	os->close(of_a.fd);
	EXPECT_EQ(open_region(b, args, &opened), 0);
	os->close(opened.fd);
	clone.region = opened.handle;
	EXPECT_EQ(verb_region_clone(b, &want, &handle, &client_why), 0);
	EXPECT(handle != opened.handle);
	EXPECT_EQ(verb_region_close(b, handle, &client_why), 0);
	EXPECT_EQ(try_open(a, "r", 0, 0), 0);
	clone.name = "r"; /* which there is: whatever was begun is undone */
	EXPECT_REFUSED(verb_region_clone(b, &want, &handle, &client_why), -EEXIST, "exists");
	EXPECT_EQ(try_open(a, "r", 0, 0), 0);
	args.again = true;
	args.flags |= MMB_REGION_LOCKED;
	EXPECT_REFUSED(open_region(b, args, &again), -EACCES, "locked");
	EXPECT_EQ(client_unlink(b, pool_b, "mine", &client_why), 0);
	unlink_name("r");
	client_end_two(a, b, &before);
}

static void a_failed_opener_ends_nobody_else_s_region(void)
{
	begin_with(NULL);
	client_region(a, pool_a, "r", MIB, MMB_REGION_CREATE);
	inject_arm(INJECT_WINDOW_ADD, 1, -ENOMEM);
	EXPECT_EQ(try_open(a, "r", MMB_REGION_CREATE, 0), -ENOMEM);
	inject_arm(NR_INJECT_POINTS, 0, 0);
	EXPECT_EQ(try_open(a, "r", 0, 0), 0);
	unlink_name("r");
	client_end_two(a, b, &before);
}

/* ---- several threads ---- */

enum { OPENERS = 4, ROUNDS = 150 };

static void *open_and_close(void *session)
{
	struct session *s = session;
	struct region_open_args args = { .pool = s == a ? pool_a : pool_b,
					 .name = "r",
					 .length = MIB,
					 .flags = MMB_REGION_CREATE,
					 .mode = 0666 };

	for (int i = 0; i < ROUNDS; i++) {
		struct region_opened opened;
		struct refusal why = { "" };

		if (verb_region_open(s, &args, &opened, &why))
			continue; /* regions of a uid that are on their way back count */
		os->close(opened.fd);
		if (i % 3 == 0)
			client_unlink(s, args.pool, "r", &why);
		EXPECT_EQ(verb_region_close(s, opened.handle, &why), 0);
	}
	return NULL;
}

static void openers_race_for_one_name(void)
{
	pthread_t threads[OPENERS];

	begin_with(NULL);
	for (int i = 0; i < OPENERS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, open_and_close, i % 2 ? a : b), 0);
	for (int i = 0; i < OPENERS; i++)
		pthread_join(threads[i], NULL);
	client_leave(a);
	a = client_session(0);
	pool_a = open_to_all(a);
	client_unlink(a, pool_a, "r", &client_why);
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "a region is made once, found by its name and shared", a_region_is_made_once_and_shared },
	{ "a named region outlives its users (G1)", a_named_region_outlives_its_users },
	{ "an unlinked region lives with its users (G1)", an_unlinked_region_lives_with_its_users },
	{ "unnamed regions are nobody else's", unnamed_regions_are_nobody_else_s },
	{ "mode bits decide who may open, the owner who may unlink",
	  mode_bits_decide_who_may_open },
	{ "wrong arguments are refused in words", wrong_arguments_are_refused_in_words },
	{ "what differs from the region is refused", what_differs_from_the_region_is_refused },
	{ "more than there is is refused, naming the key",
	  more_than_there_is_is_refused_with_figures },
	{ "a session has so many regions", a_session_has_so_many_regions },
	{ "a uid has so many regions", a_uid_has_so_many_regions },
	{ "memory of a uid spans so much, whatever is resident", a_uid_spans_so_much },
	{ "invented handles are refused", invented_handles_are_refused },
	{ "a region has one address in all clients, if it is free",
	  a_region_has_one_address_in_all_clients_if_it_is_free },
	{ "a client may name the address", a_client_may_name_the_address },
	{ "a window may move, or stays where it is", a_window_may_move },
	{ "POPULATE and LOCKED mean resident", populated_and_locked_regions_are_resident },
	{ "regions of 2 MiB pages say what they are", large_pages_say_what_they_are },
	{ "a region that can't be given to its maker is not left behind",
	  a_region_that_cant_be_given_is_not_left_behind },
	{ "nor is one whose request fails when it is repeated",
	  nor_is_one_whose_request_fails_when_repeated },
	{ "nothing is repeated that wasn't asked for before",
	  nothing_is_repeated_that_was_not_asked_for_before },
	{ "a failed opener ends nobody else's region", a_failed_opener_ends_nobody_else_s_region },
	{ "openers race for one name", openers_race_for_one_name },
};
TEST_MAIN(cases)
