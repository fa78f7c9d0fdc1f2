/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdup - notes of calls, and the look at them
 */
#include "os/holdup.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/types.h"
#include "os/culprit.h"
#include "os/evidence.h"

enum {
	LOOK_MS = 250,
	STUCK_LOOKS = 4,  /* in the same call on a file for so many looks */
	MAP_LOOKS = CULPRIT_MAP_MS / LOOK_MS,
	OWNER_LOOKS = 4, /* more, in which the owner is to be gone */
	CALLS_MAX = 64,
	OWNED_MAX = 131072, /* descriptors of ours, see LimitNOFILE of the unit */
};

/* l: lock   a: atomic, written by its thread   o: its thread's   k: who looks */
struct call {
	struct list_head link; /* (l) */
	pid_t tid;             /* (o) 0: not on the list */
	uint32_t turn;         /* (o) */
	_Atomic uint64_t word; /* (a) turn, and the descriptor + 1 of the call it is in, or 0 */
	uint64_t seen;         /* (k) word at the last look */
	uint32_t nr_looks;     /* (k) that have found it so */
};

struct stuck_call {
	pid_t tid;
	int fd;
	uint32_t nr_looks;
	uint64_t word;
};

/* a: atomic */
struct owner {
	_Atomic pid_t pid;         /* (a) 0: none */
	_Atomic uid_t uid;         /* (a) */
	_Atomic uint64_t since_ns; /* (a) since the host was booted */
};

/* l: lock   k: who looks   a: atomic, written by who looks */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t stop;
	struct list_head calls; /* (l) */
	bool stopping, running; /* (l) */
	pthread_t thread;
	bool told;              /* (k) that it lasts */
	_Atomic bool lasts;
} holdup = { .lock = PTHREAD_MUTEX_INITIALIZER, .calls = LIST_HEAD_INIT(holdup.calls) };

static struct owner owners[OWNED_MAX];
static _Thread_local struct call mine;
static pthread_key_t at_exit;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- notes ---- */

static void forget(void *call)
{
	struct call *c = call;

	pthread_mutex_lock(&holdup.lock);
	list_del(&c->link);
	pthread_mutex_unlock(&holdup.lock);
	c->tid = 0;
}

static void make_key(void)
{
	if (pthread_key_create(&at_exit, forget))
		abort(); /* of a thousand keys none is left */
}

static void remember(void)
{
	pthread_once(&once, make_key);
	mine.tid = gettid();
	pthread_mutex_lock(&holdup.lock);
	list_add_tail(&mine.link, &holdup.calls);
	pthread_mutex_unlock(&holdup.lock);
	pthread_setspecific(at_exit, &mine);
}

void holdup_enter(int fd)
{
	if (unlikely(!mine.tid))
		remember();
	atomic_store_explicit(&mine.word, (uint64_t)++mine.turn << 32 | ((uint32_t)fd + 1),
			      memory_order_relaxed);
}

void holdup_leave(void)
{
	atomic_store_explicit(&mine.word, (uint64_t)mine.turn << 32, memory_order_relaxed);
}

static uint64_t since_boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void holdup_set_owner(int uffd, pid_t pid, uid_t uid)
{
	if (pid)
		evidence_note_uid(uid);
	if (uffd < 0 || uffd >= OWNED_MAX)
		return;
	atomic_store(&owners[uffd].uid, uid);
	atomic_store(&owners[uffd].since_ns, since_boot_ns());
	atomic_store(&owners[uffd].pid, pid);
}

uid_t holdup_owner_uid(int uffd)
{
	return uffd >= 0 && uffd < OWNED_MAX ? atomic_load(&owners[uffd].uid) : 0;
}

static pid_t owner_of(int fd)
{
	return fd < OWNED_MAX ? atomic_load(&owners[fd].pid) : 0;
}

bool holdup_lasts(void)
{
	return atomic_load(&holdup.lasts);
}

/* ---- the look ---- */

/* While a search went on the call may have ended, and its descriptor be another file's. */
static bool is_in_call(const void *stuck_call)
{
	const struct stuck_call *call = stuck_call;
	struct call *c;
	bool found = false;

	pthread_mutex_lock(&holdup.lock);
	list_for_each_entry(c, &holdup.calls, link)
		if (c->tid == call->tid && atomic_load(&c->word) == call->word)
			found = true;
	pthread_mutex_unlock(&holdup.lock);
	return found;
}

