/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone - the frames of one pool on one node
 *
 * Purpose     ZONE_NORMAL manages an arena section frame by frame: free areas (buddy.h), pagesets
 *             (pcp.h), watermarks, growth and shrinking by pageblocks (zone_grow.h).
 *             ZONE_MOVABLE only counts the frames of regions, whose homes are fixed.
 * Invariants  Z1  present = frames of pageblocks with BLOCK_PRESENT in [start_pfn, end_pfn).
 *             Z2  managed = present - frames that memblock kept.
 *             Z3  managed = free in the buddy + on pagesets + granted.
 *             Z4  each present frame is charged to the pool and committed and taken from the
 *                 stock, and so is its part of vmemmap.
 *             Z5  pageblocks become present or absent only with `grow` held.
 * Locking     lock (RANK_ZONE): free areas, page states PG_BUDDY, block migratetypes, counters.
 *             grow (RANK_PCP): Z5, so that the zone lock is not held over fallocate.
 *             visit (RANK_PCP): among those that drain pagesets. Never both.
 * Not here    The choice between zones (balance/alloc.h).
 */
#ifndef MMB_MM_PHYS_ZONE_H
#define MMB_MM_PHYS_ZONE_H

#include "base/cpu.h"
#include "base/lock.h"
#include "mm/phys/section.h"

enum zone_type { ZONE_NORMAL, ZONE_MOVABLE, NR_ZONE_TYPES };
enum zone_watermark { WMARK_MIN, WMARK_LOW, WMARK_HIGH, NR_WMARK };
enum { NR_ZONES_MAX = 65536 };

struct pcp;

/* Who pays beside the stock: the pool's limit. charge may refuse with a negative errno. Called with
 * zone->grow held: counters, not locks. */
struct zone_charge {
	int (*charge)(void *arg, uint64_t frames);
	void (*uncharge)(void *arg, uint64_t frames);
	/* NULL, or: charge() has refused, and the caller may wait. Returns how many frames of what
	 * the payer has were evicted. */
	uint64_t (*reclaim)(void *arg, uint64_t frames);
};

/* All under zone->lock; the counters are atomic so that watermark checks may look at any time. */
struct free_area {
	struct list_head free_list[MIGRATE_TYPES];
	_Atomic uint64_t nr_free[MIGRATE_TYPES]; /* blocks of this order */
};

/* Events, in frames unless said otherwise; they never go back. z: zone->lock */
struct zone_events {
	uint64_t pgalloc, pgfree;       /* (z) past the pagesets; theirs are added in a snapshot */
	uint64_t nr_fallback, nr_steal; /* (z) allocations from another type; blocks taken over */
	uint64_t nr_grown, nr_shrunk;   /* (z) pageblocks */
	uint64_t nr_split, nr_merge;    /* (z) steps */
	uint64_t nr_direct;             /* (z) blocks granted past the pagesets */
};

/* c: fixed after zone_new   z: lock   g: grow   a: atomic, written under lock */
struct zone {
	struct free_area  free_area[NR_ORDERS]; /* (z) */
	struct mutex      lock;
	_Atomic uint64_t  nr_free;          /* (a) frames in free_area */
	_Atomic uint64_t  nr_free_cma;      /* (a) of these, in CMA pageblocks */
	_Atomic uint64_t  nr_highatomic;    /* (a) frames in HIGHATOMIC pageblocks */
	_Atomic uint64_t  watermark[NR_WMARK]; /* (a) frames, without boost */
	_Atomic uint64_t  boost;            /* (a) added to low and high after a fallback */
	uint32_t          pack_below;       /* (z) freed frames below it go to the front of lists */
	_Atomic(struct pcp *) pcp[NR_CPU_SLOTS + 1]; /* of slot n at n + 1; made at its first use */

	struct zone_events events;          /* (z) */
	_Atomic uint64_t  present, managed; /* (a) frames */
	uint64_t          nr_blocks[MIGRATE_TYPES]; /* (z) present pageblocks by type */
	_Atomic uint64_t  nr_special;       /* (a) of these, of types that pagesets don't have */
	_Atomic uint64_t  numa_miss;        /* (a) blocks granted here that were wanted elsewhere */
	_Atomic uint64_t  numa_foreign;     /* (a) blocks wanted here, granted elsewhere */
	uint32_t          nr_empty_seen;    /* balance_tick only: empty pageblocks a tick ago */

	struct mutex      visit;            /* who drains pagesets; see pcp.h */
	struct mutex      grow;
	uint32_t          absent_hint;      /* (g) no absent block below this one */
	uint32_t          top_block;        /* (g) no present block from this one on */

	enum zone_type    type;             /* (c) */
	int               node;             /* (c) */
	uint32_t          id;               /* (c) index in the table of zones */
	uint32_t          pool;             /* (c) */
	uint32_t          start_pfn, end_pfn; /* (c) of the section; 0, 0 in ZONE_MOVABLE */
	struct section   *section;          /* (c) NULL in ZONE_MOVABLE */
	bool              huge;             /* (c) base memory is populated as huge pages */
	const struct zone_charge *charge;   /* (c) NULL: nobody */
	void             *charge_arg;       /* (c) */
	void             *owner;            /* (c) the pool */
	uint32_t          refs;             /* table mutex; walkers, zone_free() waits for them */
};

