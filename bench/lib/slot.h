/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot - a pointer in memory that several processes see, which one of them at a time takes out
 */
#ifndef MMB_BENCH_LIB_SLOT_H
#define MMB_BENCH_LIB_SLOT_H

#include <stdatomic.h>
#include <stdint.h>

/* NULL: it is empty, or somebody else was faster. */
static inline uint64_t *slot_take(_Atomic uint64_t *slot)
{
	return (uint64_t *)(uintptr_t)atomic_exchange(slot, 0);
}

#endif
