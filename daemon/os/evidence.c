/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evidence - reading /proc, kcmp
 *
 * Why kcmp    A file can't be opened anew (it is 0400, of this daemon's user), so a client's
 *             descriptor is the same open file as ours. Nothing is duplicated by asking, and so
 *             nothing has to be closed, which a file system of a client's could make last.
 */
#include "os/evidence.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/types.h"
#include "os/bounded.h"
#include "os/process.h"

enum {
	ASLEEP_LOOKS = 3, /* at as many moments */
	ASLEEP_MS = 20,
	FDS_MAX = 65536,
	PROLONG_EACH = 1024, /* descriptors */
	CLIENT_UIDS = 1024,
	IO_WORKER = 0x10, /* of a thread's flags: PF_IO_WORKER, of an io_uring's threads */
	TEXT_BYTES = 512,
	ENTRIES_BYTES = 2048,
};

/* Of clients, one a place. */
static _Atomic uint64_t client_uids[CLIENT_UIDS]; /* uid + 1; 0: none */

void evidence_note_uid(uid_t uid)
{
	atomic_store_explicit(&client_uids[uid % CLIENT_UIDS], (uint64_t)uid + 1,
			      memory_order_relaxed);
}

static bool is_client_uid(unsigned long uid)
{
	return atomic_load(&client_uids[uid % CLIENT_UIDS]) == (uint64_t)uid + 1;
}

int evidence_status(pid_t pid, const char *format, unsigned long numbers[2])
{
	char path[64], text[TEXT_BYTES], *rest, *line;
	int got = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (!bounded_read(path, text, TEXT_BYTES))
		return 0;
	for (line = strtok_r(text, "\n", &rest); line && got <= 0;
	     line = strtok_r(NULL, "\n", &rest))
		got = sscanf(line, format, &numbers[0], &numbers[1]);
	return got;
}

static uint64_t stat_number(pid_t pid, long tid, enum process_stat field)
{
	char path[96], text[TEXT_BYTES];

	snprintf(path, sizeof(path), "/proc/%d/task/%ld/stat", pid, tid);
	return bounded_read(path, text, TEXT_BYTES) ? process_stat_number(text, field) : 0;
}

bool evidence_is_as_old(pid_t pid, uint64_t since_ns)
{
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t ticks = stat_number(pid, pid, STAT_START);

	return ticks && ticks <= since_ns / (1000000000 / hz);
}

static int nr_descriptors(pid_t pid)
{
	unsigned long nr[2] = { 0 };

	evidence_status(pid, "FDSize: %lu", nr);
	return (int)min_t(unsigned long, nr[0], FDS_MAX);
}

/* What it is worth that a process waits: root has other ways to stop the broker. */
static enum evidence suspicion_of(pid_t pid)
{
	unsigned long uids[2]; /* real and effective */

	if (evidence_status(pid, "Uid: %lu %lu", uids) != 2)
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
	process_read_own(path, text, TEXT_BYTES);
	return is_lock(text);
}

bool evidence_waits_for_lock(pid_t tid)
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
	return stat_number(pid, tid, STAT_FLAGS) & IO_WORKER;
}

static void look_at_thread(pid_t pid, long tid, int our_fd, struct threads_seen *seen)
{
	char path[96], text[TEXT_BYTES];
	bool waits;

	snprintf(path, sizeof(path), "/proc/%d/task/%ld/wchan", pid, tid);
	waits = bounded_read(path, text, TEXT_BYTES) && waits_for_page(text);
	snprintf(path, sizeof(path), "/proc/%d/task/%ld/syscall", pid, tid);
	if (waits && is_ring_worker(pid, tid))
		seen->waits = true;
	else if (bounded_read(path, text, TEXT_BYTES) && text[0] != 'r') /* "running" */
		look_at_call(pid, text, our_fd, waits, seen);
	else
		seen->waits |= waits;
}

static struct threads_seen look_at_threads(pid_t pid, int our_fd)
{
	struct threads_seen seen = { .best = NOT_IT };
	_Alignas(struct dirent64) char room[ENTRIES_BYTES];
	char path[64];
	ssize_t got;
	int folder;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	folder = bounded_open(path);
	while (folder >= 0 && (got = getdents64(folder, room, sizeof(room))) > 0)
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *entry = (const void *)(room + at);

			if (isdigit((unsigned char)entry->d_name[0])) {
				bounded_prolong();
				look_at_thread(pid, strtol(entry->d_name, NULL, 10), our_fd, &seen);
			}
			at += entry->d_reclen;
		}
	if (folder >= 0)
		bounded_close(folder);
	return seen;
}

static bool has_file_open(pid_t pid, int our_fd)
{
	int nr = nr_descriptors(pid);
	bool closed;

	for (int fd = 0; fd < nr; fd++) {
		if (fd % PROLONG_EACH == 0)
			bounded_prolong();
		if (has_file(pid, fd, our_fd, &closed))
			return true;
	}
	return false;
}

enum evidence evidence_of(pid_t pid, int our_fd)
{
	struct threads_seen seen = look_at_threads(pid, our_fd);

	if (seen.best != NOT_IT || !seen.waits)
		return seen.best;
	return has_file_open(pid, our_fd) ? LIKELY : suspicion_of(pid);
}
