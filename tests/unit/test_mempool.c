/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mempool - reserves: the kernel's mempool semantics, over the scripted broker
 *
 * Memory is short when the broker has leased as many units as it likes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_client.h"
#include "heap/heap.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "pool.h"
#include "proto/methods.h"

enum { OBJECT = 4096, PER_UNIT = 16, UNITS = 2, ALL = UNITS * PER_UNIT, MINIMUM = 5,
       TIMEOUT_MS = 1500 };

static struct fake_client client;
static struct mmb_cache *cache;
static void *taken[ALL];

static void begin(uint64_t timeout_ms)
{
	fake_client_begin(&client, timeout_ms);
	EXPECT_EQ(mmb_cache_open(client.pool, "c", OBJECT, 0, 0, &cache), 0);
	broker_limit_units(client.broker, UNITS);
}

/* Everything was freed. */
static void end(void)
{
	EXPECT_EQ(mmb_trim(client.pool), 0);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	EXPECT_EQ(heap_pool_validate(atomic_load(&client.pool->heap)), 0);
	mmb_cache_close(cache);
	fake_client_end(&client);
}

static struct mmb_mempool *open_mempool(size_t minimum)
{
	struct mmb_mempool *m = NULL;

	EXPECT_EQ(mmb_mempool_open(cache, minimum, &m), 0);
	return m;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* All but the reserve. */
static size_t exhaust(void)
{
	size_t nr = 0;

	errno = ENOMEM; /* if nothing is refused */
	while (nr < ALL && (taken[nr] = mmb_cache_alloc(cache)))
		nr++;
	EXPECT_EQ(errno, ENOMEM);
	return nr;
}

static void opens_with_its_minimum_or_not_at_all(void)
{
	struct mmb_mempool *m = NULL;

	begin(0);
	EXPECT_EQ(mmb_mempool_open(cache, ALL + 1, &m), -ENOMEM);
	EXPECT(!m && mmb_error()[0]);
	EXPECT_EQ(mmb_mempool_open(cache, SIZE_MAX, &m), -ENOMEM);
	EXPECT_EQ(mmb_mempool_open(cache, SIZE_MAX / 8, &m), -ENOMEM);
	EXPECT_EQ(mmb_mempool_open(NULL, 1, &m), -EINVAL);
	EXPECT_EQ(mmb_mempool_open(cache, 1, NULL), -EINVAL);
	EXPECT(!mmb_mempool_alloc(NULL) && errno == EINVAL);
	mmb_mempool_free(NULL, NULL);
	mmb_mempool_close(NULL);
	m = open_mempool(ALL);
	EXPECT(!mmb_cache_alloc(cache));
	mmb_mempool_close(m);
	end();
}

static void the_cache_first_then_the_reserve(void)
{
	void *reserve[MINIMUM];
	struct mmb_mempool *m;
	size_t nr = 0;

	begin(TIMEOUT_MS);
	m = open_mempool(MINIMUM);
	for (; nr < ALL - MINIMUM; nr++) {
		taken[nr] = mmb_mempool_alloc(m);
		EXPECT(taken[nr]);
	}
	EXPECT(!mmb_cache_alloc(cache));
	for (int i = 0; i < MINIMUM; i++) {
		reserve[i] = mmb_mempool_alloc(m);
		EXPECT(reserve[i]);
		memset(reserve[i], i, OBJECT);
	}
	for (int i = 0; i < MINIMUM; i++)
		mmb_mempool_free(m, reserve[i]);
	/* They went to the reserve: the cache still has none. */
	EXPECT(!mmb_cache_alloc(cache));
	mmb_mempool_free(m, taken[--nr]);
	taken[nr] = mmb_cache_alloc(cache);
	EXPECT(taken[nr]);
	mmb_cache_free_bulk(cache, nr + 1, taken);
	mmb_mempool_close(m);
	end();
}

static void gives_up_after_the_operation_timeout(void)
{
	struct mmb_mempool *m;
	void *reserve[MINIMUM];
	uint64_t before;
	size_t nr;

	begin(TIMEOUT_MS);
	m = open_mempool(MINIMUM);
	nr = exhaust();
	for (int i = 0; i < MINIMUM; i++)
		reserve[i] = mmb_mempool_alloc(m);
	before = now_ms();
	EXPECT(!mmb_mempool_alloc(m) && errno == ENOMEM);
	EXPECT(strstr(mmb_error(), "arena is full"));
	EXPECT(now_ms() - before >= TIMEOUT_MS - 1);
	for (int i = 0; i < MINIMUM; i++)
		mmb_mempool_free(m, reserve[i]);
	mmb_cache_free_bulk(cache, nr, taken);
	mmb_mempool_close(m);
	end();
}

struct waiter {
	struct mmb_mempool *m;
	void               *got;
	_Atomic bool        begun;
};

static void *wait_for_one(void *arg)
{
	struct waiter *w = arg;

	atomic_store(&w->begun, true);
	w->got = mmb_mempool_alloc(w->m);
	return NULL;
}

static bool has_begun(void *arg)
{
	return atomic_load(&((struct waiter *)arg)->begun);
}

static void wait_with_minimum(size_t minimum, bool through_cache)
{
	struct waiter w = { .got = NULL };
	const struct timespec pause = { .tv_nsec = 30 * 1000000 };
	void *reserve[MINIMUM], *own;
	pthread_t thread;
	size_t nr;

	begin(0);
	w.m = open_mempool(minimum);
	nr = exhaust();
	for (size_t i = 0; i < minimum; i++)
		reserve[i] = mmb_mempool_alloc(w.m);
	EXPECT_EQ(pthread_create(&thread, NULL, wait_for_one, &w), 0);
	EXPECT(test_wait(has_begun, &w, 10));
	nanosleep(&pause, NULL);
	own = taken[--nr];
	if (through_cache)
		mmb_cache_free(cache, own);
	else
		mmb_mempool_free(w.m, own);
	EXPECT_EQ(pthread_join(thread, NULL), 0);
	EXPECT(w.got == own);
	mmb_mempool_free(w.m, w.got);
	for (size_t i = 0; i < minimum; i++)
		mmb_mempool_free(w.m, reserve[i]);
	mmb_cache_free_bulk(cache, nr, taken);
	mmb_mempool_close(w.m);
	end();
}

static void who_waits_gets_what_is_freed(void)
{
	wait_with_minimum(MINIMUM, false);
}

static void who_waits_sees_what_comes_to_the_cache(void)
{
	wait_with_minimum(MINIMUM, true);
}

static void a_minimum_of_none_serves_who_waits(void)
{
	wait_with_minimum(0, false);
}

static void *use_it(void *arg)
{
	struct mmb_mempool *m = arg;
	void *own[4] = { NULL };
	uint64_t seed = (uintptr_t)&seed;

	for (int i = 0; i < 4000; i++) {
		void **at = &own[test_below(&seed, 4)];

		if (*at) {
			if (*(void **)*at != *at)
				return NULL;
			mmb_mempool_free(m, *at);
			*at = NULL;
		} else {
			*at = mmb_mempool_alloc(m);
			if (!*at)
				return NULL;
			*(void **)*at = *at;
		}
	}
	for (int i = 0; i < 4; i++)
		mmb_mempool_free(m, own[i]);
	return m;
}

/* Two threads of four objects each, and eight there are: nobody waits for ever. */
static void threads_share_a_reserve(void)
{
	struct mmb_mempool *m;
	pthread_t threads[2];
	void *result;
	size_t nr;

	begin(0);
	m = open_mempool(8);
	nr = exhaust();
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, use_it, m), 0);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(pthread_join(threads[i], &result), 0);
		EXPECT(result);
	}
	EXPECT(!mmb_cache_alloc(cache));
	mmb_cache_free_bulk(cache, nr, taken);
	mmb_mempool_close(m);
	end();
}

