/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pool_limits - limits of pools: which are right, who sets them, and pools that operators keep
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/cpu.h"
#include "client/pool.h"
#include "client/pool_limits.h"
#include "lib/client_fixture.h"
#include "lib/test.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "mmbroker.h"
#include "proto/methods.h"

enum { UID = 1000, MIB = 1 << 20, PATIENCE = 20 };

static struct session *a, *b, *operator;
static struct client_counts before;

static void begin(void)
{
	client_begin_two(&a, &b, &before);
	operator = client_operator();
}

static void end(void)
{
	client_leave(operator);
	client_end_two(a, b, &before);
}

static int set(struct session *s, const char *name, uint32_t which, struct pool_limits limits)
{
	return verb_pool_set(s, name, which, &limits, &client_why);
}

static struct pool_limits limits_of(struct session *s, uint32_t pool)
{
	struct pool_stat stat;

	EXPECT_EQ(verb_pool_stat(s, pool, &stat, &client_why), 0);
	return stat.limits;
}

static int create(struct session *s, const char *name, struct pool_limits limits)
{
	struct pool_create_args args = { .pool = { .name = name, .mode = 0666, .limits = limits },
					 .has_owner = true, .uid = UID, .gid = UID };

	return verb_pool_create(s, &args, &client_why);
}

static void limits_are_set_one_by_one(void)
{
	uint32_t pool;

	begin();
	pool = client_pool(a, "p", MMB_POOL_CREATE);
	EXPECT_EQ(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ .max = 8 * MIB + 5 }), 0);
	EXPECT_EQ(set(a, "p", MMB_POOL_SET_HIGH, (struct pool_limits){ .high = 6 * MIB }), 0);
	EXPECT_EQ(set(operator, "p", MMB_POOL_SET_LOW | MMB_POOL_SET_MIN,
		      (struct pool_limits){ .low = 4 * MIB, .min = 2 * MIB }), 0);
	EXPECT_EQ(set(operator, "p", MMB_POOL_SET_SWAP_MAX,
		      (struct pool_limits){ .swap_max = 1 }), 0);
	EXPECT_EQ(limits_of(a, pool).min, 2 * MIB);
	EXPECT_EQ(limits_of(a, pool).low, 4 * MIB);
	EXPECT_EQ(limits_of(a, pool).high, 6 * MIB);
	EXPECT_EQ(limits_of(a, pool).max, 8 * MIB);
	EXPECT_EQ(limits_of(a, pool).swap_max, 1);
	EXPECT_EQ(set(operator, "p", MMB_POOL_SET_ALL, (struct pool_limits){ 0 }), 0);
	EXPECT_EQ(limits_of(a, pool).max, 0);
	EXPECT_EQ(limits_of(a, pool).swap_max, 0);
	end();
}

static void contradictions_are_refused_in_words(void)
{
	begin();
	client_pool(a, "p", MMB_POOL_CREATE);
	EXPECT_EQ(set(a, "p", MMB_POOL_SET_HIGH, (struct pool_limits){ .high = 4 * MIB }), 0);
	EXPECT_REFUSED(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ .max = 2 * MIB }),
		       -EINVAL, "high of 4194304 bytes is above its max of 2097152");
	EXPECT_REFUSED(set(operator, "p", MMB_POOL_SET_LOW, (struct pool_limits){ .low = 5 * MIB }),
		       -EINVAL, "above its high");
	EXPECT_REFUSED(set(a, "p", MMB_POOL_SET_HIGH, (struct pool_limits){ .high = 100 }),
		       -EINVAL, "at least a page");
	EXPECT_REFUSED(set(a, "p", 0, (struct pool_limits){ 0 }), -EINVAL, "no limits are named");
	EXPECT_REFUSED(set(a, "p", 64, (struct pool_limits){ 0 }), -EINVAL, "unknown");
	EXPECT_REFUSED(set(a, "q", MMB_POOL_SET_MAX, (struct pool_limits){ 0 }), -ENOENT,
		       "no pool 'q'");
	end();
}

static void only_owners_and_operators_set_limits(void)
{
	begin();
	client_pool(a, "p", MMB_POOL_CREATE);
	EXPECT_REFUSED(set(b, "p", MMB_POOL_SET_MAX, (struct pool_limits){ .max = 8 * MIB }),
		       -EACCES, "only the owner");
	EXPECT_REFUSED(set(a, "p", MMB_POOL_SET_MIN, (struct pool_limits){ .min = MIB }), -EACCES,
		       "admin group");
	EXPECT_EQ(set(operator, "p", MMB_POOL_SET_MAX, (struct pool_limits){ .max = 8 * MIB }), 0);
	EXPECT_REFUSED(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ 0 }), -EACCES,
		       "operator has set");
	end();
}

static uint64_t all_that_there_is(void)
{
	uint64_t frames = 0;

	for (int node = 0; node < nr_nodes; node++)
		frames += stock_limit(node, STOCK_BASE) + stock_limit(node, STOCK_HUGE);
	return frames << PAGE_SHIFT;
}

