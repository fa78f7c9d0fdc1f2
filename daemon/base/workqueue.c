/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workqueue - the threads and their queue
 */
#include "base/workqueue.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/cpu.h"
#include "base/heartbeat.h"
#include "base/inject.h"

enum { HELD_MAX = 16 };
/* o: its thread only. One entry an item. */
static _Thread_local struct held {
	struct workqueue *queues[HELD_MAX]; /* (o) */
	unsigned int nr;                    /* (o) */
	bool holds;                         /* (o) */
} held;

static void run_one(struct workqueue *queue)
{
	struct work *work = list_first_entry(&queue->items, struct work, link);

	list_del(&work->link);
	mutex_unlock(&queue->lock);
	heartbeat_touch();
	INJECT_TURN(QUEUE_TURN);
	work->run(work);
	mutex_lock(&queue->lock);
	queue->nr_done++;
	pthread_cond_broadcast(&queue->done);
}

static void wait_for_work(struct workqueue *queue)
{
	heartbeat_idle();
	mutex_wait(&queue->lock, &queue->wanted);
	heartbeat_touch();
}

static void *worker(void *argument)
{
	struct workqueue *queue = argument;
	struct heartbeat hb;

	pthread_setname_np(pthread_self(), queue->name);
	heartbeat_register(&hb, queue->name);
	cpu_slot_register(0);
	mutex_lock(&queue->lock);
	for (;;) {
		if (!list_empty(&queue->items))
			run_one(queue);
		else if (queue->stopping)
			break;
		else
			wait_for_work(queue);
	}
	mutex_unlock(&queue->lock);
	cpu_slot_unregister();
	heartbeat_unregister(&hb);
	return NULL;
}

int workqueue_init(struct workqueue *queue, const char *name, unsigned int nr_threads)
{
	CHECK(nr_threads > 0 && nr_threads <= WORKQUEUE_THREADS_MAX);
	mutex_init(&queue->lock, RANK_LEAF, name);
	pthread_cond_init(&queue->wanted, NULL);
	pthread_cond_init(&queue->done, NULL);
	list_init(&queue->items);
	queue->nr_added = queue->nr_done = 0;
	queue->stopping = false;
	snprintf(queue->name, sizeof(queue->name), "%s", name);
	for (queue->nr_threads = 0; queue->nr_threads < nr_threads; queue->nr_threads++) {
		pthread_t *thread = &queue->threads[queue->nr_threads];

		if (pthread_create(thread, NULL, worker, queue)) {
			workqueue_fini(queue);
			return -EAGAIN;
		}
	}
	return 0;
}

void workqueue_fini(struct workqueue *queue)
{
	mutex_lock(&queue->lock);
	queue->stopping = true;
	pthread_cond_broadcast(&queue->wanted);
	mutex_unlock(&queue->lock);
	for (unsigned int i = 0; i < queue->nr_threads; i++)
		pthread_join(queue->threads[i], NULL);
	CHECK(list_empty(&queue->items));
	pthread_cond_destroy(&queue->wanted);
	pthread_cond_destroy(&queue->done);
	mutex_fini(&queue->lock);
}

bool workqueue_add(struct workqueue *queue, struct work *work)
{
	bool added = false;

	mutex_lock(&queue->lock);
	if (list_empty(&work->link)) {
		list_add_tail(&work->link, &queue->items);
		queue->nr_added++;
		added = true;
	}
	mutex_unlock(&queue->lock);
	/* Under the lock the thread would wake only to wait for it. */
	if (added && held.holds && held.nr < HELD_MAX)
		held.queues[held.nr++] = queue;
	else if (added)
		pthread_cond_signal(&queue->wanted);
	return added;
}

void workqueue_hold_wakes(void)
{
	held.holds = true;
}

void workqueue_send_wakes(void)
{
	held.holds = false;
	while (held.nr)
		pthread_cond_signal(&held.queues[--held.nr]->wanted);
}

void workqueue_flush(struct workqueue *queue)
{
	uint64_t until;

	mutex_lock(&queue->lock);
	until = queue->nr_added;
	while (queue->nr_done < until)
		mutex_wait(&queue->lock, &queue->done);
	mutex_unlock(&queue->lock);
}
