/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_ends - pools and connections that are closed while others are still at work there
 */
#include <string.h>

#include "connection.h"
#include "fake_client.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { POOLS = 3 };

static struct fake_client client;

/* ---- a walk over the pools ---- */

static struct mmb_pool *pools[POOLS];
static unsigned int visits[POOLS];
static struct mmb_pool *closes;

static bool visit(struct mmb_pool *pool, void *unused)
{
	(void)unused;
	for (unsigned int i = 0; i < POOLS; i++)
		visits[i] += pools[i] == pool;
	if (pool == closes) {
		closes = NULL;
		mmb_pool_close(pool);
	}
	return true;
}

static void a_pool_that_is_closed_hides_no_other(void)
{
	client.broker = broker_start();
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	for (unsigned int last = 0; last < POOLS; last++) {
		memset(visits, 0, sizeof(visits));
		for (unsigned int i = 0; i < POOLS; i++)
			EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_PRIVATE, NULL,
						&pools[i]), 0);
		closes = pools[last];
		EXPECT(connection_each_pool(client.mmb, visit, NULL));
		for (unsigned int i = 0; i < POOLS; i++) {
			EXPECT(visits[i] > 0);
			if (i != last)
				mmb_pool_close(pools[i]);
		}
	}
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

static const struct test_case cases[] = {
	{ "a pool that is closed meanwhile hides no other",
	  a_pool_that_is_closed_hides_no_other },
};

TEST_MAIN(cases)
