/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slub_threads - slub.c, slub_cpu.c: threads that free what others allocated, while somebody
 * flushes, shrinks and validates
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/obj/slub_cache.h"

enum { NR_THREADS = 4, SHARED = 256, ROUNDS = 20000 / TEST_SLOWER, HELD = 64, SIZE = 72 };

/* Objects on their way from whoever allocated to whoever frees. */
static void *_Atomic shared[SHARED];
static struct kmem_cache *cache;
static _Atomic bool stop_visiting;

struct worker {
	pthread_t thread;
	uint64_t  random;
	bool      has_slot, hands_on; /* all that it allocates goes to whoever comes next */
	uint64_t  nr_wrong;
};

static void *make(struct worker *w)
{
	unsigned char *object = kmem_cache_alloc(cache, 0);

	if (object)
		memset(object, (int)((uintptr_t)object >> 3) & 0xff, SIZE);
	return object;
}

static void unmake(struct worker *w, unsigned char *object)
{
	if (!object)
		return;
	for (int i = 0; i < SIZE; i++)
		w->nr_wrong += object[i] != (((uintptr_t)object >> 3) & 0xff);
	kmem_cache_free(cache, object);
}

static void step(struct worker *w, void **held)
{
	uint64_t at = test_below(&w->random, HELD);

	switch (w->hands_on ? 0 : test_below(&w->random, 4)) {
	case 0:
		unmake(w, atomic_exchange(&shared[test_below(&w->random, SHARED)], make(w)));
		break;
	case 1: {
		void *objects[16];
		unsigned int nr = kmem_cache_alloc_bulk(cache, 0, 16, objects);

		kmem_cache_free_bulk(cache, nr, objects);
		break;
	}
	default:
		unmake(w, held[at]);
		held[at] = make(w);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	void          *held[HELD] = { NULL };

	if (w->has_slot)
		cpu_slot_register(0);
	for (int i = 0; i < ROUNDS; i++)
		step(w, held);
	for (int i = 0; i < HELD; i++)
		unmake(w, held[i]);
	if (w->has_slot)
		cpu_slot_unregister();
	return NULL;
}

static void *visit(void *unused)
{
	static struct validation v;

	v = (struct validation){ 0 };
	while (!atomic_load(&stop_visiting)) {
		kmem_cache_shrink(cache);
		kmem_cache_validate(cache, &v);
		slab_tick();
	}
	for (uint64_t i = 0; i < v.nr_differences && i < VALIDATION_REPORTS; i++)
		fprintf(stderr, "# %s\n", v.reports[i]);
	return (void *)(uintptr_t)v.nr_differences;
}

struct scene {
	uint32_t flags, size, nr_without_slot;
	bool     hands_on;
};

static void run(const struct scene *scene)
{
	struct kmem_cache_args args = { .object_size = scene->size, .flags = scene->flags };
	struct worker          workers[NR_THREADS] = { 0 };
	uint64_t               seed = test_seed();
	pthread_t              visitor;
	void                  *nr_differences;
	struct slabinfo        info;

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true });
	cache = kmem_cache_create("threads", &args);
	atomic_store(&stop_visiting, false);
	EXPECT_EQ(pthread_create(&visitor, NULL, visit, NULL), 0);
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		workers[i].random = seed + i;
		workers[i].has_slot = i < NR_THREADS - scene->nr_without_slot;
		workers[i].hands_on = scene->hands_on;
		EXPECT_EQ(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	atomic_store(&stop_visiting, true);
	pthread_join(visitor, &nr_differences);
	EXPECT_EQ((uintptr_t)nr_differences, 0);
	for (int i = 0; i < NR_THREADS; i++)
		EXPECT_EQ(workers[i].nr_wrong, 0);
	for (int i = 0; i < SHARED; i++)
		kmem_cache_free(cache, atomic_exchange(&shared[i], NULL));
	phys_expect_valid();
	kmem_cache_shrink(cache);
	slab_info(cache, &info);
	EXPECT_EQ(info.num_slabs, 0);
	EXPECT_EQ(kmem_cache_destroy(cache), 0);
	phys_stop();
}

static void threads_exchange_objects(void)
{
	run(&(struct scene){ .size = SIZE, .nr_without_slot = 1 });
}

static void few_objects_a_slab(void)
{
	run(&(struct scene){ .size = 16000, .nr_without_slot = 1 });
}

/* Who has no CPU takes a slab's last object while one who has frees another of it. */
static void last_objects_of_slabs(void)
{
	run(&(struct scene){ .size = 8000, .nr_without_slot = 2, .hands_on = true });
}

static void debug_caches_are_exact_too(void)
{
	run(&(struct scene){ .flags = SLAB_DEBUG_FLAGS, .size = SIZE, .nr_without_slot = 1 });
}

static const struct test_case cases[] = {
	{ "threads exchange objects", threads_exchange_objects },
	{ "few objects a slab", few_objects_a_slab },
	{ "a slab's last object is taken while another comes back", last_objects_of_slabs },
	{ "debug caches are exact too", debug_caches_are_exact_too },
};
TEST_MAIN(cases)
