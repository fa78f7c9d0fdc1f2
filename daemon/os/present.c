/* SPDX-License-Identifier: Apache-2.0 */
/*
 * present - two ways to ask the kernel, one answer
 *
 * Invariants  S1  asking never makes a page present.
 *             S2  nor does it take a descriptor, once there is one, which may be had no more; and
 *                 to close a userfaultfd the kernel looks at each mapping of the process.
 */
#include "os/present.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/types.h"
#include "proto/uffd_compat.h"

static _Atomic int own_uffd = -1; /* set once; S2 */

/* The kernel's struct cachestat_range and struct cachestat. */
struct cachestat_range_abi {
	uint64_t off, len;
};
struct cachestat_abi {
	uint64_t nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted;
};

/* Pages of the range that are in memory or in the host's swap, or -errno. */
static int64_t count_present(int fd, uint64_t offset, uint64_t length)
{
	struct cachestat_range_abi range = { offset, length };
	struct cachestat_abi       stat = { 0 };

	if (syscall(SYS_cachestat, fd, &range, &stat, 0))
		return -errno;
	return (int64_t)(stat.nr_cache + stat.nr_evicted);
}

/* Doubles the range until something is in it, then halves it. */
static int64_t next_by_count(int fd, uint64_t from, uint64_t end)
{
	uint64_t low = from, length = PAGE_SIZE;
	int64_t  nr;

	for (;; low += length, length *= 2) {
		if (low >= end)
			return -ENXIO;
		length = min_t(uint64_t, length, end - low);
		nr = count_present(fd, low, length);
		if (nr < 0)
			return nr;
		if (nr > 0)
			break;
	}
	while (length > PAGE_SIZE) {
		uint64_t half = round_up(length / 2, PAGE_SIZE);

		nr = count_present(fd, low, half);
		if (nr < 0)
			return nr;
		if (nr == 0)
			low += half;
		length = nr ? half : length - half;
	}
	return (int64_t)low;
}

bool is_hugetlb(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

static int new_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		errno = ENOSYS;
		return -1;
	}
	return fd;
}

int scratch_uffd(void)
{
	int fd = atomic_load(&own_uffd), none = -1;

	if (fd >= 0)
		return fd;
	fd = new_uffd();
	if (fd < 0 || atomic_compare_exchange_strong(&own_uffd, &none, fd))
		return fd;
	close(fd); /* another thread was faster */
	return none;
}

/* -ENXIO: no page of [window, + length) is present. */
static int64_t continue_first(int uffd, uint64_t window, uint64_t length, uint64_t page)
{
	for (uint64_t at = 0; at < length; at += page) {
		struct uffdio_continue arg = { .range = { window + at, page } };

		if (!ioctl(uffd, UFFDIO_CONTINUE, &arg) || errno == EEXIST)
			return (int64_t)at;
		if (errno != EFAULT)
			return -errno;
	}
	return -ENXIO;
}

static int64_t next_by_continue(int fd, uint64_t from, uint64_t end, uint64_t page)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MINOR };
	int64_t                result;
	int                    uffd;
	void                  *window;

	if (from >= end)
		return -ENXIO;
	uffd = scratch_uffd();
	if (uffd < 0)
		return -errno;
	window = mmap(NULL, end - from, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, (off_t)from);
	if (window == MAP_FAILED)
		return -errno;
	reg.range = (struct uffdio_range){ (uintptr_t)window, end - from };
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		result = -errno;
	else
		result = continue_first(uffd, (uintptr_t)window, end - from, page);
	munmap(window, end - from);
	return result < 0 ? result : (int64_t)from + result;
}

static int64_t next_within(int fd, uint64_t from, uint64_t end)
{
	struct stat st;
	uint64_t    page;
	int64_t     result;

	if (fstat(fd, &st))
		return -errno;
	end = min_t(uint64_t, end, (uint64_t)st.st_size);
	if (st.st_blocks == 0)
		return -ENXIO;
	result = next_by_count(fd, round_down(from, PAGE_SIZE), end);
	if (result != -ENOSYS && result != -EOPNOTSUPP && result != -EPERM)
		return result;
	page = is_hugetlb(fd) ? PAGEBLOCK_SIZE : PAGE_SIZE;
	return next_by_continue(fd, round_down(from, page), end, page);
}

int64_t present_next(int fd, uint64_t from)
{
	return next_within(fd, from, UINT64_MAX);
}

bool present_not_all(int fd, uint64_t offset, uint64_t length)
{
	int64_t  nr = count_present(fd, offset, length);
	uint64_t page;

	if (nr >= 0)
		return (uint64_t)nr < length >> PAGE_SHIFT;
	page = is_hugetlb(fd) ? PAGEBLOCK_SIZE : PAGE_SIZE;
	for (uint64_t at = offset; at < offset + length; at += page) {
		int64_t found = next_within(fd, at, offset + length);

		if (found != (int64_t)at)
			return found >= 0 || found == -ENXIO;
	}
	return false;
}

bool present_none(int fd, uint64_t offset, uint64_t length)
{
	int64_t nr = count_present(fd, offset, length);

	return nr >= 0 ? nr == 0 : next_within(fd, offset, offset + length) == -ENXIO;
}
