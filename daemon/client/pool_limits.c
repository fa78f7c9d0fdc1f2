/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_limits - checks in pairs, one table of names and kinds
 *
 * Locking     limits_lock (RANK_TABLE) for guarantees and changes.
 */
#include "client/pool_limits.h"

#include <errno.h>

#include "client/pool.h"
#include "mm/map/swap.h"
#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "proto/methods.h"

static struct mutex limits_lock;
static uint64_t total_min; /* limits_lock; frames (L1) */

/* One row a limit: where it is, and whether 0 means that there is none. */
static const struct row {
	const char *name;
	uint32_t bit;
	size_t at;
	enum memcg_limit kind;
} rows[] = {
	{ "min", MMB_POOL_SET_MIN, offsetof(struct pool_limits, min), MEMCG_MIN },
	{ "low", MMB_POOL_SET_LOW, offsetof(struct pool_limits, low), MEMCG_LOW },
	{ "high", MMB_POOL_SET_HIGH, offsetof(struct pool_limits, high), MEMCG_HIGH },
	{ "max", MMB_POOL_SET_MAX, offsetof(struct pool_limits, max), MEMCG_MAX },
	{ "swap_max", MMB_POOL_SET_SWAP_MAX, offsetof(struct pool_limits, swap_max),
	  MEMCG_SWAP_MAX },
};

/* The first of a pair may not be above the second, if both are given. */
static const struct {
	unsigned int small, large; /* rows */
} orders[] = { { 0, 1 }, { 0, 2 }, { 0, 3 }, { 1, 2 }, { 1, 3 }, { 2, 3 } };

void pool_limits_start(void)
{
	mutex_init(&limits_lock, RANK_TABLE, "pool limits");
}

void pool_limits_stop(void)
{
	mutex_fini(&limits_lock);
}

static uint64_t *field(struct pool_limits *limits, unsigned int i)
{
	return (uint64_t *)(void *)((char *)limits + rows[i].at);
}

static uint64_t value(const struct pool_limits *limits, unsigned int i)
{
	return *(const uint64_t *)(const void *)((const char *)limits + rows[i].at);
}

static uint64_t frames_of(uint64_t bytes)
{
	return bytes ? bytes >> PAGE_SHIFT : MEMCG_NO_LIMIT;
}

int pool_limits_check(const struct pool_limits *limits, struct refusal *why)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(orders); i++) {
		uint64_t small = value(limits, orders[i].small);
		uint64_t large = value(limits, orders[i].large);

		if (small && large && small > large)
			return refuse(why, -EINVAL,
				      "the pool's %s of %llu bytes is above its %s of %llu; min, "
				      "low, high and max must rise in this order",
				      rows[orders[i].small].name, (unsigned long long)small,
				      rows[orders[i].large].name, (unsigned long long)large);
	}
	if ((limits->max && limits->max < PAGE_SIZE) || (limits->high && limits->high < PAGE_SIZE))
		return refuse(why, -EINVAL,
			      "max and high are bytes and at least a page of %d; 0 is no limit",
			      PAGE_SIZE);
	return 0;
}

/* Protection is at others' cost. */
static int check_protection(const struct pool_limits *limits, const struct peer *by,
			    struct refusal *why)
{
	if ((limits->min || limits->low) && !by->admin)
		return refuse(why, -EACCES,
			      "min and low keep memory from other pools: only root, the broker's "
			      "own user and the admin group may set them");
	return 0;
}

static uint64_t stocks_limit(void)
{
	struct stock_snapshot s;
	uint64_t frames = 0;

	for (int node = 0; node < nr_nodes; node++)
		for (enum stock_kind kind = 0; kind < NR_STOCK_KINDS; kind++)
			if (stock_snapshot(node, kind, &s))
				frames += s.reserve - s.margin;
	return frames;
}

/* L1, with limits_lock held. */
static int guarantee_locked(struct pool *pool, uint64_t bytes, uint64_t can_have,
			    struct refusal *why)
{
	uint64_t before = memcg_limit(&pool->memcg, MEMCG_MIN);
	uint64_t others = total_min - before;
	uint64_t frames = bytes >> PAGE_SHIFT;

