/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub - the protocol between a CPU's slab, the lists of nodes, and who frees from afar
 *
 * Purpose     A slab is a block of pool 0 cut into objects. One that a CPU works in is frozen: it
 *             is on no list, and its objects are handed out from kmem_cache_cpu.freelist by plain
 *             loads and stores. Others free into the slab's own list, a word changed by
 *             compare-and-swap, which the CPU takes over as a whole when its list is empty.
 * Invariants  U1  slab_word of a slab: objects - inuse is the length of its own list, whether
 *                 frozen or not; of a frozen one inuse counts what lies on the CPU's list.
 *             U2  a slab is on its node's partial list exactly while it isn't frozen and its own
 *                 list isn't empty, but for moments inside list_lock.
 *             U3  c's fields are touched by the owner between cpu_enter() and cpu_leave(), or by a
 *                 visitor that holds s->visit, has set blocked, passed asym_heavy() and then seen
 *                 busy == 0. An owner that finds blocked takes the node's way.
 *             U4  only who holds list_lock takes single objects from a slab on a list; so whoever
 *                 pops under the lock reads links that can't change.
 *             U5  in a cache with debug flags no slab is ever frozen, and all happens under
 *                 list_lock; full slabs are on node->full.
 *             U6  a link lies encoded at object + offset: xor with the cache's secret and its own
 *                 address. What decodes to no object of the slab is corruption.
 * Locking     slabs_mutex > s->visit > list_lock > zone.
 * After       mm/slub.c of Linux 6.1. In place of this_cpu_cmpxchg_double: the owner's plain
 *             stores with asymmetric fences (asym.h), since a slot is one thread's.
 * Not here    Frames (own.c), debugging (slub_debug.h), sizes (kmalloc.c).
 */
#ifndef MMB_MM_OBJ_SLUB_H
#define MMB_MM_OBJ_SLUB_H

#include "base/cpu.h"
#include "base/inject.h"
#include "base/lock.h"
#include "mm/obj/slab.h"
#include "mm/phys/asym.h"
#include "mm/phys/page.h"

enum {
	SLUB_MAX_ORDER = 3, /* PAGE_ALLOC_COSTLY_ORDER: not above it unless an object needs it */
	MIN_PARTIAL = 5,
	MAX_PARTIAL = 10,
	MAX_OBJS_PER_PAGE = 32767,
	KMEM_CACHE_NAME_BYTES = 32,
};

/* ---- slab_word: first free object, counts, frozen ---- */

enum {
	WORD_FREE_BITS = 20,
	WORD_INUSE_SHIFT = 20,
	WORD_OBJECTS_SHIFT = 36,
	WORD_FROZEN_SHIFT = 63,
};
static_assert(((size_t)PAGE_SIZE << MAX_ORDER) / 8 < 1 << WORD_FREE_BITS, "offsets / 8, plus 1");

struct slab_state {
	uint32_t free;    /* offset / 8 + 1 of the first free object; 0: none */
	uint32_t inuse, objects;
	bool     frozen;
};

static inline uint64_t slab_pack(struct slab_state s)
{
	return s.free | (uint64_t)s.inuse << WORD_INUSE_SHIFT |
	       (uint64_t)s.objects << WORD_OBJECTS_SHIFT |
	       (uint64_t)s.frozen << WORD_FROZEN_SHIFT;
}

static inline struct slab_state slab_unpack(uint64_t word)
{
	return (struct slab_state){
		.free = word & ((1u << WORD_FREE_BITS) - 1),
		.inuse = word >> WORD_INUSE_SHIFT & 0xffff,
		.objects = word >> WORD_OBJECTS_SHIFT & 0x7fff,
		.frozen = word >> WORD_FROZEN_SHIFT,
	};
}

static inline struct slab_state slab_load(const struct page *page)
{
	return slab_unpack(atomic_load_explicit(&page->slab_word, memory_order_acquire));
}

/* Changes the word if it is still *old, else reloads *old. */
static inline bool slab_change(struct page *page, struct slab_state *old, struct slab_state new)
{
	uint64_t expected = slab_pack(*old);

	if (likely(atomic_compare_exchange_strong_explicit(&page->slab_word, &expected,
							   slab_pack(new), memory_order_acq_rel,
							   memory_order_acquire)))
		return true;
	*old = slab_unpack(expected);
	return false;
}

