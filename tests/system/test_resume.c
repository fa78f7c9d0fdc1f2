/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_resume - SIGKILL of a supervised daemon under clients that verify every byte
 *
 * Purpose     What clients see of a daemon's death is a pause: no wrong byte, no unexpected zero,
 *             no thread that waits for ever, no call that fails; and afterwards the next daemon
 *             counts what the dead one counted. The pauses are measured and printed, not judged.
 *             MMB_LONG=1: a thousand kills.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "system/stage.h"

enum {
	CLIENTS = 8,
	KILLS = 50,
	KILLS_LONG = 1000,
	REGION_BYTES = 16 * MIB,
	REGION_PAGES = REGION_BYTES / PAGE,
	DROPPED_PAGES = 16,
	OPS_A_CALL = 500,
	STEP_STARTED = 1,
	STEP_OVER,
};

static const char *const flags[] = { "--supervise", NULL };
static const struct setting setting = { .flags = flags };

static unsigned int nr_kills(void)
{
	return getenv("MMB_LONG") ? KILLS_LONG : KILLS;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- a client that verifies ---- */

struct load {
	struct actor *a;
	struct mmb_region *region;
	uint64_t *at;
	uint32_t *generation; /* by page; 0: reads zero */
	unsigned int seed;
	uint64_t worst_us;
};

static uint64_t stamp_of(const struct load *l, uint64_t page)
{
	return l->generation[page] ? page << 32 | l->generation[page] : 0;
}

static void check_page(struct load *l, uint64_t page)
{
	CLIENT_EXPECT_EQ(l->at[page * (PAGE / 8)], stamp_of(l, page));
	CLIENT_EXPECT_EQ(l->at[page * (PAGE / 8) + PAGE / 8 - 1], stamp_of(l, page));
}

static void touch_one(struct load *l)
{
	uint64_t page = (uint64_t)rand_r(&l->seed) % REGION_PAGES, began = now_us();

	check_page(l, page);
	l->generation[page]++;
	l->at[page * (PAGE / 8)] = stamp_of(l, page);
	l->at[page * (PAGE / 8) + PAGE / 8 - 1] = stamp_of(l, page);
	l->worst_us = now_us() - began > l->worst_us ? now_us() - began : l->worst_us;
}

/* Requests of each kind: one that makes something, one that changes pages, one that ends it. */
static void call_some(struct load *l)
{
	uint64_t first = (uint64_t)rand_r(&l->seed) % (REGION_PAGES - DROPPED_PAGES);
	uint64_t began = now_us();
	struct mmb_region *other = act_region(l->a, MIB, 0);

	CLIENT_EXPECT(is_zero(act_at(other), PAGE));
	memset(act_at(other), 0x5a, PAGE);
	CLIENT_EXPECT_EQ(mmb_region_advise(l->region, first * PAGE, DROPPED_PAGES * PAGE,
					   MMB_ADVISE_DONTNEED), 0);
	memset(&l->generation[first], 0, DROPPED_PAGES * sizeof(l->generation[0]));
	mmb_region_close(other);
	l->worst_us = now_us() - began > l->worst_us ? now_us() - began : l->worst_us;
}

static void begin_load(struct load *l)
{
	act_open(l->a);
	act_pool(l->a, 0);
	l->region = act_region(l->a, REGION_BYTES, 0);
	l->at = (uint64_t *)(void *)act_at(l->region);
	l->generation = calloc(REGION_PAGES, sizeof(l->generation[0]));
	CLIENT_EXPECT(l->generation);
	atomic_fetch_add(&board->number[0], 1);
}

static void verify_under_kills(struct actor *a)
{
	struct load l = { .a = a, .seed = (unsigned int)getpid() };
	uint64_t ops = 0;

	begin_load(&l);
	while (atomic_load(&board->reached) < STEP_OVER) {
		touch_one(&l);
		if (++ops % OPS_A_CALL == 0)
			call_some(&l);
	}
	for (uint64_t page = 0; page < REGION_PAGES; page++)
		check_page(&l, page);
	board->number[1 + a->place] = l.worst_us;
	mmb_region_close(l.region);
	free(l.generation);
}

/* ---- the killer ---- */

/* The supervisor's child; 0: none at the moment. */
static pid_t worker_of(pid_t supervisor)
{
	char path[64];
	FILE *file;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", supervisor, supervisor);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}

static void rest_us(unsigned int us)
{
	nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 },
		  NULL);
}

