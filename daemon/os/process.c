/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process - parsing /proc/PID/stat
 */
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/bounded.h"

static const int8_t *cpu_nodes;
static unsigned int nr_cpu_nodes;

enum { STAT_BYTES = 1024, STAT_MS = 200, TRACE_MS = 3000 };
enum { PID_BITS = 22, START_BITS = PROCESS_MARK_BITS - PID_BITS }; /* of clock ticks: 43 minutes */

/* What follows the name, which may hold spaces and brackets: " STATE ..."; NULL: not told. */
static const char *after_name(const char *text)
{
	const char *name_end = strrchr(text, ')');

	return name_end ? name_end + 1 : NULL;
}

uint64_t process_stat_number(const char *text, enum process_stat field)
{
	const char *at = after_name(text);

	for (int i = STAT_STATE; at && i < (int)field; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

struct stat_line {
	char path[64], text[STAT_BYTES];
};

static void read_bounded(void *stat_line)
{
	struct stat_line *line = stat_line;

	bounded_read(line->path, line->text, STAT_BYTES);
}

void process_read_own(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, bytes - 1);

	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
}

/* A client that is just being executed may keep whoever reads it (os/bounded.h); we don't, and a
 * thread that has its own state read isn't to wait for that. */
static void read_stat(pid_t pid, pid_t tid, struct stat_line *line)
{
	snprintf(line->path, sizeof(line->path), "/proc/%d/task/%d/stat", pid, tid);
	if (pid == getpid())
		process_read_own(line->path, line->text, STAT_BYTES);
	else if (bounded_run(read_bounded, line, STAT_MS))
		line->text[0] = '\0';
}

static uint64_t stat_field(pid_t pid, pid_t tid, enum process_stat field)
{
	struct stat_line line;

	read_stat(pid, tid, &line);
	return process_stat_number(line.text, field);
}

char thread_state(pid_t pid, pid_t tid)
{
	struct stat_line line;
	const char *at;

	read_stat(pid, tid, &line);
	at = after_name(line.text);
	return at && at[0] ? at[1] : '\0';
}

int process_exit_status(pid_t pid)
{
	return (int)stat_field(pid, pid, STAT_EXIT);
}

uint64_t process_start_ticks(pid_t pid)
{
	return stat_field(pid, pid, STAT_START);
}

void process_raise_limit(unsigned int resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(resource, &limit);
}

void process_set_cpu_nodes(const int8_t *cpu_node, unsigned int nr)
{
	cpu_nodes = cpu_node;
	nr_cpu_nodes = nr;
}

int process_node(pid_t pid)
{
	uint64_t cpu = stat_field(pid, pid, STAT_PROCESSOR);

	return cpu < nr_cpu_nodes && cpu_nodes[cpu] > 0 ? cpu_nodes[cpu] : 0;
}

bool process_has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

/* The pid of the one behind the pidfd, if that lives still, was its own when /proc was read. */
uint64_t process_mark(pid_t pid, int pidfd)
{
	uint64_t start = process_start_ticks(pid);

	if (pid <= 0 || pid >= 1 << PID_BITS || !start || process_has_ended(pidfd))
		return 0;
	return (uint64_t)pid << START_BITS | (start & ((1ull << START_BITS) - 1));
}

int process_find(uint64_t mark)
{
	pid_t pid = (pid_t)(mark >> START_BITS);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t found;

	if (pidfd < 0)
		return -errno;
	/* Who has the pid now may have it since that call, unless it is the one that was marked. */
	found = process_mark(pid, pidfd);
	if (found == mark)
		return pidfd;
	if (!found && process_has_ended(pidfd)) /* and nobody has waited for it yet */
		found = -1ull;
	close(pidfd);
	return found ? -ESRCH : -EAGAIN;
}

bool socket_is_shut(int sock)
{
	struct pollfd p = { .fd = sock };

	return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

struct tracee {
	pid_t pid;
	bool is_traced;
};

static void trace(void *tracee)
{
	struct tracee *t = tracee;

	t->is_traced = !ptrace(PTRACE_SEIZE, t->pid, NULL,
			       (void *)(uintptr_t)PTRACE_O_EXITKILL);
}

bool process_kill(pid_t pid, int pidfd)
{
	struct tracee t = { .pid = pid };

	if (!syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0))
		return true;
	if (errno != EPERM)
		return errno == ESRCH;
	bounded_run(trace, &t, TRACE_MS);
	return t.is_traced;
}
