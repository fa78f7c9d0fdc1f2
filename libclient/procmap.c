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
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "process.h"

/* The kernel's ABI, newer than the distribution's headers. */
struct query {
	__u64 size, flags, address;
	__u64 vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	__u32 dev_major, dev_minor, vma_name_size, build_id_size;
	__u64 vma_name, build_id;
};
#define QUERY_IOCTL _IOWR('f', 17, struct query)
enum { QUERY_COVERING_OR_NEXT = 0x10, VMA_READS = 1, VMA_WRITES = 2, VMA_RUNS = 4, VMA_SHARED = 8 };

static int open_maps(void)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* ---- the one that is kept ---- */

static _Atomic int kept = -1;
static dev_t kept_device;       /* process lock; fixed while one is kept */
static ino_t kept_inode;        /* the same */
static unsigned int nr_keepers; /* process lock */

/* Q2 */
static bool is_kept(int fd)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) && st.st_dev == kept_device && st.st_ino == kept_inode;
}

void procmap_keep(void)
{
	struct stat st;
	int fd;

	process_lock();
	nr_keepers++;
	fd = is_kept(kept) ? -1 : open_maps();
	if (fd >= 0 && !fstat(fd, &st)) {
		kept_device = st.st_dev;
		kept_inode = st.st_ino;
		kept = fd;
	} else if (fd >= 0) {
		close(fd);
	}
	process_unlock();
}

static void stop_keeping(void)
{
	int fd = kept;

	kept = -1;
	if (is_kept(fd))
		close(fd);
}

void procmap_release(void)
{
	process_lock();
	if (!--nr_keepers)
		stop_keeping();
	process_unlock();
}

void procmap_forget(void)
{
	stop_keeping();
	nr_keepers = 0;
}

int procmap_open(struct procmap *out)
{
	int fd = kept;

	out->own = !is_kept(fd);
	out->fd = out->own ? open_maps() : fd;
	out->in_text = false;
	out->offset = 0;
	out->used = out->nr = 0;
	out->at = 0;
	out->last = (struct procmap_vma){ 0 };
	return out->fd < 0 ? out->fd : 0;
}

void procmap_close(struct procmap *map)
{
	if (map->own)
		close(map->fd);
}

/* ---- as text ---- */

/* The line's first bytes, which have the fields that are wanted. False: no more lines. */
static bool next_line(struct procmap *map, char *line, size_t bytes)
{
	size_t length = 0;

	for (;;) {
		char c;

		if (map->used == map->nr) {
			ssize_t got = pread(map->fd, map->text, sizeof(map->text), map->offset);

			if (got <= 0)
				return false;
			map->offset += got;
			map->used = 0;
			map->nr = (size_t)got;
		}
		c = map->text[map->used++];
		if (c == '\n')
			break;
		if (length < bytes - 1)
			line[length++] = c;
	}
	line[length] = 0;
	return true;
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
	char line[128];

	while (next_line(map, line, sizeof(line)))
		if (parse(line, &map->last) && map->last.end > address)
			return 0;
	map->last = (struct procmap_vma){ 0 };
	return -ENOENT;
}

static int find_in_text(struct procmap *map, uint64_t address, struct procmap_vma *out)
{
	int error = 0;

	if (address < map->at) {
		map->offset = 0;
		map->used = map->nr = 0;
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
