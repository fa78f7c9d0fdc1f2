/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_pool - open, close and describe pools, and hand out their arenas' windows
 *
 * Crash       a pool that was made and has no handle yet ends with the resume; a handle is there
 *             when its record is sealed, and is found by the request that made it. Closing marks
 *             the record first.
 */
#include <errno.h>
#include <string.h>

#include "client/access.h"
#include "client/pool_limits.h"
#include "client/pool_stat.h"
#include "client/session.h"
#include "mm/phys/node.h"
#include "mmbroker.h"
#include "os/os.h"

enum {
	POOL_HANDLES_MAX = 256, /* of a session */
	POOL_FLAGS = MMB_POOL_CREATE | MMB_POOL_EXCL | MMB_POOL_PRIVATE | MMB_POOL_OVERCOMMIT |
		     MMB_POOL_OOM_KILL
};

static int check_pool_args(struct pool_open_args *args, struct refusal *why)
{
	int r = 0;

	if (args->flags & ~(uint32_t)POOL_FLAGS)
		return refuse(why, -EINVAL, "pool flags %#x have unknown bits; known are %#x",
			      args->flags, POOL_FLAGS);
	if (args->flags & MMB_POOL_OOM_KILL && !(args->flags & MMB_POOL_OVERCOMMIT))
		return refuse(why, -EINVAL, "MMB_POOL_OOM_KILL needs MMB_POOL_OVERCOMMIT");
	if (!(args->flags & MMB_POOL_PRIVATE) || args->name[0])
		r = name_check("pool", args->name, why);
	if (!r)
		r = pool_limits_check(&args->limits, why);
	if (!r)
		r = mode_check(&args->mode, why);
	if (!r)
		r = node_policy_check(&args->nodes, why);
	return r;
}

static int open_existing(struct session *s, const struct pool_open_args *args, struct pool **out,
			 struct refusal *why)
{
	struct pool *pool = pool_open(args->name);
	struct access_owner owner;

	if (!pool)
		return -ENOENT;
	owner = (struct access_owner){ pool->uid, pool->gid, pool->mode };
	if ((args->flags & MMB_POOL_CREATE) && (args->flags & MMB_POOL_EXCL)) {
		pool_close(pool);
		return refuse(why, -EEXIST, "pool '%s' exists already", args->name);
	}
	if (!access_allowed(&s->peer, &owner, ACCESS_READ | ACCESS_WRITE)) {
		refuse(why, -EACCES, "uid %u may not use pool '%s' (owner %u, mode %04o)",
		       s->peer.uid, args->name, owner.uid, owner.mode);
		pool_close(pool);
		return -EACCES;
	}
	*out = pool;
	return 0;
}

static int make_pool(struct session *s, const struct pool_open_args *args, struct pool **out,
		     struct refusal *why)
{
	struct pool_request want = {
		.name = args->name,
		.is_private = args->flags & MMB_POOL_PRIVATE,
		.overcommit = args->flags & MMB_POOL_OVERCOMMIT,
		.oom_kill = args->flags & MMB_POOL_OOM_KILL,
		.limits = args->limits,
		.mode = args->mode,
		.nodes = args->nodes,
		.creator = &s->peer,
	};

	return pool_new(&want, out, why);
}

static int open_or_make(struct session *s, const struct pool_open_args *args, struct pool **out,
			struct refusal *why)
{
	int r;

	if (args->flags & MMB_POOL_PRIVATE)
		return make_pool(s, args, out, why);
	for (;;) {
		r = open_existing(s, args, out, why);
		if (r != -ENOENT)
			return r;
		if (!(args->flags & MMB_POOL_CREATE))
			return refuse(why, -ENOENT,
				      "there is no pool '%s'; MMB_POOL_CREATE makes one",
				      args->name);
		r = make_pool(s, args, out, why);
		if (r != -EEXIST || args->flags & MMB_POOL_EXCL)
			return r;
	}
}

/* The session's share of the pool if it has one already: page runs are listed once. */
static struct pool_handle *find_share(struct session *s, const struct pool *pool)
{
	struct pool_handle *ph;
	uint32_t cursor = 0, handle;

	while ((ph = handles_next(&s->pools, &cursor, &handle)))
		if (ph->pool == pool)
			return ph;
	return NULL;
}

/* Takes over the caller's hold on the pool. */
static int add_share(struct session *s, struct pool *pool, uint64_t request,
		     struct pool_opened *out)
{
	bool behind = members_are_behind(&pool->members), has_room;
	struct pool_handle *fresh = behind ? NULL : pool_handle_new(pool, s->record);
	void *record = NULL;
	struct pool_handle *ph;
	struct member *m;

