/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relief - asks the clients of a pool for memory that they can do without (PRESSURE)
 *
 * Purpose     Turns memcg_pressure() into upcalls: to each session that has the pool open, for its
 *             share. Nobody waits for an answer; what comes back is seen in the counters.
 * Invariants  A1  a pool's clients are asked at most ten times a second; while pressure goes on,
 *                 half as often each time, down to once in three seconds.
 * Locking     the keeper's thread only.
 * Not here    When memory is short (mm/map/memcg.h, balance), what a client does about it (the
 *             library's shrinkers).
 */
#ifndef MMB_CLIENT_RELIEF_H
#define MMB_CLIENT_RELIEF_H

#include "client/pool.h"

/* Of pools above high, and of those that memcg_pressure() was called for; and memcg_oom(). */
void relief_run(void);
void relief_ask(struct pool *pool, enum memcg_level level, uint64_t bytes);

#endif
