/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_relief - whose clients are asked for memory, for how much, and how often
 */
#include "client/relief.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "client/session.h"
#include "lib/client_fixture.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "proto/methods.h"

enum { MIB = 1 << 20 };

static struct session *a, *b;
static struct client_counts before;

static void the_pool_that_is_short_is_asked(void)
{
	uint32_t p, q;

	client_begin_two(&a, &b, &before);
	p = client_pool(a, "p", MMB_POOL_CREATE);
	q = client_pool(b, "q", MMB_POOL_CREATE);
	relief_run();
	EXPECT_EQ(client_told.nr_pressures, 0);
	memcg_pressure(&client_pool_of(a, p)->memcg, MEMCG_LEVEL_LOW, 1000);
	memcg_pressure(&client_pool_of(a, p)->memcg, MEMCG_LEVEL_LOW, 10); /* less adds nothing */
	relief_run();
	EXPECT_EQ(client_told.nr_pressures, 1);
	EXPECT(client_told.pressed == a);
	EXPECT_EQ(client_told.pressure.pool, p);
	EXPECT_EQ(client_told.pressure.level, 1);
	EXPECT_EQ(client_told.pressure.wanted, 1000 * PAGE_SIZE);
	memcg_pressure(&client_pool_of(b, q)->memcg, MEMCG_LEVEL_MIN, 5);
	relief_run();
	EXPECT_EQ(client_told.nr_pressures, 2);
	EXPECT(client_told.pressed == b);
	EXPECT_EQ(client_told.pressure.level, 2);
	relief_run();
	EXPECT_EQ(client_told.nr_pressures, 2);
	client_end_two(a, b, &before);
}

static void clients_of_a_pool_share_the_request(void)
{
	uint32_t p;

	client_begin_two(&a, &b, &before);
	p = client_pool(a, "p", MMB_POOL_CREATE);
	EXPECT_EQ(client_open_pool(a, &(struct pool_open_args){ .name = "q", .flags = 1,
								 .mode = 0666 }, &p), 0);
	client_pool(b, "q", 0);
	relief_ask(client_pool_of(a, p), MEMCG_LEVEL_LOW, 8 * MIB);
	EXPECT_EQ(client_told.nr_pressures, 2);
	EXPECT_EQ(client_told.pressure.wanted, 4 * MIB);
	client_end_two(a, b, &before);
}

static void clients_are_not_flooded(void)
{
	struct pool *pool;

	client_begin_two(&a, &b, &before);
	pool = client_pool_of(a, client_pool(a, "p", MMB_POOL_CREATE));
	for (int i = 0; i < 1000; i++)
		relief_ask(pool, MEMCG_LEVEL_MIN, MIB);
	EXPECT_EQ(client_told.nr_pressures, 1);
	/* As if time had passed: under pressure that goes on, each interval is twice the last. */
	for (int i = 0; i < 10; i++) {
		pool->asked_ns -= pool->ask_interval_ns;
		relief_ask(pool, MEMCG_LEVEL_MIN, MIB);
	}
	EXPECT_EQ(client_told.nr_pressures, 11);
	EXPECT_EQ(pool->ask_interval_ns, 3200ull * 1000 * 1000);
	pool->asked_ns -= 3 * pool->ask_interval_ns;
	relief_ask(pool, MEMCG_LEVEL_MIN, MIB);
	EXPECT_EQ(pool->ask_interval_ns, 100ull * 1000 * 1000);
	client_end_two(a, b, &before);
}

static void limits_that_are_met_ask(void)
{
	struct pool_open_args args = { .name = "p", .flags = MMB_POOL_CREATE,
				       .limits = { .high = 2 * MIB, .max = 4 * MIB } };
	struct region_open_args too_much = { .name = "", .length = 2 * MIB };
	struct region_opened r;

	client_begin_two(&a, &b, &before);
	EXPECT_EQ(client_open_pool(a, &args, &too_much.pool), 0);
	r = client_region(a, too_much.pool, "", 3 * MIB, MMB_REGION_CREATE | MMB_REGION_POPULATE);
	relief_run(); /* above high */
	EXPECT_EQ(client_told.nr_pressures, 1);
	EXPECT_EQ(client_told.pressure.wanted, MIB);
	client_pool_of(a, too_much.pool)->asked_ns = 0;
	EXPECT_REFUSED(verb_region_open(a, &too_much, &r, &client_why), -ENOMEM, "may commit");
	relief_run();
	EXPECT_EQ(client_told.nr_pressures, 2);
	EXPECT_EQ(client_told.pressure.level, 2);
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "clients of the pool that is short are asked, once", the_pool_that_is_short_is_asked },
	{ "clients of a pool share what is wanted", clients_of_a_pool_share_the_request },
	{ "clients are asked less and less often (A1)", clients_are_not_flooded },
	{ "a pool above high, or refused commit, asks", limits_that_are_met_ask },
};
TEST_MAIN(cases)
