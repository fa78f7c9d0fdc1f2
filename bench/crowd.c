/* SPDX-License-Identifier: Apache-2.0 */
/* crowd - see crowd.h */
#include "crowd.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/clock.h"
#include "mmbroker.h"

enum { READY_MS = 120000, SETUP_STEP_MS = 20, PAGE = 4096 };
#define TURN_STEP_NS 200000ull

/* Shared with the children. a: atomic   c: fixed once they are started */
struct crowd {
	struct crowd_shape   shape;               /* (c) */
	unsigned int         nr;                  /* (c) how many were started */
	pid_t                pids[CROWD_MAX];     /* (c) */
	_Atomic unsigned int nr_ready, nr_failed; /* (a) */
	_Atomic unsigned int turn, nr_served;     /* (a) */
	_Atomic uint64_t     first_ns, last_ns;   /* (a) of the turn */
	_Atomic bool         leave;               /* (a) */
};

static int make_regions(struct mmb_pool *pool, const struct crowd_shape *shape, char **first)
{
	for (unsigned int i = 0; i < shape->regions; i++) {
		struct mmb_region *region;
		int error = mmb_region_create(pool, shape->bytes, NULL, &region);
		volatile uint64_t *page;

		if (error != 0)
			return bench_because(error, "region %u of a session: %s", i, mmb_error());
		page = mmb_region_address(region);
		*page = i + 1;
		if (*page != i + 1 || page[shape->bytes / sizeof(*page) - 1] != 0)
			return bench_because(-EIO, "region %u holds something else", i);
		if (i == 0)
			*first = mmb_region_address(region);
	}
	return 0;
}

static void touch_next(struct crowd *crowd, char *at, unsigned int turn)
{
	uint64_t none = 0, page = turn % (crowd->shape.bytes / PAGE);

	((volatile char *)at)[page * PAGE + 8] = 1;
	atomic_compare_exchange_strong(&crowd->first_ns, &none, clock_ns());
	crowd->last_ns = clock_ns();
	crowd->nr_served++;
}

/* A session with its regions, until told to leave. */
static int member(struct crowd *crowd)
{
	struct mmb_pool *pool;
	struct mmb *mmb;
	char *first = NULL;
	int error = mmb_open(crowd->shape.socket, NULL, &mmb);

	if (error == 0)
		error = mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool);
	if (error != 0)
		bench_because(error, "a session of the crowd: %s", mmb_error());
	else
		error = make_regions(pool, &crowd->shape, &first);
	if (error != 0)
		crowd->nr_failed++;
	crowd->nr_ready++;
	for (unsigned int seen = 0; !crowd->leave;) {
		if (crowd->turn != seen && error == 0)
			touch_next(crowd, first, ++seen);
		else
			clock_sleep_ms(SETUP_STEP_MS);
	}
	return error;
}

static int wait_ready(const struct crowd *crowd)
{
	for (int ms = 0; crowd->nr_ready < crowd->nr && ms < READY_MS; ms += SETUP_STEP_MS)
		clock_sleep_ms(SETUP_STEP_MS);
	if (crowd->nr_failed != 0)
		return -EPROTO;
	if (crowd->nr_ready < crowd->shape.sessions)
		return bench_because(-ETIMEDOUT, "%u of %u sessions came up in %d s",
				     crowd->nr_ready, crowd->shape.sessions, READY_MS / 1000);
	return 0;
}

int crowd_start(const struct crowd_shape *shape, struct crowd **out)
{
	struct crowd *crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int error;

	*out = NULL;
	if (crowd == MAP_FAILED)
		return bench_because(-ENOMEM, "no memory");
	crowd->shape = *shape;
	while (crowd->nr < shape->sessions) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(member(crowd) != 0);
		if (pid < 0)
			break;
		crowd->pids[crowd->nr++] = pid;
	}
	error = wait_ready(crowd);
	if (error != 0)
		crowd_end(crowd);
	else
		*out = crowd;
	return error;
}

int crowd_turn(struct crowd *crowd, uint64_t *first_ns, uint64_t *last_ns)
{
	uint64_t deadline = clock_ns() + READY_MS * 1000000ull;

	crowd->first_ns = 0;
	crowd->nr_served = 0;
	crowd->turn++;
	while (crowd->nr_served < crowd->nr && clock_ns() < deadline)
		clock_sleep_until(clock_ns() + TURN_STEP_NS);
	*first_ns = crowd->first_ns;
	*last_ns = crowd->last_ns;
	if (crowd->nr_served == crowd->nr)
		return 0;
	return bench_because(-ETIMEDOUT, "%u of %u sessions were served in %d s", crowd->nr_served,
			     crowd->nr, READY_MS / 1000);
}

void crowd_end(struct crowd *crowd)
{
	bool hung;

	if (crowd == NULL)
		return;
	hung = crowd->nr_ready < crowd->nr || crowd->nr_served < (crowd->turn ? crowd->nr : 0);
	crowd->leave = true;
	for (unsigned int i = 0; i < crowd->nr; i++) {
		if (hung)
			kill(crowd->pids[i], SIGKILL);
		waitpid(crowd->pids[i], NULL, 0);
	}
	munmap(crowd, sizeof(*crowd));
}
