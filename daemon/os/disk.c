/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk - a queue over io_uring, or over a few threads
 *
 * Purpose     See disk.h. A ring is made by the thread that uses it first, so that the kernel runs
 *             its completions there (DEFER_TASKRUN) and interrupts nobody. The threads are
 *             everybody's, and begin with the first queue that needs them.
 * Heartbeat   who waits for the disk is idle: one that answers nothing for a while is no thread
 *             that hangs, and another daemon would wait for it as well.
 */
#include "os/disk.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/lock.h"

enum { THREADS = 8, PASSING_TRIES = 20 };

/* o: owning thread only   l: lock */
struct disk_queue {
	enum disk_engine engine;               /* (o) */
	bool             has_ring;             /* (o) */
	uint32_t         depth;                /* (o) */
	uint32_t         nr_added, nr_started; /* (o) */
	struct list_head added;                /* (o) */
	struct io_uring  ring;                 /* (o) */
	struct mutex     lock;
	pthread_cond_t   some; /* (l) */
	struct list_head done; /* (l) what the threads have finished */
};

static struct workqueue threads;
static pthread_once_t   threads_once = PTHREAD_ONCE_INIT;
static _Atomic bool     has_threads;

static const struct timespec submit_pause = { .tv_nsec = 1000 * 1000 };

/* The flags are wishes: each of older kernels' refusals leaves some out. A ring that is polled must
 * not defer its completions, since its descriptor then says nothing of them. */
static int make_ring(uint32_t depth, bool polled, struct io_uring *ring)
{
	static const unsigned int wishes[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int r = INJECT(URING);

	if (r)
		return r;
	for (unsigned int i = polled; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		r = io_uring_queue_init(depth, ring, wishes[i]);
		if (r != -EINVAL)
			break;
	}
	return r;
}

int disk_uring_probe(void)
{
	struct io_uring ring;
	int             r = make_ring(1, false, &ring);

	if (!r)
		io_uring_queue_exit(&ring);
	return r;
}

int disk_queue_new(enum disk_engine engine, uint32_t depth, struct disk_queue **out)
{
	struct disk_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return -ENOMEM;
	queue->engine = engine;
	queue->depth = depth;
	list_init(&queue->added);
	list_init(&queue->done);
	mutex_init(&queue->lock, RANK_LEAF, "disk queue");
	pthread_cond_init(&queue->some, NULL);
	*out = queue;
	return 0;
}

int disk_queue_new_polled(uint32_t depth, struct disk_queue **out, int *fd)
{
	int r = disk_queue_new(DISK_URING, depth, out);

	if (r)
		return r;
	r = make_ring(depth, true, &(*out)->ring);
	(*out)->has_ring = !r;
	if (r)
		disk_queue_free(*out);
	else
		*fd = (*out)->ring.ring_fd;
	return r;
}

void disk_queue_free(struct disk_queue *queue)
{
	CHECK(!queue->nr_added && !queue->nr_started);
	if (queue->has_ring)
		io_uring_queue_exit(&queue->ring);
	pthread_cond_destroy(&queue->some);
	mutex_fini(&queue->lock);
	free(queue);
}

enum disk_engine disk_queue_engine(const struct disk_queue *queue)
{
	return queue->engine;
}

bool disk_is_passing(int error)
{
	return error == -EINTR || error == -EAGAIN || error == -EBUSY || error == -ENOMEM ||
	       error == -ECANCELED;
}

static int64_t run_once(const struct disk_io *io)
{
	int64_t done = io->write ? INJECT(DISK_WRITE) : INJECT(DISK_READ);

	if (done)
		return done;
	if (io->write)
		done = pwrite(io->fd, io->memory, io->bytes, (off_t)io->offset);
	else
		done = pread(io->fd, io->memory, io->bytes, (off_t)io->offset);
	return done < 0 ? -errno : done;
}

void disk_run(struct disk_io *io)
{
	heartbeat_idle();
	io->result = run_once(io);
	for (int i = 0; disk_is_passing((int)io->result) && i < PASSING_TRIES; i++) {
		nanosleep(&submit_pause, NULL);
		io->result = run_once(io);
	}
	heartbeat_touch();
}

void disk_add(struct disk_queue *queue, struct disk_io *io)
{
	CHECK(queue->nr_added + queue->nr_started < queue->depth);
	io->queue = queue;
	list_add_tail(&io->link, &queue->added);
	queue->nr_added++;
}

/* ---- io_uring ---- */

static void prepare(struct disk_queue *queue, struct disk_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);
	int                  error = io->write ? INJECT(DISK_WRITE) : INJECT(DISK_READ);

	CHECK(sqe); /* there are as many as the depth */
	if (error)
		io_uring_prep_nop(sqe);
	else if (io->write)
		io_uring_prep_write(sqe, io->fd, io->memory, io->bytes, io->offset);
	else
		io_uring_prep_read(sqe, io->fd, io->memory, io->bytes, io->offset);
	io->result = error;
	io_uring_sqe_set_data(sqe, io);
}

