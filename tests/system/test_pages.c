/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pages - page runs: every order and flag, one address in every client, and their way back
 *
 * Not here    Policies over nodes (test_nodes.c); runs of a pool on the daemon's side (unit tests).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/stage.h"

enum { HUGE_STOCK_PAGES = 24, HUGE_ORDER = 9, RUNS_MAX = 64, WAIT_SECONDS = 10 };

static const char *const flags[] = { "--memory.reserve=64M", NULL };
static const char *const huge_flags[] = { "--memory.reserve=32M", "--memory.reserve_huge=48M",
					  NULL };
static const struct setting setting = { .flags = flags };
static const struct setting huge_setting = { .flags = huge_flags };

static size_t run_bytes(unsigned int order)
{
	return (size_t)PAGE << order;
}

static char *take(struct actor *a, unsigned int order, unsigned int gfp)
{
	char *run = mmb_alloc_pages(a->pool, order, gfp);

	if (!run)
		printf("  order %u, gfp %#x: %s\n", order, gfp, mmb_error());
	CLIENT_EXPECT(run);
	CLIENT_EXPECT_EQ((uintptr_t)run % run_bytes(order), 0);
	return run;
}

/* ---- orders ---- */

static void all_orders(struct actor *a)
{
	enum { EACH = 4 };
	char *runs[MMB_ORDER_MAX + 1][EACH];

	act_pool(a, 0);
	for (unsigned int order = 0; order <= MMB_ORDER_MAX; order++)
		for (uint64_t i = 0; i < EACH - order / 4; i++) {
			runs[order][i] = take(a, order, MMB_GFP_ZERO);
			CLIENT_EXPECT(is_zero(runs[order][i], run_bytes(order)));
			stamp(runs[order][i], run_bytes(order), order * 10 + i);
		}
	for (unsigned int order = 0; order <= MMB_ORDER_MAX; order++)
		for (uint64_t i = 0; i < EACH - order / 4; i++) {
			CLIENT_EXPECT(is_stamped(runs[order][i], run_bytes(order), order * 10 + i));
			mmb_free_pages(a->pool, runs[order][i], order);
		}
	CLIENT_EXPECT(!mmb_alloc_pages(a->pool, MMB_ORDER_MAX + 1, 0) && errno == EINVAL);
	CLIENT_EXPECT(!mmb_alloc_pages(NULL, 0, 0) && errno == EINVAL);
	mmb_free_pages(a->pool, NULL, 3);
}

static void orders(void)
{
	PLAY(ROLE(all_orders));
}

/* There is enough of the other reserve. */
static void take_all_huge(struct actor *a)
{
	struct mmb_pool *other;

	act_pool(a, 0);
	while (mmb_alloc_pages(a->pool, HUGE_ORDER, 0))
		;
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &other), 0);
	CLIENT_EXPECT(!mmb_alloc_pages(other, HUGE_ORDER, 0));
	CLIENT_EXPECT(strstr(mmb_error(), "memory.reserve_huge"));
	mmb_pool_close(other);
}

static void orders_on_hugetlb(void)
{
	if (!hugepages_get(HUGE_STOCK_PAGES))
		SKIP("48 MiB of free huge pages: vm.nr_hugepages is too low, and raising it "
		     "needs root");
	stage_set(&huge_setting);
	PLAY(ROLE(all_orders));
	PLAY(ROLE(take_all_huge));
	stage_set(&setting);
}

/* ---- one address in every client ---- */

static void lend(struct actor *a)
{
	char *run;

	await(1);
	act_common_pool(a);
	run = take(a, 4, 0);
	stamp(run, run_bytes(4), 1);
	atomic_store(&board->number[0], (uintptr_t)run);
	cue(2);
	await(3);
	CLIENT_EXPECT(is_stamped(run, run_bytes(4) / 2, 2));
	CLIENT_EXPECT(!is_zero(run + run_bytes(4) / 2, run_bytes(4) / 2));
	mmb_free_pages(a->pool, run, 4);
}

