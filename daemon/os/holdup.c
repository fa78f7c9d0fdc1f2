/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdup - notes of calls, the look at them, the search through /proc
 *
 * Why kcmp    A file can't be opened anew (it is 0400, of this daemon's user), so a client's
 *             descriptor is the same open file as ours. Nothing is duplicated by asking, and so
 *             nothing has to be closed, which a file system of a client's could make last.
 */
#include "os/holdup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/types.h"
#include "os/map_keeper.h"
#include "os/process.h"

enum {
	LOOK_MS = 250,
	STUCK_LOOKS = 4,  /* in the same call on a file for so many looks */
	MAP_LOOKS = 16,
	OWNER_LOOKS = 4, /* more, in which the owner is to be gone */
	ASLEEP_LOOKS = 3, /* and waiting for a lock, at as many moments */
	ASLEEP_MS = 20,
	CALLS_MAX = 64,
	SEARCH_MS = 3000, /* then whoever keeps the search is passed over */
	SEARCH_STEP_MS = 20,
	SKIPPED_MAX = 16,
	FDS_MAX = 65536,
	CLIENT_UIDS = 1024,
	OWNED_MAX = 131072, /* descriptors of ours, see LimitNOFILE of the unit */
	IO_WORKER = 0x10, /* of a thread's flags: PF_IO_WORKER, of an io_uring's threads */
	WEAK_MS = 1000, /* for the call to end, before the next one is ended on weak evidence */
	TEXT_BYTES = 512,
};

/* How sure it is that a process keeps the lock. */
enum evidence { NOT_IT, POSSIBLY, PROBABLY, LIKELY, IS_IN_CALL };

/* Of a map, one after the other. */
enum keeper { MAP_IS_LOCKED, SERVES_FUSE, NR_KEEPERS };

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

/* A thread of its own searches: /proc and kcmp wait for a process that is just being executed,
 * and that may wait for ever as well. a: atomic   c: fixed */
struct search {
	struct stuck_call call;   /* (c) */
	_Atomic pid_t at;         /* (a) which process it looks at */
	_Atomic uint32_t nr_seen; /* (a) it is the how manieth */
	_Atomic int pidfd;        /* (a) of a process whose map it waits for; -1: of none */
	_Atomic bool done;        /* (a) */
	_Atomic unsigned int refs; /* (a) the thread's, and who waits for it */
};

/* l: lock   k: who looks   a: atomic, written by who looks */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t stop;
	struct list_head calls; /* (l) */
	bool stopping, running; /* (l) */
	pthread_t thread;
	_Atomic pid_t skipped[SKIPPED_MAX]; /* (a) searches were kept by them; 0: none */
	uint32_t nr_skipped;                /* (k) */
	bool told;                          /* (k) that it lasts */
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

/* Of clients, one a place: weak evidence counts for them first. */
static _Atomic uint64_t client_uids[CLIENT_UIDS]; /* uid + 1; 0: none */

static void note_uid(uid_t uid)
{
	atomic_store_explicit(&client_uids[uid % CLIENT_UIDS], (uint64_t)uid + 1,
			      memory_order_relaxed);
}

