/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_named - regions by pool and name, for tools: snapshots at one instant, rollback, unlink
 *
 * Permission  as for a client that opens the pool and the regions; a clone that root makes belongs
 *             to the region's owner.
 * Crash       a clone is known by its name once it is whole; before, it ends with the daemon.
 */
#include <errno.h>

#include "client/access.h"
#include "client/pool_region.h"
#include "client/region_open.h"
#include "mmbroker.h"

static int open_pool(struct session *s, const char *name, struct pool **out, struct refusal *why)
{
	struct pool *pool = pool_open(name);
	struct access_owner owner;

	*out = pool;
	if (!pool)
		return refuse(why, -ENOENT, "there is no pool '%s'; mmbctl pools lists them", name);
	owner = (struct access_owner){ pool->uid, pool->gid, pool->mode };
	if (access_allowed(&s->peer, &owner, ACCESS_READ | ACCESS_WRITE))
		return 0;
	pool_close(pool);
	return refuse(why, -EACCES, "uid %u may not use pool '%s'", s->peer.uid, name);
}

/* With a handle counted. */
static int open_region(struct session *s, struct pool *pool, const char *name, uint32_t flags,
		       struct pool_region **out, struct refusal *why)
{
	const struct region_open_args args = { .name = name, .flags = flags };
	const struct pool_region_request want = { .pool = pool,
						  .creator = &s->peer,
						  .args = &args };
	bool created;
	int r = name_check("region", name, why);

	if (!r)
		r = pool_region_open(&want, out, &created, why);
	if (r)
		*out = NULL;
	/* A tool has no flag that would make it. */
	if (r == -ENOENT)
		return refuse(why, r, "pool '%s' has no region '%s'; mmbctl regions lists them",
			      pool->name, name);
	return r;
}

/* ---- clones ---- */

/* One clone on its way. */
struct making {
	struct pool_region *source, *clone; /* a handle of each is counted */
	bool joined, listed;
};

static int make(struct session *s, const char *name, struct making *m, struct refusal *why)
{
	struct pool_region *source = m->source;
	struct peer creator = s->peer;
	int r = name_check("region", name, why);

	if (r)
		return r;
	if (!creator.uid) {
		creator.uid = source->uid;
		creator.gid = source->gid;
	}
	return clone_make(&(struct clone_making){ .source = source,
						  .pool = source->pool,
						  .creator = &creator,
						  .name = name },
			  &m->clone, why);
}

static int arm(const struct making *m, uint32_t nr, struct refusal *why)
{
	struct clone_pair pairs[REGION_CLONES_MAX];

	for (uint32_t i = 0; i < nr; i++)
		pairs[i] = (struct clone_pair){ m[i].source->region, m[i].clone->region };
	return clones_arm(pairs, nr, why);
}

static int clone_all(struct session *s, struct pool *pool, const struct named_clone_args *args,
		     struct making *m, struct refusal *why)
{
	int r = 0;

	for (uint32_t i = 0; i < args->nr && !r; i++)
		r = open_region(s, pool, args->regions[i], MMB_REGION_READONLY, &m[i].source, why);
	for (uint32_t i = 0; i < args->nr && !r; i++)
		r = make(s, args->names[i], &m[i], why);
	if (!r)
		r = arm(m, args->nr, why);
	for (uint32_t i = 0; i < args->nr && !r; i++) {
		r = pool_region_list(m[i].clone, why);
		m[i].listed = !r;
	}
	for (uint32_t i = 0; i < args->nr && !r; i++)
		r = pool_region_name(m[i].clone, args->names[i], why);
	return r;
}

static void put_away(struct making *m, bool failed)
{
	if (m->clone && m->listed && failed)
		pool_region_abandon(m->clone);
	if (m->clone && m->listed)
		pool_region_close(m->clone);
	else if (m->clone)
		region_put(m->clone->region);
	if (m->source)
		pool_region_close(m->source);
}

int verb_named_clone(struct session *s, const struct named_clone_args *args, struct refusal *why)
{
	struct making m[REGION_CLONES_MAX] = { 0 };
	struct pool *pool;
	int r;

	if (!args->nr || args->nr > REGION_CLONES_MAX)
		return refuse(why, -EINVAL, "%u clones at one instant; 1 to %d are possible",
			      args->nr, REGION_CLONES_MAX);
	r = open_pool(s, args->pool, &pool, why);
	if (r)
		return r;
	r = clone_all(s, pool, args, m, why);
	for (uint32_t i = 0; i < args->nr; i++)
		put_away(&m[i], r);
	pool_close(pool);
	return r;
}

bool verb_named_release(struct session *s, const struct named_clone_args *args)
{
	struct refusal unsaid = { 0 };
	struct pool_region *source;
	uint64_t bytes = 0;
	struct pool *pool;
	bool released;

	if (open_pool(s, args->pool, &pool, &unsaid))
		return false;
	for (uint32_t i = 0; i < args->nr; i++) {
		if (open_region(s, pool, args->regions[i], MMB_REGION_READONLY, &source, &unsaid))
			continue;
		bytes += source->bytes;
		pool_region_close(source);
	}
	released = frames_release(pool, bytes);
	pool_close(pool);
	return released;
}

/* ---- rollback and the end ---- */

int verb_named_rollback(struct session *s, const char *pool_name, const char *region,
			const char *snapshot, struct refusal *why)
{
	struct pool_region *pr, *from;
	struct pool *pool;
	int r = open_pool(s, pool_name, &pool, why);

	if (r)
		return r;
	r = open_region(s, pool, region, 0, &pr, why);
	if (!r) {
		r = open_region(s, pool, snapshot, MMB_REGION_READONLY, &from, why);
		if (!r) {
			r = region_roll_back(pr, from, NULL, why);
			pool_region_close(from);
		}
		pool_region_close(pr);
	}
	pool_close(pool);
	return r;
}

int verb_named_unlink(struct session *s, const char *pool_name, const char *region,
		      struct refusal *why)
{
	struct pool *pool;
	int r = open_pool(s, pool_name, &pool, why);

	if (r)
		return r;
	r = name_check("region", region, why);
	if (!r)
		r = pool_region_unlink(
			pool, &(struct unlink_request){ .name = region, .peer = &s->peer }, why);
	pool_close(pool);
	return r;
}
