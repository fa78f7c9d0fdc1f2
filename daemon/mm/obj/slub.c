/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub - allocating and freeing objects
 *
 * Purpose     See slab.h and slub.h. A hit is a pop or a push on the calling CPU's list. What
 *             misses: a CPU's list is refilled; a thread without a CPU, a debug cache and a blocked
 *             CPU take single objects from the node's list under its lock; a free into a slab that
 *             isn't the CPU's own goes to that slab's list by compare-and-swap.
 * Locking     U3 to U5 of slub.h.
 */
#include "mm/obj/slub.h"

#include <string.h>

#include "mm/obj/slub_debug.h"
#include "mm/phys/node.h"

#define caller_address() ((uintptr_t)__builtin_return_address(0))
#define noinline __attribute__((noinline))
#define always_inline __attribute__((always_inline))

struct slab_request {
	uint32_t  gfp;
	int       node;
	uintptr_t caller;
};

/* First object of c's list, which isn't empty. */
static inline void *cpu_pop(struct kmem_cache *s, struct kmem_cache_cpu *c)
{
	void *object = c->freelist, *next = get_freepointer(s, object);

	if (unlikely(next && (uint64_t)((char *)next - c->base) >= c->span))
		slab_fatal(s, c->page, object, "free pointer overwritten");
	c->freelist = next;
	return object;
}

/* Up to nr of the list's objects; the list is written once. How many it was. */
static unsigned int cpu_pop_many(struct kmem_cache *s, struct kmem_cache_cpu *c, unsigned int nr,
				 void **objects)
{
	void        *at = c->freelist;
	const char  *base = c->base;
	uint64_t     span = c->span;
	unsigned int got = 0;

	if (!at)
		return 0;
	while (got < nr) {
		void *next = get_freepointer(s, at);

		objects[got++] = at;
		if (unlikely((uint64_t)((char *)next - base) >= span)) {
			if (next)
				slab_fatal(s, c->page, at, "free pointer overwritten");
			at = NULL;
			break;
		}
		at = next;
	}
	c->freelist = at;
	return got;
}

/* ---- the node's way: single objects, under list_lock ---- */

/* First object of a slab that is on no list; NULL: the slab was found damaged and is given up. */
static void *pop_one_locked(struct kmem_cache *s, struct page *page, uintptr_t caller)
{
	struct slab_state old = slab_load(page), new;
	void             *object;

	do {
		void *next;

		object = slab_object(s, page, old.free);
		next = get_freepointer(s, object);
		if (unlikely(next && !is_object_of(s, page, next, old.objects))) {
			slab_damaged(s, page, object, "free pointer overwritten");
			return NULL;
		}
		new = old;
		new.free = slab_free_of(s, page, next);
		new.inuse++;
	} while (!slab_change(page, &old, new));
	if (kmem_cache_debug(s) && !debug_alloc(s, page, object, caller))
		return NULL;
	return object;
}

/* To the list that its own list says; to none if it is frozen: who freed into it meanwhile, when it
 * was full, has it among its CPU's. */
static void list_slab_locked(struct kmem_cache *s, struct kmem_cache_node *n, struct page *page)
{
	struct slab_state state = slab_load(page);

	if (state.free && !state.frozen)
		add_partial_locked(n, page, false);
	else if (kmem_cache_debug(s))
		list_add(&page->lru, &n->full);
}

/* The slab is off the list while its last free object may be taken: from that moment on whoever
 * frees into it puts it on a list of its own. */
static void *take_from_node(struct kmem_cache *s, struct kmem_cache_node *n, uintptr_t caller)
{
	void *object = NULL;

	if (!n || !atomic_load_explicit(&n->nr_partial, memory_order_relaxed))
		return NULL;
	mutex_lock(&n->list_lock);
	while (!object && !list_empty(&n->partial)) {
		struct page *page = list_first_entry(&n->partial, struct page, lru);

		remove_partial_locked(n, page);
		object = pop_one_locked(s, page, caller);
		list_slab_locked(s, n, page);
	}
	mutex_unlock(&n->list_lock);
	return object;
}