/* ---- caches ---- */

/* v: written by a visitor   o: U3   s: written under U3, read any time */
struct kmem_cache_cpu {
	_Atomic uint32_t busy;    /* the owner writes */
	_Atomic uint32_t blocked; /* (v) */
	void            *freelist; /* (o) */
	char            *base;     /* (o) of page's first object */
	uint32_t         span;     /* (o) bytes from base to the last object's end; 0: no slab */
	uint32_t         nr_partial; /* (o) slabs */
	struct page     *_Atomic page; /* (s) frozen; NULL: none */
	struct page     *_Atomic partial; /* (s) frozen, linked by lru.next */
	uint64_t         nr_seen;  /* (v) allocations and frees at the last tick */
	_Atomic uint64_t stats[NR_SLUB_STATS]; /* (s) */
} __attribute__((aligned(CACHELINE)));

/* c: fixed   l: list_lock   a: atomic */
struct kmem_cache_node {
	struct mutex     list_lock;
	_Atomic uint64_t nr_partial;       /* (l) */
	struct list_head partial;          /* (l) */
	struct list_head full;             /* (l) debug caches only */
	_Atomic uint64_t nr_slabs;         /* (a) */
	_Atomic uint64_t total_objects;    /* (a) */
};

struct slab_order {
	uint32_t order, objects;
};

/* c: fixed after create   m: slabs_mutex   a: atomic */
struct kmem_cache {
	struct kmem_cache_cpu *_Atomic cpu[NR_CPU_SLOTS + 1]; /* (a) of slot n at n + 1, or NULL */
	uint32_t size;        /* (c) of an object with its surroundings */
	uint32_t object_size; /* (c) as asked for */
	uint32_t offset;      /* (c) of the link, from the object's start */
	uint32_t inuse;       /* (c) end of what belongs to the object */
	uint64_t reciprocal;  /* (c) 2^44 / size, rounded up */
	uint64_t random;      /* (c) U6 */
	uint32_t flags;       /* (c) */
	uint32_t red_left_pad; /* (c) */
	uint32_t align;       /* (c) */
	uint32_t min_partial; /* (c) empty slabs a node keeps */
	uint32_t cpu_partial_slabs; /* (c) that a CPU keeps; 0: none */
	uint32_t useroffset, usersize; /* (c) */
	struct slab_order oo, min; /* (c) usual, and when that block can't be had */
	void (*ctor)(void *object); /* (c) */
	struct kmem_cache_node *node[MAX_NUMNODES]; /* (c) NULL: pool 0 has nothing there */
	struct list_head list; /* (m) */
	struct mutex     visit;
	_Atomic uint64_t stats[NR_SLUB_STATS]; /* (a) of what no CPU counts */
	char name[KMEM_CACHE_NAME_BYTES]; /* (c) */
};

static inline bool kmem_cache_debug(const struct kmem_cache *s)
{
	return s->flags & SLAB_DEBUG_FLAGS;
}

