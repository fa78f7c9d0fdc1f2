/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region - a demand-paged object: one memfd, one page table of words, linear homes
 *
 * Purpose     Creation with admission, residency (present, drop, lock, poison), the list of
 *             windows through which sessions see it, statistics, and its end.
 * Invariants  R1  for each node: committed[n] = what region_new charged; the pages whose word says
 *                 node n take present frames of that node's stock, and never more than that.
 *             R2  nr_resident = number of words in state PRESENT, plus those being populated;
 *                 nr_locked = with LOCKED set.
 *             R3  the memfd has a page exactly where the word is PRESENT, or BUSY for a while;
 *                 anything else was done by a client and is found by the audit.
 *             R5  nr_swapped, nr_same_filled = number of words in these states; the memcg is
 *                 charged for every slot that a word names, whatever its state, and for those of
 *                 nr_writing pages, which are being written and not named yet.
 *             R4  the memcg is charged for the frames of nr_resident and of nr_locked.
 *             R6  nr_inherit = number of words in state INHERIT; nr_shared = with SHARED set.
 * Crash       a region is its section and its words: one whose owner has no record (client) is
 *             given back, of others the words tell (settle.c).
 * Locking     words by compare-and-swap (BUSY); region->lock for the window list; counters atomic;
 *             a leaf mutex for the trees of regions.
 * Not here    Names, permission and pools (client); which address a fault means (mm.h).
 */
#ifndef MMB_SPACE_REGION_H
#define MMB_SPACE_REGION_H

#include <stdatomic.h>

#include "base/check.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/rbtree.h"
#include "base/workqueue.h"
#include "mm/map/family.h"
#include "mm/map/lru.h"
#include "mm/map/memcg.h"
#include "mm/map/pageword.h"
#include "mm/phys/section.h"
#include "mm/phys/stock.h"
#include "mm/phys/zone.h"

struct mm;

/* The node policy of a region, numbered as in the public interface. */
enum region_policy { POLICY_LOCAL, POLICY_PREFERRED, POLICY_BIND, POLICY_INTERLEAVE };
enum { SHOWING_MAX = 8 }; /* calls about inherited pages that are told apart */

/* a: atomic; see mapping.h */
struct map_turns {
	_Atomic uint32_t turn;  /* (a) those that began since it changed last are of this one */
	_Atomic uint32_t nr[2]; /* (a) under way, of each turn */
};

struct region_request {
	const char *name; /* of the memfd; "" for unnamed regions */
	uint64_t nr_pages;
	unsigned int page_shift; /* PAGE_SHIFT or PAGEBLOCK_SHIFT */
	enum region_policy policy;
	uint64_t node_mask; /* 0: all nodes */
	int home_node;      /* of the creator, for LOCAL */
	void (*released)(void *owner);
	void (*keeps)(void *owner, uint64_t bytes);
	void (*adopted)(void *owner, void *parent);
	void *owner;
	uint64_t owner_id;     /* for records */
	struct zone **movable; /* by node: whose frames they count as; may be NULL */
	struct memcg *memcg;   /* whose charge its frames are; NULL: the root's */
	bool overcommit;       /* pages are promised when they are touched */
};

/* a: atomic; see crowd.h */
enum { CROWD_PLACES = 256 };
struct crowd_marks {
	_Atomic uint16_t faults[CROWD_PLACES]; /* (a) of pages that were out, by place */
	_Atomic uint32_t nr_faults;            /* (a) D1 */
	_Atomic uint32_t nr_won, nr_lost;      /* (a) D3 */
	_Atomic uint32_t nr_declined;          /* (a) */
};

