/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procmap - what is mapped at an address of this process right now
 *
 * Purpose     PROCMAP_QUERY (Linux 6.11) where it is there, else the text of /proc/self/maps,
 *             which takes time linear in the number of mappings.
 */
#include "procmap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* The kernel's ABI, newer than the distribution's headers. */
struct query {
	__u64 size, flags, address;
	__u64 vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	__u32 dev_major, dev_minor, vma_name_size, build_id_size;
	__u64 vma_name, build_id;
};
#define QUERY_IOCTL _IOWR('f', 17, struct query)
enum { QUERY_COVERING_OR_NEXT = 0x10 };

int procmap_open(void)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void procmap_close(int fd)
{
	close(fd);
}

static int find_in_text(int fd, uint64_t address, struct procmap_vma *out)
{
	/* The fields wanted come first; the rest of a longer line is skipped. */
	char line[256];
	FILE *maps;
	int copy = dup(fd), error = -ENOENT;
	bool begins = true;

	if (copy < 0)
		return -errno;
	maps = fdopen(copy, "re");
	if (!maps) {
		close(copy);
		return -ENOMEM;
	}
	rewind(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long long start, end, ino;
		unsigned int major_nr, minor_nr;
		bool is_begin = begins;

		begins = strchr(line, '\n') != NULL;
		if (!is_begin || sscanf(line, "%llx-%llx %*s %*x %x:%x %llu", &start, &end,
					&major_nr, &minor_nr, &ino) != 5)
			continue;
		if (end <= address)
			continue;
		*out = (struct procmap_vma){ start, end, makedev(major_nr, minor_nr), ino };
		error = 0;
		break;
	}
	fclose(maps);
	return error;
}

int procmap_find(int fd, uint64_t address, struct procmap_vma *out)
{
	struct query q = {
		.size = sizeof(q),
		.flags = QUERY_COVERING_OR_NEXT,
		.address = address,
	};

	if (!ioctl(fd, QUERY_IOCTL, &q)) {
		*out = (struct procmap_vma){ q.vma_start, q.vma_end,
					     makedev(q.dev_major, q.dev_minor), q.inode };
		return 0;
	}
	if (errno == ENOENT)
		return -ENOENT;
	return find_in_text(fd, address, out);
}