static void *take_from_new(struct kmem_cache *s, struct page *page, uintptr_t caller)
{
	struct kmem_cache_node *n = slab_node(s, page);
	void                   *object;

	mutex_lock(&n->list_lock);
	object = pop_one_locked(s, page, caller);
	list_slab_locked(s, n, page);
	mutex_unlock(&n->list_lock);
	return object;
}

/* When no slab can be made: what the lists of other nodes have. */
static void *take_from_any(struct kmem_cache *s, const struct slab_request *want)
{
	enum zonelist_kind     kind = want->gfp & GFP_THISNODE ? ZONELIST_NOFALLBACK
							       : ZONELIST_FALLBACK;
	const struct zonelist *list = node_zonelist(want->node, kind);
	void                  *object = NULL;

	for (uint32_t i = 0; i < list->nr && !object; i++)
		object = take_from_node(s, s->node[list->nodes[i]], want->caller);
	return object;
}

static void *alloc_single(struct kmem_cache *s, const struct slab_request *want)
{
	void        *object = take_from_node(s, s->node[want->node], want->caller);
	struct page *page;

	cache_stat(s, SLUB_alloc_slowpath);
	if (object)
		return object;
	page = new_slab(s, want->gfp, want->node);
	return page ? take_from_new(s, page, want->caller) : take_from_any(s, want);
}

/* ---- the CPU's way ---- */

/* Nobody else knows the slab yet. */
static void freeze_new(struct kmem_cache *s, struct kmem_cache_cpu *c, struct page *page)
{
	struct slab_state state = slab_load(page);

	set_cpu_slab(s, c, page, slab_object(s, page, state.free));
	state.inuse = state.objects;
	state.free = 0;
	state.frozen = true;
	atomic_store_explicit(&page->slab_word, slab_pack(state), memory_order_release);
}

static void *alloc_cpu(struct kmem_cache *s, struct kmem_cache_cpu *c,
		       const struct slab_request *want)
{
	void *object;

	if (!cpu_enter(c)) {
		cache_stat(s, SLUB_cpu_blocked);
		return alloc_single(s, want);
	}
	if (!refill_cpu_slab(s, c, want->node)) {
		struct page *page;

		cpu_leave(c); /* a slab may have to wait for the host */
		page = new_slab(s, want->gfp, want->node);
		if (!page || !cpu_enter(c))
			return page ? take_from_new(s, page, want->caller) : take_from_any(s, want);
		freeze_new(s, c, page);
	}
	object = cpu_pop(s, c);
	cpu_stat(c, SLUB_alloc_slowpath);
	cpu_leave(c);
	return object;
}

static int own_node(void)
{
	return this_cpu() < 0 ? 0 : cpu_slot_node(this_cpu());
}

static noinline void *alloc_slow(struct kmem_cache *s, const struct slab_request *request)
{
	struct slab_request    want = *request;
	int                    home = own_node();
	struct kmem_cache_cpu *c = NULL;

	if (want.node == NUMA_NODE_ANY)
		want.node = home;
	if (want.node == home)
		c = cpu_slab_get(s);
	else
		cache_stat(s, SLUB_alloc_node_mismatch);
	return c ? alloc_cpu(s, c, &want) : alloc_single(s, &want);
}

/* What a CPU has isn't asked for by anybody: who can't have one takes the node's way. */
static inline bool fails_on_purpose(const struct kmem_cache *s)
{
	return unlikely(atomic_load_explicit(&inject_armed, memory_order_relaxed)) &&
	       s != kmem_cache_cpu_cache && INJECT(SLAB);
}