/* c: fixed after creation   l: lock   a: atomic, W: changed with a word's BUSY held */
struct region {
	uint64_t id;                              /* (c) the owner's, in records */
	struct section *section;                  /* (c) */
	_Atomic uint64_t *words;                  /* (c) one a page */
	uint64_t nr_pages;                        /* (c) */
	unsigned int page_shift;                  /* (c) */
	enum stock_kind kind;                     /* (c) */
	enum region_policy policy;                /* (c) */
	uint64_t node_mask;                       /* (c) */
	int home_node;                            /* (c) first choice, and LOCAL's */
	char name[NAME_MAX_BYTES + 1];            /* (c) for logs and fault records */
	_Atomic uint32_t refs;                    /* (a) windows, handles and work in progress */
	_Atomic bool huge;                        /* (a) populate whole pageblocks as huge pages */
	_Atomic uint64_t committed[MAX_NUMNODES]; /* (c) pages charged */
	_Atomic int64_t quota[MAX_NUMNODES];      /* (W) pages charged and not resident */
	_Atomic uint64_t nr_resident;             /* (W) R2 */
	_Atomic uint64_t nr_locked;               /* (W) R2 */
	_Atomic uint64_t locked_on[MAX_NUMNODES]; /* (W) the same by node; fixed in its stock */
	_Atomic uint64_t nr_swapped, nr_same_filled; /* (W) R5 */
	_Atomic uint64_t nr_writing;              /* (a) R5 */
	_Atomic uint64_t nr_refaults;             /* (a) pages that came back after eviction */
	struct crowd_marks crowd;                 /* crowd.h */
	_Atomic uint64_t hand;                    /* (a) blocks that reclaim has passed */
	_Atomic bool evicting;                    /* (a) by one thread at a time, and its helper */
	_Atomic bool may_be_unwanted;             /* (a) false: no page is LAZYFREE */
	_Atomic uint64_t nr_moves;                /* (a) windows that clients moved elsewhere */
	uint64_t family;                          /* (c) in the identity of slots */
	_Atomic uint64_t nr_poisoned;             /* (a) ever; and faults given up */
	_Atomic(const char *) poison_cause;       /* (a) of the last one */
	_Atomic uint64_t nr_faults, nr_write_faults; /* (a) */
	struct map_turns mapping;                        /* (a) installations */
	_Atomic uint64_t showing[SHOWING_MAX];       /* (a) see mapping.h; 0: free */
	_Atomic uint32_t nr_showing_more;            /* (a) for which none was free */
	struct mutex sync_lock;        /* one region_map_sync() at a time */
	_Atomic(struct kin *) kin;                   /* (a) set once; NULL: never cloned */
	_Atomic uint64_t nr_inherit, nr_shared;      /* (a) R6 */
	struct mutex change_lock;      /* clones, drops and locks of pages exclude each other */
	_Atomic bool frozen;           /* (a) nothing of it becomes writable; faults wait */
	_Atomic(struct touched *) touched; /* (a) NULL: nobody asks; see mapping.h */
	struct mutex lock;
	struct list_head windows;      /* (l) struct window.region_link */
	uint32_t nr_windows;           /* (l) */
	struct zone **movable;         /* (c) by node; NULL: nobody counts */
	struct memcg *memcg;           /* (c) R4 */
	bool overcommit;               /* (c) nothing is charged to commit before it is needed */
	void (*released)(void *owner); /* (c) the memory is back; may be NULL */
	/* Closed, it needs no more than that; it has another parent, with that owner or none:
	 * family->lock is held. May be NULL. */
	void (*keeps)(void *owner, uint64_t bytes);   /* (c) */
	void (*adopted)(void *owner, void *parent);   /* (c) */
	void *owner;                   /* (c) */
	struct work free_work;         /* after the last put */
	struct work settle_work;       /* lineage.h */
	struct work break_work;        /* ahead.h */
	_Atomic bool breaking;         /* (a) it is queued or runs */
	uint64_t break_from;           /* the job's */
	_Atomic uint64_t break_until;  /* (a) moves on with whom it is done for */
	_Atomic bool shows_huge;       /* (a) of another's: takeout_prepare() */
	_Atomic bool closed;           /* (a) kin->closed, for who doesn't hold the lock */
	_Atomic uint64_t nr_diverged;  /* (a) pages since it was settled, about */
	uint64_t diverged_before;      /* lineage_tick()'s: how many they were a tick ago */
	unsigned int diverged_ticks;   /* lineage_tick()'s: how long it has some */
	/* In the trees of all and of its memcg's, until the last put. */
	struct rb_node all_node, memcg_node; /* the trees' lock */
	uint64_t serial;               /* (c) order of creation */
};

