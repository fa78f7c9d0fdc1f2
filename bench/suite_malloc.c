/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_malloc - pooled malloc beside the allocators programs use today
 *
 * Purpose     Each workload (malloc/) by ours, glibc and the distribution's jemalloc, mimalloc
 *             and tcmalloc, each in a process of its own, in turns. Then two processes on one
 *             heap, kernel calls in steady state, memory, and start-up.
 * Output      One line a peer; the goal stands at the peer it is asked against. Where ours can't
 *             run, glibc's figures stand in our place, named so, and nothing has a goal.
 * Not here    How memory is counted (malloc/memory.h), instructions (instructions.sh).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "malloc/allocators.h"
#include "malloc/contest.h"
#include "malloc/start.h"
#include "malloc/worker.h"
#include "suites.h"

#define NR(array) (sizeof(array) / sizeof((array)[0]))
enum { NAME = 80, CHASE_ROUNDS = 2, MEMORY_ROUNDS = 3 };

#define MIB     1048576.0
#define MILLION 1e6
#define TINY    0.01 /* stands for 0 where a ratio is wanted */
#define REFILL_NS 500

enum reference { NOBODY, FASTEST, GLIBC, JEMALLOC, ARENA };

static const struct contest {
	const char    *workload, *metric;
	enum reference reference;
	double         goal;
	unsigned int   rounds_max;
} contests[] = {
	{ "pair-16", "pair", FASTEST, 1.0, 0 },
	{ "pair-64", "pair", FASTEST, 1.0, 0 },
	{ "pair-256", "pair", FASTEST, 1.0, 0 },
	{ "pair-1K", "pair", FASTEST, 1.0, 0 },
	{ "pair-32K", "pair", FASTEST, 1.0, 0 },
	{ "pair-1M", "pair", GLIBC, 1 / 1.5, 0 },
	{ "pair-16-2t", "pair", FASTEST, 1.0, 0 },
	{ "pair-64-2t", "pair", FASTEST, 1.0, 0 },
	{ "pair-1K-2t", "pair", FASTEST, 1.0, 0 },
	{ "pair-32K-2t", "pair", FASTEST, 1.0, 0 },
	{ "reverse-free-64x1000", "pair", NOBODY, 0, 0 },
	{ "random-free-64x1000", "pair", FASTEST, 1 / 1.05, 0 },
	{ "random-free-1Kx1000", "pair", FASTEST, 1 / 1.05, 0 },
	{ "random-free-64x100000", "pair", FASTEST, 1 / 1.05, 0 },
	{ "small-live-20000", "pair", FASTEST, 1 / 1.05, 0 },
	{ "mixed-live-20000", "pair", FASTEST, 1 / 1.05, 0 },
	{ "mixed-live-20000-2t", "pair", FASTEST, 1 / 1.05, 0 },
	{ "producer-consumer-64", "object", JEMALLOC, 1.0, 0 },
	{ "producer-consumer-mixed", "object", JEMALLOC, 1.0, 0 },
	{ "exchange-64", "object", JEMALLOC, 1.0, 0 },
	{ "exchange-mixed", "object", JEMALLOC, 1.0, 0 },
	{ "larson-1t", "pair", NOBODY, 0, 0 },
	{ "larson-2t", "pair", NOBODY, 0, 0 },
	{ "grow-vector-1M", "realloc", NOBODY, 0, 0 },
	{ "grow-string-4K", "realloc", NOBODY, 0, 0 },
	{ "caches-64", "pair", NOBODY, 0, 0 },
	{ "large-blocks", "block", FASTEST, 2.0, 0 },
	{ "chase-1G", "step", NOBODY, 0, CHASE_ROUNDS },
};

static const struct contest shared_contests[] = {
	{ "shared-pair-64", "pair", ARENA, 10.0, 0 },
	{ "shared-live-2000", "pair", ARENA, 10.0, 0 },
	{ "shared-pass-64", "object", NOBODY, 0, 0 },
};

