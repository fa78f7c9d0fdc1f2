/* SPDX-License-Identifier: Apache-2.0 */
/* floor_uffd - see floor_uffd.h */
#include "floor_uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/clock.h"
#include "lib/fds.h"
#include "lib/place.h"

enum {
	SPIN_NS = 50000,
	EVENTS = 16,     /* read at once */
	BUFFER_PAGE = 4096,
	ZEROS = 256 << 10,
	SLEEP_MS = 20,   /* how long a handler sleeps before it looks at `stop` */
	CHILD_MS = 60000,
};

/* c: fixed before the handlers start   a: atomic */
struct floor {
	const struct floor_args *args; /* (c) */
	int                      memfd, sock, uffd; /* (c) sock: the child's end in the child */
	int                      copies; /* (c) BREAK: where what is there is written to */
	size_t                   bytes; /* (c) */
	char                    *window; /* (c) the child's, the same address there */
	char                    *direct; /* (c) the handlers' mapping */
	void                    *zero; /* (c) what COPY copies */
	_Atomic bool             stop; /* (a) */
	_Atomic int              error; /* (a) of a handler */
};

struct handler {
	struct floor *floor;
	pthread_t     thread;
	int           place;
	char          buffer[FLOOR_BREAK_MAX * BUFFER_PAGE]; /* BREAK */
};

static bool is_protected(const struct floor *f)
{
	return f->args->answer == FLOOR_PROTECTED || f->args->answer == FLOOR_BREAK;
}

static int open_uffd(const struct floor *f)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_MISSING_SHMEM |
					      UFFD_FEATURE_MISSING_HUGETLBFS |
					      UFFD_FEATURE_MINOR_SHMEM |
					      UFFD_FEATURE_MINOR_HUGETLBFS };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		return bench_because(BENCH_SKIP, "userfaultfd: %s", strerror(errno));
	if (is_protected(f))
		api.features |= UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	if (ioctl(uffd, UFFDIO_API, &api) != 0) {
		int error = -errno;

		close(uffd);
		return bench_because(error, "UFFDIO_API: %s", strerror(-error));
	}
	return uffd;
}

/* ---- the child: one window, registered, touched ---- */

/* Every page mapped, and protected, before anybody touches one. */
static int protect_window(const struct floor *f, int uffd)
{
	struct uffdio_continue map = { .range = { (uintptr_t)f->window, f->bytes } };
	struct uffdio_writeprotect protect = { .range = map.range,
					       .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	if (ioctl(uffd, UFFDIO_CONTINUE, &map) != 0)
		return bench_because(-errno, "UFFDIO_CONTINUE: %s", strerror(errno));
	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &protect) != 0)
		return bench_because(-errno, "UFFDIO_WRITEPROTECT: %s", strerror(errno));
	return 0;
}

static int register_window(struct floor *f, int uffd)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)f->window, f->bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	};

	if (is_protected(f))
		range.mode |= UFFDIO_REGISTER_MODE_WP;
	if (mmap(f->window, f->bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, f->memfd, 0) == MAP_FAILED)
		return bench_because(-errno, "window: %s", strerror(errno));
	if (ioctl(uffd, UFFDIO_REGISTER, &range) != 0)
		return bench_because(-errno, "UFFDIO_REGISTER: %s", strerror(errno));
	return is_protected(f) ? protect_window(f, uffd) : 0;
}

static int child_touches(void *arg, struct sample *out)
{
	struct floor *f = arg;
	struct touch touch = f->args->touch;
	int uffd = open_uffd(f), error;
	char go;

	if (uffd < 0 || uffd == BENCH_SKIP)
		return uffd;
	error = register_window(f, uffd);
	if (error == 0)
		error = fds_send(f->sock, uffd);
	if (error != 0)
		return error;
	if (read(f->sock, &go, 1) != 1)
		return bench_because(-EPIPE, "the handlers did not start");
	touch.base = f->window;
	return touch_run(&touch, out);
}

