/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_verbs_pool - pools by name and without, who may use them, their arenas and their end
 */
#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { UID = 1000, OTHER_UID = 2000, MIB = 1 << 20 };

static struct session *a, *b;
static struct client_counts before;

static void begin_nodes(unsigned int nr_nodes, uint64_t huge_mib)
{
	client_begin(&(struct client_options){
		.space = { .nr_nodes = nr_nodes, .huge_mib = huge_mib } });
	client_count(&before);
	a = client_session(UID);
	b = client_session(OTHER_UID);
}

static void begin(void)
{
	begin_nodes(1, 0);
}

static int open_pool(struct session *s, const char *name, uint32_t flags, uint32_t mode)
{
	struct pool_open_args args = { .name = name, .flags = flags, .mode = mode };
	uint32_t handle = 77;

	return client_open_pool(s, &args, &handle);
}

static void close_pool(struct session *s, uint32_t handle)
{
	EXPECT_EQ(verb_pool_close(s, handle, &client_why), 0);
}

static struct pool_stat stat_of(struct session *s, uint32_t handle)
{
	struct pool_stat stat;

	EXPECT_EQ(verb_pool_stat(s, handle, &stat, &client_why), 0);
	return stat;
}

/* ---- names ---- */

static void a_pool_is_made_once_and_found_by_name(void)
{
	uint32_t ours, theirs;

	begin();
	EXPECT_REFUSED(open_pool(a, "p", 0, 0), -ENOENT, "MMB_POOL_CREATE");
	EXPECT_EQ(open_pool(a, "p", MMB_POOL_CREATE | MMB_POOL_EXCL, 0666), 0);
	EXPECT_REFUSED(open_pool(a, "p", MMB_POOL_CREATE | MMB_POOL_EXCL, 0), -EEXIST, "exists");
	ours = client_pool(a, "p", MMB_POOL_CREATE);
	theirs = client_pool(b, "p", 0);
	EXPECT_EQ(pool_count(), 1);
	EXPECT_EQ(stat_of(a, ours).sessions, 2);
	close_pool(a, ours);
	close_pool(b, theirs);
	EXPECT_REFUSED(verb_pool_close(b, theirs, &client_why), -EBADF, "no pool handle");
	client_end_two(a, b, &before);
}

static void a_pool_ends_with_its_last_handle(void)
{
	uint32_t first, second;

	begin();
	first = client_pool(a, "p", MMB_POOL_CREATE);
	second = client_pool(a, "p", MMB_POOL_CREATE);
	close_pool(a, first);
	close_pool(a, client_pool(a, "p", 0));
	close_pool(a, second);
	EXPECT_REFUSED(open_pool(b, "p", 0, 0), -ENOENT, "there is no pool");
	EXPECT_EQ(open_pool(b, "p", MMB_POOL_CREATE, 0), 0); /* P3: the name is free at once */
	client_end_two(a, b, &before);
}

static void a_region_keeps_its_pool(void)
{
	struct region_opened r;
	uint32_t pool;

	begin();
	pool = client_pool(a, "p", MMB_POOL_CREATE);
	r = client_region(a, pool, "kept", MIB, MMB_REGION_CREATE);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	client_leave(a);
	client_settle();
	a = client_session(UID);
	pool = client_pool(a, "p", 0);
	EXPECT_EQ(stat_of(a, pool).regions, 1);
	EXPECT_EQ(stat_of(a, pool).resident, PAGE_SIZE);
	EXPECT_EQ(client_unlink(a, pool, "kept", &client_why), 0);
	client_end_two(a, b, &before);
}

static void private_pools_have_no_name(void)
{
	uint32_t pool;

	begin();
	EXPECT_EQ(open_pool(a, "", MMB_POOL_PRIVATE, 0), 0);
	EXPECT_EQ(open_pool(a, "label", MMB_POOL_PRIVATE, 0666), 0);
	EXPECT_EQ(open_pool(a, "label", MMB_POOL_PRIVATE, 0666), 0);
	EXPECT_REFUSED(open_pool(b, "label", 0, 0), -ENOENT, "there is no pool");
	EXPECT_EQ(pool_count(), 3);
	pool = client_pool(a, "", MMB_POOL_PRIVATE);
	client_region(a, pool, "named", MIB, MMB_REGION_CREATE); /* goes with it all the same */
	client_end_two(a, b, &before);
}

/* ---- refusals ---- */

