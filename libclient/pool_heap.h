/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_heap - the heap of a pool handle: made at its first object, found by address
 *
 * Purpose     Joins heap/ to the connection: units by SLAB_LEASE and SLAB_RETURN, the slab maps,
 *             each thread's heap, and which pool an address belongs to.
 * Invariants  E1  A pool has a heap_pool from its first object on, until its last reference goes.
 *             E2  Each handle lists the windows it has mapped. Two handles on one pool are two
 *                 members: to each other they are as two processes.
 * Locking     pool.map_lock while the heap_pool is made and windows are added; the process lock for
 *             the list of windows, which is read without.
 * Not here    Hits (malloc.c), slabs (heap/).
 */
#ifndef MMB_LIBCLIENT_POOL_HEAP_H
#define MMB_LIBCLIENT_POOL_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct mmb;
struct heap;
struct mmb_pool;
struct pool_offer;
struct run_cache;
struct slab_header;

/* The pool's heap is made, if it wasn't; 0 or a negative errno with its sentence. */
int pool_heap_make(struct mmb_pool *pool);
/* The same for a pool that came with HELLO; takes the descriptors over. */
int pool_heap_make_offered(struct mmb_pool *pool, const struct pool_offer *offer);
/* The calling thread's heap of the pool, entered; NULL with errno and a sentence. */
struct heap *pool_heap_enter(struct mmb_pool *pool);
/* The open pool whose arena has the address; NULL: none. */
struct mmb_pool *pool_heap_find(uint64_t address);
/* An object of the parent's, in a forked child, which doesn't see it. */
bool pool_heap_was_parents(uint64_t address);
/* A window of the pool's arena is mapped. -ENOMEM: this process has too many. */
int pool_heap_add_window(struct mmb_pool *pool, uint64_t base, uint64_t length);
/* The header of the address's unit; NULL with a sentence: its slab map can't be had. */
struct slab_header *pool_heap_header(struct mmb_pool *pool, uint64_t address);
/* What isn't in use goes back to the daemon. False: there was nothing that could have. */
bool pool_heap_trim(struct mmb_pool *pool);
/* Of all pools of the connection, for who was refused memory that they may keep unused. */
bool pool_heap_relieve(struct mmb *mmb);
/* Of all the connection's handles of that pool. */
void pool_heap_trim_all(struct mmb_pool *pool);
/* From the pager, for connection_each_pool(). True: call again in a while. */
bool pool_heap_tick(struct mmb_pool *pool, void *unused);
void pool_heap_orphans(struct mmb_pool *pool, uint32_t member);
/* A thread's cache ends: its runs go back and its heap is retired. */
void pool_heap_end_cache(struct mmb_pool *pool, struct run_cache *cache);
/* The connection ends: no more ticks, and nothing of the heaps is touched any more, as it will be
 * gone or others'; waits for the tick that is just at work. */
void pool_heap_stop(struct mmb_pool *pool);
/* The session is over: stopped, and what the heaps own is left to others. False: somebody is inside
 * still; ask again. */
bool pool_heap_leave(struct mmb_pool *pool);
/* The handle or its connection is being closed: every hit misses, there are no more ticks, and its
 * objects are no longer found. */
void pool_heap_close(struct mmb_pool *pool);
/* After that, and after all heaps were retired, while the daemon still knows the handle: what isn't
 * in use goes back. */
void pool_heap_drain(struct mmb_pool *pool);
/* mmb_close() was there, and the handle wasn't closed: unless somebody has a cache of it, nothing
 * of its heap is kept. */
void pool_heap_release(struct mmb_pool *pool);
/* The last reference is going. */
void pool_heap_fini(struct mmb_pool *pool);
/* In a forked child. */
void pool_heap_forget_all(void);

#endif