/* It has the pool before anything is in it, and takes nothing itself. */
static void borrow(struct actor *a)
{
	char *run;

	act_common_pool(a);
	cue(1);
	await(2);
	run = (char *)(uintptr_t)atomic_load(&board->number[0]);
	CLIENT_EXPECT(is_stamped(run, run_bytes(4), 1));
	stamp(run, run_bytes(4) / 2, 2);
	cue(3);
}

static void one_address(void)
{
	PLAY(ROLE(borrow), ROLE(lend));
}

/* ---- flags ---- */

/* NOWAIT and ATOMIC take what is free already: that may be no large run. */
static void use_flags(struct actor *a, unsigned int order, unsigned int gfp, uint64_t seed)
{
	bool hasty = gfp & (MMB_GFP_NOWAIT | MMB_GFP_ATOMIC) && order > 3;
	char *run = hasty ? mmb_alloc_pages(a->pool, order, gfp) : take(a, order, gfp);

	if (!run) {
		CLIENT_EXPECT_EQ(errno, ENOMEM);
		return;
	}
	stamp(run, run_bytes(order), seed);
	mmb_free_pages(a->pool, run, order);
	run = hasty ? mmb_alloc_pages(a->pool, order, gfp | MMB_GFP_ZERO)
		    : take(a, order, gfp | MMB_GFP_ZERO);
	CLIENT_EXPECT(!run || is_zero(run, run_bytes(order)));
	mmb_free_pages(a->pool, run, order);
}

static void every_flag(struct actor *a)
{
	static const unsigned int good[] = {
		MMB_GFP_KERNEL,
		MMB_GFP_NOWAIT,
		MMB_GFP_ATOMIC,
		MMB_GFP_NORETRY,
		MMB_GFP_RETRY_MAYFAIL,
		MMB_GFP_NOFAIL,
		MMB_GFP_THISNODE,
		MMB_GFP_MOVABLE,
		MMB_GFP_RECLAIMABLE,
		MMB_GFP_MOVABLE | MMB_GFP_NOFAIL | MMB_GFP_THISNODE,
		MMB_GFP_NOWAIT | MMB_GFP_RECLAIMABLE,
	};
	static const unsigned int bad[] = {
		1u << 30,
		512,
		MMB_GFP_MOVABLE | MMB_GFP_RECLAIMABLE,
		MMB_GFP_NOFAIL | MMB_GFP_NOWAIT,
		MMB_GFP_NOFAIL | MMB_GFP_ATOMIC,
		MMB_GFP_NOFAIL | MMB_GFP_NORETRY,
		MMB_GFP_NOFAIL | MMB_GFP_RETRY_MAYFAIL,
	};
	static const unsigned int sizes[] = { 0, 3, 5, 9 };

	act_pool(a, 0);
	/* Something for NOWAIT and ATOMIC to find. */
	mmb_free_pages(a->pool, take(a, MMB_ORDER_MAX, 0), MMB_ORDER_MAX);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++)
			use_flags(a, sizes[j], good[i], i);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CLIENT_EXPECT(!mmb_alloc_pages(a->pool, 0, bad[i]) && errno == EINVAL);
		CLIENT_EXPECT(mmb_error()[0]);
	}
}

static void gfp_flags(void)
{
	PLAY(ROLE(every_flag));
}

/* The blocks that pagetypeinfo counts for a type. */
static long blocks_of(const char *socket, unsigned int column)
{
	const char *text = mmbctl(socket, "pagetypeinfo");
	unsigned long blocks[8] = { 0 };

	text = text ? strstr(text, "Number of blocks type") : NULL;
	text = text ? strchr(text, '\n') : NULL;
	CLIENT_EXPECT(text);
	CLIENT_EXPECT(sscanf(text, " Node 0, zone Normal %lu %lu %lu", &blocks[0], &blocks[1],
			     &blocks[2]) == 3);
	return (long)blocks[column];
}

