/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc - the gate: the only allocation of frames that may wait
 *
 * Purpose     alloc_pages() walks a pool's zones in order of distance, checks watermarks, and when
 *             that fails does what the flags allow: wake the background thread, grow a zone, drain
 *             pagesets, retry. free_pages() is for the daemon's own frees, claims and
 *             free_claimed_page() for what clients ask.
 * Invariants  L1  the hook "I am low" and everything that may wait run with no lock held.
 *             L2  NOWAIT and ATOMIC never grow a zone, never wait, never make a system call.
 *             L3  a frame is granted once: PG_ALLOCATED is left only by a checked free.
 * Crash       a block that has no owner is free, however far it had come (mm/phys/zone_resume.c).
 * Locking     none of its own.
 * Not here    Which zones a pool has, limits of pools and sessions (client).
 */
#ifndef MMB_MM_BALANCE_ALLOC_H
#define MMB_MM_BALANCE_ALLOC_H

#include "base/inject.h"
#include "mm/phys/gfp.h"
#include "mm/phys/pcp.h"
#include "mm/phys/zone_grow.h"

/* A pool's arena zones by node; NULL: none there. */
struct pool_zones {
	struct zone *normal[MAX_NUMNODES];
};

enum alloc_failure_kind {
	ALLOC_FAILED_NOT,
	ALLOC_FAILED_REQUEST,   /* contradicting flags, or an order above the largest */
	ALLOC_FAILED_NODES,     /* the policy leaves no node */
	ALLOC_FAILED_WATERMARK, /* what is free is kept for others, and the flags forbid waiting */
	ALLOC_FAILED_FRAGMENTED, /* enough is free, but no block of that order */
	ALLOC_FAILED_FULL,      /* the arena's address range is used up */
	ALLOC_FAILED_POOL,      /* the pool's limit */
	ALLOC_FAILED_COMMIT,    /* the stock's commit limit */
	ALLOC_FAILED_META,      /* no memory for struct pages */
	ALLOC_FAILED_HOST,      /* the host does not give the pages */
	ALLOC_FAILED_INJECTED,
	NR_ALLOC_FAILURES
};

/* Why, with the figures of the zone that it holds for at that moment (frames). META: what is
 * committable where struct pages are charged. */
struct alloc_failure {
	enum alloc_failure_kind kind;
	uint32_t                order, gfp;
	int                     node, commit_node;
	uint64_t                nr_free, min, managed, commit_left;
	bool                    huge; /* the arena is made of the huge-page reserve */
};

struct alloc_request {
	const struct pool_zones *zones;
	int                      node;    /* preferred; 0 to nr_nodes - 1 */
	uint64_t                 nodes;   /* policy mask, bit n: node n; 0: all */
	uint32_t                 gfp;     /* GFP_* */
	uint32_t                 order;
	uint64_t                 session; /* owner, for page->session and page->pool */
	uint32_t                 pool;
	uint64_t                 deadline_ns; /* os->now_ns(): NOFAIL waits until then */
	bool                     at_once; /* what is free above the mark, or -EAGAIN */
	bool                     to_min;  /* a zone grows when it is at its min mark, not at low */
	bool (*others_wait)(void); /* true: for the caller, who leaves with -EAGAIN; may be NULL */
	struct alloc_failure    *failure;     /* filled on failure; may be NULL */
	struct pcp_want          hit;         /* alloc_prepare() */
};

/* Finds out once what the nearest pageset can answer completely: nothing to zero, no contradiction,
 * no failure to be injected.
 * Optional, for who takes many blocks one by one; after any change above it is done anew. */
