/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_limits - min, low, high, max and swap_max of a pool: which are right, who may set them
 *
 * Purpose     Checks what is asked for, keeps the sum of all guarantees (min) within what the
 *             broker has, and sets the pool's memcg. In bytes, as clients and operators say it.
 * Invariants  L1  total_min is the sum of min over all pools, and within the stocks' limits when a
 *                 min is granted.
 *             L2  max is never lowered below what the pool may still fill: what is committed, less
 *                 what may be swapped out; nor below what can't be reclaimed.
 *             L3  once an operator has set limits of a pool, its owner changes them no more.
 *             L4  nor to where swap has no slots for what it keeps out of memory, nor swap_max to
 *                 where there is no memory for what it keeps from going (phys/promise.h).
 * Crash       see pool_record_limits(): a change that nobody was told of is in force wholly, in
 *             part, or not at all, and L2 holds for each mixture.
 * Locking     one mutex (RANK_TABLE) for L1 to L4; readers need none.
 * Not here    Charging (mm/map/memcg.h), bringing a pool below a lowered limit (balance).
 */
#ifndef MMB_CLIENT_POOL_LIMITS_H
#define MMB_CLIENT_POOL_LIMITS_H

#include "client/verbs.h"
#include "mm/map/memcg.h"

struct pool;

void pool_limits_start(void);
void pool_limits_stop(void);

/* -EINVAL for limits that contradict each other. */
int pool_limits_check(const struct pool_limits *limits, struct refusal *why);
/* A new pool's. -EACCES, -ENOMEM: the guarantee can't be given. */
int pool_limits_init(struct pool *pool, const struct pool_limits *limits, const struct peer *by,
		     struct refusal *why);
/* Those of a predecessor's pool, in frames: when all that it has is charged. */
void pool_limits_resume(struct pool *pool, const uint64_t frames[NR_MEMCG_LIMITS], bool operated);
void pool_limits_fini(struct pool *pool);
/* Those that `set` names; the others stay. */
int pool_limits_change(struct pool *pool, const struct pool_limits *limits, uint32_t set,
		       const struct peer *by, struct refusal *why);
/* Limits that somebody else than its owner has given it (L3). */
void pool_limits_own(struct pool *pool, const struct peer *by);
/* As they were set, rounded down to pages. */
void pool_limits_get(const struct pool *pool, struct pool_limits *out);
/* What the pool may commit: max and what may be swapped out. UINT64_MAX: no limit. */
uint64_t pool_commit_limit(const struct pool *pool);

#endif
