/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_clone - clones of regions, several at one instant
 *
 * Steps       check all; make all, charged in full and known to nobody; join and arm them; list
 *             them; give the session handles and windows; then their names are for good. What fails
 *             undoes all of it.
 * Crash       before the last handle: the next daemon closes those that there are, and begins
 *             again when the request is repeated; whoever has no handle ends. After it: all that
 *             was asked for is there, and gets the names that are missing.
 */
#include <errno.h>
#include <string.h>

#include "client/region_open.h"
#include "base/inject.h"
#include "client/access.h"
#include "mmbroker.h"
#include "mm/space/clone.h"

enum {
	CLONE_FLAGS = MMB_REGION_CREATE | MMB_REGION_EXCL | MMB_REGION_READONLY |
		      MMB_REGION_POPULATE | MMB_REGION_LOCKED,
};

static_assert((int)REGION_CLONES_MAX <= (int)CLONES_MAX, "all at one instant");

/* One clone on its way. */
struct making {
	struct region_handle *source; /* pinned */
	struct pool_handle *ph;       /* pinned; NULL: the source's pool */
	struct pool_region *pr;
	struct region_handle *rh;
	uint32_t handle;
	bool listed;
};

static int check_args(const struct region_clone_args *args, struct refusal *why)
{
	if (args->flags & ~(uint32_t)CLONE_FLAGS)
		return refuse(why, -EINVAL, "clone flags %#x have unknown bits; known are %#x",
			      args->flags, CLONE_FLAGS);
	return args->name[0] ? name_check("region", args->name, why) : 0;
}

static int find_source(struct session *s, const struct region_clone_args *args, struct making *m,
		       struct refusal *why)
{
	int r = check_args(args, why);

	if (r)
		return r;
	m->source = session_region(s, args->region, why);
	if (!m->source)
		return -EBADF;
	if (!args->pool)
		return 0;
	m->ph = session_pool(s, args->pool, why);
	return m->ph ? 0 : -EBADF;
}

/* By its name nobody but root opens a read-only clone for writing; who clones that to write may. */
static uint32_t mode_of_clone(const struct clone_making *making)
{
	uint32_t mode = making->source->mode;

	if (making->name[0] && making->flags & MMB_REGION_READONLY)
		return mode & ~0222u;
	return mode & 0222 ? mode : mode | 0200;
}

int clone_make(const struct clone_making *making, struct pool_region **out, struct refusal *why)
{
	struct pool_region *source = making->source;
	struct region *region = source->region;
	const struct region_open_args open = {
		.name = making->name,
		.length = source->bytes,
		.page_size = (uint32_t)region_page_bytes(region),
		.mode = mode_of_clone(making),
		.flags = making->flags,
		.nodes = { region->policy, region->node_mask },
	};
	const struct pool_region_request want = {
		.pool = making->pool,
		.creator = making->creator,
		.args = &open,
		.home_node = region->home_node,
		.parent = source->id,
	};
	struct clone_pair pair = { .parent = region };
	int r = pool_region_make(&want, out, why);

	if (r)
		return r;
	pair.clone = (*out)->region;
	r = clone_join(&pair);
	return r ? refuse(why, r, "no memory for another member of the region's family") : 0;
}

int clones_arm(const struct clone_pair *pairs, uint32_t nr, struct refusal *why)
{
	int r = clone_arm(pairs, nr);

	return r ? refuse(why, r, "the region can't be cloned now: %s", strerror(-r)) : 0;
}

static struct pool *pool_of(const struct making *m)
{
	return m->ph ? m->ph->pool : m->source->pr->pool;
}

static int make(struct session *s, const struct region_clone_args *args, struct making *m,
		struct refusal *why)
{
	return clone_make(&(struct clone_making){ .source = m->source->pr,
						  .pool = pool_of(m),
						  .creator = &s->peer,
						  .name = args->name,
						  .flags = args->flags },
			  &m->pr, why);
}