/* One writer at a time. */
static inline void cpu_stat(struct kmem_cache_cpu *c, enum slub_stat stat)
{
	atomic_store_explicit(&c->stats[stat],
			      atomic_load_explicit(&c->stats[stat], memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static inline void cache_stat(struct kmem_cache *s, enum slub_stat stat)
{
	atomic_fetch_add_explicit(&s->stats[stat], 1, memory_order_relaxed);
}

static inline struct kmem_cache_cpu *cpu_slab_of(const struct kmem_cache *s, int cpu)
{
	return atomic_load_explicit(&s->cpu[cpu + 1], memory_order_acquire);
}

static inline bool cpu_enter(struct kmem_cache_cpu *c)
{
	atomic_store_explicit(&c->busy, 1, memory_order_relaxed);
	asym_light();
	if (likely(!atomic_load_explicit(&c->blocked, memory_order_acquire)))
		return true;
	atomic_store_explicit(&c->busy, 0, memory_order_release);
	return false;
}

static inline void cpu_leave(struct kmem_cache_cpu *c)
{
	atomic_store_explicit(&c->busy, 0, memory_order_release);
}

/* ---- links ---- */

static inline uint64_t link_key(const struct kmem_cache *s, const void *at)
{
	return s->random ^ __builtin_bswap64((uint64_t)(uintptr_t)at);
}

static inline void *get_freepointer(const struct kmem_cache *s, const void *object)
{
	const uint64_t *at = (const uint64_t *)((const char *)object + s->offset);

	return (void *)(uintptr_t)(*at ^ link_key(s, at));
}

static inline void set_freepointer(const struct kmem_cache *s, void *object, const void *next)
{
	uint64_t *at = (uint64_t *)((char *)object + s->offset);

	*at = (uint64_t)(uintptr_t)next ^ link_key(s, at);
}

/* ---- places ---- */

static inline char *slab_base(const struct kmem_cache *s, const struct page *page)
{
	return (char *)page_to_virt(page) + s->red_left_pad;
}

/* Whether an offset from a slab's base is that of an object. */
static inline bool is_object_offset(const struct kmem_cache *s, uint64_t offset)
{
	return (offset * s->reciprocal >> 44) * s->size == offset;
}

static inline void *slab_object(const struct kmem_cache *s, const struct page *page, uint32_t free)
{
	return free ? slab_base(s, page) + (uint64_t)(free - 1) * 8 : NULL;
}

static inline uint32_t slab_free_of(const struct kmem_cache *s, const struct page *page,
				    const void *object)
{
	return object ? (uint32_t)(((const char *)object - slab_base(s, page)) / 8) + 1 : 0;
}

static inline bool is_object_of(const struct kmem_cache *s, const struct page *page,
				const void *object, uint32_t objects)
{
	uint64_t offset = (uint64_t)((const char *)object - slab_base(s, page));

	return offset < (uint64_t)objects * s->size && is_object_offset(s, offset);
}

/* First page of the slab that an address lies in; NULL: no slab of pool 0. Any address. */
struct page *virt_to_slab(const void *address);

/* ---- slabs: slub_lists.c. `locked`: with the node's list_lock held ---- */

/* A slab with all objects free, on no list; NULL: no memory. */
struct page *new_slab(struct kmem_cache *s, uint32_t gfp, int node);
/* All objects are free, and it is on no list. */
void discard_slab(struct kmem_cache *s, struct page *page);
static inline struct kmem_cache_node *slab_node(const struct kmem_cache *s,
						const struct page *page)
{
	return s->node[page->slab_node];
}
void add_partial_locked(struct kmem_cache_node *n, struct page *page, bool tail);
void remove_partial_locked(struct kmem_cache_node *n, struct page *page);

/* ---- what a CPU has, by its owner inside cpu_enter() or by a visitor: slub_cpu.c ---- */

/* The calling thread's, made if need be; NULL: it takes the node's way. */
struct kmem_cache_cpu *cpu_slab_get(struct kmem_cache *s);
/* The page becomes c's: frozen, its objects on c's list. `free`: the first of them. */
void set_cpu_slab(struct kmem_cache *s, struct kmem_cache_cpu *c, struct page *page, void *free);
/* Fills c's list: frees from afar, c's partial slabs, the node's. False: none has a free object. */
bool refill_cpu_slab(struct kmem_cache *s, struct kmem_cache_cpu *c, int node);
void put_cpu_partial(struct kmem_cache *s, struct kmem_cache_cpu *c, struct page *page);
/* What CPUs have goes to the nodes' lists; bit n of `cpus`: slot n. */
void flush_cpus(struct kmem_cache *s, uint64_t cpus);
uint64_t cpus_with_slabs(const struct kmem_cache *s);
/* Of those, the ones that have not moved since the last call. */
uint64_t cpus_idle(const struct kmem_cache *s);
/* Once: pagesets and CPU slabs share the fences. */
void cpu_slabs_init(void);

/* A block that kmalloc() took for one object; any other address ends the daemon. kmalloc.c */
void kfree_large(void *object);
/* Frames in slabs and large objects, for slab_bytes(). */
void slab_count_frames(int64_t delta);

extern struct kmem_cache *kmem_cache_cpu_cache; /* c: of struct kmem_cache_cpu */

#endif
