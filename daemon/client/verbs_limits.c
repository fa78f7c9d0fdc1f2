/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_limits - what operators and owners do to pools by name: make, set, remove
 *
 * Not here    Which limits are right, and who may set them (pool_limits.c).
 */
#include <errno.h>

#include "client/access.h"
#include "client/pool_limits.h"
#include "client/session.h"
#include "mm/space/reclaim.h"
#include "mmbroker.h"
#include "os/os.h"

/* Longest time that POOL_SET and TRIM reclaim. */
static const uint64_t shrink_ns = 5ull * 1000 * 1000 * 1000;

static struct pool *find_pool(const char *name, struct refusal *why)
{
	struct pool *pool = pool_open(name);

	if (!pool)
		refuse(why, -ENOENT, "there is no pool '%s'; mmbctl pools lists them", name);
	return pool;
}

/* A limit that was lowered: as far as that can be done, and not for long. */
static void shrink_to_limits(struct memcg *m)
{
	uint64_t until = os->now_ns() + shrink_ns;
	uint64_t limit = min_t(uint64_t, memcg_limit(m, MEMCG_MAX), memcg_limit(m, MEMCG_HIGH));

	while (memcg_usage(m) > limit && os->now_ns() < until)
		if (!reclaim_memcg(m, memcg_usage(m) - limit))
			break;
	if (memcg_usage(m) > limit)
		memcg_pressure(m, MEMCG_LEVEL_LOW, memcg_usage(m) - limit);
}

int verb_pool_set(struct session *s, const char *name, uint32_t set,
		  const struct pool_limits *limits, struct refusal *why)
{
	struct pool *pool = find_pool(name, why);
	int r;

	if (!pool)
		return -ENOENT;
	r = pool_limits_change(pool, limits, set, &s->peer, why);
	if (!r)
		shrink_to_limits(&pool->memcg);
	pool_close(pool);
	return r;
}

int verb_trim(struct session *s, const char *name, uint64_t bytes, uint64_t *freed,
	      struct refusal *why)
{
	uint64_t wanted = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
	uint64_t until = os->now_ns() + shrink_ns;
	uint64_t done = 0, got = 1;
	struct pool *pool = find_pool(name, why);

	if (!pool)
		return -ENOENT;
	memcg_pressure(&pool->memcg, MEMCG_LEVEL_LOW, wanted);
	while (done < wanted && got && os->now_ns() < until) {
		got = reclaim_memcg(&pool->memcg, wanted - done);
		done += got;
	}
	pool_close(pool);
	*freed = done << PAGE_SHIFT;
	return 0;
}

static int check_create(struct pool_open_args *args, struct refusal *why)
{
	int r;

	if (args->flags & ~(uint32_t)(MMB_POOL_OVERCOMMIT | MMB_POOL_OOM_KILL) ||
	    args->flags == MMB_POOL_OOM_KILL)
		return refuse(why, -EINVAL, "pool flags %#x mean nothing to POOL_CREATE",
			      args->flags);
	r = name_check("pool", args->name, why);
	if (!r)
		r = pool_limits_check(&args->limits, why);
	if (!r)
		r = mode_check(&args->mode, why);
	return r ? r : node_policy_check(&args->nodes, why);
}

int verb_pool_create(struct session *s, const struct pool_create_args *given, struct refusal *why)
{
	struct pool_open_args args = given->pool;
	struct peer creator = s->peer;
	struct pool_request want = { .name = args.name, .creator = &creator };
	struct pool *pool;
	int r = check_create(&args, why);

	if (r)
		return r;
	if (given->has_owner) {
		creator.uid = given->uid;
		creator.gid = given->gid;
	}
	want.overcommit = args.flags & MMB_POOL_OVERCOMMIT;
	want.oom_kill = args.flags & MMB_POOL_OOM_KILL;
	want.limits = args.limits;
	want.mode = args.mode;
	want.nodes = args.nodes;
	r = pool_new(&want, &pool, why);
	if (r)
		return r;
	pool_limits_own(pool, &s->peer);
	pool_keep(pool, true);
	pool_close(pool);
	return 0;
}

/* The caller's handle is the only one. */
static int check_unused(struct pool *pool, bool force, struct refusal *why)
{
	uint32_t nr = atomic_load(&pool->nr_handles);
	bool empty;

	if (nr > 1)
		return refuse(why, -EBUSY, "pool '%s' is open in %u sessions; mmbctl sessions",
			      pool->name, nr - 1);
	mutex_lock(&pool->lock);
	empty = list_empty(&pool->regions);
	mutex_unlock(&pool->lock);
	if (!empty && !force)
		return refuse(why, -ENOTEMPTY,
			      "pool '%s' has named regions, which would be lost with it; force "
			      "removes them too",
			      pool->name);
	return 0;
}

static int remove_pool(struct pool *pool, const struct peer *by, bool force, struct refusal *why)
{
	int r;

	if (!by->admin && by->uid != pool->uid)
		return refuse(why, -EACCES,
			      "only the owner of pool '%s' (uid %u), root, the broker's own user "
			      "and the admin group may remove it",
			      pool->name, pool->uid);
	r = check_unused(pool, force, why);
	if (r)
		return r;
	pool_keep(pool, false);
	pool_region_unlink_all(pool);
	return 0;
}

int verb_pool_rm(struct session *s, const char *name, bool force, struct refusal *why)
{
	struct pool *pool = find_pool(name, why);
	int r;

	if (!pool)
		return -ENOENT;
	r = remove_pool(pool, &s->peer, force, why);
	pool_close(pool);
	return r;
}