static void migratetypes(struct actor *a)
{
	enum { UNMOVABLE, MOVABLE, RECLAIMABLE };
	long before[3];
	char *movable, *reclaimable;

	act_pool(a, 0);
	for (unsigned int i = 0; i < 3; i++)
		before[i] = blocks_of(a->socket, i);
	movable = take(a, HUGE_ORDER, MMB_GFP_MOVABLE);
	CLIENT_EXPECT(blocks_of(a->socket, MOVABLE) > before[MOVABLE]);
	reclaimable = take(a, HUGE_ORDER, MMB_GFP_RECLAIMABLE);
	CLIENT_EXPECT(blocks_of(a->socket, RECLAIMABLE) > before[RECLAIMABLE]);
	CLIENT_EXPECT_EQ(blocks_of(a->socket, UNMOVABLE), before[UNMOVABLE]);
	mmb_free_pages(a->pool, movable, HUGE_ORDER);
	mmb_free_pages(a->pool, reclaimable, HUGE_ORDER);
}

static void flags_choose_blocks(void)
{
	PLAY(ROLE(migratetypes));
}

/* ---- the end of memory ---- */

/* All that comes; how many. */
static unsigned int take_all(struct actor *a, char **runs, unsigned int gfp)
{
	unsigned int nr = 0;

	while (nr < RUNS_MAX && (runs[nr] = mmb_alloc_pages(a->pool, HUGE_ORDER, gfp)))
		nr++;
	return nr;
}

static void use_all(struct actor *a, char **runs, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		stamp(runs[i], run_bytes(HUGE_ORDER), i);
	for (unsigned int i = 0; i < nr; i++)
		CLIENT_EXPECT(is_stamped(runs[i], run_bytes(HUGE_ORDER), i));
}

static void use_up_pool(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_region *region;
	char *runs[RUNS_MAX];
	unsigned int nr;

	act_pool(a, 16 * MIB);
	nr = take_all(a, runs, 0);
	CLIENT_EXPECT(nr >= 5 && nr <= 8);
	CLIENT_EXPECT_EQ(errno, ENOMEM);
	CLIENT_EXPECT(strstr(mmb_error(), "max") && strstr(mmb_error(), "KiB"));
	use_all(a, runs, nr);
	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	CLIENT_EXPECT(stat.refused >= 1);
	CLIENT_EXPECT(stat.committed <= 16 * MIB);
	CLIENT_EXPECT(stat.arena >= nr * run_bytes(HUGE_ORDER));
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 8 * MIB, NULL, &region), -ENOMEM);
	CLIENT_EXPECT(!mmb_alloc_pages(a->pool, HUGE_ORDER, MMB_GFP_NOWAIT) && errno == ENOMEM);
	CLIENT_EXPECT(!mmb_alloc_pages(a->pool, HUGE_ORDER, MMB_GFP_NORETRY) && errno == ENOMEM);
	CLIENT_EXPECT(!mmb_alloc_pages(a->pool, HUGE_ORDER, MMB_GFP_RETRY_MAYFAIL) &&
		      errno == ENOMEM);
	mmb_free_pages(a->pool, runs[--nr], HUGE_ORDER);
	runs[nr++] = take(a, HUGE_ORDER, 0);
	use_all(a, runs, nr);
}