/* That it is slow is no reason to keep what was put by for that. */
static void a_reserve_serves_while_the_broker_is_silent(void)
{
	struct mmb_mempool *m;
	void *first, *second;
	size_t nr;

	begin(TIMEOUT_MS);
	m = open_mempool(1);
	nr = exhaust();
	broker_hold(client.broker, MMB_METHOD_SLAB_LEASE);
	first = mmb_mempool_alloc(m);
	EXPECT(first);
	second = mmb_mempool_alloc(m);
	EXPECT(!second && errno == ENOMEM);
	broker_release(client.broker, MMB_METHOD_SLAB_LEASE);
	mmb_mempool_free(m, first);
	mmb_cache_free_bulk(cache, nr, taken);
	mmb_mempool_close(m);
	end();
}

static void closed_caches_are_kept(void)
{
	struct mmb_mempool *m;
	void *object;

	begin(0);
	m = open_mempool(MINIMUM);
	mmb_cache_close(cache);
	object = mmb_mempool_alloc(m);
	EXPECT(object);
	mmb_mempool_free(m, object);
	mmb_mempool_close(m);
	EXPECT_EQ(mmb_cache_open(client.pool, "c", OBJECT, 0, 0, &cache), 0);
	m = open_mempool(MINIMUM);
	mmb_cache_close(cache);
	mmb_pool_close(client.pool);
	EXPECT(!mmb_mempool_alloc(m) && errno == ENOTCONN);
	mmb_mempool_close(m);
	mmb_close(client.mmb);
	broker_stop(client.broker);
}

static const struct test_case cases[] = {
	{ "a mempool opens with its minimum in reserve or not at all",
	  opens_with_its_minimum_or_not_at_all },
	{ "the cache comes first, then the reserve, which frees refill first",
	  the_cache_first_then_the_reserve },
	{ "an empty reserve waits for the operation timeout, then says ENOMEM",
	  gives_up_after_the_operation_timeout },
	{ "who waits gets what another thread frees", who_waits_gets_what_is_freed },
	{ "who waits sees what comes back to the cache", who_waits_sees_what_comes_to_the_cache },
	{ "a minimum of 0 still serves who waits", a_minimum_of_none_serves_who_waits },
	{ "threads share a reserve without cache", threads_share_a_reserve },
	{ "a reserve serves while the broker is silent",
	  a_reserve_serves_while_the_broker_is_silent },
	{ "a mempool keeps its cache, and says when the pool is closed", closed_caches_are_kept },
};
TEST_MAIN(cases)