static void wait_for_number(unsigned int which, uint64_t at_least)
{
	for (int i = 0; i < 60000 && atomic_load(&board->number[which]) < at_least; i++) {
		if (stage_failed())
			break;
		rest_us(1000);
	}
	EXPECT(atomic_load(&board->number[which]) >= at_least);
}

static unsigned int kill_often(pid_t supervisor, unsigned int kills)
{
	unsigned int seed = 1, done = 0;

	for (unsigned int tries = 0; done < kills && tries < 20 * kills; tries++) {
		pid_t worker;

		if (stage_failed())
			break;
		rest_us(20000 + (unsigned int)rand_r(&seed) % 200000);
		worker = worker_of(supervisor);
		done += worker > 0 && !kill(worker, SIGKILL);
	}
	return done;
}

static void kills_cost_a_pause(void)
{
	struct role roles[CLIENTS];
	struct fixture *f;
	uint64_t worst = 0;

	stage_set(&setting);
	f = stage_begin();
	for (int i = 0; i < CLIENTS; i++)
		roles[i] = (struct role)ROLE(verify_under_kills);
	stage_cast(roles, CLIENTS);
	wait_for_number(0, CLIENTS);
	EXPECT_EQ(kill_often(f->pid, nr_kills()), nr_kills());
	if (stage_failed())
		fixture_show_log(f);
	cue(STEP_OVER);
	for (int i = 0; i < CLIENTS; i++)
		EXPECT(stage_ended((unsigned int)i));
	for (int i = 0; i < CLIENTS; i++)
		worst = board->number[1 + i] > worst ? board->number[1 + i] : worst;
	printf("# %u kills, longest pause of %d clients: %llu us\n", nr_kills(), CLIENTS,
	       (unsigned long long)worst);
	fixture_reconnect(f);
	stage_end();
}

/* ---- clones ---- */

static void clones_under_kills(struct actor *a)
{
	struct mmb_region *region, *kept, *orphan;
	char *at;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, REGION_BYTES, 0);
	at = act_at(region);
	stamp(at, REGION_BYTES, 1);
	CLIENT_EXPECT_EQ(mmb_region_clone(region, NULL, &kept), 0);
	stamp(at, REGION_BYTES / 2, 2);
	CLIENT_EXPECT_EQ(mmb_region_clone(kept, NULL, &orphan), 0);
	atomic_fetch_add(&board->number[0], 1);
	while (atomic_load(&board->reached) < STEP_OVER)
		usleep(1000);
	stamp(at + REGION_BYTES / 4, REGION_BYTES / 2, 3);
	CLIENT_EXPECT(is_stamped(act_at(kept), REGION_BYTES / 8, 1));
	mmb_region_close(kept);
	CLIENT_EXPECT(is_stamped(act_at(orphan), REGION_BYTES, 1));
	CLIENT_EXPECT(is_stamped(at, REGION_BYTES / 4, 2));
	mmb_region_close(region);
	CLIENT_EXPECT(is_stamped(act_at(orphan), REGION_BYTES, 1));
	mmb_region_close(orphan);
}

static void clones_stay_what_they_are(void)
{
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(clones_under_kills));
	wait_for_number(0, 1);
	EXPECT_EQ(kill_often(f->pid, 2), 2);
	cue(STEP_OVER);
	EXPECT(stage_ended(0));
	fixture_reconnect(f);
	stage_end();
}

/* ---- a daemon that dies at a named point ---- */

