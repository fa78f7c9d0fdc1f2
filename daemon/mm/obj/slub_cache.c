/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_cache - caches: their geometry, making and ending them, and how the first ones come about
 *
 * Purpose     Sizes and orders as in Linux 6.1. The caches of struct kmem_cache and of struct
 *             kmem_cache_node begin as static ones, make their own first slabs by hand and then
 *             move into objects of themselves.
 * Locking     slabs_mutex (RANK_CACHES) for the list of caches.
 */
#include "mm/obj/slub_cache.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "mm/obj/own.h"
#include "mm/obj/slub_debug.h"
#include "mm/phys/heap.h"

static struct mutex      slabs_mutex;
static struct list_head  slab_caches = LIST_HEAD_INIT(slab_caches); /* m: slabs_mutex */
static struct kmem_cache *kmem_cache_cache, *kmem_cache_node_cache; /* c: after slab_init */
static uint32_t          min_objects; /* c: a slab should have, for the host's CPUs */
static bool              up;          /* c: after slab_init */
static _Atomic int64_t   nr_frames;

void slab_count_frames(int64_t delta)
{
	atomic_fetch_add_explicit(&nr_frames, delta, memory_order_relaxed);
}

uint64_t slab_bytes(void)
{
	return (uint64_t)atomic_load_explicit(&nr_frames, memory_order_relaxed) << PAGE_SHIFT;
}

bool slab_is_up(void)
{
	return up;
}

/* ---- geometry ---- */

static uint32_t order_objects(uint32_t order, uint32_t size)
{
	return ((uint32_t)PAGE_SIZE << order) / size;
}

static uint32_t order_of(uint64_t bytes)
{
	uint32_t order = 0;

	while ((uint64_t)PAGE_SIZE << order < bytes)
		order++;
	return order;
}

/* Smallest order for so many objects that wastes at most 1/fraction of itself. */
static uint32_t fitting_order(uint32_t size, uint32_t objects, uint32_t max, uint32_t fraction)
{
	uint32_t order = order_of((uint64_t)objects * size);

	while (order <= max) {
		uint32_t bytes = (uint32_t)PAGE_SIZE << order;

		if (bytes % size <= bytes / fraction)
			break;
		order++;
	}
	return order;
}

uint32_t slub_calculate_order(uint32_t size, uint32_t nr_cpus)
{
	uint32_t wanted = 4 * (33u - (uint32_t)__builtin_clz(nr_cpus | 1)), order;

	wanted = min_t(uint32_t, wanted, order_objects(SLUB_MAX_ORDER, size));
	for (; wanted > 1; wanted--) {
		for (uint32_t fraction = 16; fraction >= 4; fraction /= 2) {
			order = fitting_order(size, wanted, SLUB_MAX_ORDER, fraction);
			if (order <= SLUB_MAX_ORDER)
				return order;
		}
	}
	order = fitting_order(size, 1, SLUB_MAX_ORDER, 1);
	return order <= SLUB_MAX_ORDER ? order : fitting_order(size, 1, MAX_ORDER, 1);
}

static uint32_t calculate_alignment(const struct kmem_cache_args *args)
{
	uint32_t align = max_t(uint32_t, args->align, alignof(uint64_t));

	if (args->flags & SLAB_HWCACHE_ALIGN) {
		uint32_t line = CACHELINE;

		while (args->object_size <= line / 2)
			line /= 2;
		align = max_t(uint32_t, align, line);
	}
	return align;
}

/* Where everything lies in an object's place; see slub_debug.c for the picture. */
static void calculate_layout(struct kmem_cache *s)
{
	uint32_t size = (uint32_t)round_up(s->object_size, sizeof(uint64_t));

	if (s->flags & SLAB_RED_ZONE && size == s->object_size)
		size += sizeof(uint64_t);
	s->inuse = size;
	if (s->flags & (SLAB_TYPE_STABLE | SLAB_POISON) || s->ctor ||
	    (s->flags & SLAB_RED_ZONE && s->object_size < sizeof(uint64_t))) {
		s->offset = size;
		size += sizeof(uint64_t);
	} else {
		/* Not at an edge, where a neighbour's overflow would meet it. */
		s->offset = (uint32_t)round_down(s->object_size / 2, sizeof(uint64_t));
	}
	debug_layout(s, &size);
	s->size = (uint32_t)round_up(size, s->align);
	s->reciprocal = ((1ull << 44) + s->size - 1) / s->size;
}

static uint32_t cpu_partial_slabs(const struct kmem_cache *s)
{
	uint32_t objects = 120;

	if (kmem_cache_debug(s) || s->flags & SLAB_NO_CPU_SLABS)
		return 0;
	if (s->size >= PAGE_SIZE)
		objects = 6;
	else if (s->size >= 1024)
		objects = 24;
	else if (s->size >= 256)
		objects = 52;
	return (objects * 2 + s->oo.objects - 1) / s->oo.objects;
}

