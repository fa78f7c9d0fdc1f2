/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oom - weighs the sessions of a pool, reports, and ends one
 */
#include "client/oom.h"

#include <stdio.h>

#include "base/log.h"
#include "client/session.h"
#include "client/slab_map.h"
#include "mm/space/lineage.h"
#include "os/os.h"

static const uint64_t patience_ns = 5ull * 1000 * 1000 * 1000;
static const uint64_t grace_ns = 100 * 1000 * 1000;

/* What a session has of the pool, in bytes. Of what it shares with others, its part; of closed
 * regions, what is charged for its clones of them. */
struct weight {
	uint64_t regions, swapped, runs, leased;
};

struct search {
	const struct pool *pool;
	struct session *victim; /* referenced; NULL: none yet */
	struct weight weight;
	uint32_t nr; /* sessions that have memory of it */
};

static uint64_t sum_of(const struct weight *w)
{
	return w->regions + w->swapped + w->runs + w->leased;
}

static void weigh_region(const struct region_handle *rh, struct weight *w)
{
	struct region *region = rh->pr->region;
	uint64_t parts = max_t(uint32_t, atomic_load(&rh->pr->nr_handles), 1);

	w->regions += (lineage_charged(region) << region->page_shift) / parts;
	w->swapped += (atomic_load(&region->nr_swapped) << region->page_shift) / parts;
}

static void weigh(struct session *s, const struct pool *pool, struct weight *w)
{
	struct region_handle *rh;
	struct pool_handle *ph;
	uint32_t cursor = 0, handle;

	*w = (struct weight){ 0 };
	mutex_lock(&s->lock);
	while (!s->ended && (rh = handles_next(&s->regions, &cursor, &handle)))
		if (rh->pr->pool == pool)
			weigh_region(rh, w);
	cursor = 0;
	while (!s->ended && (ph = session_next_share(s, &cursor))) {
		if (ph->pool != pool)
			continue;
		mutex_lock(&ph->lock);
		w->runs += ph->nr_frames << PAGE_SHIFT;
		w->leased += (uint64_t)max_t(int64_t, ph->nr_leased, 0) << SLAB_UNIT_SHIFT;
		mutex_unlock(&ph->lock);
	}
	mutex_unlock(&s->lock);
}

static void consider(struct session *s, void *arg)
{
	struct search *search = arg;
	struct weight w;

	weigh(s, search->pool, &w);
	if (!sum_of(&w))
		return;
	search->nr++;
	log_emit_limited(LOG_WARNING, "oom_candidate",
			 "session %llu (pid %d, %s): %llu KiB of regions, %llu swapped out, %llu "
			 "of page runs, %llu of objects",
			 (unsigned long long)s->id, s->peer.pid, s->peer.name,
			 (unsigned long long)w.regions >> 10, (unsigned long long)w.swapped >> 10,
			 (unsigned long long)w.runs >> 10, (unsigned long long)w.leased >> 10);
	if (search->victim && sum_of(&w) <= sum_of(&search->weight))
		return;
	if (search->victim)
		session_put(search->victim);
	session_get(s);
	search->victim = s;
	search->weight = w;
}

static unsigned long long kib(uint64_t frames)
{
	return (unsigned long long)frames << (PAGE_SHIFT - 10);
}

struct limit_text {
	char text[24];
};

static struct limit_text limit_text(const struct memcg *m, enum memcg_limit which)
{
	uint64_t frames = memcg_limit(m, which);
	struct limit_text out = { "none" };

	if (frames != MEMCG_NO_LIMIT)
		snprintf(out.text, sizeof(out.text), "%llu", kib(frames));
	return out;
}

static void report(const struct pool *pool, uint64_t frames)
{
	const struct memcg *m = &pool->memcg;
	struct limit_text swap_max = limit_text(m, MEMCG_SWAP_MAX);
	struct limit_text max = limit_text(m, MEMCG_MAX);

	log_emit(LOG_ERR, "oom",
		 "pool %s can't have %llu KiB more: regions %llu, arena %llu, page tables %llu, "
		 "locked %llu, swap %llu of %s, max %s, committed %llu KiB; reclaim found "
		 "nothing to free, and its clients were asked",
		 pool->name[0] ? pool->name : "(private)", kib(frames),
		 kib(memcg_read(m, MEMCG_REGION)), kib(memcg_read(m, MEMCG_ARENA)),
		 kib(memcg_read(m, MEMCG_TABLES)), kib(memcg_read(m, MEMCG_LOCKED)),
		 kib(memcg_read(m, MEMCG_SWAP)), swap_max.text, max.text,
		 (unsigned long long)atomic_load(&pool->committed) >> 10);
}

static void finish(struct pool *pool, const struct search *search)
{
	char why[160];

	snprintf(why, sizeof(why),
		 "out of memory in pool %s: the biggest of %u sessions, with %llu KiB",
		 pool->name[0] ? pool->name : "(private)", search->nr,
		 (unsigned long long)sum_of(&search->weight) >> 10);
	memcg_event(&pool->memcg, MEMCG_EVENT_OOM_KILL);
	memcg_event(memcg_root(), MEMCG_EVENT_OOM_KILL);
	pool->oom_session = search->victim->id;
	pool->oom_ns = os->now_ns();
	pool->oom_seen_ns = pool->oom_ns;
	session_end_client(search->victim, why);
}

struct looking {
	uint64_t id;
	bool found;
};

static void look(struct session *s, void *arg)
{
	struct looking *l = arg;

	l->found |= s->id == l->id;
}

/* O2 */
static bool waits_for_last(struct pool *pool)
{
	struct looking l = { .id = pool->oom_session };

	if (!pool->oom_session || os->now_ns() - pool->oom_ns >= patience_ns)
		return false;
	session_for_each(look, &l);
	/* Between the list of sessions and that of ending regions it is on neither for a moment;
	 * and what was asked before its memory came back may be had by now. */
	if (l.found || regions_ending())
		pool->oom_seen_ns = os->now_ns();
	return os->now_ns() - pool->oom_seen_ns < grace_ns;
}

void oom_handle(struct pool *pool, uint64_t frames)
{
	struct search search = { .pool = pool };

	if (!atomic_load(&pool->memcg.oom_kill) || waits_for_last(pool))
		return;
	report(pool, frames);
	session_for_each(consider, &search);
	if (!search.victim) {
		log_emit_limited(LOG_ERR, "oom_nobody", "no session has memory of pool %s",
				 pool->name);
		return;
	}
	finish(pool, &search);
	session_put(search.victim);
}
