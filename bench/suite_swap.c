/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_swap - more memory than there is, beside the kernel's own swap on the same disk
 *
 * Purpose     The peer is the same program on anonymous memory, in a memory cgroup with the same
 *             limit, before a kernel swap file in the same folder as ours ($TMPDIR, or /var/tmp).
 *             First what single things cost: a page read back, a page written out, one taken back
 *             in time, pages that need no disk, what a neighbour notices; then the table of
 *             swap/table.c. The lost cells are printed first.
 * Needs       root (swapon, memory cgroups) and a disk; else it is skipped.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "floor_uffd.h"
#include "lib/child.h"
#include "lib/clock.h"
#include "lib/place.h"
#include "suites.h"
#include "swap/bare.h"
#include "swap/duel.h"
#include "swap/disk.h"

#define MIB 1048576ull
#define NR(array) (sizeof(array) / sizeof((array)[0]))

enum { SMALL = 4096, HUGE = 2 << 20, ROUNDS = 3, PAUSE_US = 300, LOG_PAGES = 8 };

#define GOAL_REFAULT      1.0
#define GOAL_REFAULT_HOT  (1 / 0.9)
#define GOAL_SEQUENTIAL   3.0
#define GOAL_OUT          1.3
#define GOAL_OUT_DISK     0.85
#define GOAL_OUT_CPU      (1 / 0.5)
#define GOAL_NEIGHBOUR    0.9
#define TAKE_BACK_MORE_NS 2500.0
#define RECOVER_MS        10000

/* One order for both players, as sides 0 and 1 of a case. */
struct pair {
	struct duel_order orders[2];
	struct side          sides[2];
};

static void make_pair(struct duel *c, struct pair *pair, const struct order *order)
{
	struct player *players[] = { &c->ours, &c->kernel };

	for (unsigned int i = 0; i < 2; i++) {
		pair->orders[i] = (struct duel_order){ .player = players[i], .order = *order };
		pair->sides[i] = (struct side){ i ? "kernel swap" : "mmbroker", duel_side,
						&pair->orders[i] };
	}
}

static void run_pair(struct duel *c, const char *name, const struct order *order,
		     const struct comparison *comparisons, unsigned int nr)
{
	struct pair pair;

	make_pair(c, &pair, order);
	ledger_run(&c->ledger, c->b,
		   &(struct bench_case){ name, pair.sides, 2, comparisons, nr, ROUNDS }, NULL);
}

/* ---- back from the disk ---- */

/* Beside the kernel's; what the disk alone gives to as many threads, and what is left of that where
 * another process answers: what ours could be at most, and how near it is. */
