/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pcp - per-CPU pagesets in front of one zone's buddy
 *
 * Purpose     Keeps orders 0 to 3 and 9 off the zone lock. A hit is a list operation: no lock, no
 *             locked instruction. A CPU is a daemon thread with a slot (base/cpu.h); a thread
 *             without one goes to the buddy.
 * Invariants  P1  class->count is the sum of the lengths of the class's lists. The block freed last
 *                 is beside them in top, so that taking what was just freed touches neither
 *                 a list nor the count, and each would wait for the store before.
 *             P2  a block on a list or in top has its head in PG_PCP with the class's order and
 *                 the list's type.
 *             P3  lists and top are touched by the owner between pcp_enter() and pcp_leave(), or by
 *                 a visitor that holds zone->visit, has set blocked, passed asym_heavy() and then
 *                 seen busy == 0.
 *             P4  a pageset belongs to one slot for ever and is never freed: when its zone ends it
 *                 waits for the slot's next zone. So pcp_slot->last may be looked at any time.
 * Locking     P3. The owner may take zone->lock inside. One that finds blocked set doesn't wait,
 *             but goes to the buddy.
 * Hit         What a pair of a grant and a free costs is its longest chain of loads that wait for
 *             stores. The only one left goes through top: a free finds its pageset beside the page,
 *             not through it (pcp_of_page), and the state words are only compared.
 * Not here    Watermarks (zone.c), the choice of zone (balance/alloc.c).
 */
#ifndef MMB_MM_PHYS_PCP_H
#define MMB_MM_PHYS_PCP_H

#include "mm/phys/asym.h"
#include "mm/phys/zone.h"

enum { PCP_CLASSES = 5, PCP_ORDER_MAX_SMALL = 3 };

/* o: P3   s: written under P3, read any time   c: fixed   v: zone->visit */
struct pcp_class {
	_Atomic(struct page *) top;    /* (s) freed last, of whatever type; NULL */
	struct list_head lists[MIGRATE_PCPTYPES]; /* (o) hottest first, below top */
	_Atomic uint32_t count;        /* (s) blocks on the lists */
	_Atomic uint32_t high;         /* (s) at this many a batch goes back; adapts */
	uint16_t         batch;        /* (c) */
	uint16_t         high_min;     /* (c) */
	uint16_t         high_max;     /* (c) */
	uint8_t          alloc_factor; /* (o) refills in a row: the next is batch << this */
	uint8_t          free_factor;  /* (o) overflows in a row */
	_Atomic uint64_t nr_alloc;     /* (s) blocks granted from here; a hit counts only these */
	_Atomic uint64_t nr_in, nr_out; /* (s) blocks that came from and went to the buddy */
	/* The low halves of event counts, compared for equality only. */
	uint32_t         free_at_refill;    /* (o) pcp_nr_free() at the last refill */
	uint32_t         alloc_at_overflow; /* (o) nr_alloc at the last overflow */
	uint64_t         nr_seen;      /* (v) grants and frees at the last decay */
} __attribute__((aligned(2 * CACHELINE)));

static_assert(sizeof(struct pcp_class) == 128, "indexed by a shift on every hit");

#define PCP_UNUSED UINT32_MAX /* no zone's id */

struct pcp {
	struct pcp_class classes[PCP_CLASSES]; /* first: an order leads to its class by a shift */
	_Atomic uint32_t busy;    /* owner writes */
	_Atomic uint32_t blocked; /* (v) visitor writes */
	_Atomic uint32_t zone_id; /* the zone's, PCP_UNUSED if it has none (P4) */
	struct zone     *zone;    /* (c) while it has one */
	struct pcp      *next;    /* pcp.c: of those without a zone */
	_Atomic uint64_t nr_refills, nr_overflows; /* (s) */
};

/* o: the slot's thread */
struct pcp_slot {
	struct pcp *last; /* (o) what a free used last, no zone's if nothing */
} __attribute__((aligned(CACHELINE)));

extern struct pcp_slot pcp_slots[NR_CPU_SLOTS + 1]; /* of slot n at n + 1, as zone->pcp */

/* Index of an order's class, -1 if it has none. */
static inline int pcp_class_of(unsigned int order)
{
	if (likely(order <= PCP_ORDER_MAX_SMALL))
		return (int)order;
	return order == PAGEBLOCK_ORDER ? PCP_ORDER_MAX_SMALL + 1 : -1;
}

static inline unsigned int pcp_class_order(int index)
{
	return index <= PCP_ORDER_MAX_SMALL ? (unsigned int)index : PAGEBLOCK_ORDER;
}

