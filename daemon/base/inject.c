/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject - counting passes and failing the chosen one
 *
 * Locking     atomics; arming while other threads pass gives either the old or the new order.
 */
#include "base/inject.h"

#include "base/check.h"

_Atomic int inject_armed;

/* a: atomic */
static struct {
	_Atomic uint64_t passes[NR_INJECT_POINTS + 1]; /* (a) the last: all points together */
	_Atomic uint64_t nth;                          /* (a) */
	_Atomic int      point;                        /* (a) */
	_Atomic int      error;                        /* (a) */
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
#undef X
		[NR_INJECT_POINTS] = "any",
	};

	return names[point];
}

int inject_pass(enum inject_point point)
{
	uint64_t here = atomic_fetch_add(&order.passes[point], 1) + 1;
	uint64_t all = atomic_fetch_add(&order.passes[NR_INJECT_POINTS], 1) + 1;
	int      armed = atomic_load(&order.point);

	if (armed == NR_INJECT_POINTS)
		return all == atomic_load(&order.nth) ? atomic_load(&order.error) : 0;
	if (armed != (int)point)
		return 0;
	return here == atomic_load(&order.nth) ? atomic_load(&order.error) : 0;
}