	*out = (struct pool_opened){ .key = pool->key };
	if (!fresh) {
		pool_close(pool);
		return behind ? -EAGAIN : -ENOMEM;
	}
	m = member_new(&pool->members);
	if (m && s->record && record_new(RECORD_HANDLE, &record)) {
		member_free(&pool->members, m);
		m = NULL;
	}
	mutex_lock(&s->lock);
	has_room = s->pools.nr_used < POOL_HANDLES_MAX;
	ph = find_share(s, pool);
	if (!s->ended && m && has_room)
		out->handle = handles_add(&s->pools, ph ? ph : fresh);
	if (out->handle && ph)
		atomic_fetch_add(&ph->refs, 1);
	if (out->handle) {
		out->member = m->number;
		(ph ? ph : fresh)->nr_opens++;
		m->record = record;
		member_list(m, s, ph ? ph : fresh, out->handle);
		member_commit(m, ph ? ph : fresh, request);
	}
	mutex_unlock(&s->lock);
	if (!out->handle)
		record_free(RECORD_HANDLE, record);
	if (!out->handle && m)
		member_free(&pool->members, m);
	if (!out->handle || ph)
		pool_handle_put(fresh);
	if (!has_room)
		return -EDQUOT;
	return out->handle ? 0 : -ENOMEM;
}

/* What a request has made whose answer was lost with the daemon that made it. */
static bool find_again(struct session *s, uint64_t request, struct pool_opened *out)
{
	struct pool_handle *ph;
	uint32_t cursor = 0;

	*out = (struct pool_opened){ 0 };
	mutex_lock(&s->lock);
	while ((ph = session_next_share(s, &cursor))) {
		if (out->handle)
			continue; /* each share's turn, for the next count */
		out->handle = member_find_request(ph, request);
		out->key = ph->pool->key;
		if (out->handle)
			out->member = member_number(ph, out->handle);
	}
	mutex_unlock(&s->lock);
	return out->handle;
}

int verb_pool_open(struct session *s, const struct pool_open_args *given, struct pool_opened *out,
		   struct refusal *why)
{
	struct pool_open_args args = *given;
	struct pool *pool;
	int r = check_pool_args(&args, why);

	if (!r && args.again && find_again(s, args.request, out))
		return 0;
	if (!r)
		r = open_or_make(s, &args, &pool, why);
	if (r)
		return r;
	r = add_share(s, pool, args.request, out);
	if (!r)
		offer_note_open(s, given, out->handle);
	if (r == -EDQUOT)
		return refuse(why, r,
			      "this session has %d pool handles, which is the limit; close some",
			      POOL_HANDLES_MAX);
	if (r == -EAGAIN)
		return refuse(why, r,
			      "many handles of this pool have just ended, and its other users are "
			      "still being told; try again in a second");
	return r ? refuse(why, r, "no memory for another pool handle") : 0;
}

int verb_pool_close(struct session *s, uint32_t handle, struct refusal *why)
{
	struct pool_handle *ph;
	bool last = false;

	offer_end(s, handle);
	mutex_lock(&s->lock);
	ph = s->ended ? NULL : handles_get(&s->pools, handle);
	if (ph) {
		/* B3: from here on another one may have its place. */
		member_mark_end(ph, handle, &(struct member_end_mark){ 0 });
		handles_del(&s->pools, handle);
		last = !--ph->nr_opens;
	}
	mutex_unlock(&s->lock);
	if (!ph)
		return refuse(why, -EBADF, "%#x is no pool handle of this session", handle);
	if (last) {
		pool_handle_free_runs(ph);
		pool_caches_close_all(ph);
	}
	member_end(ph, handle, NULL);
	pool_handle_put(ph);
	return 0;
}

int verb_pool_stat(struct session *s, uint32_t handle, struct pool_stat *out, struct refusal *why)
{
	struct pool_handle *ph = session_pool(s, handle, why);

	if (!ph)
		return -EBADF;
	pool_stat_take(ph->pool, out);
	pool_handle_put(ph);
	return 0;
}

static int fill_window(struct pool *pool, int node, struct arena_window *out)
{
	struct section *section = pool->sections[node];

	*out = (struct arena_window){
		.address = pool->windows[node].start,
		.length = section->nr_frames << PAGE_SHIFT,
		.hugetlb = section->kind == STOCK_HUGE,
		.node = (uint32_t)node,
		.fd = os->dup(section->fd),
	};
	return out->fd < 0 ? out->fd : 0;
}

int verb_arena_open(struct session *s, uint32_t handle, uint32_t first, struct arena_opened *out,
		    struct refusal *why)
{
	struct pool_handle *ph = session_pool(s, handle, why);
	int                 r;

	out->nr = out->total = 0;
	if (!ph)
		return -EBADF;
	r = pool_make_arena(ph->pool, why);
	for (int node = 0; node < nr_nodes && !r; node++) {
		if (!ph->pool->sections[node])
			continue;
		if (out->total >= first && out->nr < ARENA_WINDOWS) {
			r = fill_window(ph->pool, node, &out->windows[out->nr]);
			if (r)
				refuse(why, r, "the arena's descriptor can't be passed: %s",
				       strerror(-r));
			else
				out->nr++;
		}
		out->total++;
	}
	while (r && out->nr)
		os->close(out->windows[--out->nr].fd);
	pool_handle_put(ph);
	return r;
}
