/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_pages - page runs through the client's caches
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_client.h"
#include "proto/methods.h"
#include "tests/lib/test.h"

static struct fake_client client;

static void reuse_a_run(unsigned int order)
{
	uint32_t before;
	uint8_t *run;

	fake_client_begin(&client, 0);
	run = mmb_alloc_pages(client.pool, order, MMB_GFP_KERNEL);
	EXPECT(run);
	EXPECT_EQ((uintptr_t)run % (4096ul << order), 0);
	memset(run, 0x5a, 4096ul << order);
	mmb_free_pages(client.pool, run, order);
	before = broker_count(client.broker, MMB_METHOD_PAGES_ALLOC);
	EXPECT(mmb_alloc_pages(client.pool, order, MMB_GFP_ZERO) == run);
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_PAGES_ALLOC), before);
	EXPECT_EQ(run[0] | run[(4096ul << order) - 1], 0);
	mmb_free_pages(client.pool, run, order);
	fake_client_end(&client);
}

static void a_freed_run_is_reused_without_a_message(void)
{
	for (unsigned int order = 0; order <= MMB_ORDER_MAX; order++)
		reuse_a_run(order);
}

static void small_runs_come_in_batches(void)
{
	enum { RUNS = 4096 };
	static void *runs[RUNS];

	fake_client_begin(&client, 0);
	for (int i = 0; i < RUNS; i++) {
		runs[i] = mmb_alloc_pages(client.pool, 0, MMB_GFP_KERNEL);
		EXPECT(runs[i]);
		memset(runs[i], i, 4096);
	}
	EXPECT(broker_count(client.broker, MMB_METHOD_PAGES_ALLOC) < 100);
	for (int i = 0; i < RUNS; i++) {
		EXPECT_EQ(*(uint8_t *)runs[i], i & 255);
		mmb_free_pages(client.pool, runs[i], 0);
	}
	EXPECT(broker_count(client.broker, MMB_METHOD_PAGES_FREE) < 100);
	/* What is kept is bounded: the magazine and the depot. */
	EXPECT(broker_frames_out(client.broker) <= 128 + 512);
	fake_client_end(&client);
}

static void wrong_arguments_are_refused(void)
{
	const unsigned int bad[] = {
		512, MMB_GFP_MOVABLE | MMB_GFP_RECLAIMABLE, MMB_GFP_NOFAIL | MMB_GFP_NOWAIT,
		MMB_GFP_NOFAIL | MMB_GFP_NORETRY, ~0u,
	};

	fake_client_begin(&client, 0);
	EXPECT(!mmb_alloc_pages(client.pool, MMB_ORDER_MAX + 1, 0));
	EXPECT_EQ(errno, EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		EXPECT(!mmb_alloc_pages(client.pool, 0, bad[i]));
		EXPECT_EQ(errno, EINVAL);
		EXPECT(strstr(mmb_error(), "gfp"));
	}
	EXPECT_EQ(broker_count(client.broker, MMB_METHOD_PAGES_ALLOC), 0);
	fake_client_end(&client);
}

static void every_valid_flag_allocates(void)
{
	const unsigned int good[] = {
		MMB_GFP_NOWAIT, MMB_GFP_ATOMIC, MMB_GFP_NORETRY, MMB_GFP_RETRY_MAYFAIL,
		MMB_GFP_NOFAIL, MMB_GFP_MOVABLE, MMB_GFP_RECLAIMABLE | MMB_GFP_NOFAIL,
		MMB_GFP_THISNODE | MMB_GFP_ZERO,
	};

	fake_client_begin(&client, 0);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		void *run = mmb_alloc_pages(client.pool, 1, good[i]);

		EXPECT(run);
		mmb_free_pages(client.pool, run, 1);
	}
	fake_client_end(&client);
}

static void an_exhausted_arena_gives_enomem_and_all_of_it(void)
{
	enum { RUNS = BROKER_ARENA_BYTES / (4096 << 10) };
	void *runs[RUNS], *page;

	fake_client_begin(&client, 0);
	/* One page, cached with its batch, must not cost a whole block. */
	page = mmb_alloc_pages(client.pool, 0, 0);
	EXPECT(page);
	mmb_free_pages(client.pool, page, 0);
	for (int i = 0; i < RUNS; i++) {
		runs[i] = mmb_alloc_pages(client.pool, 10, 0);
		EXPECT(runs[i]);
	}
	EXPECT(!mmb_alloc_pages(client.pool, 10, 0));
	EXPECT_EQ(errno, ENOMEM);
	EXPECT(!mmb_alloc_pages(client.pool, 0, MMB_GFP_NOWAIT));
	EXPECT_EQ(errno, ENOMEM);
	for (int i = 0; i < RUNS; i++)
		mmb_free_pages(client.pool, runs[i], 10);
	fake_client_end(&client);
}

static void *use_and_exit(void *arg)
{
	void *run = mmb_alloc_pages(client.pool, 2, 0);

	EXPECT(run);
	mmb_free_pages(client.pool, run, 2);
	return NULL;
}

