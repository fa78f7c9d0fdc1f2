/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_client - a connection to a fake broker with one pool, as most client tests need it
 */
#ifndef MMB_TESTS_UNIT_FAKE_CLIENT_H
#define MMB_TESTS_UNIT_FAKE_CLIENT_H

#include <stdint.h>

#include "fake_broker.h"
#include "mmbroker.h"

struct fake_client {
	struct fake_broker *broker;
	struct mmb         *mmb;
	struct mmb_pool    *pool;
};

/* timeout_ms: of operations; 0: the default. */
void fake_client_begin(struct fake_client *c, uint64_t timeout_ms);
/* Expects that every page run has come back when the pool is closed. */
void fake_client_end(struct fake_client *c);

#endif
