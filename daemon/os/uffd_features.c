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
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "proto/uffd_compat.h"

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

uint64_t uffd_hidden;

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

/* What the kernel says about a descriptor; see proc(5). */
static int read_fdinfo(int fd, char *text, size_t bytes)
{
	char    path[40];
	ssize_t nr;
	int     info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -errno;
	nr = read(info, text, bytes - 1);
	close(info);
	text[max_t(ssize_t, nr, 0)] = '\0';
	return 0;
}

/* No other kind of file has these three lines, and no file can write them but the kernel's own code
 * for its kind: "API:\taa:<features>:<ioctls>", in hexadecimal. */
static bool is_uffd(const char *text, uint64_t *features)
{
	unsigned long      pending, total;
	unsigned long long api, bits;
	const char        *at = strstr(text, "\npending:\t");

	if (!at || sscanf(at, " pending: %lu total: %lu API: %llx:%llx:", &pending, &total, &api,
			  &bits) != 4)
		return false;
	*features = bits;
	return api == UFFD_API;
}

int uffd_accept(int fd, uint64_t *features)
{
	/* The kernel's own mark among the features: UFFDIO_API has been called. */
	const uint64_t initialised = 1ULL << 31;
	char           text[512];
	unsigned int   flags;
	const char    *at;

	if (read_fdinfo(fd, text, sizeof(text)) || !is_uffd(text, features))
		return -EINVAL;
	if (!(*features & initialised))
		return -EPROTO;
	*features &= ~initialised;
	at = strstr(text, "flags:\t");
	if (!at || sscanf(at, "flags: %o", &flags) != 1)
		return -EPROTO;
	return !(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, O_NONBLOCK) ? -errno : 0;
}