	if (frames > before && (others > can_have || frames > can_have - others))
		return refuse(why, -ENOMEM,
			      "a min of %llu bytes can't be guaranteed: the broker has %llu, and "
			      "%llu of them are other pools' min",
			      (unsigned long long)bytes,
			      (unsigned long long)(can_have << PAGE_SHIFT),
			      (unsigned long long)(others << PAGE_SHIFT));
	total_min = others + frames;
	return 0;
}

static void set_all(struct pool *pool, const struct pool_limits *limits)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++)
		memcg_set_limit(&pool->memcg, rows[i].kind, frames_of(value(limits, i)));
}

int pool_limits_init(struct pool *pool, const struct pool_limits *limits, const struct peer *by,
		     struct refusal *why)
{
	uint64_t can_have = stocks_limit();
	int r = check_protection(limits, by, why);

	if (r)
		return r;
	mutex_lock(&limits_lock);
	r = guarantee_locked(pool, limits->min, can_have, why);
	if (!r)
		set_all(pool, limits);
	mutex_unlock(&limits_lock);
	return r;
}

void pool_limits_resume(struct pool *pool, const uint64_t frames[NR_MEMCG_LIMITS], bool operated)
{
	mutex_lock(&limits_lock);
	for (int i = 0; i < NR_MEMCG_LIMITS; i++)
		memcg_set_limit(&pool->memcg, (enum memcg_limit)i, frames[i]);
	total_min += memcg_limit(&pool->memcg, MEMCG_MIN);
	pool->operated = operated;
	mutex_unlock(&limits_lock);
}

void pool_limits_own(struct pool *pool, const struct peer *by)
{
	mutex_lock(&limits_lock);
	pool->operated |= by->admin && by->uid != pool->uid;
	record_word_set(&pool->record->operated, pool->operated);
	mutex_unlock(&limits_lock);
}

void pool_limits_fini(struct pool *pool)
{
	mutex_lock(&limits_lock);
	total_min -= memcg_limit(&pool->memcg, MEMCG_MIN);
	memcg_set_limit(&pool->memcg, MEMCG_MIN, 0);
	mutex_unlock(&limits_lock);
}

void pool_limits_get(const struct pool *pool, struct pool_limits *out)
{
	*out = (struct pool_limits){ 0 };
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t frames = memcg_limit(&pool->memcg, rows[i].kind);

		/* Less than a page of swap is none, which is something else than no limit. */
		*field(out, i) = frames == MEMCG_NO_LIMIT ? 0
				 : !frames && rows[i].kind == MEMCG_SWAP_MAX
					 ? 1
					 : frames << PAGE_SHIFT;
	}
}

/* In bytes; without a max there is none. Pages of 2 MiB can use less of it. */
static uint64_t commit_limit_of(const struct pool *pool, uint64_t max, uint64_t swap_max)
{
	uint64_t frames = memcg_promisable(max, swap_max, atomic_load(&pool->memcg.promised_huge));

	return frames == MEMCG_NO_LIMIT ? UINT64_MAX : frames << PAGE_SHIFT;
}

uint64_t pool_commit_limit(const struct pool *pool)
{
	if (atomic_load_explicit(&pool->memcg.overcommit, memory_order_relaxed))
		return UINT64_MAX;
	return commit_limit_of(pool, memcg_limit(&pool->memcg, MEMCG_MAX),
			       memcg_limit(&pool->memcg, MEMCG_SWAP_MAX));
}

static int check_owner(const struct pool *pool, const struct peer *by, struct refusal *why)
{
	if (by->admin)
		return 0;
	if (by->uid != pool->uid)
		return refuse(why, -EACCES,
			      "only the owner of pool '%s' (uid %u), root, the broker's own user "
			      "and the admin group may set its limits",
			      pool->name, pool->uid);
	if (pool->operated)
		return refuse(why, -EACCES,
			      "an operator has set the limits of pool '%s': its owner can't change "
			      "them any more",
			      pool->name);
	return 0;
}

/* L2 */
static int check_room(const struct pool *pool, const struct pool_limits *limits,
		      struct refusal *why)
{
	uint64_t max = frames_of(limits->max);
	uint64_t committed = atomic_load(&pool->committed);
	uint64_t pinned = atomic_load(&pool->memcg.pinned);
	uint64_t kept = memcg_kept(&pool->memcg, max);
	uint64_t limit = commit_limit_of(pool, max, frames_of(limits->swap_max));

