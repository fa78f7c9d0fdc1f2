/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_objects - pooled objects and typed caches between processes, and what their ends leave
 *
 * Not here    Bulk calls, mempools and figures of one process (tests/unit/test_typed.c,
 *             test_mempool.c); wrong use that ends a process (test_object_misuse.c).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/client_process.h"
#include "system/stage.h"

enum {
	LARGE = 512 << 10,
	MILLION = 1000000,
	OBJECT = 64,
	FREED_EVERY = 64,
	PASSED_ON = 40,
	WAIT_SECONDS = 5,
};

static const char *const flags[] = { "--memory.reserve=192M", NULL };
static const struct setting setting = { .flags = flags };

static struct mmb_cache *open_cache(struct actor *a, const char *name, size_t object, size_t align)
{
	struct mmb_cache *cache = NULL;

	if (mmb_cache_open(a->pool, name, object, align, 0, &cache))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(cache);
	return cache;
}

/* Bytes of the pool's objects, and of what this process has in stock. */
struct held {
	unsigned long long objects, stock;
};

static void read_held(void *arg, const char *text)
{
	struct held *held = arg;

	sscanf(text, "sum - %*u %*u %*u %llu", &held->objects);
	sscanf(text, "stock bytes %llu", &held->stock);
}

static uint64_t leased(struct mmb_pool *pool)
{
	struct held held = { 1, 1 };

	CLIENT_EXPECT_EQ(mmb_stats_print(pool, read_held, &held), 0);
	return held.objects + held.stock;
}

struct leased_goal {
	struct mmb_pool *pool;
	uint64_t         at_most;
};

static bool is_returned(void *arg)
{
	const struct leased_goal *goal = arg;

	return leased(goal->pool) <= goal->at_most;
}

