/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache - the magazines of a thread, by pool
 *
 * Purpose     Makes them, finds them, and takes them back when a thread exits or a pool closes.
 *             See cache.h.
 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "heap/heap.h"
#include "pool.h"
#include "pool_heap.h"
#include "process.h"

/* 512 KiB an order for the small ones; of 2 MiB runs two. */
const uint32_t magazine_capacity[MAGAZINE_KINDS] = { 128, 64, 32, 16, 2 };

_Thread_local struct thread_table *thread_table;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static bool exit_key_usable;
/* One bit a slot, process lock. */
static uint64_t used_slots[CACHE_SLOTS / 64];
static _Atomic int nr_left; /* pools that are left; (p) written */

/* ---- slots ---- */

uint32_t cache_slot_get(void)
{
	uint32_t slot = CACHE_SLOTS;

	process_lock();
	for (uint32_t i = 0; i < CACHE_SLOTS / 64; i++) {
		if (used_slots[i] == UINT64_MAX)
			continue;
		slot = i * 64 + (uint32_t)__builtin_ctzll(~used_slots[i]);
		used_slots[i] |= 1ull << (slot % 64);
		break;
	}
	process_unlock();
	return slot;
}

static void put_slot_locked(uint32_t slot)
{
	if (slot < CACHE_SLOTS)
		used_slots[slot / 64] &= ~(1ull << (slot % 64));
}

void cache_slot_put(uint32_t slot)
{
	process_lock();
	put_slot_locked(slot);
	process_unlock();
}

/* ---- a thread's end ---- */

/* Takes a cache out of its table and its pool's list; the pool stays referenced. NULL: none, or
 * its pool isn't left, or one of the parent's before a fork. */
static struct run_cache *detach(struct thread_table *t, uint32_t slot, bool left)
{
	struct run_cache *cache;

	process_lock();
	cache = atomic_load_explicit(&t->caches[slot], memory_order_relaxed);
	if (cache && left && !cache->pool->left)
		cache = NULL;
	if (cache) {
		pool_get(cache->pool);
		LIST_REMOVE(cache, link);
		atomic_store_explicit(&t->caches[slot], NULL, memory_order_relaxed);
		t->users++;
	}
	process_unlock();
	return cache;
}

/* The last user frees the table and the heaps that were left in it. */
static void table_put_locked(struct thread_table *t)
{
	struct heap *h;

	if (--t->users)
		return;
	while ((h = t->spare)) {
		t->spare = h->next_spare;
		heap_free(h);
	}
	free(t->caches);
	free(t);
}

/* After the flush: its heap has ended, and its thread may be looking at it (H6 of heap.h). */
static void free_cache(struct run_cache *cache)
{
	struct thread_table *t = cache->table;

	process_lock();
	if (cache->heap) {
		cache->heap->next_spare = t->spare;
		t->spare = cache->heap;
	}
	table_put_locked(t);
	process_unlock();
	free(cache);
}

struct heap *cache_spare_heap(void)
{
	struct thread_table *t = thread_table;
	struct heap *h;

	process_lock();
	h = t ? t->spare : NULL;
	if (h) {
		t->spare = h->next_spare;
		h->next_spare = NULL;
	}
	process_unlock();
	return h;
}

static void end_caches(struct thread_table *t, bool left)
{
	for (uint32_t i = 0; i < t->nr; i++) {
		struct run_cache *cache = detach(t, i, left);
		struct mmb_pool *pool;

		if (!cache)
			continue;
		pool = cache->pool;
		pool_heap_end_cache(pool, cache);
		free_cache(cache);
		pool_heap_release(pool);
		pool_put(pool);
	}
}

void cache_end_left(void)
{
	if (atomic_load_explicit(&nr_left, memory_order_relaxed) && thread_table &&
	    process_owns(thread_table->generation))
		end_caches(thread_table, true);
}

static void set_left_locked(struct mmb_pool *pool, bool left)
{
	if (left != pool->left)
		atomic_fetch_add_explicit(&nr_left, left ? 1 : -1, memory_order_relaxed);
	pool->left = left;
}

void cache_leave_pool(struct mmb_pool *pool)
{
	process_lock();
	set_left_locked(pool, true);
	process_unlock();
}

bool cache_release_pool(struct mmb_pool *pool)
{
	bool released;

	process_lock();
	released = pool->left && LIST_EMPTY(&pool->caches);
	if (released) {
		set_left_locked(pool, false);
		pool->released = true;
		put_slot_locked(pool->slot);
		pool->slot = CACHE_SLOTS;
	}
	process_unlock();
	return released;
}

