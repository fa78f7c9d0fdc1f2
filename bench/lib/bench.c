/* SPDX-License-Identifier: Apache-2.0 */
/* bench - see bench.h */
#include "lib/bench.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/stats.h"

enum { REASON_BYTES = 400 };

static char *reason; /* shared with children; one side runs at a time */

struct results {
	double values[BENCH_SIDES][BENCH_VALUES][BENCH_ROUNDS];
};

int bench_init(void)
{
	reason = mmap(NULL, REASON_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return reason == MAP_FAILED ? -errno : 0;
}

int bench_because(int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, REASON_BYTES, format, args);
	va_end(args);
	return code;
}

const char *bench_reason(void)
{
	return reason[0] ? reason : "no reason given";
}

/* A JSON string: our texts are ASCII, a reason may hold what a daemon or the kernel said. */
static void put_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void put_key(const char *key, bool first)
{
	printf("%s\"%s\":", first ? "{" : ",", key);
}

static void put_number(const char *key, double value)
{
	put_key(key, false);
	if (isfinite(value))
		printf("%.6g", value);
	else
		fputs("null", stdout);
}

static void put_text(const char *key, const char *text, bool first)
{
	put_key(key, first);
	if (text != NULL)
		put_string(text);
	else
		fputs("null", stdout);
}

struct outcome {
	const char *name, *metric, *unit, *peer;
	double      value, peer_value, ratio, goal; /* NAN: none */
};

static void put_json(const struct bench *b, const struct outcome *o)
{
	put_text("suite", b->suite, true);
	put_text("case", o->name, false);
	put_text("metric", o->metric, false);
	put_text("unit", o->unit, false);
	put_number("value", o->value);
	put_text("peer", o->peer, false);
	put_number("peer_value", o->peer_value);
	put_number("ratio", o->ratio);
	put_number("goal", o->goal);
	put_key("met", false);
	if (isfinite(o->goal) && isfinite(o->ratio))
		fputs(o->ratio >= o->goal ? "true" : "false", stdout);
	else
		fputs("null", stdout);
	puts("}");
}

static void put_line(const struct bench *b, const struct outcome *o)
{
	printf("%-8s %-34s ", b->suite, o->name);
	if (!isfinite(o->value)) {
		puts(o->metric);
		return;
	}
	printf("%-16s %11.5g %-7s", o->metric, o->value, o->unit);
	if (isfinite(o->peer_value))
		printf(" | %-34s %11.5g", o->peer, o->peer_value);
	if (isfinite(o->ratio))
		printf(" | ratio %6.3g", o->ratio);
	if (isfinite(o->goal))
		printf(", goal %.3g: %s", o->goal, o->ratio >= o->goal ? "met" : "MISSED");
	putchar('\n');
}

static void put_outcome(struct bench *b, const struct outcome *o)
{
	if (isfinite(o->goal) && !(o->ratio >= o->goal))
		b->nr_missed++;
	if (b->json)
		put_json(b, o);
	else
		put_line(b, o);
	fflush(stdout);
}

void bench_emit(struct bench *b, const char *name, const struct comparison *how, double value,
		double peer_value)
{
	struct outcome o = { .name = name,
			     .metric = how->metric,
			     .unit = how->unit,
			     .peer = how->peer_name,
			     .value = value,
			     .peer_value = peer_value,
			     .goal = how->goal > 0 ? how->goal : NAN };

	o.ratio = how->kind == LOWER_IS_BETTER ? peer_value / value : value / peer_value;
	put_outcome(b, &o);
}

static void put_excuse(struct bench *b, const char *name, const char *what, const char *why)
{
	char text[REASON_BYTES + 16];
	struct outcome o = { .name = name, .metric = text, .value = NAN, .peer_value = NAN,
			     .ratio = NAN, .goal = NAN };

	snprintf(text, sizeof(text), "%s: %s", what, why);
	put_outcome(b, &o);
}

void bench_skip(struct bench *b, const char *name, const char *why)
{
	put_excuse(b, name, "skipped", why);
}

void bench_fail(struct bench *b, const char *name, const char *why)
{
	b->nr_failed++;
	put_excuse(b, name, "failed", why);
}

/* For who waits at a terminal: suites that print what is lost first print nothing before their
 * end, which may be minutes. */
static void show_progress(const struct bench *b, const char *name, int round, unsigned int rounds)
{
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r%s: %s, ", b->suite, name);
	if (round < 0)
		fputs("warming up\033[K", stderr);
	else
		fprintf(stderr, "round %d of %u\033[K", round + 1, rounds);
}

static void hide_progress(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Runs every side once; keeps the figures unless this is the warm-up. */
static int run_round(struct bench *b, const struct bench_case *c, struct results *r, int round)
{
	unsigned int first = b->rotates && round > 0 ? (unsigned int)round : 0;

	b->round = round > 0 ? (unsigned int)round : 0;
	for (unsigned int i = 0; i < c->nr_sides; i++) {
		unsigned int s = (first + i) % c->nr_sides;
		struct sample sample = { 0 };
		int error;

		reason[0] = 0;
		error = c->sides[s].run(b, c->sides[s].arg, &sample);
		if (error != 0) {
			char why[REASON_BYTES];

			snprintf(why, sizeof(why), "%s", bench_reason());
			return bench_because(error, "%s: %.300s", c->sides[s].name, why);
		}
		for (unsigned int v = 0; round >= 0 && v < BENCH_VALUES; v++)
			r->values[s][v][round] = sample.v[v];
	}
	return 0;
}

static void compare(struct bench *b, const struct bench_case *c,
		    double medians[BENCH_SIDES][BENCH_VALUES])
{
	for (unsigned int i = 0; i < c->nr_comparisons; i++) {
		struct comparison how = c->comparisons[i];
		double value = medians[how.ours.side][how.ours.value], peer = how.constant;

		if (how.constant == 0)
			peer = medians[how.peer.side][how.peer.value];
		if (how.peer_name == NULL)
			how.peer_name = c->sides[how.peer.side].name;
		bench_emit(b, how.name ? how.name : c->name, &how, value, peer);
	}
}

/* first: -1 for a round that warms up, else 0. */
static int measure(struct bench *b, const struct bench_case *c, int first,
		   double medians[BENCH_SIDES][BENCH_VALUES])
{
	static struct results results;
	unsigned int rounds = b->rounds;
	int error = 0;

	if (b->only != NULL && strstr(c->name, b->only) == NULL) {
		b->nr_passed_over++;
		return BENCH_SKIP;
	}
	b->nr_fitting++;
	if (c->rounds_max != 0 && rounds > c->rounds_max)
		rounds = c->rounds_max;
	for (int round = first; error == 0 && round < (int)rounds; round++) {
		show_progress(b, c->name, round, rounds);
		error = run_round(b, c, &results, round);
	}
	hide_progress();
	if (error == BENCH_SKIP)
		bench_skip(b, c->name, bench_reason());
	else if (error != 0)
		bench_fail(b, c->name, bench_reason());
	for (unsigned int s = 0; s < c->nr_sides && error == 0; s++) {
		for (unsigned int v = 0; v < BENCH_VALUES; v++)
			medians[s][v] = stats_median(results.values[s][v], rounds);
	}
	return error;
}

int bench_measure(struct bench *b, const struct bench_case *c,
		  double medians[BENCH_SIDES][BENCH_VALUES])
{
	return measure(b, c, 0, medians);
}

void bench_run(struct bench *b, const struct bench_case *c)
{
	double medians[BENCH_SIDES][BENCH_VALUES];

	if (measure(b, c, -1, medians) == 0)
		compare(b, c, medians);
}