static bool comes_down_to(struct mmb_pool *pool, uint64_t at_most)
{
	struct leased_goal goal = { pool, at_most };

	return test_wait(is_returned, &goal, WAIT_SECONDS);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- one process: sizes, alignments, limits ---- */

static void take_and_stamp(struct actor *a, size_t size, size_t align)
{
	char *p = align ? mmb_aligned_alloc(a->pool, align, size) : mmb_malloc(a->pool, size);

	if (!p)
		printf("  %zu bytes aligned to %zu: %s\n", size, align, mmb_error());
	CLIENT_EXPECT(p);
	CLIENT_EXPECT_EQ((uintptr_t)p % (align ? align : size >= 16 ? 16 : 8), 0);
	CLIENT_EXPECT(mmb_usable_size(p) >= size);
	if (size) {
		p[0] = 1;
		p[size - 1] = 2;
	}
	mmb_free(p);
}

static void every_alignment(struct actor *a)
{
	static const size_t more[] = { 4096,   10000,  32768,  65536,
				       100000, 262144, 262145, 300 << 10 };

	act_pool(a, 0);
	for (size_t align = 1; align <= 2 * MIB; align *= 2) {
		for (size_t size = 0; size <= 300; size += 1 + size / 8)
			take_and_stamp(a, size, align);
		for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
			take_and_stamp(a, more[i], align);
	}
	for (size_t size = 0; size <= 300 << 10; size += 1 + size / 16)
		take_and_stamp(a, size, 0);
	CLIENT_EXPECT(!mmb_aligned_alloc(a->pool, 0, 8) && errno == EINVAL);
	CLIENT_EXPECT(!mmb_aligned_alloc(a->pool, 24, 8) && errno == EINVAL);
	CLIENT_EXPECT(!mmb_aligned_alloc(a->pool, 4 * MIB, 8) && errno == EINVAL);
}

static void alignments(void)
{
	PLAY(ROLE(every_alignment));
}

static void odd_sizes(struct actor *a)
{
	char *none, *other, *large;

	act_pool(a, 64 * MIB);
	none = mmb_malloc(a->pool, 0);
	other = mmb_malloc(a->pool, 0);
	CLIENT_EXPECT(none && other && none != other);
	mmb_free(none);
	mmb_free(other);
	mmb_free(NULL);
	CLIENT_EXPECT_EQ(mmb_usable_size(NULL), 0);
	CLIENT_EXPECT(!mmb_malloc(a->pool, SIZE_MAX) && errno == ENOMEM);
	CLIENT_EXPECT(!mmb_malloc(a->pool, SIZE_MAX / 2) && errno == ENOMEM && mmb_error()[0]);
	CLIENT_EXPECT(!mmb_malloc(a->pool, 65 * (size_t)MIB) && errno == ENOMEM);
	CLIENT_EXPECT(!mmb_calloc(a->pool, SIZE_MAX / 2, 3) && errno == ENOMEM);
	CLIENT_EXPECT(!mmb_calloc(a->pool, 1ull << 32, 1ull << 32) && errno == ENOMEM);
	large = mmb_calloc(a->pool, 3, 2 * MIB);
	CLIENT_EXPECT(large && is_zero(large, 6 * MIB));
	mmb_free(large);
	large = mmb_malloc(a->pool, 100);
	memset(large, 7, 100);
	mmb_free(large);
	large = mmb_calloc(a->pool, 10, 10);
	CLIENT_EXPECT(large && is_zero(large, 100));
	memset(large, 9, 100);
	large = mmb_realloc(a->pool, large, LARGE);
	CLIENT_EXPECT(large && large[0] == 9 && large[99] == 9);
	CLIENT_EXPECT(!mmb_realloc(a->pool, large, SIZE_MAX / 2));
	CLIENT_EXPECT(large[0] == 9 && large[99] == 9);
	large = mmb_realloc(a->pool, large, 50);
	CLIENT_EXPECT(large && large[0] == 9 && large[49] == 9);
	mmb_free(large);
	CLIENT_EXPECT(!mmb_malloc(NULL, 8) && errno == EINVAL);
}

static void sizes(void)
{
	PLAY(ROLE(odd_sizes));
}

/* The list goes through the objects themselves. */
static size_t fill(struct mmb_pool *pool, size_t size, void ***list)
{
	size_t nr = 0;
	void **p;

	while ((p = mmb_malloc(pool, size))) {
		*p = *list;
		*list = p;
		nr++;
	}
	CLIENT_EXPECT_EQ(errno, ENOMEM);
	CLIENT_EXPECT(mmb_error()[0]);
	return nr;
}

static void free_list(void **list, size_t nr)
{
	while (nr--) {
		void **p = list;

		list = *p;
		mmb_free(p);
	}
}

static void to_the_limit(struct actor *a)
{
	static const size_t objects[] = { 16, 100, 5000, 100000, 1 << 20, 3 << 20 };

	act_pool(a, 16 * MIB);
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		void **list = NULL;
		size_t nr = fill(a->pool, objects[i], &list), again;

		/* What one size has left is there for the next; slabs of five units leave room that
		 * is too small for another. */
		CLIENT_EXPECT(nr * objects[i] >= 16 * MIB / 2);
		free_list(list, nr);
		list = NULL;
		again = fill(a->pool, objects[i], &list);
		CLIENT_EXPECT(again >= nr - nr / 16);
		free_list(list, again);
	}
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	CLIENT_EXPECT_EQ(leased(a->pool), 0);
}

static void limit(void)
{
	PLAY(ROLE(to_the_limit));
}

/* ---- an arena address that is taken ---- */

static void learn_the_address(struct actor *a)
{
	void *p;

	act_pool(a, 0);
	p = mmb_malloc(a->pool, OBJECT);
	CLIENT_EXPECT(p);
	atomic_store(&board->number[0], (uintptr_t)p);
	mmb_free(p);
	cue(1);
}

/* Addresses are given first fit: the next arena is there, or behind this one if it hasn't gone. */
static void *squat(size_t bytes)
{
	return mmap((void *)(uintptr_t)(atomic_load(&board->number[0]) & ~(PAGE - 1ull)), bytes,
		    PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
		    -1, 0);
}

