/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool - a client's handle on a pool, with the page runs it keeps
 *
 * Purpose     The daemon's handle, the arena windows, the run map and the caches in front of
 *             PAGES_ALLOC and PAGES_FREE.
 * Invariants  See cache.h for the caches, runmap.h for ownership of runs.
 * Locking     mmb.lock for the connection's list; map_lock while windows are added; the process
 *             lock for the list of thread caches.
 */
#ifndef MMB_LIBCLIENT_POOL_H
#define MMB_LIBCLIENT_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cache.h"
#include "mmbroker.h"
#include "runmap.h"

struct mmb_cache;

/* No process has this generation. */
#define POOL_CLOSED UINT32_MAX

/* c: fixed after pool_open   a: atomic   l: mmb.lock   m: map_lock   p: process lock */
struct mmb_pool {
	_Atomic uint32_t       generation; /* (a) or POOL_CLOSED: it or its connection is */
	struct mmb            *mmb;        /* (c) */
	uint32_t               handle;     /* (c) the daemon's */
	_Atomic uint32_t       refs;       /* (a) the application's, and users in flight */
	bool                   listed;     /* (l) */
	LIST_ENTRY(mmb_pool)   link;       /* (l) */
	pthread_mutex_t        map_lock;
	pthread_mutex_t        give_lock;  /* around ticks and trims */
	uint32_t               nr_windows; /* (m) mapped, in the daemon's order */
	bool                   windows_left; /* (m) the handle uses none any more */
	struct runmap          runs;
	struct run_depot       depot;
	_Atomic uint32_t       slot;       /* (p) index of its cache in every thread's table; with
					    * the last cache of a pool that is left it goes */
	struct run_cache_list  caches;     /* (p) one a thread that uses the pool */
	bool                   left;       /* (p) mmb_close() is done with it: its handle is left */
	bool                   released;   /* (p) so was this: no thread gets a cache */
	uint32_t               member;     /* (c) our number in the pool, part of owners' ids */
	uint64_t               key;        /* (c) of words in free objects */
	bool                   is_private; /* (c) */
	_Atomic(struct heap_pool *) heap;  /* (a) NULL: no object yet */
	struct heap_pool      *heap_making; /* (m) */
	LIST_HEAD(, mmb_cache) typed;      /* (m) open typed caches */
	_Atomic(struct range_heap *) ranges; /* (a) NULL: no object above 4 MiB yet */
	_Atomic uint32_t       drains;     /* (a) raised to make every thread give its cache back */
};
LIST_HEAD(pool_list, mmb_pool);

struct arena_spec;
struct call;

/* 0, or why this handle can't be used, with its sentence. */
int  pool_check(const struct mmb_pool *pool);
/* A handle of the parent's in a forked child, also if it was closed before: leave it alone, locks
 * may be held by threads that don't exist. With the sentence. */
bool pool_is_parents(const struct mmb_pool *pool);
/* Handles of one pool. */
static inline bool pool_is_same(const struct mmb_pool *a, const struct mmb_pool *b)
{
	return a->mmb == b->mmb && a->key == b->key;
}
void pool_get(struct mmb_pool *pool);
void pool_put(struct mmb_pool *pool);
/* One arena window, with map_lock held. */
int  pool_map_window_locked(struct mmb_pool *pool, const struct arena_spec *window);
/* The halves of one ARENA_OPEN, so that others can be on their way at the same time. With map_lock
 * held. *more: the pool has further windows. */
int  pool_ask_arena_locked(struct mmb_pool *pool, struct call *c);
int  pool_take_arena_locked(struct mmb_pool *pool, struct call *c, bool *more);
/* Asks and takes until there are no further ones, with map_lock held. */
int  pool_ask_all_locked(struct mmb_pool *pool,
			 int (*ask)(struct mmb_pool *pool, struct call *c),
			 int (*take)(struct mmb_pool *pool, struct call *c, bool *more));
/* Maps arena windows the pool has and this process hasn't. No lock is held. */
int  pool_map_arena(struct mmb_pool *pool);

#endif