static int arm_all(const struct making *m, uint32_t nr, struct refusal *why)
{
	struct clone_pair pairs[REGION_CLONES_MAX];

	for (uint32_t i = 0; i < nr; i++)
		pairs[i] = (struct clone_pair){ m[i].source->pr->region, m[i].pr->region };
	return clones_arm(pairs, nr, why);
}

static int publish(struct session *s, const struct region_clone_request *want, uint32_t place,
		   struct making *m, struct refusal *why)
{
	const struct region_open_args open = {
		.request = want->request,
		.place = place,
		.flags = want->clones[place].flags,
	};
	void *record = NULL;
	int r = INJECT(CLONE_PUBLISH);

	r = r ? refuse(why, r, "the clone can't be listed") : pool_region_list(m->pr, why);
	if (r)
		return r;
	m->listed = true;
	m->rh = region_handle_new(m->pr, open.flags & MMB_REGION_READONLY);
	if (!m->rh)
		return refuse(why, -ENOMEM, "no memory for another region handle");
	r = s->record ? record_new(RECORD_HANDLE, &record) : 0;
	if (r)
		return refuse(why, r, "no memory for another region handle");
	m->rh->record = record;
	m->rh->made = true;
	return region_publish(s, m->rh, &open, &m->handle, why);
}

static int finish(const struct region_clone_request *want, const struct making *m,
		  struct refusal *why)
{
	int r = 0;

	for (uint32_t i = 0; i < want->nr && !r; i++)
		r = pool_region_name(m[i].rh->pr, want->clones[i].name, why);
	for (uint32_t i = 0; i < want->nr && !r; i++)
		r = region_populate_whole(m[i].rh, want->clones[i].flags, why);
	if (r)
		return r;
	r = INJECT(CLONE_DONE);
	return r ? refuse(why, r, "the clones can't be told of") : 0;
}

/* A handle goes the way of every handle; what has none is put away here. */
static void undo(struct session *s, struct making *m)
{
	struct refusal unused;

	if (m->listed || m->rh)
		pool_region_abandon(m->rh ? m->rh->pr : m->pr);
	if (m->handle)
		verb_region_close(s, m->handle, &unused);
	else if (m->listed && !m->rh)
		pool_region_close(m->pr);
	else if (m->pr && !m->listed)
		region_put(m->pr->region);
}

static int clone_all(struct session *s, const struct region_clone_request *want, struct making *m,
		     struct refusal *why)
{
	int r = 0;

	for (uint32_t i = 0; i < want->nr && !r; i++)
		r = find_source(s, &want->clones[i], &m[i], why);
	for (uint32_t i = 0; i < want->nr && !r; i++)
		r = make(s, &want->clones[i], &m[i], why);
	if (!r)
		r = arm_all(m, want->nr, why);
	for (uint32_t i = 0; i < want->nr && !r; i++)
		r = publish(s, want, i, &m[i], why);
	return r ? r : finish(want, m, why);
}

/* The client says which request it repeats, and may mean one that opened another's region. */
static void find_made(struct session *s, uint64_t request, uint32_t place, struct making *m)
{
	m->rh = region_find_again(s, request, place, &m->handle);
	if (!m->rh || m->rh->made)
		return;
	region_handle_put(m->rh);
	*m = (struct making){ 0 };
}

/* The clones that a dead daemon has made for this request: all of them, or none any more. */
static bool find_all(struct session *s, const struct region_clone_request *want, struct making *m)
{
	struct refusal unused;
	uint32_t nr = 0;

	for (uint32_t i = 0; i < want->nr; i++) {
		find_made(s, want->request, i, &m[i]);
		nr += m[i].rh != NULL;
	}
	for (uint32_t i = 0; i < want->nr && nr < want->nr; i++) {
		if (!m[i].rh)
			continue;
		verb_region_close(s, m[i].handle, &unused);
		region_handle_put(m[i].rh);
		m[i] = (struct making){ 0 };
	}
	return nr == want->nr;
}

static void unpin(struct making *m)
{
	if (m->rh)
		region_handle_put(m->rh);
	if (m->source)
		region_handle_put(m->source);
	if (m->ph)
		pool_handle_put(m->ph);
}

