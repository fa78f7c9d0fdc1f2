/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_typed - typed caches over the scripted broker: sizes, bulk calls, handles
 *
 * Not here    Several processes, and what ends a process (tests/system/test_objects.c).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_client.h"
#include "heap/heap.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "pool.h"
#include "proto/methods.h"

enum { BULK = 32, MANY = 3000 };

static struct fake_client client;

static void begin(void)
{
	fake_client_begin(&client, 0);
}

static void expect_valid(const struct mmb_pool *pool)
{
	EXPECT_EQ(heap_pool_validate(atomic_load(&pool->heap)), 0);
}

static void end(void)
{
	expect_valid(client.pool);
	fake_client_end(&client);
}

static struct mmb_cache *open_cache(const char *name, size_t object, size_t align)
{
	struct mmb_cache *cache = NULL;

	EXPECT_EQ(mmb_cache_open(client.pool, name, object, align, 0, &cache), 0);
	return cache;
}

/* ---- objects ---- */

static void sizes_and_alignments(void)
{
	static const size_t objects[] = { 1, 7, 8, 9, 15, 16, 17, 24, 40, 100, 1000, 4097, 70000,
					  262144 };
	static const size_t aligns[] = { 0, 1, 8, 16, 64, 512, 4096 };
	char name[32];

	begin();
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		size_t align = aligns[i % (sizeof(aligns) / sizeof(aligns[0]))];
		size_t least = objects[i] >= 16 ? 16 : 8;
		struct mmb_cache *cache;
		char *object[5];

		snprintf(name, sizeof(name), "c%zu", i);
		cache = open_cache(name, objects[i], align);
		for (int j = 0; j < 5; j++) {
			object[j] = mmb_cache_alloc(cache);
			EXPECT(object[j]);
			EXPECT_EQ((uintptr_t)object[j] % (align > least ? align : least), 0);
			EXPECT(mmb_usable_size(object[j]) >= objects[i]);
			memset(object[j], j + 1, objects[i]);
		}
		for (int j = 0; j < 5; j++) {
			EXPECT(object[j][0] == j + 1 && object[j][objects[i] - 1] == j + 1);
			mmb_cache_free(cache, object[j]);
		}
		mmb_cache_close(cache);
	}
	end();
}

static void reuses_what_was_freed(void)
{
	struct mmb_cache *cache;
	void *object;

	begin();
	cache = open_cache("c", 48, 0);
	object = mmb_cache_alloc(cache);
	mmb_cache_free(cache, object);
	EXPECT(mmb_cache_alloc(cache) == object);
	mmb_cache_free(cache, NULL);
	mmb_cache_free(cache, object);
	mmb_cache_close(cache);
	end();
}

static void objects_outlive_handles(void)
{
	struct mmb_cache *cache, *other;
	char *a, *b;

	begin();
	cache = open_cache("c", 48, 0);
	other = open_cache("c", 48, 0);
	a = mmb_cache_alloc(cache);
	b = mmb_cache_alloc(cache);
	strcpy(a, "still here");
	mmb_cache_close(cache);
	EXPECT(!strcmp(a, "still here"));
	mmb_cache_free(other, a);
	mmb_free(b);
	mmb_cache_close(other);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_CACHE_CLOSE), 2);
	end();
}

/* ---- bulk ---- */

static void bulk_gives_distinct_objects(void)
{
	struct mmb_cache *cache;
	void **objects = calloc(MANY, sizeof(*objects));

	begin();
	cache = open_cache("c", 40, 0);
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, 0, NULL), 0);
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, MANY, objects), 0);
	for (size_t i = 0; i < MANY; i++)
		*(size_t *)objects[i] = i;
	for (size_t i = 0; i < MANY; i++)
		EXPECT_EQ(*(size_t *)objects[i], i);
	/* In another order, so that neighbours are from different slabs, and with gaps. */
	for (size_t i = 0; i + MANY / 2 < MANY; i += 2) {
		void *swap = objects[i];

		objects[i] = objects[i + MANY / 2];
		objects[i + MANY / 2] = swap;
	}
	mmb_cache_free(cache, objects[7]);
	objects[7] = NULL;
	mmb_cache_free_bulk(cache, MANY, objects);
	expect_valid(client.pool);
	EXPECT_EQ(mmb_trim(client.pool), 0);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	mmb_cache_close(cache);
	free(objects);
	end();
}

static void bulk_is_all_or_none(void)
{
	enum { OBJECT = 4096, PER_UNIT = 16, UNITS = 4 };
	struct mmb_cache *cache;
	void *objects[UNITS * PER_UNIT + 1];

	begin();
	cache = open_cache("c", OBJECT, 0);
	broker_limit_units(client.broker, UNITS);
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, UNITS * PER_UNIT + 1, objects), -ENOMEM);
	EXPECT(strstr(mmb_error(), "arena is full"));
	/* What no array can hold isn't begun. */
	memset(objects, 0, sizeof(objects));
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, SIZE_MAX, objects), -ENOMEM);
	EXPECT(strstr(mmb_error(), "address space") && !objects[0]);
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, UNITS * PER_UNIT, objects), 0);
	EXPECT(!mmb_cache_alloc(cache) && errno == ENOMEM);
	mmb_cache_free_bulk(cache, UNITS * PER_UNIT, objects);
	objects[0] = mmb_cache_alloc(cache);
	EXPECT(objects[0]);
	mmb_cache_free(cache, objects[0]);
	mmb_cache_close(cache);
	end();
}

