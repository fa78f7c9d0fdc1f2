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
#include "malloc/floor_give.h"

/* What a broker puts off until a program has begun is nobody's who starts after it. */
enum { TIMES = 50, TIMES_QUICK = 5, PAUSE_US = 4000 };

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
	usleep(PAUSE_US);
	return 0;
}

/* A program, and what is preloaded for it. */
struct starting {
	char             path[PATH_MAX], library[PATH_MAX];
	struct allocator with;
	double           ms[TIMES];
};

static int starting_init(struct starting *s, const char *program, const char *library)
{
	int error = program_path(s->path, sizeof(s->path), program);

	s->with = (struct allocator){ .name = program };
	if (error != 0 || library == NULL)
		return error;
	error = program_path(s->library, sizeof(s->library), library);
	s->with.library = s->library;
	return error != 0 ? error : allocator_possible(&s->with);
}

static int start_in_turns(struct starting *programs, unsigned int times)
{
	int error = 0;

	for (unsigned int i = 0; i < times; i++)
		for (unsigned int j = 0; j < START_PROGRAMS && error == 0; j++)
			error = start_once(programs[j].path, &programs[j].with,
					   &programs[j].ms[i]);
	allocator_prepare(NULL);
	return error;
}

int start_side(struct bench *b, const void *arg, struct sample *out)
{
	static struct starting programs[START_PROGRAMS];
	unsigned int times = b->quick ? TIMES_QUICK : TIMES;
	struct floor_giver giver;
	int error = starting_init(&programs[START_OURS], "malloc-start-ours",
				  "../libclient/libmmbroker.so.0");

	if (error == 0)
		error = starting_init(&programs[START_LIBC], "malloc-start-process", NULL);
	if (error == 0)
		error = starting_init(&programs[START_FLOOR], "malloc-start-floor",
				      "libfloor_take.so");
	if (error == 0)
		error = floor_giver_start(&giver);
	if (error != 0)
		return error;
	setenv("MMB_SOCKET", b->socket, 1);
	error = start_in_turns(programs, times);
	floor_giver_stop(&giver);
	for (unsigned int j = 0; j < START_PROGRAMS && error == 0; j++)
		out->v[j] = stats_median(programs[j].ms, times);
	out->v[START_LIMIT] = out->v[START_LIBC] + LIMIT_MS;
	return error;
}
