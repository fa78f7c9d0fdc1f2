/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_resuming - a daemon that dies while it takes over from one that has died
 *
 * Purpose     Whatever step of a resume is the last one, the daemon after it finds what the first
 *             one left: no wrong byte, nobody stuck, all counters right. The first pass of each
 *             named point, and any passes by number, under all loads. MMB_LONG=1: ten deaths each.
 * How         A file tells the next daemon that starts where to die, and that one writes who it is
 *             (inject_order.h): another serves afterwards, or that one hasn't met its point yet and
 *             dies there later, or by the next kill.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/types.h"
#include "system/inject_order.h"
#include "system/kill_load.h"
#include "system/kill_scene.h"
#include "system/swap_scene.h"

enum { TIMES_LONG = 10, ANY_TIMES = 6, ANY_PASSES_MAX = 3000, EARLY_PASSES_MAX = 4,
       PATIENCE_MS = 60000, MET_LEAST = 8 };

/* What a resume passes, and what it may pass, which is tried in the long form only. */
#define PASSED(X)                                                                            \
	X(MEMFD_NEW) X(POPULATE) X(PUNCH) X(MAP) X(META_POPULATE) X(PFN_RANGE) X(SECTION_ADD) \
	X(COMMIT) X(UFFD_CONTINUE) X(SLAB) X(SLAB_PAGES) X(REOPEN) X(ALLOCATED)               \
	X(NEXT_PRESENT) X(RESERVE) X(UFFD_WAKE) X(CLONE_JOIN) X(SWAP_ALLOC) X(URING)          \
	X(DISK_READ) X(RESUMING)
#define PERHAPS(X)                                                                           \
	X(HEAP) X(LOCK) X(UNMAP) X(WINDOW_ADD) X(REGION_NEW) X(ZONE_GROW) X(ALLOC_PAGES)      \
	X(UFFD_POISON) X(UFFD_PROTECT) X(UFFD_UNPROTECT) X(DISK_WRITE)

static const struct point {
	const char *name;
	enum inject_point point;
} points[] = {
	{ "any", NR_INJECT_POINTS },
#define X(name) { #name, INJECT_##name },
	PASSED(X) PERHAPS(X)
};
#undef X
#define X(name) + 1
enum { NR_POINTS = ARRAY_SIZE(points), NR_PERHAPS = 0 PERHAPS(X) };
#undef X

static char orders[] = "/tmp/mmb-orders-XXXXXX";
static int orders_fd;

/* Until the next daemon has begun. */
static void wait_for_taker(void)
{
	struct inject_orders o = { 0 };

	for (int i = 0; i < PATIENCE_MS && !o.taker && !stage_failed(); i++) {
		EXPECT_EQ(pread(orders_fd, &o, sizeof(o), 0), (ssize_t)sizeof(o));
		if (!o.taker)
			rest_us(1000);
	}
	EXPECT(o.taker > 0);
}

/* The next daemon dies at that pass, if it gets there before the next order. */
static void die_again(struct fixture *f, enum inject_point point, unsigned int nth)
{
	struct inject_orders o = { .order = inject_order(point, nth) };

	EXPECT_EQ(pwrite(orders_fd, &o, sizeof(o), 0), (ssize_t)sizeof(o));
	EXPECT_EQ(kill_often(f->pid, 1, NULL, NULL), 1);
	wait_for_taker();
	fixture_reconnect(f);
}

/* A point's first pass, then one of the first few. */
static unsigned int choose_pass(const struct point *at, unsigned int turn, uint64_t *random)
{
	if (at->point == NR_INJECT_POINTS)
		return 1 + (unsigned int)test_below(random, ANY_PASSES_MAX);
	return turn ? 1 + (unsigned int)test_below(random, EARLY_PASSES_MAX) : 1;
}

/* How many points were met in a resume. */
static unsigned int die_everywhere(struct fixture *f)
{
	bool longer = getenv("MMB_LONG");
	unsigned int times = longer ? TIMES_LONG : 1, met = 0;
	unsigned int before = 0, now;
	uint64_t random = test_seed();

	for (int i = 0; i < NR_POINTS - (longer ? 0 : NR_PERHAPS) && !stage_failed();
	     i++, before = now) {
		bool any = points[i].point == NR_INJECT_POINTS;

		for (unsigned int turn = 0; turn < times * (any ? ANY_TIMES : 1); turn++)
			die_again(f, points[i].point, choose_pass(&points[i], turn, &random));
		now = fixture_log_count(f, "before it served");
		if (now > before)
			printf("# %s: %u deaths before it served\n", points[i].name, now - before);
		met += now > before;
	}
	return met;
}

static void deaths_in_a_resume_cost_a_pause(void)
{
	struct role roles[KILL_CLIENTS];
	struct fixture *f;

	orders_fd = mkostemp(orders, O_CLOEXEC);
	EXPECT(orders_fd >= 0 && !ftruncate(orders_fd, sizeof(struct inject_orders)));
	setenv("MMB_ORDERS", orders, 1);
	f = loads_stage();
	for (int i = 0; i < KILL_CLIENTS; i++)
		roles[i] = (struct role)ROLE(verify_under_kills);
	stage_cast(roles, KILL_CLIENTS);
	wait_for_number(LOADS_BEGUN, KILL_CLIENTS);
	EXPECT(die_everywhere(f) >= MET_LEAST);
	if (stage_failed())
		fixture_show_log(f);
	cue(STEP_OVER);
	for (unsigned int i = 0; i < KILL_CLIENTS; i++)
		EXPECT(stage_ended(i));
	fixture_reconnect(f);
	EXPECT(!fixture_log_says(f, "check_failed:"));
	stage_end();
	swap_scene_intact(f->socket, 0);
	unlink(orders);
}

static const struct test_case cases[] = {
	{ "a death at any point of a resume costs clients a pause and nothing else",
	  deaths_in_a_resume_cost_a_pause },
	STAGE_STOPS,
};
TEST_MAIN(cases)