static inline bool pcp_enter(struct pcp *pcp)
{
	atomic_store_explicit(&pcp->busy, 1, memory_order_relaxed);
	asym_light();
	if (likely(!atomic_load_explicit(&pcp->blocked, memory_order_acquire)))
		return true;
	atomic_store_explicit(&pcp->busy, 0, memory_order_release);
	return false;
}

static inline void pcp_leave(struct pcp *pcp)
{
	atomic_store_explicit(&pcp->busy, 0, memory_order_release);
}

/* One writer at a time: no locked instruction is needed to add. Compilers make three of this where
 * the machine has one. */
static inline void pcp_add_events(_Atomic uint64_t *counter, uint64_t nr)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	__asm__("addq %1, %0" : "+m"(*counter) : "er"(nr));
#else
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + nr,
			      memory_order_relaxed);
#endif
}

static inline uint32_t pcp_count(const struct pcp_class *class)
{
	return atomic_load_explicit(&class->count, memory_order_relaxed);
}

static inline struct page *pcp_top(const struct pcp_class *class)
{
	return atomic_load_explicit(&class->top, memory_order_relaxed);
}

static inline void pcp_set_top(struct pcp_class *class, struct page *page)
{
	atomic_store_explicit(&class->top, page, memory_order_relaxed);
}

/* Blocks on the lists and in top. */
static inline uint32_t pcp_nr_blocks(const struct pcp_class *class)
{
	return pcp_count(class) + (pcp_top(class) != NULL);
}

/* Blocks ever freed to here: what neither came from the buddy nor is explained by what went. */
static inline uint64_t pcp_nr_free(const struct pcp_class *class)
{
	return pcp_nr_blocks(class) + class->nr_alloc + class->nr_out - class->nr_in;
}

static inline void pcp_set_count(struct pcp_class *class, uint32_t count)
{
	atomic_store_explicit(&class->count, count, memory_order_relaxed);
}

/* A slot's pageset, NULL if there is none (yet). */
static inline struct pcp *pcp_of_cpu(const struct zone *zone, int cpu)
{
	return atomic_load_explicit(&zone->pcp[cpu + 1], memory_order_acquire);
}

/* The calling thread's; the entry of threads without a slot is always NULL. */
static inline struct pcp *pcp_of_this_cpu(const struct zone *zone)
{
	return atomic_load_explicit(&zone->pcp[cpu_index()], memory_order_relaxed);
}

/* ---- hits: inlined where frames are taken and given. Nothing is called on their way, so that no
 * register is saved ---- */

#define pcp_hot static inline __attribute__((always_inline))

static inline uint64_t pcp_class_offset(unsigned int index)
{
	return offsetof(struct pcp, classes) + index * sizeof(struct pcp_class);
}

/* What a hit needs to know of a request, found once. zone NULL: pagesets don't answer it. */
struct pcp_want {
	struct zone *zone;
	uint32_t     class; /* its offset in a struct pcp */
	uint32_t     word;  /* of a block on the pageset: PG_PCP, order, type */
};

static inline struct pcp_want pcp_want_of(struct zone *zone, unsigned int order,
					  enum migratetype type)
{
	int index = pcp_class_of(order);

	return (struct pcp_want){ .zone = index < 0 ? NULL : zone,
				  .class = (uint32_t)pcp_class_offset((unsigned int)index),
				  .word = pg_word(PG_PCP, order, type) };
}

static_assert(PG_ALLOCATED == PG_PCP + 1, "a hit adds or takes off one, whatever order and type");

/* The first block of that type's list, PG_PCP still; NULL. */
pcp_hot struct page *pcp_pop(struct pcp_class *class, enum migratetype type)
{
	struct list_head *list = &class->lists[type], *first = list->next;

	if (unlikely(first == list))
		return NULL;
	first->next->prev = list; /* lru is the new owner's: it need not be left empty */
	list->next = first->next;
	pcp_set_count(class, pcp_count(class) - 1);
	return list_entry(first, struct page, lru);
}

/* The calling thread's most recently freed block of that order and type, PG_ALLOCATED; NULL if it
 * has none. Watermarks don't matter: what is on a pageset has left the free areas. */
pcp_hot struct page *pcp_alloc_hit(const struct pcp_want *want)
{
	struct zone      *zone = want->zone;
	const uint32_t    word = want->word;
	struct pcp       *pcp;
	struct pcp_class *class;
	struct page      *page;

	if (unlikely(!zone))
		return NULL;
	pcp = pcp_of_this_cpu(zone);
	if (unlikely(!pcp || !pcp_enter(pcp)))
		return NULL;
	class = (struct pcp_class *)((char *)pcp + want->class);
	page = pcp_top(class);
	if (likely(page && pg_load(page) == word))
		pcp_set_top(class, NULL);
	else
		page = pcp_pop(class, pg_word_type(word));
	if (likely(page)) {
		pg_store(page, word + PG_ALLOCATED - PG_PCP);
		pcp_add_events(&class->nr_alloc, 1);
	}
	pcp_leave(pcp);
	return page;
}