static void come_too_late(struct actor *a)
{
	const size_t bytes = 64ull << 30;
	struct mmb_region *region;
	void *squatter, *objects[100];

	await(1);
	squatter = squat(bytes);
	CLIENT_EXPECT(squatter != MAP_FAILED);
	act_pool(a, 0);
	for (int i = 0; i < 20; i++) {
		errno = 0;
		CLIENT_EXPECT(!mmb_malloc(a->pool, OBJECT) && errno == EADDRNOTAVAIL);
		CLIENT_EXPECT(strstr(mmb_error(), "must be mapped exactly there"));
		CLIENT_EXPECT(!mmb_alloc_pages(a->pool, 0, 0) && errno == EADDRNOTAVAIL);
		region = act_region(a, MIB, 0);
		CLIENT_EXPECT(is_zero(act_at(region), PAGE));
		mmb_region_close(region);
	}
	CLIENT_EXPECT_EQ(munmap(squatter, bytes), 0);
	for (int i = 0; i < 100; i++) {
		objects[i] = mmb_malloc(a->pool, OBJECT);
		CLIENT_EXPECT(objects[i]);
		stamp(objects[i], OBJECT, (uint64_t)i);
	}
	for (int i = 0; i < 100; i++) {
		CLIENT_EXPECT(is_stamped(objects[i], OBJECT, (uint64_t)i));
		mmb_free(objects[i]);
	}
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	CLIENT_EXPECT_EQ(leased(a->pool), 0);
}

static void address_taken(void)
{
	PLAY(ROLE(learn_the_address), ROLE(come_too_late));
}

/* Its address is given anew at once, while its typed cache keeps the closed handle's memory. */
static void one_pool_after_another(struct actor *a)
{
	struct mmb_cache *caches[20];
	uintptr_t first = 0;
	int nr_again = 0;

	act_open(a);
	for (int i = 0; i < 20; i++) {
		void *p;

		CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &a->pool), 0);
		caches[i] = open_cache(a, "c", OBJECT, 0);
		p = mmb_cache_alloc(caches[i]);
		if (!p)
			printf("  %s\n", mmb_error());
		CLIENT_EXPECT(p);
		first = i ? first : (uintptr_t)p;
		nr_again += i && (uintptr_t)p == first;
		mmb_cache_free(caches[i], p);
		mmb_pool_close(a->pool);
	}
	printf("  %d times at the first one's address\n", nr_again);
	for (int i = 0; i < 20; i++)
		mmb_cache_close(caches[i]);
}

static void pools_in_turn(void)
{
	PLAY(ROLE(one_pool_after_another));
}

/* ---- giving back ---- */

static void trims(struct actor *a)
{
	struct mmb_cache *cache;
	void *objects[1000], *run;

	act_pool(a, 0);
	cache = open_cache(a, "c", 500, 0);
	CLIENT_EXPECT_EQ(mmb_cache_alloc_bulk(cache, 1000, objects), 0);
	run = mmb_malloc(a->pool, LARGE);
	CLIENT_EXPECT(run && leased(a->pool) >= LARGE + 500 * 1000);
	mmb_cache_free_bulk(cache, 1000, objects);
	mmb_free(run);
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	CLIENT_EXPECT_EQ(leased(a->pool), 0);
	/* And without being asked, in a while. */
	CLIENT_EXPECT_EQ(mmb_cache_alloc_bulk(cache, 1000, objects), 0);
	CLIENT_EXPECT(leased(a->pool) >= 500 * 1000);
	mmb_cache_free_bulk(cache, 1000, objects);
	CLIENT_EXPECT(comes_down_to(a->pool, 0));
	mmb_cache_close(cache);
	CLIENT_EXPECT_EQ(mmb_trim(NULL), -EINVAL);
}

static void trim(void)
{
	PLAY(ROLE(trims));
}

/* With a unit of its own for each it were three pageblocks and more. */
enum { LEAVERS = 100 };

static void *use_and_leave(void *arg)
{
	struct actor *a = arg;
	void *objects[500], *kept = mmb_malloc(a->pool, 300);

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 500; i++)
			objects[i] = mmb_malloc(a->pool, 300);
		for (int i = 0; i < 500; i++)
			mmb_free(objects[i]);
	}
	return kept;
}

static void threads_come_and_go(struct actor *a)
{
	void *kept[LEAVERS];

	act_pool(a, 0);
	for (int i = 0; i < LEAVERS; i++) {
		pthread_t thread;

		CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, use_and_leave, a), 0);
		CLIENT_EXPECT_EQ(pthread_join(thread, &kept[i]), 0);
		CLIENT_EXPECT(kept[i]);
	}
	/* Their slabs went from one to the next; what is charged is a pageblock at least. */
	CLIENT_EXPECT(comes_down_to(a->pool, HUGE_PAGE));
	for (int i = 0; i < LEAVERS; i++)
		mmb_free(kept[i]);
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	CLIENT_EXPECT_EQ(leased(a->pool), 0);
}

