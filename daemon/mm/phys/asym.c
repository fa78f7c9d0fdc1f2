/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asym - membarrier, or full fences where there is none
 *
 * Purpose     See asym.h. An instruction barrier, not memory or files: hence not in the os table.
 */
#include "mm/phys/asym.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

bool asym_has_membarrier;

void asym_init(void)
{
	asym_has_membarrier =
		syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void asym_heavy(void)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (asym_has_membarrier)
		CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
}
