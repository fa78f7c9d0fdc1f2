/* SPDX-License-Identifier: Apache-2.0 */
/* worker - see worker.h */
#include "malloc/worker.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/place.h"
#include "malloc/allocators.h"
#include "malloc/memory.h"
#include "malloc/ours.h"
#include "malloc/shared.h"
#include "malloc/workloads.h"

static const struct shared_heap *const heaps[] = {
	&shared_heap_arena,
	&shared_heap_offset,
	&shared_heap_ours,
};

static int no_workload(const struct bench *b)
{
	return bench_because(BENCH_SKIP, "%s has no workload named %s", b->allocator, b->one);
}

static int run_shared(const struct bench *b, struct sample *out)
{
	struct shared_run r = { .socket = b->socket, .ops = b->ops, .seed = b->seed,
				.quick = b->quick };
	int error;

	for (size_t i = 0; i < sizeof(heaps) / sizeof(heaps[0]); i++) {
		if (strcmp(heaps[i]->name, b->allocator) == 0)
			r.heap = heaps[i];
	}
	if (r.heap == NULL)
		return no_workload(b);
	error = shared_run(b->one, &r, &out->v[0]);
	return error == -ENOENT ? no_workload(b) : error;
}

/* The library's threads were started before: they run where they like. */
static int run_measured(const struct bench *b, struct run *r)
{
	int error = b->memory ? memory_watch(r) : 0;

	if (error != 0)
		return error;
	place_self(0);
	error = r->workload->run(r);
	if (b->memory)
		r->figures[WORKER_PEAK] = (double)memory_peak();
	return error;
}

static int run_ours(const struct bench *b, struct run *r)
{
	int error;

	r->workload = find_workload_ours(b->one);
	if (r->workload == NULL)
		return no_workload(b);
	r->ops = b->ops ? b->ops : b->quick ? r->workload->ops_quick : r->workload->ops;
	error = ours_open(r, b->socket);
	if (error == 0) {
		error = run_measured(b, r);
		ours_close(r);
	}
	return error;
}

static int run_process(const struct bench *b, struct run *r)
{
	r->workload = find_workload_process(b->one);
	if (r->workload == NULL)
		return no_workload(b);
	r->ops = b->ops ? b->ops : b->quick ? r->workload->ops_quick : r->workload->ops;
	return run_measured(b, r);
}

static int run_one(struct bench *b, struct sample *out)
{
	const struct allocator *a = allocator_find(b->allocator);
	struct run r = { .seed = b->seed, .quick = b->quick, .figures = out->v };
	int error;

	if (a == NULL || strncmp(b->one, "shared-", strlen("shared-")) == 0)
		return run_shared(b, out);
	error = allocator_check(a);
	if (error != 0)
		return error;
	return a == &allocators[ALLOCATOR_OURS] ? run_ours(b, &r) : run_process(b, &r);
}

/* A user's own call, without the library that a contest would have preloaded. */
static void run_again_prepared(const struct bench *b)
{
	const struct allocator *a = allocator_find(b->allocator);
	char self[PATH_MAX];
	ssize_t nr;

	if (a == NULL || allocator_prepared(a) || allocator_possible(a) != 0)
		return;
	allocator_prepare(a);
	/* Under valgrind, to execute the link itself would start valgrind. */
	nr = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[nr > 0 ? nr : 0] = 0;
	execv(self, b->argv);
	perror("mmb-bench");
}

void worker_run(struct bench *b)
{
	struct sample sample = { 0 };
	int error;

	run_again_prepared(b);
	error = run_one(b, &sample);
	if (error != 0) {
		b->nr_failed += error != BENCH_SKIP;
		printf("%s %s\n", error == BENCH_SKIP ? "skipped" : "failed", bench_reason());
		return;
	}
	fputs("figures", stdout);
	for (unsigned int i = 0; i < BENCH_VALUES; i++)
		printf(" %.10g", sample.v[i]);
	putchar('\n');
}
