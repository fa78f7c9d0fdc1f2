/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_client - a connection to a fake broker with one pool, as most client tests need it
 */
#include "fake_client.h"

#include "tests/lib/test.h"

void fake_client_begin(struct fake_client *c, uint64_t timeout_ms)
{
	struct mmb_open_options options = { .size = sizeof(options),
					    .operation_timeout_ms = timeout_ms };

	c->broker = broker_start();
	EXPECT_EQ(mmb_open(broker_path(c->broker), &options, &c->mmb), 0);
	EXPECT_EQ(mmb_pool_open(c->mmb, "p", MMB_POOL_PRIVATE, NULL, &c->pool), 0);
}

void fake_client_end(struct fake_client *c)
{
	mmb_pool_close(c->pool);
	EXPECT_EQ(broker_frames_out(c->broker), 0);
	mmb_close(c->mmb);
	broker_stop(c->broker);
}
