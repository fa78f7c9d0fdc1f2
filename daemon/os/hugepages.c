/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugepages - parsing the kernel's text files
 *
 * Not here    Caching: numbers are read anew each time.
 */
#include "os/hugepages.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "os/os.h"

static const char *files_root = "";

void host_files_set_root(const char *root)
{
	files_root = root;
}

static FILE *open_host_file(const char *path)
{
	char full[PATH_MAX];

	if (snprintf(full, sizeof(full), "%s%s", files_root, path) >= (int)sizeof(full)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	return fopen(full, "re");
}

static int read_number(const char *directory, const char *name, uint64_t *out)
{
	char  path[PATH_MAX];
	FILE *file;
	int   nr;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	file = open_host_file(path);
	if (!file)
		return -errno;
	nr = fscanf(file, "%" SCNu64, out);
	fclose(file);
	return nr == 1 ? 0 : -EIO;
}

int hugepages_read(int node, struct hugepages *out)
{
	char directory[96] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	int  error;

	*out = (struct hugepages){ 0 };
	if (node != OS_NODE_ANY)
		snprintf(directory, sizeof(directory),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB", node);
	error = read_number(directory, "nr_hugepages", &out->total);
	if (!error)
		error = read_number(directory, "free_hugepages", &out->free);
	if (!error)
		error = read_number(directory, "surplus_hugepages", &out->surplus);
	if (error || node != OS_NODE_ANY)
		return error;
	error = read_number(directory, "resv_hugepages", &out->resv);
	if (!error)
		error = read_number(directory, "nr_overcommit_hugepages", &out->overcommit);
	return error;
}

struct meminfo_line {
	const char *name;
	uint64_t   *bytes;
};

/* Lines are "Name:  123 kB", below /sys/devices "Node 0 Name:  123 kB". */
static int read_meminfo(const char *path, const struct meminfo_line *lines, unsigned int nr)
{
	char     line[128], name[64];
	uint64_t kib;
	FILE    *file = open_host_file(path);

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %*d %63[^:]: %" SCNu64, name, &kib) != 2 &&
		    sscanf(line, "%63[^:]: %" SCNu64, name, &kib) != 2)
			continue;
		for (unsigned int i = 0; i < nr; i++)
			if (!strcmp(name, lines[i].name))
				*lines[i].bytes = kib << 10;
	}
	fclose(file);
	return 0;
}

static int read_node_memory(int node, struct host_memory *out)
{
	uint64_t                  file = 0, shmem = 0;
	const struct meminfo_line lines[] = {
		{ "MemTotal", &out->total },
		{ "MemFree", &out->free },
		{ "FilePages", &file },
		{ "Shmem", &shmem },
	};
	char path[64];
	int  error;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	error = read_meminfo(path, lines, 4);
	out->available = out->free + (file > shmem ? file - shmem : 0);
	return error;
}

int host_memory_read(int node, struct host_memory *out)
{
	const struct meminfo_line lines[] = {
		{ "MemTotal", &out->total },
		{ "MemFree", &out->free },
		{ "MemAvailable", &out->available },
	};

	*out = (struct host_memory){ 0 };
	if (node != OS_NODE_ANY)
		return read_node_memory(node, out);
	return read_meminfo("/proc/meminfo", lines, 3);
}

/* From the cgroup itself up to what is mounted; one that can't be seen limits nothing here. */
static uint64_t least_limit(const char *hierarchy, char *cgroup, const char *name)
{
	uint64_t limit, least = UINT64_MAX;
	char     directory[PATH_MAX], *slash;

	for (;;) {
		size_t length = strlen(cgroup);

		if (length && cgroup[length - 1] == '/')
			cgroup[length - 1] = '\0';
		snprintf(directory, sizeof(directory), "%s%s", hierarchy, cgroup);
		if (!read_number(directory, name, &limit) && limit < least)
			least = limit;
		slash = strrchr(cgroup, '/');
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* Lines are "4:memory:/a/b" of version 1, "0::/a/b" of version 2. */
uint64_t host_memory_limit(void)
{
	uint64_t limit, least = UINT64_MAX;
	char     line[PATH_MAX];
	FILE    *file = open_host_file("/proc/self/cgroup");

	while (file && fgets(line, sizeof(line), file)) {
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		limit = UINT64_MAX;
		if (!names[1])
			limit = least_limit("/sys/fs/cgroup", path, "memory.max");
		else if (!strcmp(names + 1, "memory"))
			limit = least_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
		if (limit < least)
			least = limit;
	}
	if (file)
		fclose(file);
	return least;
}

static const char *const shmem_huge_names[] = {
	[SHMEM_HUGE_UNKNOWN] = "unknown",         [SHMEM_HUGE_ALWAYS] = "always",
	[SHMEM_HUGE_WITHIN_SIZE] = "within_size", [SHMEM_HUGE_ADVISE] = "advise",
	[SHMEM_HUGE_NEVER] = "never",             [SHMEM_HUGE_DENY] = "deny",
	[SHMEM_HUGE_FORCE] = "force",
};

/* "always within_size advise [never] deny force" */
static enum shmem_huge read_mode(const char *path)
{
	FILE *file = open_host_file(path);
	char  mode[16] = "";
	int   nr;

	if (!file)
		return SHMEM_HUGE_UNKNOWN;
	nr = fscanf(file, "%*[^[][%15[^]]", mode);
	if (nr != 1) { /* the first one is chosen */
		rewind(file);
		nr = fscanf(file, "[%15[^]]", mode);
	}
	fclose(file);
	for (unsigned int i = SHMEM_HUGE_ALWAYS; nr == 1 && i <= SHMEM_HUGE_FORCE; i++)
		if (!strcmp(mode, shmem_huge_names[i]))
			return (enum shmem_huge)i;
	return SHMEM_HUGE_UNKNOWN;
}

enum shmem_huge shmem_huge_mode(void)
{
	return read_mode("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
}

static bool is_refused(enum shmem_huge mode)
{
	return mode == SHMEM_HUGE_NEVER || mode == SHMEM_HUGE_DENY;
}

/* Since Linux 6.11 each size has a mode of its own, as a rule to inherit the one of all. */
bool shmem_huge_is_refused(void)
{
	enum shmem_huge all = shmem_huge_mode();
	enum shmem_huge one =
		read_mode("/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/shmem_enabled");

	return is_refused(all) && (one == SHMEM_HUGE_UNKNOWN || is_refused(one));
}

const char *shmem_huge_name(enum shmem_huge mode)
{
	return shmem_huge_names[mode];
}