static void guarantees_fit_the_reserve(void)
{
	const struct pool_limits too_much = { .min = 1ull << 40 };
	uint64_t rest;

	begin();
	rest = all_that_there_is() - 16 * MIB;
	EXPECT_EQ(create(operator, "p", (struct pool_limits){ .min = 16 * MIB }), 0);
	EXPECT_REFUSED(create(operator, "q", too_much), -ENOMEM,
		       "16777216 of them are other pools' min");
	EXPECT_REFUSED(set(operator, "p", MMB_POOL_SET_MIN, too_much), -ENOMEM,
		       "can't be guaranteed");
	EXPECT_REFUSED(create(operator, "q", (struct pool_limits){ .min = rest + PAGE_SIZE }),
		       -ENOMEM, "can't be guaranteed");
	EXPECT_EQ(create(operator, "q", (struct pool_limits){ .min = rest }), 0);
	EXPECT_EQ(verb_pool_rm(operator, "q", false, &client_why), 0);
	EXPECT_EQ(set(operator, "p", MMB_POOL_SET_MIN, (struct pool_limits){ 0 }), 0);
	EXPECT_EQ(verb_pool_rm(operator, "p", false, &client_why), 0);
	end();
}

/* What a predecessor had guaranteed is nobody else's, and what its operator had set stays. */
static void what_was_set_before_a_restart_holds(void)
{
	uint64_t frames[NR_MEMCG_LIMITS] = { [MEMCG_MIN] = 16 * MIB >> PAGE_SHIFT }, rest;
	uint32_t pool;

	begin();
	for (int i = MEMCG_HIGH; i < NR_MEMCG_LIMITS; i++)
		frames[i] = MEMCG_NO_LIMIT;
	rest = all_that_there_is() - 16 * MIB;
	pool = client_pool(a, "p", MMB_POOL_CREATE);
	pool_limits_resume(client_pool_of(a, pool), frames, true);
	EXPECT_EQ(limits_of(a, pool).min, 16 * MIB);
	EXPECT_REFUSED(create(operator, "q", (struct pool_limits){ .min = rest + PAGE_SIZE }),
		       -ENOMEM, "16777216 of them are other pools' min");
	EXPECT_REFUSED(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ 0 }), -EACCES,
		       "operator has set");
	end();
}

static void max_stays_above_what_is_committed(void)
{
	struct region_opened r;
	uint32_t pool;

	begin();
	pool = client_pool(a, "p", MMB_POOL_CREATE);
	r = client_region(a, pool, "", 4 * MIB, MMB_REGION_CREATE);
	EXPECT_REFUSED(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ .max = 2 * MIB }),
		       -EBUSY, "committed 4194304 bytes");
	EXPECT_EQ(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ .max = 4 * MIB }), 0);
	EXPECT_EQ(client_touch(a, r.address), TOUCH_MAPPED);
	EXPECT_EQ(verb_region_close(a, r.handle, &client_why), 0);
	client_settle();
	EXPECT_EQ(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ .max = 2 * MIB }), 0);
	end();
}

/* A session's handles go back on a thread of their own. */
static bool is_unused(void *unused)
{
	return verb_pool_rm(operator, "p", false, &client_why) != -EBUSY;
}

static void a_kept_pool_outlives_its_clients(void)
{
	uint32_t pool;

	begin();
	EXPECT_REFUSED(create(operator, "a/b", (struct pool_limits){ 0 }), -EINVAL, "no '/'");
	EXPECT_EQ(create(operator, "p", (struct pool_limits){ .max = 8 * MIB }), 0);
	EXPECT_REFUSED(create(operator, "p", (struct pool_limits){ 0 }), -EEXIST, "exists");
	EXPECT_REFUSED(set(a, "p", MMB_POOL_SET_MAX, (struct pool_limits){ 0 }), -EACCES,
		       "operator has set");
	pool = client_pool(a, "p", 0);
	EXPECT_EQ(limits_of(a, pool).max, 8 * MIB);
	client_region(a, pool, "named", MIB, MMB_REGION_CREATE);
	EXPECT_REFUSED(verb_pool_rm(operator, "p", true, &client_why), -EBUSY, "1 sessions");
	client_leave(a);
	EXPECT(test_wait(is_unused, NULL, PATIENCE));
	a = client_session(UID);
	EXPECT_REFUSED(verb_pool_rm(operator, "p", false, &client_why), -ENOTEMPTY, "force");
	EXPECT_REFUSED(verb_pool_rm(b, "p", true, &client_why), -EACCES, "only the owner");
	EXPECT_EQ(verb_pool_rm(a, "p", true, &client_why), 0);
	client_settle();
	EXPECT_REFUSED(verb_pool_rm(operator, "p", true, &client_why), -ENOENT, "no pool 'p'");
	end();
}

static int open_region(struct session *s, uint32_t pool, uint64_t length)
{
	struct region_open_args args = { .pool = pool, .name = "", .length = length,
					 .flags = MMB_REGION_CREATE };
	struct region_opened opened;

	return verb_region_open(s, &args, &opened, &client_why);
}

