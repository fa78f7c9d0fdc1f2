/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asym - membarrier
 *
 * Purpose     See asym.h. An instruction barrier, not memory or files: hence not in the os table.
 */
#include "mm/phys/asym.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

bool asym_init(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

void asym_heavy(void)
{
	CHECK(!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
}
