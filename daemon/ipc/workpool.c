/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workpool - jobs are given to threads when one comes, and when one ends
 *
 * Locking     the pool's lock guards the ready list, all queues and who does what; jobs run without
 *             it.
 */
#include "ipc/workpool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/lock.h"
#include "mm/space/swapper.h"

/* c: fixed after init   o: the thread itself   p: the pool's lock */
struct work_thread {
	struct workpool  *pool;    /* (c) */
	struct lane      *lane;    /* (c) */
	pthread_t         thread;  /* (c) */
	uint32_t          index;   /* (c) */
	bool              entered; /* (o) it has had a job: it has a CPU slot */
	struct list_head  idle;    /* (p) in the pool's list, while it sleeps */
	pthread_cond_t    wanted;  /* (c) */
	struct job_queue *queue;   /* (p) whose job it has; NULL: none */
	struct job       *job;     /* (p) */
	bool              lengthy; /* (p) that job */
};

struct workpool {
	struct mutex           lock;
	struct list_head       ready;       /* (p) queues, in turn, whose first job is new */
	struct list_head       later;       /* (p) whose first job has had a turn */
	bool                   turn_of_later; /* (p) O5 */
	struct list_head       idle;        /* (p) threads; who slept last is first */
	bool                   stopping;    /* (p) */
	const struct topology *topology;    /* (c) */
	uint32_t               lengthy_max; /* (c) O2 */
	uint32_t               user_max;    /* (c) O3: lengthy ones of one user */
	uint32_t               nr_threads;  /* (c) */
	struct work_thread     threads[];   /* (c) but what is said there */
};

/* ---- what may begin ---- */

void job_queue_init(struct job_queue *queue, uid_t user)
{
	list_init(&queue->ready);
	list_init(&queue->jobs);
	queue->user = user;
	queue->running = false;
}

/* Restores O1 after the queue gained or lost a job. */
static void queue_settle_locked(struct workpool *pool, struct job_queue *queue)
{
	const struct job *first;

	mutex_assert_held(&pool->lock);
	if (list_empty(&queue->jobs) || queue->running) {
		list_del(&queue->ready);
	} else if (list_empty(&queue->ready)) {
		first = list_first_entry(&queue->jobs, struct job, link);
		list_add_tail(&queue->ready, first->had_turn ? &pool->later : &pool->ready);
	}
}

/* O2, O3. */
static bool may_begin_locked(const struct workpool *pool, const struct job_queue *queue)
{
	const struct job *job = list_first_entry(&queue->jobs, struct job, link);
	uint32_t          free = 0, own = 0, lengthy = 0, own_lengthy = 0;

	for (uint32_t i = 0; i < pool->nr_threads; i++) {
		const struct work_thread *t = &pool->threads[i];
		bool                      is_own = t->queue && t->queue->user == queue->user;

		free += !t->queue;
		own += is_own;
		lengthy += t->queue && t->lengthy;
		own_lengthy += is_own && t->lengthy;
	}
	if (own >= free)
		return false;
	return !job->lengthy ||
	       (lengthy + own_lengthy < pool->lengthy_max && own_lengthy < pool->user_max);
}

static struct job_queue *next_queue_locked(const struct workpool *pool,
					   const struct list_head *queues)
{
	struct job_queue *queue;

	list_for_each_entry(queue, queues, ready)
		if (may_begin_locked(pool, queue))
			return queue;
	return NULL;
}

/* Gives the thread the next job in turn; false: there is none for it. */
static bool give_job_locked(struct workpool *pool, struct work_thread *t)
{
	struct list_head *first = pool->turn_of_later ? &pool->later : &pool->ready;
	struct job_queue *queue = next_queue_locked(pool, first);

	if (!queue)
		queue = next_queue_locked(pool, pool->turn_of_later ? &pool->ready : &pool->later);
	if (!queue)
		return false;
	t->job = list_first_entry(&queue->jobs, struct job, link);
	t->queue = queue;
	t->lengthy = t->job->lengthy;
	if (t->lengthy)
		pool->turn_of_later = !t->job->had_turn;
	list_del(&t->job->link);
	queue->running = true;
	queue_settle_locked(pool, queue);
	return true;
}

/* O4: the thread to be woken for a job, best when the lock is free; NULL: none. */
static struct work_thread *give_to_idle_locked(struct workpool *pool)
{
	struct work_thread *t;

	if (list_empty(&pool->idle))
		return NULL;
	t = list_first_entry(&pool->idle, struct work_thread, idle);
	if (!give_job_locked(pool, t))
		return NULL;
	list_del(&t->idle);
	return t;
}

