/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard - a SIGBUS handler that jumps back into the accessor
 *
 * Purpose     See guard.h. The range is kept per thread and checked, so that a SIGBUS from
 *             anywhere else still ends the daemon.
 */
#include "mm/phys/guard.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/heartbeat.h"

struct guard {
	sigjmp_buf            back;
	volatile uintptr_t    start, end;   /* guarded bytes */
	volatile uintptr_t    start2, end2; /* of a copy's other side */
	volatile sig_atomic_t active;
};

static __thread struct guard guard;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	if (guard.active && ((at >= guard.start && at < guard.end) ||
			     (at >= guard.start2 && at < guard.end2))) {
		guard.active = 0;
		siglongjmp(guard.back, 1);
	}
	heartbeat_blame_self();
	signal(number, SIG_DFL);
	raise(number);
}

int guard_init(void)
{
	/* SA_NODEFER: the jump doesn't restore the mask, and must not leave SIGBUS blocked. */
	struct sigaction action = { .sa_sigaction = on_sigbus,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) ? -errno : 0;
}

static void guard_enter(const void *a, const void *b, size_t bytes)
{
	guard.start = (uintptr_t)a;
	guard.end = guard.start + bytes;
	guard.start2 = (uintptr_t)b;
	guard.end2 = b ? guard.start2 + bytes : 0;
	guard.active = 1;
	atomic_signal_fence(memory_order_seq_cst);
}

static void guard_leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	guard.active = 0;
}

int guarded_zero(void *to, size_t bytes)
{
	if (sigsetjmp(guard.back, 0))
		return -EFAULT;
	guard_enter(to, NULL, bytes);
	memset(to, 0, bytes);
	guard_leave();
	return 0;
}

int guarded_copy(void *to, const void *from, size_t bytes)
{
	if (sigsetjmp(guard.back, 0))
		return -EFAULT;
	guard_enter(to, from, bytes);
	memcpy(to, from, bytes);
	guard_leave();
	return 0;
}