/* Workloads whose peak is compared, medians of rounds with a seed each: those that hold some tens
 * of MiB, or hundreds. */
static const char *const memory_workloads[] = {
	"random-free-64x100000", "mixed-live-20000", "mixed-live-20000-2t", "grow-vector-1M",
	"large-blocks",
};

/* Who takes part; ours is the first, if there is one. */
struct field {
	const char  *names[BENCH_SIDES];
	unsigned int nr;
	bool         has_ours;
};

/* The figures of one case. */
struct table {
	const struct field *field;
	double              medians[BENCH_SIDES][BENCH_VALUES];
};

static bool measure(struct bench *b, const struct contest *c, const struct field *f, bool memory,
		    struct table *t)
{
	struct contest_args args[BENCH_SIDES];
	struct side sides[BENCH_SIDES];
	struct bench_case measured = { .name = c->workload, .sides = sides, .nr_sides = f->nr,
				       .rounds_max = c->rounds_max };

	for (unsigned int i = 0; i < f->nr; i++) {
		args[i] = (struct contest_args){ c->workload, f->names[i], memory };
		sides[i] = (struct side){ f->names[i], contest_side, &args[i] };
	}
	t->field = f;
	return bench_measure(b, &measured, t->medians) == 0;
}

/* One line a peer. how: all but the names; at: which of the figures; goal_at: the peer that has
 * the goal, 0 for none. */
static void emit_peers(struct bench *b, const char *name, const struct comparison *how,
		       const struct table *t, unsigned int goal_at)
{
	const struct field *f = t->field;
	unsigned int at = how->ours.value;
	struct comparison line = *how;
	char named[NAME];

	snprintf(named, sizeof(named), f->has_ours ? "%s" : "%s (%s)", name, f->names[0]);
	line.goal = 0;
	if (f->nr == 1)
		bench_emit(b, named, &line, t->medians[0][at], NAN);
	for (unsigned int i = 1; i < f->nr; i++) {
		line.peer_name = f->names[i];
		line.goal = i == goal_at && f->has_ours ? how->goal : 0;
		bench_emit(b, named, &line, t->medians[0][at], t->medians[i][at]);
	}
}

static unsigned int find_reference(enum reference reference, const struct table *t)
{
	static const char *const names[] = { [GLIBC] = "glibc", [JEMALLOC] = "jemalloc",
					     [ARENA] = "arena" };
	const struct field *f = t->field;
	unsigned int found = 0;

	for (unsigned int i = 1; i < f->nr && reference != NOBODY; i++) {
		if (reference == FASTEST ?
			    found == 0 || t->medians[i][0] < t->medians[found][0] :
			    strcmp(f->names[i], names[reference]) == 0)
			found = i;
	}
	return found;
}

static void time_case(struct bench *b, const struct contest *c, const struct field *f)
{
	const struct comparison how = { .metric = c->metric, .unit = "ns", .goal = c->goal };
	struct table t;

	if (measure(b, c, f, false, &t))
		emit_peers(b, c->workload, &how, &t, find_reference(c->reference, &t));
}

/* What no allocator can be faster than, beside the fastest one. */
static void calls_case(struct bench *b, const struct field *f)
{
	struct comparison line = { .metric = "pair", .unit = "ns" };
	struct contest_args args[BENCH_SIDES];
	struct side sides[BENCH_SIDES];
	struct bench_case measured = { .name = "pair-16, two calls that do nothing",
				       .sides = sides, .nr_sides = f->nr };
	struct table t = { .field = f };
	unsigned int fastest;

	for (unsigned int i = 0; i < f->nr; i++) {
		args[i] = (struct contest_args){ i == 0 ? "pair-calls" : "pair-16",
						 i == 0 ? "glibc" : f->names[i], false };
		sides[i] = (struct side){ i == 0 ? "calls" : f->names[i], contest_side, &args[i] };
	}
	if (f->nr < 2 || bench_measure(b, &measured, t.medians) != 0)
		return;
	fastest = find_reference(FASTEST, &t);
	line.peer_name = f->names[fastest];
	bench_emit(b, measured.name, &line, t.medians[0][0], t.medians[fastest][0]);
}