/* ---- the threads ---- */

/* A job's end may let more than one begin. */
static void go_on_locked(struct workpool *pool, struct work_thread *self)
{
	struct work_thread *t;

	give_job_locked(pool, self);
	while ((t = give_to_idle_locked(pool)))
		pthread_cond_signal(&t->wanted);
}

static void run_job_locked(struct workpool *pool, struct work_thread *self, const char *name)
{
	struct job_queue *queue = self->queue;
	struct job       *job = self->job;

	mutex_unlock(&pool->lock);
	heartbeat_touch();
	if (!self->entered)
		lane_thread_enter(name, pool->topology);
	self->entered = true;
	INJECT_TURN(WORK_TURN);
	job->run(job, self->lane);
	mutex_lock(&pool->lock);
	queue->running = false;
	self->queue = NULL;
	self->job = NULL;
	queue_settle_locked(pool, queue);
	go_on_locked(pool, self);
	mutex_unlock(&pool->lock);
	job->release(job);
	mutex_lock(&pool->lock);
}

static void *work_thread_run(void *arg)
{
	struct work_thread *self = arg;
	struct workpool    *pool = self->pool;
	struct heartbeat    hb;
	char                name[16];

	snprintf(name, sizeof(name), "mmb-work%u", self->index);
	heartbeat_register(&hb, name);
	swapper_keep(true);
	mutex_lock(&pool->lock);
	for (;;) {
		if (!self->job)
			go_on_locked(pool, self);
		if (self->job) {
			run_job_locked(pool, self, name);
		} else if (pool->stopping) {
			break;
		} else {
			/* What it has for swapping the next job may want, too. */
			list_add(&self->idle, &pool->idle);
			swapper_rest(&pool->lock, &self->wanted);
			list_del(&self->idle);
		}
	}
	mutex_unlock(&pool->lock);
	swapper_keep(false);
	if (self->entered)
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
	list_init(&t->idle);
	t->lane = lane_new();
	if (!t->lane)
		return -ENOMEM;
	condition_init(&t->wanted);
	error = lane_thread_start(&t->thread, work_thread_run, t);
	if (error) {
		pthread_cond_destroy(&t->wanted);
		lane_free(t->lane);
	}
	return error;
}

static uint32_t nr_cpus_of(const struct topology *topology)
{
	return topology && topology->nr_cpus ? topology->nr_cpus : 1;
}

int workpool_new(uint32_t nr_threads, const struct topology *topology, struct workpool **out)
{
	struct workpool *pool;
	int              error = 0;

	pool = calloc(1, sizeof(*pool) + nr_threads * sizeof(pool->threads[0]));
	if (!pool)
		return -ENOMEM;
	mutex_init(&pool->lock, RANK_LEAF, "workpool");
	list_init(&pool->ready);
	list_init(&pool->later);
	list_init(&pool->idle);
	pool->topology = topology;
	pool->lengthy_max = max_t(uint32_t, 1, nr_threads - nr_threads / 3);
	pool->user_max = max_t(uint32_t, 2, nr_cpus_of(topology));
	mutex_lock(&pool->lock);
	while (pool->nr_threads < nr_threads && !error) {
		error = work_thread_start(pool, pool->nr_threads);
		if (!error)
			pool->nr_threads++;
	}
	mutex_unlock(&pool->lock);
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
	for (uint32_t i = 0; i < pool->nr_threads; i++)
		pthread_cond_signal(&pool->threads[i].wanted);
	mutex_unlock(&pool->lock);
	for (uint32_t i = 0; i < pool->nr_threads; i++) {
		pthread_join(pool->threads[i].thread, NULL);
		pthread_cond_destroy(&pool->threads[i].wanted);
		lane_free(pool->threads[i].lane);
	}
	mutex_fini(&pool->lock);
	free(pool);
}

void workpool_submit(struct workpool *pool, struct job_queue *queue, struct job *job)
{
	struct work_thread *t;

	mutex_lock(&pool->lock);
	list_add_tail(&job->link, &queue->jobs);
	queue_settle_locked(pool, queue);
	t = give_to_idle_locked(pool);
	mutex_unlock(&pool->lock);
	if (t)
		pthread_cond_signal(&t->wanted);
}

void workpool_latency(const struct workpool *pool, struct histogram *into)
{
	for (uint32_t i = 0; i < pool->nr_threads; i++)
		histogram_merge(into, &pool->threads[i].lane->latency);
}
