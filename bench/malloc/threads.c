/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads - objects that another thread frees
 *
 * Purpose     producer-consumer: one thread allocates, the other frees. exchange: each of two
 *             threads frees what the other allocated, in mixed sizes. larson: server churn, in
 *             which a thread hands its objects to its successor and ends (after Larson and
 *             Krishnan, "Memory Allocation for Long-Running Server Applications", 1998).
 * Invariants  T1  after a failure both sides go on to the end, or the other would wait for ever.
 */
#include <errno.h>
#include <pthread.h>

#include "lib/bench.h"
#include "lib/clock.h"
#include "lib/parallel.h"
#include "malloc/live_set.h"
#include "malloc/ring.h"
#include "malloc/workloads.h"

/* ---- hand-over between two threads ---- */

struct hand_over {
	struct run         *run;
	struct ring        *rings;    /* ring i is put into by thread i */
	uint32_t           *sizes;    /* RING_BATCH of them, 8 bytes at least */
	_Atomic unsigned int nr_begun; /* threads; gives them their numbers */
};

static int put_batch(struct hand_over *h, struct ring *ring)
{
	void *batch[RING_BATCH];
	int error = 0;

	for (unsigned int i = 0; i < RING_BATCH; i++) {
		batch[i] = take(h->run, h->sizes[i]);
		if (batch[i] != NULL)
			run_stamp(batch[i], h->sizes[i]);
		else
			error = run_no_memory(h->sizes[i]);
	}
	ring_put(ring, batch);
	return error;
}

static int take_batch(struct hand_over *h, struct ring *ring)
{
	void *batch[RING_BATCH];
	int error = 0;

	ring_take(ring, batch);
	for (unsigned int i = 0; i < RING_BATCH; i++) {
		if (batch[i] == NULL)
			continue; /* the other side tells */
		if (!run_stamped(batch[i], h->sizes[i]))
			error = run_overwritten(batch[i], h->sizes[i]);
		give(batch[i]);
	}
	return error;
}

static int producer_consumer_thread(struct parallel *p, void *arg, double *figure)
{
	struct hand_over *h = arg;
	bool producer = atomic_fetch_add(&h->nr_begun, 1) == 0;
	uint64_t before, batches = (h->run->ops + RING_BATCH - 1) / RING_BATCH;
	int error = 0;

	parallel_begin(p);
	before = clock_ns();
	for (uint64_t i = 0; i < batches; i++) {
		int now = producer ? put_batch(h, &h->rings[0]) : take_batch(h, &h->rings[0]);

		error = error != 0 ? error : now;
	}
	*figure = (double)(clock_ns() - before) / (double)(batches * RING_BATCH);
	return error;
}

static int exchange_thread(struct parallel *p, void *arg, double *figure)
{
	struct hand_over *h = arg;
	unsigned int self = atomic_fetch_add(&h->nr_begun, 1);
	uint64_t before, batches = (h->run->ops + RING_BATCH - 1) / RING_BATCH;
	int error = 0;

	parallel_begin(p);
	before = clock_ns();
	for (uint64_t i = 0; i < batches; i++) {
		int put = put_batch(h, &h->rings[self]);
		int taken = take_batch(h, &h->rings[1 - self]);

		error = error != 0 ? error : put != 0 ? put : taken;
	}
	*figure = (double)(clock_ns() - before) / (double)(batches * RING_BATCH);
	return error;
}

static void hand_over_init(struct hand_over *h, struct run *r)
{
	uint64_t state = r->seed;

	*h = (struct hand_over){ .run = r };
	h->rings = run_scratch(r, 2 * sizeof(*h->rings));
	h->sizes = run_scratch(r, RING_BATCH * sizeof(*h->sizes));
	for (unsigned int i = 0; i < RING_BATCH; i++)
		h->sizes[i] = r->workload->bytes ? (uint32_t)r->workload->bytes :
						   live_mixed_size(&state) % 2048 + LIVE_SMALLEST;
}

static int producer_consumer_run(struct run *r)
{
	struct hand_over h;

	hand_over_init(&h, r);
	return parallel_run(producer_consumer_thread, &h, 2, &r->figures[0]);
}

static int exchange_run(struct run *r)
{
	struct hand_over h;

	hand_over_init(&h, r);
	return parallel_run(exchange_thread, &h, 2, &r->figures[0]);
}

/* ---- larson ---- */

enum { GENERATION_OPS = 20000 };

struct generation {
	struct live_set set;
	uint64_t        ops;
	int             error;
};

static void *generation_main(void *arg)
{
	struct generation *g = arg;

	g->error = live_churn(&g->set, g->ops);
	return NULL;
}

/* Threads one after the other, on this thread's CPU. */
static int generations(struct generation *g, uint64_t ops)
{
	while (ops > 0 && g->error == 0) {
		pthread_t thread;

		g->ops = ops < GENERATION_OPS ? ops : GENERATION_OPS;
		ops -= g->ops;
		if (pthread_create(&thread, NULL, generation_main, g) != 0)
			return bench_because(-EAGAIN, "can't start a thread");
		pthread_join(thread, NULL);
	}
	return g->error;
}

static int larson_thread(struct parallel *p, void *arg, double *figure)
{
	struct run *r = arg;
	struct generation g = { 0 };
	uint64_t before;
	int error;

	live_init(&g.set, r, r->seed, r->workload->nr, r->workload->bytes);
	error = live_fill(&g.set);
	parallel_begin(p);
	before = clock_ns();
	if (error == 0)
		error = generations(&g, r->ops);
	*figure = (double)(clock_ns() - before) / (double)r->ops;
	return error != 0 ? error : live_drain(&g.set);
}

static int larson_run(struct run *r)
{
	return parallel_run(larson_thread, r, r->workload->threads, &r->figures[0]);
}

const struct workload VARIANT(workloads_threads)[] = {
	{ "producer-consumer-64", producer_consumer_run, 64, 1, 2, 4000000, 100000 },
	{ "producer-consumer-mixed", producer_consumer_run, 0, 1, 2, 2000000, 50000 },
	{ "exchange-64", exchange_run, 64, 1, 2, 4000000, 100000 },
	{ "exchange-mixed", exchange_run, 0, 1, 2, 2000000, 50000 },
	{ "larson-1t", larson_run, 500, 1000, 1, 2000000, 60000 },
	{ "larson-2t", larson_run, 500, 1000, 2, 2000000, 60000 },
	{ 0 },
};
