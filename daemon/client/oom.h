/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oom - ends the biggest session of a pool that has promised more than there is
 *
 * Purpose     A pool made with MMB_POOL_OVERCOMMIT may find at a fault that no frame is to be had.
 *             With MMB_POOL_OOM_KILL the session that has most of that pool, in memory and swapped
 *             out, is ended through its pidfd, with a report of who, how much, why, and what was
 *             tried.
 * Invariants  O1  only sessions that have memory of that very pool are ever ended.
 *             O2  one at a time: the next one not before the last one's memory is back, or 5 s have
 *                 passed.
 * Locking     the keeper's thread only; sessions' locks while they are weighed.
 * Not here    Who is out of memory (mm/space/fault.c calls memcg_oom()), the other policy: the
 *             fault fails with SIGBUS.
 */
#ifndef MMB_CLIENT_OOM_H
#define MMB_CLIENT_OOM_H

#include "client/pool.h"

/* The pool needs so many frames and can't have them. */
void oom_handle(struct pool *pool, uint64_t frames);

#endif
