/* SPDX-License-Identifier: Apache-2.0 */
/* shared - see shared.h */
#include "malloc/shared.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/child.h"
#include "lib/clock.h"
#include "lib/place.h"
#include "lib/random.h"
#include "malloc/ring.h"
#include "malloc/run.h"

enum { PROCESSES = 2, SLOTS = 2000, SCRIPT = 1 << 14, SMALLEST = 16, LARGEST = 512, PASSED = 64,
       CHILD_MS = 60000, WHY = 300 };

/* Seen by both processes. */
struct stage {
	_Atomic unsigned int nr_ready;
	struct ring          ring;
};

struct member {
	const struct shared_run *run;
	struct stage            *stage;
	void                    *made, *heap;
	unsigned int             index;
	uint64_t                 ops;
	int (*work)(struct member *m, double *figure);
};

static void together(struct stage *stage)
{
	stage->nr_ready++;
	while (stage->nr_ready < PROCESSES)
		sched_yield();
}

static int pair_work(struct member *m, double *figure)
{
	const struct shared_heap *heap = m->run->heap;
	uint64_t before;

	together(m->stage);
	before = clock_ns();
	for (uint64_t i = 0; i < m->ops; i++) {
		uint64_t *at = heap->take(m->heap, PASSED);

		if (at == NULL)
			return run_no_memory(PASSED);
		run_stamp(at, PASSED);
		if (!run_stamped(at, PASSED))
			return run_overwritten(at, PASSED);
		heap->give(m->heap, at);
	}
	*figure = (double)(clock_ns() - before) / (double)m->ops;
	return 0;
}

struct shared_slot {
	void  *at;
	size_t bytes;
};

static int slot_replace(struct member *m, struct shared_slot *slot, size_t bytes)
{
	const struct shared_heap *heap = m->run->heap;

	if (slot->at != NULL) {
		if (!run_stamped(slot->at, slot->bytes))
			return run_overwritten(slot->at, slot->bytes);
		heap->give(m->heap, slot->at);
	}
	slot->at = bytes != 0 ? heap->take(m->heap, bytes) : NULL;
	slot->bytes = bytes;
	if (bytes == 0)
		return 0;
	if (slot->at == NULL)
		return run_no_memory(bytes);
	run_stamp(slot->at, bytes);
	return 0;
}

static int live_work(struct member *m, double *figure)
{
	static struct shared_slot slots[SLOTS];
	static uint32_t sizes[SCRIPT], places[SCRIPT];
	uint64_t state = m->run->seed + m->index, before;
	int error = 0;

	for (unsigned int i = 0; i < SCRIPT; i++) {
		sizes[i] = SMALLEST + (uint32_t)random_below(&state, LARGEST - SMALLEST);
		places[i] = (uint32_t)random_below(&state, SLOTS);
	}
	for (unsigned int i = 0; i < SLOTS && error == 0; i++)
		error = slot_replace(m, &slots[i], sizes[i]);
	together(m->stage);
	before = clock_ns();
	for (uint64_t i = 0; i < m->ops && error == 0; i++)
		error = slot_replace(m, &slots[places[i % SCRIPT]], sizes[i % SCRIPT]);
	*figure = (double)(clock_ns() - before) / (double)m->ops;
	for (unsigned int i = 0; i < SLOTS && error == 0; i++)
		error = slot_replace(m, &slots[i], 0);
	return error;
}

static int pass_out(struct member *m)
{
	void *batch[RING_BATCH];
	int error = 0;

	for (unsigned int i = 0; i < RING_BATCH; i++) {
		batch[i] = m->run->heap->take(m->heap, PASSED);
		if (batch[i] != NULL)
			run_stamp(batch[i], PASSED);
		else
			error = run_no_memory(PASSED);
	}
	ring_put(&m->stage->ring, batch);
	return error;
}