static void thread_exit(void)
{
	PLAY(ROLE(threads_come_and_go));
}

static void use_a_slab_of_each(struct actor *a)
{
	static const char *const names[] = { "one", NULL, "two", NULL, NULL };
	struct mmb_pool *pool[5];

	act_open(a);
	for (int i = 0; i < 5; i++) {
		CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, names[i], names[i] ? MMB_POOL_CREATE :
					       MMB_POOL_PRIVATE, NULL, &pool[i]), 0);
		mmb_free(mmb_malloc(pool[i], 100));
	}
	for (int i = 0; i < 5; i++)
		CLIENT_EXPECT(comes_down_to(pool[i], 0));
}

static void one_slab(void)
{
	PLAY(ROLE(use_a_slab_of_each));
}


/* ---- several processes ---- */

/* The board has room for so many addresses. */
static void lend(struct actor *a)
{
	struct mmb_cache *cache;

	await(2);
	act_common_pool(a);
	cache = open_cache(a, "records", OBJECT, 0);
	for (int i = 0; i < PASSED_ON; i++) {
		char *p = i % 2 ? mmb_cache_alloc(cache)
				: mmb_malloc(a->pool, i % 4 ? OBJECT : LARGE);

		CLIENT_EXPECT(p);
		stamp(p, OBJECT, (uint64_t)i);
		atomic_store(&board->number[i], (uintptr_t)p);
	}
	cue(3);
	await(5);
	/* What the others have freed is ours to use again. */
	for (int i = 0; i < PASSED_ON; i++) {
		char *p = mmb_cache_alloc(cache);

		CLIENT_EXPECT(p);
		mmb_cache_free(cache, p);
	}
	mmb_cache_close(cache);
}

static void *passed_on(int i)
{
	return (void *)(uintptr_t)atomic_load(&board->number[i]);
}

static void return_some(struct actor *a, int first, uint32_t next)
{
	struct mmb_cache *cache = open_cache(a, "records", OBJECT, 0);

	for (int i = first; i < PASSED_ON; i += 4) {
		CLIENT_EXPECT(is_stamped(passed_on(i), OBJECT, (uint64_t)i));
		mmb_free(passed_on(i));
		CLIENT_EXPECT(is_stamped(passed_on(i + 1), OBJECT, (uint64_t)(i + 1)));
		mmb_cache_free(cache, passed_on(i + 1));
	}
	mmb_cache_close(cache);
	/* Frees of others' objects are gathered until then. */
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	cue(next);
}

static void return_first(struct actor *a)
{
	act_common_pool(a);
	cue(1);
	await(3);
	return_some(a, 0, 4);
	await(5);
}

static void return_second(struct actor *a)
{
	await(1);
	act_common_pool(a);
	cue(2);
	await(4);
	return_some(a, 2, 5);
}

static void any_process_frees(void)
{
	PLAY(ROLE(lend), ROLE(return_first), ROLE(return_second));
}

static void open_otherwise(struct actor *a)
{
	struct mmb_cache *cache = NULL;

	await(1);
	act_common_pool(a);
	CLIENT_EXPECT_EQ(mmb_cache_open(a->pool, "c", 48, 0, 0, &cache), -EINVAL);
	CLIENT_EXPECT(strstr(mmb_error(), "40") && strstr(mmb_error(), "48"));
	cache = open_cache(a, "c", 40, 16);
	mmb_cache_close(cache);
	cue(2);
}

static void open_first(struct actor *a)
{
	struct mmb_cache *cache;

	act_common_pool(a);
	cache = open_cache(a, "c", 40, 16);
	cue(1);
	await(2);
	mmb_cache_close(cache);
}

static void one_shape(void)
{
	PLAY(ROLE(open_first), ROLE(open_otherwise));
}

/* ---- fork ---- */

