/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd - the session's userfaultfd
 *
 * Purpose     See uffd.h. Ways are tried in the order of the table, full service first.
 * Invariants  U3  Older kernels are probed with a throw-away descriptor: UFFDIO_API with one
 *                 unknown bit fails the whole handshake, and a handshake can't be repeated.
 */
#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "error.h"
#include "proto/uffd_compat.h"

static const uint64_t wanted_features =
	UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_SHMEM |
	UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
	UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_POISON |
	UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EVENT_REMAP;
static const uint64_t needed_features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
					UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

static int by_system_call(int device)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	/* A filter or valgrind that doesn't know the call: the device may do. */
	if (fd < 0 && errno == ENOSYS)
		errno = EPERM;
	return fd;
}

static int by_own_device(int device)
{
	int fd, own = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (own < 0)
		return -1;
	fd = ioctl(own, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	close(own);
	return fd;
}

static int by_passed_device(int device)
{
	if (device < 0) {
		errno = ENODEV;
		return -1;
	}
	return ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
}

static int user_mode_only(int device)
{
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
}

enum { WAY_SYSTEM_CALL, WAY_OWN_DEVICE };

static const struct uffd_way {
	int (*open)(int device);
	bool user_mode_only;
} ways[] = {
	[WAY_SYSTEM_CALL] = { by_system_call, false },
	[WAY_OWN_DEVICE] = { by_own_device, false },
	{ by_passed_device, false },
	{ user_mode_only, true },
};

static int handshake(int fd, uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = *features };

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -errno;
	*features = api.features;
	return 0;
}

/* What this kernel knows of the features wanted, learnt from a throw-away descriptor (U3). */
static int probe(const struct uffd_way *way, int device, uint64_t *features)
{
	uint64_t known = 0;
	int error, fd = way->open(device);

	error = handshake(fd, &known);
	if (fd >= 0)
		close(fd);
	*features = wanted_features & known;
	if (!error && (known & needed_features) != needed_features)
		error = -ENOSYS;
	return error;
}

static int open_with(const struct uffd_way *way, int device, uint64_t features, struct uffd *out)
{
	uint64_t known = features;
	int error;

	out->fd = way->open(device);
	error = handshake(out->fd, &known);
	if (error && out->fd >= 0)
		close(out->fd);
	out->features = features & known;
	out->user_mode_only = way->user_mode_only;
	return error;
}

/* A current kernel takes all that is wanted, and needs no probing. */
static int open_way(const struct uffd_way *way, int device, struct uffd *out)
{
	uint64_t features;
	int error = open_with(way, device, wanted_features, out);

	if (error != -EINVAL)
		return error;
	error = probe(way, device, &features);
	return error ? error : open_with(way, device, features, out);
}

int uffd_open_own(struct uffd *out)
{
	int error = open_way(&ways[WAY_SYSTEM_CALL], -1, out);

	if (error && error != -ENOSYS)
		error = open_way(&ways[WAY_OWN_DEVICE], -1, out);
	if (error)
		out->fd = -1;
	return error;
}

int uffd_open(int device, struct uffd *out)
{
	int error = 0;
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		error = open_way(&ways[i], device, out);
		if (!error || error == -ENOSYS)
			break;
	}
	if (error == -ENOSYS)
		return fail(error, "this kernel's userfaultfd lacks minor faults or write "
			    "protection on shared memory; Linux 6.1 or later is needed, 6.6 for "
			    "full service");
	if (error)
		return fail(error, "no userfaultfd for this process (errno %d): a container's "
			    "seccomp filter may block it; allow the userfaultfd system call or "
			    "let the broker pass its device (pass_userfaultfd)", -error);
	return 0;
}

int uffd_register(const struct uffd *uffd, uint64_t address, uint64_t length,
		  enum uffd_watch watch)
{
	struct uffdio_register r = {
		.range = { .start = address, .len = length },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (watch == UFFD_WATCH_REGION)
		r.mode |= UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP;
	if (!ioctl(uffd->fd, UFFDIO_REGISTER, &r))
		return 0;
	return fail(-errno, "the kernel refused to register %llu bytes at %#llx for page faults "
		    "(errno %d); if this is ENOMEM, vm.max_map_count may be exhausted",
		    (unsigned long long)length, (unsigned long long)address, errno);
}

int uffd_poison(const struct uffd *uffd, uint64_t address, uint64_t length, uint64_t page)
{
	uint64_t end = address + length;

	while (address < end) {
		struct uffdio_poison p = { .range = { .start = address, .len = end - address } };
		int error = ioctl(uffd->fd, UFFDIO_POISON, &p) ? errno : 0;

		if (p.updated > 0)
			address += (uint64_t)p.updated;
		else if (error == EEXIST)
			address += page; /* mapped */
		else if (error)
			return -error;
	}
	return 0;
}

void uffd_wake(const struct uffd *uffd, uint64_t address, uint64_t length)
{
	struct uffdio_range range = { .start = address, .len = length };

	if (uffd->fd >= 0)
		ioctl(uffd->fd, UFFDIO_WAKE, &range);
}

void uffd_drain(const struct uffd *uffd)
{
	struct uffd_msg m;

	while (read(uffd->fd, &m, sizeof(m)) == sizeof(m))
		if (m.event == UFFD_EVENT_PAGEFAULT)
			uffd_wake(uffd, m.arg.pagefault.address & ~(uint64_t)4095, 4096);
}

int uffd_unregister(const struct uffd *uffd, uint64_t address, uint64_t length)
{
	struct uffdio_range range = { .start = address, .len = length };

	return ioctl(uffd->fd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}