static inline always_inline void *slab_alloc(struct kmem_cache *s,
						  const struct slab_request *want)
{
	struct kmem_cache_cpu *c = atomic_load_explicit(&s->cpu[this_cpu() + 1],
							memory_order_relaxed);
	void *object = NULL;

	if (unlikely(fails_on_purpose(s)))
		return NULL;
	if (likely(c && want->node == NUMA_NODE_ANY && cpu_enter(c))) {
		if (likely(c->freelist)) {
			object = cpu_pop(s, c);
			cpu_stat(c, SLUB_alloc_fastpath);
		}
		cpu_leave(c);
	}
	if (unlikely(!object))
		object = alloc_slow(s, want);
	if (unlikely(want->gfp & GFP_ZERO) && object)
		memset(object, 0, s->object_size);
	return object;
}

void *kmem_cache_alloc(struct kmem_cache *s, uint32_t gfp)
{
	return slab_alloc(s, &(struct slab_request){ gfp, NUMA_NODE_ANY, caller_address() });
}

void *kmem_cache_zalloc(struct kmem_cache *s, uint32_t gfp)
{
	return slab_alloc(s, &(struct slab_request){ gfp | GFP_ZERO, NUMA_NODE_ANY,
						     caller_address() });
}

void *kmem_cache_alloc_node(struct kmem_cache *s, uint32_t gfp, int node)
{
	return slab_alloc(s, &(struct slab_request){ gfp, node, caller_address() });
}

unsigned int kmem_cache_alloc_bulk(struct kmem_cache *s, uint32_t gfp, unsigned int nr,
				   void **objects)
{
	struct slab_request    want = { gfp, NUMA_NODE_ANY, caller_address() };
	struct kmem_cache_cpu *c = cpu_slab_of(s, this_cpu());
	unsigned int           got = 0;

	while (got < nr) {
		if (!fails_on_purpose(s) && c && cpu_enter(c)) {
			unsigned int before = got;

			while (got < nr && (c->freelist || refill_cpu_slab(s, c, own_node())))
				got += cpu_pop_many(s, c, nr - got, objects + got);
			atomic_store_explicit(&c->stats[SLUB_alloc_fastpath],
					      c->stats[SLUB_alloc_fastpath] + got - before,
					      memory_order_relaxed);
			cpu_leave(c);
		}
		if (got == nr)
			break;
		objects[got] = slab_alloc(s, &want);
		if (!objects[got]) {
			kmem_cache_free_bulk(s, got, objects);
			return 0;
		}
		got++;
		c = cpu_slab_of(s, this_cpu());
	}
	for (unsigned int i = 0; gfp & GFP_ZERO && i < nr; i++)
		memset(objects[i], 0, s->object_size);
	return nr;
}

/* ---- freeing ---- */

/* Objects of one slab, linked. */
struct chain {
	void    *head, *tail;
	uint32_t nr;
};

/* Freezes a full slab that gets its first free object, for the CPU that frees. False: it can't. */
static bool may_freeze(struct kmem_cache *s, struct kmem_cache_cpu *c, bool *entered)
{
	if (!c || !s->cpu_partial_slabs)
		return false;
	if (!*entered)
		*entered = cpu_enter(c);
	return *entered;
}

/* The slab has changed and list_lock is held, since it may have to change lists. */
static void relist(struct kmem_cache *s, struct page *page, struct slab_state old,
		   struct slab_state new)
{
	struct kmem_cache_node *n = slab_node(s, page);
	bool                    give_back = !new.inuse && n->nr_partial >= s->min_partial;

	if (give_back && old.free) {
		remove_partial_locked(n, page);
		cache_stat(s, SLUB_free_remove_partial);
	} else if (!give_back && !old.free) {
		add_partial_locked(n, page, true);
		cache_stat(s, SLUB_free_add_partial);
	}
	mutex_unlock(&n->list_lock);
	if (give_back)
		discard_slab(s, page);
}