void cache_claim_pool(struct mmb_pool *pool)
{
	process_lock();
	set_left_locked(pool, false);
	process_unlock();
}

static void thread_exits(void *arg)
{
	struct thread_table *t = arg;

	thread_table = NULL;
	heap_leave_current();
	if (!process_owns(t->generation)) {
		free(t->caches);
		free(t);
		return;
	}
	/* A child's copy of the parent's table: nothing in it is ours to give back. */
	end_caches(t, false);
	process_lock();
	table_put_locked(t);
	process_unlock();
}

static void make_key(void)
{
	exit_key_usable = !pthread_key_create(&exit_key, thread_exits);
}

/* ---- making ---- */

static struct thread_table *make_table(void)
{
	struct thread_table *t;

	pthread_once(&once, make_key);
	if (!exit_key_usable)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->generation = process_generation();
	t->users = 1;
	if (pthread_setspecific(exit_key, t)) {
		free(t);
		return NULL;
	}
	thread_table = t;
	return t;
}

static bool grow_table(struct thread_table *t, uint32_t slot)
{
	uint32_t nr = (slot | 7) + 1;
	_Atomic(struct run_cache *) *caches;

	if (slot < t->nr)
		return true;
	caches = calloc(nr, sizeof(*caches));
	if (!caches)
		return false;
	process_lock();
	for (uint32_t i = 0; i < t->nr; i++)
		atomic_store_explicit(&caches[i],
				      atomic_load_explicit(&t->caches[i], memory_order_relaxed),
				      memory_order_relaxed);
	free(t->caches);
	t->caches = caches;
	t->nr = nr;
	process_unlock();
	return true;
}

void cache_prepare(void)
{
	struct thread_table *t = thread_table ? NULL : make_table();
	struct heap *h = t && grow_table(t, 0) ? heap_ahead() : NULL;

	if (!h)
		return;
	process_lock();
	h->next_spare = t->spare;
	t->spare = h;
	process_unlock();
	heap_pool_prepare();
}

static void init_magazines(struct run_cache *cache)
{
	uint64_t *next = cache->store;

	for (int kind = 0; kind < MAGAZINE_KINDS; kind++) {
		struct magazine *m = &cache->magazines[kind];
		uint32_t half = magazine_capacity[kind] / 2;

		m->runs = next;
		m->batch = half < MAGAZINE_BATCH_FIRST ? half : MAGAZINE_BATCH_FIRST;
		next += magazine_capacity[kind];
	}
}

struct run_cache *cache_get(struct mmb_pool *pool)
{
	uint32_t slot = pool->slot;
	struct run_cache *cache = cache_of_slot(slot);
	struct thread_table *t = thread_table;
	bool released;

	if (cache || slot >= CACHE_SLOTS)
		return cache;
	if (t && !process_owns(t->generation)) {
		/* Inherited by fork; what it points to is the parent's. */
		thread_table = NULL;
		t = NULL;
	}
	if (!t)
		t = make_table();
	if (!t || !grow_table(t, slot))
		return NULL;
	cache_end_left();
	cache = calloc(1, sizeof(*cache));
	if (!cache)
		return NULL;
	cache->pool = pool;
	cache->table = t;
	cache->drains_seen = atomic_load_explicit(&pool->drains, memory_order_relaxed);
	init_magazines(cache);
	process_lock();
	released = pool->released;
	if (!released) {
		LIST_INSERT_HEAD(&pool->caches, cache, link);
		atomic_store_explicit(&t->caches[slot], cache, memory_order_relaxed);
	}
	process_unlock();
	if (!released)
		return cache;
	free(cache);
	return NULL;
}

void cache_close_pool(struct mmb_pool *pool, cache_flush_fn flush)
{
	struct run_cache_list taken = LIST_HEAD_INITIALIZER(taken);
	struct run_cache *cache;

	process_lock();
	while ((cache = LIST_FIRST(&pool->caches))) {
		LIST_REMOVE(cache, link);
		atomic_store_explicit(&cache->table->caches[pool->slot], NULL,
				      memory_order_relaxed);
		cache->table->users++;
		LIST_INSERT_HEAD(&taken, cache, link);
	}
	process_unlock();
	while ((cache = LIST_FIRST(&taken))) {
		LIST_REMOVE(cache, link);
		flush(pool, cache);
		free_cache(cache);
	}
}
