/* SPDX-License-Identifier: Apache-2.0 */
/* objects - see objects.h */
#include "objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "frames.h"
#include "lib/clock.h"
#include "lib/parallel.h"
#include "mm/obj/own.h"
#include "mm/obj/slab.h"
#include "mm/phys/stock.h"
#include "os/os.h"

enum { OWN_FRAMES = (256 << 20) >> 12, OWN_NODE = MAX_NUMNODES - 1, AT_ONCE_MAX = 64 };

int objects_init(void)
{
	struct stock_request stock = { .node = OWN_NODE, .os_node = OS_NODE_ANY,
				       .reserve = 2 * OWN_FRAMES, .available = 2 * OWN_FRAMES };
	struct section_request section = { .name = "own", .nr_frames = OWN_FRAMES, .map = true,
					   .type = SECTION_META, .node = OWN_NODE };
	struct zone_request zone = { .type = ZONE_NORMAL, .node = OWN_NODE };
	struct zone *own;
	int error = frames_floors_init();

	if (error == 0)
		error = stock_init(&stock);
	if (error == 0)
		error = section_add(&section, &zone.section);
	if (error == 0)
		error = zone_new(&zone, &own);
	if (error == 0) {
		own_set_zone(0, own);
		error = slab_init(&(struct slab_setup){ .nr_cpus = 2 });
	}
	return error != 0 ? bench_because(error, "no slabs here: %s", strerror(-error)) : 0;
}

/* The pointer passes through here, or the compiler would leave the pair out. */
static inline void *touch(void *object)
{
	__asm__ volatile("" : "+r"(object) : : "memory");
	return object;
}

/* ---- the work: each returns how many allocations failed ---- */

static uint64_t cache_pairs(struct kmem_cache *s, const struct objects_args *args)
{
	uint64_t failed = 0;

	for (uint64_t i = 0; i < args->pairs; i++) {
		void *object = touch(kmem_cache_alloc(s, GFP_KERNEL));

		failed += object == NULL;
		kmem_cache_free(s, object);
	}
	return failed;
}

static uint64_t size_pairs(struct kmem_cache *s, const struct objects_args *args)
{
	uint64_t failed = 0;

	for (uint64_t i = 0; i < args->pairs; i++) {
		void *object = touch(kmalloc(args->size, GFP_KERNEL));

		failed += object == NULL;
		kfree(object);
	}
	return failed;
}

static uint64_t cache_batches(struct kmem_cache *s, const struct objects_args *args)
{
	uint64_t failed = 0;

	for (uint64_t i = 0; i < args->pairs; i += args->at_once) {
		void *objects[AT_ONCE_MAX];

		for (unsigned int j = 0; j < args->at_once; j++)
			failed += (objects[j] = kmem_cache_alloc(s, GFP_KERNEL)) == NULL;
		for (unsigned int j = 0; j < args->at_once; j++)
			kmem_cache_free(s, objects[j]);
	}
	return failed;
}

static uint64_t cache_bulks(struct kmem_cache *s, const struct objects_args *args)
{
	uint64_t failed = 0;

	for (uint64_t i = 0; i < args->pairs; i += args->at_once) {
		void *objects[AT_ONCE_MAX];
		unsigned int nr = kmem_cache_alloc_bulk(s, GFP_KERNEL, args->at_once, objects);

		failed += nr == 0;
		kmem_cache_free_bulk(s, nr, objects);
	}
	return failed;
}

static uint64_t libc_pairs(struct kmem_cache *s, const struct objects_args *args)
{
	for (uint64_t i = 0; i < args->pairs; i++)
		free(touch(malloc(args->size)));
	return 0;
}

static uint64_t libc_batches(struct kmem_cache *s, const struct objects_args *args)
{
	for (uint64_t i = 0; i < args->pairs; i += args->at_once) {
		void *objects[AT_ONCE_MAX];

		for (unsigned int j = 0; j < args->at_once; j++)
			objects[j] = touch(malloc(args->size));
		for (unsigned int j = 0; j < args->at_once; j++)
			free(objects[j]);
	}
	return 0;
}

typedef uint64_t (*work_fn)(struct kmem_cache *s, const struct objects_args *args);

struct job {
	struct objects_args args;
	struct kmem_cache *cache;
	work_fn work;
};

static int run_thread(struct parallel *p, void *arg, double *figure)
{
	const struct job *job = arg;
	int error = cpu_slot_register(0);
	uint64_t before, failed;

	parallel_begin(p);
	if (error != 0)
		return bench_because(error, "no CPU slot");
	before = clock_thread_cpu_ns();
	failed = job->work(job->cache, &job->args);
	*figure = (double)(clock_thread_cpu_ns() - before) / (double)job->args.pairs;
	cpu_slot_unregister();
	return failed ? bench_because(-ENOMEM, "pool 0 is used up") : 0;
}

static work_fn work_of(const struct objects_args *args)
{
	if (args->by_size)
		return size_pairs;
	if (!args->at_once)
		return cache_pairs;
	return args->bulk ? cache_bulks : cache_batches;
}

int objects_side(struct bench *b, const void *arg, struct sample *out)
{
	struct job job = { .args = *(const struct objects_args *)arg };
	struct kmem_cache_args args = { .object_size = job.args.size };
	int error;

	job.work = work_of(&job.args);
	job.cache = kmem_cache_create("bench", &args);
	if (job.cache == NULL)
		return bench_because(-ENOMEM, "no memory for a cache");
	error = parallel_fair(run_thread, &job, job.args.threads, &out->v[0]);
	kmem_cache_destroy(job.cache);
	return error;
}

int libc_side(struct bench *b, const void *arg, struct sample *out)
{
	struct job job = { .args = *(const struct objects_args *)arg };

	job.work = job.args.at_once ? libc_batches : libc_pairs;
	return parallel_fair(run_thread, &job, job.args.threads, &out->v[0]);
}