/* ---- what isn't a time beside a peer's time ---- */

static void bulk_case(struct bench *b, const struct field *f)
{
	const struct contest c = { "bulk-32", "32 pairs", NOBODY, 0, 0 };
	const struct comparison peers = { .metric = c.metric, .unit = "ns" };
	const struct comparison own = { .metric = c.metric, .unit = "ns",
					.peer_name = "32 single calls", .goal = 2.0 };
	struct table t;

	if (!measure(b, &c, f, false, &t))
		return;
	if (f->has_ours)
		bench_emit(b, c.workload, &own, t.medians[0][0], t.medians[0][1]);
	emit_peers(b, c.workload, &peers, &t, 0);
}

/* Counted are the steps without the thing, or a perfect result would have no ratio. */
static void steady_case(struct bench *b, const struct field *f)
{
	static const char *const metrics[] = { "of a million without system call",
					       "of a million without page fault",
					       "of a million without sleep" };
	const struct contest c = { "steady", "steps", NOBODY, 0, 1 };
	struct table t;

	if (!measure(b, &c, f, false, &t))
		return;
	for (unsigned int v = 0; v < NR(metrics); v++) {
		struct comparison how = { .metric = metrics[v], .unit = "1",
					  .kind = HIGHER_IS_BETTER, .ours = { 0, (uint8_t)v } };

		for (unsigned int i = 0; i < f->nr; i++)
			t.medians[i][v] = MILLION - t.medians[i][v];
		emit_peers(b, c.workload, &how, &t, 0);
		how.peer_name = "all of them";
		how.goal = v == 1 ? 0 : 1.0;
		if (f->has_ours)
			bench_emit(b, c.workload, &how, t.medians[0][v], MILLION);
	}
}

static void refill_case(struct bench *b, const struct field *f)
{
	const struct contest c = { "refill-64", "refill, p50", NOBODY, 0, 0 };
	struct comparison how = { .metric = c.metric, .unit = "ns" };
	struct table t;

	if (!measure(b, &c, f, false, &t))
		return;
	emit_peers(b, c.workload, &how, &t, 0);
	how.peer_name = "limit";
	how.goal = 1.0;
	if (f->has_ours)
		bench_emit(b, c.workload, &how, t.medians[0][0], REFILL_NS);
}

static void start_case(struct bench *b)
{
	const struct side side = { "programs", start_side, NULL };
	const struct comparison comparisons[] = {
		{ .metric = "start to end", .unit = "ms", .ours = { 0, START_OURS },
		  .peer = { 0, START_LIMIT }, .peer_name = "libc + 0.3 ms", .goal = 1.0 },
		{ .metric = "start to end", .unit = "ms", .ours = { 0, START_OURS },
		  .peer = { 0, START_LIBC }, .peer_name = "libc" },
		{ .metric = "start to end", .unit = "ms", .ours = { 0, START_OURS },
		  .peer = { 0, START_FLOOR }, .peer_name = "the bare mechanism" },
	};

	bench_run(b, &(struct bench_case){ .name = "start-up", .sides = &side, .nr_sides = 1,
					   .comparisons = comparisons,
					   .nr_comparisons = NR(comparisons) });
}

/* ---- memory ---- */

/* Peaks multiply into a geometric mean of each side. */
struct peaks {
	double       logs[BENCH_SIDES];
	unsigned int nr;
};

static void emit_peak(struct bench *b, const char *workload, struct table *t, struct peaks *peaks)
{
	const struct comparison how = { .metric = "peak memory", .unit = "MiB" };

	for (unsigned int i = 0; i < t->field->nr; i++) {
		t->medians[i][0] = t->medians[i][WORKER_PEAK] / MIB;
		peaks->logs[i] += log(t->medians[i][0]);
	}
	peaks->nr++;
	emit_peers(b, workload, &how, t, 0);
}

