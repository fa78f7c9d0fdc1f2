/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ranges - objects above 4 MiB of real clients: what they cost the pool, and how they end
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/client_process.h"
#include "system/stage.h"

enum { NR_OBJECTS = 8, OBJECT_BYTES = 5 * MIB + 12345, SETTLE_MS = 2000, HUGE_PAGES = 96 };

static const char *const flags[] = { "--memory.reserve=96M", "--memory.reserve_huge=128M", NULL };
static const struct setting setting = { .flags = flags };

static void need_pages(void)
{
	if (!hugepages_get(HUGE_PAGES))
		SKIP("this host has no 2 MiB pages free");
	stage_set(&setting);
}

static uint64_t committed(struct mmb_pool *pool)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT(!mmb_pool_stat(pool, &stat));
	return stat.committed;
}

/* The broker takes closed regions apart after it has answered. */
static bool falls_to(struct mmb_pool *pool, uint64_t bytes)
{
	for (int i = 0; i < 1000 && committed(pool) > bytes; i++)
		usleep(1000);
	return committed(pool) <= bytes;
}

static void make_objects(struct mmb_pool *pool, char **objects)
{
	for (int i = 0; i < NR_OBJECTS; i++) {
		objects[i] = mmb_malloc(pool, OBJECT_BYTES);
		CLIENT_EXPECT(objects[i] != NULL);
		memset(objects[i], i + 1, OBJECT_BYTES);
	}
}

static void free_objects(char **objects)
{
	for (int i = 0; i < NR_OBJECTS; i++) {
		CLIENT_EXPECT(objects[i][0] == i + 1 && objects[i][OBJECT_BYTES - 1] == i + 1);
		mmb_free(objects[i]);
	}
}

/* ---- what goes back ---- */

static void frees_all(struct actor *a)
{
	char *objects[NR_OBJECTS];
	uint64_t before;

	act_pool(a, 0);
	make_objects(a->pool, objects);
	before = committed(a->pool);
	CLIENT_EXPECT(before >= NR_OBJECTS * (uint64_t)OBJECT_BYTES);
	free_objects(objects);
	CLIENT_EXPECT(committed(a->pool) == before);
	usleep(SETTLE_MS * 1000);
	CLIENT_EXPECT(falls_to(a->pool, before / 20));
	make_objects(a->pool, objects);
	free_objects(objects);
	CLIENT_EXPECT(!mmb_trim(a->pool));
	CLIENT_EXPECT(falls_to(a->pool, before / 20));
}

static void after_two_seconds_nothing_is_charged(void)
{
	need_pages();
	PLAY(ROLE(frees_all));
}

/* ---- limits ---- */

static void hits_the_limit(struct actor *a)
{
	char *p, *q;

	act_pool(a, 16 * MIB);
	p = mmb_malloc(a->pool, 12 * MIB);
	CLIENT_EXPECT(p != NULL);
	CLIENT_EXPECT(!mmb_malloc(a->pool, 12 * MIB) && errno == ENOMEM);
	CLIENT_EXPECT(mmb_error()[0]);
	CLIENT_EXPECT(!mmb_calloc(a->pool, SIZE_MAX / 2, 1) && errno == ENOMEM);
	mmb_free(p);
	/* What is kept is given back before a larger one fails, and before small ones do. */
	q = mmb_malloc(a->pool, 15 * MIB);
	CLIENT_EXPECT(q != NULL);
	mmb_free(q);
	for (int i = 0; i < 6; i++)
		CLIENT_EXPECT(mmb_malloc(a->pool, 2 * MIB) != NULL);
}

static void kept_memory_never_makes_an_allocation_fail(void)
{
	need_pages();
	PLAY(ROLE(hits_the_limit));
}

/* ---- contents ---- */

