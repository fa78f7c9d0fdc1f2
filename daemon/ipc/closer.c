/* SPDX-License-Identifier: Apache-2.0 */
/*
 * closer - one thread that may block in close(2)
 *
 * Locking     closer_lock guards all of it; close(2) is called without it.
 */
#include "ipc/closer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/lane.h"

/* Plain pthread: these exist before any server and outlive all of them. */
static pthread_mutex_t closer_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  closer_wanted = PTHREAD_COND_INITIALIZER;

/* All guarded by closer_lock. */
static int   *closer_fds;
static size_t closer_nr, closer_room;
static bool   closer_runs;

static void *closer_run(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "mmb-closer");
	pthread_mutex_lock(&closer_lock);
	for (;;) {
		int fd;

		while (!closer_nr)
			pthread_cond_wait(&closer_wanted, &closer_lock);
		fd = closer_fds[--closer_nr];
		pthread_mutex_unlock(&closer_lock);
		close(fd);
		pthread_mutex_lock(&closer_lock);
	}
	return NULL;
}

static bool start_locked(void)
{
	pthread_t thread;

	if (closer_runs)
		return true;
	if (lane_thread_start(&thread, closer_run, NULL))
		return false;
	pthread_detach(thread);
	closer_runs = true;
	return true;
}

static bool push_locked(int fd)
{
	if (closer_nr == closer_room) {
		size_t room = closer_room ? closer_room * 2 : 64;
		int   *fds = realloc(closer_fds, room * sizeof(*fds));

		if (!fds)
			return false;
		closer_fds = fds;
		closer_room = room;
	}
	closer_fds[closer_nr++] = fd;
	return true;
}

void closer_discard(int fd)
{
	bool pushed;

	pthread_mutex_lock(&closer_lock);
	pushed = start_locked() && push_locked(fd);
	if (pushed)
		pthread_cond_signal(&closer_wanted);
	pthread_mutex_unlock(&closer_lock);
	/* Without memory for a thread or a number, a short wait is the lesser evil. */
	if (!pushed)
		close(fd);
}
