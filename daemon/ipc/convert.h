/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert - the few structures that several methods have in common, between message and verb
 */
#ifndef MMB_IPC_CONVERT_H
#define MMB_IPC_CONVERT_H

#include "client/verbs.h"
#include "proto/wire.h"

/* NULL: the default policy. */
struct node_policy node_policy_of(const Mmb__Wire__NodePolicy *m);
struct pool_open_args pool_open_args_of(const Mmb__Wire__PoolOpenRequest *m);
/* Initialise and fill. */
void pool_stat_reply_fill(Mmb__Wire__PoolStatReply *reply, const struct pool_stat *stat);
void region_stat_reply_fill(Mmb__Wire__RegionStatReply *reply, const struct region_stat *stat);

#endif