/* Into a slab that isn't the calling CPU's. */
static void free_far(struct kmem_cache *s, struct page *page, const struct chain *chain)
{
	struct kmem_cache_node *n = slab_node(s, page);
	struct kmem_cache_cpu  *c = cpu_slab_of(s, this_cpu());
	struct slab_state       old = slab_load(page), new;
	bool                    entered = false, locked = false, changed = false;

	cache_stat(s, SLUB_free_slowpath);
	while (!changed) {
		if (locked)
			mutex_unlock(&n->list_lock);
		locked = false;
		new = old;
		if (unlikely(old.inuse < chain->nr))
			slab_fatal(s, page, chain->head, "more frees than objects");
		new.inuse -= chain->nr;
		new.free = slab_free_of(s, page, chain->head);
		set_freepointer(s, chain->tail, slab_object(s, page, old.free));
		if (!old.frozen && !old.free && may_freeze(s, c, &entered)) {
			new.frozen = true;
		} else if (!old.frozen && (!old.free || !new.inuse)) {
			mutex_lock(&n->list_lock);
			locked = true;
		}
		changed = slab_change(page, &old, new);
		if (!changed)
			cache_stat(s, SLUB_cmpxchg_fail);
	}
	if (new.frozen && !old.frozen) {
		put_cpu_partial(s, c, page);
		cpu_stat(c, SLUB_cpu_partial_free);
	} else if (old.frozen) {
		cache_stat(s, SLUB_free_frozen);
	}
	if (entered)
		cpu_leave(c);
	if (locked)
		relist(s, page, old, new);
}

/* Debug caches: everything under the lock, checked first. */
static void free_checked(struct kmem_cache *s, struct page *page, void *object, uintptr_t caller)
{
	struct kmem_cache_node *n = slab_node(s, page);
	struct slab_state       old, new;

	mutex_lock(&n->list_lock);
	cache_stat(s, SLUB_free_slowpath);
	if (!debug_free(s, page, object, caller)) {
		mutex_unlock(&n->list_lock);
		return;
	}
	new = old = slab_load(page);
	new.inuse--;
	new.free = slab_free_of(s, page, object);
	set_freepointer(s, object, slab_object(s, page, old.free));
	atomic_store_explicit(&page->slab_word, slab_pack(new), memory_order_release);
	if (!old.free)
		list_del(&page->lru); /* of node->full */
	relist(s, page, old, new);
}

/* The slab of an object that is to be freed into s; NULL: it is not, and has been reported. */
static struct page *slab_to_free(struct kmem_cache *s, void *object)
{
	struct page *page = virt_to_slab(object);
	const char  *wrong = NULL;

	if (unlikely(!page))
		wrong = "free of an address that is no object";
	else if (unlikely(page->slab_cache != s))
		wrong = "free into another cache";
	else if (unlikely(!is_object_of(s, page, object, slab_load(page).objects)))
		wrong = "free of an address inside an object";
	else if (unlikely(slab_object(s, page, slab_load(page).free) == object))
		wrong = "double free";
	if (likely(!wrong))
		return page;
	slab_wrong_call(s, page, object, wrong);
	return NULL;
}

static noinline void free_slow(struct kmem_cache *s, void *object, uintptr_t caller)
{
	struct page *page = slab_to_free(s, object);

	if (!page)
		return;
	if (kmem_cache_debug(s))
		free_checked(s, page, object, caller);
	else
		free_far(s, page, &(struct chain){ object, object, 1 });
}

/* True: the object was the calling CPU's slab's and is on its list. */
static inline always_inline bool free_hit(struct kmem_cache *s, void *object)
{
	struct kmem_cache_cpu *c = atomic_load_explicit(&s->cpu[this_cpu() + 1],
							memory_order_relaxed);
	uint64_t offset;
	bool     hit;

	if (unlikely(!c || !cpu_enter(c)))
		return false;
	offset = (uint64_t)((char *)object - c->base);
	hit = offset < c->span;
	if (likely(hit)) {
		if (unlikely(!is_object_offset(s, offset) || object == c->freelist))
			slab_fatal(s, c->page, object, "double free, or no object's start");
		set_freepointer(s, object, c->freelist);
		c->freelist = object;
		cpu_stat(c, SLUB_free_fastpath);
	}
	cpu_leave(c);
	return hit;
}

