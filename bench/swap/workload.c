/* SPDX-License-Identifier: Apache-2.0 */
/* workload - see workload.h */
#include "swap/workload.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/place.h"
#include "lib/random.h"

enum {
	WORDS = WORKLOAD_PAGE / sizeof(uint64_t),
	MARK_WORD = 1,
	CHANGED_WORD = 8, /* the first that writes may change */
	BUCKET_MS = 50,
	STEADY_MS = 500,
	NR_BUCKETS_AGREE = 3, /* recovered: so many buckets in a row */
};

/* Draws ranks with Gray's method ("Quickly generating billion-record synthetic databases", 1994),
 * as YCSB does. */
struct zipf {
	uint64_t n;
	double   theta, alpha, zeta_n, eta;
};

/* c: fixed before the workers start   a: atomic */
struct crowd {
	const struct workload *w;   /* (c) */
	struct zipf            zipf; /* (c) */
	_Atomic uint64_t       hot; /* (a) first page of the hot eighth */
	_Atomic bool           stop; /* (a) */
	_Atomic uint64_t       wrong; /* (a) a page that was, plus one */
	pthread_barrier_t      start;
};

struct worker {
	struct crowd    *crowd;
	unsigned int     index;
	uint64_t         random, position;
	_Atomic uint64_t done; /* (a) accesses */
	pthread_t        thread;
};

static uint64_t mark_of(uint64_t page)
{
	return random_mix(page + 1) | 1;
}

const char *workload_pattern_name(enum pattern pattern)
{
	static const char *const names[NR_PATTERNS] = { "sequential", "uniform", "zipf 0.99",
							"hot set", "moving hot set" };

	return names[pattern];
}

/* ---- zipfian ranks ---- */

static double zeta(uint64_t n, double theta)
{
	double sum = 0;

	for (uint64_t i = 1; i <= n; i++)
		sum += pow((double)i, -theta);
	return sum;
}

static void zipf_init(struct zipf *z, uint64_t n, double theta)
{
	z->n = n;
	z->theta = theta;
	z->alpha = 1 / (1 - theta);
	z->zeta_n = zeta(n, theta);
	z->eta = (1 - pow(2.0 / (double)n, 1 - theta)) / (1 - zeta(2, theta) / z->zeta_n);
}

static uint64_t zipf_rank(const struct zipf *z, uint64_t *random)
{
	double u = (double)(random_next(random) >> 11) * 0x1p-53, uz = u * z->zeta_n;
	uint64_t rank;

	if (uz < 1)
		return 0;
	if (uz < 1 + pow(0.5, z->theta))
		return 1;
	rank = (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1, z->alpha));
	return rank < z->n ? rank : z->n - 1;
}

/* ---- one access ---- */

static uint64_t hot_page(struct worker *me, uint64_t pages)
{
	uint64_t hot = atomic_load_explicit(&me->crowd->hot, memory_order_relaxed);
	uint64_t page;

	if (random_below(&me->random, 8) != 0)
		page = random_below(&me->random, pages / 8);
	else
		page = pages / 8 + random_below(&me->random, pages - pages / 8);
	return (hot + page) & (pages - 1);
}

static uint64_t next_page(struct worker *me)
{
	const struct workload *w = me->crowd->w;

	switch (w->pattern) {
	case PATTERN_SEQUENTIAL:
		return me->position++ & (w->pages - 1);
	case PATTERN_ZIPF:
		return zipf_rank(&me->crowd->zipf, &me->random) * 0x9e3779b1u & (w->pages - 1);
	case PATTERN_MOVING:
		if (me->index == 0 && ++me->position % (w->pages / 16 / w->threads) == 0)
			atomic_fetch_add(&me->crowd->hot, w->pages / 64);
		return hot_page(me, w->pages);
	case PATTERN_HOT:
		return hot_page(me, w->pages);
	case PATTERN_UNIFORM:
	default:
		return random_below(&me->random, w->pages);
	}
}

/* False: the page isn't what it was. */
static bool visit(struct worker *me, uint64_t page)
{
	const struct workload *w = me->crowd->w;
	volatile uint64_t *words = (uint64_t *)(void *)(w->base + page * WORKLOAD_PAGE);
	uint64_t draw = random_next(&me->random);

	if ((draw & (WORKLOAD_OUT_OF - 1)) < w->writes)
		words[CHANGED_WORD + (draw >> 8) % (WORDS - CHANGED_WORD)] = draw;
	return words[MARK_WORD] == mark_of(page);
}