/* ---- this process: the handlers ---- */

/* Of the pages that one answer is for. */
static size_t length_of(const struct floor *f, uint64_t offset)
{
	size_t most = f->args->touch.page * (f->args->around ? f->args->around : 1);

	return f->bytes - offset < most ? f->bytes - offset : most;
}

static int break_pages(struct handler *me, uint64_t offset,
		       const struct uffdio_writeprotect *lift)
{
	struct floor *f = me->floor;
	size_t length = lift->range.len;

	if (pread(f->memfd, me->buffer, length, (off_t)offset) != (ssize_t)length ||
	    pwrite(f->copies, me->buffer, length, (off_t)offset) != (ssize_t)length)
		return -errno;
	return ioctl(f->uffd, UFFDIO_WRITEPROTECT, lift) ? -errno : 0;
}

static int answer(struct handler *me, uint64_t address)
{
	struct floor *f = me->floor;
	size_t page = f->args->touch.page;
	uint64_t offset = (address - (uintptr_t)f->window) / page * page;
	struct uffdio_continue map = {
		.range = { (uintptr_t)f->window + offset, length_of(f, offset) },
	};
	struct uffdio_writeprotect lift = { .range = map.range };
	struct uffdio_copy copy = { .dst = map.range.start, .src = (uintptr_t)f->zero,
				    .len = page };

	switch (f->args->answer) {
	case FLOOR_COPY:
		return ioctl(f->uffd, UFFDIO_COPY, &copy) ? -errno : 0;
	case FLOOR_PROTECTED:
		return ioctl(f->uffd, UFFDIO_WRITEPROTECT, &lift) ? -errno : 0;
	case FLOOR_BREAK:
		return break_pages(me, offset, &lift);
	case FLOOR_FALLOCATE:
		if (fallocate(f->memfd, 0, (off_t)offset, (off_t)page) != 0)
			return -errno;
		break;
	case FLOOR_TOUCH:
		*(volatile char *)(f->direct + offset) = 0;
		break;
	case FLOOR_CONTINUE:
		break;
	}
	return ioctl(f->uffd, UFFDIO_CONTINUE, &map) ? -errno : 0;
}

/* Answers what there is; how many events that were. */
static int serve(struct handler *me)
{
	struct floor *f = me->floor;
	struct uffd_msg events[EVENTS];
	ssize_t bytes = read(f->uffd, events, sizeof(events));
	int nr = bytes > 0 ? (int)(bytes / (ssize_t)sizeof(events[0])) : 0;

	for (int i = 0; i < nr; i++) {
		int error = answer(me, events[i].arg.pagefault.address);

		if (error != 0)
			atomic_store(&f->error, error);
	}
	return nr;
}

static void *handler_main(void *arg)
{
	struct handler *me = arg;
	struct floor *f = me->floor;
	struct pollfd p = { .fd = f->uffd, .events = POLLIN };
	uint64_t busy = clock_ns();

	place_self(me->place);
	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		if (serve(me) > 0) {
			busy = clock_ns();
		} else if (clock_ns() - busy < SPIN_NS) {
			sched_yield();
		} else {
			poll(&p, 1, SLEEP_MS);
			busy = clock_ns();
		}
	}
	return NULL;
}

static int handlers_run(struct floor *f, struct child *child, struct sample *out)
{
	static struct handler handlers[TOUCH_THREADS_MAX];
	unsigned int nr = f->args->touch.threads, started = 0;
	int error = 0;

	while (started < nr && error == 0) {
		handlers[started].floor = f;
		handlers[started].place = (int)started;
		error = -pthread_create(&handlers[started].thread, NULL, handler_main,
					&handlers[started]);
		started += error == 0;
	}
	if (error == 0 && write(f->sock, "g", 1) != 1)
		error = -EPIPE;
	if (error != 0)
		bench_because(error, "can't start the handlers");
	else
		error = child_finish(child, CHILD_MS, out);
	atomic_store(&f->stop, true);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(handlers[i].thread, NULL);
	if (error == 0 && atomic_load(&f->error) != 0)
		error = bench_because(f->error, "answering a fault: %s", strerror(-f->error));
	return error;
}

