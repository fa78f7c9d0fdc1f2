/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork - the peer: anonymous memory, and a child that has a copy of it
 *
 * Purpose     4 KiB pages or transparent huge pages. The child does nothing but wait, stream what
 *             it has, and end; its end is part of what the copy costs.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clone/subject.h"

/* One process has one subject. */
static struct {
	pid_t child; /* 0: none */
	int   tell;  /* a byte: stream; closed: end */
	int   fd;    /* of the file to stream to, opened before the fork */
} forked;

static int fork_take(struct subject *s)
{
	int advice = s->page == SUBJECT_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
	char *at = mmap(NULL, s->bytes + SUBJECT_HUGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return bench_because(-errno, "mmap: %s", strerror(errno));
	s->base = (char *)(((uintptr_t)at + SUBJECT_HUGE - 1) / SUBJECT_HUGE * SUBJECT_HUGE);
	if (madvise(s->base, s->bytes, advice) != 0)
		return bench_because(-errno, "madvise: %s", strerror(errno));
	forked.fd = -1;
	return 0;
}

static _Noreturn void child_main(const struct subject *s, int hear)
{
	int error = 0;
	char fd_number;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(hear, &fd_number, 1) == 1)
		error = subject_pour(s, s->base, fd_number);
	_exit(error ? 1 : 0);
}

static int fork_copy(struct subject *s)
{
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return bench_because(-errno, "pipe: %s", strerror(errno));
	forked.child = fork();
	if (forked.child == 0) {
		close(pipe_fds[1]);
		child_main(s, pipe_fds[0]);
	}
	close(pipe_fds[0]);
	forked.tell = pipe_fds[1];
	return forked.child > 0 ? 0 : bench_because(-EAGAIN, "fork: %s", strerror(errno));
}

static int fork_drop(struct subject *s)
{
	int status = 0;

	close(forked.tell);
	if (waitpid(forked.child, &status, 0) != forked.child || status != 0)
		return bench_because(-ECHILD, "the child: %s", bench_reason());
	return 0;
}

/* The descriptor was there before the fork, and so is the child's, too. */
static int fork_stream(struct subject *s, int fd)
{
	char fd_number = (char)fd;

	return write(forked.tell, &fd_number, 1) == 1 ? 0 : bench_because(-EPIPE, "no child");
}

static int fork_streamed(struct subject *s)
{
	return fork_drop(s);
}

static uint64_t rollup(pid_t pid, const char *key)
{
	char path[64], line[128], format[64];
	uint64_t kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	snprintf(format, sizeof(format), "%s %%" SCNu64, key);
	f = fopen(path, "re");
	while (f != NULL && kib == 0 && fgets(line, sizeof(line), f) != NULL)
		sscanf(line, format, &kib);
	if (f != NULL)
		fclose(f);
	return kib << 10;
}

/* Shared frames count half for each. */
static int fork_memory(struct subject *s, uint64_t *bytes)
{
	*bytes = rollup(getpid(), "Pss:");
	if (forked.child > 0)
		*bytes += rollup(forked.child, "Pss:");
	return 0;
}

const struct subject_kind subject_fork = {
	.name = "fork",
	.take = fork_take,
	.copy = fork_copy,
	.drop = fork_drop,
	.stream = fork_stream,
	.streamed = fork_streamed,
	.memory = fork_memory,
};