static int pass_in(struct member *m)
{
	void *batch[RING_BATCH];
	int error = 0;

	ring_take(&m->stage->ring, batch);
	for (unsigned int i = 0; i < RING_BATCH; i++) {
		if (batch[i] == NULL)
			continue;
		if (!run_stamped(batch[i], PASSED))
			error = run_overwritten(batch[i], PASSED);
		m->run->heap->give(m->heap, batch[i]);
	}
	return error;
}

/* After a failure both go on to the end, or the other would wait for ever. */
static int pass_work(struct member *m, double *figure)
{
	uint64_t before, batches = m->ops / RING_BATCH + 1;
	int error = 0;

	together(m->stage);
	before = clock_ns();
	for (uint64_t i = 0; i < batches; i++) {
		int now = m->index == 0 ? pass_out(m) : pass_in(m);

		error = error != 0 ? error : now;
	}
	*figure = (double)(clock_ns() - before) / (double)(batches * RING_BATCH);
	return error;
}

static int member_main(void *arg, struct sample *out)
{
	struct member *m = arg;
	int error;

	place_self((int)m->index);
	error = m->run->heap->attach(m->made, &m->heap);
	if (error != 0) {
		m->stage->nr_ready++; /* or the other waits for ever */
		return error;
	}
	return m->work(m, &out->v[0]);
}

static const struct shared_workload {
	const char *name;
	int (*work)(struct member *m, double *figure);
	uint64_t ops, ops_quick;
} workloads[] = {
	{ "shared-pair-64", pair_work, 3000000, 20000 },
	{ "shared-live-2000", live_work, 3000000, 20000 },
	{ "shared-pass-64", pass_work, 1000000, 20000 },
};

/* Which of them ended first: that one is asked how it went before the other. */
static unsigned int await_first(const struct child *children)
{
	struct pollfd ended[PROCESSES];

	for (unsigned int i = 0; i < PROCESSES; i++)
		ended[i] = (struct pollfd){ .fd = children[i].pidfd, .events = POLLIN };
	poll(ended, PROCESSES, CHILD_MS);
	for (unsigned int i = 0; i < PROCESSES; i++) {
		if (ended[i].revents != 0)
			return i;
	}
	return 0;
}

/* A member whose partner failed may wait for it for ever. */
static int finish_members(struct child *children, unsigned int nr, double *figure)
{
	unsigned int first = nr == PROCESSES ? await_first(children) : 0;
	int error = nr == PROCESSES ? 0 : -EAGAIN;
	char why[WHY] = "";

	*figure = 0;
	for (unsigned int i = 0; i < nr; i++) {
		struct child *child = &children[(first + i) % nr];
		struct sample sample;
		int ended;

		if (error != 0)
			kill(child->pid, SIGKILL);
		ended = child_finish(child, CHILD_MS, &sample);
		*figure += sample.v[0] / PROCESSES;
		if (error == 0 && ended != 0)
			snprintf(why, sizeof(why), "%s", bench_reason());
		error = error != 0 ? error : ended;
	}
	return error != 0 && why[0] != 0 ? bench_because(error, "%s", why) : error;
}

static int run_members(const struct shared_workload *w, const struct shared_run *r,
		       struct stage *stage, double *figure)
{
	struct member member = { .run = r, .stage = stage, .work = w->work };
	struct child children[PROCESSES];
	unsigned int started = 0;
	int error = 0;

	member.ops = r->ops ? r->ops : r->quick ? w->ops_quick : w->ops;
	member.made = r->heap->make(r->socket);
	if (member.made == NULL)
		return -ENOMEM;
	while (started < PROCESSES && error == 0) {
		member.index = started;
		error = child_start(&children[started], member_main, &member);
		started += error == 0;
	}
	return finish_members(children, started, figure);
}

int shared_run(const char *workload, const struct shared_run *r, double *figure)
{
	struct stage *stage = shared_map(sizeof(*stage));

	if (stage == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		if (strcmp(workloads[i].name, workload) == 0)
			return run_members(&workloads[i], r, stage, figure);
	}
	return -ENOENT;
}
