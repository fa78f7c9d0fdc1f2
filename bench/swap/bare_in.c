/* SPDX-License-Identifier: Apache-2.0 */
/* bare_in - see bare.h: refaults */
#include <errno.h>
#include <liburing.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/place.h"
#include "lib/touch.h"
#include "swap/bare.h"
#include "swap/player.h"

enum {
	PAGE = WORKLOAD_PAGE,
	EVENTS = 8,       /* read at once */
	READS = 32,       /* under way; more than there are touchers */
	SPIN_NS = 100000, /* about what a read takes */
	SLEEP_MS = 20,    /* before it looks at `stop` */
};

/* a: atomic */
struct in {
	struct bare *m;
	_Atomic bool stop;  /* (a) */
	_Atomic int  error; /* (a) */
};

struct reading {
	uint64_t offset;
	char    *memory;
};

/* One thread's own. */
struct lane {
	struct in      *in;
	pthread_t       thread;
	int             place, epoll_fd;
	struct io_uring ring;
	unsigned int    nr_busy;
	struct reading  reads[READS];
	struct reading *free[READS];
};

static void begin_read(struct lane *lane, uint64_t address)
{
	const struct bare *m = lane->in->m;
	struct reading *r = lane->free[READS - ++lane->nr_busy];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&lane->ring);

	r->offset = (address - (uintptr_t)m->window) / PAGE * PAGE;
	io_uring_prep_read(sqe, m->file, r->memory, PAGE, r->offset);
	io_uring_sqe_set_data(sqe, r);
}

static int begin_some(struct lane *lane)
{
	struct uffd_msg events[EVENTS];
	ssize_t bytes = read(lane->in->m->uffd, events, sizeof(events));
	int nr = bytes > 0 ? (int)(bytes / (ssize_t)sizeof(events[0])) : 0;

	for (int i = 0; i < nr; i++)
		begin_read(lane, events[i].arg.pagefault.address);
	if (nr > 0)
		io_uring_submit(&lane->ring);
	return nr;
}

static int map_page(const struct bare *m, const struct reading *r)
{
	struct uffdio_continue map = { .range = { (uintptr_t)m->window + r->offset, PAGE } };

	if (pwrite(m->memfd, r->memory, PAGE, (off_t)r->offset) != PAGE)
		return -EIO;
	return ioctl(m->uffd, UFFDIO_CONTINUE, &map) ? -errno : 0;
}

static int end_some(struct lane *lane)
{
	struct io_uring_cqe *cqe;
	int nr = 0;

	while (lane->nr_busy > 0 && io_uring_peek_cqe(&lane->ring, &cqe) == 0) {
		struct reading *r = io_uring_cqe_get_data(cqe);
		int error = cqe->res == PAGE ? map_page(lane->in->m, r) : -EIO;

		io_uring_cqe_seen(&lane->ring, cqe);
		lane->free[READS - lane->nr_busy--] = r;
		if (error != 0)
			atomic_store(&lane->in->error, error);
		nr++;
	}
	return nr;
}

static void *lane_main(void *arg)
{
	struct lane *lane = arg;
	struct epoll_event event;
	uint64_t busy = clock_ns();

	place_self(lane->place);
	while (!atomic_load_explicit(&lane->in->stop, memory_order_relaxed)) {
		if (begin_some(lane) + end_some(lane) > 0) {
			busy = clock_ns();
		} else if (clock_ns() - busy < SPIN_NS) {
			sched_yield();
		} else {
			epoll_wait(lane->epoll_fd, &event, 1, SLEEP_MS);
			busy = clock_ns();
		}
	}
	return NULL;
}

/* ---- set-up ---- */

static int watch(const struct lane *lane, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int lane_start(struct lane *lane, struct in *in, int place, char *memory)
{
	int error;

	lane->in = in;
	lane->place = place;
	lane->nr_busy = 0;
	for (int i = 0; i < READS; i++) {
		lane->reads[i].memory = memory + (size_t)i * PAGE;
		lane->free[i] = &lane->reads[i];
	}
	error = io_uring_queue_init(READS, &lane->ring, IORING_SETUP_COOP_TASKRUN);
	if (error != 0)
		return bench_because(BENCH_SKIP, "io_uring: %s", strerror(-error));
	lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (lane->epoll_fd < 0 || watch(lane, in->m->uffd) || watch(lane, lane->ring.ring_fd) ||
	    pthread_create(&lane->thread, NULL, lane_main, lane)) {
		close(lane->epoll_fd);
		io_uring_queue_exit(&lane->ring);
		return bench_because(-EAGAIN, "can't start a lane");
	}
	return 0;
}

static void lane_end(struct lane *lane)
{
	pthread_join(lane->thread, NULL);
	close(lane->epoll_fd);
	io_uring_queue_exit(&lane->ring);
}

/* Until the child has touched all, and closed its end. */
static int let_touch(struct bare *m)
{
	char byte;

	if (write(m->sock, "g", 1) != 1)
		return -EPIPE;
	while (read(m->sock, &byte, 1) < 0 && errno == EINTR)
		;
	return 0;
}

static unsigned int nr_lanes(const struct bare *m)
{
	unsigned int cpus = place_nr_cpus();

	cpus = cpus < TOUCH_THREADS_MAX ? cpus : TOUCH_THREADS_MAX;
	return m->args->threads < cpus ? m->args->threads : cpus;
}

static int in_work(struct bare *m, struct sample *out)
{
	static struct lane lanes[TOUCH_THREADS_MAX];
	unsigned int nr = nr_lanes(m), started = 0;
	size_t bytes = (size_t)nr * READS * PAGE;
	struct in in = { .m = m };
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int error = memory != MAP_FAILED ? 0 : bench_because(-errno, "mmap: %s", strerror(errno));

	(void)out;
	for (; started < nr && error == 0; started += error == 0)
		error = lane_start(&lanes[started], &in, (int)started,
				   memory + (size_t)started * READS * PAGE);
	if (error == 0)
		error = let_touch(m);
	atomic_store(&in.stop, true);
	for (unsigned int i = 0; i < started; i++)
		lane_end(&lanes[i]);
	if (memory != MAP_FAILED)
		munmap(memory, bytes);
	if (error == 0 && atomic_load(&in.error) != 0)
		error = bench_because(in.error, "bare refault: %s", strerror(-in.error));
	return error;
}

static int in_child(const struct bare *m, struct sample *out)
{
	const struct touch touch = { .base = m->window, .page = PAGE,
				     .pages = (uint32_t)(m->args->bytes / PAGE),
				     .touches = m->args->touches, .threads = m->args->threads,
				     .random = true, .reads = true, .seed = m->args->seed };
	struct sample got = { 0 };
	int error = touch_run(&touch, &got);

	out->v[FIGURE_RATE] = got.v[TOUCH_RATE];
	out->v[FIGURE_P50] = got.v[TOUCH_P50];
	out->v[FIGURE_P99] = got.v[TOUCH_P99];
	close(m->sock);
	return error;
}

int bare_in_side(struct bench *b, const void *arg, struct sample *out)
{
	static const struct bare_parts parts = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
		.features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM,
		.child = in_child,
		.work = in_work,
	};

	(void)b;
	return bare_run(arg, &parts, out);
}
