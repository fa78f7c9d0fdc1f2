/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_count - each fault once in the counters, and once in the histogram
 *
 * Invariants  T1  an event for which a window was found is one fault, however often it is looked
 *                 at until it ends; strays are counted apart.
 *             T2  a fault that was counted is in the histogram when it has ended, with all of the
 *                 time since it was read: on disk, delayed, waiting for memory.
 * Locking     atomics.
 */
#ifndef MMB_SPACE_FAULT_COUNT_H
#define MMB_SPACE_FAULT_COUNT_H

#include <stdatomic.h>

#include "base/histogram.h"
#include "mm/space/waiter.h"

struct fault_stats {
	_Atomic uint64_t nr_faults, nr_minor, nr_missing, nr_wp;
	_Atomic uint64_t nr_major;  /* of nr_faults, those that brought their page from swap */
	_Atomic uint64_t nr_strays; /* address without a window */
	_Atomic uint64_t nr_gone;   /* ENOENT, ESRCH: unmapped or dead meanwhile */
	_Atomic uint64_t nr_busy;   /* noted as waiter */
	_Atomic uint64_t nr_again;  /* woken to fault again */
	_Atomic uint64_t nr_parked;
	_Atomic uint64_t nr_poisoned;
	_Atomic uint64_t nr_punched; /* pages a client punched behind our back */
	_Atomic uint64_t nr_around;  /* entries installed beyond the faulting one */
	_Atomic uint64_t nr_ahead;   /* pages produced in the background */
};
extern struct fault_stats fault_stats;
extern struct histogram fault_latency;

static inline void fault_stat(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Its target has been found. */
void fault_count(struct waiting_fault *fault);
/* Its page was brought from swap for it. */
void fault_count_major(struct waiting_fault *fault);
/* Mapped, poisoned, noted as waiter or woken: the client goes on, or faults anew. */
void fault_ended(const struct waiting_fault *fault);

#endif
