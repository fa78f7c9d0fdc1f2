/* SPDX-License-Identifier: Apache-2.0 */
/*
 * culprit - looks at all processes, and at the suspects once more
 *
 * Patience    A process that keeps the look at it is passed over: no thread of one that is just
 *             being executed is in any other call. A client may have hundreds that are, so there
 *             is less of it after each. Who was passed over in vain is looked at the next time.
 */
#include "os/culprit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "os/bounded.h"
#include "os/evidence.h"
#include "os/map_keeper.h"
#include "os/process.h"

enum {
	LOOKS = 3, /* at a suspect */
	LOOKS_MS = 20, /* between them */
	PATIENCE_MS = 500, /* with the first process that keeps the look at it */
	PATIENCE_LEAST_MS = 20,
	MAP_PATIENCE_MS = 3000,
	MAP_PATIENCE_NEXT_MS = 300, /* once one has been ended */
	STEP_MS = 20,
	WEAK_MS = 1000, /* for the call to end, before the next one is ended on weak evidence */
	ROOM_FIRST = 1024,
};

struct processes {
	pid_t *all;
	unsigned char *seen; /* of each, enum evidence */
	size_t nr, room;
	size_t at; /* the one that is looked at */
	int fd;
};

struct question {
	pid_t pid;
	int fd;
	uint64_t since_ns;
	enum evidence seen;
	unsigned long uids[2]; /* real and effective */
	bool yes;
};

static void pause_ms(unsigned int ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000l }, NULL);
}

/* H3 */
static bool is_spared(pid_t pid)
{
	return pid <= 1 || pid == getpid() || pid == getppid();
}

/* why: what it did. Whether it ends now. */
static bool end_for(const struct hold *hold, pid_t pid, int pidfd, const char *why)
{
	if (!hold->is_stuck(hold->call) || !process_kill(pid, pidfd))
		return false;
	log_emit(LOG_ERR, "holdup", "pid %d was killed: %s", pid, why);
	return true;
}

/* Who goes next goes only if it wasn't this one. */
static void wait_for_end(const struct hold *hold)
{
	for (int ms = 0; ms < WEAK_MS && hold->is_stuck(hold->call); ms += STEP_MS)
		pause_ms(STEP_MS);
}

/* ---- all processes ---- */

static bool add_process(struct processes *p, pid_t pid)
{
	if (p->nr == p->room) {
		size_t room = max_t(size_t, ROOM_FIRST, 2 * p->room);
		pid_t *all = realloc(p->all, room * sizeof(*all));

		if (!all)
			return false;
		p->all = all;
		p->room = room;
	}
	p->all[p->nr++] = pid;
	return true;
}

static void put_processes(struct processes *p)
{
	free(p->all);
	free(p->seen);
}

static void get_processes(struct processes *p)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	*p = (struct processes){ 0 };
	while (proc && (entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (!is_spared(pid) && !add_process(p, pid))
			break;
	}
	if (proc)
		closedir(proc);
}

static void look_at_rest(void *processes)
{
	struct processes *p = processes;

	for (; p->at < p->nr; p->at++) {
		bounded_prolong();
		p->seen[p->at] = (unsigned char)evidence_of(p->all[p->at], p->fd);
	}
}

static void look_at_all(struct processes *p)
{
	unsigned int ms = PATIENCE_MS;

	p->seen = calloc(p->nr + 1, 1);
	while (p->seen && p->at < p->nr && bounded_run(look_at_rest, p, ms) == -ETIMEDOUT) {
		p->at++;
		ms = max_t(unsigned int, ms / 2, PATIENCE_LEAST_MS);
	}
}

/* ---- H2 ---- */

static void look_once(void *question)
{
	struct question *q = question;

	q->seen = evidence_of(q->pid, q->fd);
}

/* Whose page comes doesn't wait for long. */
static bool is_suspect(pid_t pid, int fd, enum evidence wanted)
{
	for (int i = 0; i < (wanted == IS_IN_CALL ? 1 : LOOKS); i++) {
		struct question q = { .pid = pid, .fd = fd };

		if (i)
			pause_ms(LOOKS_MS);
		if (bounded_run(look_once, &q, PATIENCE_MS) || q.seen < wanted)
			return false;
	}
	return true;
}

