/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slub - slub.c, slub_cache.c, slub_cpu.c, slub_lists.c, slub_info.c, slub_validate.c: caches
 * of objects, one thread
 */
#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/obj/own.h"
#include "mm/obj/slub_cache.h"

enum { MANY = 2000 };

static const struct phys_setup with_objects = { .base_mib = 64, .objects = true };

static struct kmem_cache *start(uint32_t size, uint32_t flags)
{
	struct kmem_cache_args args = { .object_size = size, .flags = flags };
	struct kmem_cache     *s;

	phys_start(&with_objects);
	s = kmem_cache_create("test", &args);
	EXPECT(s != NULL);
	return s;
}

static void stop(struct kmem_cache *s)
{
	phys_expect_valid();
	EXPECT_EQ(kmem_cache_destroy(s), 0);
	phys_stop();
}

static struct slabinfo info_of(struct kmem_cache *s)
{
	struct slabinfo info;

	slab_info(s, &info);
	return info;
}

static uint64_t nr_objects(struct kmem_cache *s)
{
	flush_cpus(s, cpus_with_slabs(s));
	return info_of(s).active_objs;
}

static void the_allocator_lives_in_itself(void)
{
	phys_start(&with_objects);
	EXPECT(slab_is_up());
	EXPECT(slab_bytes() > 0);
	phys_stop();
	EXPECT(!slab_is_up());
	phys_start(&with_objects);
	phys_stop();
}

static void what_was_freed_last_is_taken_first(void)
{
	struct kmem_cache *s = start(64, 0);
	void              *first = kmem_cache_alloc(s, 0), *second = kmem_cache_alloc(s, 0);

	EXPECT(first && second && first != second);
	kmem_cache_free(s, first);
	EXPECT(kmem_cache_alloc(s, 0) == first);
	kmem_cache_free(s, second);
	kmem_cache_free(s, first);
	EXPECT(kmem_cache_alloc(s, 0) == first);
	kmem_cache_free(s, first);
	stop(s);
}

static void hits_touch_neither_lists_nor_pages(void)
{
	struct kmem_cache *s = start(128, 0);
	void              *object = kmem_cache_alloc(s, 0);
	struct slabinfo    before, after;

	kmem_cache_free(s, object);
	before = info_of(s);
	for (int i = 0; i < 1000; i++)
		kmem_cache_free(s, kmem_cache_alloc(s, 0));
	after = info_of(s);
	EXPECT_EQ(after.stats[SLUB_alloc_fastpath] - before.stats[SLUB_alloc_fastpath], 1000);
	EXPECT_EQ(after.stats[SLUB_free_fastpath] - before.stats[SLUB_free_fastpath], 1000);
	EXPECT_EQ(after.stats[SLUB_alloc_slowpath], before.stats[SLUB_alloc_slowpath]);
	EXPECT_EQ(after.num_slabs, 1);
	stop(s);
}

static void objects_are_apart_and_keep_their_bytes(void)
{
	static uint64_t   *objects[MANY];
	struct kmem_cache *s = start(200, 0);

	for (uint64_t i = 0; i < MANY; i++) {
		objects[i] = kmem_cache_zalloc(s, 0);
		EXPECT(objects[i] != NULL);
		EXPECT_EQ(objects[i][0] | objects[i][12] | objects[i][24], 0);
		memset(objects[i], (int)(i % 251), 200);
	}
	phys_expect_valid();
	for (uint64_t i = 0; i < MANY; i++)
		EXPECT_EQ(((unsigned char *)objects[i])[199], i % 251);
	EXPECT_EQ(nr_objects(s), MANY);
	for (uint64_t i = 0; i < MANY; i++)
		kmem_cache_free(s, objects[(i * 7) % MANY]);
	EXPECT_EQ(nr_objects(s), 0);
	stop(s);
}

static unsigned int nr_built;

static void build(void *object)
{
	*(uint64_t *)object = 0x1234;
	nr_built++;
}