static void calculate_numbers(struct kmem_cache *s, uint32_t nr_cpus)
{
	uint32_t half_log = (31u - (uint32_t)__builtin_clz(s->size)) / 2;

	s->oo.order = slub_calculate_order(s->size, nr_cpus);
	/* What never goes back keeps its pageblock: few large slabs keep fewer. */
	if (s->flags & SLAB_TYPE_STABLE)
		s->oo.order = max_t(uint32_t, s->oo.order, SLUB_MAX_ORDER);
	s->oo.objects = order_objects(s->oo.order, s->size);
	s->min.order = order_of(s->size);
	s->min.objects = order_objects(s->min.order, s->size);
	s->min_partial = min_t(uint32_t, max_t(uint32_t, half_log, MIN_PARTIAL), MAX_PARTIAL);
	if (s->flags & SLAB_TYPE_STABLE)
		s->min_partial = UINT32_MAX;
	s->cpu_partial_slabs = cpu_partial_slabs(s);
}

static bool is_sane(const struct kmem_cache_args *args)
{
	return args->object_size && args->object_size <= KMALLOC_MAX_SIZE / 4 &&
	       !(args->align & (args->align - 1)) && args->align <= PAGE_SIZE &&
	       args->useroffset <= args->object_size &&
	       args->usersize <= args->object_size - args->useroffset;
}

static void set_up(struct kmem_cache *s, const char *name, const struct kmem_cache_args *args)
{
	*s = (struct kmem_cache){
		.object_size = (uint32_t)args->object_size,
		.align = calculate_alignment(args),
		.flags = args->flags | debug_flags_of(name),
		.ctor = args->ctor,
		.useroffset = args->useroffset,
		.usersize = args->usersize,
	};
	/* What stale readers or a constructor rely on can't be filled. */
	if (s->ctor || s->flags & SLAB_TYPE_STABLE)
		s->flags &= ~(uint32_t)SLAB_POISON;
	snprintf(s->name, sizeof(s->name), "%s", name);
	if (getrandom(&s->random, sizeof(s->random), 0) != sizeof(s->random))
		s->random = (uint64_t)(uintptr_t)s * 0x9e3779b97f4a7c15ull;
	mutex_init(&s->visit, RANK_SLAB_VISIT, "cache visit");
	calculate_layout(s);
	calculate_numbers(s, min_objects);
}

/* ---- nodes ---- */

static void init_node(struct kmem_cache_node *n)
{
	*n = (struct kmem_cache_node){ 0 };
	mutex_init(&n->list_lock, RANK_SLAB, "slab node");
	list_init(&n->partial);
	list_init(&n->full);
}

static void free_nodes(struct kmem_cache *s)
{
	for (int node = 0; node < MAX_NUMNODES; node++) {
		if (!s->node[node])
			continue;
		mutex_fini(&s->node[node]->list_lock);
		kmem_cache_free(kmem_cache_node_cache, s->node[node]);
		s->node[node] = NULL;
	}
}

static int make_nodes(struct kmem_cache *s)
{
	for (int node = 0; node < MAX_NUMNODES; node++) {
		if (!own_zone(node))
			continue;
		s->node[node] = kmem_cache_alloc(kmem_cache_node_cache, GFP_KERNEL);
		if (!s->node[node]) {
			free_nodes(s);
			return -ENOMEM;
		}
		init_node(s->node[node]);
	}
	return 0;
}

/* ---- create, destroy ---- */

struct kmem_cache *kmem_cache_create(const char *name, const struct kmem_cache_args *args)
{
	struct kmem_cache *s = NULL;

	if (is_sane(args))
		s = kmem_cache_alloc(kmem_cache_cache, GFP_KERNEL);
	if (s) {
		set_up(s, name, args);
		if (make_nodes(s)) {
			kmem_cache_free(kmem_cache_cache, s);
			s = NULL;
		}
	}
	CHECK(s || !(args->flags & SLAB_PANIC));
	if (!s)
		return NULL;
	mutex_lock(&slabs_mutex);
	list_add_tail(&s->list, &slab_caches);
	mutex_unlock(&slabs_mutex);
	return s;
}

static uint64_t nr_slabs(const struct kmem_cache *s)
{
	uint64_t nr = 0;

	for (int node = 0; node < MAX_NUMNODES; node++)
		nr += s->node[node] ? s->node[node]->nr_slabs : 0;
	return nr;
}

int kmem_cache_destroy(struct kmem_cache *s)
{
	int r = 0;

	if (!s)
		return 0;
	mutex_lock(&slabs_mutex);
	flush_cpus(s, cpus_with_slabs(s));
	shrink_nodes(s);
	if (nr_slabs(s))
		r = -EBUSY;
	else
		list_del(&s->list);
	mutex_unlock(&slabs_mutex);
	if (r)
		return r;
	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++)
		kmem_cache_free(kmem_cache_cpu_cache, cpu_slab_of(s, cpu));
	free_nodes(s);
	mutex_fini(&s->visit);
	kmem_cache_free(kmem_cache_cache, s);
	return 0;
}

uint32_t kmem_cache_size(const struct kmem_cache *s)
{
	return s->object_size;
}

const char *kmem_cache_name(const struct kmem_cache *s)
{
	return s->name;
}

