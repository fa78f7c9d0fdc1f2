/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page - struct page, one for each frame of an arena, and the arithmetic between names of a frame
 *
 * Purpose     A frame has three names: its pfn, its struct page, its address in the direct map.
 *             Its state is one word.
 * Invariants  F1  only the first frame of a free or granted block (the head) has a state other
 *                 than PG_TAIL; the block is 2^order frames, aligned to its size.
 *             F2  vmemmap of a pageblock is populated exactly while BLOCK_PRESENT is set in its
 *                 flags; both change only with the zone's grow mutex held.
 *             F3  PG_BUDDY: on free_area[order] of its zone. PG_PCP: on a pageset. PG_ALLOCATED:
 *                 granted; lru and owner belong to the one it was granted to.
 *                 PG_CLAIMED: a client has asked to free it, and nobody else can any more.
 *                 PG_RESERVED: memblock's, never freed.
 *             F4  session is 0 from before a free until after the next grant, so that nobody's
 *                 claim fits a block that is just being granted to somebody else; 0 in a granted
 *                 block means that it is the daemon's own. With PAGE_UNIT it is a unit of order 4
 *                 that clients of the pool have leased, else a page run of a pool handle.
 *             F5  the slab fields of a frame are zero unless it is part of a slab, where slab_cache
 *                 and slab_head are set in every frame and slab_word in the first one; or of a
 *                 large object, whose first frame has slab_word alone (obj/kmalloc.c).
 *             F6  in the head of a block that is granted to a client stands, before its owner
 *                 does, the id of the request that got it and the last id that had been read of
 *                 that session by then; a unit's second frame has the pool handle as `request`. So
 *                 an answer that was lost with a daemon can be given again, and a free be told
 *                 from one that was carried out before. A daemon's own blocks have F5 there.
 * Locking     PG_BUDDY: zone->lock. PG_PCP: the pageset. PG_ALLOCATED: the owner, who leaves the
 *             state by a free; several clients at once by compare-and-swap to PG_CLAIMED.
 * Not here    Free lists (buddy.c), page words of regions (map/pageword.h).
 */
#ifndef MMB_MM_PHYS_PAGE_H
#define MMB_MM_PHYS_PAGE_H

#include "base/list.h"
#include "mm/phys/meta.h"

#define PFN_NONE UINT32_MAX
#define PAGE_UNIT (1ull << 63) /* in page->session; F4 */

struct kmem_cache;

enum migratetype {
	MIGRATE_UNMOVABLE,
	MIGRATE_MOVABLE,
	MIGRATE_RECLAIMABLE,
	MIGRATE_PCPTYPES, /* the types that have lists in a pageset */
	MIGRATE_HIGHATOMIC = MIGRATE_PCPTYPES,
	MIGRATE_CMA,
	MIGRATE_ISOLATE, /* can't allocate from here */
	MIGRATE_TYPES
};

enum pg_state {
	PG_TAIL,
	PG_BUDDY,
	PG_PCP,
	PG_ALLOCATED,
	PG_CLAIMED,
	PG_RESERVED,
	NR_PG_STATES
};

/* s: see F3 and Locking   c: fixed while the pageblock is present */
struct page {
	struct list_head lru;     /* (s) free list, pageset, or the owner's own list */
	_Atomic uint32_t state;   /* (s) pg_word() */
	uint32_t         zone_id; /* (c) */
	_Atomic uint64_t session; /* (s) F4 */
	uint32_t         pool;    /* (s) */
	_Atomic uint32_t refcount; /* (s) the owner's */
	struct kmem_cache *_Atomic slab_cache; /* (s) F5 */
	union {
		struct {
			_Atomic uint64_t slab_word; /* (s) F5; obj/slub.h says what is in it */
			uint32_t slab_head; /* (s) F5: pfn of the slab's first frame */
			uint32_t slab_node; /* (s) F5: index of the node whose lists it is on */
		};
		struct page_grant {
			uint64_t request; /* (s) F6 */
			uint64_t heard;   /* (s) F6 */
		} grant;
	};
};

