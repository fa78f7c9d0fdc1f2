/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_pages - page runs: taken for a session, listed on its handle, given back
 *
 * Crash       a run is granted from the moment that its owner is set, and given back from the
 *             moment that it is claimed, each by itself: the next daemon frees what has no owner
 *             and what is claimed. A request that is repeated is answered with the runs that it was
 *             granted, and takes back those that it had named and that are older than itself.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/inject.h"
#include "client/arena_ahead.h"
#include "client/gate.h"
#include "client/pool_limits.h"
#include "client/runs.h"
#include "mm/phys/node.h"
#include "os/os.h"
#include "proto/methods.h"

/* A request that may not fail waits in small parts, so that it holds neither the thread nor the
 * gate against those who could free something. */
static const uint64_t nofail_ns = 30ull * 1000 * 1000 * 1000, nofail_part_ns = 10 * 1000 * 1000;

/* The node of the mask that is nearest to `node`. */
static int nearest_of(int node, uint64_t mask)
{
	const struct zonelist *list = node_zonelist(node, ZONELIST_FALLBACK);

	for (uint32_t i = 0; i < list->nr; i++)
		if (mask >> list->nodes[i] & 1)
			return list->nodes[i];
	return node;
}

static void alloc_nodes(const struct session *s, const struct pool *pool,
			struct alloc_request *want)
{
	int home = session_home_node(s);

	want->node = home;
	want->nodes = 0;
	switch (pool->nodes.policy) {
	case POLICY_BIND:
	case POLICY_INTERLEAVE:
		want->nodes = pool->nodes.mask;
		if (want->nodes)
			want->node = nearest_of(home, want->nodes);
		break;
	case POLICY_PREFERRED:
		if (pool->nodes.mask)
			want->node = __builtin_ctzll(pool->nodes.mask);
		break;
	default:
		break;
	}
}

void runs_free(struct page *const *pages, uint32_t nr, uint32_t order)
{
	gate_enter();
	for (uint32_t i = 0; i < nr; i++)
		free_pages(pages[i], order);
	gate_leave();
}

/* Read here, behind the grant: a free that made room for it had been read by then. */
void runs_note(struct page *page, const struct request_past *past)
{
	page->grant = (struct page_grant){
		.request = past->id,
		.heard = past->heard ? atomic_load(past->heard) : 0,
	};
}

/* What the request has got from a daemon that died before it could say so: the answer again. */
static uint32_t find_again(struct pool_handle *ph, const struct pages_args *args)
{
	struct page *page;
	uint32_t got = 0;

	mutex_lock(&ph->lock);
	list_for_each_entry(page, &ph->runs, lru)
		if (page->grant.request == args->past.id && pg_order(page) == args->order &&
		    got < args->nr)
			args->addresses[got++] =
				pool_pfn_to_address(ph->pool, page_to_pfn(page));
	mutex_unlock(&ph->lock);
	return got;
}

/* The runs become the handle's, or go back if it has been closed meanwhile. The owner is set last,
 * under the lock that a free takes: before that nobody can claim a run that is on no list. */
static int keep_runs(struct pool_handle *ph, struct page **pages, uint32_t nr,
		     const struct pages_args *args)
{
	uint32_t order = args->order;
	bool closed;

	mutex_lock(&ph->lock);
	closed = ph->closed;
	for (uint32_t i = 0; i < nr && !closed; i++) {
		list_add_tail(&pages[i]->lru, &ph->runs);
		runs_note(pages[i], &args->past);
		page_set_owner(pages[i], ph->id, (uint32_t)ph->pool->id);
	}
	if (!closed)
		ph->nr_frames += (uint64_t)nr << order;
	mutex_unlock(&ph->lock);
	if (!closed)
		return 0;
	runs_free(pages, nr, order);
	return -ENOTCONN;
}

static int nth_node(uint64_t mask, uint32_t n)
{
	while (n--)
		mask &= mask - 1;
	return __builtin_ctzll(mask);
}