static void the_constructor_runs_once_per_object(void)
{
	struct kmem_cache_args args = { .object_size = 64, .ctor = build };
	struct kmem_cache     *s;
	unsigned int           after_first;

	phys_start(&with_objects);
	nr_built = 0;
	s = kmem_cache_create("built", &args);
	for (int i = 0; i < 100; i++) {
		uint64_t *object = kmem_cache_alloc(s, 0);

		EXPECT_EQ(*object, 0x1234);
		if (i == 0)
			after_first = nr_built;
		kmem_cache_free(s, object);
	}
	EXPECT_EQ(nr_built, after_first);
	EXPECT_EQ(nr_built, info_of(s).objs_per_slab);
	stop(s);
}

static void bulk_gives_all_or_nothing(void)
{
	static void       *objects[MANY];
	struct kmem_cache *s = start(96, 0);

	EXPECT_EQ(kmem_cache_alloc_bulk(s, GFP_ZERO, MANY, objects), MANY);
	for (int i = 0; i < MANY; i++)
		EXPECT_EQ(*(uint64_t *)objects[i], 0);
	EXPECT_EQ(nr_objects(s), MANY);
	kmem_cache_free_bulk(s, MANY / 2, objects);
	kmem_cache_free_bulk(NULL, MANY / 2, objects + MANY / 2);
	EXPECT_EQ(nr_objects(s), 0);
	kmem_cache_shrink(s);
	inject_arm(INJECT_SLAB_PAGES, 5, -ENOMEM);
	EXPECT_EQ(kmem_cache_alloc_bulk(s, 0, MANY, objects), 0);
	inject_arm(NR_INJECT_POINTS, 0, 0);
	EXPECT_EQ(nr_objects(s), 0);
	stop(s);
}

static void shrink_gives_every_empty_slab_back(void)
{
	static void       *objects[MANY];
	struct kmem_cache *s = start(256, 0);
	uint64_t           before = slab_bytes(), free_before = zone_free_pages_nr(own_zone(0));

	EXPECT_EQ(kmem_cache_alloc_bulk(s, 0, MANY, objects), MANY);
	EXPECT(slab_bytes() > before);
	kmem_cache_free_bulk(s, MANY, objects);
	EXPECT(kmem_cache_shrink(s) > 0);
	EXPECT_EQ(info_of(s).num_slabs, 0);
	EXPECT(slab_bytes() <= before + PAGE_SIZE); /* the CPU's own structure */
	EXPECT(zone_free_pages_nr(own_zone(0)) + 1 >= free_before);
	stop(s);
}

static void a_tick_returns_what_is_idle(void)
{
	static void       *objects[MANY];
	struct kmem_cache *s = start(256, 0);

	EXPECT_EQ(kmem_cache_alloc_bulk(s, 0, MANY, objects), MANY);
	kmem_cache_free_bulk(s, MANY, objects);
	slab_tick();
	slab_tick();
	EXPECT_EQ(info_of(s).num_slabs, 0);
	stop(s);
}

static void a_type_stable_cache_keeps_its_slabs(void)
{
	struct kmem_cache *s = start(64, SLAB_TYPE_STABLE);
	uint64_t          *object = kmem_cache_zalloc(s, 0);

	object[0] = object[7] = 77;
	kmem_cache_free(s, object);
	EXPECT_EQ(object[0], 77);
	EXPECT_EQ(object[7], 77);
	EXPECT_EQ(kmem_cache_shrink(s), 0);
	slab_tick();
	EXPECT_EQ(info_of(s).num_slabs, 1);
	EXPECT_EQ(object[0], 77);
	stop(s);
}

static void destroy_refuses_while_objects_live(void)
{
	struct kmem_cache *s = start(64, 0);
	void              *object = kmem_cache_alloc(s, 0);

	EXPECT_EQ(kmem_cache_destroy(s), -EBUSY);
	kmem_cache_free(s, kmem_cache_alloc(s, 0));
	EXPECT_EQ(kmem_cache_destroy(s), -EBUSY);
	kmem_cache_free(s, object);
	EXPECT_EQ(kmem_cache_destroy(NULL), 0);
	stop(s);
}

