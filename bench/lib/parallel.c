/* SPDX-License-Identifier: Apache-2.0 */
/* parallel - see parallel.h */
#include "lib/parallel.h"

#include <pthread.h>

#include "lib/bench.h"
#include "lib/place.h"

struct parallel {
	parallel_fn        fn;
	void              *arg;
	pthread_barrier_t *start;
	pthread_t          thread;
	unsigned int       index;
	int                error;
	double             figure;
};

void parallel_begin(struct parallel *p)
{
	pthread_barrier_wait(p->start);
}

static void *parallel_main(void *arg)
{
	struct parallel *p = arg;

	place_self((int)p->index);
	p->error = p->fn(p, p->arg, &p->figure);
	return NULL;
}

/* Thread i on the CPU that is i-th from `first` on. */
static int run_from(unsigned int first, const struct parallel *what, unsigned int threads,
		    double *mean)
{
	struct parallel all[PARALLEL_MAX];
	pthread_barrier_t start;
	unsigned int started = 0;
	int error = 0;

	pthread_barrier_init(&start, NULL, threads);
	for (; started < threads && error == 0; started += error == 0) {
		struct parallel *p = &all[started];

		*p = *what;
		p->start = &start;
		p->index = first + started;
		error = -pthread_create(&p->thread, NULL, parallel_main, p);
	}
	if (error != 0) /* those that did start wait for the others: they end with the process */
		return bench_because(error, "can't start %u threads", threads);
	*mean = 0;
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(all[i].thread, NULL);
		*mean += all[i].figure / threads;
		error = error != 0 ? error : all[i].error;
	}
	pthread_barrier_destroy(&start);
	return error;
}

int parallel_run(parallel_fn fn, void *arg, unsigned int threads, double *mean)
{
	return run_from(0, &(struct parallel){ .fn = fn, .arg = arg }, threads, mean);
}

int parallel_fair(parallel_fn fn, void *arg, unsigned int threads, double *mean)
{
	const struct parallel what = { .fn = fn, .arg = arg };
	double figure = 0;
	int error = 0;

	if (threads > 1)
		return run_from(0, &what, threads, mean);
	*mean = 0;
	for (unsigned int cpu = 0; cpu < PARALLEL_FAIR_CPUS && error == 0; cpu++) {
		error = run_from(cpu, &what, 1, &figure);
		*mean += figure / PARALLEL_FAIR_CPUS;
	}
	return error;
}