static bool end_if(const struct hold *hold, pid_t pid, enum evidence wanted)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended;

	if (pidfd < 0)
		return false;
	ended = is_suspect(pid, hold->fd, wanted) &&
		end_for(hold, pid, pidfd,
			"it kept a file of the broker locked, by a write out of memory that "
			"doesn't come, and a thread of the daemon had to wait for it");
	close(pidfd);
	if (ended && wanted != IS_IN_CALL)
		wait_for_end(hold);
	return ended;
}

void culprit_end_writer(const struct hold *hold)
{
	struct processes p;
	bool any = false;

	get_processes(&p);
	p.fd = hold->fd;
	look_at_all(&p);
	for (int wanted = IS_IN_CALL; p.seen && wanted > NOT_IT && !any; wanted--)
		for (size_t i = 0; i < p.nr; i++)
			if (p.seen[i] >= wanted)
				any |= end_if(hold, p.all[i], (enum evidence)wanted);
	put_processes(&p);
}

/* ---- H4 ---- */

static void ask_age(void *question)
{
	struct question *q = question;

	q->yes = evidence_is_as_old(q->pid, q->since_ns);
}

void culprit_end_owner(const struct hold *hold, pid_t owner, uint64_t since_ns)
{
	struct question q = { .pid = owner, .since_ns = since_ns };
	int pidfd = is_spared(owner) ? -1 : (int)syscall(SYS_pidfd_open, owner, 0);
	char why[128];

	if (pidfd < 0)
		return;
	snprintf(why, sizeof(why), "the map of its memory was locked for %d s, and a thread of the "
		 "daemon had to wait for it", CULPRIT_MAP_MS / 1000);
	if (!bounded_run(ask_age, &q, MAP_PATIENCE_MS) && q.yes)
		end_for(hold, owner, pidfd, why);
	close(pidfd);
}

/* ---- H5 ---- */

static void ask_users(void *question)
{
	struct question *q = question;

	q->yes = evidence_status(q->pid, "Uid: %lu %lu", q->uids) == 2;
}

static void ask_fuse(void *question)
{
	struct question *q = question;

	q->yes = map_keeper_serves_fuse(q->pid);
}

static void await_map(void *question)
{
	const struct question *q = question;

	map_keeper_await_map(q->pid);
}

static bool is_of(pid_t pid, uid_t owner)
{
	struct question q = { .pid = pid };

	if (bounded_run(ask_users, &q, PATIENCE_MS) || !q.yes)
		return false;
	return q.uids[0] == owner || q.uids[1] == owner;
}

/* It may last, and then tell. */
static bool has_locked_map(struct question *q, unsigned int ms)
{
	return bounded_run(await_map, q, ms) == -ETIMEDOUT;
}

static bool serves_fuse(struct question *q, unsigned int ms)
{
	return !bounded_run(ask_fuse, q, ms) && q->yes;
}

struct sign {
	bool (*shows)(struct question *q, unsigned int ms);
	const char *why;
};

static bool end_keeper_if(const struct hold *hold, pid_t pid, const struct sign *sign,
			  unsigned int ms)
{
	struct question q = { .pid = pid };
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended;

	if (pidfd < 0)
		return false;
	ended = sign->shows(&q, ms) && end_for(hold, pid, pidfd, sign->why);
	close(pidfd);
	if (ended)
		wait_for_end(hold);
	return ended;
}

static void end_keepers(const struct hold *hold, uid_t owner, const struct sign *sign)
{
	unsigned int ms = MAP_PATIENCE_MS;
	struct processes p;

	get_processes(&p);
	for (size_t i = 0; i < p.nr && hold->is_stuck(hold->call); i++)
		if (is_of(p.all[i], owner) && end_keeper_if(hold, p.all[i], sign, ms))
			ms = MAP_PATIENCE_NEXT_MS;
	put_processes(&p);
}

void culprit_end_keepers(const struct hold *hold, uid_t owner)
{
	static const struct sign locked = {
		has_locked_map, "the map of its memory is locked, and a thread of the daemon waits "
				"for one that a client has sent"
	};
	static const struct sign fuse = {
		serves_fuse, "it serves a file system of FUSE, and one of these keeps the map "
			     "locked that a client has sent, for which a thread of the daemon "
			     "waits"
	};

	end_keepers(hold, owner, &locked);
	if (owner)
		end_keepers(hold, owner, &fuse);
}
