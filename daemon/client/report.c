/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report - status and lists
 *
 * Locking     each list is gathered one object at a time; one that goes meanwhile is left out.
 * Not here    Kernel-format texts (report_text.c), maps (report_maps.c), the verify walk
 *             (report_verify.c).
 */
#include "client/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/broker.h"
#include "client/pool_stat.h"
#include "client/session.h"
#include "mm/phys/meta.h"
#include "mm/phys/node.h"
#include "mm/space/lineage.h"
#include "os/os.h"

/* ---- status ---- */

static void add_stock(struct status_report *out, int node, enum stock_kind kind)
{
	struct stock_snapshot s;

	if (!stock_snapshot(node, kind, &s))
		return;
	out->stocks[out->nr_stocks++] = (struct stock_report){
		.node = (uint32_t)node,
		.stock = kind == STOCK_HUGE ? "huge" : "base",
		.reserve = s.reserve << PAGE_SHIFT,
		.held = s.held << PAGE_SHIFT,
		.present = s.present << PAGE_SHIFT,
		.committed = s.committed << PAGE_SHIFT,
		.margin = s.margin << PAGE_SHIFT,
	};
}

static void add_pool(struct pool *pool, void *arg)
{
	struct status_report *out = arg;
	struct pool_region *pr;

	mutex_lock(&pool->lock);
	list_for_each_entry(pr, &pool->regions, link)
		out->spanned += pr->bytes;
	list_for_each_entry(pr, &pool->lingering, link)
		out->spanned += pr->bytes;
	mutex_unlock(&pool->lock);
	out->metadata += leases_map_bytes(&pool->leases);
}

void report_status(struct status_report *out)
{
	*out = (struct status_report){
		.uptime_ms = (os->now_ns() - broker.started_ns) / 1000000,
		.pools = pool_count(),
		.sessions = session_count(),
		.regions = pool_region_live(),
		.metadata = broker_metadata_bytes(),
		.faults = atomic_load(&fault_stats.nr_faults),
		.fault_p50_ns = histogram_percentile(&fault_latency, 50),
		.fault_p99_ns = histogram_percentile(&fault_latency, 99),
		.poisoned = atomic_load(&fault_stats.nr_poisoned),
		.reserve_mode = broker.hold ? "hold" : "account",
		.topology = broker.topology.source,
	};
	pool_for_each(add_pool, out);
	for (int node = 0; node < nr_nodes; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++)
			add_stock(out, node, (enum stock_kind)kind);
}

/* ---- lists: the cursor is the id of the last entry ---- */

struct pool_list {
	uint64_t after;
	struct pool_report *out;
	uint32_t max, nr;
	bool more;
};

static void list_pool(struct pool *pool, void *arg)
{
	struct pool_list *l = arg;

	if (pool->id <= l->after)
		return;
	if (l->nr == l->max) {
		l->more = true;
		return;
	}
	l->out[l->nr] = (struct pool_report){ .id = pool->id,
					      .uid = pool->uid,
					      .gid = pool->gid,
					      .mode = pool->mode,
					      .is_private = pool->is_private };
	snprintf(l->out[l->nr].name, sizeof(l->out[l->nr].name), "%s", pool->name);
	pool_stat_take(pool, &l->out[l->nr].stat);
	l->nr++;
}

uint32_t report_pools(uint64_t after, struct pool_report *out, uint32_t max, uint64_t *next)
{
	struct pool_list l = { .after = after, .out = out, .max = max };

	pool_for_each(list_pool, &l);
	*next = l.more ? out[l.nr - 1].id : 0;
	return l.nr;
}

struct session_list {
	uint64_t after;
	struct session_report *out;
	uint32_t max, nr;
	bool more;
};

static void add_handles(struct session *s, struct session_report *r)
{
	struct region_handle *rh;
	struct pool_handle *ph;
	uint32_t cursor = 0, handle;

	while ((rh = handles_next(&s->regions, &cursor, &handle))) {
		r->regions++;
		if (!rh->pr->name[0])
			r->resident += lineage_charged(rh->pr->region)
				       << rh->pr->region->page_shift;
	}
	cursor = 0;
	while ((ph = session_next_share(s, &cursor))) {
		mutex_lock(&ph->lock);
		r->page_runs += ph->nr_frames << PAGE_SHIFT;
		r->leased += (uint64_t)max_t(int64_t, ph->nr_leased, 0) << SLAB_UNIT_SHIFT;
		mutex_unlock(&ph->lock);
	}
}

