/* SPDX-License-Identifier: Apache-2.0 */
/* broker - see broker.h */
#include "lib/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/raw.h"
#include "lib/worker.h"

enum {
	READY_SECONDS = 120, /* hold populates its reserve first */
	RETRY_NS = 200000,   /* between attempts to connect */
	STOP_MS = 10000,
	ARGUMENT = 240,
	KEY = 16,
};

static int daemon_path(char *out, size_t bytes)
{
	const char *given = getenv("MMB_BROKERD");
	char self[PATH_MAX];
	ssize_t nr = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (given != NULL) {
		snprintf(out, bytes, "%s", given);
	} else if (nr > 0) {
		self[nr] = 0;
		slash = strrchr(self, '/');
		snprintf(out, bytes, "%.*s/../daemon/mmbrokerd", (int)(slash - self), self);
	}
	if (access(out, X_OK) != 0)
		return bench_because(-ENOENT, "no daemon at %s (build it, or set MMB_BROKERD)",
				     out);
	return 0;
}

static int make_directory(struct broker *broker)
{
	const char *base = getenv("TMPDIR");

	snprintf(broker->directory, sizeof(broker->directory), "%s/mmb-bench-XXXXXX",
		 base != NULL && strlen(base) < 40 ? base : "/tmp");
	if (mkdtemp(broker->directory) == NULL)
		return bench_because(-errno, "%s: %s", broker->directory, strerror(errno));
	snprintf(broker->socket, sizeof(broker->socket), "%s/socket", broker->directory);
	snprintf(broker->log, sizeof(broker->log), "%s/log", broker->directory);
	return 0;
}

/* A program of its own: a forked child would have all of the bench's memory copied on write. It
 * says when it has nothing to do but to wait, and is in no measured program's way. */
