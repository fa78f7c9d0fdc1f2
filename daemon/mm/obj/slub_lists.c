/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_lists - slabs: cut, counted, on their nodes' lists, given back
 *
 * Purpose     See slub.h.
 * Locking     list_lock where a name says locked; making and giving back a slab needs none.
 */
#include "mm/obj/own.h"
#include "mm/obj/slub_cache.h"
#include "mm/obj/slub_debug.h"

struct page *virt_to_slab(const void *address)
{
	uint64_t     offset = (uint64_t)((const char *)address - direct_map);
	struct page *page;

	if (!own_has_pfn(offset >> PAGE_SHIFT))
		return NULL;
	page = pfn_to_page((uint32_t)(offset >> PAGE_SHIFT));
	return page->slab_cache ? pfn_to_page(page->slab_head) : NULL;
}

/* ---- making and giving back ---- */

/* Every frame finds the slab, so that a free needs no walk. */
static void mark_frames(struct kmem_cache *s, struct page *page, int node)
{
	for (uint32_t i = 0; i < 1u << pg_order(page); i++) {
		page[i].slab_head = page_to_pfn(page);
		page[i].slab_node = (uint32_t)node;
		atomic_store_explicit(&page[i].slab_cache, s, memory_order_release);
	}
}

static void unmark_frames(struct page *page)
{
	for (uint32_t i = 0; i < 1u << pg_order(page); i++) {
		page[i].slab_cache = NULL;
		page[i].slab_head = 0;
		page[i].slab_node = 0;
	}
	atomic_store_explicit(&page->slab_word, 0, memory_order_relaxed);
}

static void cut(struct kmem_cache *s, struct page *page, uint32_t objects)
{
	char *object = slab_base(s, page);

	if (kmem_cache_debug(s))
		debug_setup_slab(s, page);
	for (uint32_t i = 0; i < objects; i++, object += s->size) {
		if (kmem_cache_debug(s))
			debug_setup_object(s, object);
		if (s->ctor)
			s->ctor(object);
		set_freepointer(s, object, i + 1 < objects ? object + s->size : NULL);
	}
}

struct page *new_slab(struct kmem_cache *s, uint32_t gfp, int node)
{
	struct slab_order       o = s->oo;
	struct page            *page;
	struct kmem_cache_node *n;
	int                     from;

	gfp &= ~(uint32_t)GFP_ZERO;
	page = own_alloc(node, o.order, gfp, &from);
	if (!page && s->min.order < o.order) {
		o = s->min;
		page = own_alloc(node, o.order, gfp, &from);
		if (page)
			cache_stat(s, SLUB_order_fallback);
	}
	if (!page)
		return NULL;
	cut(s, page, o.objects);
	atomic_store_explicit(&page->slab_word,
			      slab_pack((struct slab_state){ .free = 1, .objects = o.objects }),
			      memory_order_release);
	mark_frames(s, page, from);
	n = s->node[from];
	if (likely(n)) { /* but for a node that lies in this very slab */
		atomic_fetch_add(&n->nr_slabs, 1);
		atomic_fetch_add(&n->total_objects, o.objects);
	}
	cache_stat(s, SLUB_alloc_slab);
	slab_count_frames(1ll << o.order);
	return page;
}

void discard_slab(struct kmem_cache *s, struct page *page)
{
	struct kmem_cache_node *n = slab_node(s, page);
	struct slab_state       state = slab_load(page);
	unsigned int            order = pg_order(page);

	if (kmem_cache_debug(s))
		debug_check_free_slab(s, page);
	CHECK(!state.inuse && !state.frozen);
	unmark_frames(page);
	atomic_fetch_sub(&n->nr_slabs, 1);
	atomic_fetch_sub(&n->total_objects, state.objects);
	cache_stat(s, SLUB_free_slab);
	slab_count_frames(-(1ll << order));
	own_free(page, order);
}

/* ---- lists ---- */

void add_partial_locked(struct kmem_cache_node *n, struct page *page, bool tail)
{
	if (tail)
		list_add_tail(&page->lru, &n->partial);
	else
		list_add(&page->lru, &n->partial);
	atomic_store_explicit(&n->nr_partial, n->nr_partial + 1, memory_order_relaxed);
}

void remove_partial_locked(struct kmem_cache_node *n, struct page *page)
{
	list_del(&page->lru);
	atomic_store_explicit(&n->nr_partial, n->nr_partial - 1, memory_order_relaxed);
}

/* Empty slabs of the list, off it. */
static void take_empty(struct kmem_cache_node *n, struct list_head *out)
{
	struct page *page, *next;

	mutex_lock(&n->list_lock);
	list_for_each_entry_safe(page, next, &n->partial, lru) {
		if (slab_load(page).inuse)
			continue;
		remove_partial_locked(n, page);
		list_add_tail(&page->lru, out);
	}
	mutex_unlock(&n->list_lock);
}

uint64_t shrink_nodes(struct kmem_cache *s)
{
	struct list_head empty = LIST_HEAD_INIT(empty);
	struct page     *page, *next;
	uint64_t         nr = 0;

	for (int node = 0; node < MAX_NUMNODES; node++)
		if (s->node[node])
			take_empty(s->node[node], &empty);
	list_for_each_entry_safe(page, next, &empty, lru) {
		list_del(&page->lru);
		discard_slab(s, page);
		cache_stat(s, SLUB_shrink_empty);
		nr++;
	}
	return nr;
}

void move_slabs(struct kmem_cache_node *n, struct kmem_cache *to)
{
	struct page *page;

	mutex_lock(&n->list_lock);
	list_for_each_entry(page, &n->partial, lru)
		for (uint32_t i = 0; i < 1u << pg_order(page); i++)
			page[i].slab_cache = to;
	mutex_unlock(&n->list_lock);
}