/* Why a region was refused: filled on failure. */
struct region_refusal {
	enum { REFUSED_COMMIT, REFUSED_METADATA, REFUSED_MEMFD, REFUSED_TABLE } what;
	uint64_t wanted, available; /* bytes of the stock, for COMMIT */
	enum stock_kind kind;       /* which stock, for COMMIT */
};

/* Once. Frees the regions that nobody holds any more on a work thread of its own. */
int regions_init(void);
void regions_fini(void);
/* Waits until what has been given up is really free. */
void regions_flush(void);
/* Memory of closed regions is on its way back. */
bool regions_ending(void);

/* Charges the whole length, makes the memfd and the page table. One reference. */
int region_new(const struct region_request *request, struct region **out,
	       struct region_refusal *why);
/* A region of the predecessor's, whose section has no owner yet, with what was charged for it. Its
 * words are as they were; what was under way is undone or finished as far as they tell. */
struct region_resume_request {
	struct region_request region;
	struct section *section;
	const uint64_t *committed; /* pages, by node */
};
int region_resume(const struct region_resume_request *request, struct region **out);
void region_get(struct region *region);
/* After the last put a work thread gives the memory back. */
void region_put(struct region *region);

static inline uint64_t region_page_bytes(const struct region *region)
{
	return 1ull << region->page_shift;
}

static inline uint64_t region_frames_per_page(const struct region *region)
{
	return 1ull << (region->page_shift - PAGE_SHIFT);
}

/* Its page table's. */
static inline uint64_t region_table_bytes(const struct region *region)
{
	return round_up(region->nr_pages, PAGEBLOCK_PAGES) * sizeof(uint64_t);
}

static inline _Atomic uint64_t *region_word(const struct region *region, uint64_t page)
{
	return &region->words[page];
}

/* The first page from this one on that may be something, or nr_pages: those before it are
 * PAGE_NONE, but for what comes to be there meanwhile. */
uint64_t region_next_used(const struct region *region, uint64_t page);

static inline struct lruvec *region_lru(const struct region *region, int node)
{
	return &region->memcg->lruvec[node];
}

/* Walks from the oldest to the youngest, over the regions of one memcg or (NULL) all: the oldest of
 * that serial or a higher one, with a reference, and the next, which takes that of the previous one
 * over. NULL: none. A step costs the same however many there are. */
struct region *region_seek(struct memcg *memcg, uint64_t serial);
struct region *region_next(struct memcg *memcg, struct region *previous);
/* Regions that walks have looked at since start, also on their way to where they begin. */
uint64_t region_walk_steps(void);
/* Where its frames of a node come from. */
struct stock_place region_place(const struct region *region, int node);
/* Whether its policy lets its pages lie there. */
bool region_may_use(const struct region *region, int node);
/* One that overcommits: charges up to so many pages of the node now, false if there are none to be
 * had; and gives back what it doesn't use any more. */
bool region_promise(struct region *region, int node, uint64_t pages);
void region_return_promises(struct region *region);
/* The same after a restart, of what is there: nobody asks whether it fits. -ENOMEM: the node has no
 * such stock. */
int region_promise_again(struct region *region, int node, uint64_t pages);
/* So many present pages of the node have gone for good, or to the disk: their places, and where the
 * region overcommits their promises, are others', but for those of pages that are out. */
void region_give_back(struct region *region, int node, uint64_t nr);
/* Of a closed region: keeps what its words need, and returns how many pages that are. */
uint64_t region_return_commit(struct region *region);
/* On the thread that frees regions: lineage_settle(). */
void region_settle_later(struct region *region);

/* Its place among the regions cloned from each other; NULL: it has none. */
static inline struct kin *region_kin(const struct region *region)
{
	return atomic_load_explicit(&region->kin, memory_order_acquire);
}

/* Calls fn for every region, with a reference and no lock held. */
void region_for_each(void (*fn)(struct region *region, void *arg), void *arg);
/* True if 2 MiB pages come from hugetlb: mapping and punching only in whole ones. */
bool region_is_hugetlb(const struct region *region);