static void use_up_reserve(struct actor *a)
{
	struct mmb_region *region;
	char *runs[RUNS_MAX];
	unsigned int nr;

	act_pool(a, 0);
	nr = take_all(a, runs, 0);
	CLIENT_EXPECT(nr >= 20 && nr < RUNS_MAX);
	CLIENT_EXPECT(strstr(mmb_error(), "reserve"));
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 8 * MIB, NULL, &region), -ENOMEM);
	use_all(a, runs, nr);
	while (nr)
		mmb_free_pages(a->pool, runs[--nr], HUGE_ORDER);
	/* The same memory for what was refused: this process's caches are no hindrance. */
	mmb_pool_close(a->pool);
	act_pool(a, 0);
	for (int i = 0; mmb_region_create(a->pool, 40 * MIB, NULL, &region); i++) {
		CLIENT_EXPECT(i < WAIT_SECONDS * 100);
		usleep(10000);
	}
	stamp(act_at(region), 40 * MIB, 1);
	CLIENT_EXPECT(is_stamped(act_at(region), 40 * MIB, 1));
}

static void exhaustion(void)
{
	PLAY(ROLE(use_up_pool));
	PLAY(ROLE(use_up_reserve));
}

static int said; /* the actor's stderr */

static void insist(struct actor *a)
{
	const struct mmb_open_options options = { .size = sizeof(options),
						  .operation_timeout_ms = 2000 };
	char *runs[RUNS_MAX];

	CLIENT_EXPECT_EQ(mmb_open(a->socket, &options, &a->mmb), 0);
	act_pool(a, 8 * MIB);
	take_all(a, runs, 0);
	dup2(said, STDERR_FILENO);
	mmb_alloc_pages(a->pool, HUGE_ORDER, MMB_GFP_NOFAIL);
	CLIENT_EXPECT(!"an allocation that can't succeed comes back");
}

/* Not that the broker doesn't answer: it waits for memory as well. */
static void nofail_ends(void)
{
	char text[512] = "";

	said = memfd_create("stderr", MFD_CLOEXEC);
	EXPECT(said >= 0);
	PLAY(ROLE(insist, .status = -SIGABRT));
	EXPECT(pread(said, text, sizeof(text) - 1, 0) > 0);
	close(said);
	EXPECT(strstr(text, "NOFAIL") && strstr(text, "no memory came") && strstr(text, "max"));
}

/* NOFAIL waits for memory that somebody else gives back meanwhile. */
static void wait_for_memory(struct actor *a)
{
	char *run;

	await(1);
	act_common_pool(a);
	cue(2);
	run = take(a, HUGE_ORDER, MMB_GFP_NOFAIL);
	stamp(run, run_bytes(HUGE_ORDER), 1);
	CLIENT_EXPECT(atomic_load(&board->number[0]));
}

static void hoard_for_a_while(struct actor *a)
{
	char *runs[RUNS_MAX];
	unsigned int nr;

	act_common_pool(a);
	nr = take_all(a, runs, 0);
	CLIENT_EXPECT(nr > 10);
	cue(1);
	await(2);
	usleep(50000);
	atomic_store(&board->number[0], 1);
	while (nr)
		mmb_free_pages(a->pool, runs[--nr], HUGE_ORDER);
}

static void nofail_waits(void)
{
	PLAY(ROLE(hoard_for_a_while), ROLE(wait_for_memory));
}

/* ---- wrong frees ---- */

static void free_twice(struct actor *a)
{
	char *run;

	act_pool(a, 0);
	run = take(a, 2, 0);
	mmb_free_pages(a->pool, run, 2);
	mmb_free_pages(a->pool, run, 2);
}

static void free_with_other_order(struct actor *a)
{
	act_pool(a, 0);
	mmb_free_pages(a->pool, take(a, 2, 0), 1);
}

static void free_elsewhere(struct actor *a)
{
	static char own[PAGE];

	act_pool(a, 0);
	take(a, 2, 0);
	mmb_free_pages(a->pool, own, 0);
}

static void keep(struct actor *a)
{
	char *run;

	act_common_pool(a);
	run = take(a, 3, 0);
	stamp(run, run_bytes(3), 1);
	atomic_store(&board->number[0], (uintptr_t)run);
	cue(1);
	await(2);
	CLIENT_EXPECT(is_stamped(run, run_bytes(3), 1));
	mmb_free_pages(a->pool, run, 3);
}

