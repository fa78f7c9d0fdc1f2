/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_kernel - the kernel's version and what its userfaultfd can do
 *
 * Purpose     Asks a throw-away userfaultfd for its features, made in the best way the caller is
 *             allowed: by the device, by the system call, or for user-mode faults only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "proto/uffd_compat.h"
#include "tools/doctor.h"

#define RELEASE(major, minor) ((major)*1000 + (minor))
static const char newer_kernel[] = "apt-get -t bookworm-backports install linux-image-amd64";
static const char device[] = "/dev/userfaultfd";

unsigned int doctor_kernel_release(void)
{
	struct utsname name;
	unsigned int   major, minor;

	if (uname(&name) != 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return 0;
	return RELEASE(major, minor);
}

void doctor_kernel(struct doctor *d)
{
	unsigned int   release = doctor_kernel_release();
	struct utsname name;

	if (uname(&name) != 0)
		strcpy(name.release, "unknown");
	if (release >= RELEASE(6, 6)) {
		finding_add(d, "kernel", FINDING_OK, "Linux %s.", name.release);
		return;
	}
	if (release >= RELEASE(6, 1))
		finding_add(d, "kernel", FINDING_WARN,
			    "Linux %s can't poison pages: a client whose page is lost is ended "
			    "instead. Full service needs 6.6.",
			    name.release);
	else
		finding_add(d, "kernel", FINDING_FAIL,
			    "Linux %s is too old; 6.1 is the oldest that "
			    "serves, 6.6 serves fully.",
			    name.release);
	finding_fix(d, newer_kernel);
}

enum uffd_way { UFFD_DEVICE, UFFD_SYSCALL, UFFD_USER_ONLY, UFFD_NONE };

static int uffd_new(enum uffd_way way)
{
	int flags = O_CLOEXEC | O_NONBLOCK, dev, fd;

	if (way != UFFD_DEVICE)
		return (int)syscall(SYS_userfaultfd,
				    flags | (way == UFFD_USER_ONLY ? UFFD_USER_MODE_ONLY : 0));
	dev = open(device, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -1;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
	close(dev);
	return fd;
}

/* The first way that works, and the features the kernel names there. */
static enum uffd_way uffd_probe(uint64_t *features)
{
	for (enum uffd_way way = UFFD_DEVICE; way < UFFD_NONE; way++) {
		struct uffdio_api api = { .api = UFFD_API };
		int               fd = uffd_new(way), failed;

		if (fd < 0)
			continue;
		failed = ioctl(fd, UFFDIO_API, &api);
		close(fd);
		if (!failed) {
			*features = api.features;
			return way;
		}
	}
	return UFFD_NONE;
}

struct uffd_feature {
	uint64_t    bit;
	const char *name;
};

/* Names of those the kernel lacks, "" if none. */
static void missing(const struct uffd_feature *rows, unsigned int nr, uint64_t have, char out[160])
{
	out[0] = '\0';
	for (unsigned int i = 0; i < nr; i++) {
		size_t used = strlen(out);

		if (!(have & rows[i].bit))
			snprintf(out + used, 160 - used, "%s%s", used ? ", " : "", rows[i].name);
	}
}

static void uffd_features(struct doctor *d, uint64_t have)
{
	static const struct uffd_feature needed[] = {
		{ UFFD_FEATURE_MISSING_SHMEM, "MISSING_SHMEM" },
		{ UFFD_FEATURE_MISSING_HUGETLBFS, "MISSING_HUGETLBFS" },
		{ UFFD_FEATURE_MINOR_SHMEM, "MINOR_SHMEM" },
		{ UFFD_FEATURE_MINOR_HUGETLBFS, "MINOR_HUGETLBFS" },
		{ UFFD_FEATURE_PAGEFAULT_FLAG_WP, "PAGEFAULT_FLAG_WP" },
		{ UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "WP_HUGETLBFS_SHMEM" },
	};
	static const struct uffd_feature wanted[] = {
		{ UFFD_FEATURE_WP_UNPOPULATED, "WP_UNPOPULATED" },
		{ UFFD_FEATURE_POISON, "POISON" },
	};
	char lacks[160];

	missing(needed, sizeof(needed) / sizeof(needed[0]), have, lacks);
	if (lacks[0] != '\0') {
		finding_add(d, "userfaultfd_features", FINDING_FAIL,
			    "This kernel's userfaultfd lacks %s, without which nothing is served.",
			    lacks);
		finding_fix(d, newer_kernel);
		return;
	}
	missing(wanted, sizeof(wanted) / sizeof(wanted[0]), have, lacks);
	if (lacks[0] != '\0') {
		finding_add(d, "userfaultfd_features", FINDING_WARN,
			    "This kernel's userfaultfd lacks %s: served without.", lacks);
		finding_fix(d, newer_kernel);
		return;
	}
	finding_add(d, "userfaultfd_features", FINDING_OK, "All features are there.");
}

/* Who may make userfaultfds that also serve faults inside system calls. */
static void uffd_device(struct doctor *d, enum uffd_way way)
{
	uint64_t    unprivileged = 0;
	struct stat st;

	doctor_read_number("/proc/sys/vm/unprivileged_userfaultfd", &unprivileged);
	if (unprivileged) {
		finding_add(
			d, "userfaultfd_device", FINDING_OK,
			"vm.unprivileged_userfaultfd is 1: faults inside system calls are served "
			"for everybody.");
	} else if (stat(device, &st) != 0) {
		finding_add(
			d, "userfaultfd_device", FINDING_WARN,
			"%s: %s. Clients that aren't root get EFAULT from system calls that touch "
			"absent pages.",
			device, strerror(errno));
		finding_fix(d, "sysctl -w vm.unprivileged_userfaultfd=1");
	} else if (way == UFFD_DEVICE || st.st_gid != 0 || (st.st_mode & 06)) {
		finding_add(d, "userfaultfd_device", FINDING_OK,
			    "%s has mode %04o, group %u; a broker that may open it passes it on as "
			    "pass_userfaultfd says.",
			    device, st.st_mode & 07777, st.st_gid);
	} else {
		finding_add(
			d, "userfaultfd_device", FINDING_WARN,
			"%s is for root alone: a broker without root can't pass it on, and system "
			"calls that touch absent pages give EFAULT.",
			device);
		finding_fix(d, "groupadd -f -r mmbroker && chgrp mmbroker %s && chmod 0660 %s",
			    device, device);
	}
}

void doctor_userfaultfd(struct doctor *d)
{
	static const char *const ways[] = { "through /dev/userfaultfd", "by the system call",
					    "for user-mode faults only" };
	uint64_t                 features = 0;
	enum uffd_way            way = uffd_probe(&features);

	if (way == UFFD_NONE) {
		finding_add(d, "userfaultfd", FINDING_FAIL, "No userfaultfd can be made: %s.",
			    strerror(errno));
		finding_fix(d, "sysctl -w vm.unprivileged_userfaultfd=1");
		return;
	}
	finding_add(d, "userfaultfd", FINDING_OK, "A userfaultfd could be made %s.", ways[way]);
	uffd_features(d, features);
	uffd_device(d, way);
}