static void bulk_follows_a_model(void)
{
	enum { ROUNDS = 2000, LIVE = 400 };
	uint64_t seed = test_seed();
	struct mmb_cache *cache;
	void *live[LIVE + BULK];
	size_t nr = 0;

	begin();
	cache = open_cache("c", 3000, 64);
	for (int round = 0; round < ROUNDS; round++) {
		size_t n = test_below(&seed, BULK) + 1;

		if (nr < LIVE && test_below(&seed, 2)) {
			EXPECT_EQ(mmb_cache_alloc_bulk(cache, n, live + nr), 0);
			for (size_t i = nr; i < nr + n; i++)
				*(void **)live[i] = live[i];
			nr += n;
			continue;
		}
		n = n < nr ? n : nr;
		nr -= n;
		for (size_t i = 0; i < n; i++) {
			size_t other = test_below(&seed, nr + 1);
			void *swap = live[nr + i];

			live[nr + i] = live[other];
			live[other] = swap;
		}
		for (size_t i = nr; i < nr + n; i++)
			EXPECT(*(void **)live[i] == live[i]);
		mmb_cache_free_bulk(cache, n, live + nr);
	}
	mmb_cache_free_bulk(cache, nr, live);
	expect_valid(client.pool);
	EXPECT_EQ(mmb_trim(client.pool), 0);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	mmb_cache_close(cache);
	end();
}

/* ---- threads ---- */

struct handed {
	struct mmb_cache *cache;
	void             *objects[MANY];
};

static void *free_all(void *arg)
{
	struct handed *h = arg;

	mmb_cache_free_bulk(h->cache, MANY / 2, h->objects);
	for (int i = MANY / 2; i < MANY; i++)
		mmb_cache_free(h->cache, h->objects[i]);
	return NULL;
}

static void other_threads_free(void)
{
	static struct handed h;
	pthread_t thread;

	begin();
	h.cache = open_cache("c", 200, 0);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < MANY; i++) {
			h.objects[i] = mmb_cache_alloc(h.cache);
			EXPECT(h.objects[i]);
		}
		EXPECT_EQ(pthread_create(&thread, NULL, free_all, &h), 0);
		EXPECT_EQ(pthread_join(thread, NULL), 0);
		expect_valid(client.pool);
	}
	EXPECT_EQ(mmb_trim(client.pool), 0);
	EXPECT_EQ(broker_units_out(client.broker), 0);
	mmb_cache_close(h.cache);
	end();
}

struct steps {
	struct mmb_pool  *first, *second;
	pthread_barrier_t barrier;
	bool              well;
};

static void *uses_two_pools(void *arg)
{
	struct steps *s = arg;
	void *p = mmb_malloc(s->first, 100);

	s->well = p;
	mmb_free(p);
	pthread_barrier_wait(&s->barrier);
	/* The first pool is being closed, by a thread that isn't this one. */
	pthread_barrier_wait(&s->barrier);
	for (int i = 0; i < 3; i++) {
		p = mmb_malloc(s->second, 100);
		s->well &= p != NULL;
		mmb_free(p);
	}
	return NULL;
}

static void a_pool_may_be_closed_after_a_thread_used_it(void)
{
	struct steps s = { .first = NULL };
	pthread_t thread;

	begin();
	EXPECT_EQ(mmb_pool_open(client.mmb, "q", MMB_POOL_PRIVATE, NULL, &s.first), 0);
	s.second = client.pool;
	pthread_barrier_init(&s.barrier, NULL, 2);
	EXPECT_EQ(pthread_create(&thread, NULL, uses_two_pools, &s), 0);
	pthread_barrier_wait(&s.barrier);
	mmb_pool_close(s.first);
	pthread_barrier_wait(&s.barrier);
	EXPECT_EQ(pthread_join(thread, NULL), 0);
	EXPECT(s.well);
	pthread_barrier_destroy(&s.barrier);
	end();
}

/* ---- handles ---- */

static int refused(const char *name, size_t object, size_t align)
{
	struct mmb_cache *cache = NULL;
	int error = mmb_cache_open(client.pool, name, object, align, 0, &cache);

	EXPECT(!cache && mmb_error()[0]);
	return error;
}

