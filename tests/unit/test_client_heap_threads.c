/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_heap_threads - heaps of several threads at once, with visits, over plain memory
 *
 * Objects are stamped with their own address and a number; who frees one checks it. At the end all
 * is valid and every unit is back.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "heap/run.h"
#include "lib/heap_area.h"
#include "lib/test.h"

#ifdef MMB_ASYM_PLAIN
enum { ROUNDS = 30000 }; /* each memory access costs there */
#else
enum { ROUNDS = 600000 };
#endif
/* Where each lock that changes hands costs a wake-up, all rounds would take minutes. */
enum { ENOUGH_S = 4, ROUNDS_A_LOOK = 1024, DEATH_ROUNDS = 3 * ROUNDS_A_LOOK };
enum { THREADS = 4, SLOTS = 64, MINE = 100, LARGE = 300 << 10, HOT_EVERY = 64 };

struct worker {
	pthread_t thread;
	struct heap_pool *pool;
	uint64_t random;
	unsigned int index;
	int rounds;
	bool leaves_early;
};

static struct heap_pool *pools[2];
static struct worker workers[THREADS];
static _Atomic uint64_t slots[SLOTS];
static atomic_bool finished;
static struct timespec began;
static _Atomic unsigned int nr_broken;

static void begin(bool is_private)
{
	heap_area_begin(1);
	heap_area.magazine_bytes = MAGAZINE_BYTES;
	pools[0] = heap_area_pool(1, is_private);
	pools[1] = is_private ? NULL : heap_area_pool(2, false);
	atomic_store(&finished, false);
	atomic_store(&nr_broken, 0);
	clock_gettime(CLOCK_MONOTONIC, &began);
}

static bool goes_on(const struct worker *w, int round)
{
	struct timespec now;

	if (round % ROUNDS_A_LOOK)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return round < w->rounds && now.tv_sec - began.tv_sec < test_patience(ENOUGH_S);
}

static void stamp(uint64_t at)
{
	*(uint64_t *)(uintptr_t)at = ~at;
}

static void check(uint64_t at)
{
	if (*(uint64_t *)(uintptr_t)at != ~at)
		atomic_fetch_add(&nr_broken, 1);
}

static uint64_t take(struct worker *w, struct heap *h)
{
	static const size_t sizes[] = { 8, 16, 48, 200, 1024, 5000, 40000 };
	uint64_t at;

	if (test_below(&w->random, 200) == 0)
		at = heap_area_run(h, LARGE, 1);
	else
		at = heap_area_alloc(h, size_bin(sizes[test_below(&w->random, 7)]));
	if (at)
		stamp(at);
	return at;
}

static void give(struct heap *h, uint64_t at)
{
	if (!at)
		return;
	check(at);
	heap_area_free(h, at);
}

static struct heap *begin_thread(struct worker *w)
{
	return heap_new(w->pool, NULL);
}

/* ---- threads ---- */

/* Puts what it has allocated where others find it, and frees what it finds. */
static void *exchange(void *arg)
{
	struct worker *w = arg;
	struct heap *h = begin_thread(w);

	for (int i = 0; goes_on(w, i); i++) {
		_Atomic uint64_t *slot = &slots[test_below(&w->random, SLOTS)];
		uint64_t at = test_below(&w->random, 2) ? take(w, h) : 0;

		give(h, atomic_exchange(slot, at));
		/* A thread ends, with objects of it in the slots. */
		if (w->leaves_early && test_below(&w->random, 2000) == 0) {
			heap_area_retire(h);
			h = begin_thread(w);
		}
	}
	heap_area_retire(h);
	return NULL;
}

/* An own live set; most of it are hits. */
static void *churn(void *arg)
{
	struct worker *w = arg;
	struct heap *h = begin_thread(w);
	uint64_t mine[MINE] = { 0 };

	for (int i = 0; goes_on(w, i); i++) {
		uint64_t *at = &mine[test_below(&w->random, MINE)];

		if (*at)
			give(h, *at);
		*at = *at ? 0 : take(w, h);
	}
	for (int i = 0; i < MINE; i++)
		give(h, mine[i]);
	heap_area_retire(h);
	return NULL;
}

static void *produce(void *arg)
{
	struct worker *w = arg;
	struct heap *h = begin_thread(w);

	for (int i = 0; goes_on(w, i); i++) {
		uint64_t none = 0, at = take(w, h);
		_Atomic uint64_t *slot = &slots[i % SLOTS];

		if (at && !atomic_compare_exchange_strong(slot, &none, at))
			give(h, at);
	}
	heap_area_retire(h);
	return NULL;
}

static void *consume(void *arg)
{
	struct worker *w = arg;
	struct heap *h = begin_thread(w);

	for (int i = 0; !atomic_load(&finished); i++)
		give(h, atomic_exchange(&slots[i % SLOTS], 0));
	heap_area_retire(h);
	return NULL;
}

