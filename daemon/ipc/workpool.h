/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workpool - threads for requests that may wait
 *
 * Purpose     Keeps populating, punching and walking off the control workers' event loops, and
 *             keeps clients whose requests are long, or don't get on, from holding every thread.
 *             Sessions take turns, one job at a time; of the threads some are for short jobs
 *             alone, and a user has no more of them than there are left for others. What doesn't
 *             need a thread now costs none of its memory: it sleeps since the start, and the one
 *             that slept last is woken first.
 * Invariants  O1  a queue stands in the ready list iff it has jobs and none of them runs.
 *             O2  a third of the threads runs no lengthy job.
 *             O3  a job begins only if its user, the uid of its queue, has fewer threads at work
 *                 than there are free ones; a lengthy one, besides, if its user has fewer lengthy
 *                 ones than may still begin, and than there are CPUs (at least two).
 *             O4  no job that may begin waits while a thread is idle.
 *             O5  jobs that have had a turn stand behind those that have not, but for every second
 *                 lengthy one.
 * Locking     one leaf mutex inside; jobs run with no lock held.
 * Not here    Which requests are lengthy (dispatch). The bound on a queue's length: a connection
 *             stops reading at its requests_in_flight. Background work without a client
 *             (base/workqueue).
 */
#ifndef MMB_IPC_WORKPOOL_H
#define MMB_IPC_WORKPOOL_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/list.h"
#include "ipc/lane.h"

struct job {
	struct list_head link; /* (p) */
	bool lengthy;  /* (c) while it is queued: it may take long */
	bool had_turn; /* (c) likewise: it has been run, and asked for another turn */
	void (*run)(struct job *job, struct lane *lane);
	/* Last: frees the job and lets go of what holds the queue. */
	void (*release)(struct job *job);
};

/* One session's jobs. c: fixed after init   p: the pool's lock */
struct job_queue {
	struct list_head ready;   /* (p) in the pool's list */
	struct list_head jobs;    /* (p) */
	uid_t            user;    /* (c) */
	bool             running; /* (p) one of its jobs */
};

struct workpool;

void job_queue_init(struct job_queue *queue, uid_t user);

int workpool_new(uint32_t nr_threads, const struct topology *topology, struct workpool **out);
/* Runs everything queued, ends the threads. NULL is fine. */
void workpool_free(struct workpool *pool);
/* The queue must stay until the job is released. */
void workpool_submit(struct workpool *pool, struct job_queue *queue, struct job *job);
/* Adds the threads' latencies to `into`. */
void workpool_latency(const struct workpool *pool, struct histogram *into);

#endif