static void describe_session(struct session *s, struct session_report *r)
{
	*r = (struct session_report){
		.id = s->id,
		.pid = s->peer.pid,
		.uid = s->peer.uid,
		.gid = s->peer.gid,
		.requests = atomic_load(&s->nr_requests),
		.state = "live",
	};
	snprintf(r->name, sizeof(r->name), "%s", s->peer.name);
	mutex_lock(&s->lock);
	r->user_mode_only = s->user_mode_only;
	if (s->ended) {
		r->state = "ending";
	} else {
		add_handles(s, r);
		if (s->mm) {
			r->spanned = s->mm->spanned;
			r->faults = atomic_load(&s->mm->nr_faults);
			if (atomic_load(&s->mm->slow_until_ns))
				r->state = "slow";
		}
	}
	mutex_unlock(&s->lock);
}

static void list_session(struct session *s, void *arg)
{
	struct session_list *l = arg;

	if (s->id <= l->after)
		return;
	if (l->nr == l->max)
		l->more = true;
	else
		describe_session(s, &l->out[l->nr++]);
}

uint32_t report_sessions(uint64_t after, struct session_report *out, uint32_t max, uint64_t *next)
{
	struct session_list l = { .after = after, .out = out, .max = max };

	session_for_each(list_session, &l);
	*next = l.more ? out[l.nr - 1].id : 0;
	return l.nr;
}

struct region_list {
	uint64_t after;
	const char *pool;
	struct region_report *out;
	uint32_t max, nr;
	bool more;
};

static void list_one_region(struct region_list *l, const struct pool_region *pr)
{
	struct region_report *r = &l->out[l->nr++];

	*r = (struct region_report){ .id = pr->id,
				     .uid = pr->uid,
				     .gid = pr->gid,
				     .mode = pr->mode,
				     .parent = atomic_load(&pr->parent),
				     .region = pr->region,
				     .hugetlb = region_is_hugetlb(pr->region) };
	region_get(pr->region);
	snprintf(r->name, sizeof(r->name), "%s", pr->name);
	snprintf(r->pool, sizeof(r->pool), "%s", pr->pool->name);
	region_stat_take(pr, &r->stat);
}

/* Keeps the `max` lowest ids above the cursor, whatever order pools and lists have. */
static void list_pool_regions(struct pool *pool, void *arg)
{
	struct region_list *l = arg;
	struct pool_region *pr;

	if (l->pool[0] && !pool_has_name(pool, l->pool))
		return;
	mutex_lock(&pool->lock);
	list_for_each_entry(pr, &pool->regions, link) {
		uint32_t worst = 0;

		if (pr->id <= l->after)
			continue;
		if (l->nr < l->max) {
			list_one_region(l, pr);
			continue;
		}
		l->more = true;
		for (uint32_t i = 1; i < l->nr; i++)
			if (l->out[i].id > l->out[worst].id)
				worst = i;
		if (pr->id < l->out[worst].id) {
			region_put(l->out[worst].region);
			l->out[worst] = l->out[--l->nr];
			list_one_region(l, pr);
		}
	}
	mutex_unlock(&pool->lock);
}

static int by_id(const void *a, const void *b)
{
	const struct region_report *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

uint32_t report_regions(uint64_t after, const char *pool, struct region_report *out, uint32_t max,
			uint64_t *next)
{
	struct region_list l = { .after = after, .pool = pool, .out = out, .max = max };

	pool_for_each(list_pool_regions, &l);
	qsort(out, l.nr, sizeof(*out), by_id);
	*next = l.more ? out[l.nr - 1].id : 0;
	for (uint32_t i = 0; i < l.nr; i++) {
		region_stat_count(out[i].region, &out[i].stat);
		region_put(out[i].region);
		out[i].region = NULL;
	}
	return l.nr;
}

struct pool_wanted {
	const char *name;
	bool found;
};

static void compare_name(struct pool *pool, void *arg)
{
	struct pool_wanted *wanted = arg;

	wanted->found |= pool_has_name(pool, wanted->name);
}

int report_no_pool(const char *pool, struct refusal *why)
{
	return refuse(why, -ENOENT, "no pool is named '%s'; 'mmbctl pools' lists them", pool);
}

int report_check_pool(const char *pool, struct refusal *why)
{
	struct pool_wanted wanted = { .name = pool, .found = !pool[0] };

	pool_for_each(compare_name, &wanted);
	return wanted.found ? 0 : report_no_pool(pool, why);
}
