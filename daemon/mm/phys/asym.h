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

/* Before the first use: the first zone does it. False where membarrier is refused (seccomp): then
 * the pair of fences doesn't work, and who would use it must do without. */
bool asym_init(void);
void asym_heavy(void);

static inline void asym_light(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

#endif