static int start_tidier(struct broker *broker, const char *swap_path)
{
	static const char script[] = "trap '' INT TERM HUP QUIT; echo; read -r end; "
				     "rm -rf -- \"$1\"; [ -z \"$2\" ] || rm -f -- \"$2\"";
	const char *arguments[] = { "sh", "-c", script, "sh", broker->directory,
				    swap_path != NULL ? swap_path : "", NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], error;
	char ready;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return bench_because(-errno, "a socket: %s", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ends[0], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	error = -posix_spawn(&broker->tidier, "/bin/sh", &actions, NULL,
			     (char *const *)(uintptr_t)arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	broker->alive = ends[1];
	if (error == 0 && read(ends[1], &ready, 1) == 1)
		return 0;
	close(ends[1]);
	return bench_because(error != 0 ? error : -ECHILD, "/bin/sh can't be run");
}

static void stop_tidier(struct broker *broker)
{
	kill(broker->tidier, SIGKILL);
	waitpid(broker->tidier, NULL, 0);
	close(broker->alive);
}

static _Noreturn void exec_daemon(const struct broker *broker, const struct broker_config *c,
				  const char *path)
{
	char socket[ARGUMENT], reserve[ARGUMENT], huge[ARGUMENT], mode[ARGUMENT];
	char swap[ARGUMENT + KEY], size[ARGUMENT];
	const char *arguments[12] = { path, socket, reserve, huge, mode,
				      "--limits.sessions_per_uid=1024",
				      "--limits.regions_per_uid=65536" };
	unsigned int nr = 7;
	int log = open(broker->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (log < 0 || dup2(log, STDERR_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0)
		_exit(71); /* EX_OSERR */
	snprintf(socket, sizeof(socket), "--socket=%s", broker->socket);
	snprintf(reserve, sizeof(reserve), "--memory.reserve=%lluK",
		 (unsigned long long)c->reserve >> 10);
	snprintf(huge, sizeof(huge), "--memory.reserve_huge=%lluK",
		 (unsigned long long)c->reserve_huge >> 10);
	snprintf(mode, sizeof(mode), "--memory.reserve_mode=%s", c->mode);
	if (c->swap_path != NULL) {
		snprintf(swap, sizeof(swap), "--swap.path=%s", c->swap_path);
		snprintf(size, sizeof(size), "--swap.size=%lluK",
			 (unsigned long long)c->swap_size >> 10);
	}
	if (c->supervised)
		arguments[nr++] = "--supervise";
	if (c->swap_path != NULL) {
		arguments[nr++] = swap;
		arguments[nr++] = size;
	}
	execv(path, (char *const *)(uintptr_t)arguments);
	_exit(71);
}

/* The last line of the daemon's log. */
static void last_words(const struct broker *broker, char *out, size_t bytes)
{
	FILE *log = fopen(broker->log, "re");
	char line[256];

	snprintf(out, bytes, "it said nothing");
	while (log != NULL && fgets(line, sizeof(line), log) != NULL) {
		line[strcspn(line, "\n")] = 0;
		snprintf(out, bytes, "%s", line);
	}
	if (log != NULL)
		fclose(log);
}

static int wait_ready(struct broker *broker, uint64_t began)
{
	struct pollfd ended = { .fd = broker->pidfd, .events = POLLIN };
	uint64_t deadline = began + READY_SECONDS * 1000000000ull;
	char words[256];

	for (;;) {
		struct raw *r;

		if (raw_open(broker->socket, &r) == 0) {
			broker->ready_ns = clock_ns() - began;
			raw_close(r);
			return 0;
		}
		if (poll(&ended, 1, 0) > 0 || clock_ns() > deadline)
			break;
		clock_sleep_until(clock_ns() + RETRY_NS);
	}
	last_words(broker, words, sizeof(words));
	return bench_because(-ESRCH, "mmbrokerd did not start: %.240s", words);
}

int broker_start(struct broker *broker, const struct broker_config *config)
{
	char path[PATH_MAX] = "mmbrokerd";
	uint64_t began;
	int error = daemon_path(path, sizeof(path));

	memset(broker, 0, sizeof(*broker));
	if (error == 0)
		error = make_directory(broker);
	if (error != 0)
		return error;
	error = start_tidier(broker, config->swap_path);
	if (error != 0) {
		rmdir(broker->directory);
		return error;
	}
	began = clock_ns();
	broker->pid = fork();
	if (broker->pid == 0)
		exec_daemon(broker, config, path);
	if (broker->pid < 0) {
		stop_tidier(broker);
		rmdir(broker->directory);
		return bench_because(-errno, "fork: %s", strerror(errno));
	}
	broker->pidfd = (int)syscall(SYS_pidfd_open, broker->pid, 0);
	error = wait_ready(broker, began);
	if (error != 0) {
		char why[300];

		snprintf(why, sizeof(why), "%s", bench_reason());
		broker_stop(broker);
		bench_because(error, "%s", why);
	}
	return error;
}

int broker_kill_worker(const struct broker *broker)
{
	pid_t worker = worker_of(broker->pid);

	if (worker == 0 || kill(worker, SIGKILL) != 0)
		return bench_because(-ESRCH, "the supervisor %d has no worker", broker->pid);
	return 0;
}

int broker_stop(struct broker *broker)
{
	struct pollfd ended = { .fd = broker->pidfd, .events = POLLIN };
	char words[256];
	int status = 0;

	stop_tidier(broker);
	kill(broker->pid, SIGTERM);
	if (poll(&ended, 1, STOP_MS) == 0)
		kill(broker->pid, SIGKILL);
	waitpid(broker->pid, &status, 0);
	close(broker->pidfd);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		last_words(broker, words, sizeof(words));
		return bench_because(-ECHILD, "mmbrokerd %s %d; the end of %s: %.180s",
				     WIFSIGNALED(status) ? "died by signal" : "exit status",
				     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
				     broker->log, words);
	}
	unlink(broker->socket);
	unlink(broker->log);
	rmdir(broker->directory);
	return 0;
}
