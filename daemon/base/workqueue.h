/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workqueue - a few threads that run embedded work items in order of arrival
 *
 * Purpose     Background work of the daemon: populating ahead, giving memory back, refilling.
 * Invariants  Q1  an item is queued at most once; queueing it again while it waits does nothing.
 * Locking     one leaf mutex inside; items run with no lock held, on a thread with a CPU slot.
 * Not here    Requests of clients, which need fairness (ipc/workpool).
 */
#ifndef MMB_BASE_WORKQUEUE_H
#define MMB_BASE_WORKQUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/lock.h"

struct work {
	struct list_head link;
	void (*run)(struct work *work);
};

enum { WORKQUEUE_THREADS_MAX = 16 };

/* c: fixed after init   q: lock */
struct workqueue {
	struct mutex lock;
	pthread_cond_t wanted;
	struct list_head items;  /* (q) */
	uint64_t nr_added;       /* (q) ever */
	uint64_t nr_done;        /* (q) ever */
	pthread_cond_t done;
	bool stopping;                            /* (q) */
	char name[16];                            /* (c) of the threads */
	unsigned int nr_threads;                  /* (c) */
	pthread_t threads[WORKQUEUE_THREADS_MAX]; /* (c) */
};

static inline void work_init(struct work *work, void (*run)(struct work *work))
{
	list_init(&work->link);
	work->run = run;
}

/* `name` becomes the threads' name. Negative errno if no thread can be started. */
int workqueue_init(struct workqueue *queue, const char *name, unsigned int nr_threads);
/* Runs what is queued, then ends the threads. */
void workqueue_fini(struct workqueue *queue);
/* False if the item was queued already. */
bool workqueue_add(struct workqueue *queue, struct work *work);
/* From the first to the second call, no thread is woken for what the caller adds: so that whoever
 * is answered in between has a CPU before it. The caller waits for none of it in between. */
void workqueue_hold_wakes(void);
void workqueue_send_wakes(void);
/* Waits until as many items have been run as have been queued so far: all of them, unless somebody
 * adds others meanwhile, who can't make it wait longer. */
void workqueue_flush(struct workqueue *queue);

#endif
