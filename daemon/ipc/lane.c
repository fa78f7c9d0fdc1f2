/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane - a serving thread's buffers, signals and CPU slot
 *
 * Locking     none.
 */
#include "ipc/lane.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "base/log.h"

struct lane *lane_new(void)
{
	struct lane *lane = aligned_alloc(alignof(struct lane), sizeof(*lane));

	if (lane)
		histogram_init(&lane->latency);
	return lane;
}

void lane_free(struct lane *lane)
{
	free(lane);
}

int lane_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
	sigset_t all, before;
	int      error;

	/* Signals are the main thread's, but for those that a thread raises itself: a guarded
	 * access to a client's frame may end in SIGBUS here. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

void lane_thread_enter(const char *name, const struct topology *topology)
{
	int node = topology ? topology_current_node(topology) : 0;

	pthread_setname_np(pthread_self(), name);
	if (cpu_slot_register(node))
		log_emit(LOG_WARNING, "cpu_slots_taken",
			 "thread %s works without a CPU slot: all %d are taken", name,
			 NR_CPU_SLOTS);
}

void lane_thread_leave(void)
{
	if (this_cpu() != CPU_SLOT_NONE)
		cpu_slot_unregister();
}
