/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool - the list of pools, their charge and end
 *
 * Locking     see pool.h. Freeing runs on a work thread with no lock, after the pool has left the
 *             list and nobody can find it.
 */
#include "client/pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/inject.h"
#include "base/workqueue.h"
#include "client/account.h"
#include "client/arena_ahead.h"
#include "client/pool_limits.h"
#include "mm/obj/slab.h"
#include "mm/phys/node.h"

static struct mutex pools_lock;
static struct list_head pools = LIST_HEAD_INIT(pools); /* pools_lock */
static uint64_t nr_pools, next_id = 1;                 /* pools_lock */
static struct kmem_cache *pool_cache; /* fixed after init */
static struct workqueue free_queue;
static _Atomic uint32_t nr_ending; /* pools and leases that have something to give back */

int pools_init(void)
{
	mutex_init(&pools_lock, RANK_POOLS, "pools");
	pool_cache = KMEM_CACHE(pool, 0);
	members_global_init();
	arenas_ahead_init();
	pool_limits_start();
	return workqueue_init(&free_queue, "mmb-pool", 1);
}

void pools_work(struct work *work)
{
	workqueue_add(&free_queue, work);
}

bool pools_ending(void)
{
	return atomic_load(&nr_ending);
}

void pools_flush(void)
{
	workqueue_flush(&free_queue);
}

void pools_fini(void)
{
	workqueue_fini(&free_queue);
	arenas_ahead_fini();
	pool_limits_stop();
	mutex_fini(&pools_lock);
}

/* ---- life ---- */

static void free_lists(struct pool *pool)
{
	leases_fini(&pool->leases);
	members_fini(&pool->members);
	pool_caches_fini(&pool->caches);
	pool_limits_fini(pool);
	memcg_fini(&pool->memcg);
	mutex_fini(&pool->lock);
}

static void unmake_movable(struct pool *pool)
{
	for (int node = 0; node < nr_nodes; node++)
		if (pool->movable[node])
			zone_free(pool->movable[node]);
}

static void free_pool(struct work *work)
{
	struct pool *pool = container_of(work, struct pool, free_work);

	pool_unmake_arena(pool);
	unmake_movable(pool);
	CHECK(!atomic_load(&pool->committed));
	CHECK(list_empty(&pool->regions));
	free_lists(pool);
	account_uncharge(pool->uid, ACCOUNT_POOLS);
	mutex_lock(&pools_lock);
	nr_pools--;
	mutex_unlock(&pools_lock);
	kmem_cache_free(pool_cache, pool);
	atomic_fetch_sub(&nr_ending, 1);
}

static void free_leases(struct work *work)
{
	leases_free_ended(container_of(work, struct pool, lease_work));
	atomic_fetch_sub(&nr_ending, 1);
}

static void queue_end(struct work *work)
{
	atomic_fetch_add(&nr_ending, 1);
	if (!workqueue_add(&free_queue, work))
		atomic_fetch_sub(&nr_ending, 1);
}

/* P4, with pools_lock held. The queue has one thread: free_pool() runs after it. */
static void end_leases(struct pool *pool)
{
	bool any;

	pool_caches_clear(&pool->caches);
	any = leases_end(&pool->leases);
	/* Crash: units of the owner before are freed by who resumes. */
	record_word_set(&pool->record->lease_owner, leases_owner(&pool->leases));
	if (any && (pool->nr_regions || pool->kept))
		queue_end(&pool->lease_work);
}

/* P2, with pools_lock held. */
static void end_if_unused(struct pool *pool)
{
	if (pool->nr_handles || pool->nr_regions || pool->kept)
		return;
	list_del(&pool->link);
	record_free(RECORD_POOL, pool->record);
	pool->record = NULL;
	work_init(&pool->free_work, free_pool);
	queue_end(&pool->free_work);
}

bool pool_has_name(const struct pool *pool, const char *name)
{
	return !pool->is_private && !strcmp(pool->name, name);
}

static struct pool *find_name(const char *name)
{
	struct pool *pool;

	list_for_each_entry(pool, &pools, link)
		if (pool_has_name(pool, name))
			return pool;
	return NULL;
}