struct zone_request {
	enum zone_type type;
	int            node;
	uint32_t       pool;
	struct section *section; /* ARENA or META; its owner must be set by the caller */
	bool           huge;
	bool           has_block; /* zone_block_ahead() has made the section's first pageblock */
	const struct zone_charge *charge;
	void          *charge_arg;
	void          *owner;
};

int zone_new(const struct zone_request *request, struct zone **out);
/* Everything in it goes back, granted or not; nobody may use the zone any more. The section is the
 * caller's to remove. */
void zone_free(struct zone *zone);

extern struct zone *zone_table[NR_ZONES_MAX]; /* c: an entry is fixed while its zone lives */

static inline struct zone *page_zone(const struct page *page)
{
	return zone_table[page->zone_id];
}

static inline bool zone_has_pfn(const struct zone *zone, uint64_t pfn)
{
	return pfn >= zone->start_pfn && pfn < zone->end_pfn;
}

/* Walks all zones without a lock: NULL starts, NULL ends. The zone returned can't be freed before
 * the next call (or zone_walk_end, to leave early). */
struct zone *zone_walk_next(struct zone *previous);
void zone_walk_end(struct zone *zone);

/* ---- ZONE_MOVABLE ---- */

/* delta frames became resident (or less, if negative). */
void zone_count_present(struct zone *zone, int64_t delta);

/* ---- boot: memory that memblock managed becomes pool 0's ---- */

/* Pageblocks [pfn, pfn + nr) are populated already: their struct pages are made, all reserved. */
int zone_boot_add(struct zone *zone, uint32_t pfn, uint32_t nr);
/* Frames that memblock doesn't need: into the buddy. memblock_free_pages_fn calls this. */
void zone_boot_free(struct zone *zone, uint32_t pfn, uint32_t nr);

/* ---- watermarks ---- */

enum alloc_flags {
	ALLOC_WMARK_MIN = WMARK_MIN, /* the low bits are the mark */
	ALLOC_WMARK_LOW = WMARK_LOW,
	ALLOC_WMARK_HIGH = WMARK_HIGH,
	ALLOC_WMARK_MASK = 0x3,
	ALLOC_NO_WATERMARKS = 0x4, /* metadata needed to give memory back */
	ALLOC_MIN_RESERVE = 0x20,  /* ATOMIC: down to half of min */
	ALLOC_NON_BLOCK = 0x10,    /* and a quarter of the rest */
	ALLOC_HIGHATOMIC = 0x200,  /* may use and make HIGHATOMIC pageblocks */
	ALLOC_CMA = 0x80,          /* may use CMA pageblocks */
};

static inline uint64_t zone_free_pages_nr(const struct zone *zone)
{
	return atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
}

/* With the boost, but for min: a boost asks for growth and never makes an allocation fail. */
static inline uint64_t zone_wmark(const struct zone *zone, enum zone_watermark mark)
{
	uint64_t boost = mark == WMARK_MIN ? 0 : atomic_load_explicit(&zone->boost,
								      memory_order_relaxed);

	return atomic_load_explicit(&zone->watermark[mark], memory_order_relaxed) + boost;
}

/* True if a block of this order can be taken without going below the mark in flags. */
bool zone_watermark_ok(const struct zone *zone, unsigned int order, unsigned int flags);
/* Watermarks follow managed: min = managed / 256 up to 64 MiB, none in arenas below 64 MiB, where
 * a reserve would cost more than it helps; low and high are min + 1/4 and 1/2, or, where that is
 * more, one and two scale factors. */
void zone_set_watermarks_locked(struct zone *zone);
enum { WATERMARK_SCALE_DEFAULT = 10 };
/* In 1/10000 of managed, as vm.watermark_scale_factor; of all zones, at once. */
void zones_set_watermark_scale(unsigned int factor);
/* Raises the marks for a while because types were mixed; see vm.watermark_boost_factor. */
void zone_boost_watermark_locked(struct zone *zone);
void zone_end_boost(struct zone *zone);

/* ---- what operators read ---- */

struct zone_snapshot {
	int      node;
	uint32_t pool;
	enum zone_type type;
	uint64_t start_pfn, spanned, present, managed;
	uint64_t nr_free, nr_free_cma, nr_highatomic, nr_pcp; /* frames */
	uint64_t min, low, high, boost; /* min to high without boost */
	uint64_t free[MIGRATE_TYPES][NR_ORDERS]; /* blocks */
	uint64_t pageblocks[MIGRATE_TYPES];
	struct zone_events events; /* pgalloc and pgfree with the pagesets' parts */
	uint64_t numa_hit, numa_miss, numa_foreign; /* as in numastat, in blocks */
	uint32_t nr_pagesets;
	struct {
		int      cpu;
		uint32_t count, high, batch, high_min, high_max; /* frames */
	} pagesets[NR_CPU_SLOTS];
};
void zone_snapshot(struct zone *zone, struct zone_snapshot *out);

/* Of all zones of a node that have ended, so that sums don't go back when a pool goes. */
struct zone_ended {
	uint64_t pgalloc, pgfree;                   /* frames */
	uint64_t numa_hit, numa_miss, numa_foreign; /* blocks */
};
void zone_ended_read(int node, struct zone_ended *out);

/* Z1 to Z4, with buddy_validate and pcp_validate. Quiescent callers only. */
void zone_validate(struct zone *zone, struct validation *v);

#endif