static void wrong_arguments_are_refused_in_words(void)
{
	static const struct {
		struct pool_open_args args;
		int code;
		const char *words;
	} table[] = {
		{ { .name = "p", .flags = 32 }, -EINVAL, "unknown bits" },
		{ { .name = "p", .flags = 17 }, -EINVAL, "needs MMB_POOL_OVERCOMMIT" },
		{ { .name = "", .flags = MMB_POOL_CREATE }, -EINVAL, "1 to 63 bytes" },
		{ { .name = "a/b", .flags = MMB_POOL_CREATE }, -EINVAL, "no '/'" },
		{ { .name = "a b", .flags = MMB_POOL_PRIVATE }, -EINVAL, "space" },
		{ { .name = "p", .flags = 1, .mode = 010600 }, -EINVAL, "permission bits" },
		{ { .name = "p", .flags = 1, .nodes = { 9, 0 } }, -EINVAL, "node policy" },
		{ { .name = "p", .flags = 1, .nodes = { 0, 2 } }, -EINVAL, "node mask" },
		{ { .name = "p", .flags = 1, .limits = { .low = 8192, .max = 4096 } }, -EINVAL,
		  "above its max" },
		{ { .name = "p", .flags = 1, .limits = { .max = 1 } }, -EINVAL, "at least a page" },
		{ { .name = "p", .flags = 1, .limits = { .min = 4096 } }, -EACCES, "admin group" },
		{ { .name = "p", .flags = 1, .limits = { .low = 4096 } }, -EACCES, "admin group" },
	};
	uint32_t handle;

	begin();
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		EXPECT_REFUSED(client_open_pool(a, &table[i].args, &handle),
			       table[i].code, table[i].words);
	EXPECT_EQ(pool_count(), 0);
	client_end_two(a, b, &before);
}

static void mode_bits_decide_who_may(void)
{
	begin();
	EXPECT_EQ(open_pool(a, "mine", MMB_POOL_CREATE, 0600), 0);
	EXPECT_EQ(open_pool(a, "ours", MMB_POOL_CREATE, 0666), 0);
	EXPECT_EQ(open_pool(a, "look", MMB_POOL_CREATE, 0644), 0);
	EXPECT_REFUSED(open_pool(b, "mine", 0, 0), -EACCES, "mode 0600");
	EXPECT_REFUSED(open_pool(b, "mine", MMB_POOL_CREATE, 0), -EACCES, "owner 1000");
	EXPECT_REFUSED(open_pool(b, "look", 0, 0), -EACCES, "mode 0644");
	EXPECT_EQ(open_pool(b, "ours", 0, 0), 0);
	client_leave(b);
	b = client_session(0);
	EXPECT_EQ(open_pool(b, "mine", 0, 0), 0);
	client_end_two(a, b, &before);
}

static void a_uid_has_so_many_pools(void)
{
	char name[] = "pool 0";

	begin();
	name[4] = '-';
	for (int i = 0; i < CLIENT_POOLS_PER_UID; i++) {
		name[5] = (char)('0' + i);
		EXPECT_EQ(open_pool(a, name, MMB_POOL_CREATE, 0), 0);
	}
	EXPECT_REFUSED(open_pool(a, "one-more", MMB_POOL_CREATE, 0), -EDQUOT, "close some");
	EXPECT_EQ(open_pool(a, name, MMB_POOL_CREATE, 0), 0); /* exists */
	EXPECT_EQ(open_pool(b, "theirs", MMB_POOL_CREATE, 0), 0);
	client_end_two(a, b, &before);
}

static void invented_handles_are_refused(void)
{
	struct arena_opened arena;
	struct pool_stat stat;
	uint32_t theirs;

	begin();
	theirs = client_pool(b, "p", MMB_POOL_CREATE);
	client_pool(a, "q", MMB_POOL_CREATE);
	close_pool(a, client_pool(a, "r", MMB_POOL_CREATE));
	for (uint32_t guess = 0; guess < 4; guess++) {
		uint32_t handle = theirs + 1 + guess;

		EXPECT_REFUSED(verb_pool_stat(a, handle, &stat, &client_why), -EBADF, "handle");
		EXPECT_REFUSED(verb_arena_open(a, handle, 0, &arena, &client_why), -EBADF,
			       "handle");
		EXPECT_REFUSED(verb_pool_close(a, handle, &client_why), -EBADF, "handle");
		EXPECT_EQ(arena.nr, 0);
	}
	client_end_two(a, b, &before);
}

static void a_max_holds(void)
{
	struct pool_open_args args = { .name = "p", .flags = MMB_POOL_CREATE,
				       .limits = { .max = 4 * MIB } };
	struct region_open_args region = { .name = "", .length = 3 * MIB };
	struct region_opened opened;
	uint32_t pool;

	begin();
	EXPECT_EQ(client_open_pool(a, &args, &pool), 0);
	region.pool = pool;
	EXPECT_EQ(verb_region_open(a, &region, &opened, &client_why), 0);
	client_map(a, &opened);
	EXPECT_REFUSED(verb_region_open(a, &region, &opened, &client_why), -ENOMEM, "may commit");
	EXPECT_EQ(stat_of(a, pool).committed, 3 * MIB);
	EXPECT_EQ(stat_of(a, pool).limits.max, 4 * MIB);
	EXPECT_EQ(stat_of(a, pool).refused, 1);
	client_end_two(a, b, &before);
}

/* ---- arenas ---- */

static void close_windows(struct arena_opened *arena)
{
	for (uint32_t i = 0; i < arena->nr; i++)
		os->close(arena->windows[i].fd);
}