/* ---- residency (residency.c) ---- */

struct page_range {
	uint64_t first, nr; /* pages of the region */
};

/* Makes pages of the range present as far as they are NONE, in one go where they adjoin, and
 * stops at the first page that is busy, poisoned, or can't be produced. `want` is the page that
 * must be produced. *run gets the range around want that is present now and was idle.
 * 0, -EBUSY (want is busy: the faulter was noted as waiter), -EIO (want is poisoned), or the
 * errno of populating, -ENODATA (want is swapped: see swapin.h),
 * -ESTALE (want is its ancestor's: see cow.h). */
int region_make_present(struct region *region, struct page_range range, uint64_t want,
			struct page_range *run);
/* Copies into homes of pages whose BUSY the caller holds, out of another region's; each is then
 * PRESENT, with BUSY still held and `mark` set. *copied from the start of the run; those beyond
 * stay as they were, and the errno says why. */
int region_copy_in(struct region *region, struct page_range run, struct region *from, uint64_t mark,
		   uint64_t *copied);
/* Every page of the range, waiting for busy ones; 0 or the first error. */
int region_populate(struct region *region, struct page_range range);
/* With change_lock held. */
int region_populate_locked(struct region *region, struct page_range range);
/* The range reads zero afterwards, for everybody. Locked pages are left: -EBUSY if any was. */
int region_drop(struct region *region, struct page_range range);
/* With change_lock held. */
int region_drop_locked(struct region *region, struct page_range range);
/* All of it, or on failure none that wasn't locked before. */
int region_lock_pages(struct region *region, struct page_range range);
void region_unlock_pages(struct region *region, struct page_range range);
/* Of a range that was locked for somebody who gets no more of it: what nobody else has locked. */
void region_undo_lock(struct region *region, struct page_range range);
/* The page is lost: state POISONED, frame given back. True if this call did it. */
bool region_poison(struct region *region, uint64_t page, const char *cause);
/* The same for a page whose BUSY the caller holds over `old`. */
void region_poison_busy(struct region *region, uint64_t page, uint64_t old, const char *cause);
/* Calls fn, with the region's lock held, for each part of a client's memory that shows pages of the
 * range, but for windows of which nobody has asked for a page yet. Whoever must unmap, protect or
 * wake a page finds its mappers here and nowhere else. */
void region_for_each_mapping(struct region *region, struct page_range range,
			     void (*fn)(struct mm *mm, uint64_t address, uint64_t length,
					void *arg),
			     void *arg);
/* The same for each window's parts of at most MAPPED_RUNS_MAX runs at once. */
struct mapped_range {
	uint64_t address, length;
};
enum { MAPPED_RUNS_MAX = 128 };
void region_for_each_mapped_run(struct region *region, const struct page_range *runs, uint32_t nr,
				void (*fn)(struct mm *mm, const struct mapped_range *ranges,
					   uint32_t nr, void *arg),
				void *arg);
/* As region_for_each_mapping(), also where a clone's window shows an ancestor's memory. */
void region_for_each_window(struct region *region, struct page_range range,
			    void (*fn)(struct mm *mm, uint64_t address, uint64_t length, void *arg),
			    void *arg);
/* Wakes whoever waits for pages of the range, in all windows. */
void region_wake(struct region *region, struct page_range range);

/* ---- settle.c ---- */

/* Settles every page that the predecessor left BUSY, and counts what is present. */
int region_resume_pages(struct region *region);
/* After the families: what is left of one that has ended is nobody's any more. */
void region_resume_alone(struct region *region);

/* ---- audit.c ---- */

/* Finds frames that a client conjured in holes of its memfd and punches them; returns frames
 * punched, or negative errno. */
int64_t region_audit(struct region *region);
void region_validate(struct region *region, struct validation *v);
/* Adds what its words say is charged to its memcg (R4). */
void region_count_charge(struct region *region, uint64_t counted[NR_MEMCG_KINDS]);
/* And what it has of its pool's promises: committed, and locked of that. */
void region_count_promises(const struct region *region, struct promise_share *counted);

#endif
