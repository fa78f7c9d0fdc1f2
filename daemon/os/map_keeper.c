/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_keeper - what /proc tells of a process's map and of its descriptors
 */
#include "os/map_keeper.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "os/bounded.h"

enum { PATH_BYTES = 64, ENTRIES_BYTES = 2048 };

void map_keeper_await_map(pid_t pid)
{
	char path[PATH_BYTES], text[2];

	/* It is in the process's memory; who has ended has none, which is as good. */
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	bounded_read(path, text, sizeof(text));
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
	_Alignas(struct dirent64) char room[ENTRIES_BYTES];
	char path[PATH_BYTES];
	bool serves = false;
	ssize_t got;
	int folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	folder = bounded_open(path);
	while (folder >= 0 && !serves && (got = getdents64(folder, room, sizeof(room))) > 0)
		for (ssize_t at = 0; at < got && !serves;) {
			const struct dirent64 *entry = (const void *)(room + at);

			bounded_prolong();
			serves = is_fuse(folder, entry->d_name);
			at += entry->d_reclen;
		}
	if (folder >= 0)
		bounded_close(folder);
	return serves;
}
