/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slub_model - random calls on random caches against a table of what is live
 *
 * Reference   An array of live objects with the byte each was filled with. Nothing overlaps, no
 *             byte changes, counts agree, and at the end every frame is back.
 */
#include <string.h>

#include "base/inject.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/obj/own.h"
#include "mm/obj/slub_cache.h"

enum { SEEDS = 2000 / TEST_SLOWER, STEPS = 300, LIVE_MAX = 400, CACHES = 3, BULK = 24 };

struct object {
	unsigned char     *at;
	struct kmem_cache *cache; /* NULL: kmalloc */
	size_t             bytes;
	unsigned char      fill;
};

static struct kmem_cache *caches[CACHES];
static struct object      live[LIVE_MAX];
static unsigned int       nr_live;
static uint64_t           random_state;

static uint64_t below(uint64_t bound)
{
	return test_below(&random_state, bound);
}

static void make_caches(void)
{
	for (int i = 0; i < CACHES; i++) {
		struct kmem_cache_args args = {
			.object_size = 1 + below(below(4) ? 300 : 9000),
			.align = below(2) ? 1u << below(8) : 0,
			.flags = (uint32_t)(below(3) ? 0 : below(SLAB_DEBUG_FLAGS + 1)) |
				 (below(4) ? 0 : SLAB_HWCACHE_ALIGN),
		};

		caches[i] = kmem_cache_create("model", &args);
		EXPECT(caches[i] != NULL);
	}
}

static void add(void *at, struct kmem_cache *cache, size_t bytes)
{
	struct object *object = &live[nr_live];

	if (!at)
		return;
	*object = (struct object){ at, cache, bytes, (unsigned char)below(256) };
	memset(at, object->fill, bytes);
	nr_live++;
}

/* The object has kept its bytes; it is off the table. */
static struct object take(unsigned int index)
{
	struct object object = live[index];

	for (size_t i = 0; i < object.bytes; i++)
		if (object.at[i] != object.fill)
			EXPECT_EQ(object.at[i], object.fill);
	live[index] = live[--nr_live];
	return object;
}

static void alloc_one(void)
{
	struct kmem_cache *s = caches[below(CACHES)];
	size_t             bytes = 1 + below(below(8) ? 1000 : 40000);

	if (nr_live == LIVE_MAX)
		return;
	if (below(3))
		add(kmem_cache_alloc(s, below(2) ? GFP_KERNEL : GFP_ZERO), s, kmem_cache_size(s));
	else
		add(kmalloc(bytes, below(2) ? GFP_KERNEL : GFP_ATOMIC), NULL, bytes);
}

static void free_one(void)
{
	struct object object;

	if (!nr_live)
		return;
	object = take((unsigned int)below(nr_live));
	if (object.cache && below(2))
		kmem_cache_free(object.cache, object.at);
	else
		kfree(object.at);
}

static void alloc_many(void)
{
	struct kmem_cache *s = caches[below(CACHES)];
	unsigned int       nr = 1 + (unsigned int)below(BULK), got;
	void              *objects[BULK];

	if (nr_live + nr > LIVE_MAX)
		return;
	got = kmem_cache_alloc_bulk(s, 0, nr, objects);
	EXPECT(got == nr || got == 0);
	for (unsigned int i = 0; i < got; i++)
		add(objects[i], s, kmem_cache_size(s));
}

static void free_many(void)
{
	void        *objects[BULK];
	unsigned int nr = (unsigned int)below(BULK);

	if (nr > nr_live)
		return;
	for (unsigned int i = 0; i < nr; i++)
		objects[i] = take((unsigned int)below(nr_live)).at;
	kmem_cache_free_bulk(NULL, nr, objects);
}

static void resize(void)
{
	unsigned int   index = (unsigned int)below(nr_live + 1);
	size_t         bytes = 1 + below(5000), kept;
	unsigned char *at;

	if (index == nr_live || live[index].cache)
		return;
	kept = live[index].bytes < bytes ? live[index].bytes : bytes;
	at = krealloc(live[index].at, bytes, 0);
	if (!at)
		return;
	for (size_t i = 0; i < kept; i++)
		if (at[i] != live[index].fill)
			EXPECT_EQ(at[i], live[index].fill);
	live[index].at = at;
	live[index].bytes = bytes;
	memset(at, live[index].fill, bytes);
}

static void change_threads(void)
{
	if (this_cpu() < 0)
		cpu_slot_register(0);
	else
		cpu_slot_unregister();
}

static void tidy(void)
{
	kmem_cache_shrink(caches[below(CACHES)]);
	slab_tick();
}

static void fail_soon(void)
{
	inject_arm(NR_INJECT_POINTS, 1 + below(6), -12);
}

static void run(uint64_t seed)
{
	static void (*const steps[])(void) = { alloc_one, alloc_one, alloc_one, free_one, free_one,
					       free_one, alloc_many, free_many, resize, tidy,
					       change_threads, fail_soon };

	random_state = seed;
	make_caches();
	for (int i = 0; i < STEPS; i++)
		steps[below(ARRAY_SIZE(steps) - (i % 16 ? 3 : 0))]();
	inject_arm(NR_INJECT_POINTS, 0, 0);
	if (this_cpu() < 0)
		cpu_slot_register(0);
	if (seed % 16 == 0)
		phys_expect_valid();
	while (nr_live)
		free_one();
	for (int i = 0; i < CACHES; i++)
		EXPECT_EQ(kmem_cache_destroy(caches[i]), 0);
}

static void random_calls_agree_with_a_table(void)
{
	uint64_t seed = test_seed();

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true });
	for (uint64_t i = 0; i < SEEDS; i++)
		run(seed + i);
	slab_tick();
	slab_tick();
	phys_stop();
}

static const struct test_case cases[] = {
	{ "random calls agree with a table of what is live", random_calls_agree_with_a_table },
};
TEST_MAIN(cases)
