/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workpool - a few threads for requests that may wait
 *
 * Purpose     Keeps populating, punching and walking off the control workers' event loops.
 *             Sessions take turns, one job at a time, so that a client with many slow requests
 *             delays its own and nobody else's.
 * Invariants  O1  a queue stands in the ready list iff it has jobs and may start one more.
 *             O2  a queue runs at most half of the threads at once (at least one).
 * Locking     one leaf mutex inside; jobs run with no lock held.
 * Not here    The bound on a queue's length: a connection stops reading at its
 *             requests_in_flight. Background work without a client (base/workqueue).
 */
#ifndef MMB_IPC_WORKPOOL_H
#define MMB_IPC_WORKPOOL_H

#include "base/list.h"
#include "ipc/lane.h"

struct job {
	struct list_head link; /* p */
	void (*run)(struct job *job, struct lane *lane);
	/* Last: frees the job and lets go of what holds the queue. */
	void (*release)(struct job *job);
};

/* One session's jobs. p: the pool's lock */
struct job_queue {
	struct list_head ready;      /* (p) in the pool's list */
	struct list_head jobs;       /* (p) */
	uint32_t         nr_running; /* (p) */
};

struct workpool;

void job_queue_init(struct job_queue *queue);

int workpool_new(uint32_t nr_threads, const struct topology *topology, struct workpool **out);
/* Runs everything queued, ends the threads. NULL is fine. */
void workpool_free(struct workpool *pool);
/* The queue must stay until the job is released. */
void workpool_submit(struct workpool *pool, struct job_queue *queue, struct job *job);
/* Adds the threads' latencies to `into`. */
void workpool_latency(const struct workpool *pool, struct histogram *into);

#endif