/* One a point, since settings are told apart by address. */
#define CRASH_POINTS(X)                                                                   \
	X(MEMFD_NEW) X(POPULATE) X(PUNCH) X(META_POPULATE) X(PFN_RANGE) X(SECTION_ADD)     \
	X(REGION_NEW) X(WINDOW_ADD) X(COMMIT) X(ALLOC_PAGES) X(ZONE_GROW) X(UFFD_CONTINUE)        \
	X(UFFD_WAKE)
/* Met by who clones three regions at once: before the second is a member, before any is armed,
 * between the first two handles, before the answer. */
#define CLONE_POINTS(X) X(CLONE_JOIN) X(CLONE_ARM) X(CLONE_PUBLISH) X(CLONE_DONE)

#define X(name)                                                                              \
	static const char *const environment_##name[] = { "MMB_INJECT=" #name ":2:kill", NULL }; \
	static const struct setting setting_##name = { flags, environment_##name };
CRASH_POINTS(X)
CLONE_POINTS(X)
#undef X

struct point {
	const char *name;
	const struct setting *setting;
};
#define X(name) { #name, &setting_##name },
static const struct point points[] = { CRASH_POINTS(X) };
static const struct point clone_points[] = { CLONE_POINTS(X) };
#undef X

enum { POINT_CLIENTS = 3, POINT_TIMES_LONG = 10, POINT_WAIT_MS = 60000 };

static void use_arena(struct load *l)
{
	void *run = mmb_alloc_pages(l->a->pool, 3, MMB_GFP_ZERO);
	char *object = mmb_malloc(l->a->pool, 100000);

	CLIENT_EXPECT(run && object);
	CLIENT_EXPECT(is_zero(run, 8 * PAGE));
	memset(object, 1, 100000);
	mmb_free(object);
	mmb_free_pages(l->a->pool, run, 3);
	mmb_trim(l->a->pool);
}

static void verify_everything(struct actor *a)
{
	struct load l = { .a = a, .seed = (unsigned int)getpid() };

	begin_load(&l);
	while (atomic_load(&board->reached) < STEP_OVER) {
		for (int i = 0; i < 50; i++)
			touch_one(&l);
		call_some(&l);
		use_arena(&l);
	}
	for (uint64_t page = 0; page < REGION_PAGES; page++)
		check_page(&l, page);
	mmb_region_close(l.region);
	free(l.generation);
}

/* The worker has been told to die at its point: has it? */
static bool dies(pid_t supervisor, pid_t worker)
{
	for (int i = 0; i < POINT_WAIT_MS && !stage_failed(); i++) {
		if (worker_of(supervisor) != worker)
			return true;
		rest_us(1000);
	}
	return false;
}

static unsigned int die_at(const struct point *point, act_fn act, unsigned int times)
{
	struct role roles[POINT_CLIENTS];
	unsigned int deaths = 0;
	struct fixture *f;

	stage_set(point->setting);
	f = stage_begin();
	for (int i = 0; i < POINT_CLIENTS; i++)
		roles[i] = (struct role)ROLE(act);
	stage_cast(roles, POINT_CLIENTS);
	wait_for_number(0, POINT_CLIENTS);
	while (deaths < times) {
		pid_t worker = worker_of(f->pid);

		if (worker <= 0 || kill(worker, SIGRTMIN + 1) || !dies(f->pid, worker))
			break;
		deaths++;
		fixture_reconnect(f); /* it serves again */
	}
	cue(STEP_OVER);
	for (int i = 0; i < POINT_CLIENTS; i++)
		EXPECT(stage_ended((unsigned int)i));
	fixture_reconnect(f);
	stage_end();
	return deaths;
}

static void die_at_each(const struct point *at, size_t nr, act_fn act)
{
	unsigned int times = getenv("MMB_LONG") ? POINT_TIMES_LONG : 1;

	for (size_t i = 0; i < nr; i++) {
		unsigned int deaths = die_at(&at[i], act, times);

		printf("# %s: %u deaths\n", at[i].name, deaths);
		EXPECT_EQ(deaths, times);
	}
}

static void points_cost_a_pause(void)
{
	die_at_each(points, sizeof(points) / sizeof(points[0]), verify_everything);
}

/* ---- the daemon dies while it clones ---- */

enum { FAMILY = 3 };

