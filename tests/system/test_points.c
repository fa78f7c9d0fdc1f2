/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_points - a supervised daemon that dies in the middle of each thing that it does
 *
 * Purpose     As test_kills, but at named points: before each call to the host, and between the
 *             steps of whatever has several. Beside its loads one client comes and goes, one opens
 *             read-only and touches what was never granted, one writes what its clones have
 *             mapped, and an operator sets limits, takes snapshots, and turns a second swap area
 *             on and off. Every other point, which ones is random; MMB_LONG=1: ten deaths at each.
 * Passes      which pass of a point kills is random: one is met early and late in a request.
 * Not here    Points that are passed at the start only (RESERVE, LOCK, NEXT_PRESENT): that a daemon
 *             dies before it serves is in test_kills.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "system/kill_load.h"
#include "system/kill_scene.h"
#include "system/swap_scene.h"

enum {
	TIMES = 10, /* with MMB_LONG=1 */
	PASSES_MAX = 4,
	SLOW_SECONDS = 3,
	COMMAND_BYTES = 640,
	LIMITED_MIB = 4,
	NAMED_MIB = 2,
	SECOND_AREA_MIB = 8,
	OFF_SECONDS = 60,
	NEVER_GRANTED = 20 * MIB,
	STRAY_PAGES = 1024, /* each is poisoned once */
};

#define CALLS(X)                                                                             \
	X(MEMFD_NEW) X(POPULATE) X(PUNCH) X(MAP) X(META_POPULATE) X(PFN_RANGE) X(SECTION_ADD) \
	X(REGION_NEW) X(SESSION_NEW) X(POOL_NEW) X(WINDOW_ADD) X(COMMIT) X(ALLOC_PAGES)       \
	X(ZONE_GROW) X(UFFD_CONTINUE) X(HEAP) X(SLAB) X(SLAB_PAGES) X(REOPEN) X(ALLOCATED)    \
	X(UNMAP) X(UFFD_WAKE) X(UFFD_POISON) X(UFFD_PROTECT) X(UFFD_UNPROTECT) \
	X(CLONE_JOIN) X(CLONE_ARM) X(CLONE_PUBLISH) X(CLONE_DONE) X(SWAP_ALLOC) X(URING)      \
	X(DISK_READ) X(DISK_WRITE)
#define STEPS(X)                                                                             \
	X(CONTROL_TURN) X(WORK_TURN) X(QUEUE_TURN) X(LANE_TURN) X(KEEPER_TURN) X(WAITER_TURN) \
	X(KSWAPD_TURN) X(PAGEOUT_TURN) X(CHANGE_READ) X(PAGES_DONE) X(FREE_DONE)              \
	X(LEASE_HALF) X(LEASE_DONE) X(RETURN_HALF) X(RETURN_DONE) X(PUNCHED_OUT)           \
	X(SWAPPED_IN) X(COPIED_IN) X(ADOPTED) X(LIMITS_HALF) X(CLONE_TOLD) X(UNLINKED)       \
	X(ROLLED_BACK) X(TAKEN_OUT)

static const struct point {
	const char *name;
	enum inject_point point;
} points[] = {
#define X(name) { #name, INJECT_##name },
	CALLS(X) STEPS(X)
#undef X
};
enum { NR_POINTS = sizeof(points) / sizeof(points[0]) };

static bool over(void)
{
	return atomic_load(&board->reached) >= STEP_OVER;
}

/* Nobody hears what it says: the daemon may die meanwhile. */
static bool operate(const struct actor *a, const char *arguments)
{
	const char *program = getenv("MMB_MMBCTL");
	char command[COMMAND_BYTES];

	snprintf(command, sizeof(command), "'%s' --socket='%s' -t 20 %s >/dev/null 2>&1",
		 program ? program : "mmbctl", a->socket, arguments);
	return !system(command);
}

/* ---- who comes and goes ---- */

/* A connection that has no answer yet is closed by a death: there is nothing to go on with. */
static bool come(struct actor *a)
{
	while (mmb_open(a->socket, NULL, &a->mmb)) {
		if (over())
			return false;
		rest_us(2000);
	}
	return true;
}