static void orders_are_the_kernels(void)
{
	static const struct {
		uint32_t size, nr_cpus, order;
	} rows[] = { /* as /sys/kernel/slab/NAME/order shows them on hosts of so many CPUs */
		{ 8, 2, 0 }, { 64, 2, 0 }, { 192, 2, 0 }, { 256, 2, 0 }, { 512, 2, 1 },
		{ 1024, 2, 2 }, { 2048, 2, 3 }, { 4096, 2, 3 }, { 8192, 2, 3 }, { 256, 8, 1 },
		{ 512, 8, 2 }, { 1024, 8, 3 }, { 64, 64, 0 }, { 192, 64, 1 },
		{ 65536, 2, 4 }, { 1 << 20, 2, 8 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++)
		EXPECT_EQ(slub_calculate_order(rows[i].size, rows[i].nr_cpus), rows[i].order);
}

static void alignments_and_sizes_hold(void)
{
	phys_start(&with_objects);
	for (uint32_t align = 1; align <= PAGE_SIZE; align *= 2) {
		for (uint32_t size = 1; size <= 9000; size = size * 2 + 3) {
			struct kmem_cache_args args = { .object_size = size, .align = align };
			struct kmem_cache     *s = kmem_cache_create("aligned", &args);
			void                  *objects[8];

			EXPECT(s != NULL);
			EXPECT_EQ(kmem_cache_size(s), size);
			EXPECT_EQ(kmem_cache_alloc_bulk(s, 0, 8, objects), 8);
			for (int i = 0; i < 8; i++) {
				EXPECT(is_aligned((uintptr_t)objects[i], align));
				EXPECT(is_aligned((uintptr_t)objects[i], 8));
				memset(objects[i], i, size);
			}
			kmem_cache_free_bulk(s, 8, objects);
			EXPECT_EQ(kmem_cache_destroy(s), 0);
		}
	}
	phys_stop();
}

static void nonsense_is_refused(void)
{
	static const struct kmem_cache_args wrong[] = {
		{ .object_size = 0 },
		{ .object_size = SIZE_MAX },
		{ .object_size = KMALLOC_MAX_SIZE },
		{ .object_size = 64, .align = 3 },
		{ .object_size = 64, .align = 1u << 31 },
		{ .object_size = 64, .useroffset = 65 },
		{ .object_size = 64, .useroffset = 60, .usersize = 5 },
		{ .object_size = 64, .useroffset = 1, .usersize = UINT32_MAX },
	};

	phys_start(&with_objects);
	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++)
		EXPECT(kmem_cache_create("wrong", &wrong[i]) == NULL);
	phys_stop();
}

static void a_thread_without_a_slot_takes_the_lists(void)
{
	struct kmem_cache *s = start(64, 0);
	static void       *objects[MANY];
	struct slabinfo    info;

	cpu_slot_unregister();
	for (int i = 0; i < MANY; i++)
		objects[i] = kmem_cache_alloc(s, 0);
	for (int i = 0; i < MANY; i++)
		kmem_cache_free(s, objects[i]);
	info = info_of(s);
	EXPECT_EQ(info.stats[SLUB_alloc_fastpath], 0);
	EXPECT_EQ(info.stats[SLUB_free_slowpath], MANY);
	EXPECT_EQ(info.active_objs, 0);
	EXPECT_EQ(cpus_with_slabs(s), 0);
	EXPECT_EQ(cpu_slot_register(0), 0);
	stop(s);
}

static void no_memory_at_any_point_is_an_answer(void)
{
	static void       *objects[MANY];
	struct kmem_cache *s = start(512, 0);
	uint64_t           failed = 1;

	for (uint64_t nth = 1; failed; nth++) {
		uint64_t bytes = slab_bytes();

		failed = 0;
		inject_arm(NR_INJECT_POINTS, nth, -ENOMEM);
		for (int i = 0; i < 300; i++) {
			objects[i] = i % 3 ? kmem_cache_alloc(s, 0) : kmem_cache_zalloc(s, 0);
			failed += !objects[i];
		}
		failed = inject_passes(NR_INJECT_POINTS) >= nth;
		inject_arm(NR_INJECT_POINTS, 0, 0);
		for (int i = 0; i < 300; i++)
			kmem_cache_free(s, objects[i]);
		EXPECT_EQ(nr_objects(s), 0);
		kmem_cache_shrink(s);
		EXPECT(slab_bytes() <= bytes + PAGE_SIZE);
	}
	stop(s);
}

