/* SPDX-License-Identifier: Apache-2.0 */
/* disk - see disk.h */
#include "swap/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/place.h"
#include "lib/touch.h"
#include "swap/player.h"

enum { PAGE = 4096, SPINNERS_MAX = 64, LOWEST = 19 /* nice */ };
#define BLOCK (1 << 20)

/* c: fixed before the writers start   a: atomic */
struct disk {
	int              fd;     /* (c) */
	uint64_t         blocks; /* (c) */
	char            *data;   /* (c) */
	_Atomic uint64_t next;   /* (a) block that nobody writes yet */
	_Atomic int      error;  /* (a) */
};

static void *writer_main(void *arg)
{
	struct disk *d = arg;
	uint64_t block;

	while ((block = atomic_fetch_add(&d->next, 1)) < d->blocks) {
		if (pwrite(d->fd, d->data, BLOCK, (off_t)(block * BLOCK)) != BLOCK)
			atomic_store(&d->error, errno ? -errno : -EIO);
	}
	return NULL;
}

struct spinners {
	pthread_t    threads[SPINNERS_MAX];
	unsigned int nr;
	_Atomic bool stop; /* (a) */
};

static void *spinner_main(void *arg)
{
	struct spinners *s = arg;

	setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST);
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed))
		;
	return NULL;
}

static void spin(struct spinners *s, bool busy)
{
	unsigned int wanted = busy ? place_nr_cpus() : 0;

	while (s->nr < wanted && s->nr < SPINNERS_MAX &&
	       pthread_create(&s->threads[s->nr], NULL, spinner_main, s) == 0)
		s->nr++;
}

static void stop_spinning(struct spinners *s)
{
	atomic_store(&s->stop, true);
	while (s->nr > 0)
		pthread_join(s->threads[--s->nr], NULL);
}

static int write_all(struct disk *d, double *seconds)
{
	pthread_t writers[DISK_WRITERS];
	uint64_t began = clock_ns();
	int error = 0;
	unsigned int started = 0;

	atomic_store(&d->next, 0);
	for (; started < DISK_WRITERS && error == 0; started += error == 0)
		error = -pthread_create(&writers[started], NULL, writer_main, d);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(writers[i], NULL);
	*seconds = (double)(clock_ns() - began) / 1e9;
	error = error ? error : d->error;
	return error ? bench_because(error, "direct writes: %s", strerror(-error)) : 0;
}

static int disk_file(struct disk *d, const struct disk_args *args, const char *path)
{
	int error;

	d->fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	if (d->fd < 0)
		return bench_because(errno == EINVAL ? BENCH_SKIP : -errno, "%s, O_DIRECT: %s",
				     path, strerror(errno));
	unlink(path);
	error = -posix_fallocate(d->fd, 0, (off_t)args->bytes);
	if (error != 0)
		return bench_because(error, "%s: %s", path, strerror(-error));
	d->data = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (d->data == MAP_FAILED)
		return bench_because(-errno, "mmap: %s", strerror(errno));
	memset(d->data, 0x5a, BLOCK);
	return 0;
}

/* Written once. */
static int begin(struct disk *d, const struct disk_args *args)
{
	char path[256];
	double seconds;
	int error;

	*d = (struct disk){ .fd = -1, .data = MAP_FAILED, .blocks = args->bytes / BLOCK };
	snprintf(path, sizeof(path), "%.200s/disk", args->folder);
	error = disk_file(d, args, path);
	return error != 0 ? error : write_all(d, &seconds);
}

static void end(struct disk *d)
{
	if (d->data != MAP_FAILED)
		munmap(d->data, BLOCK);
	if (d->fd >= 0)
		close(d->fd);
}

int disk_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct disk_args *args = arg;
	struct spinners spinners = { .nr = 0 };
	struct disk d;
	double seconds = 0;
	int error = begin(&d, args);

	spin(&spinners, args->busy);
	if (error == 0)
		error = write_all(&d, &seconds);
	stop_spinning(&spinners);
	if (error == 0)
		out->v[0] = (double)args->bytes / PAGE / seconds;
	end(&d);
	return error;
}

int disk_read_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct disk_args *args = arg;
	struct disk d;
	int error = begin(&d, args);

	if (error == 0) {
		const struct touch touch = {
			.page = PAGE, .pages = (uint32_t)(args->bytes / PAGE),
			.touches = args->touches, .threads = args->threads, .random = true,
			.reads = true, .seed = args->seed, .file = d.fd,
		};
		struct sample got = { 0 };

		error = touch_run(&touch, &got);
		out->v[FIGURE_RATE] = got.v[TOUCH_RATE];
		out->v[FIGURE_P50] = got.v[TOUCH_P50];
		out->v[FIGURE_P99] = got.v[TOUCH_P99];
	}
	end(&d);
	return error;
}