static_assert(sizeof(struct page) == 64, "one cache line a frame: vmemmap is 1/64 of memory");

/* A state, an order and the migratetype asked for (or of the free list) in one word. */
static inline uint32_t pg_word(enum pg_state state, unsigned int order, enum migratetype type)
{
	return (uint32_t)state | order << 4 | (uint32_t)type << 8;
}

static inline uint32_t pg_load(const struct page *page)
{
	return atomic_load_explicit(&page->state, memory_order_relaxed);
}

/* Release: who sees the new state sees the owner field as it was set before. */
static inline void pg_store(struct page *page, uint32_t word)
{
	atomic_store_explicit(&page->state, word, memory_order_release);
}

static inline enum pg_state pg_word_state(uint32_t word)
{
	return (enum pg_state)(word & 0xf);
}

static inline unsigned int pg_word_order(uint32_t word)
{
	return word >> 4 & 0xf;
}

static inline enum migratetype pg_word_type(uint32_t word)
{
	return (enum migratetype)(word >> 8 & 0xf);
}

static inline enum pg_state pg_state(const struct page *page)
{
	return pg_word_state(pg_load(page));
}

static inline unsigned int pg_order(const struct page *page)
{
	return pg_word_order(pg_load(page));
}

/* Relaxed: a client's lie may look at a page that is being granted to somebody else. */
static inline uint64_t page_session(const struct page *page)
{
	return atomic_load_explicit(&page->session, memory_order_relaxed);
}

static inline void page_set_owner(struct page *page, uint64_t session, uint32_t pool)
{
	atomic_store_explicit(&page->session, session, memory_order_relaxed);
	page->pool = pool;
}

static inline void page_clear_owner(struct page *page)
{
	atomic_store_explicit(&page->session, 0, memory_order_relaxed);
}

static inline struct page *pfn_to_page(uint32_t pfn)
{
	return vmemmap + pfn;
}

static inline uint32_t page_to_pfn(const struct page *page)
{
	return (uint32_t)(page - vmemmap);
}

static inline void *pfn_to_virt(uint32_t pfn)
{
	return direct_map + ((uint64_t)pfn << PAGE_SHIFT);
}

static inline void *page_to_virt(const struct page *page)
{
	return pfn_to_virt(page_to_pfn(page));
}

/* The address must lie in the direct map. */
static inline uint32_t virt_to_pfn(const void *address)
{
	return (uint32_t)((uint64_t)((const char *)address - direct_map) >> PAGE_SHIFT);
}

static inline uint32_t pfn_to_block(uint32_t pfn)
{
	return pfn >> PAGEBLOCK_ORDER;
}

static inline uint32_t block_to_pfn(uint32_t block)
{
	return block << PAGEBLOCK_ORDER;
}

/* ---- flags of a pageblock: its migratetype and whether its frames exist ---- */

enum { BLOCK_TYPE_MASK = 0x7, BLOCK_PRESENT = 0x80 };

static inline uint8_t block_load(uint32_t block)
{
	return atomic_load_explicit(&block_flags[block], memory_order_acquire);
}

static inline bool block_is_present(uint32_t block)
{
	return block_load(block) & BLOCK_PRESENT;
}

static inline enum migratetype pfn_migratetype(uint32_t pfn)
{
	return (enum migratetype)(atomic_load_explicit(&block_flags[pfn_to_block(pfn)],
						       memory_order_relaxed) & BLOCK_TYPE_MASK);
}

const char *migratetype_name(enum migratetype type); /* "Unmovable", as pagetypeinfo has it */
const char *pg_state_name(enum pg_state state);

/* The head of the block a frame is part of, or NULL if nothing there is free or granted. The
 * frame's pageblock must be present. */
struct page *page_head(struct page *page);

#endif
