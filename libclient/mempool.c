/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mempool - a reserve of objects of one cache, for what must get on when memory is short
 *
 * Purpose     The kernel's mempool_t: the cache first, then the reserve, then waiting for a free,
 *             which refills the reserve before it gives anything back.
 * Invariants  R1  nr <= room; below `minimum` a freed object stays here.
 *             R2  Whoever waits is woken by each object that comes to the reserve, and looks at the
 *                 cache too once in a while: memory may come back elsewhere.
 *             R3  With a minimum of 0 an object is still kept for who waits.
 *             R4  The first word of an object in the reserve is its mark (slab_reserve_mark()): a
 *                 second free finds it. A sampled one, which may be shorter, is looked for.
 * Locking     mempool.lock; the cache is never asked under it.
 * Source      Linux mm/mempool.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "call.h"
#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "export.h"
#include "mmbroker.h"
#include "typed.h"

enum { LOOK_AGAIN_MS = 100 };

/* c: fixed after open   l: lock, written; nr is read without */
struct mmb_mempool {
	struct mmb_cache  *cache;   /* (c) counted */
	struct object_rule rule;    /* (c) */
	size_t             minimum, room; /* (c) */
	pthread_mutex_t    lock;
	pthread_cond_t     freed;   /* with lock */
	_Atomic size_t     nr;      /* (l) R1 */
	_Atomic uint32_t   nr_waiting; /* (l) */
	void              *reserve[];  /* (l) */
};

/* ---- opening and closing ---- */

static int check_open(const struct mmb_cache *cache, struct mmb_mempool **out)
{
	int error = cache_check(cache);

	if (!error && !out)
		error = fail(-EINVAL, "mmb_mempool_open: out is NULL; pass where the mempool is to "
			     "go");
	return error;
}

static int mempool_check(const struct mmb_mempool *m)
{
	if (!m)
		return fail(-EINVAL, "the mempool is NULL; open one with mmb_mempool_open()");
	return cache_check(m->cache);
}

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* The heap of an object of the pool; NULL: a sampled one. */
static const struct heap_pool *heap_of(const struct mmb_mempool *m, void *object)
{
	const struct heap_pool *hp =
		atomic_load_explicit(&m->cache->pool->heap, memory_order_acquire);

	return heap_view_of(hp, (uintptr_t)object) ? hp : NULL;
}

/* R4 */
static void mark(const struct mmb_mempool *m, void *object)
{
	const struct heap_pool *hp = heap_of(m, object);

	if (hp)
		*slab_word((uintptr_t)object) = slab_reserve_mark(hp->key);
}

static void unmark(const struct mmb_mempool *m, void *object)
{
	if (heap_of(m, object))
		*slab_word((uintptr_t)object) = 0;
}

static bool is_marked(const struct mmb_mempool *m, void *object)
{
	const struct heap_pool *hp = heap_of(m, object);

	for (size_t i = 0; !hp && i < m->nr; i++)
		if (m->reserve[i] == object)
			return true;
	return hp && slab_is_reserved((uintptr_t)object, hp->key);
}

PUBLIC int mmb_mempool_open(struct mmb_cache *cache, size_t minimum, struct mmb_mempool **out)
{
	UNCANCELLED;
	size_t room = minimum ? minimum : 1, bytes;
	struct mmb_mempool *m = NULL;
	int error = check_open(cache, out);

	if (error)
		return error;
	if (!__builtin_mul_overflow(room, sizeof(m->reserve[0]), &bytes) &&
	    !__builtin_add_overflow(bytes, sizeof(*m), &bytes))
		m = calloc(1, bytes);
	if (!m)
		return fail(-ENOMEM, "mmb_mempool_open: no memory for a reserve of %zu objects",
			    minimum);
	error = mmb_cache_alloc_bulk(cache, minimum, m->reserve);
	if (error) {
		free(m);
		return error;
	}
	atomic_fetch_add(&cache->refs, 1);
	m->cache = cache;
	m->rule = (struct object_rule){ "mmb_mempool_free", cache->bin, cache->name };
	m->minimum = minimum;
	m->nr = minimum;
	m->room = room;
	for (size_t i = 0; i < minimum; i++)
		mark(m, m->reserve[i]);
	pthread_mutex_init(&m->lock, NULL);
	init_cond(&m->freed);
	*out = m;
	return 0;
}

