/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_death - clients killed in every state
 *
 * Purpose     After SIGKILL, wherever it hits, everything is as before the client came: the exact
 *             counters, VERIFY clean, sharers undisturbed, named regions kept. The rate at which
 *             memory comes back is measured and printed, not judged.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { "--memory.reserve=640M", "--limits.sessions_per_uid=600",
				      NULL };

enum { MIB = 1 << 20, CROWD = 256, ROUNDS = 12, THREADS = 6 };

static bool long_run(void)
{
	return getenv("MMB_LONG") != NULL;
}

/* ---- what a client is doing when it dies ---- */

static void ready(struct client_process *self)
{
	CLIENT_EXPECT(client_tell_step(self, 'r'));
}

static void holding_runs(struct attack *a)
{
	static uint64_t runs[MMB_PAGES_BATCH];

	CLIENT_EXPECT_EQ(raw_arena(&a->r, NULL), 0);
	for (uint32_t order = 0; order <= MMB_ORDER_MAX; order++) {
		int nr = raw_pages(&a->r, order, 0, order < 6 ? 256 : 4, runs);

		CLIENT_EXPECT(nr > 0);
		for (int i = 0; i < nr; i++)
			*(char *)(uintptr_t)runs[i] = 1;
	}
	ready(a->self);
	pause();
}

static void holding_small_pages(struct attack *a)
{
	struct raw_region region = attack_region(a, 64 * MIB / PAGE);

	for (int i = 0; i < 64 * MIB / PAGE; i += 2)
		CLIENT_EXPECT_EQ(raw_write_byte(region.at + i * PAGE, 1), 0);
	ready(a->self);
	pause();
}

static void holding_large_pages(struct attack *a)
{
	const struct raw_region_want want = { .length = 64 * MIB, .page_size = HUGE_PAGE };
	struct raw_region            region;

	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	for (int i = 0; i < 32; i++)
		CLIENT_EXPECT_EQ(raw_write_byte(region.at + i * HUGE_PAGE, 1), 0);
	ready(a->self);
	pause();
}

static void holding_locked_pages(struct attack *a)
{
	const struct raw_region_want want = { .length = 16 * MIB, .flags = MMB_REGION_LOCKED };
	struct raw_region            region;

	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	ready(a->self);
	pause();
}

static void holding_many_regions(struct attack *a)
{
	for (int i = 0; i < 500; i++)
		CLIENT_EXPECT_EQ(raw_write_byte(attack_region(a, 16).at, 1), 0);
	ready(a->self);
	pause();
}

static void touch_all(struct attack *a, struct raw_region *region)
{
	for (;;) {
		for (uint64_t at = 0; at < region->length; at += PAGE)
			raw_write_byte(region->at + at, 1);
		if (a)
			raw_advise(&a->r, region, 0, region->length, MMB_ADVISE_DONTNEED);
	}
}

static void in_a_fault(struct attack *a)
{
	struct raw_region region = attack_region(a, 4 * MIB / PAGE);

	ready(a->self);
	touch_all(a, &region);
}

static void *touch_thread(void *region)
{
	touch_all(NULL, region);
	return NULL;
}

static void in_faults_of_many_threads(struct attack *a)
{
	static struct raw_region region;
	pthread_t                threads[THREADS];

	region = attack_region(a, 16 * MIB / PAGE);
	for (int i = 0; i < THREADS; i++)
		CLIENT_EXPECT_EQ(pthread_create(&threads[i], NULL, touch_thread, &region), 0);
	ready(a->self);
	for (;;)
		raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_DONTNEED);
}

static void while_populating(struct attack *a)
{
	const struct raw_region_want want = { .length = 64 * MIB, .flags = MMB_REGION_POPULATE };
	struct raw_region            region;

	ready(a->self);
	for (;;) {
		CLIENT_EXPECT_EQ(raw_region_ask(&a->r, &want, &region), 0);
		region.at = NULL;
		CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
	}
}

static void while_allocating(struct attack *a)
{
	uint64_t runs[64];

	ready(a->self);
	for (uint32_t order = 0;; order = (order + 1) % 6) {
		int nr = raw_pages(&a->r, order, MMB_GFP_ZERO, 64, runs);

		CLIENT_EXPECT(nr > 0);
		CLIENT_EXPECT_EQ(raw_pages_free(&a->r, order, runs, (uint32_t)nr / 2 + 1), 0);
	}
}

static void while_opening(struct attack *a)
{
	struct raw_region region;

	ready(a->self);
	for (;;) {
		region = attack_region(a, 64);
		raw_write_byte(region.at, 1);
		CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
	}
}

static void while_locking(struct attack *a)
{
	Mmb__Wire__RegionRangeRequest range = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	struct raw_region             region = attack_region(a, 8 * MIB / PAGE);

	range.region = region.handle;
	range.length = region.length;
	ready(a->self);
	for (;;) {
		CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_LOCK, &range), 0);
		CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_UNLOCK, &range), 0);
		CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, region.length,
					    MMB_ADVISE_DONTNEED), 0);
	}
}

/* ---- and dies ---- */

