/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_clone - a copy of gigabytes at one instant, beside fork()
 *
 * Purpose     The peer is a process with as much anonymous memory, in 4 KiB pages or transparent
 *             huge pages, that forks: what the call takes, what the end of the child takes, what
 *             writes cost afterwards. Beside them the floors: a bare write-protect fault, a bare
 *             fault on a present page, memcpy. Lost comparisons are printed first.
 * Not here    What is measured in a process (clone/trial.c), how memory is copied (clone/fork.c,
 *             clone/ours.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clone/trial.h"
#include "floor_uffd.h"
#include "kernel_memory.h"
#include "lib/broker.h"
#include "lib/child.h"
#include "lib/clock.h"
#include "lib/ledger.h"
#include "lib/random.h"
#include "lib/stats.h"
#include "suites.h"

#define MIB 1048576ull
#define GIB (1024 * MIB)
#define NR(array) (sizeof(array) / sizeof((array)[0]))

#define SMALL SUBJECT_SMALL
#define HUGE  SUBJECT_HUGE

/* The copy of 256 MiB and what goes with it: other tests want some hugepages, too. */
#define QUICK_HUGE (320 * MIB)

enum { ROUNDS = 3, ROUNDS_LARGE = 2, CHILD_MS = 60000, COPIES = 64, TAIL_MS = 1000 };

#define GOAL_HUGE_THP   (1 / 0.15)
#define GOAL_HUGE_SMALL (1 / 0.004)
#define GOAL_SMALL      (1 / 0.6)
#define GOAL_DROP       (1 / 0.05)
#define GOAL_WRITE      (1 / 1.4)
#define GOAL_OVERWRITE  (1 / 0.6)
#define GOAL_BREAK_HUGE (1 / 1.5)
#define GOAL_READ       (1 / 1.2)
#define GOAL_DIVERGE    (1 / 3.0)
#define GOAL_TAIL       (1 / 0.2)
#define LIMIT_SCAN_NS   250.0
#define LIMIT_MAPPINGS  17.0 /* of a 2 MiB block */
#define LIMIT_PAUSE_NS  100000.0

/* c: fixed at the start */
struct suite {
	struct bench *b;
	struct ledger ledger;
	struct broker broker;   /* pid 0: somebody else's */
	uint64_t      reserve, reserve_huge; /* (c) of ours */
	uint64_t      bytes, huge_bytes; /* (c) of the cases that aren't about size */
	uint32_t      touches;  /* (c) */
	const char   *folder;   /* (c) */
};

static struct trial_args args_of(const struct suite *s, const struct subject_kind *kind,
				 enum trial trial, uint32_t page)
{
	uint64_t bytes = page == HUGE ? s->huge_bytes : s->bytes;

	return (struct trial_args){
		.trial = trial,
		.kind = kind,
		.bytes = bytes,
		.page = page,
		.touches = page == HUGE ? (uint32_t)(bytes / HUGE / 2) : s->touches,
		.ms = s->b->quick ? TAIL_MS / 5 : TAIL_MS,
		.seed = s->b->seed,
		.folder = s->folder,
	};
}

static void run(struct suite *s, const char *name, const struct side *sides, unsigned int nr_sides,
		const struct comparison *comparisons, unsigned int nr)
{
	ledger_run(&s->ledger, s->b,
		   &(struct bench_case){ name, sides, nr_sides, comparisons, nr, ROUNDS }, NULL);
}

/* ---- memcpy of 2 MiB, the least that a copied huge page can cost ---- */

static int memcpy_child(void *arg, struct sample *out)
{
	size_t bytes = 2ull * COPIES * HUGE;
	uint64_t ns[COPIES];
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return bench_because(-12, "no memory for memcpy");
	memset(at, 1, bytes);
	for (unsigned int i = 0; i < COPIES; i++) {
		uint64_t before = clock_ns();

		memcpy(at + (2ull * i + 1) * HUGE, at + 2ull * i * HUGE, HUGE);
		ns[i] = clock_ns() - before;
	}
	stats_sort(ns, COPIES);
	out->v[TOUCH_P50] = (double)stats_permille(ns, COPIES, 500);
	return 0;
}

static int memcpy_side(struct bench *b, const void *arg, struct sample *out)
{
	return child_run(memcpy_child, NULL, CHILD_MS, out);
}

/* ---- the call, and the end of a copy ---- */

enum { OURS, FORK_SMALL, FORK_HUGE, BARE, NR_COPIERS };

static void copy(struct suite *s, const char *name, uint32_t page, uint64_t bytes)
{
	struct trial_args args[NR_COPIERS] = {
		[OURS] = args_of(s, &subject_clone, TRIAL_COPY, page),
		[FORK_SMALL] = args_of(s, &subject_fork, TRIAL_COPY, SMALL),
		[FORK_HUGE] = args_of(s, &subject_fork, TRIAL_COPY, HUGE),
		[BARE] = args_of(s, &subject_armed, TRIAL_COPY, page),
	};
	const struct side sides[NR_COPIERS] = {
		[OURS] = { "mmbroker", trial_side, &args[OURS] },
		[FORK_SMALL] = { "fork, 4K", trial_side, &args[FORK_SMALL] },
		[FORK_HUGE] = { "fork, THP", trial_side, &args[FORK_HUGE] },
		[BARE] = { "uffd WRITEPROTECT", trial_side, &args[BARE] },
	};
	bool huge = page == HUGE;
	const struct comparison comparisons[] = {
		{ .metric = "copy", .unit = "ns", .ours = { OURS, FIGURE_COPY },
		  .peer = { FORK_SMALL, FIGURE_COPY },
		  .goal = huge ? GOAL_HUGE_SMALL : GOAL_SMALL },
		{ .metric = "copy", .unit = "ns", .ours = { OURS, FIGURE_COPY },
		  .peer = { FORK_HUGE, FIGURE_COPY }, .goal = huge ? GOAL_HUGE_THP : 0 },
		{ .metric = "drop", .unit = "ns", .ours = { OURS, FIGURE_DROP },
		  .peer = { FORK_SMALL, FIGURE_DROP }, .goal = GOAL_DROP },
		{ .metric = "drop", .unit = "ns", .ours = { OURS, FIGURE_DROP },
		  .peer = { FORK_HUGE, FIGURE_DROP } },
		{ .metric = "WRITEPROTECT alone", .unit = "ns", .ours = { BARE, FIGURE_COPY },
		  .peer = { huge ? FORK_HUGE : FORK_SMALL, FIGURE_COPY } },
	};

	for (unsigned int i = 0; i < NR_COPIERS; i++)
		args[i].bytes = bytes;
	args[OURS].overcommit = 2 * bytes + bytes / 8 > (huge ? s->reserve_huge : s->reserve);
	ledger_run(&s->ledger, s->b,
		   &(struct bench_case){ name, sides, NR_COPIERS, comparisons, NR(comparisons),
					 ROUNDS_LARGE },
		   NULL);
}

/* A clone's commit is charged in full, so twice the size has to fit into the stock, or once in a
 * pool that overcommits: an untouched copy takes nothing. Without huge pages set aside there is
 * nothing to gain from pages of 2 MiB, and nothing to measure. */
static bool fits(const struct suite *s, const char *name, bool huge, uint64_t bytes)
{
	uint64_t stock = huge ? s->reserve_huge : s->reserve, needed = bytes + bytes / 8;
	char reason[160];

	if (stock >= needed)
		return true;
	snprintf(reason, sizeof(reason), "%llu MiB of %s are needed, and %llu are there",
		 (unsigned long long)(needed / MIB),
		 huge ? "free hugepages (vm.nr_hugepages)" : "available memory",
		 (unsigned long long)(stock / MIB));
	bench_skip(s->b, name, reason);
	return false;
}

static void sizes(struct suite *s)
{
	static const uint64_t all[] = { 64 * MIB, GIB, 4 * GIB, 8 * GIB };
	unsigned int first = s->b->quick ? 0 : 1, end = s->b->quick ? 1 : NR(all);

	for (unsigned int i = first; i < end; i++) {
		for (unsigned int huge = 0; huge < 2; huge++) {
			char name[LEDGER_NAME];

			snprintf(name, sizeof(name), "%s, %llu MiB, untouched copy",
				 huge ? "2M" : "4K", (unsigned long long)(all[i] / MIB));
			if (fits(s, name, huge, all[i]))
				copy(s, name, huge ? HUGE : SMALL, all[i]);
		}
	}
}

/* ---- the original's writes ---- */

static struct floor_args floor_of(const struct suite *s, enum floor_answer answer, uint32_t touches)
{
	return (struct floor_args){
		.answer = answer,
		.touch = { .page = SMALL, .pages = (uint32_t)(s->bytes / SMALL),
			   .touches = touches, .threads = 1, .random = true,
			   .seed = s->b->seed },
	};
}

/* The least that a broker does: one call reads, one writes, one lifts. */
static const char by_hand[] = "uffd read, write, WRITEPROTECT";

static void first_write(struct suite *s)
{
	const struct trial_args unseen = args_of(s, &subject_clone, TRIAL_WRITE, SMALL);
	const struct trial_args seen = args_of(s, &subject_clone, TRIAL_WRITE_SEEN, SMALL);
	const struct trial_args forked = args_of(s, &subject_fork, TRIAL_WRITE, SMALL);
	const struct floor_args floor = floor_of(s, FLOOR_PROTECTED, s->touches);
	const struct floor_args least = floor_of(s, FLOOR_BREAK, s->touches);
	const struct side sides[] = { { "mmbroker", trial_side, &unseen },
				      { "mmbroker", trial_side, &seen },
				      { "uffd WRITEPROTECT", floor_side, &floor },
				      { "fork, 4K", trial_side, &forked },
				      { by_hand, floor_side, &least } };
	static const char shared[] = "4K first write, mapped by the clone";
	const struct comparison comparisons[] = {
		{ .metric = "p50", .unit = "ns", .ours = { 0, TOUCH_P50 },
		  .peer = { 2, TOUCH_P50 }, .goal = GOAL_WRITE },
		{ .metric = "p50", .unit = "ns", .ours = { 0, TOUCH_P50 },
		  .peer = { 3, TOUCH_P50 } },
		{ .name = shared, .metric = "p50", .unit = "ns", .ours = { 1, TOUCH_P50 },
		  .peer = { 2, TOUCH_P50 } },
		{ .name = shared, .metric = "p50", .unit = "ns", .ours = { 1, TOUCH_P50 },
		  .peer = { 3, TOUCH_P50 } },
		{ .name = "4K first write, read, write, WRITEPROTECT", .metric = "p50",
		  .unit = "ns", .ours = { 4, TOUCH_P50 }, .peer = { 2, TOUCH_P50 } },
	};

	run(s, "4K first write, mapped by nobody else", sides, NR(sides), comparisons,
	    NR(comparisons));
}

static void overwrite(struct suite *s)
{
	const struct trial_args ours = args_of(s, &subject_clone, TRIAL_OVERWRITE, SMALL);
	const struct trial_args forked = args_of(s, &subject_fork, TRIAL_OVERWRITE, SMALL);
	struct floor_args least = floor_of(s, FLOOR_BREAK, 0);
	const struct side sides[] = { { "mmbroker", trial_side, &ours },
				      { "fork, 4K", trial_side, &forked },
				      { by_hand, floor_side, &least } };
	const struct comparison pages[] = {
		{ .metric = "page", .unit = "ns", .ours = { 0, TOUCH_PAGE },
		  .peer = { 1, TOUCH_PAGE }, .goal = GOAL_OVERWRITE },
		{ .name = "4K overwritten in order, read, write, WRITEPROTECT of 64",
		  .metric = "page", .unit = "ns", .ours = { 2, TOUCH_PAGE },
		  .peer = { 1, TOUCH_PAGE } },
	};

	least.touch.random = false;
	least.around = FLOOR_BREAK_MAX;
	run(s, "4K overwritten in order", sides, NR(sides), pages, NR(pages));
}

static void break_huge(struct suite *s)
{
	const struct trial_args unseen = args_of(s, &subject_clone, TRIAL_WRITE, HUGE);
	const struct trial_args seen = args_of(s, &subject_clone, TRIAL_WRITE_SEEN, HUGE);
	const struct side sides[] = { { "mmbroker", trial_side, &unseen },
				      { "mmbroker", trial_side, &seen },
				      { "memcpy of 2 MiB", memcpy_side, NULL } };
	const struct comparison comparisons[] = {
		{ .metric = "p50", .unit = "ns", .ours = { 0, TOUCH_P50 },
		  .peer = { 2, TOUCH_P50 }, .goal = GOAL_BREAK_HUGE },
		{ .name = "2M first write, mapped by the clone", .metric = "p50", .unit = "ns",
		  .ours = { 1, TOUCH_P50 }, .peer = { 2, TOUCH_P50 } },
	};

	if (fits(s, "2M first write", true, s->huge_bytes))
		run(s, "2M first write", sides, NR(sides), comparisons, NR(comparisons));
}

static void tail(struct suite *s)
{
	const struct trial_args ours = args_of(s, &subject_clone, TRIAL_TAIL, SMALL);
	const struct trial_args forked = args_of(s, &subject_fork, TRIAL_TAIL, SMALL);
	const struct trial_args bare = args_of(s, &subject_armed, TRIAL_TAIL, SMALL);
	static const char armed[] = "4K writes while and after it is protected, WRITEPROTECT";
	const struct side sides[] = { { "mmbroker", trial_side, &ours },
				      { "fork, 4K", trial_side, &forked },
				      { "uffd WRITEPROTECT", trial_side, &bare } };
	const struct comparison comparisons[] = {
		{ .metric = "p99 afterwards", .unit = "ns", .ours = { 0, FIGURE_P99 },
		  .peer = { 1, FIGURE_P99 }, .goal = GOAL_TAIL },
		{ .metric = "longest pause", .unit = "ns", .ours = { 0, FIGURE_LONGEST },
		  .constant = LIMIT_PAUSE_NS, .peer_name = "limit", .goal = 1 },
		{ .metric = "longest pause", .unit = "ns", .ours = { 0, FIGURE_LONGEST },
		  .peer = { 1, FIGURE_LONGEST } },
		{ .name = armed, .metric = "p99 afterwards", .unit = "ns",
		  .ours = { 2, FIGURE_P99 }, .peer = { 1, FIGURE_P99 } },
		{ .name = armed, .metric = "longest pause", .unit = "ns",
		  .ours = { 2, FIGURE_LONGEST }, .constant = LIMIT_PAUSE_NS,
		  .peer_name = "limit" },
	};

	run(s, "4K writes while and after it is copied", sides, NR(sides), comparisons,
	    NR(comparisons));
}

/* ---- the copy's own accesses ---- */

static void copys_accesses(struct suite *s)
{
	const struct trial_args read = args_of(s, &subject_clone, TRIAL_READ, SMALL);
	const struct trial_args scan = args_of(s, &subject_clone, TRIAL_SCAN, SMALL);
	const struct trial_args diverge = args_of(s, &subject_clone, TRIAL_DIVERGE, SMALL);
	const struct floor_args floor = floor_of(s, FLOOR_CONTINUE, s->touches);
	struct floor_args all = floor_of(s, FLOOR_CONTINUE, 0);
	struct kernel_args again = { .mapped_again = true, .touch = all.touch };
	const struct side sides[] = { { "mmbroker", trial_side, &read },
				      { "mmbroker", trial_side, &scan },
				      { "mmbroker", trial_side, &diverge },
				      { "uffd CONTINUE", floor_side, &floor },
				      { "uffd CONTINUE", floor_side, &all },
				      { "no faults", kernel_side, &again } };
	const struct comparison comparisons[] = {
		{ .metric = "p50", .unit = "ns", .ours = { 0, TOUCH_P50 },
		  .peer = { 3, TOUCH_P50 }, .goal = GOAL_READ },
		{ .name = "4K clone read in order", .metric = "page", .unit = "ns",
		  .ours = { 1, TOUCH_PAGE }, .constant = LIMIT_SCAN_NS, .peer_name = "limit",
		  .goal = 1 },
		{ .name = "4K clone's first write", .metric = "p50", .unit = "ns",
		  .ours = { 2, TOUCH_P50 }, .peer = { 3, TOUCH_P50 }, .goal = GOAL_DIVERGE },
		{ .name = "4K read in order, CONTINUE of 512", .metric = "page", .unit = "ns",
		  .ours = { 4, TOUCH_PAGE }, .constant = LIMIT_SCAN_NS, .peer_name = "limit" },
		{ .name = "4K clone read in order", .metric = "page", .unit = "ns",
		  .ours = { 1, TOUCH_PAGE }, .peer = { 5, TOUCH_PAGE } },
	};

	all.touch.random = false;
	all.touch.reads = true;
	all.around = HUGE / SMALL;
	again.touch = all.touch;
	run(s, "4K clone's first read", sides, NR(sides), comparisons, NR(comparisons));
}

/* A read maps the original's frame; a write copies it. */
static void copys_accesses_huge(struct suite *s)
{
	const struct trial_args read = args_of(s, &subject_clone, TRIAL_READ, HUGE);
	const struct trial_args diverge = args_of(s, &subject_clone, TRIAL_DIVERGE, HUGE);
	const struct floor_args floor = {
		.answer = FLOOR_CONTINUE,
		.huge = true,
		.touch = { .page = HUGE, .pages = (uint32_t)(s->huge_bytes / HUGE),
			   .touches = read.touches, .threads = 1, .random = true,
			   .seed = s->b->seed },
	};
	const struct side sides[] = { { "mmbroker", trial_side, &read },
				      { "mmbroker", trial_side, &diverge },
				      { "uffd CONTINUE", floor_side, &floor },
				      { "memcpy of 2 MiB", memcpy_side, NULL } };
	const struct comparison comparisons[] = {
		{ .metric = "p50", .unit = "ns", .ours = { 0, TOUCH_P50 },
		  .peer = { 2, TOUCH_P50 }, .goal = GOAL_READ },
		{ .name = "2M clone's first write", .metric = "p50", .unit = "ns",
		  .ours = { 1, TOUCH_P50 }, .peer = { 3, TOUCH_P50 } },
	};

	if (fits(s, "2M clone's first read", true, s->huge_bytes))
		run(s, "2M clone's first read", sides, NR(sides), comparisons, NR(comparisons));
}

static void mappings(struct suite *s)
{
	const struct trial_args ours = args_of(s, &subject_clone, TRIAL_MAPPINGS, SMALL);
	const struct side side = { "mmbroker", trial_side, &ours };
	const struct comparison most = { .metric = "mappings", .unit = "", .peer_name = "limit",
					 .ours = { 0, FIGURE_MAPPINGS }, .goal = 1,
					 .constant = LIMIT_MAPPINGS * (double)(s->bytes / HUGE) };

	run(s, "4K clone written here and there", &side, 1, &most, 1);
}

/* ---- somebody reads the copy to the disk ---- */

static void stream(struct suite *s)
{
	struct trial_args ours = args_of(s, &subject_clone, TRIAL_STREAM, SMALL);
	struct trial_args forked = args_of(s, &subject_fork, TRIAL_STREAM, SMALL);
	const struct floor_args bare = floor_of(s, FLOOR_PROTECTED, s->touches);
	const struct side sides[] = { { "mmbroker", trial_side, &ours },
				      { "fork, 4K", trial_side, &forked },
				      { "uffd WRITEPROTECT", floor_side, &bare } };
	const struct comparison comparisons[] = {
		{ .metric = "writes", .unit = "1/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 0, FIGURE_RATE }, .peer = { 1, FIGURE_RATE }, .goal = 1 },
		{ .metric = "growth", .unit = "bytes", .ours = { 0, FIGURE_GROWTH },
		  .peer = { 0, FIGURE_WRITTEN }, .peer_name = "pages written" },
		{ .metric = "growth", .unit = "bytes", .ours = { 0, FIGURE_GROWTH },
		  .peer = { 1, FIGURE_GROWTH } },
		{ .name = "4K written while nothing is streamed, WRITEPROTECT",
		  .metric = "writes", .unit = "1/s", .kind = HIGHER_IS_BETTER,
		  .ours = { 2, TOUCH_RATE }, .peer = { 1, FIGURE_RATE } },
	};

	ours.bytes = forked.bytes = s->b->quick ? 32 * MIB : 2 * GIB;
	run(s, "4K written while the copy is streamed", sides, NR(sides), comparisons,
	    NR(comparisons));
}

/* ---- all of it ---- */

static uint64_t memory_available(void)
{
	char line[128];
	unsigned long long kib = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f != NULL && kib == 0 && fgets(line, sizeof(line), f) != NULL)
		sscanf(line, "MemAvailable: %llu", &kib);
	if (f != NULL)
		fclose(f);
	return kib << 10;
}

/* What a clone is promised isn't taken: only the reserve has to have room for it. */
static int start(struct suite *s)
{
	const uint64_t most = 18 * GIB;
	const char *folder = getenv("TMPDIR");
	struct broker_config config = { .mode = "account" };
	int error = 0;

	s->folder = folder != NULL ? folder : "/var/tmp";
	s->bytes = s->b->quick ? 16 * MIB : GIB;
	s->huge_bytes = s->b->quick ? 32 * MIB : 512 * MIB;
	s->touches = s->b->quick ? 256 : 32768;
	s->reserve = s->b->quick ? GIB : memory_available() / 10 * 9;
	if (s->reserve > most)
		s->reserve = most;
	s->reserve_huge = kernel_hugepages_free() * HUGE;
	if (s->b->quick && s->reserve_huge > QUICK_HUGE)
		s->reserve_huge = QUICK_HUGE;
	config.reserve = s->reserve;
	config.reserve_huge = s->reserve_huge;
	if (s->b->socket == NULL)
		error = broker_start(&s->broker, &config);
	if (error == 0 && s->b->socket == NULL)
		s->b->socket = s->broker.socket;
	return error;
}

static void stop(struct suite *s)
{
	if (s->broker.pid == 0)
		return;
	if (broker_stop(&s->broker) != 0)
		bench_fail(s->b, "stopping", bench_reason());
	s->b->socket = NULL;
}

void suite_clone(struct bench *b)
{
	static struct suite s;

	s.b = b;
	if (start(&s) != 0) {
		bench_fail(b, "all", bench_reason());
		return;
	}
	sizes(&s);
	first_write(&s);
	overwrite(&s);
	break_huge(&s);
	tail(&s);
	copys_accesses(&s);
	copys_accesses_huge(&s);
	mappings(&s);
	stream(&s);
	ledger_print(&s.ledger, b);
	stop(&s);
}