PUBLIC void mmb_mempool_close(struct mmb_mempool *m)
{
	UNCANCELLED;

	if (!m || pool_is_parents(m->cache->pool))
		return;
	/* After the pool was closed there is no one to give it to. */
	if (atomic_load(&m->cache->pool->generation) != POOL_CLOSED) {
		for (size_t i = 0; i < m->nr; i++)
			unmark(m, m->reserve[i]);
		mmb_cache_free_bulk(m->cache, m->nr, m->reserve);
	}
	pthread_cond_destroy(&m->freed);
	pthread_mutex_destroy(&m->lock);
	cache_handle_put(m->cache);
	free(m);
}

/* ---- allocating ---- */

static void *take_locked(struct mmb_mempool *m)
{
	void *object = m->nr ? m->reserve[--m->nr] : NULL;

	if (object)
		unmark(m, object);
	return object;
}

static void *take(struct mmb_mempool *m)
{
	void *object;

	pthread_mutex_lock(&m->lock);
	object = take_locked(m);
	pthread_mutex_unlock(&m->lock);
	return object;
}

/* Until something was freed here, or a while has passed (R2). */
static void *wait_and_take(struct mmb_mempool *m, uint64_t deadline)
{
	UNCANCELLED;
	uint64_t until = call_now_ms() + LOOK_AGAIN_MS;
	struct timespec ts;
	void *object;

	if (until > deadline)
		until = deadline;
	ts.tv_sec = (time_t)(until / 1000);
	ts.tv_nsec = (long)(until % 1000) * 1000000;
	pthread_mutex_lock(&m->lock);
	m->nr_waiting++;
	while (!(object = take_locked(m)))
		if (pthread_cond_timedwait(&m->freed, &m->lock, &ts))
			break;
	if (!object)
		object = take_locked(m);
	m->nr_waiting--;
	pthread_mutex_unlock(&m->lock);
	return object;
}

/* The cache has none for now: no memory, or no answer from the broker. */
static bool is_short(int error)
{
	return error == ENOMEM || error == ETIMEDOUT;
}

static __attribute__((noinline)) void *alloc_slowly(struct mmb_mempool *m)
{
	uint64_t deadline = 0; /* the operation timeout has passed */
	int error = mempool_check(m);
	void *object;

	if (error)
		return fail_null(error);
	object = object_alloc_once(m->cache->pool, &m->cache->want);
	if (object || !is_short(errno))
		return object;
	if (errno == ENOMEM)
		deadline = call_deadline(m->cache->pool->mmb->timeout_ms);
	object = take(m);
	while (!object && call_now_ms() < deadline) {
		object = object_alloc(m->cache->pool, &m->cache->want);
		if (object || !is_short(errno))
			return object;
		object = wait_and_take(m, deadline);
	}
	if (!object)
		errno = ENOMEM; /* the cache's sentence is there already */
	return object;
}

PUBLIC void *mmb_mempool_alloc(struct mmb_mempool *m)
{
	uint64_t object = likely(m) ? cache_hit(m->cache) : 0;

	if (unlikely(!object))
		return alloc_slowly(m);
	return (void *)(uintptr_t)object;
}

/* ---- freeing ---- */

/* R1, R3 */
static bool wanted(struct mmb_mempool *m)
{
	size_t nr = atomic_load_explicit(&m->nr, memory_order_relaxed);

	return nr < m->minimum ||
	       (!nr && atomic_load_explicit(&m->nr_waiting, memory_order_relaxed));
}

static bool keep(struct mmb_mempool *m, void *object)
{
	bool kept;

	pthread_mutex_lock(&m->lock);
	/* Not seen by cache_owns(), if two threads free it at once. */
	if (is_marked(m, object))
		object_die_twice(&m->rule, (uintptr_t)object);
	kept = wanted(m);
	if (kept) {
		mark(m, object);
		m->reserve[m->nr++] = object;
	}
	if (kept && m->nr_waiting)
		pthread_cond_signal(&m->freed);
	pthread_mutex_unlock(&m->lock);
	return kept;
}

PUBLIC void mmb_mempool_free(struct mmb_mempool *m, void *object)
{
	if (!object || mempool_check(m))
		return;
	if (likely(!wanted(m))) {
		mmb_cache_free(m->cache, object);
		return;
	}
	if (cache_owns(m->cache, object, &m->rule) && !keep(m, object))
		mmb_cache_free(m->cache, object);
}