static void a_thread_that_exits_gives_its_runs_back(void)
{
	pthread_t thread;

	fake_client_begin(&client, 0);
	for (int i = 0; i < 20; i++) {
		pthread_create(&thread, NULL, use_and_exit, NULL);
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(broker_frames_out(client.broker), 0);
	fake_client_end(&client);
}

struct exchange {
	pthread_mutex_t lock;
	void           *runs[256];
	unsigned int    nr;
};

/* Runs are allocated by one thread and freed by another one. */
static void *allocate_and_free_others(void *arg)
{
	struct exchange *x = arg;
	uint64_t seed = test_seed() + (uintptr_t)&seed;

	for (int i = 0; i < 3000; i++) {
		void *mine = mmb_alloc_pages(client.pool, 0, 0), *other = NULL;

		EXPECT(mine);
		if (!mine)
			return NULL;
		*(uint64_t *)mine = (uintptr_t)mine;
		pthread_mutex_lock(&x->lock);
		if (x->nr == 256 || (x->nr && test_random(&seed) % 2))
			other = x->runs[--x->nr];
		else
			x->runs[x->nr++] = mine;
		if (other)
			x->runs[x->nr++] = mine;
		pthread_mutex_unlock(&x->lock);
		if (!other)
			continue;
		EXPECT_EQ(*(uint64_t *)other, (uintptr_t)other);
		mmb_free_pages(client.pool, other, 0);
	}
	return NULL;
}

static void threads_exchange_runs(void)
{
	static struct exchange x = { .lock = PTHREAD_MUTEX_INITIALIZER };
	pthread_t threads[4];

	fake_client_begin(&client, 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, allocate_and_free_others, &x);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	while (x.nr)
		mmb_free_pages(client.pool, x.runs[--x.nr], 0);
	fake_client_end(&client);
}

static void pressure_brings_cached_runs_back(void)
{
	void *page;

	fake_client_begin(&client, 0);
	page = mmb_alloc_pages(client.pool, 0, 0);
	for (int order = 4; order < 8; order++)
		mmb_free_pages(client.pool, mmb_alloc_pages(client.pool, (unsigned int)order, 0),
			       (unsigned int)order);
	EXPECT(broker_frames_out(client.broker) >= 16 + 32 + 64 + 128 + 8);
	EXPECT(broker_pressure(client.broker, 0));
	EXPECT_EQ(broker_frames_out(client.broker), 8);
	/* This thread's magazine follows with its next call. */
	mmb_free_pages(client.pool, page, 0);
	EXPECT_EQ(broker_frames_out(client.broker), 1);
	fake_client_end(&client);
}

static void an_occupied_arena_address_is_reported(void)
{
	uint64_t inside;
	void *taken;

	fake_client_begin(&client, 0);
	inside = broker_arena_address(client.broker) + 8192;
	taken = mmap((void *)(uintptr_t)inside, 4096, PROT_READ,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	EXPECT(taken != MAP_FAILED);
	EXPECT(!mmb_alloc_pages(client.pool, 0, 0));
	EXPECT_EQ(errno, EADDRNOTAVAIL);
	EXPECT(strstr(mmb_error(), "must be mapped exactly there"));
	EXPECT_EQ(broker_frames_out(client.broker), 0);
	munmap(taken, 4096);
	mmb_free_pages(client.pool, mmb_alloc_pages(client.pool, 0, 0), 0);
	fake_client_end(&client);
}

static void two_connections_share_the_arena(void)
{
	struct mmb_pool *other;
	struct mmb *second;
	uint64_t *a, *b;

	fake_client_begin(&client, 0);
	EXPECT_EQ(mmb_open(broker_path(client.broker), NULL, &second), 0);
	EXPECT_EQ(mmb_pool_open(second, "p", 0, NULL, &other), 0);
	a = mmb_alloc_pages(client.pool, 0, 0);
	b = mmb_alloc_pages(other, 0, 0);
	EXPECT(a && b && a != b);
	*b = 77;
	mmb_free_pages(client.pool, a, 0);
	mmb_pool_close(client.pool);
	/* The window was registered through this connection, and passes to the other one. */
	mmb_close(client.mmb);
	EXPECT_EQ(*b, 77);
	mmb_free_pages(other, b, 0);
	client.mmb = second;
	client.pool = other;
	fake_client_end(&client);
}

static const struct test_case cases[] = {
	{ "a freed run is reused without a message", a_freed_run_is_reused_without_a_message },
	{ "small runs come and go in batches, and what is kept is bounded",
	  small_runs_come_in_batches },
	{ "wrong arguments are refused without asking", wrong_arguments_are_refused },
	{ "every valid flag allocates", every_valid_flag_allocates },
	{ "an exhausted arena gives ENOMEM, after all of it",
	  an_exhausted_arena_gives_enomem_and_all_of_it },
	{ "a thread that exits gives its runs back", a_thread_that_exits_gives_its_runs_back },
	{ "threads exchange runs", threads_exchange_runs },
	{ "pressure brings cached runs back", pressure_brings_cached_runs_back },
	{ "an occupied arena address is reported", an_occupied_arena_address_is_reported },
	{ "two connections of a process share the arena", two_connections_share_the_arena },
};

TEST_MAIN(cases)
