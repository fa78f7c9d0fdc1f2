/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memalloc - whether the calling thread may take memory that is kept for emergencies
 *
 * Purpose     When clients have been promised everything, threads that bring pages in and out need
 *             memory themselves, and so does an operator who wants to see what happens. The mark is
 *             a thread's, as PF_MEMALLOC is a task's in the kernel.
 * Locking     none.
 * Not here    What is kept, and who takes it (mm/phys/stock.h).
 */
#ifndef MMB_BASE_MEMALLOC_H
#define MMB_BASE_MEMALLOC_H

#include <stdbool.h>

void memalloc_set(bool may);
bool memalloc_now(void);

#endif