struct mortal {
	const char *socket;
	attack_fn   life;
};

static void live(struct client_process *self, void *arg)
{
	static struct attack a;
	const struct mortal *m = arg;

	a.self = self;
	a.socket = m->socket;
	attack_pool(&a);
	m->life(&a);
}

/* `rounds` clients one after the other, killed at random moments after they were ready. */
static void die_in(attack_fn life, int rounds)
{
	struct fixture       *f = hostile_begin();
	struct mortal         mortal = { .socket = f->socket, .life = life };
	struct client_process c;
	uint64_t              state = test_seed();

	for (int i = 0; i < rounds; i++) {
		client_fork(&c, live, &mortal);
		EXPECT(client_hear_step(&c, 'r'));
		usleep((useconds_t)(test_random(&state) % 20000));
		client_signal(&c, SIGKILL);
	}
	hostile_check();
}

static int rounds(void)
{
	return long_run() ? 100 * ROUNDS : ROUNDS;
}

#define DIES(life, nr)               \
	static void dies_##life(void) \
	{                            \
		die_in(life, nr);    \
	}
DIES(holding_runs, 2)
DIES(holding_small_pages, 2)
DIES(holding_large_pages, 2)
DIES(holding_locked_pages, 2)
DIES(holding_many_regions, 2)
DIES(in_a_fault, rounds())
DIES(in_faults_of_many_threads, rounds())
DIES(while_populating, rounds())
DIES(while_allocating, rounds())
DIES(while_opening, rounds())
DIES(while_locking, rounds())

/* ---- many at once ---- */

static void of_the_crowd(struct attack *a)
{
	struct raw_region region = attack_region(a, 16);
	uint64_t          runs[4];

	CLIENT_EXPECT_EQ(raw_pages(&a->r, 0, 0, 4, runs), 4);
	for (int i = 0; i < 16; i += 4)
		CLIENT_EXPECT_EQ(raw_write_byte(region.at + i * PAGE, 1), 0);
	ready(a->self);
	pause();
}

/* Each pool's arena takes whole pageblocks: the crowd shares one. */
static void live_in_the_crowd(struct client_process *self, void *socket)
{
	static struct attack a;

	a.self = self;
	a.socket = socket;
	attack_attach(&a);
	CLIENT_EXPECT_EQ(raw_pool(&a.r, "crowd", 0), 0);
	of_the_crowd(&a);
}

static void crowd_dies(void)
{
	static struct client_process c[CROWD];
	struct fixture              *f = hostile_begin();

	for (int i = 0; i < CROWD; i++)
		client_fork(&c[i], live_in_the_crowd, f->socket);
	for (int i = 0; i < CROWD; i++)
		EXPECT(client_hear_step(&c[i], 'r'));
	hostile_expect_bystander();
	for (int i = 0; i < CROWD; i++)
		kill(c[i].pid, SIGKILL);
	hostile_expect_bystander();
	for (int i = 0; i < CROWD; i++)
		client_signal(&c[i], SIGKILL);
	hostile_check();
}

/* All kinds of deaths at the same time, again and again. */
static void all_kinds_at_once(void)
{
	static const attack_fn lives[] = { holding_runs, in_a_fault, in_faults_of_many_threads,
					   while_populating, while_allocating, while_opening,
					   while_locking };
	enum { KINDS = sizeof(lives) / sizeof(lives[0]) };
	struct fixture       *f = hostile_begin();
	struct client_process c[KINDS];
	struct mortal         mortal = { .socket = f->socket };
	uint64_t              state = test_seed() + 1;

	for (int round = 0; round < (long_run() ? 60 : 3); round++) {
		for (int i = 0; i < KINDS; i++) {
			mortal.life = lives[i];
			client_fork(&c[i], live, &mortal);
		}
		for (int i = 0; i < KINDS; i++)
			EXPECT(client_hear_step(&c[i], 'r'));
		usleep((useconds_t)(test_random(&state) % 50000));
		for (int i = 0; i < KINDS; i++)
			client_signal(&c[i], SIGKILL);
	}
	hostile_check();
}

/* ---- survivors ---- */

static const struct raw_region_want heirloom = { .name = "heirloom", .length = 4 * MIB,
						 .flags = MMB_REGION_CREATE };

static void open_heirloom(struct attack *a, struct raw_region *region)
{
	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "family", 0), 0);
	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &heirloom, region), 0);
}

static void write_and_die(struct client_process *self, void *socket)
{
	static struct attack a;
	struct raw_region    region;

	a.socket = socket;
	open_heirloom(&a, &region);
	pattern_fill(region.at, region.length / 2, 7);
	ready(self);
	for (;;) /* the second half is being written when death comes */
		pattern_fill(region.at + region.length / 2, region.length / 2, 8);
}

static void read_and_survive(struct client_process *self, void *socket)
{
	static struct attack a;
	struct raw_region    region;
	char                 step;

	a.socket = socket;
	open_heirloom(&a, &region);
	ready(self);
	while (read(self->in, &step, 1) == 1) {
		CLIENT_EXPECT(pattern_holds(region.at, region.length / 2, 7));
		pattern_fill(region.at + region.length / 2, region.length / 2, 9);
		CLIENT_EXPECT(pattern_holds(region.at + region.length / 2, region.length / 2, 9));
		ready(self);
	}
}

