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
	CLOSERS_MAX = 64,
	CLOSERS_A_USER = 4,
	GATHER_MS = 50,
	ASK_MS = 1000, /* and then it looks whether the daemon ends */
	ROOM_FIRST = 64,
};

struct descriptor {
	int fd;
	uid_t uid; /* whose map it was of */
};

/* l: lock */
struct descriptors {
	struct descriptor *all; /* (l) */
	uint32_t nr, room;      /* (l) */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wanted, ready_ones;
	struct descriptors asked_for; /* (l) the keeper may have them still */
	struct descriptors ready;     /* (l) nobody else has them */
	uint32_t nr_closers, nr_idle; /* (l) */
	uid_t closing[CLOSERS_MAX];   /* (l) for whom each of nr_closing is at work */
	uint32_t nr_closing;          /* (l) */
	bool stopping, running;       /* (l) */
	pthread_t asker;
} last = { .lock = PTHREAD_MUTEX_INITIALIZER,
	   .wanted = PTHREAD_COND_INITIALIZER,
	   .ready_ones = PTHREAD_COND_INITIALIZER };

static bool add_locked(struct descriptors *d, struct descriptor one)
{
	if (d->nr == d->room) {
		uint32_t room = max_t(uint32_t, ROOM_FIRST, 2 * d->room);
		struct descriptor *all = realloc(d->all, room * sizeof(*all));

		if (!all)
			return false;
		d->all = all;
		d->room = room;
	}
	d->all[d->nr++] = one;
	return true;
}

/* ---- closers ---- */

static uint32_t nr_closing_for_locked(uid_t uid)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < last.nr_closing; i++)
		nr += last.closing[i] == uid;
	return nr;
}

/* L2. One of a user that hasn't as many under way as it may. */
static bool take_locked(struct descriptor *one)
{
	for (uint32_t i = last.ready.nr; i-- > 0;) {
		if (nr_closing_for_locked(last.ready.all[i].uid) >= CLOSERS_A_USER)
			continue;
		*one = last.ready.all[i];
		last.ready.all[i] = last.ready.all[--last.ready.nr];
		last.closing[last.nr_closing++] = one->uid;
		return true;
	}
	return false;
}

static void end_closing_locked(uid_t uid)
{
	for (uint32_t i = 0; i < last.nr_closing; i++) {
		if (last.closing[i] != uid)
			continue;
		last.closing[i] = last.closing[--last.nr_closing];
		return;
	}
}

static void *close_all(void *unused)
{
	struct descriptor one;

	(void)unused;
	pthread_mutex_lock(&last.lock);
	for (;;) {
		while (take_locked(&one)) {
			pthread_mutex_unlock(&last.lock);
			os->close(one.fd);
			pthread_mutex_lock(&last.lock);
			end_closing_locked(one.uid);
		}
		if (last.stopping)
			break;
		last.nr_idle++;
		pthread_cond_wait(&last.ready_ones, &last.lock);
		last.nr_idle--;
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
			if (!have_closer_locked() || !add_locked(&last.ready, batch.all[i]))
				os->close(batch.all[i].fd);
		pthread_cond_broadcast(&last.ready_ones);
		free(batch.all);
	}
	pthread_mutex_unlock(&last.lock);
	return NULL;
}

bool last_close(int fd)
{
	struct descriptor one = { fd, holdup_owner_uid(fd) };
	bool taken;

	holdup_set_owner(fd, 0, 0);
	pthread_mutex_lock(&last.lock);
	taken = last.running && !last.stopping && add_locked(&last.asked_for, one);
	if (taken && last.asked_for.nr == 1)
		pthread_cond_signal(&last.wanted);
	pthread_mutex_unlock(&last.lock);
	return taken;
}

int last_close_start(void)
{
	int error;

	pthread_mutex_lock(&last.lock);
	last.stopping = false;
	error = pthread_create(&last.asker, NULL, ask, NULL);
	last.running = !error;
	pthread_mutex_unlock(&last.lock);
	if (error)
		return -EAGAIN;
	pthread_setname_np(last.asker, "mmb-lastask");
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
