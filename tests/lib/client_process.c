/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_process - fork, pipes, ends
 *
 * Locking     none.
 */
#include "lib/client_process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/test.h"

enum { HEAR_MS = 20000, END_SECONDS = 30, NOBODY = 65534 };

static void run_child(client_fn fn, void *arg, const int to_child[2], const int to_parent[2])
{
	struct client_process self = { .pid = getpid(), .in = to_child[0], .out = to_parent[1] };
	struct sigaction      ignore = { .sa_handler = SIG_IGN };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGPIPE, &ignore, NULL);
	close(to_child[1]);
	close(to_parent[0]);
	fn(&self, arg);
	fflush(stdout);
	_exit(0);
}

void client_fork(struct client_process *c, client_fn fn, void *arg)
{
	int to_child[2], to_parent[2];

	*c = (struct client_process){ .in = -1, .out = -1 };
	fflush(stdout);
	if (pipe2(to_child, O_CLOEXEC))
		return;
	if (pipe2(to_parent, O_CLOEXEC)) {
		close(to_child[0]);
		close(to_child[1]);
		return;
	}
	c->pid = fork();
	if (c->pid == 0)
		run_child(fn, arg, to_child, to_parent);
	if (c->pid < 0)
		c->pid = 0;
	close(to_child[0]);
	close(to_parent[1]);
	c->out = to_child[1];
	c->in = to_parent[0];
}

bool client_tell(struct client_process *c, const void *bytes, size_t nr)
{
	ssize_t put;

	do {
		put = write(c->out, bytes, nr);
	} while (put < 0 && errno == EINTR);
	return put == (ssize_t)nr;
}

bool client_hear(struct client_process *c, void *bytes, size_t nr)
{
	struct pollfd p = { .fd = c->in, .events = POLLIN };
	size_t        have = 0;

	while (have < nr) {
		int     ready = poll(&p, 1, (int)test_patience(HEAR_MS));
		ssize_t got;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return false;
		got = read(c->in, (char *)bytes + have, nr - have);
		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return true;
}

bool client_tell_step(struct client_process *c, char step)
{
	return client_tell(c, &step, 1);
}

bool client_hear_step(struct client_process *c, char step)
{
	char heard;

	return client_hear(c, &heard, 1) && heard == step;
}

static void forget(struct client_process *c)
{
	if (c->in >= 0)
		close(c->in);
	if (c->out >= 0)
		close(c->out);
	*c = (struct client_process){ .in = -1, .out = -1 };
}

static int status_of(int wait_status)
{
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -WTERMSIG(wait_status);
}

bool client_has_ended(const struct client_process *c)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

int client_wait(struct client_process *c)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct timespec       now;
	int                   status = 0;
	time_t                deadline;
	pid_t                 ended = 0;

	if (!c->pid)
		return -ECHILD;
	clock_gettime(CLOCK_MONOTONIC, &now);
	deadline = now.tv_sec + (time_t)test_patience(END_SECONDS);
	while (!ended && now.tv_sec < deadline) {
		ended = waitpid(c->pid, &status, WNOHANG);
		if (!ended)
			nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
	if (!ended) {
		printf("  process %d didn't end within %d s and was killed\n", c->pid, END_SECONDS);
		kill(c->pid, SIGKILL);
		waitpid(c->pid, &status, 0);
	}
	forget(c);
	return status_of(status);
}

void client_signal(struct client_process *c, int signal_number)
{
	if (!c->pid)
		return;
	kill(c->pid, signal_number);
	if (signal_number != SIGKILL)
		return;
	waitpid(c->pid, NULL, 0);
	forget(c);
}

void client_expect(int ok, const char *text, const char *file, int line)
{
	if (ok)
		return;
	printf("  client %d: %s:%d: not true: %s (errno %s)\n", getpid(), file, line, text,
	       strerror(errno));
	fflush(stdout);
	_exit(1);
}

void client_expect_equal(long long a, long long b, const char *text, const char *file, int line)
{
	if (a == b)
		return;
	printf("  client %d: %s:%d: not true: %s (%lld and %lld)\n", getpid(), file, line, text, a,
	       b);
	fflush(stdout);
	_exit(1);
}

int client_become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return -errno;
	/* Changing ids has cleared it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return 0;
}