static int child_looks(struct actor *a, struct mmb_cache *cache, struct mmb_mempool *m, void *p)
{
	void *objects[2];

	if (mmb_malloc(a->pool, 8) || errno != EOWNERDEAD || !mmb_error()[0])
		return 1;
	if (mmb_cache_alloc(cache) || errno != EOWNERDEAD)
		return 2;
	if (mmb_cache_alloc_bulk(cache, 2, objects) != -EOWNERDEAD)
		return 3;
	if (mmb_mempool_alloc(m) || errno != EOWNERDEAD)
		return 4;
	if (mmb_trim(a->pool) != -EOWNERDEAD || mmb_stats_print(a->pool, NULL, NULL) != -EOWNERDEAD)
		return 5;
	if (mmb_malloc(NULL, 8) || errno != EINVAL)
		return 6;
	mmb_free(p);
	mmb_cache_free(cache, p);
	mmb_mempool_free(m, p);
	mmb_mempool_close(m);
	mmb_cache_close(cache);
	mmb_pool_close(a->pool);
	/* A connection of its own works. */
	a->mmb = NULL;
	act_pool(a, 0);
	p = mmb_malloc(a->pool, 100);
	if (!p)
		return 7;
	mmb_free(p);
	mmb_close(a->mmb);
	return 0;
}

static void forks(struct actor *a)
{
	struct mmb_mempool *m;
	struct mmb_cache *cache;
	void *p, *q;
	int status;
	pid_t pid;

	act_pool(a, 0);
	cache = open_cache(a, "c", 100, 0);
	CLIENT_EXPECT_EQ(mmb_mempool_open(cache, 4, &m), 0);
	p = mmb_cache_alloc(cache);
	stamp(p, 96, 5);
	pid = fork();
	CLIENT_EXPECT(pid >= 0);
	if (!pid)
		_exit(child_looks(a, cache, m, p));
	CLIENT_EXPECT_EQ(waitpid(pid, &status, 0), pid);
	CLIENT_EXPECT_EQ(status, 0);
	CLIENT_EXPECT(is_stamped(p, 96, 5));
	q = mmb_cache_alloc(cache);
	CLIENT_EXPECT(q && q != p);
	mmb_cache_free(cache, p);
	mmb_cache_free(cache, q);
	q = mmb_mempool_alloc(m);
	CLIENT_EXPECT(q);
	mmb_mempool_free(m, q);
	mmb_mempool_close(m);
	mmb_cache_close(cache);
}

static void fork_is_survived(void)
{
	PLAY(ROLE(forks));
}

enum { PARENTS = 4, GENERATIONS = 3 };

/* With pools of its own, and a child of its own. */
static int child_has_pools(struct actor *a, void *const *parents, int generations)
{
	struct mmb_pool *before = a->pool;
	int status = 0;
	pid_t pid;

	a->mmb = NULL;
	act_pool(a, 0);
	if (!mmb_malloc(a->pool, 100) || !mmb_malloc(a->pool, 5 * MIB))
		return 1;
	for (int i = 0; i < PARENTS; i++) {
		mmb_free(parents[i]);
		if (mmb_usable_size(parents[i]))
			return 2;
		if (mmb_realloc(before, parents[i], 10) || errno != EOWNERDEAD)
			return 3;
		if (mmb_realloc(a->pool, parents[i], 6 * MIB) || errno != EOWNERDEAD)
			return 4;
	}
	if (generations > 1 && !(pid = act_fork()))
		_exit(child_has_pools(a, parents, generations - 1));
	if (generations > 1 && waitpid(pid, &status, 0) != pid)
		return 5;
	mmb_close(a->mmb);
	return status ? 6 : 0;
}

static void forks_twice(struct actor *a)
{
	static const size_t sizes[PARENTS] = { 10, 3000, 400 << 10, 7 * MIB };
	void *parents[PARENTS];
	int status;
	pid_t pid;

	act_pool(a, 0);
	for (int i = 0; i < PARENTS; i++) {
		parents[i] = mmb_malloc(a->pool, sizes[i]);
		CLIENT_EXPECT(parents[i]);
	}
	pid = act_fork();
	CLIENT_EXPECT(pid >= 0);
	if (!pid)
		_exit(child_has_pools(a, parents, GENERATIONS));
	CLIENT_EXPECT_EQ(waitpid(pid, &status, 0), pid);
	CLIENT_EXPECT_EQ(status, 0);
	for (int i = 0; i < PARENTS; i++)
		mmb_free(parents[i]);
}

static void parents_objects(void)
{
	PLAY(ROLE(forks_twice));
}

/* ---- ends ---- */

static void hold_private(struct actor *a)
{
	act_pool(a, 0);
	for (int i = 0; i < 20000; i++)
		CLIENT_EXPECT(mmb_malloc(a->pool, 1000));
	CLIENT_EXPECT(mmb_malloc(a->pool, 3 * MIB));
	cue(1);
	pause();
}

