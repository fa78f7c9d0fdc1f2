/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workpool - threads that take one job from each queue in turn
 *
 * Locking     the pool's lock guards the ready list and all queues; jobs run without it.
 */
#include "ipc/workpool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/lock.h"

/* c: fixed after init   p: lock */
struct work_thread {
	struct workpool *pool;    /* (c) */
	struct lane     *lane;    /* (c) */
	pthread_t        thread;  /* (c) */
	uint32_t         index;   /* (c) */
};

struct workpool {
	struct mutex           lock;
	pthread_cond_t         wanted;
	struct list_head       ready;      /* (p) queues, in turn */
	bool                   stopping;   /* (p) */
	const struct topology *topology;   /* (c) */
	uint32_t               share;      /* (c) O2 */
	uint32_t               nr_threads; /* (c) */
	struct work_thread     threads[];  /* (c) */
};

void job_queue_init(struct job_queue *queue)
{
	list_init(&queue->ready);
	list_init(&queue->jobs);
	queue->nr_running = 0;
}

/* Restores O1 after the queue gained or lost a job; true: a thread is wanted, to be woken best when
 * the lock is free. */
static bool queue_settle_locked(struct workpool *pool, struct job_queue *queue)
{
	bool wants = !list_empty(&queue->jobs) && queue->nr_running < pool->share;

	mutex_assert_held(&pool->lock);
	if (!wants) {
		list_del(&queue->ready);
		return false;
	}
	if (!list_empty(&queue->ready))
		return false;
	list_add_tail(&queue->ready, &pool->ready);
	return true;
}

/* The next queue in turn, with one job taken off it; NULL when there is none. */
static struct job_queue *take_job_locked(struct workpool *pool, struct job **out)
{
	struct job_queue *queue;

	if (list_empty(&pool->ready))
		return NULL;
	queue = list_first_entry(&pool->ready, struct job_queue, ready);
	*out = list_first_entry(&queue->jobs, struct job, link);
	list_del(&(*out)->link);
	queue->nr_running++;
	list_del(&queue->ready);
	if (queue_settle_locked(pool, queue))
		pthread_cond_signal(&pool->wanted);
	return queue;
}

static void *work_thread_run(void *arg)
{
	struct work_thread *self = arg;
	struct workpool    *pool = self->pool;
	struct heartbeat    hb;
	char                name[16];

	snprintf(name, sizeof(name), "mmb-work%u", self->index);
	heartbeat_register(&hb, name);
	lane_thread_enter(name, pool->topology);
	mutex_lock(&pool->lock);
	for (;;) {
		struct job       *job;
		struct job_queue *queue = take_job_locked(pool, &job);

		if (queue) {
			mutex_unlock(&pool->lock);
			heartbeat_touch();
			INJECT_TURN(WORK_TURN);
			job->run(job, self->lane);
			mutex_lock(&pool->lock);
			queue->nr_running--;
			if (queue_settle_locked(pool, queue))
				pthread_cond_signal(&pool->wanted);
			mutex_unlock(&pool->lock);
			job->release(job);
			mutex_lock(&pool->lock);
		} else if (pool->stopping) {
			break;
		} else {
			heartbeat_idle();
			pthread_cond_wait(&pool->wanted, &pool->lock.lock);
			heartbeat_touch();
		}
	}
	mutex_unlock(&pool->lock);
	lane_thread_leave();
	heartbeat_unregister(&hb);
	return NULL;
}

static int work_thread_start(struct workpool *pool, uint32_t index)
{
	struct work_thread *t = &pool->threads[index];
	int                 error;

	t->pool = pool;
	t->index = index;
	t->lane = lane_new();
	if (!t->lane)
		return -ENOMEM;
	error = lane_thread_start(&t->thread, work_thread_run, t);
	if (error)
		lane_free(t->lane);
	return error;
}

int workpool_new(uint32_t nr_threads, const struct topology *topology, struct workpool **out)
{
	struct workpool *pool;
	int              error = 0;

	pool = calloc(1, sizeof(*pool) + nr_threads * sizeof(pool->threads[0]));
	if (!pool)
		return -ENOMEM;
	mutex_init(&pool->lock, RANK_LEAF, "workpool");
	pthread_cond_init(&pool->wanted, NULL);
	list_init(&pool->ready);
	pool->topology = topology;
	pool->share = max_t(uint32_t, 1, nr_threads / 2);
	while (pool->nr_threads < nr_threads && !error) {
		error = work_thread_start(pool, pool->nr_threads);
		if (!error)
			pool->nr_threads++;
	}
	if (error) {
		workpool_free(pool);
		return error;
	}
	*out = pool;
	return 0;
}

void workpool_free(struct workpool *pool)
{
	if (!pool)
		return;
	mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wanted);
	mutex_unlock(&pool->lock);
	for (uint32_t i = 0; i < pool->nr_threads; i++) {
		pthread_join(pool->threads[i].thread, NULL);
		lane_free(pool->threads[i].lane);
	}
	pthread_cond_destroy(&pool->wanted);
	mutex_fini(&pool->lock);
	free(pool);
}

void workpool_submit(struct workpool *pool, struct job_queue *queue, struct job *job)
{
	bool wanted;

	mutex_lock(&pool->lock);
	list_add_tail(&job->link, &queue->jobs);
	wanted = queue_settle_locked(pool, queue);
	mutex_unlock(&pool->lock);
	if (wanted)
		pthread_cond_signal(&pool->wanted);
}

void workpool_latency(const struct workpool *pool, struct histogram *into)
{
	for (uint32_t i = 0; i < pool->nr_threads; i++)
		histogram_merge(into, &pool->threads[i].lane->latency);
}
