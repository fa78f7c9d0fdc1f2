/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_ends - pools and connections that are closed while others are still at work there
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "fake_client.h"
#include "heap/heap.h"
#include "lib/test.h"
#include "mmbroker.h"

enum { PATIENCE = 20, POOLS = 3, OBJECTS = 64, SIZE = 48, ROUNDS = 8 };

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

/* ---- a shrinker ---- */

static void *cached;
static atomic_bool is_running, may_go_on, is_closed;
static bool could_allocate;

static size_t shrink(void *pool, size_t bytes)
{
	(void)bytes;
	atomic_store(&is_running, true);
	while (!atomic_load(&may_go_on))
		sched_yield();
	mmb_free(cached);
	cached = mmb_malloc(pool, SIZE);
	could_allocate = cached != NULL;
	return SIZE;
}

static void *end_connection(void *mmb)
{
	mmb_close(mmb);
	atomic_store(&is_closed, true);
	return NULL;
}

static bool is_true(void *flag)
{
	return atomic_load((atomic_bool *)flag);
}

/* It waits for the shrinker, or has closed the heaps under it. */
static bool is_closing(void *unused)
{
	struct shrinkers *all = &client.mmb->shrinkers;
	struct heap_pool *hp = atomic_load(&client.pool->heap);
	bool closing;

	(void)unused;
	pthread_mutex_lock(&all->lock);
	closing = all->stopped;
	pthread_mutex_unlock(&all->lock);
	pthread_mutex_lock(&hp->lock);
	closing |= hp->closed;
	pthread_mutex_unlock(&hp->lock);
	return closing;
}

static void closing_lets_a_shrinker_use_its_pool(void)
{
	pthread_t closing;

	fake_client_begin(&client, 0);
	cached = mmb_malloc(client.pool, SIZE);
	EXPECT(cached);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, client.pool), 0);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT(test_wait(is_true, &is_running, PATIENCE));
	EXPECT_EQ(pthread_create(&closing, NULL, end_connection, client.mmb), 0);
	EXPECT(test_wait(is_closing, NULL, PATIENCE));
	atomic_store(&may_go_on, true);
	EXPECT(test_wait(is_true, &is_closed, PATIENCE));
	EXPECT(could_allocate);
	pthread_join(closing, NULL);
	mmb_pool_close(client.pool);
	broker_stop(client.broker);
}

/* ---- handles that outlive their connection ---- */

static void *objects[OBJECTS];
static atomic_bool has_object, may_end;

/* Leaves a slab with free objects to the process. */
static void *allocate_and_end(void *unused)
{
	(void)unused;
	for (unsigned int i = 0; i < OBJECTS; i++)
		objects[i] = mmb_malloc(client.pool, SIZE);
	for (unsigned int i = 0; i < OBJECTS; i += 2)
		mmb_free(objects[i]);
	return NULL;
}

/* As long as it lives, the pool's heap does. */
static void *have_a_heap(void *unused)
{
	(void)unused;
	mmb_free(mmb_malloc(client.pool, 8 * SIZE));
	atomic_store(&has_object, true);
	while (!atomic_load(&may_end))
		usleep(1000);
	return NULL;
}

static void outlive_a_connection(void)
{
	pthread_t ended, stays;

	client.broker = broker_start();
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &client.mmb), 0);
	EXPECT_EQ(mmb_pool_open(client.mmb, "p", MMB_POOL_CREATE, NULL, &client.pool), 0);
	atomic_store(&has_object, false);
	atomic_store(&may_end, false);
	EXPECT_EQ(pthread_create(&stays, NULL, have_a_heap, NULL), 0);
	EXPECT(test_wait(is_true, &has_object, PATIENCE));
	EXPECT_EQ(pthread_create(&ended, NULL, allocate_and_end, NULL), 0);
	pthread_join(ended, NULL);
	for (unsigned int i = 1; i < OBJECTS; i += 4)
		mmb_free(objects[i]);
	mmb_close(client.mmb);
	/* The windows are gone, and so are descriptors: what is freed now is memory alone. */
	mmb_pool_close(client.pool);
	atomic_store(&may_end, true);
	pthread_join(stays, NULL);
	broker_stop(client.broker);
}

static void a_pool_may_be_closed_after_its_connection(void)
{
	/* The pager may be quicker at leaving the heaps than the connection at ending. */
	for (int i = 0; i < ROUNDS; i++) {
		outlive_a_connection();
		EXPECT(true);
	}
}

static const struct test_case cases[] = {
	{ "a pool that is closed meanwhile hides no other",
	  a_pool_that_is_closed_hides_no_other },
	{ "closing the connection lets a shrinker use its pool",
	  closing_lets_a_shrinker_use_its_pool },
	{ "a pool may be closed after its connection, whoever has a heap of it",
	  a_pool_may_be_closed_after_its_connection },
};

TEST_MAIN(cases)
