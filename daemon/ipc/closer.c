/* SPDX-License-Identifier: Apache-2.0 */
/*
 * closer - threads that may block in close(2), one more whenever all do
 *
 * Locking     closer_lock guards all of it; close(2) is called without it.
 */
#include "ipc/closer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/lane.h"

enum {
	CLOSERS_MAX = 32,
	QUEUE_LONG = 256, /* waiting behind so many that block: somebody should know */
};

/* Plain pthread: these exist before any server and outlive all of them. */
static pthread_mutex_t closer_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  closer_wanted = PTHREAD_COND_INITIALIZER;

/* All guarded by closer_lock. */
static int   *closer_fds;
static size_t closer_nr, closer_room;
static int    closers, closers_idle;

/* A socket that lingers would wait for whoever is at its other end. */
static void close_now(int fd)
{
	const struct linger none = { 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)); /* or it is no socket */
	close(fd);
}

static void *closer_run(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "mmb-closer");
	pthread_mutex_lock(&closer_lock);
	for (;;) {
		int fd;

		closers_idle++;
		while (!closer_nr)
			pthread_cond_wait(&closer_wanted, &closer_lock);
		closers_idle--;
		fd = closer_fds[--closer_nr];
		pthread_mutex_unlock(&closer_lock);
		close_now(fd);
		pthread_mutex_lock(&closer_lock);
	}
	return NULL;
}

/* What is queued has an idle thread each, or none is idle. True: somebody closes it, sooner or
 * later. */
static bool start_locked(void)
{
	pthread_t thread;

	if (closers_idle > (int)closer_nr || closers == CLOSERS_MAX)
		return true;
	if (lane_thread_start(&thread, closer_run, NULL))
		return closers > 0;
	pthread_detach(thread);
	closers++;
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
	bool pushed, stuck;

	pthread_mutex_lock(&closer_lock);
	pushed = start_locked() && push_locked(fd);
	if (pushed)
		pthread_cond_signal(&closer_wanted);
	stuck = closer_nr >= QUEUE_LONG && closers == CLOSERS_MAX && !closers_idle;
	pthread_mutex_unlock(&closer_lock);
	if (stuck)
		log_emit_limited(LOG_WARNING, "descriptors_stuck",
				 "%d descriptors that clients sent block when they are closed (a "
				 "file system that doesn't answer?), and others wait behind them",
				 CLOSERS_MAX);
	/* Without memory for a thread or a number, a short wait is the lesser evil. */
	if (!pushed)
		close_now(fd);
}
