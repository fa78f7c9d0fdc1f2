/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_cpu - what a CPU has of a cache: one slab to work in, a few to go on with; and who takes
 * them away
 *
 * Purpose     See slub.h, U3. A CPU takes slabs from its node and from its own frees, and lets full
 *             ones go without a word: a later free finds them.
 * Locking     U3 for c; list_lock inside.
 */
#include <sched.h>

#include "base/log.h"
#include "mm/obj/own.h"
#include "mm/obj/slub.h"
#include "mm/obj/slub_debug.h"

struct kmem_cache *kmem_cache_cpu_cache;

static bool has_asym; /* c: fixed after cpu_slabs_init */

void cpu_slabs_init(void)
{
	has_asym = asym_init();
	if (!has_asym)
		log_emit(LOG_WARNING, "no_membarrier",
			 "membarrier is refused: every object takes a lock");
}

struct kmem_cache_cpu *cpu_slab_get(struct kmem_cache *s)
{
	int                    cpu = this_cpu();
	struct kmem_cache_cpu *c = cpu_slab_of(s, cpu);

	if (c || cpu < 0 || !has_asym || !kmem_cache_cpu_cache ||
	    s->flags & (SLAB_DEBUG_FLAGS | SLAB_NO_CPU_SLABS))
		return c;
	c = kmem_cache_zalloc(kmem_cache_cpu_cache, GFP_KERNEL);
	atomic_store_explicit(&s->cpu[cpu + 1], c, memory_order_release);
	return c;
}

void set_cpu_slab(struct kmem_cache *s, struct kmem_cache_cpu *c, struct page *page, void *free)
{
	c->freelist = free;
	c->base = page ? slab_base(s, page) : NULL;
	c->span = page ? slab_load(page).objects * s->size : 0;
	atomic_store_explicit(&c->page, page, memory_order_relaxed);
}

/* ---- partial slabs of a CPU ---- */

static struct page *next_partial(const struct page *page)
{
	return (struct page *)page->lru.next;
}

static void push_partial(struct kmem_cache_cpu *c, struct page *page)
{
	page->lru.next = (struct list_head *)atomic_load_explicit(&c->partial,
								  memory_order_relaxed);
	atomic_store_explicit(&c->partial, page, memory_order_relaxed);
	c->nr_partial++;
}

static struct page *pop_partial(struct kmem_cache_cpu *c)
{
	struct page *page = atomic_load_explicit(&c->partial, memory_order_relaxed);

	if (!page)
		return NULL;
	atomic_store_explicit(&c->partial, next_partial(page), memory_order_relaxed);
	c->nr_partial--;
	return page;
}

/* To its node's list, or back to pool 0 if the node has enough that are empty. */
static void unfreeze(struct kmem_cache *s, struct page *page)
{
	struct kmem_cache_node *n = slab_node(s, page);
	struct slab_state       old = slab_load(page), new;
	bool                    give_back;

	mutex_lock(&n->list_lock);
	do {
		new = old;
		new.frozen = false;
	} while (!slab_change(page, &old, new));
	give_back = !new.inuse && n->nr_partial >= s->min_partial;
	if (!give_back)
		add_partial_locked(n, page, true);
	mutex_unlock(&n->list_lock);
	if (give_back)
		discard_slab(s, page);
}

static void put_all_partials(struct kmem_cache *s, struct kmem_cache_cpu *c)
{
	struct page *page;

	while ((page = pop_partial(c)))
		unfreeze(s, page);
}

void put_cpu_partial(struct kmem_cache *s, struct kmem_cache_cpu *c, struct page *page)
{
	if (c->nr_partial >= s->cpu_partial_slabs) {
		put_all_partials(s, c);
		cpu_stat(c, SLUB_cpu_partial_drain);
	}
	push_partial(c, page);
}

/* ---- filling a CPU's list ---- */

/* What others have freed into c's slab; NULL: nothing, and the slab isn't frozen any more. */
static void *get_freelist(struct kmem_cache *s, struct page *page)
{
	struct slab_state old = slab_load(page), new;

	do {
		new = old;
		new.free = 0;
		new.inuse = old.objects;
		new.frozen = old.free != 0;
	} while (!slab_change(page, &old, new));
	return slab_object(s, page, old.free);
}

/* Freezes a slab of the list for c: the first to work in, its objects on c's list; others beside
 * it with their own lists. */
static void acquire_slab_locked(struct kmem_cache *s, struct kmem_cache_cpu *c, struct page *page)
{
	bool              first = !c->page;
	struct slab_state old = slab_load(page), new;

	do {
		new = old;
		new.frozen = true;
		if (first) {
			new.free = 0;
			new.inuse = old.objects;
		}
	} while (!slab_change(page, &old, new));
	remove_partial_locked(slab_node(s, page), page);
	if (first) {
		set_cpu_slab(s, c, page, slab_object(s, page, old.free));
		cpu_stat(c, SLUB_alloc_from_partial);
	} else {
		push_partial(c, page);
		cpu_stat(c, SLUB_cpu_partial_node);
	}
}

