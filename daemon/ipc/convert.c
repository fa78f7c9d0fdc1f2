/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert - field by field
 *
 * Locking     none.
 */
#include "ipc/convert.h"

struct node_policy node_policy_of(const Mmb__Wire__NodePolicy *m)
{
	if (!m)
		return (struct node_policy){ 0 };
	return (struct node_policy){ .policy = m->policy, .mask = m->mask };
}

struct pool_open_args pool_open_args_of(const Mmb__Wire__PoolOpenRequest *m)
{
	return (struct pool_open_args){
		.name = m->name,
		.flags = m->flags,
		.mode = m->mode,
		.limits = { m->min, m->low, m->high, m->max, m->swap_max },
		.nodes = node_policy_of(m->nodes),
	};
}

void pool_stat_reply_fill(Mmb__Wire__PoolStatReply *reply, const struct pool_stat *stat)
{
	mmb__wire__pool_stat_reply__init(reply);
	reply->committed = stat->committed;
	reply->resident = stat->resident;
	reply->arena = stat->arena;
	reply->locked = stat->locked;
	reply->swapped = stat->swapped;
	reply->min = stat->limits.min;
	reply->low = stat->limits.low;
	reply->high = stat->limits.high;
	reply->max = stat->limits.max;
	reply->swap_max = stat->limits.swap_max;
	reply->some_stall_us = stat->some_stall_us;
	reply->full_stall_us = stat->full_stall_us;
	reply->peak = stat->peak;
	reply->sessions = stat->sessions;
	reply->regions = stat->regions;
	reply->refused = stat->refused;
	reply->leased = stat->leased;
}

void region_stat_reply_fill(Mmb__Wire__RegionStatReply *reply, const struct region_stat *stat)
{
	mmb__wire__region_stat_reply__init(reply);
	reply->length = stat->length;
	reply->page_size = stat->page_size;
	reply->resident = stat->resident;
	reply->locked = stat->locked;
	reply->faults = stat->faults;
	reply->write_faults = stat->write_faults;
	reply->swapped = stat->swapped;
	reply->refaults = stat->refaults;
	reply->shared = stat->shared;
	reply->own = stat->own;
	reply->inherited = stat->inherited;
	reply->charged = stat->charged;
	reply->sessions = stat->sessions;
}
