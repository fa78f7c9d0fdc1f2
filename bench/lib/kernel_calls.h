/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_calls - which steps of this thread made a system call
 *
 * Purpose     Syscall user dispatch (Linux 5.11): while it is armed, the thread's next system
 *             call becomes a SIGSYS; its handler counts it, disarms, and lets it happen. Arming
 *             is one store, so what is watched runs at full speed and nothing else is asked.
 */
#ifndef MMB_BENCH_LIB_KERNEL_CALLS_H
#define MMB_BENCH_LIB_KERNEL_CALLS_H

#include <stdint.h>

/* BENCH_SKIP where the kernel doesn't have it. Not armed yet. */
int kernel_calls_begin(void);
/* The thread's next system call counts; the others until the next call of this don't. */
void kernel_calls_arm(void);
/* How many counted. */
uint64_t kernel_calls_end(void);

#endif