static void go(struct actor *a)
{
	mmb_close(a->mmb);
	a->mmb = NULL;
}

static void come_and_go(struct actor *a)
{
	atomic_fetch_add(&board->number[0], 1);
	while (!over() && come(a)) {
		struct mmb_region *region;
		char *run;

		act_common_pool(a);
		region = act_named(a, "passing", MIB);
		CLIENT_EXPECT(is_zero(act_at(region), MIB));
		memset(act_at(region), 0x77, MIB);
		CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "passing"), 0);
		act_pool(a, 0);
		run = mmb_alloc_pages(a->pool, 0, MMB_GFP_ZERO); /* others may have taken all */
		CLIENT_EXPECT(!run || is_zero(run, PAGE));
		go(a);
	}
}

/* Its strays are in an arena of its own: whatever the others need is granted in theirs. */
static void read_only(struct actor *a)
{
	struct mmb_region_options options = { .size = sizeof(options) };
	struct mmb_region *region, *own;
	struct mmb_pool *lone;
	char value;

	act_open(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_CREATE | MMB_POOL_PRIVATE, NULL,
				       &lone), 0);
	act_common_pool(a);
	own = act_named(a, "readable", MIB);
	stamp(act_at(own), MIB, 1);
	atomic_fetch_add(&board->number[0], 1);
	for (uint64_t turn = 0; !over(); turn = (turn + 1) % STRAY_PAGES) {
		char *run = mmb_alloc_pages(lone, 0, 0), *never = run + NEVER_GRANTED;

		CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "readable", 0, MMB_REGION_READONLY,
						 &options, &region), 0);
		CLIENT_EXPECT(is_stamped(act_at(region), MIB, 1));
		mmb_region_close(region);
		CLIENT_EXPECT(run);
		CLIENT_EXPECT_EQ(touch_read(never + turn * PAGE, &value), SIGBUS);
		mmb_free_pages(lone, run, 0);
	}
	mmb_pool_close(lone);
	mmb_region_unlink(a->pool, "readable");
	mmb_region_close(own);
}

/* ---- the operator ---- */

/* The parent's frames are taken from where its clone has mapped them. */
static void relatives(struct actor *a)
{
	struct mmb_region *parent, *clone;
	uint64_t turn = 1;

	act_pool(a, 0);
	parent = act_region(a, MIB, 0);
	stamp(act_at(parent), MIB, turn);
	atomic_fetch_add(&board->number[0], 1);
	for (; !over(); turn++) {
		clone = act_clone(parent, NULL, 0);
		CLIENT_EXPECT(is_stamped(act_at(clone), MIB, turn));
		stamp(act_at(parent), MIB, turn + 1);
		CLIENT_EXPECT(is_stamped(act_at(clone), MIB, turn));
		mmb_region_close(clone);
		CLIENT_EXPECT(is_stamped(act_at(parent), MIB, turn + 1));
	}
}

/* Either limit alone leaves room for the region, and so does every mixture of them on the way. */
static void set_limits(struct actor *a, unsigned int turn)
{
	operate(a, turn % 2 ? "pool set operated max=8M swap_max=0" :
			      "pool set operated max=1M swap_max=16M");
}

static void snapshot(struct actor *a)
{
	operate(a, "-p operated region clone book shot");
	operate(a, "-p operated region rollback book shot");
	operate(a, "-p operated region rm shot");
}

static void end_second_area(const struct actor *a)
{
	char arguments[256];

	snprintf(arguments, sizeof(arguments), "swapoff %s.second", swap_scene_path());
	operate(a, arguments);
}

static void second_area(struct actor *a)
{
	char arguments[256];

	snprintf(arguments, sizeof(arguments), "swapon %s.second %uM", swap_scene_path(),
		 SECOND_AREA_MIB);
	operate(a, arguments);
	end_second_area(a);
}