static bool is_client_uid(unsigned long uid)
{
	return atomic_load(&client_uids[uid % CLIENT_UIDS]) == (uint64_t)uid + 1;
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
		note_uid(uid);
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

/* ---- /proc ---- */

static bool read_text(const char *path, char text[TEXT_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, TEXT_BYTES - 1);

	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

static int nr_descriptors(pid_t pid)
{
	unsigned long nr[2] = { 0 };

	process_numbers(pid, "FDSize: %lu", nr);
	return (int)min_t(unsigned long, nr[0], FDS_MAX);
}

/* What it is worth that a process waits: root has other ways to stop the broker. */
static enum evidence suspicion_of(pid_t pid)
{
	unsigned long uids[2]; /* real and effective */

	if (process_numbers(pid, "Uid: %lu %lu", uids) != 2)
		return NOT_IT;
	if (is_client_uid(uids[0]) || is_client_uid(uids[1]))
		return PROBABLY;
	return uids[0] && uids[1] ? POSSIBLY : NOT_IT;
}

/* Where the kernel waits for a lock: it tells the function that has asked for it. For memory, or
 * for the host's swap, it waits elsewhere. */
static bool is_lock(const char *wchan)
{
	static const char *const places[] = {
		"shmem_fallocate", "hugetlbfs_fallocate", "shmem_file_write_iter",
		"generic_file_write_iter", "rwsem_", "mwriteprotect_range", "mfill_",
		"userfaultfd_", "uffd_",
	};

	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (!strncmp(wchan, places[i], strlen(places[i])))
			return true;
	return false;
}

static bool waits_now(pid_t tid)
{
	char path[64], text[TEXT_BYTES];

	if (thread_state(getpid(), tid) != 'D')
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", tid);
	return read_text(path, text) && is_lock(text);
}

/* A thread of ours waits for a lock so that no signal wakes it, each time it is looked at. */
static bool waits_for_lock(pid_t tid)
{
	const struct timespec pause = { .tv_nsec = ASLEEP_MS * 1000 * 1000 };

	for (int i = 0; i < ASLEEP_LOOKS; i++) {
		if (i)
			nanosleep(&pause, NULL);
		if (!waits_now(tid))
			return false;
	}
	return true;
}

enum { NO_FILE = -1, ANY_FILE = -2 };

/* Which argument of a call that takes the lock of a file names the file. */
static int file_argument(long call)
{
	switch (call) {
	case SYS_io_submit:
	case SYS_io_uring_enter:
		return ANY_FILE;
	case SYS_write:
	case SYS_pwrite64:
	case SYS_writev:
	case SYS_pwritev:
	case SYS_pwritev2:
	case SYS_fallocate:
	case SYS_ftruncate:
	case SYS_sendfile:
		return 0;
	case SYS_splice:
	case SYS_copy_file_range:
		return 2;
	default:
		return NO_FILE;
	}
}

/* A process of our own user, or root's, may have opened it anew. A file of memory tells its number
 * without asking anybody. */
static bool has_inode(pid_t pid, int fd, int our_fd)
{
	struct statx ours, theirs;
	char path[64], link[TEXT_BYTES];
	ssize_t nr;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	nr = readlink(path, link, sizeof(link) - 1);
	if (nr <= 0 || strncmp(link, "/memfd:", min_t(size_t, (size_t)nr, 7)) ||
	    statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, &theirs) ||
	    statx(our_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &ours))
		return false;
	return ours.stx_ino == theirs.stx_ino && ours.stx_dev_major == theirs.stx_dev_major &&
	       ours.stx_dev_minor == theirs.stx_dev_minor;
}

/* The process has our open file as descriptor fd. *closed: it has none of that number. */
static bool has_file(pid_t pid, int fd, int our_fd, bool *closed)
{
	long r = syscall(SYS_kcmp, getpid(), pid, KCMP_FILE, our_fd, fd);

	*closed = r < 0 && errno == EBADF;
	return r == 0;
}

/* Waits for a page that another process is to bring, or for the lock of its own map to get one. */
static bool waits_for_page(const char *wchan)
{
	static const char *const places[] = {
		"userfault", "request_wait_answer", "folio_wait", "mm_and_find_vma",
		"user_addr_fault", "exc_page_fault",
	};

	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strstr(wchan, places[i]))
			return true;
	return false;
}

struct threads_seen {
	enum evidence best;
	bool waits; /* one that may be it waits for a page */
};

/* Of one thread: "CALL ARGUMENT ARGUMENT ..." while it is in a call. waits: for a page. */
static void look_at_call(pid_t pid, const char *text, int our_fd, bool waits,
			 struct threads_seen *seen)
{
	unsigned long long arguments[3] = { 0 };
	long call;
	int which;
	bool closed = false;

	if (sscanf(text, "%ld %llx %llx %llx", &call, &arguments[0], &arguments[1],
		   &arguments[2]) != 4)
		return; /* -1: a fault of the program's own */
	which = file_argument(call);
	if (which == NO_FILE)
		return;
	if (which >= 0 && (has_file(pid, (int)arguments[which], our_fd, &closed) ||
			   (!closed && has_inode(pid, (int)arguments[which], our_fd))))
		seen->best = IS_IN_CALL;
	/* Another thread has closed it meanwhile, or made the number another file's. */
	else if (closed && waits && suspicion_of(pid))
		seen->best = max_t(enum evidence, seen->best, LIKELY);
	else
		seen->waits |= waits;
}

/* It works for an io_uring: its call isn't told, and the file may have no descriptor. */
static bool is_ring_worker(pid_t pid, long tid)
{
	return thread_flags(pid, (pid_t)tid) & IO_WORKER;
}

static void look_at_thread(pid_t pid, long tid, int our_fd, struct threads_seen *seen)
{
	char path[96], text[TEXT_BYTES];
	bool waits;

	snprintf(path, sizeof(path), "/proc/%d/task/%ld/wchan", pid, tid);
	waits = read_text(path, text) && waits_for_page(text);
	snprintf(path, sizeof(path), "/proc/%d/task/%ld/syscall", pid, tid);
	if (waits && is_ring_worker(pid, tid))
		seen->waits = true;
	else if (read_text(path, text) && text[0] != 'r') /* "running" */
		look_at_call(pid, text, our_fd, waits, seen);
	else
		seen->waits |= waits;
}

