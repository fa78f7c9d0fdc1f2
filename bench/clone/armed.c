/* SPDX-License-Identifier: Apache-2.0 */
/*
 * armed - the bare mechanism: a window that is write-protected, and nothing else
 *
 * Purpose     What a copy on demand costs at least before anything is copied: the calls that
 *             protect every entry, while a handler lifts the protection of what is written. The
 *             handler is a thread beside the writer, which is the cheapest that there can be.
 * Not here    A copy (there is none), and so streaming one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clone/subject.h"
#include "lib/place.h"

enum { STEP = 2 << 20, STEP_HUGE = 1 << 30, EVENTS = 16 }; /* as one table of entries has */

/* One process has one subject. */
static struct {
	int      uffd;
	uint64_t page;
} armed;

static int complain(const char *what)
{
	bool lacking = errno == EPERM || errno == ENOSYS || errno == ENOSPC; /* huge pages */
	int code = lacking ? BENCH_SKIP : -errno;

	return bench_because(code, "%s: %s", what, strerror(errno));
}

static void *handler_main(void *arg)
{
	struct uffd_msg events[EVENTS];
	ssize_t bytes;

	place_self(0);
	while ((bytes = read(armed.uffd, events, sizeof(events))) > 0)
		for (size_t i = 0; i < (size_t)bytes / sizeof(events[0]); i++) {
			uint64_t at = events[i].arg.pagefault.address;
			struct uffdio_writeprotect lift = {
				.range = { at / armed.page * armed.page, armed.page },
			};

			if (ioctl(armed.uffd, UFFDIO_WRITEPROTECT, &lift) != 0)
				return arg;
		}
	return arg;
}

static int watch(const struct subject *s)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_MINOR_SHMEM |
					      UFFD_FEATURE_MINOR_HUGETLBFS |
					      UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					      UFFD_FEATURE_WP_HUGETLBFS_SHMEM };
	struct uffdio_register window = {
		.range = { (uintptr_t)s->base, s->bytes },
		.mode = UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_continue map = { .range = window.range };
	pthread_t thread;

	armed.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (armed.uffd < 0 || ioctl(armed.uffd, UFFDIO_API, &api) != 0)
		return complain("userfaultfd");
	if (ioctl(armed.uffd, UFFDIO_REGISTER, &window) != 0)
		return complain("UFFDIO_REGISTER");
	if (ioctl(armed.uffd, UFFDIO_CONTINUE, &map) != 0)
		return complain("UFFDIO_CONTINUE");
	if (pthread_create(&thread, NULL, handler_main, NULL) != 0)
		return bench_because(-EAGAIN, "no thread");
	pthread_detach(thread);
	return 0;
}

static int armed_take(struct subject *s)
{
	unsigned int huge = s->page == SUBJECT_HUGE ? MFD_HUGETLB : 0;
	int fd = memfd_create("armed", MFD_CLOEXEC | huge);

	armed.page = s->page;
	if (fd < 0 || ftruncate(fd, (off_t)s->bytes) != 0 ||
	    fallocate(fd, 0, 0, (off_t)s->bytes) != 0)
		return complain("memfd");
	s->base = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	return s->base == MAP_FAILED ? complain("mmap") : watch(s);
}

static int armed_copy(struct subject *s)
{
	uint64_t most = s->page == SUBJECT_HUGE ? STEP_HUGE : STEP;

	for (uint64_t at = 0; at < s->bytes; at += most) {
		uint64_t length = s->bytes - at < most ? s->bytes - at : most;
		struct uffdio_writeprotect arm = {
			.range = { (uintptr_t)s->base + at, length },
			.mode = UFFDIO_WRITEPROTECT_MODE_WP,
		};

		if (ioctl(armed.uffd, UFFDIO_WRITEPROTECT, &arm) != 0)
			return complain("UFFDIO_WRITEPROTECT");
	}
	return 0;
}

static int armed_drop(struct subject *s)
{
	(void)s;
	return 0;
}

const struct subject_kind subject_armed = {
	.name = "WRITEPROTECT",
	.take = armed_take,
	.copy = armed_copy,
	.drop = armed_drop,
};
