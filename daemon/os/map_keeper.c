/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_keeper - what /proc tells of a process's map and of its descriptors
 */
#include "os/map_keeper.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 64 };

void map_keeper_await_map(pid_t pid)
{
	char path[PATH_BYTES], byte;
	int fd;

	/* It is in the process's memory. */
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (read(fd, &byte, 1) < 0)
		byte = 0; /* it has ended: as good */
	close(fd);
}

static bool is_fuse(int folder, const char *name)
{
	static const char device[] = "/dev/fuse";
	char link[sizeof(device)];
	ssize_t nr = readlinkat(folder, name, link, sizeof(link));

	return nr == sizeof(device) - 1 && !memcmp(link, device, sizeof(device) - 1);
}

bool map_keeper_serves_fuse(pid_t pid)
{
	char path[PATH_BYTES];
	struct dirent *entry;
	bool serves = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && !serves && (entry = readdir(dir)))
		serves = is_fuse(dirfd(dir), entry->d_name);
	if (dir)
		closedir(dir);
	return serves;
}