static struct threads_seen look_at_threads(pid_t pid, int our_fd)
{
	struct threads_seen seen = { .best = NOT_IT };
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			look_at_thread(pid, strtol(entry->d_name, NULL, 10), our_fd, &seen);
	if (dir)
		closedir(dir);
	return seen;
}

static bool has_file_open(pid_t pid, int our_fd)
{
	int nr = nr_descriptors(pid);
	bool closed;

	for (int fd = 0; fd < nr; fd++)
		if (has_file(pid, fd, our_fd, &closed))
			return true;
	return false;
}

static enum evidence look_at(pid_t pid, int our_fd)
{
	struct threads_seen seen = look_at_threads(pid, our_fd);

	if (seen.best != NOT_IT || !seen.waits)
		return seen.best;
	return has_file_open(pid, our_fd) ? LIKELY : suspicion_of(pid);
}

/* ---- the search ---- */

/* H3 */
static bool is_spared(pid_t pid)
{
	return pid <= 1 || pid == getpid() || pid == getppid();
}

/* While the search went on the call may have ended, and its descriptor be another file's. */
static bool is_in_call(const struct stuck_call *call)
{
	struct call *c;
	bool found = false;

	pthread_mutex_lock(&holdup.lock);
	list_for_each_entry(c, &holdup.calls, link)
		if (c->tid == call->tid && atomic_load(&c->word) == call->word)
			found = true;
	pthread_mutex_unlock(&holdup.lock);
	return found;
}

/* why: what it did. Whether it ends now. */
static bool end_for(const struct stuck_call *call, pid_t pid, int pidfd, const char *why)
{
	if (!is_in_call(call) || !process_kill(pid, pidfd))
		return false;
	log_emit(LOG_ERR, "holdup", "pid %d was killed: %s", pid, why);
	return true;
}

/* Who goes next goes only if it wasn't this one. */
static void wait_for_end(const struct stuck_call *call)
{
	const struct timespec pause = { .tv_nsec = SEARCH_STEP_MS * 1000 * 1000 };

	for (int ms = 0; ms < WEAK_MS && is_in_call(call); ms += SEARCH_STEP_MS)
		nanosleep(&pause, NULL);
}

/* Whose page comes doesn't wait for long. */
static bool is_suspect(pid_t pid, int our_fd, int wanted)
{
	const struct timespec pause = { .tv_nsec = ASLEEP_MS * 1000 * 1000 };

	for (int i = 0; i < (wanted == IS_IN_CALL ? 1 : ASLEEP_LOOKS); i++) {
		if (i)
			nanosleep(&pause, NULL);
		if ((int)look_at(pid, our_fd) < wanted)
			return false;
	}
	return true;
}

static bool end_if(struct search *search, pid_t pid, int wanted)
{
	const struct stuck_call *call = &search->call;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended;

	if (pidfd < 0)
		return false;
	ended = is_suspect(pid, call->fd, wanted) &&
		end_for(call, pid, pidfd,
			"it kept a file of the broker locked, by a write out of memory that "
			"doesn't come, and a thread of the daemon had to wait for it");
	close(pidfd);
	if (ended && wanted != IS_IN_CALL)
		wait_for_end(call);
	return ended;
}

static bool is_skipped(pid_t pid)
{
	for (uint32_t i = 0; i < SKIPPED_MAX; i++)
		if (atomic_load(&holdup.skipped[i]) == pid)
			return true;
	return false;
}

static bool end_all(struct search *search, bool (*end)(struct search *s, pid_t pid, int wanted),
		    int wanted)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool any = false;

	while (proc && (entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (is_spared(pid) || is_skipped(pid))
			continue;
		atomic_store(&search->at, pid);
		atomic_fetch_add(&search->nr_seen, 1);
		any |= end(search, pid, wanted);
	}
	if (proc)
		closedir(proc);
	return any;
}

/* The process had been started when the daemon heard of its map: it is no later one. */
static bool is_the_owner(pid_t pid, uint64_t since_ns)
{
	uint64_t ticks = process_start_ticks(pid), hz = (uint64_t)sysconf(_SC_CLK_TCK);

	return ticks && ticks <= since_ns / (1000000000 / hz);
}

/* H4 */
static void end_owner(const struct stuck_call *call)
{
	pid_t pid = owner_of(call->fd);
	uint64_t since_ns = atomic_load(&owners[call->fd].since_ns);
	int pidfd = is_spared(pid) ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	char why[128];

	if (pidfd < 0)
		return;
	snprintf(why, sizeof(why), "the map of its memory was locked for %d s, and a thread of the "
		 "daemon had to wait for it", MAP_LOOKS * LOOK_MS / 1000);
	if (is_the_owner(pid, since_ns))
		end_for(call, pid, pidfd, why);
	close(pidfd);
}

