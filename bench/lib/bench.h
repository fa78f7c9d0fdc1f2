/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench - the harness: ours and its peers in turns, medians, one line a comparison
 *
 * Purpose     A case is a set of sides (ours and peers). Each round runs every side once, one
 *             after the other, so that drift of the machine hits all alike; the first round
 *             warms up and is thrown away. Then each comparison of the case is printed: median
 *             of ours, median of the peer, their ratio oriented so that above 1 is better for
 *             us, the goal where one is asked for, and whether it was met.
 * Output      Text, or with --json one object a line with exactly the keys suite, case, metric,
 *             unit, value, peer, peer_value, ratio, goal, met. A case that can't run here has
 *             the metric "skipped: REASON" (or "failed: REASON") and null figures.
 * Not here    What is measured (suite_*.c), the private daemon (lib/broker.h).
 */
#ifndef MMB_BENCH_LIB_BENCH_H
#define MMB_BENCH_LIB_BENCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
	BENCH_VALUES = 8,  /* figures one run of a side gives */
	BENCH_SIDES = 10,  /* sides of one case */
	BENCH_ROUNDS = 64, /* most rounds */
	BENCH_SKIP = 1,    /* from a side: can't run here, and bench_because() said why */
};

struct sample {
	double v[BENCH_VALUES];
};

struct broker;

/* Fixed once the command line is read, but for the counters and rotates. */
struct bench {
	const char    *suite;
	const char    *socket; /* of the broker under test; NULL until one is started */
	struct broker *broker; /* our private daemon, or NULL */
	bool           json, quick;
	unsigned int   rounds;
	bool           rotates; /* each side is first in its turn: who comes after a pause finds the
				 * CPU in another state. A suite says so */
	unsigned int   clients, seconds; /* stress */
	uint64_t       seed;
	unsigned int   round; /* that is being measured; 0 while it warms up */
	const char    *only; /* cases whose name contains it; NULL: all */
	unsigned int   nr_passed_over, nr_fitting; /* by it */
	const char    *one, *allocator; /* malloc: run this workload here, by this one */
	uint64_t       ops;             /* malloc --one; 0: the workload's own number */
	bool           memory;          /* malloc --one: its peak, and not its time */
	char         **argv;            /* as the program was called */
	unsigned int   nr_failed; /* cases that broke; the exit status */
	unsigned int   nr_missed; /* goals not met */
};

/* One contestant. run() measures once: 0, BENCH_SKIP, or a negative errno after
 * bench_because(). */
struct side {
	const char *name;
	int (*run)(struct bench *b, const void *arg, struct sample *out);
	const void *arg;
};

/* A figure of a case: which side, which of its values. */
struct figure {
	uint8_t side, value;
};

enum comparison_kind { LOWER_IS_BETTER, HIGHER_IS_BETTER };

struct comparison {
	const char          *name; /* of its case in the output; NULL: the case's own */
	const char          *metric, *unit;
	enum comparison_kind kind;
	struct figure        ours, peer;
	const char          *peer_name; /* NULL: the peer side's name */
	double               constant;  /* not 0: the peer is this number and not a figure */
	double               goal;      /* the ratio asked for; 0: none */
};

struct bench_case {
	const char              *name;
	const struct side       *sides;
	unsigned int             nr_sides;
	const struct comparison *comparisons;
	unsigned int             nr_comparisons;
	unsigned int             rounds_max; /* 0: as many as asked for; else at most so many */
};

void bench_run(struct bench *b, const struct bench_case *c);
/* Medians of all figures, without the comparisons, and without the round that warms up: for sides
 * that are programs of their own. Not 0: the case didn't run, which is reported unless nobody
 * asked for it. */
int bench_measure(struct bench *b, const struct bench_case *c,
		  double medians[BENCH_SIDES][BENCH_VALUES]);
/* Reports a whole case as impossible here. */
void bench_skip(struct bench *b, const char *name, const char *reason);
void bench_fail(struct bench *b, const char *name, const char *reason);
/* One comparison that needs no rounds: counts and sizes. peer_value NAN: there is no peer. */
void bench_emit(struct bench *b, const char *name, const struct comparison *how, double value,
		double peer_value);

/* Call once, before anything forks: the reason lives in memory shared with children. */
int bench_init(void);
/* Keeps the sentence for a side's failure and returns code. */
int bench_because(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *bench_reason(void);

#endif