static bool get_partial(struct kmem_cache *s, struct kmem_cache_cpu *c, int node)
{
	struct kmem_cache_node *n = s->node[node];
	struct page            *page, *next;

	if (!n || !atomic_load_explicit(&n->nr_partial, memory_order_relaxed))
		return false;
	mutex_lock(&n->list_lock);
	list_for_each_entry_safe(page, next, &n->partial, lru) {
		if (c->page && c->nr_partial >= s->cpu_partial_slabs / 2)
			break;
		acquire_slab_locked(s, c, page);
	}
	mutex_unlock(&n->list_lock);
	return c->page != NULL;
}

bool refill_cpu_slab(struct kmem_cache *s, struct kmem_cache_cpu *c, int node)
{
	for (;;) {
		struct page *page = atomic_load_explicit(&c->page, memory_order_relaxed);

		if (c->freelist)
			return true;
		if (page) {
			void *free = get_freelist(s, page);

			set_cpu_slab(s, c, free ? page : NULL, free);
			cpu_stat(c, free ? SLUB_alloc_refill : SLUB_deactivate_bypass);
			continue;
		}
		page = pop_partial(c);
		if (!page)
			return get_partial(s, c, node);
		set_cpu_slab(s, c, page, NULL);
		cpu_stat(c, SLUB_cpu_partial_alloc);
	}
}

/* ---- taking it away ---- */

/* Length of c's list and its last object. */
static uint32_t walk_freelist(struct kmem_cache *s, struct kmem_cache_cpu *c, void **tail)
{
	struct page *page = c->page;
	uint32_t     objects = slab_load(page).objects, nr = 0;

	for (void *object = c->freelist; object; object = get_freepointer(s, object)) {
		if (nr++ >= objects || !is_object_of(s, page, object, objects))
			slab_fatal(s, page, object, "free list of a CPU overwritten");
		*tail = object;
	}
	return nr;
}

static enum slub_stat deactivation(struct kmem_cache *s, const struct kmem_cache_node *n,
				   struct slab_state new)
{
	if (!new.inuse && n->nr_partial >= s->min_partial)
		return SLUB_deactivate_empty;
	return new.free ? SLUB_deactivate_to_tail : SLUB_deactivate_full;
}

/* c's slab and list become the slab's own again, and the slab goes where it belongs. */
static void deactivate_slab(struct kmem_cache *s, struct kmem_cache_cpu *c)
{
	struct page            *page = c->page;
	struct kmem_cache_node *n = slab_node(s, page);
	void                   *tail = NULL;
	uint32_t                nr = walk_freelist(s, c, &tail);
	struct slab_state       old = slab_load(page), new;
	enum slub_stat          stat;

	if (old.free)
		cpu_stat(c, SLUB_deactivate_remote_frees);
	mutex_lock(&n->list_lock);
	do {
		new = old;
		new.frozen = false;
		if (nr) {
			new.inuse -= nr;
			new.free = slab_free_of(s, page, c->freelist);
			set_freepointer(s, tail, slab_object(s, page, old.free));
		}
		stat = deactivation(s, n, new);
	} while (!slab_change(page, &old, new));
	if (stat == SLUB_deactivate_to_tail)
		add_partial_locked(n, page, true);
	mutex_unlock(&n->list_lock);
	set_cpu_slab(s, c, NULL, NULL);
	cpu_stat(c, stat);
	if (stat == SLUB_deactivate_empty)
		discard_slab(s, page);
}

static void wait_until_idle(struct kmem_cache_cpu *c)
{
	while (atomic_load_explicit(&c->busy, memory_order_acquire))
		sched_yield();
}

void flush_cpus(struct kmem_cache *s, uint64_t cpus)
{
	if (!cpus)
		return;
	mutex_lock(&s->visit);
	for (uint64_t left = cpus; left; left &= left - 1)
		atomic_store(&cpu_slab_of(s, __builtin_ctzll(left))->blocked, 1);
	asym_heavy();
	for (uint64_t left = cpus; left; left &= left - 1) {
		struct kmem_cache_cpu *c = cpu_slab_of(s, __builtin_ctzll(left));

		wait_until_idle(c);
		if (c->page)
			deactivate_slab(s, c);
		put_all_partials(s, c);
		cpu_stat(c, SLUB_cpuslab_flush);
		atomic_store_explicit(&c->blocked, 0, memory_order_release);
	}
	mutex_unlock(&s->visit);
}

uint64_t cpus_with_slabs(const struct kmem_cache *s)
{
	uint64_t cpus = 0;

	for (int cpu = 0; cpu < NR_CPU_SLOTS; cpu++) {
		struct kmem_cache_cpu *c = cpu_slab_of(s, cpu);

		if (c && (c->page || c->partial))
			cpus |= 1ull << cpu;
	}
	return cpus;
}

uint64_t cpus_idle(const struct kmem_cache *s)
{
	uint64_t cpus = 0;

	for (uint64_t left = cpus_with_slabs(s); left; left &= left - 1) {
		int                    cpu = __builtin_ctzll(left);
		struct kmem_cache_cpu *c = cpu_slab_of(s, cpu);
		uint64_t               events = 0;

		for (int i = SLUB_alloc_fastpath; i <= SLUB_free_slowpath; i++)
			events += atomic_load_explicit(&c->stats[i], memory_order_relaxed);
		if (events == c->nr_seen)
			cpus |= 1ull << cpu;
		c->nr_seen = events;
	}
	return cpus;
}