/* If it lasts, search_for() ends the process. */
static void await_map(struct search *search, pid_t pid, int pidfd)
{
	atomic_store(&search->pidfd, pidfd);
	map_keeper_await_map(pid);
	pidfd = atomic_exchange(&search->pidfd, -1);
	if (pidfd >= 0)
		close(pidfd);
}

static void end_waited_for(struct search *search)
{
	pid_t pid = atomic_load(&search->at);
	int pidfd = atomic_exchange(&search->pidfd, -1);

	if (pidfd < 0)
		return;
	end_for(&search->call, pid, pidfd, "the map of its memory is locked, and a thread of the "
					   "daemon waits for one that a client has sent");
	close(pidfd);
}

/* H5 */
static bool end_keeper_if(struct search *search, pid_t pid, int wanted)
{
	unsigned long owner = holdup_owner_uid(search->call.fd), uids[2];
	bool ended;
	int pidfd;

	if (!is_in_call(&search->call) || process_numbers(pid, "Uid: %lu %lu", uids) != 2)
		return false;
	if ((uids[0] != owner && uids[1] != owner) || (wanted == SERVES_FUSE && !owner))
		return false;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return false;
	if (wanted == MAP_IS_LOCKED) {
		await_map(search, pid, pidfd);
		return false;
	}
	ended = map_keeper_serves_fuse(pid) &&
		end_for(&search->call, pid, pidfd,
			"it serves a file system of FUSE, and one of these keeps the map locked "
			"that a client has sent, for which a thread of the daemon waits");
	close(pidfd);
	if (ended)
		wait_for_end(&search->call);
	return ended;
}

static void put_search(struct search *search)
{
	if (atomic_fetch_sub(&search->refs, 1) == 1)
		free(search);
}

/* H2 */
static void *end_culprits(void *argument)
{
	struct search *search = argument;

	if (!owner_of(search->call.fd))
		for (int wanted = IS_IN_CALL; wanted > NOT_IT; wanted--)
			if (end_all(search, end_if, wanted))
				break;
	if (owner_of(search->call.fd) && search->call.nr_looks < MAP_LOOKS + OWNER_LOOKS)
		end_owner(&search->call);
	else if (owner_of(search->call.fd))
		for (int wanted = 0; wanted < NR_KEEPERS; wanted++)
			end_all(search, end_keeper_if, wanted);
	atomic_store(&search->done, true);
	put_search(search);
	return NULL;
}

/* Or it stays where it is for SEARCH_MS. */
static void wait_for_search(struct search *search)
{
	const struct timespec pause = { .tv_nsec = SEARCH_STEP_MS * 1000 * 1000 };
	uint32_t nr_seen = 0;

	for (int ms = 0; ms < SEARCH_MS && !atomic_load(&search->done); ms += SEARCH_STEP_MS) {
		nanosleep(&pause, NULL);
		if (nr_seen != atomic_load(&search->nr_seen))
			ms = 0;
		nr_seen = atomic_load(&search->nr_seen);
	}
}

static void search_for(const struct stuck_call *call)
{
	struct search *search = calloc(1, sizeof(*search));
	pthread_t thread;

	if (!search)
		return;
	search->call = *call;
	atomic_store(&search->refs, 2);
	atomic_store(&search->pidfd, -1);
	if (pthread_create(&thread, NULL, end_culprits, search)) {
		free(search);
		return;
	}
	pthread_setname_np(thread, "mmb-search");
	pthread_detach(thread);
	wait_for_search(search);
	while (atomic_load(&search->pidfd) >= 0) {
		end_waited_for(search);
		wait_for_search(search);
	}
	if (!atomic_load(&search->done) && holdup.nr_skipped < SKIPPED_MAX)
		atomic_store(&holdup.skipped[holdup.nr_skipped++], atomic_load(&search->at));
	put_search(search);
}

/* ---- the look ---- */

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

	if (call->nr_looks < looks || !waits_for_lock(call->tid))
		return false;
	for (unsigned int i = 0; i < nr; i++)
		if (&calls[i] != call && !map && same_file(calls[i].fd, call->fd) &&
		    !waits_for_lock(calls[i].tid))
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
		if (holdup.nr_skipped < SKIPPED_MAX)
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
	holdup.nr_skipped = 0;
	for (uint32_t i = 0; i < SKIPPED_MAX; i++)
		atomic_store(&holdup.skipped[i], 0);
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