/* The same number from each node of the mask; each request begins at another one. */
static int alloc_interleaved(struct pool *pool, struct alloc_request *want, uint32_t nr,
			     struct page **pages)
{
	uint32_t turn = atomic_fetch_add_explicit(&pool->next_turn, 1, memory_order_relaxed);
	uint64_t mask = want->nodes ? want->nodes : (1ull << nr_nodes) - 1;
	uint32_t nr_turns = (uint32_t)__builtin_popcountll(mask);
	uint32_t got = 0;
	int r = -ENOMEM;

	for (uint32_t i = 0; i < nr_turns && got < nr; i++) {
		uint32_t left = nr_turns - i;

		want->node = nth_node(mask, (turn + i) % nr_turns);
		r = alloc_pages_bulk(want, (nr - got + left - 1) / left, pages + got);
		got += r > 0 ? (uint32_t)r : 0;
	}
	return got ? (int)got : r;
}

int runs_alloc(struct session *s, struct pool_handle *ph, const struct pages_args *args,
	       struct page **pages, uint32_t *got, struct refusal *why)
{
	struct alloc_failure failure = { 0 };
	struct alloc_request want = {
		.zones = &ph->pool->zones,
		.gfp = args->gfp,
		.order = args->order,
		.pool = (uint32_t)ph->pool->id,
		.deadline_ns = os->now_ns() + nofail_part_ns,
		.at_once = args->at_once,
		.to_min = args->to_min,
		.others_wait = gate_closes,
		.failure = &failure,
	};
	int r;

	alloc_nodes(s, ph->pool, &want);
	gate_enter();
	if (ph->pool->nodes.policy == POLICY_INTERLEAVE)
		r = alloc_interleaved(ph->pool, &want, args->nr, pages);
	else
		r = alloc_pages_bulk(&want, args->nr, pages);
	gate_leave();
	if (r == -EAGAIN)
		return r;
	if (r == -ENOMEM && args->gfp & GFP_NOFAIL && os->now_ns() - args->since_ns < nofail_ns)
		return -EAGAIN;
	if (r < 0) {
		atomic_fetch_add(&ph->pool->nr_refused, r == -ENOMEM);
		alloc_failure_format(&failure, why->text, sizeof(why->text));
		return r;
	}
	*got = (uint32_t)r;
	return 0;
}

static int alloc_runs(struct session *s, struct pool_handle *ph, const struct pages_args *args,
		      uint32_t *got, struct refusal *why)
{
	struct page *pages[MMB_PAGES_BATCH];
	int r = runs_alloc(s, ph, args, pages, got, why);

	if (r)
		return r;
	for (uint32_t i = 0; i < *got; i++)
		args->addresses[i] = pool_pfn_to_address(ph->pool, page_to_pfn(pages[i]));
	r = keep_runs(ph, pages, *got, args);
	return r ? refuse(why, r, "the pool handle has been closed") : 0;
}

int runs_check_gfp(uint32_t gfp, struct refusal *why)
{
	if (gfp & ~(uint32_t)GFP_ALL)
		return refuse(why, -EINVAL, "gfp flags %#x have unknown bits; known are %#x", gfp,
			      GFP_ALL);
	return 0;
}

bool frames_at_rest(void)
{
	return gate_closes();
}

bool frames_idle(void)
{
	struct zone *zone = zone_walk_next(NULL);

	while (zone && (zone->type != ZONE_NORMAL || !zone_nr_empty_blocks(zone)))
		zone = zone_walk_next(zone);
	if (zone)
		zone_walk_end(zone);
	return zone != NULL;
}

bool frames_release(const struct pool *pool, uint64_t bytes)
{
	uint64_t committed = atomic_load(&pool->committed), limit = pool_commit_limit(pool);
	bool own = committed > limit || bytes > limit - committed;
	uint32_t nr = 0;

	gate_enter();
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone))
		if (zone->type == ZONE_NORMAL && (!own || zone->owner == pool) &&
		    zone_nr_empty_blocks(zone))
			nr += zone_shrink(zone, 0, UINT32_MAX);
	gate_leave();
	return nr;
}

static bool may_wait(uint32_t gfp)
{
	return !(gfp & (GFP_NOWAIT | GFP_ATOMIC));
}

bool runs_release(const struct pool *pool, uint32_t gfp)
{
	return may_wait(gfp) && frames_release(pool, PAGEBLOCK_SIZE);
}

