/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_shrink - shrinkers: called once a request, away from the pager, until they are gone
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/test.h"
#include "mmbroker.h"
#include "fake_client.h"

enum { PATIENCE = 20 };

static struct fake_client client;

/* What a shrinker sees and does. */
struct cache {
	_Atomic uint64_t calls, asked;
	_Atomic bool running, held; /* it stays in its call while held */
	_Atomic bool leaves;        /* it removes itself */
	size_t frees;
	int removed;
};

static size_t shrink(void *arg, size_t bytes)
{
	struct cache *c = arg;

	atomic_store(&c->running, true);
	atomic_fetch_add(&c->asked, bytes);
	while (atomic_load(&c->held))
		sched_yield();
	if (atomic_load(&c->leaves))
		c->removed = mmb_shrinker_unregister(client.pool, shrink, c);
	atomic_store(&c->running, false);
	atomic_fetch_add(&c->calls, 1);
	return c->frees;
}

static bool is_running(void *arg)
{
	return atomic_load(&((struct cache *)arg)->running);
}

static bool was_called(void *arg)
{
	return atomic_load(&((struct cache *)arg)->calls) > 0;
}

static bool was_called_twice(void *arg)
{
	return atomic_load(&((struct cache *)arg)->calls) == 2;
}

static void a_shrinker_is_called_with_what_is_wanted(void)
{
	static struct cache c;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &c), 0);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT(test_wait(was_called, &c, PATIENCE));
	EXPECT_EQ(atomic_load(&c.asked), 4096);
	EXPECT_EQ(mmb_shrinker_unregister(client.pool, shrink, &c), 0);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT_EQ(atomic_load(&c.calls), 1);
	fake_client_end(&client);
}

static void the_next_one_is_asked_for_the_rest(void)
{
	static struct cache first = { .frees = 4000 }, second = { .frees = 96 }, third;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &first), 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &second), 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &third), 0);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT(test_wait(was_called, &second, PATIENCE));
	EXPECT_EQ(atomic_load(&first.asked), 4096);
	EXPECT_EQ(atomic_load(&second.asked), 96);
	mmb_pool_close(client.pool); /* waits for what runs, and removes them */
	client.pool = NULL;
	EXPECT_EQ(atomic_load(&third.calls), 0);
	fake_client_end(&client);
}

static void a_slow_shrinker_keeps_nobody_waiting(void)
{
	static struct cache c = { .held = true };

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &c), 0);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT(test_wait(is_running, &c, PATIENCE));
	for (int i = 0; i < 3; i++)
		EXPECT(broker_pressure(client.broker, 0)); /* acknowledged all the same */
	atomic_store(&c.held, false);
	EXPECT(test_wait(was_called_twice, &c, PATIENCE));
	EXPECT_EQ(mmb_shrinker_unregister(client.pool, shrink, &c), 0);
	EXPECT_EQ(atomic_load(&c.calls), 2); /* three requests in one */
	fake_client_end(&client);
}

static void *unregister(void *arg)
{
	return (void *)(intptr_t)mmb_shrinker_unregister(client.pool, shrink, arg);
}

static void unregistering_waits_for_the_call(void)
{
	static struct cache c = { .held = true };
	pthread_t thread;
	void *result;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &c), 0);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT(test_wait(is_running, &c, PATIENCE));
	EXPECT_EQ(pthread_create(&thread, NULL, unregister, &c), 0);
	sched_yield();
	EXPECT(is_running(&c));
	atomic_store(&c.held, false);
	pthread_join(thread, &result);
	EXPECT_EQ((intptr_t)result, 0);
	EXPECT(!is_running(&c));
	fake_client_end(&client);
}

static void a_shrinker_may_remove_itself(void)
{
	static struct cache c = { .leaves = true, .removed = 77 };

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &c), 0);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT(test_wait(was_called, &c, PATIENCE));
	EXPECT_EQ(c.removed, 0);
	EXPECT_EQ(mmb_shrinker_unregister(client.pool, shrink, &c), -ENOENT);
	fake_client_end(&client);
}

static void wrong_uses_are_refused(void)
{
	static struct cache c, other;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_shrinker_register(NULL, shrink, &c), -EINVAL);
	EXPECT_EQ(mmb_shrinker_register(client.pool, NULL, &c), -EINVAL);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &c), 0);
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &c), -EEXIST);
	EXPECT(strstr(mmb_error(), "registered already"));
	EXPECT_EQ(mmb_shrinker_register(client.pool, shrink, &other), 0);
	EXPECT_EQ(mmb_shrinker_unregister(client.pool, shrink, NULL), -ENOENT);
	fake_client_end(&client);
}

static const struct test_case cases[] = {
	{ "a shrinker is called with what is wanted, until it is unregistered",
	  a_shrinker_is_called_with_what_is_wanted },
	{ "each is asked for what those before it left", the_next_one_is_asked_for_the_rest },
	{ "a slow shrinker keeps neither the pager nor the broker waiting (S2)",
	  a_slow_shrinker_keeps_nobody_waiting },
	{ "unregistering waits for a call in progress (S1)", unregistering_waits_for_the_call },
	{ "a shrinker may remove itself", a_shrinker_may_remove_itself },
	{ "wrong uses are refused", wrong_uses_are_refused },
};
TEST_MAIN(cases)
