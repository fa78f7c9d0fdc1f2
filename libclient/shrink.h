/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shrink - the thread that calls the application's shrinkers when a pool is short of memory
 *
 * Purpose     Remembers what the daemon has asked for last, by pool, and calls what the application
 *             has registered, away from the pager, which others wait for.
 * Invariants  S1  one shrinker of a connection runs at a time; when unregister returns on another
 *                 thread, it isn't running and won't run again.
 *             S2  requests that come while shrinkers run are one request: the largest.
 *             S3  the thread exists from the first registration on.
 * Locking     lock; innermost, and never held while a shrinker runs.
 */
#ifndef MMB_LIBCLIENT_SHRINK_H
#define MMB_LIBCLIENT_SHRINK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "mmbroker.h"

struct shrinker;

/* l: lock */
struct shrinkers {
	pthread_mutex_t        lock;
	pthread_cond_t         changed;
	TAILQ_HEAD(, shrinker) list;    /* (l) in the order of registration */
	struct shrinker       *running; /* (l) NULL: none */
	bool                   started; /* (l) */
	bool                   stopped; /* (l) never starts again */
	pthread_t              thread;  /* (l) */
};

void shrink_init(struct shrinkers *all);
/* Of the pager: the daemon wants so many bytes of the pool. Doesn't wait. */
void shrink_ask(struct mmb_pool *pool, uint64_t bytes);
/* The pool is being closed: S1 for all of its shrinkers. */
void shrink_forget(struct mmb_pool *pool);
/* Ends and joins the thread. */
void shrink_stop(struct shrinkers *all);
void shrink_fini(struct shrinkers *all);

#endif
