/* SPDX-License-Identifier: Apache-2.0 */
/* start - see start.h */
#include "malloc/start.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/stats.h"
#include "malloc/allocators.h"

enum { TIMES = 50, TIMES_QUICK = 5 };

#define LIMIT_MS   0.3
#define NS_PER_MS  1e6

extern char **environ;

static int program_path(char *out, size_t bytes, const char *name)
{
	char self[PATH_MAX];
	ssize_t nr = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (nr <= 0)
		return bench_because(-errno, "/proc/self/exe: %s", strerror(errno));
	self[nr] = 0;
	snprintf(out, bytes, "%.*s/%s", (int)(strrchr(self, '/') - self), self, name);
	if (access(out, X_OK) != 0)
		return bench_because(BENCH_SKIP, "%s isn't built", name);
	return 0;
}

/* with: a library that is found at once, as an installed one is by the linker's cache. Programs of
 * a build tree are told to look beside them, in a dozen folders that don't exist: not this one. */
static int start_once(char *path, const struct allocator *with, double *ms)
{
	char *argv[] = { path, NULL };
	uint64_t before;
	int status = 0, error;
	pid_t pid;

	allocator_prepare(with);
	before = clock_ns();
	error = posix_spawn(&pid, path, NULL, NULL, argv, environ);
	if (error != 0)
		return bench_because(-error, "%s: %s", path, strerror(error));
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		return bench_because(-ECHILD, "%s ended with status %d", path, status);
	*ms = (double)(clock_ns() - before) / NS_PER_MS;
	return 0;
}

int start_side(struct bench *b, const void *arg, struct sample *out)
{
	char ours[PATH_MAX], libc[PATH_MAX], path[PATH_MAX];
	struct allocator library = { .name = "ours", .library = path };
	const struct allocator none = { .name = "libc" };
	double ms[2][TIMES];
	unsigned int times = b->quick ? TIMES_QUICK : TIMES;
	int error = program_path(ours, sizeof(ours), "malloc-start-ours");

	if (error == 0)
		error = program_path(libc, sizeof(libc), "malloc-start-process");
	if (error == 0)
		error = program_path(path, sizeof(path), "../libclient/libmmbroker.so.0");
	if (error == 0)
		error = allocator_possible(&library);
	if (error == 0)
		setenv("MMB_SOCKET", b->socket, 1);
	for (unsigned int i = 0; i < times && error == 0; i++) {
		error = start_once(ours, &library, &ms[0][i]);
		if (error == 0)
			error = start_once(libc, &none, &ms[1][i]);
	}
	allocator_prepare(&none);
	if (error != 0)
		return error;
	out->v[START_OURS] = stats_median(ms[0], times);
	out->v[START_LIBC] = stats_median(ms[1], times);
	out->v[START_LIMIT] = out->v[START_LIBC] + LIMIT_MS;
	return 0;
}
