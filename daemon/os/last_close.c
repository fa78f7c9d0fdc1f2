/* SPDX-License-Identifier: Apache-2.0 */
/*
 * last_close - one thread asks the keeper, others close
 *
 * Gathering   The keeper is asked once for all that has come in a moment: sessions may come and go
 *             by the thousand a second.
 */
#include "os/last_close.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/types.h"
#include "os/holdup.h"
#include "os/keep.h"
#include "os/os.h"

enum {
	CLOSERS_MAX = 32,
	GATHER_MS = 50,
	ASK_MS = 1000, /* and then it looks whether the daemon ends */
	ROOM_FIRST = 64,
};

/* l: lock */
struct descriptors {
	int *fds;          /* (l) */
	uint32_t nr, room; /* (l) */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wanted, ready_ones;
	struct descriptors asked_for; /* (l) the keeper may have them still */
	struct descriptors ready;     /* (l) nobody else has them */
	uint32_t nr_closers, nr_idle; /* (l) */
	bool stopping, running;       /* (l) */
	pthread_t asker;
} last = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool add_locked(struct descriptors *d, int fd)
{
	if (d->nr == d->room) {
		uint32_t room = max_t(uint32_t, ROOM_FIRST, 2 * d->room);
		int *fds = realloc(d->fds, room * sizeof(*fds));

		if (!fds)
			return false;
		d->fds = fds;
		d->room = room;
	}
	d->fds[d->nr++] = fd;
	return true;
}

/* ---- closers ---- */

static void *close_all(void *unused)
{
	int fd;

	(void)unused;
	pthread_mutex_lock(&last.lock);
	for (;;) {
		while (!last.ready.nr && !last.stopping) {
			last.nr_idle++;
			pthread_cond_wait(&last.ready_ones, &last.lock);
			last.nr_idle--;
		}
		if (!last.ready.nr)
			break;
		fd = last.ready.fds[--last.ready.nr];
		pthread_mutex_unlock(&last.lock);
		os->close(fd);
		pthread_mutex_lock(&last.lock);
	}
	last.nr_closers--;
	pthread_mutex_unlock(&last.lock);
	return NULL;
}

/* Whether there are closers at all. */
static bool have_closer_locked(void)
{
	pthread_t thread;

	if (!last.nr_idle && last.nr_closers < CLOSERS_MAX &&
	    !pthread_create(&thread, NULL, close_all, NULL)) {
		pthread_setname_np(thread, "mmb-lastclose");
		pthread_detach(thread);
		last.nr_closers++;
	}
	return last.nr_closers;
}

/* ---- the asker ---- */

static bool is_stopping(void)
{
	bool stopping;

	pthread_mutex_lock(&last.lock);
	stopping = last.stopping;
	pthread_mutex_unlock(&last.lock);
	return stopping;
}

/* The keeper closes its end when it has done all that it was told before. */
static void ask_keeper(void)
{
	const struct timespec pause = { .tv_nsec = GATHER_MS * 1000 * 1000 };
	int ends[2];

	while (keep_is_on() && !is_stopping()) {
		struct pollfd p;
		int r = pipe2(ends, O_CLOEXEC) ? -errno : keep_barrier(ends[1]);

		if (r == -EMFILE || r == -ENFILE) {
			nanosleep(&pause, NULL);
			continue;
		}
		close(ends[1]);
		p = (struct pollfd){ .fd = ends[0] };
		while (!r && poll(&p, 1, ASK_MS) <= 0 && !is_stopping())
			;
		close(ends[0]);
		if (!r)
			return;
		nanosleep(&pause, NULL);
	}
}

static void gather(void)
{
	const struct timespec pause = { .tv_nsec = GATHER_MS * 1000 * 1000 };

	if (!is_stopping())
		nanosleep(&pause, NULL);
}

static void *ask(void *unused)
{
	struct descriptors batch;

	(void)unused;
	pthread_mutex_lock(&last.lock);
	while (!last.stopping || last.asked_for.nr) {
		if (!last.asked_for.nr) {
			pthread_cond_wait(&last.wanted, &last.lock);
			continue;
		}
		pthread_mutex_unlock(&last.lock);
		gather();
		pthread_mutex_lock(&last.lock);
		batch = last.asked_for;
		last.asked_for = (struct descriptors){ 0 };
		pthread_mutex_unlock(&last.lock);
		ask_keeper();
		pthread_mutex_lock(&last.lock);
		for (uint32_t i = 0; i < batch.nr; i++)
			if (!have_closer_locked() || !add_locked(&last.ready, batch.fds[i]))
				os->close(batch.fds[i]);
		pthread_cond_broadcast(&last.ready_ones);
		free(batch.fds);
	}
	pthread_mutex_unlock(&last.lock);
	return NULL;
}

bool last_close(int fd)
{
	bool taken;

	holdup_set_owner(fd, 0);
	pthread_mutex_lock(&last.lock);
	taken = last.running && !last.stopping && add_locked(&last.asked_for, fd);
	if (taken && last.asked_for.nr == 1)
		pthread_cond_signal(&last.wanted);
	pthread_mutex_unlock(&last.lock);
	return taken;
}

int last_close_start(void)
{
	pthread_cond_init(&last.wanted, NULL);
	pthread_cond_init(&last.ready_ones, NULL);
	last.stopping = false;
	if (pthread_create(&last.asker, NULL, ask, NULL))
		return -EAGAIN;
	pthread_setname_np(last.asker, "mmb-lastask");
	last.running = true;
	return 0;
}

void last_close_stop(void)
{
	if (!last.running)
		return;
	pthread_mutex_lock(&last.lock);
	last.stopping = true;
	pthread_cond_signal(&last.wanted);
	pthread_cond_broadcast(&last.ready_ones);
	pthread_mutex_unlock(&last.lock);
	pthread_join(last.asker, NULL);
	pthread_mutex_lock(&last.lock);
	last.running = false;
	pthread_cond_broadcast(&last.ready_ones);
	pthread_mutex_unlock(&last.lock);
}
