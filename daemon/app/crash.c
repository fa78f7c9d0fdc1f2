/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash - one handler for all of them
 */
#include "app/crash.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#include "base/heartbeat.h"
#include "base/types.h"

static const int numbers[] = { SIGSEGV, SIGILL, SIGFPE, SIGABRT };
static struct sigaction before[ARRAY_SIZE(numbers)]; /* fixed after init */

/* What the processor raised comes again as soon as the handler returns; what was sent doesn't. */
static void on_crash(int number, siginfo_t *info, void *context)
{
	(void)context;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i] == number)
			sigaction(number, &before[i], NULL);
	heartbeat_blame_self();
	if (info->si_code <= 0)
		raise(number);
}

int crash_init(void)
{
	struct sigaction action = { .sa_sigaction = on_crash,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (sigaction(numbers[i], &action, &before[i]))
			return -errno;
	return 0;
}
