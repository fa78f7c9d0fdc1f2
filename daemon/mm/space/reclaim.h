/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reclaim - makes free frames out of old pages
 *
 * Purpose     kswapd keeps each stock of its node between two marks while more is promised than
 *             there is, its sister keeps pools below their limit, one thread a node each; who
 *             can't wait for them reclaims directly. Walks over the words of regions, each going on
 *             where the last walk ended, and ages what it passes.
 * Invariants  B1  nobody waits for a client: a page whose mappers can't be protected at once stays.
 *             B2  pools within their min are spared; within their low, unless nothing else is left.
 *             B3  no lock is held while evicting, and no thread of the control plane evicts but for
 *                 a verb that says so.
 * Locking     kswapd.lock (leaf) for what was asked for; walks take no lock for long.
 * Not here    How a page goes (evict.h), limits themselves (map/memcg.h).
 */
#ifndef MMB_SPACE_RECLAIM_H
#define MMB_SPACE_RECLAIM_H

#include "mm/space/region.h"

/* Events since start, with the kernel's names. */
struct reclaim_stats {
	_Atomic uint64_t pgscan_kswapd, pgscan_direct;   /* frames looked at */
	_Atomic uint64_t pgsteal_kswapd, pgsteal_direct; /* frames freed */
	_Atomic uint64_t pswpin, pswpout;                /* frames read and written */
	_Atomic uint64_t workingset_refault_anon, workingset_activate_anon; /* frames */
	_Atomic uint64_t pgactivate, pgdeactivate;       /* frames */
	_Atomic uint64_t pglazyfree;                     /* frames */
	_Atomic uint64_t allocstall;                     /* direct reclaims */
	_Atomic uint64_t pageoutrun;                     /* rounds of kswapd */
};
extern struct reclaim_stats reclaim_stats;

static inline void reclaim_count(_Atomic uint64_t *counter, uint64_t nr)
{
	atomic_fetch_add_explicit(counter, nr, memory_order_relaxed);
}

struct reclaim_config {
	/* Asks the client to drop entries: what it then touches shows by a fault. False: it has as
	 * many requests as it may have. May be called with a region's lock held; never waits. NULL:
	 * nobody is asked. */
	bool (*drop_entries)(void *owner, const struct mapped_range *ranges, uint32_t nr);
};

/* Once, before the first region. */
void reclaim_init(const struct reclaim_config *config);
/* The client of this mm is to drop entries; false if it can't be told now. */
bool reclaim_ask(struct mm *mm, const struct mapped_range *ranges, uint32_t nr);
void reclaim_fini(void);
int kswapd_start(void);
void kswapd_stop(void);
/* Frames of the node are short, and when kswapd looked last it found none to free. */
bool kswapd_gave_up(int node);
/* Looks whether the node's stock of the region's kind has few free frames left, or the pool is near
 * its limit, and then wakes the node's thread for that. Cheap, and never waits. */
void reclaim_poke(struct region *region, int node);
/* Pages of the node would soon have to be evicted for more of the region's. */
bool reclaim_is_short(const struct region *region, int node);

/* Frees about so many frames of the pool's regions, or as many as can be; returns how many. */
uint64_t reclaim_memcg(struct memcg *memcg, uint64_t frames);
/* The pool is to have so many frames below max; waits a tenth of a second for others who evict from
 * it. 0: nothing could go. */
uint64_t reclaim_margin(struct memcg *memcg, uint64_t frames);
/* Charging so many frames would succeed now: neither its pool nor the stocks that it was promised
 * memory of are short. */
bool region_has_room(const struct region *region, uint64_t frames);
/* A page of the region needs frames, which charging refused. True: try again. */
bool reclaim_for(struct region *region);
/* Evicts what can be evicted of the range, whatever its age; frames freed. See pageout.c. */
uint64_t reclaim_range(struct region *region, struct page_range range);
/* Its second thread. */
int pageout_start(void);
void pageout_stop(void);
/* The range's pages are the first to go. */
void reclaim_make_cold(struct region *region, struct page_range range);

#endif