void kmem_cache_free(struct kmem_cache *s, void *object)
{
	if (likely(object) && unlikely(!free_hit(s, object)))
		free_slow(s, object, caller_address());
}

void kfree(void *object)
{
	struct page *page;

	if (object == NULL || object == ZERO_SIZE_PTR)
		return;
	page = virt_to_slab(object);
	if (unlikely(!page))
		kfree_large(object);
	else if (!free_hit(page->slab_cache, object))
		free_slow(page->slab_cache, object, caller_address());
}

enum { BULK_LOOKAHEAD = 3 };

/* Takes those of objects[0 .. nr) that lie in the slab of the last one out of the array, linked;
 * gives up looking after a few of others. */
static struct page *detach(struct kmem_cache *s, void **objects, unsigned int nr,
			   struct chain *chain)
{
	void        *last = objects[nr - 1];
	struct page *page = slab_to_free(s, last);
	int          lookahead = BULK_LOOKAHEAD;

	objects[nr - 1] = NULL;
	*chain = (struct chain){ last, last, 1 };
	for (unsigned int i = nr - 1; page && i-- > 0;) {
		if (objects[i] && virt_to_slab(objects[i]) == page) {
			slab_to_free(s, objects[i]);
			set_freepointer(s, objects[i], chain->head);
			chain->head = objects[i];
			chain->nr++;
			objects[i] = NULL;
		} else if (objects[i] && !--lookahead) {
			break;
		}
	}
	return page;
}

/* How many of the last objects in a row were the calling CPU's slab's, and are on its list. */
static unsigned int free_hits(struct kmem_cache *s, unsigned int nr, void **objects)
{
	struct kmem_cache_cpu *c = cpu_slab_of(s, this_cpu());
	unsigned int           left = nr;
	const char            *base;
	uint64_t               span;
	void                  *head;

	if (unlikely(!c || !cpu_enter(c)))
		return 0;
	base = c->base;
	span = c->span;
	head = c->freelist;
	for (; left; left--) {
		void    *object = objects[left - 1];
		uint64_t offset = (uint64_t)((char *)object - base);

		if (offset >= span)
			break;
		if (unlikely(!is_object_offset(s, offset) || object == head))
			slab_fatal(s, c->page, object, "double free, or no object's start");
		set_freepointer(s, object, head);
		head = object;
	}
	c->freelist = head;
	atomic_store_explicit(&c->stats[SLUB_free_fastpath],
			      c->stats[SLUB_free_fastpath] + nr - left, memory_order_relaxed);
	cpu_leave(c);
	return nr - left;
}

/* NULL: no slab. */
static struct kmem_cache *cache_of(const void *object)
{
	struct page *page = object ? virt_to_slab(object) : NULL;

	return page ? page->slab_cache : NULL;
}

void kmem_cache_free_bulk(struct kmem_cache *s, unsigned int nr, void **objects)
{
	uintptr_t caller = caller_address();

	while (nr) {
		void              *object = objects[nr - 1];
		struct kmem_cache *cache = s ? s : cache_of(object);
		unsigned int       hits = 0;

		if (!object || !cache) {
			kfree(object);
		} else if (kmem_cache_debug(cache)) {
			free_slow(cache, object, caller);
		} else if ((hits = free_hits(cache, nr, objects))) {
			nr -= hits;
			continue;
		} else {
			struct chain chain;
			struct page *page = detach(cache, objects, nr, &chain);

			if (page)
				free_far(cache, page, &chain);
		}
		nr--;
	}
}
