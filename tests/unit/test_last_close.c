/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_last_close - a descriptor is closed when the keeper has let go, and not before: last_close.c
 */
#include "os/last_close.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/test.h"
#include "os/holdup.h"
#include "os/keep.h"
#include "os/os.h"

enum { DEADLINE_MS = 20000, MOMENT_MS = 300, NR = 100 };

static _Atomic int barrier_fd = -1; /* what the keeper has been given last */
static _Atomic unsigned int nr_barriers;
static _Atomic bool busy;

static int keep(uint32_t key, int fd)
{
	return 0;
}

static void drop(uint32_t key)
{
}

static int barrier(int fd)
{
	if (atomic_load(&busy))
		return -11; /* EAGAIN */
	atomic_store(&barrier_fd, dup(fd));
	atomic_fetch_add(&nr_barriers, 1);
	return 0;
}

static const struct keep_ops slow_keeper = { keep, drop, barrier };

/* Shows by a hang-up at the other end that it is closed. */
static int watched(int *end)
{
	int ends[2];

	EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
	*end = ends[0];
	return ends[1];
}

static bool is_closed(int end, int wait_ms)
{
	struct pollfd p = { .fd = end };

	return poll(&p, 1, wait_ms) == 1;
}

static void wait_for_barrier(void)
{
	while (atomic_load(&barrier_fd) < 0)
		usleep(1000);
}

/* Returns the descriptor that is to be closed. */
static int begin_with_one(int *end)
{
	int fd = watched(end);

	keep_set(&slow_keeper);
	EXPECT_EQ(last_close_start(), 0);
	EXPECT(last_close(fd));
	return fd;
}

static void let_go(void)
{
	wait_for_barrier();
	close(atomic_exchange(&barrier_fd, -1));
}

static void the_keeper_is_awaited(void)
{
	int end;

	begin_with_one(&end);
	wait_for_barrier();
	EXPECT(!is_closed(end, MOMENT_MS));
	let_go();
	EXPECT(is_closed(end, DEADLINE_MS));
	last_close_stop();
	keep_set(NULL);
	close(end);
}

static void it_is_asked_again_until_it_hears(void)
{
	int end;

	atomic_store(&busy, true);
	begin_with_one(&end);
	EXPECT(!is_closed(end, MOMENT_MS));
	atomic_store(&busy, false);
	let_go();
	EXPECT(is_closed(end, DEADLINE_MS));
	last_close_stop();
	keep_set(NULL);
	close(end);
}

static void many_are_one_question(void)
{
	int ends[NR], fds[NR];

	atomic_store(&nr_barriers, 0);
	keep_set(&slow_keeper);
	EXPECT_EQ(last_close_start(), 0);
	for (int i = 0; i < NR; i++)
		holdup_set_owner(fds[i] = watched(&ends[i]), 1, (uid_t)i % 3);
	for (int i = 0; i < NR; i++)
		EXPECT(last_close(fds[i]));
	for (int i = 0; i < NR; i++) {
		while (!is_closed(ends[i], 1))
			if (atomic_load(&barrier_fd) >= 0)
				let_go();
		close(ends[i]);
	}
	EXPECT(atomic_load(&nr_barriers) < NR / 2);
	last_close_stop();
	keep_set(NULL);
}

static void the_end_waits_for_no_keeper(void)
{
	int end, fd = begin_with_one(&end);

	wait_for_barrier();
	last_close_stop();
	EXPECT(is_closed(end, DEADLINE_MS));
	close(atomic_exchange(&barrier_fd, -1));
	keep_set(NULL);
	close(end);
	fd = watched(&end);
	EXPECT(!last_close(fd)); /* it doesn't run */
	close(fd);
	close(end);
}

static const struct test_case cases[] = {
	{ "a descriptor is closed when the keeper has let go (L1)", the_keeper_is_awaited },
	{ "a keeper that can't be told is asked again", it_is_asked_again_until_it_hears },
	{ "what comes in a moment is asked for at once", many_are_one_question },
	{ "the end waits for no keeper", the_end_waits_for_no_keeper },
};
TEST_MAIN(cases)