static void search_for(const struct stuck_call *call)
{
	struct hold hold = { .fd = call->fd, .is_stuck = is_in_call, .call = call };
	pid_t owner = owner_of(call->fd);

	if (!owner)
		culprit_end_writer(&hold);
	else if (call->nr_looks < MAP_LOOKS + OWNER_LOOKS)
		culprit_end_owner(&hold, owner, atomic_load(&owners[call->fd].since_ns));
	else
		culprit_end_keepers(&hold, holdup_owner_uid(call->fd));
}

static unsigned int collect(struct stuck_call *calls)
{
	unsigned int nr = 0;
	struct call *c;

	list_for_each_entry(c, &holdup.calls, link) {
		uint64_t word = atomic_load_explicit(&c->word, memory_order_relaxed);

		c->nr_looks = word == c->seen ? c->nr_looks + 1 : 0;
		c->seen = word;
		if ((uint32_t)word && nr < CALLS_MAX)
			calls[nr++] = (struct stuck_call){ c->tid, (int)((uint32_t)word - 1),
							   c->nr_looks, word };
	}
	return nr;
}

/* Not of userfaultfds: all of them are one anonymous file to fstat(). */
static bool same_file(int a, int b)
{
	struct stat one, other;

	return !fstat(a, &one) && !fstat(b, &other) && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

/* H1 */
static bool is_held_up(const struct stuck_call *call, const struct stuck_call *calls,
		       unsigned int nr)
{
	bool map = owner_of(call->fd);
	uint32_t looks = map ? MAP_LOOKS : STUCK_LOOKS;

	if (call->nr_looks < looks || !evidence_waits_for_lock(call->tid))
		return false;
	for (unsigned int i = 0; i < nr; i++)
		if (&calls[i] != call && !map && same_file(calls[i].fd, call->fd) &&
		    !evidence_waits_for_lock(calls[i].tid))
			return false;
	return true;
}

/* Until the call has ended nobody is to give this process up: it couldn't end. */
static void settle(const struct stuck_call *calls, unsigned int nr)
{
	bool lasts = false;

	for (unsigned int i = 0; i < nr; i++) {
		if (!is_held_up(&calls[i], calls, nr))
			continue;
		lasts = true;
		atomic_store(&holdup.lasts, true);
		search_for(&calls[i]);
		if (is_in_call(&calls[i]) && !holdup.told) {
			holdup.told = true;
			log_emit(LOG_CRIT, "holdup_lasts",
				 "a thread waits for the lock of a file, or of a client's map, "
				 "and whoever keeps it is not found, or not gone yet: if this "
				 "lasts, look for processes that write to files of the broker, or "
				 "read other processes' memory, and end them");
		}
	}
	if (lasts)
		return;
	holdup.told = false;
	atomic_store(&holdup.lasts, false);
}

static void *look_out(void *unused)
{
	struct stuck_call calls[CALLS_MAX];
	struct timespec until;

	(void)unused;
	pthread_mutex_lock(&holdup.lock);
	while (!holdup.stopping) {
		unsigned int nr;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_MS * 1000 * 1000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&holdup.stop, &holdup.lock, &until);
		nr = collect(calls);
		pthread_mutex_unlock(&holdup.lock);
		settle(calls, nr);
		pthread_mutex_lock(&holdup.lock);
	}
	pthread_mutex_unlock(&holdup.lock);
	return NULL;
}

int holdup_start(void)
{
	condition_init(&holdup.stop);
	holdup.stopping = false;
	if (pthread_create(&holdup.thread, NULL, look_out, NULL))
		return -EAGAIN;
	pthread_setname_np(holdup.thread, "mmb-holdup");
	holdup.running = true;
	return 0;
}

void holdup_stop(void)
{
	if (!holdup.running)
		return;
	pthread_mutex_lock(&holdup.lock);
	holdup.stopping = true;
	pthread_cond_signal(&holdup.stop);
	pthread_mutex_unlock(&holdup.lock);
	pthread_join(holdup.thread, NULL);
	pthread_cond_destroy(&holdup.stop);
	holdup.running = false;
}
