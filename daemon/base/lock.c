/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock - pthread mutexes, and in debug builds the list of what each thread holds
 *
 * Invariants  K2  held[0 .. nr_held) are the locks the thread has, in order of acquisition.
 */
#include "base/lock.h"

#include <errno.h>
#include <time.h>

#include "base/check.h"
#include "base/heartbeat.h"
#include "base/log.h"
#include "base/types.h"

#ifdef MMB_DEBUG

enum { HELD_MAX = 32 };

static __thread struct {
	unsigned int        nr;
	const struct mutex *held[HELD_MAX];
} chain;

_Noreturn static void wrong_lock(const struct mutex *m, const char *what)
{
	log_emit(LOG_CRIT, "lock_order", "%s: %s (rank %d)", what, m->name, (int)m->rank);
	for (unsigned int i = 0; i < chain.nr; i++)
		log_emit(LOG_CRIT, "lock_order", "held %u: %s (rank %d)", i, chain.held[i]->name,
			 (int)chain.held[i]->rank);
	check_failed("locks are taken in the order of their ranks", __FILE__, __LINE__);
}

static int is_held(const struct mutex *m)
{
	for (unsigned int i = 0; i < chain.nr; i++)
		if (chain.held[i] == m)
			return 1;
	return 0;
}

static void check_order(const struct mutex *m, int nested)
{
	if (is_held(m))
		wrong_lock(m, "acquired twice");
	for (unsigned int i = 0; i < chain.nr; i++) {
		const struct mutex *h = chain.held[i];

		if (h->rank > m->rank)
			wrong_lock(m, "acquired after a lock of a higher rank");
		if (h->rank == m->rank && !nested)
			wrong_lock(m, "acquired after a lock of the same rank");
		if (h->rank == m->rank && h > m)
			wrong_lock(m, "nested against the order of addresses");
	}
}

static void push_held(const struct mutex *m)
{
	CHECK(chain.nr < HELD_MAX);
	chain.held[chain.nr++] = m;
}

static void pop_held(const struct mutex *m)
{
	unsigned int i = chain.nr;

	while (i > 0 && chain.held[i - 1] != m)
		i--;
	if (i == 0)
		wrong_lock(m, "released without being held");
	for (chain.nr--; i <= chain.nr; i++)
		chain.held[i - 1] = chain.held[i];
}

static void check_innermost(const struct mutex *m)
{
	if (chain.nr == 0 || chain.held[chain.nr - 1] != m)
		wrong_lock(m, "waited on without being the innermost");
}

#else

static inline void check_order(const struct mutex *m, int nested)
{
}

static inline void push_held(const struct mutex *m)
{
}

static inline void pop_held(const struct mutex *m)
{
}

static inline void check_innermost(const struct mutex *m)
{
}

#endif

void mutex_init(struct mutex *m, enum lock_rank rank, const char *name)
{
	CHECK(rank > 0 && rank < NR_LOCK_RANKS);
	CHECK(pthread_mutex_init(&m->lock, NULL) == 0);
#ifdef MMB_DEBUG
	m->rank = rank;
	m->name = name;
#endif
}

void mutex_fini(struct mutex *m)
{
	CHECK(pthread_mutex_destroy(&m->lock) == 0);
}

static void acquire(struct mutex *m, int nested)
{
	check_order(m, nested);
	CHECK(pthread_mutex_lock(&m->lock) == 0);
	push_held(m);
}

void mutex_lock(struct mutex *m)
{
	acquire(m, 0);
}

void mutex_lock_nested(struct mutex *m)
{
	acquire(m, 1);
}

/* 0, or ETIMEDOUT after a second. */
static int lock_for_a_second(pthread_mutex_t *lock)
{
	struct timespec until;

#ifdef __SANITIZE_THREAD__ /* doesn't know the other one */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 1;
	return pthread_mutex_timedlock(lock, &until);
#else
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 1;
	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until);
#endif
}

static void acquire_long(struct mutex *m, int nested)
{
	int r;

	check_order(m, nested);
	do {
		heartbeat_touch();
		r = lock_for_a_second(&m->lock);
		CHECK(!r || r == ETIMEDOUT);
	} while (r);
	push_held(m);
}

void mutex_lock_long(struct mutex *m)
{
	acquire_long(m, 0);
}

void mutex_lock_long_nested(struct mutex *m)
{
	acquire_long(m, 1);
}

int mutex_trylock(struct mutex *m)
{
	if (pthread_mutex_trylock(&m->lock))
		return 0;
	push_held(m);
	return 1;
}

void mutex_unlock(struct mutex *m)
{
	pop_held(m);
	CHECK(pthread_mutex_unlock(&m->lock) == 0);
}

void condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;

	CHECK(pthread_condattr_init(&attributes) == 0);
	CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_cond_init(condition, &attributes) == 0);
	pthread_condattr_destroy(&attributes);
}

void mutex_wait(struct mutex *m, pthread_cond_t *condition)
{
	check_innermost(m);
	pop_held(m);
	CHECK(pthread_cond_wait(condition, &m->lock) == 0);
	push_held(m);
}

int mutex_timedwait(struct mutex *m, pthread_cond_t *condition, const struct timespec *until)
{
	int r;

	check_innermost(m);
	pop_held(m);
	r = pthread_cond_timedwait(condition, &m->lock, until);
	push_held(m);
	return -r;
}

void mutex_assert_held(const struct mutex *m)
{
#ifdef MMB_DEBUG
	if (!is_held(m))
		wrong_lock(m, "needed here, and not held");
#endif
}