static void grows_and_shrinks(struct actor *a)
{
	char *p, *q;

	act_pool(a, 0);
	p = mmb_calloc(a->pool, 1, 20 * MIB);
	CLIENT_EXPECT(p && !p[0] && !p[20 * MIB - 1]);
	memset(p, 7, 20 * MIB);
	q = mmb_realloc(a->pool, p, 6 * MIB);
	CLIENT_EXPECT(q == p && mmb_usable_size(p) == 6 * MIB);
	q = mmb_realloc(a->pool, p, 12 * MIB);
	CLIENT_EXPECT(q == p && p[6 * MIB - 1] == 7);
	q = mmb_realloc(a->pool, p, 1000);
	CLIENT_EXPECT(q && q != p && q[999] == 7);
	mmb_free(q);
	p = mmb_calloc(a->pool, 1, 20 * MIB);
	for (size_t i = 0; i < 20 * MIB; i += PAGE)
		CLIENT_EXPECT(!p[i]);
	q = mmb_aligned_alloc(a->pool, 2 * MIB, 5 * MIB);
	CLIENT_EXPECT(q && (uintptr_t)q % (2 * MIB) == 0);
	mmb_free(p);
	mmb_free(q);
}

static void contents_survive_and_zeros_are_zeros(void)
{
	need_pages();
	PLAY(ROLE(grows_and_shrinks));
}

/* ---- ends ---- */

static void frees_twice(struct actor *a)
{
	char *p;

	act_pool(a, 0);
	p = mmb_malloc(a->pool, 5 * MIB);
	mmb_free(p);
	mmb_free(p);
}

static void frees_the_inside(struct actor *a)
{
	act_pool(a, 0);
	mmb_free((char *)mmb_malloc(a->pool, 5 * MIB) + 3 * MIB);
}

static void frees_after_close(struct actor *a)
{
	char *p;

	act_pool(a, 0);
	p = mmb_malloc(a->pool, 5 * MIB);
	mmb_pool_close(a->pool);
	mmb_free(p);
}

static void wrong_frees_end_the_process(void)
{
	need_pages();
	PLAY(ROLE(frees_twice, .status = -SIGABRT), ROLE(frees_the_inside, .status = -SIGABRT),
	     ROLE(frees_after_close, .status = -SIGABRT));
}

static void forks(struct actor *a)
{
	char *p;
	int status;
	pid_t child;

	act_pool(a, 0);
	p = mmb_malloc(a->pool, 5 * MIB);
	CLIENT_EXPECT(p != NULL);
	*p = 1;
	child = fork();
	if (!child) {
		bool right = !mmb_malloc(a->pool, 5 * MIB) && errno == EOWNERDEAD;

		mmb_free(p);
		_exit(right ? 0 : 1);
	}
	CLIENT_EXPECT(waitpid(child, &status, 0) == child && !status);
	CLIENT_EXPECT(*p == 1);
	mmb_free(p);
	p = mmb_malloc(a->pool, 5 * MIB);
	CLIENT_EXPECT(p != NULL);
	/* The connection ends with an object in use, and pool handles after it. */
	mmb_close(a->mmb);
	mmb_pool_close(a->pool);
	a->mmb = NULL;
	a->pool = NULL;
}

static void a_child_has_none_of_it_and_the_parent_all(void)
{
	need_pages();
	PLAY(ROLE(forks));
}

static void waits_to_be_killed(struct actor *a)
{
	char *objects[NR_OBJECTS];

	act_pool(a, 0);
	make_objects(a->pool, objects);
	mmb_free(objects[0]);
	cue(1);
	await(2);
}

static void a_killed_client_leaves_nothing(void)
{
	need_pages();
	stage_begin();
	CAST(ROLE(waits_to_be_killed, .status = -SIGKILL));
	EXPECT(cue_comes(1));
	stage_kill(0, SIGKILL);
	stage_end();
}

/* ---- memory that objects leave ---- */

enum { FULL_BYTES = 64 * MIB, SMALL_BYTES = 3000, NR_SMALL = FULL_BYTES / SMALL_BYTES };

static void fill_and_free(struct mmb_pool *pool, int nr_min)
{
	static void *small[NR_SMALL];
	int nr = 0;

	while (nr < NR_SMALL && (small[nr] = mmb_malloc(pool, SMALL_BYTES)))
		nr++;
	CLIENT_EXPECT(nr > nr_min);
	while (nr)
		mmb_free(small[--nr]);
}