/* A death may have cost the answer to either command. */
static bool second_area_is_off(void *a)
{
	const char *areas = mmbctl(((struct actor *)a)->socket, "swaps --json");

	if (areas && !strstr(areas, ".second"))
		return true;
	end_second_area(a);
	return false;
}

static void operator(struct actor *a)
{
	struct mmb_pool_options options = { .size = sizeof(options), .max = 8 * MIB };
	struct mmb_region *limited, *book;
	char second[256];

	act_open(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "operated", MMB_POOL_CREATE, &options, &a->pool), 0);
	limited = act_region(a, LIMITED_MIB * MIB, 0);
	book = act_named(a, "book", NAMED_MIB * MIB);
	stamp(act_at(book), NAMED_MIB * MIB, 2);
	stamp(act_at(limited), LIMITED_MIB * MIB, 3);
	atomic_fetch_add(&board->number[0], 1);
	for (unsigned int turn = 0; !over(); turn++) {
		set_limits(a, turn);
		CLIENT_EXPECT(is_stamped(act_at(limited), LIMITED_MIB * MIB, 3));
		snapshot(a);
		CLIENT_EXPECT(is_stamped(act_at(book), NAMED_MIB * MIB, 2));
		second_area(a);
		operate(a, "slabinfo");
		operate(a, "verify");
	}
	mmb_region_unlink(a->pool, "book");
	operate(a, "-p operated region rm shot");
	CLIENT_EXPECT(test_wait(second_area_is_off, a, OFF_SECONDS));
	snprintf(second, sizeof(second), "%s.second", swap_scene_path());
	unlink(second);
}

/* ---- the case ---- */

static bool dies_at(const struct fixture *f, enum inject_point point, unsigned int nth)
{
	pid_t worker = worker_of(f->pid);

	return arm_worker(worker, point, nth) && worker_dies(f->pid, worker);
}

static void die_everywhere(struct fixture *f)
{
	bool is_long = getenv("MMB_LONG");
	uint64_t random = test_seed();

	for (int i = 0; i < NR_POINTS; i++) {
		unsigned int times = is_long ? TIMES : (unsigned int)test_below(&random, 2);

		for (unsigned int done = 0; done < times && !stage_failed(); done++) {
			unsigned int nth = 1 + (unsigned int)test_below(&random, PASSES_MAX);
			time_t began = time(NULL);
			bool dead = dies_at(f, points[i].point, nth);

			if (time(NULL) - began >= SLOW_SECONDS)
				printf("# pass %u of %s came after %u s\n", nth, points[i].name,
				       (unsigned int)(time(NULL) - began));

			if (!dead)
				printf("  it doesn't die at pass %u of %s\n", nth, points[i].name);
			EXPECT(dead);
			fixture_reconnect(f); /* it serves again */
		}
	}
}

static void deaths_cost_a_pause(void)
{
	static const act_fn others[] = { come_and_go, read_only, relatives, operator };
	enum { OTHERS = sizeof(others) / sizeof(others[0]), ALL = KILL_CLIENTS + OTHERS };
	struct role roles[ALL];
	uint64_t p99, worst;
	struct fixture *f;

	f = loads_stage();
	for (int i = 0; i < ALL; i++)
		roles[i] = (struct role)ROLE(i < KILL_CLIENTS ? verify_under_kills
							      : others[i - KILL_CLIENTS]);
	stage_cast(roles, ALL);
	wait_for_number(0, ALL);
	die_everywhere(f);
	if (stage_failed())
		fixture_show_log(f);
	cue(STEP_OVER);
	for (unsigned int i = 0; i < ALL; i++)
		EXPECT(stage_ended(i));
	waits_print(KILL_CLIENTS, &p99, &worst);
	fixture_reconnect(f);
	EXPECT(!fixture_log_says(f, "check_failed:"));
	stage_end();
	swap_scene_intact(f->socket, 0);
}

static const struct test_case cases[] = {
	{ "a death at any named point costs clients a pause and nothing else",
	  deaths_cost_a_pause },
	STAGE_STOPS,
};
TEST_MAIN(cases)
