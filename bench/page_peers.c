/* SPDX-License-Identifier: Apache-2.0 */
/* page_peers - see page_peers.h */
#include "page_peers.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "frames.h"
#include "lib/child.h"
#include "lib/clock.h"
#include "lib/parallel.h"
#include "lib/stats.h"
#include "mmbroker.h"

enum { PAGE_BYTES = 4096, CHILD_MS = 60000 };

static size_t size_of(const struct peer_args *args)
{
	return (size_t)PAGE_BYTES << args->order;
}

static int locked_thread(struct parallel *p, void *arg, double *figure)
{
	const struct peer_args *args = arg;
	_Alignas(64) _Atomic uint64_t counter = 0;
	uint64_t before, last = 0, operations = args->pairs / PAGE_TURNS;
	double turns[PAGE_TURNS];

	parallel_begin(p);
	for (int turn = 0; turn < PAGE_TURNS; turn++) {
		before = clock_thread_cpu_ns();
		for (uint64_t i = 0; i < operations; i++) /* each waits for the one before */
			last = atomic_fetch_add(&counter, last | 1);
		turns[turn] = (double)(clock_thread_cpu_ns() - before) / (double)operations;
	}
	*figure = stats_median(turns, PAGE_TURNS);
	return 0;
}

/* The pointer passes through here, or the compiler would leave the pair out. */
static inline void *keep(void *pointer)
{
	__asm__ volatile("" : "+r"(pointer) : : "memory");
	return pointer;
}

static int malloc_thread(struct parallel *p, void *arg, double *figure)
{
	const struct peer_args *args = arg;
	size_t bytes = size_of(args);
	uint64_t before;

	parallel_begin(p);
	before = clock_thread_cpu_ns();
	for (uint64_t i = 0; i < args->pairs; i++)
		free(keep(malloc(bytes)));
	*figure = (double)(clock_thread_cpu_ns() - before) / (double)args->pairs;
	return 0;
}

static int mmap_thread(struct parallel *p, void *arg, double *figure)
{
	const struct peer_args *args = arg;
	size_t bytes = size_of(args);
	uint64_t before;
	int error = 0;

	parallel_begin(p);
	before = clock_thread_cpu_ns();
	for (uint64_t i = 0; i < args->pairs && error == 0; i++) {
		void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);

		error = map == MAP_FAILED || munmap(map, bytes);
	}
	*figure = (double)(clock_thread_cpu_ns() - before) / (double)args->pairs;
	return error ? bench_because(-errno, "mmap: %s", strerror(errno)) : 0;
}

int locked_side(struct bench *b, const void *arg, struct sample *out)
{
	struct peer_args args = *(const struct peer_args *)arg;

	return parallel_fair(locked_thread, &args, args.threads, &out->v[0]);
}

int malloc_side(struct bench *b, const void *arg, struct sample *out)
{
	struct peer_args args = *(const struct peer_args *)arg;

	return parallel_fair(malloc_thread, &args, args.threads, &out->v[0]);
}

int mmap_side(struct bench *b, const void *arg, struct sample *out)
{
	struct peer_args args = *(const struct peer_args *)arg;

	return parallel_fair(mmap_thread, &args, args.threads, &out->v[0]);
}

/* ---- page runs over the library ---- */

struct page_run_job {
	const char      *socket;
	struct peer_args args;
	struct mmb_pool *pool;
};

static int page_run_thread(struct parallel *p, void *arg, double *figure)
{
	const struct page_run_job *job = arg;
	uint64_t before;
	int error = 0;

	parallel_begin(p);
	before = clock_thread_cpu_ns();
	for (uint64_t i = 0; i < job->args.pairs && error == 0; i++) {
		void *run = mmb_alloc_pages(job->pool, job->args.order, MMB_GFP_KERNEL);

		if (run == NULL)
			error = bench_because(-errno, "mmb_alloc_pages: %s", mmb_error());
		else
			mmb_free_pages(job->pool, run, job->args.order);
	}
	*figure = (double)(clock_thread_cpu_ns() - before) / (double)job->args.pairs;
	return error;
}

static int page_run_child(void *arg, struct sample *out)
{
	struct page_run_job *job = arg;
	struct mmb *mmb;
	int error = mmb_open(job->socket, NULL, &mmb);

	if (error == 0)
		error = mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &job->pool);
	if (error != 0)
		return bench_because(error, "connecting: %s", mmb_error());
	error = parallel_fair(page_run_thread, job, job->args.threads, &out->v[0]);
	mmb_pool_close(job->pool);
	mmb_close(mmb);
	return error;
}

int page_run_side(struct bench *b, const void *arg, struct sample *out)
{
	struct page_run_job job = { .socket = b->socket, .args = *(const struct peer_args *)arg };

	return child_run(page_run_child, &job, CHILD_MS, out);
}