/* The word of a granted block, as if nobody had claimed it. */
static inline uint32_t pcp_granted_word(const struct page *page)
{
	return (pg_load(page) & ~0xfu) | PG_ALLOCATED;
}

/* The state word of a block, PG_ALLOCATED, that goes to a pageset. Its list is that of the type it
 * was granted as, so that a fallback's frames stay with who needed them, or, where pageblocks are
 * kept for something, that of its pageblock; 0 if it must go to the buddy at once. */
static inline uint32_t pcp_free_word(const struct zone *zone, const struct page *page,
				     uint32_t word)
{
	enum migratetype type;

	if (likely(!atomic_load_explicit(&zone->nr_special, memory_order_relaxed)))
		return word - (PG_ALLOCATED - PG_PCP);
	type = pfn_migratetype(page_to_pfn(page));
	return type < MIGRATE_PCPTYPES ? pg_word(PG_PCP, pg_word_order(word), type) : 0;
}

/* A block goes to its list; false if they are full. */
pcp_hot bool pcp_push(struct pcp_class *class, struct page *page)
{
	uint32_t count = pcp_count(class);

	if (unlikely(count >= atomic_load_explicit(&class->high, memory_order_relaxed)))
		return false;
	list_add(&page->lru, &class->lists[pg_word_type(pg_load(page))]);
	pcp_set_count(class, count + 1);
	return true;
}

/* Puts a block of that order, whose state the caller has checked to be `word`, on the pageset that
 * the thread used last; false if it must go another way: that is another zone's or full, or the
 * pageblock is isolated. Zones seldom change from one free to the next, and to compare is not to
 * wait for the page's zone. */
pcp_hot bool pcp_free_hit(struct page *page, unsigned int order, uint32_t word)
{
	struct pcp       *pcp = pcp_slots[cpu_index()].last;
	uint64_t          index = order; /* of its class: 64 bits, to be extended once */
	struct pcp_class *class;
	struct page      *below;
	bool              room = true;

	if (unlikely(order > PCP_ORDER_MAX_SMALL)) {
		if (order != PAGEBLOCK_ORDER)
			return false;
		index = PCP_ORDER_MAX_SMALL + 1;
	}
	if (unlikely(atomic_load_explicit(&pcp->zone_id, memory_order_relaxed) != page->zone_id))
		return false;
	word = pcp_free_word(pcp->zone, page, word);
	if (unlikely(!word || !pcp_enter(pcp)))
		return false;
	class = &pcp->classes[index];
	below = pcp_top(class);
	if (unlikely(below))
		room = pcp_push(class, below);
	if (likely(room)) {
		pg_store(page, word);
		pcp_set_top(class, page);
	}
	pcp_leave(pcp);
	return room;
}

/* ---- the whole way, without watermark checks: pageset, refill, buddy ---- */

/* Takes a block from the zone, PG_ALLOCATED; NULL if it has none. */
struct page *rmqueue(struct zone *zone, unsigned int order, enum migratetype type,
		     unsigned int flags);
/* Gives a block back. Its state has been checked: PG_ALLOCATED or PG_CLAIMED of that order. */
void free_unref_page(struct zone *zone, struct page *page, unsigned int order);
/* After pcp_free_hit() has refused it. */
void free_unref_page_miss(struct zone *zone, struct page *page, unsigned int order);

/* Once, before the first zone. Where there is no membarrier, pagesets stay unused. */
void pcp_init(void);

/* ---- visitors ---- */

/* Everything on one CPU's pageset goes to the buddy; returns frames. Any thread. */
uint64_t pcp_drain(struct zone *zone, int cpu);
/* All pagesets of the zone. */
uint64_t pcp_drain_all(struct zone *zone);
/* The slot's thread is gone or going: drains its pagesets in every zone. */
void pcp_cpu_dead(int cpu);
/* Once in a while: pagesets that have not been used since the last call are drained, high of the
 * others moves towards its minimum. Returns frames given to the buddy. */
uint64_t pcp_decay(struct zone *zone);
/* Frames on all pagesets, approximately. */
uint64_t pcp_nr_frames(const struct zone *zone);

/* Takes the zone its pagesets away: it ends, and nobody uses it. */
void pcp_fini(struct zone *zone);
/* P1, P2. Quiescent callers only. */
void pcp_validate(struct zone *zone, struct validation *v);

#endif