static void free_anothers(struct actor *a)
{
	act_common_pool(a);
	take(a, 0, 0);
	await(1);
	mmb_free_pages(a->pool, (void *)(uintptr_t)atomic_load(&board->number[0]), 3);
}

static void wrong_frees(void)
{
	PLAY(ROLE(free_twice, .status = -SIGABRT));
	PLAY(ROLE(free_with_other_order, .status = -SIGABRT));
	PLAY(ROLE(free_elsewhere, .status = -SIGABRT));
}

static void freeing_anothers(void)
{
	stage_begin();
	CAST(ROLE(keep), ROLE(free_anothers, .status = -SIGABRT));
	EXPECT(cue_comes(1));
	EXPECT(stage_ended(1));
	cue(2);
	stage_end();
}

/* ---- two handles of one pool ---- */

static void swap_handles(struct actor *a)
{
	struct mmb_pool *second = NULL;
	char *run;

	act_common_pool(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "common", 0, NULL, &second), 0);
	for (unsigned int i = 0; i < 1000; i++) {
		unsigned int order = i % (MMB_ORDER_MAX + 1);

		run = take(a, order, 0);
		stamp(run, PAGE, i);
		mmb_free_pages(second, run, order);
		/* Back to where it came from, or to the broker: others may have it now. */
		if (i % 7 == 0)
			CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	}
	run = take(a, 3, 0);
	mmb_pool_close(a->pool);
	a->pool = second;
	stamp(run, run_bytes(3), 1);
	mmb_free_pages(second, run, 3);
	for (int i = 0; i < 8; i++)
		take(a, 3, 0);
}

static void free_twice_through_two(struct actor *a)
{
	struct mmb_pool *second = NULL;
	char *run;

	act_common_pool(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "common", 0, NULL, &second), 0);
	run = take(a, 2, 0);
	mmb_free_pages(second, run, 2);
	mmb_free_pages(a->pool, run, 2);
}

static void freeing_through_another_handle(void)
{
	PLAY(ROLE(swap_handles));
	PLAY(ROLE(free_twice_through_two, .status = -SIGABRT));
}

/* ---- the way back ---- */

static void watch_pool(struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	uint64_t arena;

	act_common_pool(a);
	cue(1);
	await(2);
	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	arena = stat.arena;
	CLIENT_EXPECT(arena >= 16 * MIB);
	cue(3);
	for (int i = 0; stat.arena > 4 * MIB; i++) {
		CLIENT_EXPECT(i < WAIT_SECONDS * 1000);
		usleep(1000);
		CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	}
	CLIENT_EXPECT_EQ(stat.sessions, 1);
}

static void die_with_runs(struct actor *a)
{
	await(1);
	act_common_pool(a);
	for (unsigned int i = 0; i < 8; i++)
		stamp(take(a, HUGE_ORDER, 0), run_bytes(HUGE_ORDER), i);
	for (unsigned int i = 0; i < 100; i++)
		take(a, i % 4, 0);
	cue(2);
	await(3);
	if (atomic_load(&board->number[1]))
		raise(SIGKILL);
}

static void runs_of_the_dead(void)
{
	stage_begin();
	atomic_store(&board->number[1], 1);
	CAST(ROLE(watch_pool), ROLE(die_with_runs, .status = -SIGKILL));
	stage_end();
	PLAY(ROLE(watch_pool), ROLE(die_with_runs));
}

static void leave_secrets(struct actor *a)
{
	act_pool(a, 0);
	for (int i = 0; i < 16; i++)
		memset(take(a, HUGE_ORDER, 0), 0xa5, run_bytes(HUGE_ORDER));
	cue(1);
}