/* Of the actor's session, as the broker counts them, which may just be starting again. */
static int64_t regions_of(struct actor *a)
{
	const char *sessions = NULL;
	char mark[32];

	snprintf(mark, sizeof(mark), "\"pid\":%d,", getpid());
	for (int i = 0; i < POINT_WAIT_MS / 20 && !sessions; i++) {
		sessions = mmbctl(a->socket, "sessions --json");
		if (!sessions)
			rest_us(20000);
	}
	return sessions ? json_number(sessions, mark, "regions") : -1;
}

static void clone_three(struct actor *a, struct mmb_region **parents)
{
	char name[32];
	const struct mmb_clone_options options[FAMILY] = {
		{ .size = sizeof(options[0]) },
		{ .size = sizeof(options[0]), .name = name },
		{ .size = sizeof(options[0]), .flags = MMB_REGION_READONLY },
	};
	struct mmb_region *clones[FAMILY], *again = NULL;

	snprintf(name, sizeof(name), "snapshot-%u", a->place);
	CLIENT_EXPECT_EQ(mmb_region_clone_many(FAMILY, parents, options, clones), 0);
	for (unsigned int i = 0; i < FAMILY; i++)
		CLIENT_EXPECT(is_stamped(act_at(clones[i]), MIB, 1 + i));
	CLIENT_EXPECT_EQ(regions_of(a), 2 * FAMILY);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, name, 0, 0, NULL, &again), 0);
	mmb_region_close(again);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, name), 0);
	for (unsigned int i = 0; i < FAMILY; i++)
		mmb_region_close(clones[i]);
}

static void clone_until_over(struct actor *a)
{
	struct mmb_region *parents[FAMILY];

	act_open(a);
	act_common_pool(a);
	for (unsigned int i = 0; i < FAMILY; i++) {
		parents[i] = act_region(a, MIB, 0);
		stamp(act_at(parents[i]), MIB, 1 + i);
	}
	atomic_fetch_add(&board->number[0], 1);
	while (atomic_load(&board->reached) < STEP_OVER)
		clone_three(a, parents);
	for (unsigned int i = 0; i < FAMILY; i++)
		mmb_region_close(parents[i]);
}

static void clones_are_made_once(void)
{
	die_at_each(clone_points, sizeof(clone_points) / sizeof(clone_points[0]),
		    clone_until_over);
}

/* ---- clients that end while there is no daemon ---- */

static void hold_and_wait(struct actor *a)
{
	struct mmb_region *region;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, MIB, 0);
	memset(act_at(region), 1, MIB);
	atomic_fetch_add(&board->number[0], 1);
	pause();
}

static void who_dies_meanwhile_is_cleaned_up(void)
{
	const struct role roles[] = { ROLE(hold_and_wait, .status = -SIGKILL),
				      ROLE(hold_and_wait, .status = -SIGKILL) };
	struct fixture *f;
	pid_t worker;

	stage_set(&setting);
	f = stage_begin();
	stage_cast(roles, 2);
	wait_for_number(0, 2);
	worker = worker_of(f->pid);
	EXPECT(worker > 0);
	EXPECT(stop_process(f->pid)); /* nobody restarts it yet */
	kill(worker, SIGKILL);
	stage_kill(0, SIGKILL);
	stage_kill(1, SIGKILL);
	EXPECT(stage_ended(0));
	EXPECT(stage_ended(1));
	kill(f->pid, SIGCONT);
	fixture_reconnect(f);
	stage_end();
}

static const struct test_case cases[] = {
	{ "a daemon's deaths cost its clients pauses and nothing else", kills_cost_a_pause },
	{ "clones stay what they are, also of a region that has been closed",
	  clones_stay_what_they_are },
	{ "a daemon that dies at a named point costs a pause", points_cost_a_pause },
	{ "clones that are asked for when the daemon dies are made once", clones_are_made_once },
	{ "a client that dies while there is no daemon leaves nothing",
	  who_dies_meanwhile_is_cleaned_up },
	STAGE_STOPS,
};
TEST_MAIN(cases)
