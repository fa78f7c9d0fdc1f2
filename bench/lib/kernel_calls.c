/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_calls - see kernel_calls.h */
#include "lib/kernel_calls.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "lib/bench.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF          0
#define PR_SYS_DISPATCH_ON           1
#endif
enum { ALLOW = 0, BLOCK = 1, SYSCALL_BYTES = 2 /* of the instruction */ };

static volatile char     selector; /* the kernel reads it */
static volatile uint64_t nr_calls;

/* The kernel has put the registers back as they were, but for the instruction pointer. */
static void on_call(int number, siginfo_t *info, void *context)
{
	ucontext_t *at = context;

	selector = ALLOW;
	nr_calls++;
	at->uc_mcontext.gregs[REG_RIP] -= SYSCALL_BYTES;
}

int kernel_calls_begin(void)
{
	struct sigaction action = { .sa_sigaction = on_call, .sa_flags = SA_SIGINFO };

	selector = ALLOW;
	nr_calls = 0;
	if (sigaction(SIGSYS, &action, NULL) != 0)
		return bench_because(-errno, "sigaction: %s", strerror(errno));
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) != 0)
		return bench_because(BENCH_SKIP, "no syscall user dispatch here: %s",
				     strerror(errno));
	return 0;
}

void kernel_calls_arm(void)
{
	selector = BLOCK;
}

uint64_t kernel_calls_end(void)
{
	selector = ALLOW;
	prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
	return nr_calls;
}