bool runs_settle(uint32_t gfp, bool settling)
{
	if (!may_wait(gfp) || !(arenas_ahead_drop() || settling || frames_settling()))
		return false;
	frames_settle();
	return true;
}

static int check_pages_args(const struct pages_args *args, struct refusal *why)
{
	if (args->order > MAX_ORDER)
		return refuse(why, -EINVAL, "order %u is too large; the largest is %d", args->order,
			      MAX_ORDER);
	if (!args->nr || args->nr > MMB_PAGES_BATCH)
		return refuse(why, -EINVAL, "%u page runs in one request; it takes 1 to %d",
			      args->nr, MMB_PAGES_BATCH);
	return runs_check_gfp(args->gfp, why);
}

int verb_pages_alloc(struct session *s, const struct pages_args *args, uint32_t *got,
		     struct refusal *why)
{
	bool settling = frames_settling();
	struct pool_handle *ph;
	int r = check_pages_args(args, why);

	*got = 0;
	if (r)
		return r;
	ph = session_pool(s, args->pool, why);
	if (!ph)
		return -EBADF;
	r = pool_make_arena(ph->pool, why);
	if (!r && args->past.again)
		*got = find_again(ph, args);
	if (!r && !*got)
		r = alloc_runs(s, ph, args, got, why);
	if (r == -ENOMEM && runs_settle(args->gfp, settling))
		r = alloc_runs(s, ph, args, got, why);
	if (r == -ENOMEM && runs_release(ph->pool, args->gfp))
		r = alloc_runs(s, ph, args, got, why);
	INJECT_TURN(PAGES_DONE);
	pool_handle_put(ph);
	return r;
}

/* All or none: what was claimed before the first wrong one is let go. */
static int claim_runs(struct pool_handle *ph, const struct pages_args *args, struct page **pages,
		      struct refusal *why)
{
	for (uint32_t i = 0; i < args->nr; i++) {
		struct free_request want = {
			.zones = &ph->pool->zones,
			.pfn = pool_address_to_pfn(ph->pool, args->addresses[i]),
			.order = args->order,
			.session = ph->id,
			.before = args->past.again ? args->past.id : 0,
		};
		enum free_fault fault = FREE_FOREIGN;
		int r = is_aligned(args->addresses[i], PAGE_SIZE)
				? page_claim(&want, &pages[i], &fault)
				: -EINVAL;

		uint64_t bad = args->addresses[i];

		if (!r)
			continue;
		while (i--)
			page_unclaim(pages[i]);
		return refuse(why, -EINVAL, "freeing %#llx as a run of order %u: %s",
			      (unsigned long long)bad, args->order, free_fault_text(fault));
	}
	return 0;
}

static int free_runs(struct pool_handle *ph, const struct pages_args *args, struct refusal *why)
{
	struct page *pages[MMB_PAGES_BATCH];
	int r;

	gate_enter();
	mutex_lock(&ph->lock);
	if (ph->closed)
		r = refuse(why, -ENOTCONN, "the pool handle has been closed");
	else
		r = claim_runs(ph, args, pages, why);
	if (!r) {
		for (uint32_t i = 0; i < args->nr; i++)
			list_del(&pages[i]->lru);
		ph->nr_frames -= (uint64_t)args->nr << args->order;
	}
	mutex_unlock(&ph->lock);
	for (uint32_t i = 0; i < args->nr && !r; i++)
		free_claimed_page(pages[i]);
	gate_leave();
	return r;
}

/* Each by itself: some of them may have been freed before the daemon died. */
static int free_again(struct pool_handle *ph, const struct pages_args *args)
{
	struct refusal unused;

	for (uint32_t i = 0; i < args->nr; i++) {
		struct pages_args one = *args;

		one.nr = 1;
		one.addresses = &args->addresses[i];
		free_runs(ph, &one, &unused);
	}
	return 0;
}

int verb_pages_free(struct session *s, const struct pages_args *args, struct refusal *why)
{
	struct pool_handle *ph;
	int r = check_pages_args(args, why);

	if (r)
		return r;
	ph = session_pool(s, args->pool, why);
	if (!ph)
		return -EBADF;
	r = args->past.again ? free_again(ph, args) : free_runs(ph, args, why);
	INJECT_TURN(FREE_DONE);
	pool_handle_put(ph);
	return r;
}