static void no_memory_for_a_cache_is_an_answer(void)
{
	struct kmem_cache_args args = { .object_size = 40 };
	struct kmem_cache     *s = NULL;

	phys_start(&with_objects);
	for (uint64_t nth = 1; !s; nth++) {
		inject_arm(NR_INJECT_POINTS, nth, -ENOMEM);
		s = kmem_cache_create("late", &args);
		inject_arm(NR_INJECT_POINTS, 0, 0);
	}
	EXPECT_EQ(kmem_cache_destroy(s), 0);
	phys_stop();
}

static void pool_0_may_end_and_come_back(void)
{
	static void       *objects[MANY * 32];
	struct kmem_cache_args args = { .object_size = 2048 };
	struct kmem_cache *s;
	int                nr = 0, again = 0;

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true, .own_mib = 8 });
	s = kmem_cache_create("much", &args);
	while ((objects[nr] = kmem_cache_alloc(s, GFP_KERNEL)))
		nr++;
	EXPECT(nr > 3000 && nr < 4096);
	EXPECT(kmem_cache_alloc(s, GFP_ATOMIC) == NULL);
	kmem_cache_free_bulk(s, (unsigned int)nr, objects);
	while (again < nr && (objects[again] = kmem_cache_alloc(s, GFP_NOWAIT)))
		again++;
	EXPECT_EQ(again, nr);
	kmem_cache_free_bulk(s, (unsigned int)nr, objects);
	stop(s);
}

static void figures_are_those_of_slabinfo(void)
{
	struct kmem_cache *s = start(100, 0);
	void              *object = kmem_cache_alloc(s, 0);
	struct slabinfo    info = info_of(s);

	EXPECT(!strcmp(info.name, "test"));
	EXPECT(!strcmp(kmem_cache_name(s), "test"));
	EXPECT_EQ(info.objsize, 104);
	EXPECT_EQ(info.object_size, 100);
	EXPECT_EQ(info.objs_per_slab, 4096 / 104);
	EXPECT_EQ(info.pages_per_slab, 1);
	EXPECT_EQ(info.num_slabs, 1);
	EXPECT_EQ(info.num_objs, info.objs_per_slab);
	EXPECT(!strcmp(slub_stat_name(SLUB_cpuslab_flush), "cpuslab_flush"));
	kmem_cache_free(s, object);
	stop(s);
}

static const struct test_case cases[] = {
	{ "the allocator lives in itself, and starts twice", the_allocator_lives_in_itself },
	{ "what was freed last is taken first", what_was_freed_last_is_taken_first },
	{ "hits touch neither lists nor pages", hits_touch_neither_lists_nor_pages },
	{ "objects are apart and keep their bytes", objects_are_apart_and_keep_their_bytes },
	{ "the constructor runs once per object", the_constructor_runs_once_per_object },
	{ "bulk gives all or nothing", bulk_gives_all_or_nothing },
	{ "shrink gives every empty slab back", shrink_gives_every_empty_slab_back },
	{ "a tick returns what is idle", a_tick_returns_what_is_idle },
	{ "a type-stable cache keeps its slabs", a_type_stable_cache_keeps_its_slabs },
	{ "destroy refuses while objects live", destroy_refuses_while_objects_live },
	{ "orders are the kernel's", orders_are_the_kernels },
	{ "alignments and sizes hold", alignments_and_sizes_hold },
	{ "nonsense is refused", nonsense_is_refused },
	{ "a thread without a slot takes the lists", a_thread_without_a_slot_takes_the_lists },
	{ "no memory at any point is an answer", no_memory_at_any_point_is_an_answer },
	{ "no memory for a cache is an answer", no_memory_for_a_cache_is_an_answer },
	{ "pool 0 may end, and come back", pool_0_may_end_and_come_back },
	{ "figures are those of slabinfo", figures_are_those_of_slabinfo },
};
TEST_MAIN(cases)
