/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject - numbered points at which a test makes a call fail
 *
 * Purpose     `r = INJECT(point); if (r) return r;` stands before each operation that can fail.
 *             A fault sweep arms "the k-th pass of any point fails with -errno" and looks whether
 *             every counter returns to its baseline. In release builds a pass is one relaxed load.
 */
#ifndef MMB_BASE_INJECT_H
#define MMB_BASE_INJECT_H

#include <stdatomic.h>
#include <stdint.h>

#define INJECT_POINTS(X)                                                                 \
	X(MEMFD_NEW) X(POPULATE) X(PUNCH) X(MAP) X(META_POPULATE) X(PFN_RANGE) X(SECTION_ADD) \
	X(REGION_NEW) X(SESSION_NEW) X(POOL_NEW) X(WINDOW_ADD) X(COMMIT) X(ALLOC_PAGES)   \
	X(ZONE_GROW) X(UFFD_CONTINUE) X(HEAP) X(SLAB) X(SLAB_PAGES)                                \
	X(REOPEN) X(ALLOCATED) X(NEXT_PRESENT) X(RESERVE) X(UNMAP) X(LOCK) X(UFFD_WAKE)   \
	X(UFFD_POISON) X(UFFD_UNPROTECT)

enum inject_point {
#define X(name) INJECT_##name,
	INJECT_POINTS(X)
#undef X
	NR_INJECT_POINTS
};

extern _Atomic int inject_armed;

/* Arms: the nth pass (from 1) from now on fails with `error` (negative errno). nth 0: disarms.
 * point NR_INJECT_POINTS: passes of every point are counted together. Arming sets the counts of
 * passes to 0; INJECT_COUNT_ONLY as nth counts and never fails. */
#define INJECT_COUNT_ONLY UINT64_MAX
void inject_arm(enum inject_point point, uint64_t nth, int error);
/* Passes since the last arming (counted only while armed). NR_INJECT_POINTS: of all points. */
uint64_t inject_passes(enum inject_point point);
const char *inject_name(enum inject_point point);
int inject_pass(enum inject_point point);

#define INJECT(name) \
	(__builtin_expect(atomic_load_explicit(&inject_armed, memory_order_relaxed), 0) \
		 ? inject_pass(INJECT_##name) : 0)

#endif
