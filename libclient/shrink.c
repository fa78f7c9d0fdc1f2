/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shrink - registered shrinkers, and the thread that runs them
 *
 * Purpose     See shrink.h.
 */
#include "shrink.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "export.h"
#include "pool_heap.h"

/* l: shrinkers.lock */
struct shrinker {
	TAILQ_ENTRY(shrinker) link;   /* (l) */
	struct mmb_pool      *pool;   /* fixed; shrink_forget() comes before its end */
	mmb_shrink_fn         fn;     /* fixed */
	void                 *arg;    /* fixed */
	uint64_t              wanted; /* (l) bytes; 0: nothing */
};

void shrink_init(struct shrinkers *all)
{
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	TAILQ_INIT(&all->list);
}

void shrink_fini(struct shrinkers *all)
{
	struct shrinker *s;

	while ((s = TAILQ_FIRST(&all->list))) {
		TAILQ_REMOVE(&all->list, s, link);
		free(s);
	}
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
}

void shrink_ask(struct mmb_pool *pool, uint64_t bytes)
{
	struct shrinkers *all = &pool->mmb->shrinkers;
	struct shrinker *s;

	pthread_mutex_lock(&all->lock);
	TAILQ_FOREACH(s, &all->list, link)
		if (pool_is_same(s->pool, pool) && s->wanted < bytes)
			s->wanted = bytes;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

static struct shrinker *next_locked(struct shrinkers *all)
{
	struct shrinker *s;

	TAILQ_FOREACH(s, &all->list, link)
		if (s->wanted)
			return s;
	return NULL;
}

/* The others of the pool are asked for the rest. */
static void count_locked(struct shrinkers *all, const struct mmb_pool *pool, uint64_t freed)
{
	struct shrinker *s;

	TAILQ_FOREACH(s, &all->list, link)
		if (pool_is_same(s->pool, pool))
			s->wanted = s->wanted > freed ? s->wanted - freed : 0;
}

/* What shrinkers free goes into this process's heaps first. */
static void run_locked(struct shrinkers *all, struct shrinker *s)
{
	struct mmb_pool *pool = s->pool;
	uint64_t wanted = s->wanted;
	size_t freed;

	s->wanted = 0;
	all->running = s;
	pool_get(pool);
	pthread_mutex_unlock(&all->lock);
	freed = s->fn(s->arg, wanted);
	if (freed)
		pool_heap_trim_all(pool);
	pthread_mutex_lock(&all->lock);
	if (all->running)
		count_locked(all, pool, freed);
	all->running = NULL;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	pool_put(pool);
	pthread_mutex_lock(&all->lock);
}

static void *shrink_main(void *arg)
{
	struct mmb *mmb = arg;
	struct shrinkers *all = &mmb->shrinkers;
	struct shrinker *s;

	pthread_setname_np(pthread_self(), "mmb-shrink");
	pthread_mutex_lock(&all->lock);
	while (!all->stopped) {
		s = next_locked(all);
		if (s)
			run_locked(all, s);
		else
			pthread_cond_wait(&all->changed, &all->lock);
	}
	pthread_mutex_unlock(&all->lock);
	connection_put(mmb);
	return NULL;
}

static int start_locked(struct mmb *mmb)
{
	struct shrinkers *all = &mmb->shrinkers;
	sigset_t every, before;
	int error;

	if (all->stopped)
		return fail(-ENOTCONN, "the connection was closed by mmb_close()");
	if (all->started)
		return 0;
	connection_get(mmb);
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &before);
	error = -pthread_create(&all->thread, NULL, shrink_main, mmb);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		connection_put(mmb);
		return fail(error, "can't start the thread for shrinkers (errno %d); look at "
			    "RLIMIT_NPROC", -error);
	}
	all->started = true;
	return 0;
}

static struct shrinker *find_locked(struct shrinkers *all, const struct shrinker *like)
{
	struct shrinker *s;

	TAILQ_FOREACH(s, &all->list, link)
		if (s->pool == like->pool && s->fn == like->fn && s->arg == like->arg)
			return s;
	return NULL;
}

/* S1. A shrinker that removes itself goes on running, and is freed by nobody else. */
static void remove_locked(struct shrinkers *all, struct shrinker *s)
{
	TAILQ_REMOVE(&all->list, s, link);
	if (all->started && pthread_equal(all->thread, pthread_self())) {
		if (all->running == s)
			all->running = NULL;
	}
	while (all->running == s)
		pthread_cond_wait(&all->changed, &all->lock);
	free(s);
}

void shrink_forget(struct mmb_pool *pool)
{
	struct shrinkers *all = &pool->mmb->shrinkers;
	struct shrinker *s, *next;

	pthread_mutex_lock(&all->lock);
	for (s = TAILQ_FIRST(&all->list); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->pool != pool)
			continue;
		remove_locked(all, s);
		next = TAILQ_FIRST(&all->list); /* it may have changed while waiting */
	}
	pthread_mutex_unlock(&all->lock);
}

void shrink_stop(struct shrinkers *all)
{
	bool join;

	pthread_mutex_lock(&all->lock);
	all->stopped = true;
	join = all->started && !pthread_equal(all->thread, pthread_self());
	if (all->started && !join)
		pthread_detach(all->thread);
	all->started = false;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	if (join)
		pthread_join(all->thread, NULL);
}

/* ---- the public functions ---- */

PUBLIC int mmb_shrinker_register(struct mmb_pool *pool, mmb_shrink_fn fn, void *arg)
{
	UNCANCELLED;
	struct shrinker *s;
	int error = pool_check(pool);

	if (error)
		return error;
	if (!fn)
		return fail(-EINVAL, "mmb_shrinker_register: the function is NULL");
	error = pager_start(pool->mmb);
	if (error)
		return error;
	s = calloc(1, sizeof(*s));
	if (!s)
		return fail(-ENOMEM, "mmb_shrinker_register: no memory for a shrinker");
	s->pool = pool;
	s->fn = fn;
	s->arg = arg;
	pthread_mutex_lock(&pool->mmb->shrinkers.lock);
	if (find_locked(&pool->mmb->shrinkers, s))
		error = fail(-EEXIST, "mmb_shrinker_register: the function is registered already "
			     "for this pool, with this argument");
	else
		error = start_locked(pool->mmb);
	if (!error) {
		TAILQ_INSERT_TAIL(&pool->mmb->shrinkers.list, s, link);
		s = NULL;
	}
	pthread_mutex_unlock(&pool->mmb->shrinkers.lock);
	free(s);
	return error;
}

PUBLIC int mmb_shrinker_unregister(struct mmb_pool *pool, mmb_shrink_fn fn, void *arg)
{
	UNCANCELLED;
	const struct shrinker like = { .pool = pool, .fn = fn, .arg = arg };
	struct shrinkers *all;
	struct shrinker *s;
	int error = pool_check(pool);

	if (error)
		return error;
	all = &pool->mmb->shrinkers;
	pthread_mutex_lock(&all->lock);
	s = find_locked(all, &like);
	if (s)
		remove_locked(all, s);
	pthread_mutex_unlock(&all->lock);
	return s ? 0 : fail(-ENOENT, "mmb_shrinker_unregister: no such shrinker is registered");
}