static int make_movable(struct pool *pool, struct refusal *why)
{
	int r = 0;

	for (int node = 0; node < nr_nodes && !r; node++) {
		struct zone_request want = { .type = ZONE_MOVABLE,
					     .node = node,
					     .pool = (uint32_t)pool->id,
					     .owner = pool };

		r = zone_new(&want, &pool->movable[node]);
	}
	return r ? refuse(why, -ENOMEM, "no memory for another pool") : 0;
}

/* Its id is set. */
static void init_parts(struct pool *pool)
{
	pool->nr_handles = 1;
	memcg_init(&pool->memcg, pool->id);
	mutex_init(&pool->lock, RANK_ARENA, "pool");
	leases_init(&pool->leases);
	members_init(&pool->members);
	pool_caches_init(&pool->caches, pool->id);
	work_init(&pool->lease_work, free_leases);
	list_init(&pool->regions);
	list_init(&pool->lingering);
	list_init(&pool->link);
}

static void fill_pool(struct pool *pool, const struct pool_request *request)
{
	snprintf(pool->name, sizeof(pool->name), "%s", request->name);
	pool->uid = request->creator->uid;
	pool->gid = request->creator->gid;
	pool->mode = request->mode;
	pool->is_private = request->is_private;
	pool->nodes = request->nodes;
	atomic_store(&pool->memcg.overcommit, request->overcommit);
	atomic_store(&pool->memcg.oom_kill, request->oom_kill);
	if (getrandom(&pool->key, sizeof(pool->key), GRND_NONBLOCK) < 0)
		pool->key = 0; /* before the host has any: free objects aren't encoded */
}

static_assert((int)NR_MEMCG_LIMITS <= (int)RECORD_LIMITS, "a pool's record has room for them");

/* A limit's word is 0 for none, else the frames and 1. */
static uint64_t recorded_limit(const struct pool *pool, int kind)
{
	uint64_t word;

	record_word_get(&pool->record->limits[kind], &word);
	return word ? word - 1 : MEMCG_NO_LIMIT;
}

static bool binds_less(int kind, uint64_t frames, uint64_t than)
{
	return kind == MEMCG_MIN || kind == MEMCG_LOW ? frames < than : frames > than;
}

/* Crash    what binds less is written first: each mixture of old and new ones rises from min to
 *          max, and has room for what has been promised under the old or under the new ones. */
void pool_record_limits(struct pool *pool)
{
	for (int turn = 0; turn < 2; turn++) {
		for (int i = 0; i < NR_MEMCG_LIMITS; i++) {
			uint64_t frames = memcg_limit(&pool->memcg, (enum memcg_limit)i);

			if (binds_less(i, frames, recorded_limit(pool, i)) == (turn == 0))
				record_word_set(&pool->record->limits[i],
						frames >= META_SPAN_FRAMES ? 0 : frames + 1);
		}
		INJECT_TURN(LIMITS_HALF);
	}
}

static void restore_limits(struct pool *pool)
{
	uint64_t frames[NR_MEMCG_LIMITS], word;

	for (int i = 0; i < NR_MEMCG_LIMITS; i++)
		frames[i] = recorded_limit(pool, i);
	record_word_get(&pool->record->operated, &word);
	pool_limits_resume(pool, frames, word);
}

static void commit_record(struct pool *pool)
{
	struct pool_record *record = pool->record;

	record->id = pool->id;
	record->key = pool->key;
	record->node_mask = pool->nodes.mask;
	record->node_policy = pool->nodes.policy;
	record->uid = pool->uid;
	record->gid = pool->gid;
	record->mode = pool->mode;
	record->is_private = pool->is_private;
	record->overcommit = atomic_load(&pool->memcg.overcommit);
	record->oom_kill = atomic_load(&pool->memcg.oom_kill);
	memcpy(record->name, pool->name, sizeof(record->name));
	pool_record_limits(pool);
	record_word_set(&record->lease_owner, leases_owner(&pool->leases));
	record_commit(RECORD_POOL, record);
}