static void *worker_main(void *arg)
{
	struct worker *me = arg;
	struct crowd *crowd = me->crowd;
	uint64_t done = 0;

	place_self((int)(crowd->w->place + me->index));
	me->position = crowd->w->pattern == PATTERN_SEQUENTIAL ?
			       crowd->w->pages / crowd->w->threads * me->index : 0;
	pthread_barrier_wait(&crowd->start);
	while (!atomic_load_explicit(&crowd->stop, memory_order_relaxed)) {
		uint64_t page = next_page(me);

		if (!visit(me, page)) {
			atomic_store(&crowd->wrong, page + 1);
			break;
		}
		atomic_store_explicit(&me->done, ++done, memory_order_relaxed);
	}
	return NULL;
}

/* ---- the crowd ---- */

static uint64_t total(const struct worker *workers, unsigned int nr)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < nr; i++)
		sum += atomic_load_explicit(&workers[i].done, memory_order_relaxed);
	return sum;
}

typedef void (*watch_fn)(struct crowd *crowd, const struct worker *workers, double *figure);

static void watch_rate(struct crowd *crowd, const struct worker *workers, double *figure)
{
	const struct workload *w = crowd->w;
	uint64_t before, after, began;

	clock_sleep_ms(w->warm_ms);
	began = clock_ns();
	before = total(workers, w->threads);
	do {
		clock_sleep_ms(w->ms);
		after = total(workers, w->threads);
	} while (after == before && atomic_load(&crowd->wrong) == 0);
	*figure = (double)(after - before) * 1e9 / (double)(clock_ns() - began);
}

static void watch_recovery(struct crowd *crowd, const struct worker *workers, double *figure)
{
	const struct workload *w = crowd->w;
	uint64_t before, began, agree = 0, last;
	double steady;

	clock_sleep_ms(w->warm_ms);
	before = total(workers, w->threads);
	clock_sleep_ms(STEADY_MS);
	steady = (double)(total(workers, w->threads) - before) / STEADY_MS;
	atomic_store(&crowd->hot, w->pages / 2);
	began = clock_ns();
	last = total(workers, w->threads);
	*figure = w->ms;
	while (agree < NR_BUCKETS_AGREE && clock_ns() - began < w->ms * 1000000ull) {
		uint64_t since = clock_ns(), now;

		clock_sleep_ms(BUCKET_MS);
		now = total(workers, w->threads);
		since = clock_ns() - since;
		agree = (double)(now - last) * 1e6 >= 0.9 * steady * (double)since ? agree + 1 : 0;
		last = now;
		if (agree == 1)
			*figure = (double)(clock_ns() - began) / 1e6;
	}
	if (agree < NR_BUCKETS_AGREE)
		*figure = w->ms;
}

static int crowd_run(const struct workload *w, watch_fn watch, double *figure)
{
	struct worker workers[WORKLOAD_THREADS_MAX];
	struct crowd crowd = { .w = w };
	int error = 0;

	if (w->pattern == PATTERN_ZIPF)
		zipf_init(&crowd.zipf, w->pages, 0.99);
	pthread_barrier_init(&crowd.start, NULL, w->threads + 1);
	for (unsigned int i = 0; i < w->threads && error == 0; i++) {
		workers[i] = (struct worker){ .crowd = &crowd, .index = i,
					      .random = random_mix(w->seed + i) };
		error = -pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
	}
	if (error != 0) /* the others wait at the barrier: they end with the process */
		return bench_because(error, "can't start %u threads", w->threads);
	pthread_barrier_wait(&crowd.start);
	watch(&crowd, workers, figure);
	atomic_store(&crowd.stop, true);
	for (unsigned int i = 0; i < w->threads; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&crowd.start);
	if (crowd.wrong != 0)
		return bench_because(-EIO, "page %llu isn't what was written",
				     (unsigned long long)crowd.wrong - 1);
	return 0;
}

int workload_run(const struct workload *w, double *rate)
{
	return crowd_run(w, watch_rate, rate);
}

int workload_recover(const struct workload *w, double *recovered_ms)
{
	return crowd_run(w, watch_recovery, recovered_ms);
}

/* ---- contents ---- */

void workload_fill(char *base, uint64_t pages)
{
	for (uint64_t page = 0; page < pages; page++) {
		volatile uint64_t *words = (uint64_t *)(void *)(base + page * WORKLOAD_PAGE);
		uint64_t random = page;

		for (unsigned int i = 0; i < WORDS; i += 8)
			words[i] = random_next(&random);
		words[MARK_WORD] = mark_of(page);
	}
}

int workload_check(const char *base, uint64_t pages)
{
	for (uint64_t page = 0; page < pages; page++) {
		const volatile uint64_t *words =
			(const uint64_t *)(const void *)(base + page * WORKLOAD_PAGE);

		if (words[MARK_WORD] != mark_of(page))
			return bench_because(-EIO, "page %llu isn't what was written",
					     (unsigned long long)page);
	}
	return 0;
}
