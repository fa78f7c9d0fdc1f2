/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup - see cgroup.h */
#include "swap/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/clock.h"

enum { EMPTY_MS = 10000, STEP_MS = 5, LINE = 4096 };

static int put(const char *folder, const char *name, const char *text)
{
	char path[CGROUP_PATH + 64];
	ssize_t nr;
	int fd, error = 0;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	nr = write(fd, text, strlen(text));
	if (nr < 0)
		error = -errno;
	close(fd);
	return error;
}

static int get(const char *folder, const char *name, char *out, size_t bytes)
{
	char path[CGROUP_PATH + 64];
	ssize_t nr;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	nr = read(fd, out, bytes - 1);
	close(fd);
	if (nr < 0)
		return -EIO;
	out[nr] = 0;
	return 0;
}

/* A word of a list separated by spaces. */
static bool lists(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; (at = strstr(at, word)) != NULL; at += length) {
		bool begins = at == list || at[-1] == ' ';

		if (begins && (at[length] == ' ' || at[length] == '\n' || at[length] == 0))
			return true;
	}
	return false;
}

/* Where the memory controller is mounted. */
static int find_root(struct cgroup *g)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *m;

	g->root[0] = 0;
	while (mounts != NULL && g->root[0] == 0 && (m = getmntent(mounts)) != NULL) {
		char controllers[LINE] = "";
		bool v2 = strcmp(m->mnt_type, "cgroup2") == 0;
		bool v1 = strcmp(m->mnt_type, "cgroup") == 0 && hasmntopt(m, "memory") != NULL;

		if (v2)
			get(m->mnt_dir, "cgroup.controllers", controllers, sizeof(controllers));
		if (!v1 && !lists(controllers, "memory"))
			continue;
		g->v2 = v2;
		snprintf(g->root, sizeof(g->root), "%.100s", m->mnt_dir);
	}
	if (mounts != NULL)
		endmntent(mounts);
	return g->root[0] ? 0 : bench_because(BENCH_SKIP, "no memory cgroup is mounted here");
}

/* Version 2 gives a controller only to the children of a group that says so. */
static int enable_controller(struct cgroup *g)
{
	char enabled[LINE] = "";
	int error = get(g->root, "cgroup.subtree_control", enabled, sizeof(enabled));

	if (error == 0 && !lists(enabled, "memory")) {
		error = put(g->root, "cgroup.subtree_control", "+memory");
		g->enabled_controller = error == 0;
	}
	if (error != 0)
		return bench_because(BENCH_SKIP, "the memory controller of %s: %s", g->root,
				     strerror(-error));
	return 0;
}

int cgroup_create(struct cgroup *g, const char *name)
{
	int error;

	*g = (struct cgroup){ 0 };
	error = find_root(g);
	if (error == 0 && g->v2)
		error = enable_controller(g);
	if (error != 0)
		return error;
	snprintf(g->path, sizeof(g->path), "%.100s/%.80s", g->root, name);
	if (mkdir(g->path, 0755) != 0) {
		error = bench_because(BENCH_SKIP, "memory cgroup %s: %s", g->path, strerror(errno));
		g->path[0] = 0;
		return error;
	}
	if (!g->v2)
		put(g->path, "memory.swappiness", "100");
	return 0;
}

int cgroup_limit(const struct cgroup *g, uint64_t bytes)
{
	char text[32];
	int error;

	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	error = put(g->path, g->v2 ? "memory.max" : "memory.limit_in_bytes", text);
	if (error == 0 && g->v2)
		error = put(g->path, "memory.swap.max", "max");
	if (error != 0)
		return bench_because(BENCH_SKIP, "limit of %s: %s", g->path, strerror(-error));
	return 0;
}

int cgroup_enter(const struct cgroup *g)
{
	int error = put(g->path, "cgroup.procs", "0");

	if (error != 0)
		return bench_because(error, "entering %s: %s", g->path, strerror(-error));
	return 0;
}

uint64_t cgroup_usage(const struct cgroup *g)
{
	char text[64] = "";
	uint64_t bytes = 0;

	get(g->path, g->v2 ? "memory.current" : "memory.usage_in_bytes", text, sizeof(text));
	sscanf(text, "%" SCNu64, &bytes);
	return bytes;
}

uint64_t cgroup_writeback(const struct cgroup *g)
{
	const char *key = g->v2 ? "\nfile_writeback " : "\nwriteback ";
	char text[LINE] = "";
	const char *at;
	uint64_t bytes = 0;

	get(g->path, "memory.stat", text, sizeof(text));
	at = strstr(text, key);
	if (at != NULL)
		sscanf(at + strlen(key), "%" SCNu64, &bytes);
	return bytes;
}

void cgroup_remove(struct cgroup *g)
{
	for (int ms = 0; g->path[0] && rmdir(g->path) != 0 && errno == EBUSY && ms < EMPTY_MS;
	     ms += STEP_MS)
		clock_sleep_ms(STEP_MS);
	if (g->enabled_controller)
		put(g->root, "cgroup.subtree_control", "-memory");
	*g = (struct cgroup){ 0 };
}
