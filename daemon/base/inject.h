/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject - numbered points at which a test makes a call fail, hang, or end the process
 *
 * Purpose     `r = INJECT(point); if (r) return r;` stands before each operation that can fail.
 *             A fault sweep arms "the k-th pass of any point fails with -errno" and looks whether
 *             every counter returns to its baseline. A pass can also be made to hang, or to kill
 *             the process. In release builds a pass is one relaxed load.
 * Turns       INJECT_TURN(point) stands where nothing can fail, in the loop of a thread or between
 *             a deed and its answer: such a point is there to hang or to be killed at, and isn't
 *             counted with "any point".
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
	X(UFFD_POISON) X(UFFD_PROTECT) X(UFFD_UNPROTECT) X(CLONE_JOIN) X(CLONE_ARM)       \
	X(CLONE_PUBLISH) X(CLONE_DONE)                                                            \
	X(SWAP_ALLOC) X(URING) X(DISK_READ) X(DISK_WRITE)
#define INJECT_TURNS(X) \
	X(CONTROL_TURN) X(WORK_TURN) X(QUEUE_TURN) X(LANE_TURN) X(KEEPER_TURN)            \
	X(WAITER_TURN) X(KSWAPD_TURN) X(PAGEOUT_TURN) X(CHANGE_READ) X(PAGES_DONE)        \
	X(FREE_DONE) X(LEASE_HALF) X(LEASE_DONE) X(RETURN_HALF) X(RETURN_DONE) X(PUNCHED_OUT) \
	X(SWAPPED_IN) X(COPIED_IN) X(TAKEN_OUT) X(ADOPTED) X(LIMITS_HALF) X(RESUMING) \
	X(CLONE_TOLD) X(UNLINKED) X(ROLLED_BACK)

enum inject_point {
#define X(name) INJECT_##name,
	INJECT_POINTS(X)
	INJECT_TURNS(X)
	NR_INJECT_POINTS,
#undef X
#define X(name) -1
	INJECT_FIRST_TURN = NR_INJECT_POINTS + (0 INJECT_TURNS(X)),
#undef X
};

enum inject_action {
	INJECT_FAIL, /* the pass returns the error */
	INJECT_HANG, /* the pass doesn't return */
	INJECT_KILL, /* SIGKILL to the process */
	INJECT_ABORT, /* the thread ends it, as by a broken invariant */
	INJECT_REST, /* the pass lasts for 1.5 s, and fails nothing */
	INJECT_FAIL_UNTIL, /* it and those before it return the error */
};

extern _Atomic int inject_armed;

/* Arms: the nth pass (from 1) from now on fails with `error` (negative errno). nth 0: disarms.
 * point NR_INJECT_POINTS: passes of every point are counted together. Arming sets the counts of
 * passes to 0; INJECT_COUNT_ONLY as nth counts and never fails. */
#define INJECT_COUNT_ONLY UINT64_MAX
void inject_arm(enum inject_point point, uint64_t nth, int error);
/* What the chosen pass does; INJECT_FAIL until told otherwise. Before arming. */
void inject_act(enum inject_action action);
/* Passes since the last arming (counted only while armed). NR_INJECT_POINTS: of all points. */
uint64_t inject_passes(enum inject_point point);
const char *inject_name(enum inject_point point);
/* NR_INJECT_POINTS for an unknown name. */
enum inject_point inject_find(const char *name);
int inject_pass(enum inject_point point);

#define INJECT(name) \
	(__builtin_expect(atomic_load_explicit(&inject_armed, memory_order_relaxed), 0) \
		 ? inject_pass(INJECT_##name) : 0)

/* The same where nothing can fail. */
#define INJECT_TURN(name) \
	((void)INJECT(name))

#endif
