/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane - the fault threads
 *
 * Purpose     Fast lanes: one thread a CPU, pinned, each polling all sessions' userfaultfds, so
 *             that one of them is woken on the CPU that faulted (a wake-up on another, idle CPU of
 *             a virtual machine costs ten times the fault). Slow lanes: spare threads for sessions
 *             whose ioctls take long, because their client keeps its mmap lock busy.
 * Invariants  L1  a live mm is polled by all fast lanes or by all slow lanes.
 *             L2  a lane spins only while another lane serves a different thread: with one
 *                 faulting thread spinning takes the CPU that it needs; or while a page is being
 *                 read for a thread that waits for it anyway.
 *             L3  changes of a session's map are followed in the order in which it made them.
 *             L4  a session that several lanes poll gives each of them one event at a time.
 *             L5  a lane yields the CPU whenever it finds nothing, also after an event that another
 *                 lane has taken: who waits for this CPU may be the thread that faulted.
 * Locking     lanes_lock for moving sessions between lanes; mm->events_lock over the reading of a
 *             session's events and the changes among them. Faults are handled without a lock.
 */
#ifndef MMB_SPACE_LANE_H
#define MMB_SPACE_LANE_H

#include "mm/space/mm.h"

enum { LANES_MAX = 16, NR_SLOW_LANES = 2 };

struct lanes_request {
	unsigned int nr_fast; /* 0: one per CPU the daemon may run on, at most LANES_MAX */
	bool pin;
};

int lanes_start(const struct lanes_request *request);
void lanes_stop(void);
/* From now on the session's faults are served. */
int lanes_add(struct mm *mm);
void lanes_del(struct mm *mm);
/* What the client has unmapped or moved before it asked for what the caller does is dealt with: a
 * munmap() returns when a lane has read of it, and its address may be another window's then. */
void mm_await_changes(struct mm *mm);
/* Moves sessions back to the fast lanes when their time is over; called every second or so. */
void lanes_tick(void);

#endif