static void look_for_secrets(struct actor *a)
{
	act_open(a);
	await(1);
	act_pool(a, 0);
	for (int i = 0; i < 8; i++) {
		char *run = mmb_alloc_pages(a->pool, HUGE_ORDER, 0);

		CLIENT_EXPECT(run || errno == ENOMEM);
		CLIENT_EXPECT(!run || !memchr(run, 0xa5, run_bytes(HUGE_ORDER)));
	}
}

static void no_secrets(void)
{
	PLAY(ROLE(leave_secrets), ROLE(look_for_secrets));
}

/* ---- the caches ---- */

static int64_t requests(struct actor *a)
{
	char mark[32];

	snprintf(mark, sizeof(mark), "\"pid\":%d,", getpid());
	return json_number(mmbctl(a->socket, "sessions --json"), mark, "requests");
}

enum { PAIRS = 10000, HELD = 4096 };

static void pairs(struct actor *a, unsigned int order)
{
	for (int i = 0; i < PAIRS; i++) {
		char *run = take(a, order, 0);

		*run = 1;
		mmb_free_pages(a->pool, run, order);
	}
}

static void hold_many(struct actor *a)
{
	static char *runs[HELD];

	for (int i = 0; i < HELD; i++)
		runs[i] = take(a, 0, 0);
	for (int i = 0; i < HELD; i++)
		mmb_free_pages(a->pool, runs[i], 0);
}

static void count_requests(struct actor *a)
{
	static const unsigned int cached[] = { 0, 1, 2, 3, 9 };
	int64_t before;

	act_pool(a, 0);
	for (size_t i = 0; i < sizeof(cached) / sizeof(cached[0]); i++) {
		mmb_free_pages(a->pool, take(a, cached[i], 0), cached[i]);
		before = requests(a);
		CLIENT_EXPECT(before > 0);
		pairs(a, cached[i]);
		CLIENT_EXPECT_EQ(requests(a), before);
	}
	before = requests(a);
	hold_many(a);
	CLIENT_EXPECT(requests(a) - before < 2 * HELD / 32);
}

static void few_round_trips(void)
{
	PLAY(ROLE(count_requests));
}

enum { THREADS = 4, BELT = 256, THREAD_RUNS = 5000 };

/* Runs on their way from thread to thread. */
static _Atomic(char *) belt[BELT];

struct worker {
	pthread_t thread;
	struct actor *a;
	uint64_t seed;
};

static void *pass_on(void *argument)
{
	struct worker *w = argument;
	uint64_t state = w->seed;

	for (int i = 0; i < THREAD_RUNS; i++) {
		char *run = take(w->a, 0, 0);

		stamp(run, PAGE, (uintptr_t)run);
		run = atomic_exchange(&belt[test_below(&state, BELT)], run);
		if (!run)
			continue;
		CLIENT_EXPECT(is_stamped(run, PAGE, (uintptr_t)run));
		mmb_free_pages(w->a->pool, run, 0);
	}
	return NULL;
}

