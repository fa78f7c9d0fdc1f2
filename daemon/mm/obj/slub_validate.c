/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_validate - recounts slabs, lists and free objects
 *
 * Purpose     CPU slabs are flushed first. Under a node's lock the lists are walked, and each
 *             slab's own list as far as the word read first says: whoever frees meanwhile puts
 *             objects in front of it, and nobody takes any (U4). Slabs that are full are on no list
 *             and are counted by struct pages of pool 0.
 * Locking     the list of caches, then list_lock.
 */
#include <string.h>

#include "mm/obj/own.h"
#include "mm/obj/slub_cache.h"
#include "mm/obj/slub_debug.h"

static uint64_t seen[(MAX_OBJS_PER_PAGE + 63) / 64]; /* slabs_mutex: objects found free */

static bool is_seen(uint32_t index)
{
	return seen[index / 64] >> index % 64 & 1;
}

/* Length of a slab's own list. */
static uint32_t walk_slab(struct kmem_cache *s, struct page *page, struct slab_state state,
			  struct validation *v)
{
	void    *object = slab_object(s, page, state.free);
	uint32_t nr = 0;

	memset(seen, 0, sizeof(seen));
	while (object) {
		uint32_t index = (uint32_t)((char *)object - slab_base(s, page)) / s->size;

		if (!is_object_of(s, page, object, state.objects) || is_seen(index)) {
			validation_expect(v, 0, "cache %s: slab at %p: free pointer overwritten",
					  s->name, page_to_virt(page));
			break;
		}
		seen[index / 64] |= 1ull << index % 64;
		object = get_freepointer(s, object);
		nr++;
	}
	return nr;
}

static void validate_slab(struct kmem_cache *s, struct page *page, struct validation *v)
{
	struct slab_state state = slab_load(page);
	char             *object = slab_base(s, page);

	validation_compare(v, walk_slab(s, page, state, v), state.objects - state.inuse,
			   "cache %s: slab at %p: free objects", s->name, page_to_virt(page));
	validation_expect(v, !state.frozen, "cache %s: slab at %p: frozen, and on a list", s->name,
			  page_to_virt(page));
	for (uint32_t i = 0; i < 1u << pg_order(page); i++)
		validation_expect(v, page[i].slab_cache == s, "cache %s: frame %u is its slab's",
				  s->name, page_to_pfn(page) + i);
	if (!kmem_cache_debug(s))
		return;
	debug_check_padding(s, page, v);
	for (uint32_t i = 0; i < state.objects; i++, object += s->size)
		debug_check_object(s, object, !is_seen(i), v);
}

static uint64_t validate_list(struct kmem_cache *s, struct list_head *list, struct validation *v)
{
	struct page *page;
	uint64_t     nr = 0;

	list_for_each_entry(page, list, lru) {
		validate_slab(s, page, v);
		nr++;
	}
	return nr;
}

static void validate_node(struct kmem_cache *s, struct kmem_cache_node *n, struct validation *v)
{
	uint64_t partial, full;

	mutex_lock(&n->list_lock);
	partial = validate_list(s, &n->partial, v);
	full = validate_list(s, &n->full, v);
	validation_compare(v, partial, n->nr_partial, "cache %s: partial slabs", s->name);
	/* A slab is counted from before it is on a list until after. */
	validation_expect(v, partial + full <= n->nr_slabs,
			  "cache %s: no more slabs on lists than there are", s->name);
	validation_expect(v, !full || kmem_cache_debug(s), "cache %s: full slabs are listed",
			  s->name);
	mutex_unlock(&n->list_lock);
}

static void validate_cache(struct kmem_cache *s, void *arg)
{
	flush_cpus(s, cpus_with_slabs(s));
	for (int node = 0; node < MAX_NUMNODES; node++)
		if (s->node[node])
			validate_node(s, s->node[node], arg);
}

struct one {
	struct kmem_cache *cache;
	struct validation *v;
};

static void validate_if_asked(struct kmem_cache *s, void *arg)
{
	const struct one *one = arg;

	if (s == one->cache)
		validate_cache(s, one->v);
}

void kmem_cache_validate(struct kmem_cache *s, struct validation *v)
{
	struct one one = { s, v };

	slab_for_each(validate_if_asked, &one);
}

/* ---- struct pages ---- */

struct census {
	uint64_t slabs, slab_frames; /* by struct pages */
	uint64_t nr_slabs;           /* by caches */
};

static void add_slabs(struct kmem_cache *s, void *arg)
{
	struct census *census = arg;

	for (int node = 0; node < MAX_NUMNODES; node++)
		census->nr_slabs += s->node[node] ? s->node[node]->nr_slabs : 0;
}

static void count_zone(struct zone *zone, struct census *census)
{
	for (uint32_t pfn = zone->start_pfn; pfn < zone->end_pfn; pfn++) {
		if (!block_is_present(pfn_to_block(pfn))) {
			pfn |= PAGEBLOCK_PAGES - 1;
			continue;
		}
		if (!pfn_to_page(pfn)->slab_cache)
			continue;
		census->slab_frames++;
		census->slabs += pfn_to_page(pfn)->slab_head == pfn;
	}
}

/* With the zone's growth held still; slabs may come and go, hence counted before and after. */
static void validate_pages(struct validation *v)
{
	struct census census = { 0 }, after = { 0 };

	slab_for_each(add_slabs, &census);
	for (int node = 0; node < MAX_NUMNODES; node++) {
		struct zone *zone = own_zone(node);

		if (!zone)
			continue;
		mutex_lock(&zone->grow);
		count_zone(zone, &census);
		mutex_unlock(&zone->grow);
	}
	slab_for_each(add_slabs, &after);
	if (census.nr_slabs == after.nr_slabs)
		validation_compare(v, census.slabs, census.nr_slabs, "slabs by struct pages");
}

void slab_validate(struct validation *v)
{
	if (!slab_is_up())
		return;
	slab_for_each(validate_cache, v);
	validate_pages(v);
}
