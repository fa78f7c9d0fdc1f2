/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject - counting passes and failing the chosen one
 *
 * Locking     atomics; arming while other threads pass gives either the old or the new order.
 */
#include "base/inject.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

_Atomic int inject_armed;

/* a: atomic */
static struct {
	_Atomic uint64_t passes[NR_INJECT_POINTS + 1]; /* (a) the last: all points together */
	_Atomic uint64_t nth;                          /* (a) */
	_Atomic int      point;                        /* (a) */
	_Atomic int      error;                        /* (a) */
	_Atomic int      action;                       /* (a) enum inject_action */
} order;

void inject_arm(enum inject_point point, uint64_t nth, int error)
{
	CHECK((int)point >= 0 && point <= NR_INJECT_POINTS);
	CHECK(nth == 0 || nth == INJECT_COUNT_ONLY || error < 0);
	atomic_store(&inject_armed, 0);
	if (nth == 0)
		return;
	for (int i = 0; i <= NR_INJECT_POINTS; i++)
		atomic_store(&order.passes[i], 0);
	atomic_store(&order.nth, nth);
	atomic_store(&order.point, (int)point);
	atomic_store(&order.error, error);
	atomic_store(&inject_armed, 1);
}

uint64_t inject_passes(enum inject_point point)
{
	return atomic_load(&order.passes[point]);
}

const char *inject_name(enum inject_point point)
{
	static const char *const names[NR_INJECT_POINTS + 1] = {
#define X(name) [INJECT_##name] = #name,
		INJECT_POINTS(X)
		INJECT_TURNS(X)
#undef X
		[NR_INJECT_POINTS] = "any",
	};

	return names[point];
}

enum inject_point inject_find(const char *name)
{
	int i = 0;

	while (i < NR_INJECT_POINTS && strcmp(inject_name((enum inject_point)i), name) != 0)
		i++;
	return (enum inject_point)i;
}

void inject_act(enum inject_action action)
{
	atomic_store(&order.action, (int)action);
}

/* The chosen pass. */
static int strike(void)
{
	int action = atomic_load(&order.action);

	if (action == INJECT_KILL)
		kill(getpid(), SIGKILL);
	if (action == INJECT_ABORT)
		abort();
	if (action == INJECT_REST) {
		nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 500 * 1000 * 1000 }, NULL);
		return 0;
	}
	while (action == INJECT_HANG)
		pause();
	return atomic_load(&order.error);
}

static bool is_chosen(uint64_t pass, uint64_t nth)
{
	return pass == nth || (pass < nth && pass && nth != INJECT_COUNT_ONLY &&
			       atomic_load(&order.action) == INJECT_FAIL_UNTIL);
}

int inject_pass(enum inject_point point)
{
	uint64_t nth = atomic_load(&order.nth), here, all = 0;
	int      armed = atomic_load(&order.point);

	here = atomic_fetch_add(&order.passes[point], 1) + 1;
	if ((int)point < INJECT_FIRST_TURN)
		all = atomic_fetch_add(&order.passes[NR_INJECT_POINTS], 1) + 1;
	if (armed == NR_INJECT_POINTS)
		return is_chosen(all, nth) ? strike() : 0;
	return armed == (int)point && is_chosen(here, nth) ? strike() : 0;
}
