/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asym - a barrier whose whole cost is on one side
 *
 * Purpose     The owner of a heap stores "busy" and loads "open" without a fence; a visitor stores
 *             "closed", calls asym_heavy() and then believes what it reads of "busy".
 * Source      Asymmetric Dekker synchronization by membarrier(2), as in the daemon's pagesets.
 */
#ifndef MMB_LIBCLIENT_HEAP_ASYM_H
#define MMB_LIBCLIENT_HEAP_ASYM_H

#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define MMB_ASYM_PLAIN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MMB_ASYM_PLAIN 1
#endif
#endif

/* Once a process (again after fork). False: nobody may visit. */
static inline bool asym_register(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

static inline bool asym_heavy(void)
{
	atomic_thread_fence(memory_order_seq_cst);
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

/* The owner's side: stores busy. What follows isn't moved before it by the compiler. */
static inline void asym_enter(_Atomic unsigned int *busy)
{
#ifdef MMB_ASYM_PLAIN
	atomic_exchange(busy, 1);
#else
	atomic_store_explicit(busy, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

static inline void asym_leave(_Atomic unsigned int *busy)
{
	atomic_store_explicit(busy, 0, memory_order_release);
}

#endif
