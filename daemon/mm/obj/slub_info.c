/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_info - what operators see of caches, and the work that is done once in a while
 *
 * Purpose     See slab.h.
 * Locking     the list of caches; list_lock for lengths of lists.
 */
#include <stdio.h>

#include "mm/obj/slub_cache.h"

const char *slub_stat_name(enum slub_stat stat)
{
	static const char *const names[NR_SLUB_STATS] = {
#define X(name) [SLUB_##name] = #name,
		SLUB_STATS(X)
#undef X
	};

	return names[stat];
}

static uint64_t nr_free_objects(struct kmem_cache_node *n)
{
	struct page *page;
	uint64_t     nr = 0;

	mutex_lock(&n->list_lock);
	list_for_each_entry(page, &n->partial, lru) {
		struct slab_state state = slab_load(page);

		nr += state.objects - state.inuse;
	}
	mutex_unlock(&n->list_lock);
	return nr;
}

static void sum_stats(const struct kmem_cache *s, uint64_t *stats)
{
	for (int i = 0; i < NR_SLUB_STATS; i++)
		stats[i] = atomic_load_explicit(&s->stats[i], memory_order_relaxed);
	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++) {
		const struct kmem_cache_cpu *c = cpu_slab_of(s, cpu);

		for (int i = 0; c && i < NR_SLUB_STATS; i++)
			stats[i] += atomic_load_explicit(&c->stats[i], memory_order_relaxed);
	}
}

void slab_info(struct kmem_cache *s, struct slabinfo *out)
{
	uint64_t nr_free = 0;

	*out = (struct slabinfo){
		.objsize = s->size,
		.object_size = s->object_size,
		.objs_per_slab = s->oo.objects,
		.pages_per_slab = 1u << s->oo.order,
		.align = s->align,
		.flags = s->flags,
	};
	snprintf(out->name, sizeof(out->name), "%s", s->name);
	for (int node = 0; node < MAX_NUMNODES; node++) {
		struct kmem_cache_node *n = s->node[node];

		if (!n)
			continue;
		nr_free += nr_free_objects(n);
		out->num_slabs += n->nr_slabs;
		out->num_objs += n->total_objects;
	}
	out->active_slabs = out->num_slabs;
	out->active_objs = out->num_objs > nr_free ? out->num_objs - nr_free : 0;
	sum_stats(s, out->stats);
}

struct info_walk {
	void (*fn)(const struct slabinfo *info, void *arg);
	void *arg;
};

static void tell_info(struct kmem_cache *s, void *arg)
{
	const struct info_walk *walk = arg;
	struct slabinfo         info;

	slab_info(s, &info);
	walk->fn(&info, walk->arg);
}

void slab_for_each_info(void (*fn)(const struct slabinfo *info, void *arg), void *arg)
{
	struct info_walk walk = { fn, arg };

	slab_for_each(tell_info, &walk);
}

uint64_t kmem_cache_shrink(struct kmem_cache *s)
{
	flush_cpus(s, cpus_with_slabs(s));
	return s->flags & SLAB_TYPE_STABLE ? 0 : shrink_nodes(s);
}

static void tick_cache(struct kmem_cache *s, void *arg)
{
	uint64_t *nr = arg;

	flush_cpus(s, cpus_idle(s));
	if (!(s->flags & SLAB_TYPE_STABLE))
		*nr += shrink_nodes(s);
}

uint64_t slab_tick(void)
{
	uint64_t nr = 0;

	slab_for_each(tick_cache, &nr);
	return nr;
}
