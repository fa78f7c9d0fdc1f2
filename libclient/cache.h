/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache - freed and prefetched page runs: one cache a thread and pool, and a depot a pool
 *
 * Purpose     A magazine of runs for each of the orders 0 to 3 and 9, owned by one thread: a hit
 *             costs no lock, no locked instruction and no message. The depot behind them holds
 *             what threads have too much of, and every other order.
 * Invariants  K1  A run in a magazine or the depot is RUN_CACHED in the pool's run map, and in no
 *                 other magazine.
 *             K2  Magazines are bounded by their capacity (512 KiB an order, 4 MiB for order 9),
 *                 the depot by DEPOT_BYTES.
 *             K3  A thread's cache is emptied by its thread alone, or by whoever closes the pool,
 *                 when no thread may use the pool any more. After mmb_close() other threads
 *                 may still ask, and find out that the pool is closed.
 * Locking     magazines: none, the owning thread. Lists and tables of caches: the process lock.
 *             Depot: its own lock.
 * Not here    Messages to the daemon (pages.c).
 */
#ifndef MMB_LIBCLIENT_CACHE_H
#define MMB_LIBCLIENT_CACHE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "mmbroker.h"

struct mmb_pool;

enum {
	MAGAZINE_KINDS = 5,
	MAGAZINE_RUNS = 128 + 64 + 32 + 16 + 2, /* the capacities of magazine_capacity[] */
	MAGAZINE_BATCH_FIRST = 8, /* runs of a first refill; doubles up to half a magazine */
	DEPOT_BYTES = 4 << 20,
	DEPOT_RUNS = 512, /* of one order */
	CACHE_SLOTS = 2048, /* pools of one process that threads may have objects and runs of */
};

extern const uint32_t magazine_capacity[MAGAZINE_KINDS];

/* o: the owning thread */
struct magazine {
	uint32_t  nr;    /* (o) */
	uint32_t  batch; /* (o) runs of the next refill */
	uint64_t *runs;  /* (o) */
};
/* c: fixed   o: owning thread   p: process lock */
struct run_cache {
	struct mmb_pool       *pool;        /* (c) */
	struct thread_table   *table;       /* (p) of the owning thread */
	LIST_ENTRY(run_cache)  link;        /* (p) */
	struct heap           *heap;        /* (o) for objects; NULL: none yet */
	uint32_t               drains_seen; /* (o) against pool->drains */
	struct magazine        magazines[MAGAZINE_KINDS]; /* (o) */
	uint64_t               store[MAGAZINE_RUNS];      /* (o) */
};
LIST_HEAD(run_cache_list, run_cache);

/* The caches of one thread, by the pools' slots. t: the thread writes under the process lock and
 * reads without; p: others, under the process lock */
struct thread_table {
	uint32_t                     generation; /* (c) of the process */
	uint32_t                     nr;         /* (t) */
	_Atomic(struct run_cache *) *caches;     /* (t) the array (p) its elements */
	uint32_t                     users; /* (p) the thread, and whoever ends its caches for it */
	struct heap                 *spare; /* (p) ended heaps the thread may still look at, or one
					     * that was made ahead */
};
extern _Thread_local struct thread_table *thread_table;

/* d: lock */
struct run_depot {
	pthread_mutex_t lock;
	uint64_t        bytes;                  /* (d) K2 */
	uint32_t        nr[MMB_ORDER_MAX + 1];  /* (d) */
	uint64_t       *runs[MMB_ORDER_MAX + 1]; /* (d) allocated on first use */
};

/* The magazine of an order, or -1. */
static inline int magazine_kind(unsigned int order)
{
	return order <= 3 ? (int)order : order == 9 ? 4 : -1;
}
static inline unsigned int magazine_order(int kind)
{
	return kind <= 3 ? (unsigned int)kind : 9;
}

/* This thread's cache, if it has one already. */
static inline struct run_cache *cache_of_slot(uint32_t slot)
{
	const struct thread_table *t = thread_table;

	if (!t || slot >= t->nr)
		return NULL;
	return atomic_load_explicit(&t->caches[slot], memory_order_relaxed);
}
/* This thread's cache of the pool, made if need be; NULL without memory or slot: do without. */
struct run_cache *cache_get(struct mmb_pool *pool);
/* What this thread's first cache and heap need, and their pool's, if it has never had any: while
 * something has to be waited for. */
void cache_prepare(void);
/* The memory of one of this thread's ended heaps, for its next one; NULL: none. */
struct heap *cache_spare_heap(void);
/* Called for the caches of a thread that exits and of a pool that closes, before they are freed. */
typedef void (*cache_flush_fn)(struct mmb_pool *pool, struct run_cache *cache);

/* A pool's slot: before the first and after the last cache_get. */
uint32_t cache_slot_get(void);
void     cache_slot_put(uint32_t slot);
/* mmb_close() is done with the pool, whose handle was not closed: its caches are to end. */
void cache_leave_pool(struct mmb_pool *pool);
/* Ends this thread's caches of such pools. The others' end with their threads, or when these make
 * a cache. */
void cache_end_left(void);
/* True, once: the pool is left, and no thread has, or gets, a cache of it. */
bool cache_release_pool(struct mmb_pool *pool);
/* Its handle is being closed: whoever does that releases it. */
void cache_claim_pool(struct mmb_pool *pool);
/* Takes all threads' caches of the pool (K3). */
void cache_close_pool(struct mmb_pool *pool, cache_flush_fn flush);

void depot_init(struct run_depot *depot);
void depot_fini(struct run_depot *depot);
/* How many of the runs it took, from the front. */
uint32_t depot_put(struct run_depot *depot, unsigned int order, const uint64_t *runs, uint32_t nr);
/* How many runs it gave, at most max. */
uint32_t depot_take(struct run_depot *depot, unsigned int order, uint64_t *runs, uint32_t max);

#endif