static void inherit_and_unlink(struct client_process *self, void *socket)
{
	static struct attack           a;
	struct raw_region              region;
	Mmb__Wire__RegionUnlinkRequest unlinked = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;

	a.socket = socket;
	open_heirloom(&a, &region);
	CLIENT_EXPECT(!region.created);
	CLIENT_EXPECT(pattern_holds(region.at, region.length / 2, 7));
	unlinked.pool = a.r.pool;
	unlinked.name = (char *)(uintptr_t)heirloom.name;
	CLIENT_EXPECT_EQ(raw_call(&a.r, MMB_METHOD_REGION_UNLINK, &unlinked), 0);
	CLIENT_EXPECT(pattern_holds(region.at, region.length / 2, 7));
}

static void shared_region_survives(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process writer, reader, heir;

	client_fork(&writer, write_and_die, f->socket);
	EXPECT(client_hear_step(&writer, 'r'));
	client_fork(&reader, read_and_survive, f->socket);
	EXPECT(client_hear_step(&reader, 'r'));
	client_signal(&writer, SIGKILL);
	for (int i = 0; i < 3; i++) {
		EXPECT(client_tell_step(&reader, 'c'));
		EXPECT(client_hear_step(&reader, 'r'));
	}
	client_signal(&reader, SIGKILL);
	/* Nobody has it open: it has a name and stays. */
	hostile_expect_bystander();
	client_fork(&heir, inherit_and_unlink, f->socket);
	EXPECT_EQ(client_wait(&heir), 0);
	hostile_check();
}

static void runs_of_a_shared_pool(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process first, second;

	client_fork(&first, live_in_the_crowd, f->socket);
	EXPECT(client_hear_step(&first, 'r'));
	client_fork(&second, live_in_the_crowd, f->socket);
	EXPECT(client_hear_step(&second, 'r'));
	client_signal(&first, SIGKILL);
	hostile_expect_bystander();
	client_signal(&second, SIGKILL);
	hostile_check();
}

/* ---- how fast ---- */

static void rich(struct attack *a)
{
	const struct raw_region_want want = { .length = 256 * MIB, .flags = MMB_REGION_POPULATE };
	struct raw_region            region;

	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	ready(a->self);
	pause();
}

static double milliseconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) * 1e3 +
	       (double)(now.tv_nsec - start->tv_nsec) / 1e6;
}

static bool session_gone(void *arg)
{
	struct fixture        *f = arg;
	struct broker_counters now;

	return fixture_read(f, &now) && now.sessions == f->baseline.sessions;
}

static bool memory_back(void *arg)
{
	struct fixture        *f = arg;
	struct broker_counters now;

	return fixture_read(f, &now) && now.present == f->baseline.present;
}

static void reclaim_rate(void)
{
	struct fixture       *f = hostile_begin();
	struct mortal         mortal = { .socket = f->socket, .life = rich };
	struct client_process c;
	struct timespec       killed;
	double                gone;

	client_fork(&c, live, &mortal);
	EXPECT(client_hear_step(&c, 'r'));
	clock_gettime(CLOCK_MONOTONIC, &killed);
	kill(c.pid, SIGKILL);
	EXPECT(test_wait(session_gone, f, 10));
	gone = milliseconds_since(&killed);
	EXPECT(test_wait(memory_back, f, 10));
	printf("  256 MiB of a killed client: bookkeeping done after %.1f ms, memory back after "
	       "%.1f ms (%.1f GiB/s)\n", gone, milliseconds_since(&killed),
	       250.0 / milliseconds_since(&killed));
	client_signal(&c, SIGKILL);
	hostile_check();
}

static const struct test_case cases[] = {
	{ "a client killed with page runs of all orders leaves nothing", dies_holding_runs },
	{ "a client killed with 4 KiB pages leaves nothing", dies_holding_small_pages },
	{ "a client killed with 2 MiB pages leaves nothing", dies_holding_large_pages },
	{ "a client killed with locked pages leaves nothing", dies_holding_locked_pages },
	{ "a client killed with 500 regions leaves nothing", dies_holding_many_regions },
	{ "clients killed in a fault leave nothing", dies_in_a_fault },
	{ "clients killed with many threads in faults leave nothing",
	  dies_in_faults_of_many_threads },
	{ "clients killed while populating leave nothing", dies_while_populating },
	{ "clients killed while allocating leave nothing", dies_while_allocating },
	{ "clients killed while opening and closing leave nothing", dies_while_opening },
	{ "clients killed while locking leave nothing", dies_while_locking },
	{ "256 sessions killed at once leave nothing", crowd_dies },
	{ "deaths of all kinds at once leave nothing", all_kinds_at_once },
	{ "a shared region survives its writer, then its reader, then has an heir",
	  shared_region_survives },
	{ "page runs of a shared pool go with the session that took them",
	  runs_of_a_shared_pool },
	{ "the memory of a killed client comes back", reclaim_rate },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
