/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cancel - threads that are cancelled while they call, and those that go on
 *
 * Purpose     pthread_cancel() at any moment of any call leaves the connection to the others: they
 *             are answered, no lock stays closed, and nothing that the call made is lost.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system/stage.h"

enum {
	ROUNDS = 30,       /* of each kind of call */
	VICTIMS = 3,       /* at once */
	OBJECTS = 64,
	LARGE = 64 << 10,  /* an object of its own slab */
	RANGE = 6 << 20,
	MOMENTS_US = 3000, /* cancelled somewhere in them */
};

static const char *const flags[] = { "--memory.reserve=384M", NULL };
static const struct setting setting = { .flags = flags };

/* ---- what is cancelled: whole steps that leave nothing, so that only the library can lose ---- */

static void ask(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
}

static void use_regions(struct actor *a)
{
	struct mmb_region *region;

	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, MIB, NULL, &region), 0);
	*(char *)mmb_region_address(region) = 1;
	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, PAGE), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlock(region, 0, PAGE), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, PAGE, MMB_ADVISE_DONTNEED), 0);
	mmb_region_close(region);
}

static void use_clones(struct actor *a)
{
	struct mmb_region *region, *clone;

	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, MIB, NULL, &region), 0);
	memset(mmb_region_address(region), 1, PAGE);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, NULL, &clone), 0);
	mmb_region_close(clone);
	mmb_region_close(region);
}

/* Most of them leave the process's own stock and go back to the broker. */
static void use_objects(struct actor *a)
{
	void *objects[OBJECTS];

	for (int i = 0; i < OBJECTS; i++) {
		objects[i] = mmb_malloc(a->pool, i % 2 ? LARGE : 64);
		CLIENT_EXPECT(objects[i]);
	}
	for (int i = 0; i < OBJECTS; i++)
		mmb_free(objects[i]);
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
}

static void use_pages(struct actor *a)
{
	for (unsigned int order = 0; order <= MMB_ORDER_MAX; order += 5) {
		void *pages = mmb_alloc_pages(a->pool, order, 0);

		CLIENT_EXPECT(pages);
		mmb_free_pages(a->pool, pages, order);
	}
}

static void use_ranges(struct actor *a)
{
	char *range;

	range = mmb_malloc(a->pool, RANGE);
	CLIENT_EXPECT(range);
	range[0] = 1;
	mmb_free(range);
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
}

static void use_caches(struct actor *a)
{
	struct mmb_mempool *reserve;
	struct mmb_cache *cache;
	void *objects[OBJECTS];

	CLIENT_EXPECT_EQ(mmb_cache_open(a->pool, "cancelled", 256, 0, 0, &cache), 0);
	CLIENT_EXPECT_EQ(mmb_mempool_open(cache, 4, &reserve), 0);
	CLIENT_EXPECT_EQ(mmb_cache_alloc_bulk(cache, OBJECTS, objects), 0);
	mmb_cache_free_bulk(cache, OBJECTS, objects);
	mmb_mempool_close(reserve);
	mmb_cache_close(cache);
}

static void use_pools(struct actor *a)
{
	struct mmb_pool *pool;
	void *object;

	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
	object = mmb_malloc(pool, 64);
	CLIENT_EXPECT(object);
	mmb_free(object);
	mmb_pool_close(pool);
}

static void use_connections(struct actor *a)
{
	struct mmb *mmb;

	CLIENT_EXPECT_EQ(mmb_open(a->socket, NULL, &mmb), 0);
	mmb_close(mmb);
}

/* ---- cancelling ---- */

struct victim {
	struct actor *actor;
	void (*step)(struct actor *a);
	bool inside; /* when it ended */
	pthread_t thread;
};

static void *suffer(void *arg)
{
	struct victim *v = arg;

	for (;;) {
		v->inside = true;
		v->step(v->actor);
		v->inside = false;
		pthread_testcancel();
	}
	return NULL;
}

static void cancel_some(struct actor *a, void (*step)(struct actor *a))
{
	struct victim victims[VICTIMS];
	void *ended;

	for (int i = 0; i < VICTIMS; i++) {
		victims[i] = (struct victim){ .actor = a, .step = step };
		CLIENT_EXPECT_EQ(pthread_create(&victims[i].thread, NULL, suffer, &victims[i]), 0);
	}
	for (int i = 0; i < VICTIMS; i++) {
		usleep((useconds_t)(rand() % MOMENTS_US));
		CLIENT_EXPECT_EQ(pthread_cancel(victims[i].thread), 0);
	}
	for (int i = 0; i < VICTIMS; i++) {
		CLIENT_EXPECT_EQ(pthread_join(victims[i].thread, &ended), 0);
		CLIENT_EXPECT(ended == PTHREAD_CANCELED);
		CLIENT_EXPECT(!victims[i].inside);
	}
}

static void others_go_on(struct actor *a)
{
	static void (*const steps[])(struct actor * a) = {
		ask,	    use_regions, use_clones, use_objects,     use_pages,
		use_ranges, use_caches,	 use_pools,  use_connections,
	};

	act_pool(a, 0);
	srand(1);
	for (int round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			cancel_some(a, steps[i]);
			steps[i](a);
			ask(a);
		}
}

static void cancelled_threads_leave_others_alone(void)
{
	PLAY(ROLE(others_go_on));
}

/* ---- what a caller had set itself ---- */

static void state_is_the_callers(struct actor *a)
{
	int state;

	act_pool(a, 0);
	ask(a);
	CLIENT_EXPECT_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state), 0);
	CLIENT_EXPECT_EQ(state, PTHREAD_CANCEL_ENABLE);
	use_objects(a);
	use_regions(a);
	CLIENT_EXPECT_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
	CLIENT_EXPECT_EQ(state, PTHREAD_CANCEL_DISABLE);
}

static void callers_state_stays(void)
{
	PLAY(ROLE(state_is_the_callers));
}

static const struct test_case cases[] = {
	{ "others go on after threads were cancelled in any call",
	  cancelled_threads_leave_others_alone },
	{ "a caller that put cancellation off finds it put off", callers_state_stays },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