static inline void alloc_prepare(struct alloc_request *request)
{
	enum migratetype type = request->gfp & GFP_MOVABLE ? MIGRATE_MOVABLE : MIGRATE_UNMOVABLE;
	const uint32_t   plain = GFP_MOVABLE | GFP_NOWAIT | GFP_NORETRY | GFP_THISNODE;
	uint64_t         nodes = request->nodes ? request->nodes : UINT64_MAX;
	struct zone     *zone = NULL;

	if (!(request->gfp & ~plain) && (uint32_t)request->node < MAX_NUMNODES &&
	    nodes & 1ull << request->node && !atomic_load(&inject_armed))
		zone = request->zones->normal[request->node];
	request->hit = pcp_want_of(zone, request->order, type);
}

/* What alloc_pages() does when the nearest pageset has no such block, or it was not prepared. */
int alloc_pages_miss(const struct alloc_request *request, struct page **out);

/* One block of 2^order frames. 0; -EINVAL for a request that can never be right; -ENOMEM. */
pcp_hot int alloc_pages(const struct alloc_request *request, struct page **out)
{
	struct page *page = pcp_alloc_hit(&request->hit);

	if (unlikely(!page))
		return alloc_pages_miss(request, out);
	page_set_owner(page, request->session, request->pool);
	*out = page;
	return 0;
}

/* Up to nr blocks; returns how many, at least 1, or a negative errno if none. */
int alloc_pages_bulk(const struct alloc_request *request, unsigned int nr, struct page **pages);
/* The daemon's own block. CHECKs that it was granted, and with that order. */
pcp_hot void free_pages(struct page *page, unsigned int order)
{
	uint32_t word = pg_load(page);

	CHECK((word & 0xff) == pg_word(PG_ALLOCATED, order, (enum migratetype)0));
	page_clear_owner(page);
	if (unlikely(!pcp_free_hit(page, order, word)))
		free_unref_page_miss(page_zone(page), page, order);
}

/* ---- frees that clients ask for: nothing in them is true until checked. Runs that belong to a
 * session are freed only this way, at its end too, so that a run has one winner. ---- */

enum free_fault {
	FREE_OK,
	FREE_FOREIGN,     /* no frame of this pool's arena, or of another session */
	FREE_ABSENT,      /* its pageblock was never granted or has been given back */
	FREE_DOUBLE,      /* free already */
	FREE_INSIDE,      /* inside a run, not its start */
	FREE_WRONG_ORDER,
	NR_FREE_FAULTS
};

struct free_request {
	const struct pool_zones *zones;
	uint64_t                 pfn; /* any number */
	uint32_t                 order;
	uint64_t                 session; /* must own the run; never 0 */
	uint64_t                 before;  /* granted before this request was read; 0: any time */
	uint64_t                 handle;  /* a unit: leased by this handle; 0: by any */
};

/* Takes a granted run away from its owner, so that nobody else can free it; *out is its head.
 * -EINVAL with the fault. O(1). The claim ends with free_claimed_page() or page_unclaim(). */
int page_claim(const struct free_request *request, struct page **out, enum free_fault *fault);
void page_unclaim(struct page *page);
void free_claimed_page(struct page *page);
/* Claim and free. */
int free_pages_checked(const struct free_request *request, enum free_fault *fault);
const char *free_fault_text(enum free_fault fault);

/* A sentence: what failed, the figures, what helps. */
void alloc_failure_format(const struct alloc_failure *failure, char *out, size_t bytes);

/* One of two upward edges: called with no lock held when a zone falls below its low mark. */
typedef void (*balance_low_fn)(struct zone *zone);
void balance_set_low_hook(balance_low_fn hook);

/* The other one: evicts pages of regions, so that so many frames of that stock can be taken; 0:
 * some are missing, and none goes. Called with no lock held, for pools of clients only, by who may
 * wait. */
typedef uint64_t (*balance_reclaim_fn)(int node, enum stock_kind kind, uint64_t frames);
void balance_set_reclaim_hook(balance_reclaim_fn hook);

/* Since start, all pools. */
struct alloc_events {
	uint64_t nr_slow, nr_stall, nr_failed; /* slow path entered, waited, gave up */
	uint64_t nr_holes; /* blocks whose frames a client had punched, found when zeroing */
};
void alloc_events(struct alloc_events *out);

#endif