/* A 512th of the length; nothing else of it is charged before a page is touched. */
static void page_tables_are_charged_where_nothing_is_promised(void)
{
	struct pool_open_args args = { .name = "p", .mode = 0666,
				       .flags = MMB_POOL_CREATE | MMB_POOL_OVERCOMMIT,
				       .limits = { .max = 64 << 10 } };
	struct region_opened r[2];
	struct memcg *memcg;
	uint32_t pool;

	begin();
	EXPECT_EQ(client_open_pool(a, &args, &pool), 0);
	memcg = &client_pool_of(a, pool)->memcg;
	EXPECT_REFUSED(open_region(a, pool, 64 * MIB), -ENOMEM, "the page table of 67108864 bytes");
	EXPECT_EQ(memcg_usage(memcg), 0);
	r[0] = client_region(a, pool, "", 16 * MIB, MMB_REGION_CREATE);
	EXPECT_EQ(memcg_read(memcg, MEMCG_TABLES), 8);
	r[1] = client_region(a, pool, "", 8 * MIB, MMB_REGION_CREATE);
	EXPECT_EQ(memcg_read(memcg, MEMCG_TABLES), 12);
	EXPECT_REFUSED(open_region(a, pool, 10 * MIB), -ENOMEM, "raise its max");
	client_expect_valid();
	for (int i = 0; i < 4; i++) /* all that is left */
		EXPECT_EQ(client_touch(a, r[0].address + (uint64_t)i * PAGE_SIZE), TOUCH_MAPPED);
	EXPECT_EQ(memcg_margin(memcg), 0);
	/* Pages make way for it. */
	r[0] = client_region(a, pool, "", 2 * MIB, MMB_REGION_CREATE);
	EXPECT_EQ(memcg_read(memcg, MEMCG_TABLES), 13);
	EXPECT_EQ(verb_region_close(a, r[1].handle, &client_why), 0);
	client_settle();
	EXPECT_EQ(memcg_read(memcg, MEMCG_TABLES), 9);
	/* Others' length is promised, and bounds it. */
	pool = client_pool(b, "q", MMB_POOL_CREATE);
	client_region(b, pool, "", 4 * MIB, MMB_REGION_CREATE);
	EXPECT_EQ(memcg_read(&client_pool_of(b, pool)->memcg, MEMCG_TABLES), 0);
	client_expect_valid();
	end();
}

/* ---- lowered while a charge is in flight ---- */

enum { LOWERINGS = 100000, HOLD_SPINS = 300, LOOK_SPINS = 100 };
static _Atomic bool ends, holds;

static void *charge_on(void *arg)
{
	struct pool *pool = arg;

	while (!atomic_load(&ends)) {
		if (pool_charge(pool, 4 * MIB))
			continue;
		atomic_store(&holds, true);
		for (int i = 0; i < HOLD_SPINS; i++)
			cpu_relax();
		atomic_store(&holds, false);
		pool_uncharge(pool, 4 * MIB);
	}
	return NULL;
}

/* A charge that a limit is lowered below isn't given, or the limit isn't lowered. */
static void a_charge_and_a_lower_limit_dont_pass_each_other(void)
{
	const struct pool_limits high = { .max = 8 * MIB }, low = { .max = 2 * MIB };
	struct pool *pool;
	pthread_t thread;

	begin();
	pool = client_pool_of(a, client_pool(a, "p", MMB_POOL_CREATE));
	EXPECT_EQ(pthread_create(&thread, NULL, charge_on, pool), 0);
	for (int i = 0; i < LOWERINGS; i++) {
		EXPECT_EQ(set(a, "p", MMB_POOL_SET_MAX, high), 0);
		if (set(a, "p", MMB_POOL_SET_MAX, low))
			continue;
		for (int k = 0; k < LOOK_SPINS; k++)
			EXPECT(!atomic_load(&holds));
	}
	atomic_store(&ends, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(atomic_load(&pool->committed), 0);
	end();
}

static const struct test_case cases[] = {
	{ "limits are set one by one and read back", limits_are_set_one_by_one },
	{ "contradictions are refused in words", contradictions_are_refused_in_words },
	{ "owners set limits until an operator does (L3)", only_owners_and_operators_set_limits },
	{ "all guarantees together fit the reserve (L1)", guarantees_fit_the_reserve },
	{ "what was set before a restart holds", what_was_set_before_a_restart_holds },
	{ "max isn't lowered below what is committed (L2)", max_stays_above_what_is_committed },
	{ "page tables are charged where nothing is promised",
	  page_tables_are_charged_where_nothing_is_promised },
	{ "a pool that an operator made stays until it is removed",
	  a_kept_pool_outlives_its_clients },
	{ "a charge and a lower limit don't pass each other",
	  a_charge_and_a_lower_limit_dont_pass_each_other },
};
TEST_MAIN(cases)