static void submit(struct disk_queue *queue, unsigned int wait)
{
	for (;;) {
		int r;

		heartbeat_idle();
		r = io_uring_submit_and_wait(&queue->ring, wait);
		heartbeat_touch();
		if (r >= 0 && !io_uring_sq_ready(&queue->ring))
			return;
		CHECK(r >= 0 || disk_is_passing(r));
		if (r < 0 && r != -EINTR)
			nanosleep(&submit_pause, NULL);
	}
}

static struct disk_io *take_done(struct disk_queue *queue, struct io_uring_cqe *cqe)
{
	struct disk_io *io = io_uring_cqe_get_data(cqe);

	if (io->result >= 0) /* negative: a fault point's */
		io->result = cqe->res;
	io_uring_cqe_seen(&queue->ring, cqe);
	return io;
}

static struct disk_io *reap(struct disk_queue *queue)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&queue->ring, &cqe))
		submit(queue, 1);
	return take_done(queue, cqe);
}

static bool ensure_ring(struct disk_queue *queue)
{
	if (queue->engine != DISK_URING || queue->has_ring)
		return queue->has_ring;
	queue->has_ring = !make_ring(queue->depth, false, &queue->ring);
	if (!queue->has_ring)
		queue->engine = DISK_THREADS;
	return queue->has_ring;
}

/* ---- threads ---- */

static void start_threads(void)
{
	has_threads = !workqueue_init(&threads, "mmb-disk", THREADS);
}

static void finish(struct disk_io *io)
{
	struct disk_queue *queue = io->queue;

	mutex_lock(&queue->lock);
	list_add_tail(&io->link, &queue->done);
	pthread_cond_signal(&queue->some);
	mutex_unlock(&queue->lock);
}

static void run_work(struct work *work)
{
	struct disk_io *io = container_of(work, struct disk_io, work);

	disk_run(io);
	finish(io);
}

/* A host that has no thread left gets its I/O done all the same. */
static void give_to_threads(struct disk_io *io)
{
	pthread_once(&threads_once, start_threads);
	work_init(&io->work, run_work);
	if (has_threads)
		workqueue_add(&threads, &io->work);
	else
		run_work(&io->work);
}

static struct disk_io *wait_for_threads(struct disk_queue *queue)
{
	struct disk_io *io;

	heartbeat_idle();
	mutex_lock(&queue->lock);
	while (list_empty(&queue->done))
		mutex_wait(&queue->lock, &queue->some);
	heartbeat_touch();
	io = list_first_entry(&queue->done, struct disk_io, link);
	list_del(&io->link);
	mutex_unlock(&queue->lock);
	return io;
}

/* ---- both ---- */

static struct disk_io *take_added(struct disk_queue *queue)
{
	struct disk_io *io = list_first_entry(&queue->added, struct disk_io, link);

	list_del(&io->link);
	queue->nr_added--;
	return io;
}

static void hand_over(struct disk_queue *queue)
{
	bool ring = ensure_ring(queue);

	while (queue->nr_added) {
		struct disk_io *io = take_added(queue);

		queue->nr_started++;
		if (ring)
			prepare(queue, io);
		else
			give_to_threads(io);
	}
}

void disk_start(struct disk_queue *queue)
{
	if (!queue->nr_added)
		return;
	hand_over(queue);
	if (queue->has_ring)
		submit(queue, 0);
}

struct disk_io *disk_wait(struct disk_queue *queue)
{
	struct disk_io *io;

	if (!queue->nr_started && queue->nr_added == 1) {
		io = take_added(queue);
		disk_run(io);
		return io;
	}
	hand_over(queue);
	if (!queue->nr_started)
		return NULL;
	io = queue->has_ring ? reap(queue) : wait_for_threads(queue);
	queue->nr_started--;
	return io;
}

struct disk_io *disk_poll(struct disk_queue *queue)
{
	struct io_uring_cqe *cqe;

	CHECK(queue->has_ring);
	if (!queue->nr_started || io_uring_peek_cqe(&queue->ring, &cqe))
		return NULL;
	queue->nr_started--;
	return take_done(queue, cqe);
}
