/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slub_debug - slub_debug.c and slub_spec.c: what is found, what is told, what ends the daemon
 *
 * Not here    Under ThreadSanitizer: cases that end the daemon fork.
 */
#include "mm/obj/slub_debug.h"
#include "mm/obj/slub_spec.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/obj/slub_cache.h"

enum { SIZE = 60 };

static struct kmem_cache *cache, *other;

static void start(uint32_t flags)
{
	struct kmem_cache_args args = { .object_size = SIZE, .flags = flags };

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true, .objects_stay = true });
	cache = kmem_cache_create("checked", &args);
	other = kmem_cache_create("other", &args);
	EXPECT(cache && other);
}

static uint64_t nr_corruptions(void)
{
	struct slabinfo info;

	slab_info(cache, &info);
	return info.stats[SLUB_corruption];
}

static uint64_t nr_differences(struct kmem_cache *s)
{
	static struct validation v;

	v = (struct validation){ 0 };
	kmem_cache_validate(s, &v);
	return v.nr_differences;
}

static void stop(void)
{
	phys_expect_valid();
	phys_stop();
}

/* True if the call ended the process by abort(). All of it is the child's, since objects lie in
 * shared memory. */
static bool ends_the_daemon(void (*call)(void))
{
	static const struct rlimit no_core;
	int                        status;
	pid_t                      child = fork();

	if (child == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		start(0);
		call();
		_exit(0);
	}
	EXPECT(child > 0);
	EXPECT_EQ(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* ---- plain caches: what would spread ends the daemon ---- */

static void free_twice(void)
{
	void *object = kmem_cache_alloc(cache, 0);

	kmem_cache_free(cache, object);
	kmem_cache_free(cache, object);
}

static void free_twice_far(void)
{
	void *object = kmem_cache_alloc(cache, 0);

	kmem_cache_free(cache, object);
	kmem_cache_shrink(other);
	flush_cpus(cache, cpus_with_slabs(cache));
	cpu_slot_unregister();
	kmem_cache_free(cache, object);
}

static void free_inside(void)
{
	kmem_cache_free(cache, (char *)kmem_cache_alloc(cache, 0) + 8);
}

static void free_into_another(void)
{
	kmem_cache_free(other, kmem_cache_alloc(cache, 0));
}

static void free_of_the_stack(void)
{
	uint64_t local[16];

	kmem_cache_free(cache, local);
}

static void free_of_a_lie(void)
{
	kfree((void *)(uintptr_t)0x1234567890);
}

static void write_after_free(void)
{
	char *object = kmem_cache_alloc(cache, 0);

	kmem_cache_free(cache, object);
	memset(object, 0x41, SIZE);
	kmem_cache_alloc(cache, 0);
}

static void write_after_free_far(void)
{
	char *object = kmem_cache_alloc(cache, 0);

	kmem_cache_free(cache, object);
	flush_cpus(cache, cpus_with_slabs(cache));
	memset(object, 0x41, SIZE);
	cpu_slot_unregister();
	kmem_cache_alloc(cache, 0);
}

static void write_after_free_then_flush(void)
{
	char *object = kmem_cache_alloc(cache, 0);

	kmem_cache_free(cache, object);
	memset(object, 0x41, SIZE);
	kmem_cache_shrink(cache);
}

static void plain_caches_stop_what_would_spread(void)
{
	static void (*const calls[])(void) = {
		free_twice, free_inside, free_into_another, free_of_the_stack, free_of_a_lie,
		write_after_free, write_after_free_far, write_after_free_then_flush, free_twice_far,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(calls); i++)
		EXPECT(ends_the_daemon(calls[i]));
}

/* ---- debug caches: told, and the daemon goes on ---- */

static void debug_caches_keep_objects_whole(void)
{
	char *objects[200];

	start(SLAB_DEBUG_FLAGS);
	for (int i = 0; i < 200; i++) {
		objects[i] = kmem_cache_alloc(cache, 0);
		memset(objects[i], i, SIZE);
	}
	EXPECT_EQ(nr_differences(cache), 0);
	for (int i = 0; i < 200; i++)
		kmem_cache_free(cache, objects[i]);
	EXPECT_EQ(nr_differences(cache), 0);
	EXPECT_EQ(nr_corruptions(), 0);
	EXPECT_EQ(kmem_cache_destroy(cache), 0);
	stop();
}

static void wrong_frees_are_told_and_nothing_else(void)
{
	char *object, local[64];

	start(SLAB_CONSISTENCY_CHECKS);
	object = kmem_cache_alloc(cache, 0);
	kmem_cache_free(cache, object + 8);
	kmem_cache_free(cache, local);
	kmem_cache_free(other, object);
	EXPECT_EQ(nr_corruptions(), 2);
	kmem_cache_free(cache, object);
	kmem_cache_free(cache, object);
	EXPECT_EQ(nr_corruptions(), 3);
	EXPECT_EQ(kmem_cache_destroy(cache), 0);
	stop();
}

static void red_zones_tell_who_writes_past_the_end(void)
{
	char *object;

	start(SLAB_RED_ZONE | SLAB_CONSISTENCY_CHECKS);
	object = kmem_cache_alloc(cache, 0);
	EXPECT_EQ(nr_differences(cache), 0);
	object[SIZE] ^= 1;
	EXPECT(nr_differences(cache) > 0);
	kmem_cache_free(cache, object);
	EXPECT_EQ(nr_corruptions(), 1);
	object[SIZE] ^= 1;
	object[-1] ^= 1;
	EXPECT(nr_differences(cache) > 0);
	object[-1] ^= 1;
	kmem_cache_free(cache, object);
	EXPECT_EQ(nr_corruptions(), 1);
	stop();
}

static void poison_tells_who_writes_after_the_free(void)
{
	char *object, *again;

	start(SLAB_POISON | SLAB_CONSISTENCY_CHECKS);
	object = kmem_cache_alloc(cache, 0);
	kmem_cache_free(cache, object);
	EXPECT_EQ((unsigned char)object[0], POISON_FREE);
	EXPECT_EQ((unsigned char)object[SIZE - 1], POISON_END);
	object[3] = 0;
	EXPECT(nr_differences(cache) > 0);
	again = kmem_cache_alloc(cache, 0); /* of another slab: this one is given up */
	EXPECT(again != NULL && page_to_pfn(virt_to_slab(again)) !=
					page_to_pfn(virt_to_slab(object)));
	EXPECT_EQ(nr_corruptions(), 1);
	object[3] = (char)POISON_FREE;
	kmem_cache_free(cache, again);
	EXPECT_EQ(kmem_cache_destroy(cache), -EBUSY);
	phys_stop();
}

static void overwritten_links_give_the_slab_up(void)
{
	uint64_t *object;

	start(SLAB_CONSISTENCY_CHECKS);
	object = kmem_cache_alloc(cache, 0);
	kmem_cache_free(cache, object);
	memset(object, 0x41, SIZE);
	EXPECT(nr_differences(cache) > 0);
	EXPECT(kmem_cache_alloc(cache, 0) != NULL);
	EXPECT_EQ(nr_corruptions(), 1);
	EXPECT_EQ(nr_differences(cache), 0);
	phys_stop();
}

static void owners_are_kept(void)
{
	const struct track *track;
	void               *object;

	start(SLAB_STORE_USER);
	object = kmem_cache_alloc(cache, 0);
	track = debug_track(cache, object, TRACK_ALLOC);
	EXPECT(track->address != 0);
	EXPECT_EQ(track->thread, getpid());
	EXPECT_EQ(track->cpu, this_cpu());
	EXPECT_EQ(debug_track(cache, object, TRACK_FREE)->address, 0);
	kmem_cache_free(cache, object);
	EXPECT(debug_track(cache, object, TRACK_FREE)->address != 0);
	stop();
	start(0);
	EXPECT(debug_track(cache, kmem_cache_alloc(cache, 0), TRACK_ALLOC) == NULL);
	stop();
}

static void every_set_of_flags_works_at_every_size(void)
{
	start(0);
	for (uint32_t flags = 0; flags <= SLAB_DEBUG_FLAGS; flags++) {
		for (uint32_t size = 1; size < 3000; size = size * 2 + 1) {
			struct kmem_cache_args args = { .object_size = size, .flags = flags,
							.align = 1u << size % 8 };
			struct kmem_cache     *s = kmem_cache_create("any", &args);
			void                  *objects[40];

			EXPECT_EQ(kmem_cache_alloc_bulk(s, 0, 40, objects), 40);
			for (int i = 0; i < 40; i++) {
				EXPECT(is_aligned((uintptr_t)objects[i], args.align));
				memset(objects[i], 0xff, size);
			}
			EXPECT_EQ(nr_differences(s), 0);
			kmem_cache_free_bulk(s, 40, objects);
			EXPECT_EQ(nr_differences(s), 0);
			EXPECT_EQ(kmem_cache_destroy(s), 0);
		}
	}
	stop();
}

static void a_switch_names_caches(void)
{
	EXPECT_EQ(debug_set("FZ,ses*,mm;P;U,odd"), 0);
	EXPECT_EQ(debug_flags_of("session"), SLAB_POISON);
	EXPECT_EQ(debug_set("P;FZ,ses*,mm;U,odd;-,quiet"), 0);
	EXPECT_EQ(debug_flags_of("session"), SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE);
	EXPECT_EQ(debug_flags_of("mm"), SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE);
	EXPECT_EQ(debug_flags_of("mmm"), SLAB_POISON);
	EXPECT_EQ(debug_flags_of("odd"), SLAB_STORE_USER);
	EXPECT_EQ(debug_flags_of("quiet"), 0);
	EXPECT_EQ(debug_flags_of("kmem_cache"), 0);
	EXPECT_EQ(debug_set(",kmalloc-*"), 0);
	EXPECT_EQ(debug_flags_of("kmalloc-8"), SLAB_DEBUG_FLAGS);
	EXPECT_EQ(debug_set("X"), -EINVAL);
	EXPECT_EQ(debug_set("F;Q,session"), -EINVAL);
	EXPECT_EQ(debug_set(NULL), 0);
	EXPECT_EQ(debug_flags_of("session"), 0);
}

static void a_switch_that_is_too_long(void)
{
	char text[SLUB_SPEC_BYTES + 1] = "F,";

	memset(text + 2, 'x', SLUB_SPEC_BYTES - 2);
	EXPECT(!slub_spec_ok(text));
	text[SLUB_SPEC_BYTES - 1] = 0;
	EXPECT(slub_spec_ok(text));
	EXPECT_EQ(slub_spec_flags(text, text + 2), SLAB_CONSISTENCY_CHECKS);
	EXPECT_EQ(slub_spec_flags(text, "x"), 0);
}

static void the_switch_reaches_kmalloc(void)
{
	char *object;

	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true, .objects_stay = true,
					 .slub_debug = "FZP" });
	object = kmalloc(100, 0);
	EXPECT(kmem_cache_debug(virt_to_slab(object)->slab_cache));
	kfree(object);
	kfree(object);
	EXPECT_EQ((unsigned char)object[0], POISON_FREE);
	stop();
}

static const struct test_case cases[] = {
	{ "plain caches stop what would spread", plain_caches_stop_what_would_spread },
	{ "debug caches keep objects whole", debug_caches_keep_objects_whole },
	{ "wrong frees are told, and nothing else", wrong_frees_are_told_and_nothing_else },
	{ "red zones tell who writes past the end", red_zones_tell_who_writes_past_the_end },
	{ "poison tells who writes after the free", poison_tells_who_writes_after_the_free },
	{ "overwritten links give the slab up", overwritten_links_give_the_slab_up },
	{ "owners are kept", owners_are_kept },
	{ "every set of flags works at every size", every_set_of_flags_works_at_every_size },
	{ "a switch names caches", a_switch_names_caches },
	{ "a switch that is too long is none", a_switch_that_is_too_long },
	{ "the switch reaches kmalloc", the_switch_reaches_kmalloc },
};
TEST_MAIN(cases)