/* By id, which lists are read by; another with a higher one may have been faster. */
static void add_to_list(struct pool *pool)
{
	struct list_head *at = pools.prev;

	while (at != &pools && list_entry(at, struct pool, link)->id > pool->id)
		at = at->prev;
	list_add(&pool->link, at);
}

static int list_pool(struct pool *pool, struct refusal *why)
{
	bool taken;

	mutex_lock(&pools_lock);
	taken = !pool->is_private && find_name(pool->name);
	if (!taken) {
		add_to_list(pool);
		nr_pools++;
		commit_record(pool);
	}
	mutex_unlock(&pools_lock);
	return taken ? refuse(why, -EEXIST, "pool '%s' exists already", pool->name) : 0;
}

/* One that was never listed. */
static void unmake_pool(struct pool *pool)
{
	record_free(RECORD_POOL, pool->record);
	unmake_movable(pool);
	free_lists(pool);
	account_uncharge(pool->uid, ACCOUNT_POOLS);
	kmem_cache_free(pool_cache, pool);
}

int pool_new(const struct pool_request *request, struct pool **out, struct refusal *why)
{
	struct pool *pool = NULL;
	void *record = NULL;
	uint32_t limit;
	int r = INJECT(POOL_NEW);

	if (r)
		return refuse(why, r, "no memory for another pool");
	r = account_charge(request->creator->uid, ACCOUNT_POOLS, &limit);
	if (r)
		return refuse(why, r, "uid %u has %u pools, which is the limit; close some",
			      request->creator->uid, limit);
	pool = kmem_cache_zalloc(pool_cache, GFP_KERNEL);
	if (!pool) {
		account_uncharge(request->creator->uid, ACCOUNT_POOLS);
		return refuse(why, -ENOMEM, "no memory for another pool");
	}
	mutex_lock(&pools_lock);
	pool->id = next_id++;
	mutex_unlock(&pools_lock);
	init_parts(pool);
	fill_pool(pool, request);
	r = record_new(RECORD_POOL, &record) ? refuse(why, -ENOMEM, "no memory for another pool")
					     : 0;
	pool->record = record;
	if (!r)
		r = pool_limits_init(pool, &request->limits, request->creator, why);
	if (!r)
		r = make_movable(pool, why);
	if (!r)
		r = list_pool(pool, why);
	if (r)
		unmake_pool(pool);
	else
		*out = pool;
	return r;
}

struct pool *pool_open(const char *name)
{
	struct pool *pool;

	mutex_lock(&pools_lock);
	pool = find_name(name);
	if (pool)
		pool->nr_handles++;
	mutex_unlock(&pools_lock);
	return pool;
}

void pool_reopen(struct pool *pool)
{
	mutex_lock(&pools_lock);
	CHECK(pool->nr_handles);
	pool->nr_handles++;
	mutex_unlock(&pools_lock);
}

/* ---- resume ---- */

int pool_resume(struct pool_record *record)
{
	struct pool *pool = kmem_cache_zalloc(pool_cache, GFP_KERNEL);
	struct refusal why;
	uint64_t owner, kept;
	int r = pool ? 0 : -ENOMEM;

	if (r)
		return r;
	pool->id = record->id;
	init_parts(pool);
	memcpy(pool->name, record->name, sizeof(pool->name));
	pool->name[NAME_MAX_BYTES] = '\0';
	pool->key = record->key;
	pool->nodes = (struct node_policy){ record->node_policy, record->node_mask };
	pool->uid = record->uid;
	pool->gid = record->gid;
	pool->mode = record->mode;
	pool->is_private = record->is_private;
	atomic_store(&pool->memcg.overcommit, record->overcommit);
	atomic_store(&pool->memcg.oom_kill, record->oom_kill);
	pool->record = record;
	record_word_get(&record->lease_owner, &owner);
	record_word_get(&record->kept, &kept);
	pool->kept = kept;
	leases_resume(&pool->leases, owner);
	r = account_recharge(pool->uid, ACCOUNT_POOLS);
	if (!r)
		r = make_movable(pool, &why);
	if (r)
		return r; /* the daemon doesn't start */
	mutex_lock(&pools_lock);
	add_to_list(pool);
	nr_pools++;
	next_id = max_t(uint64_t, next_id, pool->id + 1);
	mutex_unlock(&pools_lock);
	return 0;
}