/* stage_end() waits until all counters are as before. */
static void killed_private(void)
{
	const struct role role = ROLE(hold_private, .status = -SIGKILL);

	stage_begin();
	stage_cast(&role, 1);
	EXPECT(cue_comes(1));
	stage_kill(0, SIGKILL);
	EXPECT(stage_ended(0));
	stage_end();
}

static void leave_without_closing(struct actor *a)
{
	act_common_pool(a);
	for (int i = 0; i < 20000; i++)
		CLIENT_EXPECT(mmb_malloc(a->pool, 1000));
	_exit(0);
}

static void exits(void)
{
	PLAY(ROLE(leave_without_closing), ROLE(leave_without_closing));
}

/* A million objects, linked; one in 64 is freed again, so that every slab has an owner. */
static void make_a_million(struct actor *a)
{
	struct mmb_cache *cache;
	void **list = NULL, **holes = NULL;

	await(1);
	act_common_pool(a);
	cache = open_cache(a, "records", OBJECT, 0);
	for (int i = 0; i < MILLION; i++) {
		void **p = mmb_cache_alloc(cache), ***to = i % FREED_EVERY ? &list : &holes;

		CLIENT_EXPECT(p);
		p[0] = *to;
		p[1] = p;
		*to = p;
	}
	while (holes) {
		void **p = holes;

		holes = *p;
		mmb_cache_free(cache, p);
	}
	atomic_store(&board->number[0], (uintptr_t)list);
	cue(2);
	pause();
}

static bool has_adopted(void *pool)
{
	return act_adopted(pool) >= (unsigned long)MILLION * OBJECT / 65536 * 9 / 10;
}

static void adopt_a_million(struct actor *a)
{
	struct mmb_cache *cache;
	uint64_t before;
	void **list;
	int nr = 0;

	act_common_pool(a);
	cache = open_cache(a, "records", OBJECT, 0);
	cue(1);
	await(3);
	before = now_ms();
	CLIENT_EXPECT(test_wait(has_adopted, a->pool, WAIT_SECONDS));
	printf("  %lu slabs adopted after %llu ms\n", act_adopted(a->pool),
	       (unsigned long long)(now_ms() - before));
	list = (void **)(uintptr_t)atomic_load(&board->number[0]);
	while (list) {
		void **p = list;

		CLIENT_EXPECT(p[1] == p);
		list = *p;
		mmb_cache_free(cache, p);
		nr++;
	}
	CLIENT_EXPECT_EQ(nr, MILLION - (MILLION + FREED_EVERY - 1) / FREED_EVERY);
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	CLIENT_EXPECT_EQ(leased(a->pool), 0);
	mmb_cache_close(cache);
}

static void killed_shared(void)
{
	const struct role roles[] = { ROLE(adopt_a_million),
				      ROLE(make_a_million, .status = -SIGKILL) };
	struct fixture *f = stage_begin();

	stage_cast(roles, 2);
	EXPECT(cue_comes(2));
	stage_kill(1, SIGKILL);
	EXPECT(stage_ended(1));
	cue(3);
	EXPECT(stage_ended(0));
	EXPECT(strstr(mmbctl(f->socket, "verify"), "0 differences"));
	stage_end();
}

static const struct test_case cases[] = {
	{ "every alignment up to 2 MiB and sizes of 0 to 300 KiB", alignments },
	{ "size 0, huge sizes and overflow have an answer", sizes },
	{ "a full pool says ENOMEM, and recovers", limit },
	{ "an arena address that is taken fails each call, and no more once it is free",
	  address_taken },
	{ "a pool may come where a closed one was, though something keeps that handle",
	  pools_in_turn },
	{ "what isn't used goes back: at once by mmb_trim, else in a while", trim },
	{ "of many pools, and shared ones, not even a slab each is kept", one_slab },
	{ "a thread's end gives back what it kept", thread_exit },
	{ "objects have one address in three processes, and any of them frees", any_process_frees },
	{ "a cache has one shape in all clients", one_shape },
	{ "a forked child is told, and its parent goes on", fork_is_survived },
	{ "children and theirs, with pools of their own, leave the objects of the first alone",
	  parents_objects },
	{ "a killed client's private pool goes at once", killed_private },
	{ "exit returns everything", exits },
	{ "a million objects of a killed client are adopted within a second", killed_shared },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
