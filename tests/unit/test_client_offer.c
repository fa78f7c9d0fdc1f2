/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_offer - a pool that comes with HELLO is used when it is the one that is asked for
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_broker.h"
#include "mmbroker.h"
#include "proto/methods.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/test.h"

static struct fake_broker *broker;
static struct mmb *mmb;
static struct mmb_pool *pool;

static int open_with(enum broker_offer how)
{
	broker = broker_start();
	broker_offer(broker, how);
	return mmb_open(broker_path(broker), NULL, &mmb);
}

static void end(void)
{
	mmb_close(mmb);
	broker_stop(broker);
}

static unsigned int requests(void)
{
	unsigned int nr = 0;

	for (uint32_t method = 0; method < BROKER_METHODS; method++)
		nr += broker_count(broker, method);
	return nr;
}

static void expect_object(void)
{
	char *object = mmb_malloc(pool, 64);

	EXPECT(object != NULL);
	memset(object, 1, 64);
	mmb_free(object);
}

static void the_first_object_costs_no_message(void)
{
	EXPECT_EQ(open_with(OFFER_GOOD), 0);
	EXPECT(broker_wait_count(broker, MMB_METHOD_ATTACH, 1));
	EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	expect_object();
	EXPECT_EQ(requests(), 2); /* HELLO, ATTACH */
	EXPECT_EQ(broker_units_out(broker), 1);
	mmb_pool_close(pool);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_CLOSE), 1);
	/* It came once. */
	EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_OPEN), 1);
	expect_object();
	mmb_pool_close(pool);
	end();
}

static void a_name_that_is_empty_is_none(void)
{
	struct mmb_pool_options options = { .size = sizeof(options) };

	EXPECT_EQ(open_with(OFFER_GOOD), 0);
	EXPECT_EQ(mmb_pool_open(mmb, "", MMB_POOL_PRIVATE, &options, &pool), 0);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_OPEN), 0);
	expect_object();
	mmb_pool_close(pool);
	end();
}

static void another_pool_gives_it_back(void)
{
	static const struct mmb_pool_options with[] = {
		{ .size = sizeof(with[0]), .max = 64 << 20 },
		{ .size = sizeof(with[0]), .min = 1 << 20 },
		{ .size = sizeof(with[0]), .node_mask = 1, .node_policy = MMB_NODE_BIND },
		{ .size = sizeof(with[0]), .mode = 0640 },
	};

	for (unsigned int i = 0; i < 2 + sizeof(with) / sizeof(with[0]); i++) {
		EXPECT_EQ(open_with(OFFER_GOOD), 0);
		EXPECT_EQ(mmb_pool_open(mmb, i == 0 ? "named" : NULL,
					MMB_POOL_PRIVATE | (i == 1 ? MMB_POOL_OVERCOMMIT : 0),
					i < 2 ? NULL : &with[i - 2], &pool), 0);
		EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_OPEN), 1);
		EXPECT(broker_wait_count(broker, MMB_METHOD_POOL_CLOSE, 1));
		mmb_pool_close(pool);
		/* Nor is it there for a later one. */
		EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
		EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_OPEN), 2);
		mmb_pool_close(pool);
		end();
	}
}

static void what_was_withdrawn_is_closed(void)
{
	EXPECT_EQ(open_with(OFFER_WITHDRAWN), 0);
	EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_OPEN), 1);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_CLOSE), 1);
	expect_object();
	mmb_pool_close(pool);
	end();
}

static void an_offer_without_sense_ends_the_session(void)
{
	static const enum broker_offer lies[] = { OFFER_OUTSIDE, OFFER_NO_ARENA, OFFER_NO_HANDLE,
						  OFFER_FEW_FDS };
	unsigned int descriptors = open_descriptors();

	for (unsigned int i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		EXPECT_EQ(open_with(lies[i]), -EPROTO);
		broker_stop(broker);
	}
	EXPECT_EQ(open_descriptors(), descriptors);
}

/* Something of ours is mapped there: objects can't be had, but pools can. */
static void what_cannot_be_mapped_is_closed(void)
{
	EXPECT_EQ(open_with(OFFER_GOOD), 0);
	EXPECT(mmap((void *)(uintptr_t)broker_arena_address(broker), 4096, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED);
	EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_CLOSE), 1);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_OPEN), 1);
	EXPECT(!mmb_malloc(pool, 64) && errno == EADDRNOTAVAIL);
	EXPECT_EQ(munmap((void *)(uintptr_t)broker_arena_address(broker), 4096), 0);
	expect_object();
	mmb_pool_close(pool);
	end();
}

static void nothing_stays_open(void)
{
	unsigned int descriptors = open_descriptors();

	EXPECT_EQ(open_with(OFFER_GOOD), 0);
	end(); /* never taken */
	EXPECT_EQ(open_with(OFFER_GOOD), 0);
	EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	end(); /* never closed */
	mmb_pool_close(pool);
	EXPECT_EQ(open_with(OFFER_GOOD), 0);
	EXPECT_EQ(mmb_pool_open(mmb, "named", MMB_POOL_PRIVATE, NULL, &pool), 0);
	mmb_pool_close(pool);
	end();
	EXPECT_EQ(open_descriptors(), descriptors);
}

static void a_child_has_none_of_it(void)
{
	unsigned int before;
	int status;
	pid_t child;

	broker = broker_start();
	before = open_descriptors();
	broker_offer(broker, OFFER_GOOD);
	EXPECT_EQ(mmb_open(broker_path(broker), NULL, &mmb), 0);
	/* Then its thread has closed what it has sent. */
	EXPECT(broker_wait_count(broker, MMB_METHOD_ATTACH, 1));
	child = fork();
	if (!child) {
		/* The broker's end is in this process, too. */
		if (open_descriptors() > before + 1)
			_exit(1);
		_exit(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool) == -EOWNERDEAD ? 0
											     : 2);
	}
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	EXPECT_EQ(broker_count(broker, MMB_METHOD_POOL_OPEN), 0);
	expect_object();
	mmb_pool_close(pool);
	end();
}

static const struct test_case cases[] = {
	{ "the first object costs no message", the_first_object_costs_no_message },
	{ "a name that is empty is none", a_name_that_is_empty_is_none },
	{ "another pool gives it back", another_pool_gives_it_back },
	{ "what was withdrawn is closed and opened anew", what_was_withdrawn_is_closed },
	{ "an offer without sense ends the session", an_offer_without_sense_ends_the_session },
	{ "what cannot be mapped is closed", what_cannot_be_mapped_is_closed },
	{ "nothing stays open", nothing_stays_open },
	{ "a child has none of it", a_child_has_none_of_it },
};
TEST_MAIN(cases)
