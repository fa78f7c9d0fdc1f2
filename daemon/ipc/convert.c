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

void pool_stat_reply_fill(Mmb__Wire__PoolStatReply *reply, const struct pool_stat *stat)
{
	mmb__wire__pool_stat_reply__init(reply);
	reply->committed = stat->committed;
	reply->resident = stat->resident;
	reply->arena = stat->arena;
	reply->locked = stat->locked;
	reply->max = stat->max;
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
	reply->sessions = stat->sessions;
}