static void an_arena_has_a_window_a_node(void)
{
	struct arena_opened first, rest, again;
	uint32_t pool;

	begin_nodes(6, 0);
	pool = client_pool(a, "p", MMB_POOL_CREATE);
	EXPECT_EQ(verb_arena_open(a, pool, 0, &first, &client_why), 0);
	EXPECT_EQ(first.nr, ARENA_WINDOWS);
	EXPECT_EQ(first.total, 6);
	EXPECT_EQ(verb_arena_open(a, pool, first.nr, &rest, &client_why), 0);
	EXPECT_EQ(rest.nr, 2);
	EXPECT_EQ(rest.windows[0].node, 4);
	EXPECT_EQ(verb_arena_open(a, pool, 99, &again, &client_why), 0);
	EXPECT_EQ(again.nr, 0);
	EXPECT_EQ(verb_arena_open(a, pool, 3, &again, &client_why), 0);
	EXPECT_EQ(again.windows[0].address, first.windows[3].address);
	EXPECT(again.windows[0].length >= 64 * MIB);
	EXPECT_EQ(stat_of(a, pool).arena, 0);
	close_windows(&first);
	close_windows(&rest);
	close_windows(&again);
	client_end_two(a, b, &before);
}

static void an_arena_is_huge_where_there_are_hugepages(void)
{
	struct arena_opened arena;

	begin_nodes(1, 32);
	EXPECT_EQ(verb_arena_open(a, client_pool(a, "p", MMB_POOL_CREATE), 0, &arena, &client_why),
		  0);
	EXPECT_EQ(arena.nr, 1);
	EXPECT(arena.windows[0].hugetlb);
	EXPECT(is_aligned(arena.windows[0].address, PAGEBLOCK_SIZE));
	close_windows(&arena);
	client_end_two(a, b, &before);
}

static void an_arena_that_cant_be_opened_leaves_nothing(void)
{
	static const enum inject_point points[] = {
		INJECT_MEMFD_NEW,     INJECT_PFN_RANGE, INJECT_SECTION_ADD,
		INJECT_META_POPULATE, INJECT_MAP,       INJECT_REOPEN,
	};
	struct client_counts here;
	struct arena_opened arena;
	uint32_t pool;

	begin_nodes(2, 0);
	pool = client_pool(a, "p", MMB_POOL_CREATE);
	client_count(&here);
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(points); i++) {
		inject_arm(points[i / 2], 1 + i % 2, -ENOMEM); /* on either node */
		EXPECT_EQ(verb_arena_open(a, pool, 0, &arena, &client_why), -ENOMEM);
		client_expect_words(points[i / 2] == INJECT_REOPEN ? "descriptor" : "arena");
		inject_arm(NR_INJECT_POINTS, 0, 0);
		EXPECT_EQ(arena.nr, 0);
		if (points[i / 2] != INJECT_REOPEN)
			client_expect_counts(&here);
	}
	EXPECT_EQ(verb_arena_open(a, pool, 0, &arena, &client_why), 0);
	close_windows(&arena);
	client_end_two(a, b, &before);
}

static void a_pool_that_cant_be_made_leaves_nothing(void)
{
	begin();
	inject_arm(INJECT_POOL_NEW, 1, -ENOMEM);
	EXPECT_REFUSED(open_pool(a, "p", MMB_POOL_CREATE, 0), -ENOMEM, "no memory");
	for (uint64_t nth = 1; nth <= 2; nth++) { /* the pool's record, the handle's */
		inject_arm(INJECT_SLAB, nth, -ENOMEM);
		EXPECT_REFUSED(open_pool(a, "p", MMB_POOL_CREATE, 0), -ENOMEM, "no memory");
		inject_arm(NR_INJECT_POINTS, 0, 0);
		client_settle();
	}
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "a pool is made once and found by its name (P3)", a_pool_is_made_once_and_found_by_name },
	{ "a pool ends with its last handle (P2)", a_pool_ends_with_its_last_handle },
	{ "a named region keeps its pool (P2)", a_region_keeps_its_pool },
	{ "private pools have labels, and end with their session", private_pools_have_no_name },
	{ "wrong arguments are refused in words", wrong_arguments_are_refused_in_words },
	{ "mode bits decide who may use a pool", mode_bits_decide_who_may },
	{ "a uid has so many pools", a_uid_has_so_many_pools },
	{ "invented handles are refused", invented_handles_are_refused },
	{ "a pool's max holds, and refusals are counted (P1)", a_max_holds },
	{ "an arena has a window a node, in pieces if many", an_arena_has_a_window_a_node },
	{ "an arena is hugetlb where there are hugepages",
	  an_arena_is_huge_where_there_are_hugepages },
	{ "an arena that can't be opened leaves nothing",
	  an_arena_that_cant_be_opened_leaves_nothing },
	{ "a pool that can't be made leaves nothing", a_pool_that_cant_be_made_leaves_nothing },
};
TEST_MAIN(cases)
