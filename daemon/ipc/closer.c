/* SPDX-License-Identifier: Apache-2.0 */
/*
 * closer - threads that may block in close(2), one more whenever all do
 *
 * Locking     closer_lock guards all of it; close(2) is called without it.
 */
#include "ipc/closer.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/log.h"
#include "base/types.h"
#include "ipc/lane.h"
#include "os/os.h"

static const uint64_t long_ns = 1000ull * 1000 * 1000;

/* Plain pthread: these exist before any server and outlive all of them. */
static pthread_mutex_t closer_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  closer_wanted = PTHREAD_COND_INITIALIZER;

/* There while it has descriptors here. l: closer_lock */
struct sender {
	struct list_head link;     /* (l) who was served longest ago comes first */
	uid_t            uid;      /* fixed */
	unsigned int     nr_busy;  /* (l) threads that close one of them */
	size_t           nr, room; /* (l) */
	uint64_t         since_ns; /* (l) when the queue became long; 0: it isn't */
	int             *fds;      /* (l) */
};

/* All guarded by closer_lock. */
static struct list_head senders = { &senders, &senders };
static unsigned int     closers, closers_busy;

/* A socket that lingers would wait for whoever is at its other end. */
static void close_now(int fd)
{
	const struct linger none = { 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)); /* or it is no socket */
	os->close(fd);
}

/* S2 */
static unsigned int may_have_locked(const struct sender *s)
{
	unsigned int left = CLOSERS_MAX - closers_busy;
	unsigned int most = min_t(unsigned int, CLOSERS_PER_UID, s->nr_busy + left / 2);

	if (!s->nr_busy && left)
		most = max_t(unsigned int, most, 1);
	return s->nr_busy < most ? (unsigned int)min_t(size_t, s->nr, most - s->nr_busy) : 0;
}

static struct sender *next_locked(void)
{
	struct sender *s;

	list_for_each_entry(s, &senders, link)
		if (may_have_locked(s))
			return s;
	return NULL;
}

static void put_locked(struct sender *s)
{
	if (s->nr || s->nr_busy)
		return;
	list_del(&s->link);
	free(s->fds);
	free(s);
}

static void *closer_run(void *arg);

/* What is queued and may be closed has an idle thread each, or none is idle. True: somebody closes
 * it, sooner or later. */
static bool start_locked(void)
{
	unsigned int   wanted = 0;
	struct sender *s;
	pthread_t      thread;

	list_for_each_entry(s, &senders, link)
		wanted += may_have_locked(s);
	if (closers - closers_busy >= wanted || closers == CLOSERS_MAX)
		return true;
	if (lane_thread_start(&thread, closer_run, NULL))
		return closers > 0;
	pthread_detach(thread);
	closers++;
	return true;
}

/* Closes one, without the lock. */
static void serve(struct sender *s)
{
	int fd = s->fds[--s->nr];

	if (s->nr < CLOSER_QUEUE_MAX)
		s->since_ns = 0;
	s->nr_busy++;
	closers_busy++;
	list_del(&s->link);
	list_add_tail(&s->link, &senders);
	/* It may block: who else may be closed now isn't to wait for it. */
	start_locked();
	if (next_locked())
		pthread_cond_signal(&closer_wanted);
	pthread_mutex_unlock(&closer_lock);
	close_now(fd);
	pthread_mutex_lock(&closer_lock);
	closers_busy--;
	s->nr_busy--;
	put_locked(s);
}

static void *closer_run(void *arg)
{
	struct sender *s;

	(void)arg;
	pthread_setname_np(pthread_self(), "mmb-closer");
	pthread_mutex_lock(&closer_lock);
	for (;;) {
		while (!(s = next_locked()))
			pthread_cond_wait(&closer_wanted, &closer_lock);
		serve(s);
	}
	return NULL;
}

static struct sender *find_locked(uid_t uid)
{
	struct sender *s;

	list_for_each_entry(s, &senders, link)
		if (s->uid == uid)
			return s;
	return NULL;
}

static struct sender *get_locked(uid_t uid)
{
	struct sender *s = find_locked(uid);

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->uid = uid;
	list_add_tail(&s->link, &senders);
	return s;
}

static bool push_locked(struct sender *s, int fd)
{
	if (s->nr == s->room) {
		size_t room = s->room ? s->room * 2 : CLOSER_QUEUE_MAX;
		int   *fds = realloc(s->fds, room * sizeof(*fds));

		if (!fds)
			return false;
		s->fds = fds;
		s->room = room;
	}
	s->fds[s->nr++] = fd;
	if (s->nr >= CLOSER_QUEUE_MAX && !s->since_ns)
		s->since_ns = os->now_ns();
	return true;
}

static bool is_full_locked(const struct sender *s)
{
	if (!s || s->nr < CLOSER_QUEUE_MAX)
		return false;
	return s->nr >= CLOSER_QUEUE_MOST || os->now_ns() - s->since_ns >= long_ns;
}

void closer_discard(int fd, uid_t uid)
{
	struct sender *s;
	bool pushed = false, stuck = false;

	pthread_mutex_lock(&closer_lock);
	s = get_locked(uid);
	if (s) {
		pushed = push_locked(s, fd);
		if (pushed && !start_locked()) {
			s->nr--;
			pushed = false;
		}
		stuck = is_full_locked(s);
		put_locked(s);
	}
	if (pushed)
		pthread_cond_signal(&closer_wanted);
	pthread_mutex_unlock(&closer_lock);
	if (stuck)
		log_emit_limited(LOG_WARNING, "descriptors_stuck",
				 "descriptors that clients of uid %u sent block when they are "
				 "closed (a file system that doesn't answer?), and others wait "
				 "behind them: it can't send more", uid);
	/* Without memory for a thread or a number, a short wait is the lesser evil. */
	if (!pushed)
		close_now(fd);
}

bool closer_is_full(uid_t uid)
{
	bool full;

	pthread_mutex_lock(&closer_lock);
	full = is_full_locked(find_locked(uid));
	pthread_mutex_unlock(&closer_lock);
	return full;
}
