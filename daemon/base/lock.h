/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock - mutexes with a rank
 *
 * Purpose     One kind of lock for the daemon. In debug builds every acquisition is checked
 *             against the ranks the thread already holds, and a wrong order ends the daemon with
 *             the held chain.
 * Invariants  K1  a thread acquires locks of strictly growing rank, or of the same rank only
 *                 through mutex_lock_nested (address order).
 * Ranks       outermost first, as in the design's section 10.
 */
#ifndef MMB_BASE_LOCK_H
#define MMB_BASE_LOCK_H

#include <pthread.h>
#include <time.h>

enum lock_rank {
	RANK_SWAP_CHANGES = 1, /* swapon and swapoff, which read everything back */
	RANK_SESSIONS, /* the list of sessions */
	RANK_SESSION,
	RANK_POOLS,  /* the list of pools */
	RANK_ARENA,  /* a pool's regions and the making of its arena */
	RANK_LEASES, /* a pool's units, members and caches */
	RANK_POOL,   /* the table of zones */
	RANK_EVENTS, /* the reading of a session's userfaultfd */
	RANK_CHANGE, /* what changes a region as a whole: clones, drops, locks on ranges */
	RANK_FAMILY, /* the regions cloned from each other */
	RANK_REGION,
	RANK_MAP,    /* a session's address map */
	RANK_SYNC,   /* who waits for installations in clients to end */
	RANK_TABLE,  /* look-up tables that allocate */
	RANK_CONNECTION, /* what a client has not read yet */
	RANK_UNREAD, /* descriptors that the clients of a user have not read yet */
	RANK_SWAP_AREAS, /* which swap areas there are */
	RANK_SWAP,   /* an area's slots */
	RANK_CACHES, /* the list of object caches */
	RANK_SLAB_VISIT, /* who flushes the CPU slabs of a cache */
	RANK_SLAB,  /* a node's lists of slabs */
	RANK_PCP,   /* slow path of one pageset */
	RANK_ZONE,
	RANK_STOCK, /* a node's stock, sections and pfn ranges */
	RANK_LEAF,
	NR_LOCK_RANKS
};

struct mutex {
	pthread_mutex_t lock;
#ifdef MMB_DEBUG
	enum lock_rank  rank; /* fixed after init */
	const char     *name;
#endif
};

void mutex_init(struct mutex *m, enum lock_rank rank, const char *name);
void mutex_fini(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_lock_nested(struct mutex *m);
/* For locks that are held for as long as a request takes: to wait for them is no hang. */
void mutex_lock_long(struct mutex *m);
void mutex_lock_long_nested(struct mutex *m);
/* 1: acquired. Never checked for order, since it can't wait. */
int mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);
/* Its times are CLOCK_MONOTONIC's. */
void condition_init(pthread_cond_t *condition);
/* Waits on a condition with m held; m must be the innermost lock held. */
void mutex_wait(struct mutex *m, pthread_cond_t *condition);
/* The same until a time of the condition's clock; 0, or -ETIMEDOUT. */
int mutex_timedwait(struct mutex *m, pthread_cond_t *condition, const struct timespec *until);
/* Debug builds: ends the daemon unless the calling thread holds m. */
void mutex_assert_held(const struct mutex *m);

#endif
