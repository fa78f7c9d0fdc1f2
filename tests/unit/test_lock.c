/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lock - order of ranks, waiting
 */
#include "base/lock.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/test.h"

static struct mutex pool, zone, zone2;

static void init_locks(void)
{
	mutex_init(&pool, RANK_POOL, "pool");
	mutex_init(&zone, RANK_ZONE, "zone");
	mutex_init(&zone2, RANK_ZONE, "zone2");
}

#ifdef MMB_DEBUG
/* Runs act in a child; true if it was ended by abort and said `words` on stderr. */
static bool aborts(void (*act)(void), const char *words)
{
	char    said[4096];
	size_t  length = 0;
	ssize_t got;
	int     status, fds[2];
	pid_t   child;

	EXPECT_EQ(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		act();
		_exit(0);
	}
	close(fds[1]);
	while ((got = read(fds[0], said + length, sizeof(said) - 1 - length)) > 0)
		length += (size_t)got;
	said[length] = '\0';
	close(fds[0]);
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, words);
}

static void take_in_wrong_order(void)
{
	mutex_lock(&zone);
	mutex_lock(&pool);
}

static void take_same_rank(void)
{
	mutex_lock(&zone);
	mutex_lock(&zone2);
}

static void take_nested_downwards(void)
{
	struct mutex *low = &zone < &zone2 ? &zone : &zone2;

	mutex_lock(low == &zone ? &zone2 : &zone);
	mutex_lock_nested(low);
}

static void take_twice(void)
{
	mutex_lock(&zone);
	mutex_lock(&zone);
}

static void release_unheld(void)
{
	mutex_unlock(&zone);
}

static void need_unheld(void)
{
	mutex_lock(&pool);
	mutex_assert_held(&zone);
}
#endif

#ifdef MMB_DEBUG
static void wrong_order_ends_the_daemon(void)
{
	init_locks();
	EXPECT(aborts(take_in_wrong_order, "held 0: zone (rank "));
	EXPECT(aborts(take_same_rank, "same rank"));
	EXPECT(aborts(take_nested_downwards, "order of addresses"));
	EXPECT(aborts(take_twice, "acquired twice"));
	EXPECT(aborts(release_unheld, "without being held"));
	EXPECT(aborts(need_unheld, "needed here"));
}
#endif

static void right_order_is_accepted(void)
{
	struct mutex *low = &zone < &zone2 ? &zone : &zone2;

	init_locks();
	mutex_lock(&pool);
	mutex_lock(low);
	mutex_lock_nested(low == &zone ? &zone2 : &zone);
	mutex_assert_held(&zone);
	mutex_unlock(&pool);
	mutex_unlock(&zone);
	mutex_unlock(&zone2);
	mutex_lock(&pool);
	mutex_unlock(&pool);
	mutex_fini(&pool);
	mutex_fini(&zone);
	mutex_fini(&zone2);
	EXPECT(true);
}

static void *try_it(void *arg)
{
	return mutex_trylock(arg) ? arg : NULL;
}

static void trylock_never_waits(void)
{
	pthread_t thread;
	void     *got = &pool;

	init_locks();
	mutex_lock(&zone);
	EXPECT_EQ(pthread_create(&thread, NULL, try_it, &zone), 0);
	pthread_join(thread, &got);
	EXPECT(got == NULL);
	EXPECT_EQ(mutex_trylock(&pool), 1);
	mutex_unlock(&pool);
	mutex_unlock(&zone);
}

static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int            value;

static void *set_value(void *arg)
{
	mutex_lock(&zone);
	value = 1;
	pthread_cond_signal(&changed);
	mutex_unlock(&zone);
	return NULL;
}

static void waiting_releases_the_lock(void)
{
	pthread_t thread;

	init_locks();
	mutex_lock(&zone);
	EXPECT_EQ(pthread_create(&thread, NULL, set_value, NULL), 0);
	while (!value)
		mutex_wait(&zone, &changed);
	mutex_assert_held(&zone);
	mutex_unlock(&zone);
	pthread_join(thread, NULL);
	EXPECT_EQ(value, 1);
}

static const struct test_case cases[] = {
#ifdef MMB_DEBUG /* ranks are checked in debug builds only */
	{ "a wrong order of locks ends the daemon with the held chain",
	  wrong_order_ends_the_daemon },
#endif
	{ "growing ranks, and equal ranks in address order, are accepted",
	  right_order_is_accepted },
	{ "trylock gives up at once, and may go against the order", trylock_never_waits },
	{ "waiting on a condition lets others have the lock", waiting_releases_the_lock },
};
TEST_MAIN(cases)