/* First what the pool's own limit allows, then what there is. */
static void large_after_small(struct actor *a)
{
	struct mmb_pool *other;

	for (int own = 1; own >= 0; own--) {
		act_pool(a, own ? FULL_BYTES : 0);
		fill_and_free(a->pool, NR_SMALL / 4 * 3);
		CLIENT_EXPECT(mmb_malloc(a->pool, FULL_BYTES / 4 * 3));
		mmb_close(a->mmb);
		a->mmb = NULL;
	}
	act_pool(a, 0);
	CLIENT_EXPECT(!mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &other));
	fill_and_free(a->pool, NR_SMALL / 4 * 3);
	CLIENT_EXPECT(!mmb_trim(a->pool));
	CLIENT_EXPECT(mmb_malloc(other, FULL_BYTES / 4 * 3));
}

/* By handle, and by name. */
static void clones_after_small(struct actor *a)
{
	struct mmb_region *region;

	act_pool(a, FULL_BYTES);
	region = act_region(a, FULL_BYTES / 8, 0);
	fill_and_free(a->pool, NR_SMALL / 4 * 3);
	CLIENT_EXPECT(!mmb_trim(a->pool));
	act_clone(region, NULL, 0);
	mmb_close(a->mmb);
	a->mmb = NULL;
	act_common_pool(a);
	CLIENT_EXPECT(mmbctl(a->socket, "pool set common max=64M"));
	act_named(a, "table", FULL_BYTES / 8);
	fill_and_free(a->pool, NR_SMALL / 4 * 3);
	CLIENT_EXPECT(!mmb_trim(a->pool));
	CLIENT_EXPECT(mmbctl(a->socket, "region clone common table copy"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common copy"));
	CLIENT_EXPECT(mmbctl(a->socket, "region rm common table"));
}

static void what_small_objects_leave_is_there_for_clones(void)
{
	PLAY(ROLE(clones_after_small));
}

static const char *const short_flags[] = { "--memory.reserve=80M", NULL };
static const struct setting short_setting = { .flags = short_flags };

static void what_small_objects_leave_is_there_at_once(void)
{
	stage_set(&short_setting);
	PLAY(ROLE(large_after_small));
}

/* So it is for everything else that a program may ask for. */
static void others_after_small(struct actor *a)
{
	struct mmb_region *region, *clone;

	act_pool(a, FULL_BYTES);
	fill_and_free(a->pool, NR_SMALL / 4);
	CLIENT_EXPECT(mmb_alloc_pages(a->pool, MMB_ORDER_MAX, MMB_GFP_KERNEL) != NULL);
	fill_and_free(a->pool, NR_SMALL / 4);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, FULL_BYTES / 4, NULL, &region), 0);
	fill_and_free(a->pool, NR_SMALL / 4);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, NULL, &clone), 0);
}

static void what_small_objects_leave_is_there_for_all(void)
{
	stage_set(&short_setting);
	PLAY(ROLE(others_after_small));
}

static const struct test_case cases[] = {
	{ "two seconds after the last object nothing is charged",
	  after_two_seconds_nothing_is_charged },
	{ "memory that is kept never makes an allocation fail",
	  kept_memory_never_makes_an_allocation_fail },
	{ "contents survive, zeros are zeros", contents_survive_and_zeros_are_zeros },
	{ "wrong frees end the process", wrong_frees_end_the_process },
	{ "a forked child has none of it, and the parent all",
	  a_child_has_none_of_it_and_the_parent_all },
	{ "a killed client leaves nothing", a_killed_client_leaves_nothing },
	{ "what small objects leave is there for large ones at once, also of another pool",
	  what_small_objects_leave_is_there_at_once },
	{ "what small objects leave is there for clones at once, too",
	  what_small_objects_leave_is_there_for_clones },
	{ "and for page runs, regions and clones, untrimmed",
	  what_small_objects_leave_is_there_for_all },
	STAGE_STOPS,
};
TEST_MAIN(cases)