/* ---- bootstrap ---- */

/* The first slab on each node of the cache of nodes has the node itself as its first object. */
static int make_first_nodes(struct kmem_cache *s)
{
	for (int node = 0; node < MAX_NUMNODES; node++) {
		struct kmem_cache_node *n;
		struct slab_state       state;
		struct page            *page;

		if (!own_zone(node))
			continue;
		page = new_slab(s, GFP_KERNEL | GFP_THISNODE, node);
		if (!page)
			return -ENOMEM;
		state = slab_load(page);
		n = slab_object(s, page, state.free);
		state.free = slab_free_of(s, page, get_freepointer(s, n));
		state.inuse = 1;
		atomic_store_explicit(&page->slab_word, slab_pack(state), memory_order_relaxed);
		init_node(n);
		n->nr_slabs = 1;
		n->total_objects = state.objects;
		s->node[node] = n;
		mutex_lock(&n->list_lock);
		add_partial_locked(n, page, false);
		mutex_unlock(&n->list_lock);
	}
	return 0;
}

/* A static cache moves into an object of the cache of caches; its slabs learn where it is. */
static struct kmem_cache *bootstrap(struct kmem_cache *from)
{
	struct kmem_cache *s = kmem_cache_alloc(kmem_cache_cache ? kmem_cache_cache : from,
						GFP_KERNEL);

	if (!s)
		return NULL;
	memcpy(s, from, sizeof(*s));
	mutex_init(&s->visit, RANK_SLAB_VISIT, "cache visit");
	for (int node = 0; node < MAX_NUMNODES; node++)
		if (s->node[node])
			move_slabs(s->node[node], s);
	list_add_tail(&s->list, &slab_caches);
	return s;
}

static int bootstrap_all(void)
{
	static struct kmem_cache boot_cache, boot_node;
	struct kmem_cache_args   args = { .flags = SLAB_HWCACHE_ALIGN | SLAB_NO_CPU_SLABS };
	int                      r;

	args.object_size = sizeof(struct kmem_cache_node);
	set_up(&boot_node, "kmem_cache_node", &args);
	r = make_first_nodes(&boot_node);
	if (r)
		return r;
	kmem_cache_node_cache = &boot_node;
	args.object_size = sizeof(struct kmem_cache);
	set_up(&boot_cache, "kmem_cache", &args);
	r = make_nodes(&boot_cache);
	if (r)
		return r;
	kmem_cache_cache = bootstrap(&boot_cache);
	if (kmem_cache_cache)
		kmem_cache_node_cache = bootstrap(&boot_node);
	return kmem_cache_cache && kmem_cache_node_cache ? 0 : -ENOMEM;
}

/* Zones and sections. */
static void *heap_alloc(size_t bytes)
{
	return kzalloc(bytes, GFP_KERNEL);
}

int slab_init(const struct slab_setup *setup)
{
	struct kmem_cache_args cpu = { .object_size = sizeof(struct kmem_cache_cpu),
				       .flags = SLAB_HWCACHE_ALIGN | SLAB_NO_CPU_SLABS };
	int r = debug_set(setup->debug);

	if (r)
		return r;
	mutex_init(&slabs_mutex, RANK_CACHES, "object caches");
	list_init(&slab_caches);
	kmem_cache_cache = kmem_cache_node_cache = kmem_cache_cpu_cache = NULL;
	min_objects = setup->nr_cpus;
	atomic_store(&nr_frames, 0);
	cpu_slabs_init();
	r = bootstrap_all();
	if (r)
		return r;
	kmem_cache_cpu_cache = kmem_cache_create("kmem_cache_cpu", &cpu);
	r = kmem_cache_cpu_cache ? kmalloc_init() : -ENOMEM;
	up = !r;
	if (up)
		phys_heap_set(&(struct phys_heap){ heap_alloc, kfree });
	return r;
}

static bool is_own(const struct kmem_cache *s)
{
	return s == kmem_cache_cache || s == kmem_cache_node_cache || s == kmem_cache_cpu_cache;
}

uint64_t slab_fini(void)
{
	struct kmem_cache *s;
	uint64_t           live = 0;

	list_for_each_entry(s, &slab_caches, list) {
		struct slabinfo info;

		flush_cpus(s, cpus_with_slabs(s));
		slab_info(s, &info);
		if (!is_own(s) && !(s->flags & SLAB_TYPE_STABLE))
			live += info.active_objs;
	}
	phys_heap_set(NULL);
	kmalloc_fini();
	list_init(&slab_caches);
	kmem_cache_cache = kmem_cache_node_cache = kmem_cache_cpu_cache = NULL;
	mutex_fini(&slabs_mutex);
	up = false;
	return live;
}

/* ---- walks ---- */

void slab_for_each(void (*fn)(struct kmem_cache *s, void *arg), void *arg)
{
	struct kmem_cache *s;

	mutex_lock(&slabs_mutex);
	list_for_each_entry(s, &slab_caches, list)
		fn(s, arg);
	mutex_unlock(&slabs_mutex);
}