/* As the pager, at the worst times. */
static void *visit(void *arg)
{
	uint64_t state = test_seed();

	while (!atomic_load(&finished)) {
		struct heap_pool *hp = pools[pools[1] && test_below(&state, 2)];

		if (test_below(&state, 8))
			heap_pool_tick(hp);
		else
			heap_pool_trim(hp);
		if (test_below(&state, 4) == 0)
			sched_yield();
	}
	return NULL;
}

/* ---- together ---- */

static void start(unsigned int i, void *(*run)(void *), unsigned int pool)
{
	struct worker *w = &workers[i];

	*w = (struct worker){ .pool = pools[pool], .random = test_seed() + i, .index = i,
			      .rounds = ROUNDS, .leaves_early = i % 2 };
	EXPECT_EQ(pthread_create(&w->thread, NULL, run, w), 0);
}

static void join(unsigned int first, unsigned int nr)
{
	for (unsigned int i = first; i < first + nr; i++)
		EXPECT_EQ(pthread_join(workers[i].thread, NULL), 0);
}

static void end(void)
{
	struct heap *h = heap_new(pools[0], NULL);

	for (int i = 0; i < SLOTS; i++)
		give(h, atomic_exchange(&slots[i], 0));
	heap_area_retire(h);
	EXPECT_EQ(atomic_load(&nr_broken), 0);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 2 && pools[i]; i++)
			heap_pool_trim(pools[i]);
	for (int i = 0; i < 2 && pools[i]; i++)
		heap_area_close(pools[i]);
	EXPECT_EQ(heap_area_use().objects, 0);
	heap_area_end();
}

static void run_all(bool is_private, void *(*run)(void *))
{
	pthread_t visitor;

	begin(is_private);
	EXPECT_EQ(pthread_create(&visitor, NULL, visit, NULL), 0);
	for (unsigned int i = 0; i < THREADS - 1; i++)
		start(i, run, is_private ? 0 : i % 2);
	join(0, THREADS - 1);
	atomic_store(&finished, true);
	EXPECT_EQ(pthread_join(visitor, NULL), 0);
	end();
}

static void exchange_private(void)
{
	run_all(true, exchange);
}

static void exchange_shared(void)
{
	run_all(false, exchange);
}

static void churn_visited(void)
{
	run_all(true, churn);
}

static void producer_consumer(bool is_private)
{
	pthread_t visitor;

	begin(is_private);
	EXPECT_EQ(pthread_create(&visitor, NULL, visit, NULL), 0);
	start(0, produce, 0);
	start(1, produce, 0);
	start(2, consume, is_private ? 0 : 1);
	join(0, 2);
	atomic_store(&finished, true);
	join(2, 1);
	EXPECT_EQ(pthread_join(visitor, NULL), 0);
	end();
}

static void producers(void)
{
	producer_consumer(true);
	producer_consumer(false);
}

/* A member dies while the others work; its heaps belong to nobody at that moment. */
static void *die_and_be_born(void *arg)
{
	uint64_t state = test_seed() + 1;
	struct worker w = { .random = state, .rounds = ROUNDS };

	for (int round = 0; goes_on(&w, round); round += DEATH_ROUNDS) {
		uint32_t member = 3 + (uint32_t)(round / DEATH_ROUNDS);
		struct heap_pool *hp = heap_area_pool(member, false);
		struct heap *h = heap_new(hp, NULL);

		for (int i = 0; i < 300; i++) {
			uint64_t at = test_below(&state, 2) ? take(&w, h) : 0;

			give(h, atomic_exchange(&slots[test_below(&state, SLOTS)], at));
		}
		heap_enter(h);
		heap_flush_pending(h);
		heap_leave(h);
		heap_area_kill(hp);
		heap_pool_adopt(pools[member % 2], member);
		heap_pool_adopt(pools[!(member % 2)], member);
	}
	return NULL;
}

static void deaths(void)
{
	pthread_t visitor, mortal;

	begin(false);
	EXPECT_EQ(pthread_create(&visitor, NULL, visit, NULL), 0);
	EXPECT_EQ(pthread_create(&mortal, NULL, die_and_be_born, NULL), 0);
	start(0, exchange, 0);
	start(1, exchange, 1);
	join(0, 2);
	EXPECT_EQ(pthread_join(mortal, NULL), 0);
	atomic_store(&finished, true);
	EXPECT_EQ(pthread_join(visitor, NULL), 0);
	end();
}

static const struct test_case cases[] = {
	{ "threads exchange objects at random, come and go, and are visited", exchange_private },
	{ "the same between two members", exchange_shared },
	{ "hits go on while visitors close and open the heap", churn_visited },
	{ "producers and a consumer, in one member and in two", producers },
	{ "members die and are adopted while others work: nothing is lost", deaths },
};
TEST_MAIN(cases)