	if (committed > limit && limit < pool_commit_limit(pool) && !pool->memcg.overcommit)
		return refuse(why, -EBUSY,
			      "pool '%s' has committed %llu bytes, and a max of %llu with what it "
			      "may swap out is %llu; its clients must close regions or free "
			      "objects first",
			      pool->name, (unsigned long long)committed,
			      (unsigned long long)limits->max, (unsigned long long)limit);
	if (max < memcg_limit(&pool->memcg, MEMCG_MAX) && pinned + kept > max)
		return refuse(why, -EBUSY,
			      "%llu bytes of pool '%s' are objects, page runs and locked pages, "
			      "which can't be reclaimed, and %llu are for its regions: more than "
			      "a max of %llu",
			      (unsigned long long)(pinned << PAGE_SHIFT), pool->name,
			      (unsigned long long)(kept << PAGE_SHIFT),
			      (unsigned long long)limits->max);
	return 0;
}

/* L4 */
static int keep_within_locked(struct pool *pool, const struct pool_limits *limits,
			      struct refusal *why)
{
	int r = memcg_keep_within(&pool->memcg, frames_of(limits->max),
				  frames_of(limits->swap_max));

	if (r == -ENOSPC)
		return refuse(why, -EBUSY,
			      "a swap_max of %llu bytes would keep more of pool '%s' in memory "
			      "than there is beside what others were promised; its clients must "
			      "close regions first",
			      (unsigned long long)limits->swap_max, pool->name);
	if (!r)
		return 0;
	return refuse(why, -EBUSY,
		      "a max of %llu bytes would keep more of pool '%s' on the disk than swap has "
		      "room for beside what others were promised",
		      (unsigned long long)limits->max, pool->name);
}

/* L2: what was committed since check_room() looked, by the limits that were before. */
static int set_if_room(struct pool *pool, const struct pool_limits *limits, struct refusal *why)
{
	uint64_t limit_before = pool_commit_limit(pool), limit;
	struct pool_limits before;

	pool_limits_get(pool, &before);
	set_all(pool, limits);
	limit = pool_commit_limit(pool);
	if (limit >= limit_before || atomic_load(&pool->committed) <= limit)
		return 0;
	guarantee_locked(pool, before.min, UINT64_MAX, why);
	set_all(pool, &before);
	return refuse(why, -EBUSY,
		      "pool '%s' has committed more at this moment than a max of %llu bytes with "
		      "what it may swap out; its clients must close regions or free objects first",
		      pool->name, (unsigned long long)limits->max);
}

static int change_locked(struct pool *pool, const struct pool_limits *limits, uint64_t can_have,
			 const struct peer *by, struct refusal *why)
{
	uint64_t max = memcg_limit(&pool->memcg, MEMCG_MAX);
	uint64_t swap_max = memcg_limit(&pool->memcg, MEMCG_SWAP_MAX);
	int r = check_owner(pool, by, why);

	if (!r)
		r = pool_limits_check(limits, why);
	if (!r)
		r = check_room(pool, limits, why);
	if (!r)
		r = keep_within_locked(pool, limits, why);
	if (r)
		return r;
	r = guarantee_locked(pool, limits->min, can_have, why);
	if (r) {
		memcg_set_limit(&pool->memcg, MEMCG_MAX, max);
		memcg_set_limit(&pool->memcg, MEMCG_SWAP_MAX, swap_max);
		return r;
	}
	r = set_if_room(pool, limits, why);
	if (r)
		return r;
	pool_record_limits(pool);
	pool->operated |= by->admin && by->uid != pool->uid;
	record_word_set(&pool->record->operated, pool->operated);
	return 0;
}

int pool_limits_change(struct pool *pool, const struct pool_limits *wanted, uint32_t set,
		       const struct peer *by, struct refusal *why)
{
	struct pool_limits limits, asked = { 0 };
	uint64_t can_have = stocks_limit();
	int r;

	if (!set || set & ~(uint32_t)MMB_POOL_SET_ALL)
		return refuse(why, -EINVAL, "no limits are named, or unknown ones (%#x)", set);
	mutex_lock(&limits_lock);
	pool_limits_get(pool, &limits);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!(set & rows[i].bit))
			continue;
		*field(&limits, i) = value(wanted, i);
		*field(&asked, i) = value(wanted, i);
	}
	r = check_protection(&asked, by, why);
	if (!r)
		r = change_locked(pool, &limits, can_have, by, why);
	mutex_unlock(&limits_lock);
	return r;
}
