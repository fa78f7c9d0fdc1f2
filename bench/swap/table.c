/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table - every pattern, working set, page size, number of threads and share of writes
 *
 * Purpose     A cell is accesses a second of ours beside the kernel's. Both players keep their
 *             memory within a working set and page size; cells of one pattern follow each other,
 *             so that what is resident fits the pattern.
 */
#include <stdio.h>

#include "swap/duel.h"

#define MIB 1048576ull

enum { HUGE = 2 << 20, SMALL = 4096, ROUNDS = 3 };

#define GOAL_THRASH 1.25 /* 4 threads, uniform, a working set 4 times the limit */
#define GOAL_HOT    1.15

struct cell {
	uint32_t     page;
	unsigned int times; /* the limit */
	enum pattern pattern;
	unsigned int threads, writes;
};

static double goal_of(const struct cell *cell)
{
	if (cell->pattern == PATTERN_HOT)
		return GOAL_HOT;
	if (cell->pattern == PATTERN_UNIFORM && cell->threads == 4 && cell->times == 4 &&
	    cell->page == SMALL)
		return GOAL_THRASH;
	return 0;
}

static struct duel_order order_of(struct duel *c, struct player *player,
				     const struct cell *cell)
{
	bool quick = c->b->quick;

	return (struct duel_order){
		.player = player,
		.order = { .kind = ORDER_RUN, .pattern = cell->pattern,
			   .threads = cell->threads, .writes = cell->writes,
			   .warm_ms = quick ? 80 : 1200, .ms = quick ? 60 : 250,
			   .seed = c->b->seed + cell->threads },
	};
}

static void run_cell(struct duel *c, const struct cell *cell)
{
	const struct duel_order ours = order_of(c, &c->ours, cell);
	const struct duel_order kernel = order_of(c, &c->kernel, cell);
	const struct side sides[] = { { "mmbroker", duel_side, &ours },
				      { "kernel swap", duel_side, &kernel } };
	const struct comparison rate = { .metric = "accesses", .unit = "1/s",
					 .kind = HIGHER_IS_BETTER, .ours = { 0, FIGURE_RATE },
					 .peer = { 1, FIGURE_RATE }, .goal = goal_of(cell) };
	char name[LEDGER_NAME];

	snprintf(name, sizeof(name), "%s, %ux limit, %s, %u thread%s, %s",
		 cell->page == HUGE ? "2M" : "4K", cell->times,
		 workload_pattern_name(cell->pattern), cell->threads,
		 cell->threads == 1 ? "" : "s", cell->writes > 4 ? "writes" : "reads");
	ledger_run(&c->ledger, c->b, &(struct bench_case){ name, sides, 2, &rate, 1, ROUNDS },
		   NULL);
}

static void run_patterns(struct duel *c, uint32_t page, unsigned int times)
{
	static const unsigned int threads[] = { 1, 2, 4 }, writes[] = { 1, 12 };
	unsigned int nr_threads = c->b->quick ? 1 : 3;

	for (unsigned int pattern = 0; pattern < NR_PATTERNS; pattern++) {
		for (unsigned int i = 0; i < nr_threads * 2; i++) {
			const struct cell cell = { page, times, (enum pattern)pattern,
						   threads[i / 2], writes[i % 2] };

			run_cell(c, &cell);
		}
	}
}

void duel_table(struct duel *c)
{
	static const uint32_t pages[] = { SMALL, HUGE };
	uint64_t limit = c->b->quick ? 16 * MIB : 128 * MIB;

	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int times = c->b->quick ? 4 : 2; times <= 4; times += 2) {
			duel_resize(c, (struct duel_size){ times * limit, limit, pages[i] },
				       0);
			run_patterns(c, pages[i], times);
		}
	}
}