static void refault_threads(struct duel *c, const struct order *order, uint64_t bytes)
{
	const struct disk_args disk = { .folder = c->kernel_swap.folder, .bytes = bytes,
					.threads = order->threads, .touches = order->touches,
					.seed = order->seed };
	const struct bare_args bare = { .folder = disk.folder, .bytes = bytes,
					.threads = order->threads, .touches = order->touches,
					.seed = order->seed };
	const struct comparison comparisons[] = {
		{ .metric = "throughput", .unit = "1/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, FIGURE_RATE }, .peer = { 1, FIGURE_RATE } },
		{ .metric = "throughput", .unit = "1/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, FIGURE_RATE }, .peer = { 2, FIGURE_RATE } },
		{ .metric = "direct reads, throughput", .unit = "1/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 2, FIGURE_RATE }, .peer = { 1, FIGURE_RATE } },
		{ .metric = "fault, read, write, CONTINUE alone, throughput", .unit = "1/s",
		  .kind = HIGHER_IS_BETTER, .ours = { 3, FIGURE_RATE },
		  .peer = { 1, FIGURE_RATE } },
	};
	struct pair pair;
	struct side sides[4];
	char name[LEDGER_NAME];

	make_pair(c, &pair, order);
	sides[0] = pair.sides[0];
	sides[1] = pair.sides[1];
	sides[2] = (struct side){ "direct reads of 4 KiB", disk_read_side, &disk };
	sides[3] = (struct side){ "the bare calls", bare_in_side, &bare };
	snprintf(name, sizeof(name), "4K random refault, %u threads", order->threads);
	ledger_run(&c->ledger, c->b,
		   &(struct bench_case){ name, sides, 4, comparisons, NR(comparisons), ROUNDS },
		   NULL);
}

/* Beside the kernel's, and how much of that is the bare calls'. */
static void refault_one(struct duel *c, const struct order *order, uint64_t bytes)
{
	const struct bare_args bare = { .folder = c->kernel_swap.folder, .bytes = bytes,
					.threads = 1, .touches = order->touches,
					.seed = order->seed };
	const struct comparison comparisons[] = {
		{ .metric = "p50", .unit = "ns", .ours = { 0, FIGURE_P50 },
		  .peer = { 1, FIGURE_P50 }, .goal = GOAL_REFAULT_HOT },
		{ .metric = "p99", .unit = "ns", .ours = { 0, FIGURE_P99 },
		  .peer = { 1, FIGURE_P99 } },
		{ .metric = "fault, read, write, CONTINUE alone, p50", .unit = "ns",
		  .ours = { 2, FIGURE_P50 }, .peer = { 1, FIGURE_P50 } },
	};
	struct pair pair;
	struct side sides[3];

	make_pair(c, &pair, order);
	sides[0] = pair.sides[0];
	sides[1] = pair.sides[1];
	sides[2] = (struct side){ "the bare calls", bare_in_side, &bare };
	ledger_run(&c->ledger, c->b,
		   &(struct bench_case){ "4K random refault, one after the other", sides, 3,
					 comparisons, NR(comparisons), ROUNDS },
		   NULL);
}

static void refault(struct duel *c, uint64_t bytes)
{
	struct order order = { .kind = ORDER_REFAULT, .threads = 1,
			       .touches = c->b->quick ? 256 : 4096, .seed = c->b->seed };
	struct order paused = order;
	const struct comparison cold[] = {
		{ .metric = "p50", .unit = "ns", .ours = { 0, FIGURE_P50 },
		  .peer = { 1, FIGURE_P50 }, .goal = GOAL_REFAULT },
		{ .metric = "p99", .unit = "ns", .ours = { 0, FIGURE_P99 },
		  .peer = { 1, FIGURE_P99 } },
	};

	paused.pause_us = PAUSE_US;
	paused.touches /= 4;
	run_pair(c, "4K random refault, now and then", &paused, cold, NR(cold));
	refault_one(c, &order, bytes);
	for (order.threads = 2; order.threads <= 4; order.threads *= 2)
		refault_threads(c, &order, bytes);
}

static void sweep(struct duel *c, const char *name)
{
	const struct order order = { .kind = ORDER_SWEEP, .threads = 1 };
	const struct comparison rate = { .metric = "throughput", .unit = "pages/s",
					 .kind = HIGHER_IS_BETTER, .ours = { 0, FIGURE_RATE },
					 .peer = { 1, FIGURE_RATE }, .goal = GOAL_SEQUENTIAL };

	run_pair(c, name, &order, &rate, 1);
}

/* ---- to the disk ---- */

/* Small pages also beside the bare mechanism, which has no other way for them. */
static void write_out(struct duel *c, const char *name, uint64_t bytes)
{
	const struct order order = { .kind = ORDER_OUT };
	const struct bare_args bare = { .folder = c->kernel_swap.folder, .bytes = bytes };
	const struct disk_args disk = { .folder = c->kernel_swap.folder, .bytes = bytes };
	const struct disk_args busy = { .folder = disk.folder, .bytes = bytes, .busy = true };
	const struct comparison comparisons[] = {
		{ .metric = "throughput", .unit = "pages/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, FIGURE_RATE }, .peer = { 1, FIGURE_RATE }, .goal = GOAL_OUT },
		{ .metric = "throughput", .unit = "pages/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, FIGURE_RATE }, .peer = { 2, 0 }, .goal = GOAL_OUT_DISK },
		{ .metric = "throughput", .unit = "pages/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, FIGURE_RATE }, .peer = { 3, 0 } },
		{ .metric = "CPU a page", .unit = "ns", .ours = { 0, FIGURE_CPU },
		  .peer = { 1, FIGURE_CPU }, .goal = GOAL_OUT_CPU },
		{ .metric = "protect, read, write, punch alone, CPU a page", .unit = "ns",
		  .ours = { 4, FIGURE_CPU }, .peer = { 1, FIGURE_CPU } },
		{ .metric = "protect, read, write, punch alone", .unit = "pages/s",
		  .kind = HIGHER_IS_BETTER, .ours = { 4, FIGURE_RATE }, .peer = { 2, 0 } },
	};
	unsigned int small = c->ours.page == SMALL;
	struct pair pair;
	struct side sides[5];

	make_pair(c, &pair, &order);
	sides[0] = pair.sides[0];
	sides[1] = pair.sides[1];
	sides[2] = (struct side){ "1 MiB direct writes", disk_side, &disk };
	sides[3] = (struct side){ "1 MiB direct writes, busy CPUs", disk_side, &busy };
	sides[4] = (struct side){ "the bare calls", bare_out_side, &bare };
	ledger_run(&c->ledger, c->b,
		   &(struct bench_case){ name, sides, 4 + small, comparisons, 4 + 2 * small,
					 ROUNDS },
		   NULL);
}

/* ---- without the disk ---- */

/* Beside the least that a fault on a present page costs, plus the allowance. */
static void take_back(struct duel *c, uint64_t bytes)
{
	uint32_t touches = c->b->quick ? 512 : 8192;
	const struct duel_order ours = {
		.player = &c->ours,
		.order = { .kind = ORDER_TAKE_BACK, .threads = 1, .touches = touches,
			   .seed = c->b->seed },
	};
	const struct floor_args floor = {
		.answer = FLOOR_CONTINUE,
		.touch = { .page = SMALL, .pages = (uint32_t)(bytes / SMALL), .touches = touches,
			   .threads = 1, .random = true, .seed = c->b->seed },
	};
	const struct side sides[] = { { "mmbroker", duel_side, &ours },
				      { "uffd CONTINUE", floor_side, &floor } };
	const struct comparison how = { .metric = "p50", .unit = "ns",
					.peer_name = "uffd CONTINUE + 2.5 us", .goal = 1 };
	static const char name[] = "4K cold page, taken back";
	double medians[BENCH_SIDES][BENCH_VALUES];

	if (ledger_run(&c->ledger, c->b, &(struct bench_case){ name, sides, 2, NULL, 0, ROUNDS },
		       medians) == 0)
		ledger_add(&c->ledger, name, &how, medians[0][FIGURE_P50],
			   medians[1][TOUCH_P50] + TAKE_BACK_MORE_NS);
}

/* Pages that went without I/O, of all; a line of the daemon's log is no page. */
static void same_filled(struct duel *c, const char *name, uint64_t word, uint64_t bytes)
{
	const struct order order = { .kind = ORDER_SAME, .word = word };
	struct comparison how = { .metric = "without I/O", .unit = "pages",
				  .kind = HIGHER_IS_BETTER, .peer_name = "all", .goal = 1 };
	double medians[BENCH_SIDES][BENCH_VALUES], pages = (double)(bytes / SMALL), ours;
	struct pair pair;

	make_pair(c, &pair, &order);
	if (ledger_run(&c->ledger, c->b,
		       &(struct bench_case){ name, pair.sides, 2, NULL, 0, 1 }, medians) != 0)
		return;
	ours = medians[0][FIGURE_IO] < LOG_PAGES ? 0 : medians[0][FIGURE_IO];
	ledger_add(&c->ledger, name, &how, pages - ours, pages);
	how.peer_name = "kernel swap";
	how.goal = 0;
	ledger_add(&c->ledger, name, &how, pages - ours, pages - medians[1][FIGURE_IO]);
}

/* ---- time to recover, and neighbours ---- */

static void recover(struct duel *c)
{
	const struct order order = { .kind = ORDER_RECOVER, .pattern = PATTERN_HOT, .threads = 1,
				     .writes = 4, .warm_ms = c->b->quick ? 500 : 3000,
				     .ms = RECOVER_MS + 2000, .seed = c->b->seed };
	const struct comparison comparisons[] = {
		{ .metric = "recovered", .unit = "ms", .ours = { 0, FIGURE_MS },
		  .constant = RECOVER_MS, .peer_name = "limit", .goal = 1 },
		{ .metric = "recovered", .unit = "ms", .ours = { 0, FIGURE_MS },
		  .peer = { 1, FIGURE_MS } },
	};

	run_pair(c, "4K hot set jumps", &order, comparisons, NR(comparisons));
}

enum { NEIGHBOUR_ALONE, NEIGHBOUR_BESIDE, NEIGHBOUR_KEPT };
enum { PROTECTED = 32 * MIB, LOAD_END_MS = 60000 };

struct neighbour_args {
	struct player *neighbour, *loader; /* no loader: protects_pages() */
	struct order   order, load;
};

/* A process without a broker that changes one entry of its page table after the other: where the
 * host keeps tables of its own for the guest's, that alone costs the other CPU's program. */
static int protects_pages(void *arg, struct sample *out)
{
	const struct order *load = arg;
	uint64_t until = clock_ns() + (load->warm_ms + load->ms) * 1000000ull;
	char *memory = mmap(NULL, PROTECTED, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	(void)out;
	if (memory == MAP_FAILED)
		return bench_because(-errno, "mmap: %s", strerror(errno));
	place_self((int)load->place);
	for (uint64_t at = 0; clock_ns() < until; at = (at + SMALL) % PROTECTED) {
		if (mprotect(memory + at, SMALL, PROT_READ) != 0 ||
		    mprotect(memory + at, SMALL, PROT_READ | PROT_WRITE) != 0)
			return bench_because(-errno, "mprotect: %s", strerror(errno));
		memory[at]++;
	}
	return 0;
}

static int start_load(const struct neighbour_args *args, struct child *child)
{
	struct order load = args->load;

	return args->loader ? player_tell(args->loader, &load) :
			      child_start(child, protects_pages, &load);
}

/* The neighbour's rate alone, and then beside a pool that thrashes at its limit; or beside memory
 * that has no limit: what the CPUs share costs it as well. */
static int neighbour_side(struct bench *b, const void *arg, struct sample *out)
{
	const struct neighbour_args *args = arg;
	struct sample alone = { 0 }, beside = { 0 }, load;
	int error = player_do(args->neighbour, &args->order, &alone), late;
	struct child child;

	if (error == 0)
		error = start_load(args, &child);
	if (error != 0)
		return error;
	error = player_do(args->neighbour, &args->order, &beside);
	late = args->loader ? player_await(args->loader, &load) :
			      child_finish(&child, LOAD_END_MS, &load);
	out->v[NEIGHBOUR_ALONE] = alone.v[FIGURE_RATE];
	out->v[NEIGHBOUR_BESIDE] = beside.v[FIGURE_RATE];
	out->v[NEIGHBOUR_KEPT] = beside.v[FIGURE_RATE] / alone.v[FIGURE_RATE] * 100;
	return error != 0 ? error : late;
}

static void neighbours(struct duel *c)
{
	unsigned int ms = c->b->quick ? 100 : 600;
	const struct order order = { .kind = ORDER_RUN, .pattern = PATTERN_UNIFORM, .threads = 1,
				     .writes = 4, .warm_ms = ms, .ms = ms };
	const struct order load = { .kind = ORDER_RUN, .pattern = PATTERN_UNIFORM, .threads = 1,
				    .writes = 8, .place = 1, .warm_ms = ms, .ms = 2 * ms };
	const struct neighbour_args args[] = {
		{ &c->our_neighbour, &c->ours, order, load },
		{ &c->kernel_neighbour, &c->kernel, order, load },
		{ &c->our_neighbour, &c->kernel_neighbour, order, load },
		{ &c->our_neighbour, NULL, order, load },
	};
	const struct side sides[] = { { "mmbroker", neighbour_side, &args[0] },
				      { "kernel swap", neighbour_side, &args[1] },
				      { "no limit", neighbour_side, &args[2] },
				      { "mprotect", neighbour_side, &args[3] } };
	const struct comparison comparisons[] = {
		{ .metric = "accesses", .unit = "1/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, NEIGHBOUR_BESIDE }, .peer = { 0, NEIGHBOUR_ALONE },
		  .peer_name = "alone", .goal = GOAL_NEIGHBOUR },
		{ .metric = "of its rate alone", .unit = "%", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, NEIGHBOUR_KEPT }, .peer = { 1, NEIGHBOUR_KEPT } },
		{ .metric = "of its rate alone", .unit = "%", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, NEIGHBOUR_KEPT }, .peer = { 2, NEIGHBOUR_KEPT },
		  .peer_name = "no limit" },
		{ .metric = "of its rate alone", .unit = "%", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, NEIGHBOUR_KEPT }, .peer = { 3, NEIGHBOUR_KEPT },
		  .peer_name = "mprotect alone" },
	};

	ledger_run(&c->ledger, c->b,
		   &(struct bench_case){ "4K neighbour of a pool at its limit", sides, NR(sides),
					 comparisons, NR(comparisons), ROUNDS },
		   NULL);
}

/* ---- all of it ---- */

static void single_things(struct duel *c)
{
	uint64_t bytes = c->b->quick ? 32 * MIB : 256 * MIB, limit = bytes / 4;

	duel_resize(c, (struct duel_size){ bytes, 2 * bytes, SMALL }, 0);
	write_out(c, "4K write-out", bytes);
	refault(c, bytes);
	sweep(c, "4K sequential refault");
	take_back(c, bytes);
	same_filled(c, "4K zero pages", 0, bytes);
	same_filled(c, "4K same-filled pages", 0x5555aaaa5555aaaaull, bytes);
	duel_resize(c, (struct duel_size){ bytes, 2 * bytes, HUGE }, 0);
	write_out(c, "2M write-out", bytes);
	sweep(c, "2M sequential refault");
	duel_resize(c, (struct duel_size){ bytes, limit, SMALL }, limit);
	recover(c);
	neighbours(c);
}

void suite_swap(struct bench *b)
{
	static struct duel duel;
	int error = duel_start(&duel, b);

	if (error == BENCH_SKIP)
		bench_skip(b, "all", bench_reason());
	else if (error != 0)
		bench_fail(b, "all", bench_reason());
	if (error != 0)
		return;
	single_things(&duel);
	duel_table(&duel);
	ledger_print(&duel.ledger, b);
	duel_stop(&duel);
}
