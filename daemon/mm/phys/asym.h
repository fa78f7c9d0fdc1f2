/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asym - asymmetric fences: free for the frequent side, a system call for the rare one
 *
 * Purpose     Dekker's mutual exclusion between an owner that is almost always alone (a pageset's
 *             CPU) and a rare visitor (a drain). Owner: store busy, asym_light(), load blocked.
 *             Visitor: store blocked, asym_heavy(), load busy. At least one sees the other.
 * Locking     none.
 * After       membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED.
 */
#ifndef MMB_MM_PHYS_ASYM_H
#define MMB_MM_PHYS_ASYM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/types.h"

/* Where membarrier is refused (seccomp), both sides use real fences. c: fixed after asym_init */
extern bool asym_has_membarrier;

/* Before the first use; again after fork(). */
void asym_init(void);
void asym_heavy(void);

static inline void asym_light(void)
{
	if (likely(asym_has_membarrier))
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);
}

#endif