int verb_region_clone(struct session *s, const struct region_clone_request *want,
		      uint32_t *handles, struct refusal *why)
{
	struct making m[REGION_CLONES_MAX] = { 0 };
	int r;

	if (!want->nr || want->nr > REGION_CLONES_MAX)
		return refuse(why, -EINVAL, "%u clones at one instant; 1 to %d are possible",
			      want->nr, REGION_CLONES_MAX);
	if (want->again && find_all(s, want, m))
		r = finish(want, m, why);
	else
		r = clone_all(s, want, m, why);
	for (uint32_t i = 0; i < want->nr; i++) {
		handles[i] = m[i].handle;
		if (r)
			undo(s, &m[i]);
		unpin(&m[i]);
	}
	return r;
}

static uint64_t bytes_in(const struct making *m, uint32_t nr, const struct pool *pool)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < nr; i++)
		if (m[i].source && pool_of(&m[i]) == pool)
			bytes += m[i].source->pr->bytes;
	return bytes;
}

bool verb_clone_release(struct session *s, const struct region_clone_request *want)
{
	struct making m[REGION_CLONES_MAX] = { 0 };
	struct refusal unsaid = { 0 };
	bool released = false, found = true;

	for (uint32_t i = 0; i < want->nr && found; i++)
		found = !find_source(s, &want->clones[i], &m[i], &unsaid);
	for (uint32_t i = 0; i < want->nr && found; i++)
		released |= frames_release(pool_of(&m[i]), bytes_in(m, want->nr, pool_of(&m[i])));
	for (uint32_t i = 0; i < want->nr; i++)
		unpin(&m[i]);
	return released;
}

int verb_region_map(struct session *s, uint32_t handle, struct region_opened *out,
		    struct refusal *why)
{
	struct region_handle *rh = session_region(s, handle, why);
	int r;

	*out = (struct region_opened){ .fd = -1, .base_fd = -1 };
	if (!rh)
		return -EBADF;
	out->handle = handle;
	r = region_describe_again(s, rh, rh->readonly ? MMB_REGION_READONLY : 0, out);
	region_handle_put(rh);
	return r ? refuse(why, r, "the region's descriptor can't be passed: %s", strerror(-r)) : 0;
}

static void note_whole(void *arg)
{
	const struct rollback_past *past = arg;

	carried_note(past->carried, &past->request, past->region);
}

int region_roll_back(struct pool_region *pr, struct pool_region *snapshot,
		     struct rollback_past *past, struct refusal *why)
{
	int r = region_rollback(pr->region, snapshot->region, past ? note_whole : NULL, past);

	region_zap_poison(pr->region, (struct page_range){ 0, pr->region->nr_pages });
	if (r == -EINVAL)
		return refuse(why, r, "region and snapshot differ in length or page size");
	if (r == -EBUSY)
		return refuse(why, r, "a page that would change is locked; unlock it first");
	return r ? refuse(why, r, "the rollback stopped half-way: %s; repeat it", strerror(-r)) : 0;
}

static int roll_back(struct session *s, const struct region_rollback_args *args,
		     struct region_handle *rh, struct region_handle *from, struct refusal *why)
{
	struct rollback_past past = { &s->carried, args->past, rh->pr->id };

	if (rh->readonly)
		return refuse(why, -EACCES, "the region is open read-only");
	if (carried_before(past.carried, &past.request, 0))
		return 0;
	return region_roll_back(rh->pr, from->pr, &past, why);
}

int verb_region_rollback(struct session *s, const struct region_rollback_args *args, bool *poisoned,
			 struct refusal *why)
{
	struct region_handle *rh = session_region(s, args->region, why);
	struct region_handle *from = rh ? session_region(s, args->snapshot, why) : NULL;
	int r = from ? roll_back(s, args, rh, from, why) : -EBADF;

	*poisoned = rh && atomic_load(&rh->pr->region->nr_poisoned);
	if (from)
		region_handle_put(from);
	if (rh)
		region_handle_put(rh);
	return r;
}
