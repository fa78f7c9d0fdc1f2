/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procmap - what is mapped at an address of this process right now
 *
 * Purpose     PROCMAP_QUERY (Linux 6.11) where it is there, else the text of /proc/self/maps,
 *             which takes time linear in the number of mappings, once.
 */
#include "procmap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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
enum { QUERY_COVERING_OR_NEXT = 0x10, VMA_READS = 1, VMA_WRITES = 2, VMA_RUNS = 4, VMA_SHARED = 8 };

int procmap_open(struct procmap *out)
{
	*out = (struct procmap){ .fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC) };
	return out->fd < 0 ? -errno : 0;
}

void procmap_close(struct procmap *map)
{
	if (map->text)
		fclose(map->text);
	close(map->fd);
}

/* ---- as text ---- */

static int open_text(struct procmap *map)
{
	int copy = dup(map->fd);

	if (copy < 0)
		return -errno;
	map->text = fdopen(copy, "re");
	if (map->text)
		return 0;
	close(copy);
	return -ENOMEM;
}

static bool parse(const char *line, struct procmap_vma *out)
{
	unsigned long long start, end, offset, ino;
	unsigned int major_nr, minor_nr;
	char may[5];

	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu", &start, &end, may, &offset, &major_nr,
		   &minor_nr, &ino) != 7)
		return false;
	*out = (struct procmap_vma){ start, end, makedev(major_nr, minor_nr), ino, offset,
				     (may[0] == 'r' ? PROT_READ : 0) |
					     (may[1] == 'w' ? PROT_WRITE : 0) |
					     (may[2] == 'x' ? PROT_EXEC : 0),
				     may[3] == 's' };
	return true;
}

/* The first mapping from where the text is on that ends above the address. */
static int read_on(struct procmap *map, uint64_t address)
{
	/* The fields wanted come first; the rest of a longer line is skipped. */
	char line[256];
	bool begins = true;

	while (fgets(line, sizeof(line), map->text)) {
		bool is_begin = begins;

		begins = strchr(line, '\n') != NULL;
		if (!is_begin || !parse(line, &map->last) || map->last.end <= address)
			continue;
		while (!begins && fgets(line, sizeof(line), map->text))
			begins = strchr(line, '\n') != NULL;
		return 0;
	}
	map->last = (struct procmap_vma){ 0 };
	return -ENOENT;
}

static int find_in_text(struct procmap *map, uint64_t address, struct procmap_vma *out)
{
	int error = map->text ? 0 : open_text(map);

	if (error)
		return error;
	if (address < map->at) {
		rewind(map->text);
		map->last = (struct procmap_vma){ 0 };
	}
	map->at = address;
	if (map->last.end <= address)
		error = read_on(map, address);
	if (!error)
		*out = map->last;
	return error;
}

int procmap_find(struct procmap *map, uint64_t address, struct procmap_vma *out)
{
	struct query q = {
		.size = sizeof(q),
		.flags = QUERY_COVERING_OR_NEXT,
		.address = address,
	};

	if (!map->in_text && !ioctl(map->fd, QUERY_IOCTL, &q)) {
		*out = (struct procmap_vma){ q.vma_start, q.vma_end,
					     makedev(q.dev_major, q.dev_minor), q.inode,
					     q.vma_offset,
					     (q.vma_flags & VMA_READS ? PROT_READ : 0) |
						     (q.vma_flags & VMA_WRITES ? PROT_WRITE : 0) |
						     (q.vma_flags & VMA_RUNS ? PROT_EXEC : 0),
					     q.vma_flags & VMA_SHARED };
		return 0;
	}
	if (!map->in_text && errno == ENOENT)
		return -ENOENT;
	map->in_text = true;
	return find_in_text(map, address, out);
}