static void hand_over(struct actor *a)
{
	struct worker workers[THREADS];

	act_pool(a, 0);
	for (uint64_t i = 0; i < THREADS; i++) {
		workers[i].a = a;
		workers[i].seed = test_seed() + i;
		CLIENT_EXPECT_EQ(pthread_create(&workers[i].thread, NULL, pass_on, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < BELT; i++)
		if (belt[i])
			mmb_free_pages(a->pool, belt[i], 0);
}

static void threads(void)
{
	PLAY(ROLE(hand_over));
}

/* ---- memory that was never granted ---- */

static void expect_stray(const char *at)
{
	struct mmb_fault_info info = { .size = sizeof(info) };
	char value;

	CLIENT_EXPECT_EQ(touch_read(at, &value), SIGBUS);
	CLIENT_EXPECT_EQ(mmb_fault_info(at, &info), 0);
	CLIENT_EXPECT(info.error < 0);
	CLIENT_EXPECT(strstr(info.cause, "granted"));
	CLIENT_EXPECT_EQ(info.region[0], 0);
}

static void touch_beyond(struct actor *a)
{
	struct mmb_fault_info info = { .size = sizeof(info) };
	char *run, *wild;

	act_pool(a, 0);
	run = take(a, HUGE_ORDER, 0);
	wild = run + 24 * MIB;
	CLIENT_EXPECT_EQ(mmb_fault_info(wild, &info), -ENOENT);
	expect_stray(wild);
	expect_stray(wild + 5 * PAGE + 7);
	CLIENT_EXPECT_EQ(touch_write(wild + PAGE, 1), SIGBUS);
	stamp(run, run_bytes(HUGE_ORDER), 1);
	CLIENT_EXPECT_EQ(mmb_fault_info(run, &info), -ENOENT);
}

/* Whoever touched a place too early must be able to use it when it is granted at last. */
static void touch_early(struct actor *a)
{
	char *runs[RUNS_MAX], *wild;
	unsigned int nr;
	bool came = false;

	act_pool(a, 0);
	wild = take(a, HUGE_ORDER, 0) + 24 * MIB;
	expect_stray(wild);
	expect_stray(wild + 3 * PAGE);
	nr = take_all(a, runs, 0);
	for (unsigned int i = 0; i < nr; i++)
		came |= wild >= runs[i] && wild < runs[i] + run_bytes(HUGE_ORDER);
	CLIENT_EXPECT(came);
	use_all(a, runs, nr);
}

static void never_granted(void)
{
	PLAY(ROLE(touch_beyond));
}

static void granted_after_a_stray(void)
{
	PLAY(ROLE(touch_early));
}

/* More than half of the reserve each time. */
static void open_in_turn(struct actor *a)
{
	enum { TURNS = 40, BYTES = 40 * MIB };

	act_pool(a, 0);
	for (int i = 0; i < TURNS; i++) {
		struct mmb_region *region;
		struct mmb_pool *pool;

		CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
		for (uint64_t taken = 0; taken < BYTES; taken += run_bytes(MMB_ORDER_MAX))
			CLIENT_EXPECT(mmb_alloc_pages(pool, MMB_ORDER_MAX, 0));
		mmb_pool_close(pool);
		CLIENT_EXPECT_EQ(mmb_region_create(a->pool, BYTES, NULL, &region), 0);
		mmb_region_close(region);
	}
}

static void pools_in_turn(void)
{
	PLAY(ROLE(open_in_turn));
}

static const struct test_case cases[] = {
	{ "runs of orders 0 to 10 are aligned, distinct, and zero if asked", orders },
	{ "a run is at one address in all clients of the pool, also in those that took nothing",
	  one_address },
	{ "every gfp flag works, and what contradicts itself is -EINVAL", gfp_flags },
	{ "MOVABLE and RECLAIMABLE take pageblocks of their own", flags_choose_blocks },
	{ "at the end of a pool or of the reserve: refused with a sentence, usable again after",
	  exhaustion },
	{ "NOFAIL waits for memory", nofail_waits },
	{ "NOFAIL that waits in vain ends the process", nofail_ends },
	{ "a double free, a wrong order or address ends the process, and nothing else",
	  wrong_frees },
	{ "another client's run can't be freed", freeing_anothers },
	{ "a run may be freed through any handle that its session has of the pool",
	  freeing_through_another_handle },
	{ "a session's runs come back when it closes or is killed, and the pool shrinks",
	  runs_of_the_dead },
	{ "what a pool had that has just been closed is there for the next one and for regions",
	  pools_in_turn },
	{ "a run never holds another pool's data", no_secrets },
	{ "most calls make no round trip", few_round_trips },
	{ "runs wander between threads", threads },
	{ "memory never granted: SIGBUS, and mmb_fault_info tells why", never_granted },
	{ "a place touched before it was granted can be used afterwards", granted_after_a_stray },
	{ "runs of a hugetlb arena", orders_on_hugetlb },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
