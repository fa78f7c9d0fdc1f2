/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiter - threads that wait for the disk, so that fault lanes don't
 *
 * Purpose     A fault that needs I/O or eviction is handed to a waiter of the CPU on which it was
 *             read: the wake-up stays on that CPU.
 * Invariants  W1  a fault handed over keeps its mm and region until it has been handled.
 *             W2  of one session at most WAITING_MAX faults wait.
 *             W3  pools take turns, and one pool's faults never keep all waiters of a CPU, so that
 *                 a pool which thrashes at its limit doesn't hold up another's first fault.
 *             W4  a fault is stalled from its being handed over to its end, also in the queue.
 * Locking     a leaf mutex a CPU; nothing is held while a fault is handled.
 * Not here    What is done for a fault (fault.c).
 */
#ifndef MMB_SPACE_WAITER_H
#define MMB_SPACE_WAITER_H

#include "mm/space/mm.h"
#include "os/os.h"

enum { WAITING_MAX = 1024, WAITERS_PER_CPU = 4, WAITER_CPUS_MAX = 32 };

struct waiting_fault {
	struct list_head link;
	struct mm *mm;
	struct mm_target target; /* its region is referenced */
	struct mm_hint hint;
	struct os_uffd_event event;
	uint64_t first_ns; /* when it was read first */
	bool again;        /* it was put off before */
	bool counted, major; /* fault_count.h has counted it */
};

/* fn is called on a waiter's thread for each fault, with no lock held. */
int waiters_start(void (*fn)(const struct waiting_fault *fault));
/* Handles what waits, then ends the threads. */
void waiters_stop(void);
/* Takes over a copy of the fault and a reference to its region. False: there are no waiters, or no
 * memory, or too many wait; the caller does something else. */
bool waiters_add(const struct waiting_fault *fault);
bool waiters_running(void);

#endif
