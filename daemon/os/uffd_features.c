/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd_features - probing with a descriptor that is closed again
 *
 * Invariants  F1  the probe asks UFFDIO_API for no feature: asking for one the kernel doesn't know
 *                 fails the whole call, asking for none lists them all.
 */
#include "os/uffd_features.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "proto/uffd_compat.h"

static const char uffd_link[] = "anon_inode:[userfaultfd]";

int uffd_device_open(void)
{
	int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Through the device, else by the system call; the latter may serve user-mode faults only. */
static int new_uffd(struct uffd_features *f)
{
	int device = uffd_device_open(), fd = -1;

	f->device = device >= 0;
	if (f->device) {
		fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		close(device);
	}
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	f->kernel_faults = fd >= 0;
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	return fd < 0 ? -errno : fd;
}

int uffd_features_probe(uint64_t hide, struct uffd_features *out)
{
	struct uffdio_api api = { .api = UFFD_API };
	int               fd, error = 0;

	*out = (struct uffd_features){ 0 };
	fd = new_uffd(out);
	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api))
		error = -errno;
	close(fd);
	if (error)
		return error;
	out->bits = api.features & ~hide;
	out->minor_hugetlb = out->bits & UFFD_FEATURE_MINOR_HUGETLBFS;
	out->minor_shmem = out->bits & UFFD_FEATURE_MINOR_SHMEM;
	out->exact_address = out->bits & UFFD_FEATURE_EXACT_ADDRESS;
	out->wp_shmem = out->bits & UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	out->wp_unpopulated = out->bits & UFFD_FEATURE_WP_UNPOPULATED;
	out->poison = out->bits & UFFD_FEATURE_POISON;
	/* The mode has no bit of its own; it came with poison's kernel, or before. */
	out->continue_wp = out->poison;
	out->wp_async = out->bits & UFFD_FEATURE_WP_ASYNC;
	return 0;
}

bool uffd_features_sufficient(const struct uffd_features *f, char *missing, size_t size)
{
	const struct {
		bool        there;
		const char *name;
	} needed[] = {
		{ f->bits & UFFD_FEATURE_MISSING_SHMEM, "missing faults on shmem (Linux 4.11)" },
		{ f->minor_hugetlb, "minor faults on hugetlb (Linux 5.13)" },
		{ f->minor_shmem, "minor faults on shmem (Linux 5.14)" },
		{ f->exact_address, "exact fault addresses (Linux 5.18)" },
		{ f->wp_shmem, "write-protection of shmem and hugetlb (Linux 5.19)" },
	};
	size_t used = 0;
	bool   enough = true;

	if (size)
		missing[0] = '\0';
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (needed[i].there)
			continue;
		if (used < size)
			used += (size_t)snprintf(missing + used, size - used, "%s%s",
						 enough ? "" : ", ", needed[i].name);
		enough = false;
	}
	return enough;
}

/* /proc/self/fdinfo has "API:\taa:<features>:<ioctls>", in hexadecimal. */
static int read_enabled(int fd, uint64_t *features)
{
	char               path[40], text[512];
	const char        *line;
	unsigned long long api, bits;
	ssize_t            nr;
	int                info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -errno;
	nr = read(info, text, sizeof(text) - 1);
	close(info);
	text[max_t(ssize_t, nr, 0)] = '\0';
	line = strstr(text, "\nAPI:");
	*features = 0;
	if (!line || sscanf(line, " API: %llx:%llx:", &api, &bits) != 2 || api != UFFD_API)
		return -EPROTO;
	/* Bit 31 is the kernel's own mark of an initialised descriptor. */
	*features = bits & ~(1ULL << 31);
	return 0;
}

/* The kernel's name of the file, which no client can choose for another kind of file. */
static bool is_uffd(int fd)
{
	char    path[40], link[sizeof(uffd_link) + 1];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, link, sizeof(link));
	return length == (ssize_t)strlen(uffd_link) && !memcmp(link, uffd_link, (size_t)length);
}

int uffd_accept(int fd, uint64_t *features)
{
	struct pollfd state = { .fd = fd, .events = POLLIN };
	int           flags;

	if (!is_uffd(fd))
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK)))
		return -errno;
	/* Until UFFDIO_API a userfaultfd polls as an error. */
	if (poll(&state, 1, 0) < 0)
		return -errno;
	if (state.revents & (POLLERR | POLLNVAL))
		return -EPROTO;
	return read_enabled(fd, features);
}
