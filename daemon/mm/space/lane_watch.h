/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane_watch - which fault threads poll which session
 *
 * Purpose     A session is polled by the lanes of the CPUs that its faulting threads can run on:
 *             one lane for a thread that is bound to one CPU, all of them otherwise. So a bound
 *             thread's fault wakes no second lane for nothing. Slow sessions go to the slow lanes.
 * Invariants  W1  a live mm is polled by at least one fast lane, or by all slow lanes.
 *             W2  the lanes of every thread that has faulted since the last tick are among them.
 * Locking     one leaf mutex for changes; a thread that is known costs no lock.
 */
#ifndef MMB_SPACE_LANE_WATCH_H
#define MMB_SPACE_LANE_WATCH_H

#include "mm/space/mm.h"

void lane_watch_init(void);
void lane_watch_fini(void);
/* In the order of start; cpu -1: anywhere. */
void lane_register(int epoll_fd, int cpu, bool slow);
struct mm *lane_mm_of_tag(uint64_t tag);
/* A thread of the session has faulted. */
void lane_note_thread(struct mm *mm, uint32_t tid);
/* An ioctl on the session took too long: to the slow lanes, longer each time. */
void lane_banish(struct mm *mm, uint64_t now_ns);

#endif