static void wrong_arguments(void)
{
	char name[80];
	struct mmb_cache *cache;

	memset(name, 'n', sizeof(name));
	name[64] = 0;
	begin();
	EXPECT_EQ(refused(NULL, 8, 0), -EINVAL);
	EXPECT_EQ(refused("", 8, 0), -EINVAL);
	EXPECT_EQ(refused(name, 8, 0), -EINVAL);
	EXPECT_EQ(refused("c", 0, 0), -EINVAL);
	EXPECT_EQ(refused("c", 262145, 0), -EINVAL);
	EXPECT_EQ(refused("c", SIZE_MAX, 0), -EINVAL);
	EXPECT_EQ(refused("c", 8, 3), -EINVAL);
	EXPECT_EQ(refused("c", 8, 8192), -EINVAL);
	EXPECT_EQ(mmb_cache_open(client.pool, "c", 8, 0, 1, &cache), -EINVAL);
	EXPECT_EQ(mmb_cache_open(client.pool, "c", 8, 0, 0, NULL), -EINVAL);
	EXPECT_EQ(mmb_cache_open(NULL, "c", 8, 0, 0, &cache), -EINVAL);
	EXPECT(!mmb_cache_alloc(NULL) && errno == EINVAL);
	EXPECT_EQ(mmb_cache_alloc_bulk(NULL, 1, (void **)name), -EINVAL);
	EXPECT(!mmb_malloc(NULL, 8) && errno == EINVAL);
	mmb_cache_close(NULL);
	cache = open_cache("c", 8, 0);
	EXPECT_EQ(refused("c", 16, 0), -EINVAL);
	EXPECT(strstr(mmb_error(), "other objects"));
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, 1, NULL), -EINVAL);
	mmb_cache_close(cache);
	end();
}

static void closed_pools_say_so(void)
{
	struct mmb_cache *cache;
	struct mmb_pool *pool;
	void *object;

	begin();
	EXPECT_EQ(mmb_pool_open(client.mmb, "q", MMB_POOL_PRIVATE, NULL, &pool), 0);
	EXPECT_EQ(mmb_cache_open(pool, "c", 64, 0, 0, &cache), 0);
	object = mmb_cache_alloc(cache);
	EXPECT(object);
	mmb_pool_close(pool);
	EXPECT(!mmb_cache_alloc(cache) && errno == ENOTCONN);
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, 1, &object), -ENOTCONN);
	mmb_cache_close(cache);
	cache = open_cache("c", 64, 0);
	object = mmb_cache_alloc(cache);
	EXPECT(object);
	expect_valid(client.pool);
	mmb_close(client.mmb);
	EXPECT(!mmb_cache_alloc(cache) && errno == ENOTCONN);
	mmb_cache_close(cache);
	mmb_pool_close(client.pool);
	broker_stop(client.broker);
}

/* ---- figures ---- */

static void collect(void *arg, const char *text)
{
	char *all = arg;

	EXPECT(strlen(all) + strlen(text) < 8192);
	strcat(all, text);
}

static void stats_name_caches(void)
{
	static char all[8192];
	struct mmb_cache *cache;
	void *objects[10], *run;
	const char *line;
	unsigned long size, in_use, room, slabs, bytes;

	all[0] = 0;
	begin();
	cache = open_cache("records", 100, 0);
	EXPECT_EQ(mmb_cache_alloc_bulk(cache, 10, objects), 0);
	mmb_cache_free(cache, objects[9]);
	run = mmb_malloc(client.pool, 1 << 20);
	EXPECT(run);
	EXPECT_EQ(mmb_stats_print(client.pool, collect, all), 0);
	line = strstr(all, "\nrecords ");
	EXPECT(line);
	EXPECT_EQ(sscanf(line, " records %lu %lu %lu %lu %lu", &size, &in_use, &room, &slabs,
			 &bytes), 5);
	EXPECT_EQ(size, 112);
	EXPECT_EQ(in_use, 9);
	EXPECT_EQ(room, 65536 / 112);
	EXPECT_EQ(slabs, 1);
	EXPECT_EQ(bytes, 65536);
	line = strstr(all, "\nruns ");
	EXPECT(line && sscanf(line, " runs - %lu", &in_use) == 1 && in_use == 1);
	line = strstr(all, "\nrefills ");
	EXPECT(line && sscanf(line, " refills %lu", &in_use) == 1 && in_use >= 1);
	EXPECT_EQ(mmb_stats_print(NULL, collect, all), -EINVAL);
	mmb_free(run);
	mmb_cache_free_bulk(cache, 9, objects);
	mmb_cache_close(cache);
	end();
}

static const struct test_case cases[] = {
	{ "objects have the size and alignment that were asked for", sizes_and_alignments },
	{ "what was freed last comes first", reuses_what_was_freed },
	{ "closing a handle leaves objects alone, and others may free them",
	  objects_outlive_handles },
	{ "bulk calls give distinct objects and take them back in any order",
	  bulk_gives_distinct_objects },
	{ "a bulk call gives all objects or none", bulk_is_all_or_none },
	{ "random bulk calls lose nothing and share nothing", bulk_follows_a_model },
	{ "other threads may free, singly and in bulk", other_threads_free },
	{ "a thread that used a pool works on after another has closed it",
	  a_pool_may_be_closed_after_a_thread_used_it },
	{ "arguments that can't be right are refused with a sentence", wrong_arguments },
	{ "a cache of a closed pool or connection says so", closed_pools_say_so },
	{ "mmb_stats_print tells objects, slabs and bytes by cache", stats_name_caches },
};
TEST_MAIN(cases)