/* ---- set-up ---- */

/* Small pages that are there and were never written are cleared by the CONTINUE that maps them. */
static int populate(const struct floor *f)
{
	static const char zeros[ZEROS];
	ssize_t put = 1;

	if (f->args->huge)
		return fallocate(f->memfd, 0, 0, (off_t)f->bytes);
	for (size_t at = 0; at < f->bytes && put > 0; at += (size_t)put) {
		size_t left = f->bytes - at;

		put = pwrite(f->memfd, zeros, left < ZEROS ? left : ZEROS, (off_t)at);
	}
	return put > 0 ? 0 : -1;
}

static int floor_memory(struct floor *f)
{
	const struct touch *t = &f->args->touch;
	int prot = PROT_READ | PROT_WRITE;

	f->bytes = t->page * t->pages;
	f->memfd = memfd_create("floor", MFD_CLOEXEC | (f->args->huge ? MFD_HUGETLB : 0));
	if (f->memfd < 0 || ftruncate(f->memfd, (off_t)f->bytes) != 0)
		return bench_because(BENCH_SKIP, "memfd: %s", strerror(errno));
	f->direct = mmap(NULL, f->bytes, prot, MAP_SHARED | MAP_NORESERVE, f->memfd, 0);
	f->window = mmap(NULL, f->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			 -1, 0);
	f->zero = mmap(NULL, t->page, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->direct == MAP_FAILED || f->window == MAP_FAILED || f->zero == MAP_FAILED)
		return bench_because(-errno, "mmap: %s", strerror(errno));
	memset(f->zero, 0, t->page);
	if (f->args->answer == FLOOR_BREAK) {
		f->copies = memfd_create("copies", MFD_CLOEXEC);
		if (f->copies < 0 || ftruncate(f->copies, (off_t)f->bytes) != 0)
			return bench_because(BENCH_SKIP, "memfd: %s", strerror(errno));
	}
	if ((f->args->answer == FLOOR_CONTINUE || is_protected(f)) && populate(f) != 0)
		return bench_because(f->args->huge ? BENCH_SKIP : -errno, "populating %zu MiB: %s",
				     f->bytes >> 20, strerror(errno));
	return 0;
}

static void floor_free(struct floor *f)
{
	if (f->zero != MAP_FAILED)
		munmap(f->zero, f->args->touch.page);
	if (f->window != MAP_FAILED)
		munmap(f->window, f->bytes);
	if (f->direct != MAP_FAILED)
		munmap(f->direct, f->bytes);
	if (f->memfd >= 0)
		close(f->memfd);
	if (f->copies >= 0)
		close(f->copies);
	if (f->uffd >= 0)
		close(f->uffd);
}

static int floor_run(struct floor *f, struct sample *out)
{
	int pair[2], error;
	struct child child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return bench_because(-errno, "socketpair: %s", strerror(errno));
	f->sock = pair[1];
	error = child_start(&child, child_touches, f);
	close(pair[1]);
	f->sock = pair[0];
	if (error == 0) {
		f->uffd = fds_receive(f->sock);
		if (f->uffd >= 0)
			error = handlers_run(f, &child, out);
		else
			error = child_finish(&child, CHILD_MS, out);
	}
	close(pair[0]);
	return error;
}

int floor_side(struct bench *b, const void *arg, struct sample *out)
{
	struct floor f = { .args = arg, .memfd = -1, .uffd = -1, .copies = -1, .window = MAP_FAILED,
			   .direct = MAP_FAILED, .zero = MAP_FAILED };
	int error = floor_memory(&f);

	if (error == 0)
		error = floor_run(&f, out);
	floor_free(&f);
	return error;
}