struct pool *pool_by_id(uint64_t id)
{
	struct pool *pool, *found = NULL;

	mutex_lock(&pools_lock);
	list_for_each_entry(pool, &pools, link)
		if (pool->id == id)
			found = pool;
	mutex_unlock(&pools_lock);
	return found;
}

struct pool *pool_next(uint64_t after)
{
	struct pool *pool, *next = NULL;

	mutex_lock(&pools_lock);
	list_for_each_entry(pool, &pools, link)
		if (!next && pool->id > after)
			next = pool;
	mutex_unlock(&pools_lock);
	return next;
}

void pools_resumed(void)
{
	struct pool *pool;

	for (uint64_t after = 0; (pool = pool_next(after));) {
		after = pool->id;
		restore_limits(pool); /* what exists was charged without any */
		pool_close(pool);
	}
}

void pool_recharge(struct pool *pool, uint64_t bytes, bool huge)
{
	CHECK(!memcg_promise(&pool->memcg, bytes >> PAGE_SHIFT, huge)); /* without limits so far */
	atomic_fetch_add(&pool->committed, bytes);
}

void pool_close(struct pool *pool)
{
	mutex_lock(&pools_lock);
	CHECK(pool->nr_handles);
	if (!--pool->nr_handles)
		end_leases(pool);
	end_if_unused(pool);
	mutex_unlock(&pools_lock);
}

void pool_keep(struct pool *pool, bool kept)
{
	mutex_lock(&pools_lock);
	pool->kept = kept;
	record_word_set(&pool->record->kept, kept);
	mutex_unlock(&pools_lock);
}

void pool_add_region(struct pool *pool)
{
	mutex_lock(&pools_lock);
	pool->nr_regions++;
	mutex_unlock(&pools_lock);
}

void pool_del_region(struct pool *pool)
{
	mutex_lock(&pools_lock);
	CHECK(pool->nr_regions);
	pool->nr_regions--;
	end_if_unused(pool);
	mutex_unlock(&pools_lock);
}

static int refuse_charge(struct pool *pool, uint64_t bytes, uint64_t now)
{
	atomic_fetch_add(&pool->nr_refused, 1);
	memcg_pressure(&pool->memcg, MEMCG_LEVEL_MIN, min_t(uint64_t, bytes, now) >> PAGE_SHIFT);
	return -ENOMEM;
}

int pool_charge(struct pool *pool, uint64_t bytes)
{
	uint64_t now = atomic_load(&pool->committed);
	uint64_t max = pool_commit_limit(pool);
	uint64_t want;

	do {
		if (__builtin_add_overflow(now, bytes, &want) || want > max)
			return refuse_charge(pool, bytes, now);
	} while (!atomic_compare_exchange_weak(&pool->committed, &now, want));
	/* L2: who has lowered it meanwhile saw this, or is seen here. */
	if (want <= pool_commit_limit(pool))
		return 0;
	pool_uncharge(pool, bytes);
	return refuse_charge(pool, bytes, now);
}

void pool_uncharge(struct pool *pool, uint64_t bytes)
{
	CHECK(atomic_fetch_sub(&pool->committed, bytes) >= bytes);
}

void pool_for_each(void (*fn)(struct pool *pool, void *arg), void *arg)
{
	struct pool *pool;

	mutex_lock(&pools_lock);
	list_for_each_entry(pool, &pools, link)
		fn(pool, arg);
	mutex_unlock(&pools_lock);
}

struct pool *pool_walk_next(struct pool *previous)
{
	struct list_head *at = previous ? &previous->link : &pools;
	struct pool *next = NULL;

	mutex_lock(&pools_lock);
	if (at->next != &pools) {
		next = list_entry(at->next, struct pool, link);
		next->nr_regions++;
	}
	if (previous) {
		previous->nr_regions--;
		end_if_unused(previous);
	}
	mutex_unlock(&pools_lock);
	return next;
}

uint64_t pool_count(void)
{
	uint64_t nr;

	mutex_lock(&pools_lock);
	nr = nr_pools;
	mutex_unlock(&pools_lock);
	return nr;
}
