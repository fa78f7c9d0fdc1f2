/* SPDX-License-Identifier: Apache-2.0 */
/* bare_out - see bare.h: write-out */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/clock.h"
#include "swap/bare.h"
#include "swap/player.h"

#define BLOCK (1ull << 20)

enum { WRITERS = 4 };

/* a: atomic */
struct out {
	struct bare     *m;
	_Atomic uint64_t next;  /* (a) block that nobody has taken */
	_Atomic int      error; /* (a) */
};

static int write_block(const struct bare *m, uint64_t offset, char *buffer)
{
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)m->window + offset, BLOCK },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (ioctl(m->uffd, UFFDIO_WRITEPROTECT, &protect) != 0)
		return -errno;
	if (pread(m->memfd, buffer, BLOCK, (off_t)offset) != (ssize_t)BLOCK ||
	    pwrite(m->file, buffer, BLOCK, (off_t)offset) != (ssize_t)BLOCK)
		return errno ? -errno : -EIO;
	if (fallocate(m->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)BLOCK) != 0)
		return -errno;
	return 0;
}

static void *writer_main(void *arg)
{
	struct out *o = arg;
	char *buffer = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int error = buffer == MAP_FAILED ? -ENOMEM : 0;
	uint64_t block;

	while (error == 0 && (block = atomic_fetch_add(&o->next, 1)) < o->m->args->bytes / BLOCK)
		error = write_block(o->m, block * BLOCK, buffer);
	if (error != 0)
		atomic_store(&o->error, error);
	if (buffer != MAP_FAILED)
		munmap(buffer, BLOCK);
	return NULL;
}

static int write_all(struct bare *m)
{
	struct out o = { .m = m };
	pthread_t writers[WRITERS];
	unsigned int started = 0;
	int error = 0;

	for (; started < WRITERS && error == 0; started += error == 0)
		error = -pthread_create(&writers[started], NULL, writer_main, &o);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(writers[i], NULL);
	error = error ? error : atomic_load(&o.error);
	return error ? bench_because(error, "bare write-out: %s", strerror(-error)) : 0;
}

/* The child holds the window until this has ended. */
static int out_work(struct bare *m, struct sample *out)
{
	double pages = (double)(m->args->bytes / WORKLOAD_PAGE);
	uint64_t cpu = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID), began = clock_ns();
	int error = write_all(m);

	out->v[FIGURE_RATE] = pages * 1e9 / (double)(clock_ns() - began);
	out->v[FIGURE_CPU] = (double)(clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / pages;
	return write(m->sock, "e", 1) == 1 ? error : -EPIPE;
}

int bare_out_side(struct bench *b, const void *arg, struct sample *out)
{
	static const struct bare_parts parts = {
		.mode = UFFDIO_REGISTER_MODE_WP,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
		.filled = true,
		.work = out_work,
	};

	(void)b;
	return bare_run(arg, &parts, out);
}