static unsigned int memory_rounds(const struct bench *b)
{
	return b->quick ? 1 : MEMORY_ROUNDS;
}

static void peak_case(struct bench *b, const char *workload, const struct field *f,
		      struct peaks *peaks)
{
	const struct contest c = { workload, "peak memory", NOBODY, 0, memory_rounds(b) };
	struct table t;

	if (measure(b, &c, f, true, &t))
		emit_peak(b, workload, &t, peaks);
}

static void held_case(struct bench *b, const char *workload, const struct field *f,
		      struct peaks *peaks)
{
	const struct contest c = { workload, "held", NOBODY, 0, memory_rounds(b) };
	struct comparison how = { .metric = b->quick ? "charged 0.2 s after free" :
						       "charged 2 s after free",
				  .unit = "%" };
	struct table t;

	if (!measure(b, &c, f, true, &t))
		return;
	for (unsigned int i = 0; i < f->nr; i++)
		t.medians[i][0] = fmax(t.medians[i][0], TINY);
	emit_peers(b, workload, &how, &t, 0);
	how.peer_name = "limit";
	how.goal = 1.0;
	if (f->has_ours)
		bench_emit(b, workload, &how, t.medians[0][0], 5);
	emit_peak(b, workload, &t, peaks);
}

static void memory_cases(struct bench *b, const struct field *f)
{
	const struct comparison how = { .metric = "peak memory", .unit = "MiB", .goal = 1 / 1.05 };
	struct peaks peaks = { 0 };
	struct table means = { .field = f };

	held_case(b, "held-64", f, &peaks);
	held_case(b, "held-mixed", f, &peaks);
	for (unsigned int i = 0; i < NR(memory_workloads); i++)
		peak_case(b, memory_workloads[i], f, &peaks);
	if (peaks.nr == 0)
		return;
	for (unsigned int i = 0; i < f->nr; i++)
		means.medians[i][0] = exp(peaks.logs[i] / peaks.nr);
	emit_peers(b, "geometric mean of peaks", &how, &means, find_reference(GLIBC, &means));
}

/* ---- who is here ---- */

static void probe(struct bench *b, struct field *f)
{
	for (unsigned int i = 0; i < ALLOCATORS; i++) {
		const struct contest_args args = { "probe", allocators[i].name, false };
		struct sample sample;
		int error = contest_side(b, &args, &sample);

		if (error == 0) {
			f->has_ours |= i == ALLOCATOR_OURS;
			f->names[f->nr++] = allocators[i].name;
		} else if (error == BENCH_SKIP) {
			bench_skip(b, allocators[i].name, bench_reason());
		} else {
			bench_fail(b, allocators[i].name, bench_reason());
		}
	}
}

void suite_malloc(struct bench *b)
{
	struct field field = { 0 }, shared = { 0 };

	if (b->one != NULL) {
		worker_run(b);
		return;
	}
	probe(b, &field);
	if (field.nr == 0)
		return;
	shared.has_ours = field.has_ours;
	if (field.has_ours)
		shared.names[shared.nr++] = allocators[ALLOCATOR_OURS].name;
	shared.names[shared.nr++] = "arena";
	shared.names[shared.nr++] = "offset";
	b->rotates = true;
	for (unsigned int i = 0; i < NR(contests); i++)
		time_case(b, &contests[i], &field);
	calls_case(b, &field);
	bulk_case(b, &field);
	for (unsigned int i = 0; i < NR(shared_contests); i++)
		time_case(b, &shared_contests[i], &shared);
	steady_case(b, &field);
	refill_case(b, &field);
	memory_cases(b, &field);
	if (field.has_ours)
		start_case(b);
	b->rotates = false;
}
