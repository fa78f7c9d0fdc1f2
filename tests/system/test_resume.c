/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_resume - a supervised daemon that dies in the middle of requests, and who dies meanwhile
 *
 * Purpose     What a request has done when the daemon dies is done once, whoever dies at what
 *             moment. MMB_LONG=1: ten deaths at each point.
 * Not here    Deaths at random moments (test_kills.c), where clones' windows change
 *             (test_resume_clones.c), and at all other points (test_points.c).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "base/types.h"
#include "lib/raw_client.h"
#include "proto/methods.h"
#include "system/kill_scene.h"
#include "system/stage.h"

enum {
	STEP_STARTED = 1,
	STEP_OVER,
};

static const char *const flags[] = { "--supervise", NULL };
static const struct setting setting = { .flags = flags };


/* ---- who waits no longer ---- */

enum { PATIENCE_MS = 2000, STEP_GIVEN_UP = STEP_OVER + 1, STEP_BACK };

/* Its socket stays open: the supervisor keeps it, and starts nobody. */
static void give_up_on_broker(struct actor *a)
{
	struct mmb_region_stat stat = { .size = sizeof(stat) };
	struct mmb_region *region;
	char *at, value, first[MIB / 2 / PAGE];

	act_open_for(a, PATIENCE_MS);
	act_pool(a, 0);
	region = act_region(a, MIB, 0);
	at = act_at(region);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, MIB, MMB_ADVISE_RANDOM), 0);
	stamp(at, MIB / 2, 1);
	for (uint64_t page = 0; page < MIB / 2 / PAGE; page++)
		first[page] = at[page * PAGE];
	cue(STEP_STARTED);
	await(STEP_OVER);
	CLIENT_EXPECT_EQ(touch_read(at + MIB - PAGE, &value), SIGBUS);
	CLIENT_EXPECT(is_stamped(at, MIB / 2, 1));
	CLIENT_EXPECT_EQ(mmb_region_stat(region, &stat), -ENOTCONN);
	CLIENT_EXPECT(strstr(mmb_error(), "daemon_timeout_ms"));
	cue(STEP_GIVEN_UP);
	await(STEP_BACK);
	/* The next daemon takes its memory back, as soon as it sees that the session is over: until
	 * then what was never written is empty. */
	CLIENT_EXPECT(touch_read(at + MIB - 2 * PAGE, &value) == SIGBUS || !value);
	for (uint64_t page = 0; page < MIB / 2 / PAGE; page++)
		CLIENT_EXPECT(touch_read(at + page * PAGE, &value) == SIGBUS ||
			      value == first[page]);
}

static void deadline_ends_the_wait(void)
{
	struct fixture *f;
	pid_t worker;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(give_up_on_broker));
	EXPECT(cue_comes(STEP_STARTED));
	worker = worker_of(f->pid);
	EXPECT(worker > 0 && !kill(f->pid, SIGSTOP) && !kill(worker, SIGKILL));
	cue(STEP_OVER);
	EXPECT(cue_comes(STEP_GIVEN_UP));
	EXPECT_EQ(kill(f->pid, SIGCONT), 0);
	fixture_reconnect(f);
	cue(STEP_BACK);
	EXPECT(stage_ended(0));
	stage_end();
}

/* ---- a daemon that dies at a named point ---- */

/* One a point, since settings are told apart by address. */
/* Met by who clones three regions at once: before the second is a member, before any is armed,
 * between the first two handles, before the answer, and with it and what it is to bring. */
#define CLONE_POINTS(X) \
	X(CLONE_JOIN) X(CLONE_ARM) X(CLONE_PUBLISH) X(CLONE_DONE) X(CLONE_TOLD)

/* What was granted or given back is done, wholly or by half, and the answer isn't sent. */
#define GRANT_POINTS(X) \
	X(PAGES_DONE) X(FREE_DONE) X(LEASE_HALF) X(LEASE_DONE) X(RETURN_HALF) X(RETURN_DONE)

/* A region made by name: it is made, but for its handle; nobody knows it yet. */
#define NAME_POINTS(X) X(WINDOW_ADD) X(REGION_NEW)

#define X(name)                                                                              \
	static const char *const environment_##name[] = { "MMB_INJECT=" #name ":2:kill", NULL }; \
	static const struct setting setting_##name = { flags, environment_##name };
CLONE_POINTS(X)
GRANT_POINTS(X)
NAME_POINTS(X)
#undef X

#define X(name) { #name, &setting_##name },
static const struct kill_point clone_points[] = { CLONE_POINTS(X) };
static const struct kill_point grant_points[] = { GRANT_POINTS(X) };
static const struct kill_point name_points[] = { NAME_POINTS(X) };
#undef X

enum { POINT_WAIT_MS = 60000 };





/* ---- the daemon dies while it makes a region by name ---- */

static void make_by_name(struct actor *a)
{
	struct mmb_region_options options = { .size = sizeof(options), .mode = 0666 };
	char name[32];

	act_open(a);
	act_common_pool(a);
	snprintf(name, sizeof(name), "exclusive-%u", a->place);
	atomic_fetch_add(&board->number[0], 1);
	while (atomic_load(&board->reached) < STEP_OVER) {
		struct mmb_region *region = NULL;
		int error = mmb_region_open(a->pool, name, MIB, MMB_REGION_CREATE | MMB_REGION_EXCL,
					    &options, &region);

		if (error)
			printf("  %s\n", mmb_error());
		CLIENT_EXPECT_EQ(error, 0);
		CLIENT_EXPECT(is_zero(act_at(region), PAGE));
		memset(act_at(region), 1, PAGE);
		CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, name), 0);
		mmb_region_close(region);
	}
}

static void names_are_made_once(void)
{
	die_at_each(&(struct kill_points){ name_points, ARRAY_SIZE(name_points), STEP_OVER },
		    make_by_name);
}

/* ---- the daemon dies while it clones ---- */

enum { FAMILY = 3 };

/* Of the actor's session, as the broker counts it, which may just be starting again. */
static int64_t of_session(struct actor *a, const char *what)
{
	const char *sessions = NULL;
	char mark[32];

	snprintf(mark, sizeof(mark), "\"pid\":%d,", getpid());
	for (int i = 0; i < POINT_WAIT_MS / 20 && !sessions; i++) {
		sessions = mmbctl(a->socket, "sessions --json");
		if (!sessions)
			rest_us(20000);
	}
	return sessions ? json_number(sessions, mark, what) : -1;
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
	CLIENT_EXPECT_EQ(of_session(a, "regions"), 2 * FAMILY);
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
	die_at_each(&(struct kill_points){ clone_points, ARRAY_SIZE(clone_points), STEP_OVER },
		    clone_until_over);
}

/* ---- the daemon dies between a grant and its answer ---- */

enum { LOOKS = 100, LOOK_US = 20000 };

static void take_and_give_back(struct actor *a)
{
	enum { NR = 4, ORDER = 3, BYTES = 100000 };
	void *runs[NR];
	char *objects[NR];

	for (size_t i = 0; i < NR; i++) {
		runs[i] = mmb_alloc_pages(a->pool, ORDER, MMB_GFP_ZERO);
		objects[i] = mmb_malloc(a->pool, BYTES * (i + 1));
		CLIENT_EXPECT(runs[i] && objects[i]);
		CLIENT_EXPECT(is_zero(runs[i], PAGE << ORDER));
		stamp(runs[i], PAGE << ORDER, i);
		memset(objects[i], (int)i, BYTES * (i + 1));
	}
	for (size_t i = 0; i < NR; i++) {
		CLIENT_EXPECT(is_stamped(runs[i], PAGE << ORDER, i));
		CLIENT_EXPECT_EQ(objects[i][BYTES * (i + 1) - 1], (char)i);
		mmb_free_pages(a->pool, runs[i], ORDER);
		mmb_free(objects[i]);
	}
	mmb_trim(a->pool);
}

/* The keeper may lease ahead just when all was given back: that goes with the next trim, and what
 * nobody knows of doesn't. */
static int64_t least_leased(struct actor *a, int64_t wanted)
{
	int64_t leased = of_session(a, "leased");

	for (int i = 0; i < LOOKS && leased > wanted; i++) {
		rest_us(LOOK_US);
		mmb_trim(a->pool);
		leased = of_session(a, "leased");
	}
	return leased;
}

/* What the broker counts of this session is what the process has. */
static void keep_nothing(struct actor *a)
{
	int64_t leased;

	act_open(a);
	act_pool(a, 0);
	take_and_give_back(a);
	leased = least_leased(a, 0);
	CLIENT_EXPECT_EQ(of_session(a, "page_runs"), 0);
	atomic_fetch_add(&board->number[0], 1);
	while (atomic_load(&board->reached) < STEP_OVER)
		take_and_give_back(a);
	take_and_give_back(a);
	CLIENT_EXPECT_EQ(of_session(a, "page_runs"), 0);
	CLIENT_EXPECT_EQ(least_leased(a, leased), leased);
}

static void grants_are_neither_lost_nor_doubled(void)
{
	die_at_each(&(struct kill_points){ grant_points, ARRAY_SIZE(grant_points), STEP_OVER },
		    keep_nothing);
}

/* ---- the daemon dies while it takes units back, and then the client leaves ---- */

enum { GIVEN = 8, GIVEN_BYTES = 300000, GIVEN_UNITS = 40, /* in them */
       SMALL = 100, ADOPT_SECONDS = 60,
       STEP_GIVING = STEP_OVER + 5, STEP_LEFT };

static void take_and_return(struct actor *a)
{
	void *objects[GIVEN];

	for (size_t i = 0; i < GIVEN; i++) {
		objects[i] = mmb_malloc(a->pool, GIVEN_BYTES);
		CLIENT_EXPECT(objects[i]);
	}
	for (size_t i = 0; i < GIVEN; i++)
		mmb_free(objects[i]);
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
}

/* Until the daemon dies in it. A small object stays, so that who takes over finds a slab. */
static void give_back_and_leave(struct actor *a)
{
	pid_t supervisor, worker;

	act_open(a);
	act_common_pool(a);
	CLIENT_EXPECT(mmb_malloc(a->pool, SMALL));
	cue(STEP_STARTED);
	await(STEP_GIVING);
	supervisor = (pid_t)atomic_load(&board->number[0]);
	worker = (pid_t)atomic_load(&board->number[1]);
	do
		take_and_return(a);
	while (worker_of(supervisor) == worker);
}

static bool has_adopted(void *pool)
{
	return act_adopted(pool) > 0;
}

/* What it takes over and can't give back ends it. */
static void take_over(struct actor *a)
{
	act_open(a);
	act_common_pool(a);
	CLIENT_EXPECT(mmb_malloc(a->pool, SMALL));
	atomic_store(&board->number[2], 1); /* it hears of who leaves from now on */
	await(STEP_LEFT);
	CLIENT_EXPECT(test_wait(has_adopted, a->pool, ADOPT_SECONDS));
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
}

static void die_while_returning(unsigned int nth)
{
	struct fixture *f;
	pid_t worker;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(give_back_and_leave), ROLE(take_over));
	EXPECT(cue_comes(STEP_STARTED));
	wait_for_number(2, 1);
	worker = worker_of(f->pid);
	EXPECT(arm_worker(worker, INJECT_RETURN_HALF, nth));
	atomic_store(&board->number[0], (uint64_t)f->pid);
	atomic_store(&board->number[1], (uint64_t)worker);
	cue(STEP_GIVING);
	EXPECT(worker_dies(f->pid, worker));
	EXPECT(stage_ended(0));
	cue(STEP_LEFT);
	EXPECT(stage_ended(1));
	fixture_reconnect(f);
	stage_end();
}

static void half_a_return_is_no_trap(void)
{
	for (unsigned int nth = 1; nth <= GIVEN_UNITS; nth += GIVEN_UNITS / 2 - 1)
		die_while_returning(nth);
}

/* ---- the daemon dies while it takes back what its client has taken over ---- */

enum { LEFT = 24, LEFT_BYTES = 300000, LEFT_LEASED = 24 * 5 * (64 << 10),
       STEP_LEFT_BEHIND = STEP_OVER + 20, STEP_ARMED, STEP_RETURNED, STEP_COUNTED };

/* What it leaves is a list, which goes on in the first word of each. */
static void leave_behind(struct actor *a)
{
	void **list = NULL;

	act_open(a);
	act_common_pool(a);
	for (size_t i = 0; i < LEFT; i++) {
		void **object = mmb_malloc(a->pool, LEFT_BYTES);

		CLIENT_EXPECT(object);
		*object = list;
		list = object;
	}
	CLIENT_EXPECT(mmb_malloc(a->pool, SMALL)); /* for who waits to take over */
	atomic_store(&board->number[3], (uint64_t)(uintptr_t)list);
	await(STEP_LEFT_BEHIND);
}

/* Freed, they are its own, and go back in one request in which the daemon dies. */
static void return_what_was_left(struct actor *a)
{
	void **list;

	act_open(a);
	act_common_pool(a);
	CLIENT_EXPECT(mmb_malloc(a->pool, SMALL));
	atomic_store(&board->number[2], 1);
	await(STEP_ARMED);
	CLIENT_EXPECT(test_wait(has_adopted, a->pool, ADOPT_SECONDS));
	list = (void **)(uintptr_t)atomic_load(&board->number[3]);
	while (list) {
		void **next = *list;

		mmb_free(list);
		list = next;
	}
	CLIENT_EXPECT_EQ(mmb_trim(a->pool), 0);
	cue(STEP_RETURNED);
	await(STEP_COUNTED);
}

static bool little_is_leased(void *socket)
{
	const char *pools = mmbctl(socket, "pools --json");

	return pools && json_number(pools, "\"name\":\"common\"", "leased") <
				LEFT_LEASED / 2;
}

static void a_return_of_what_was_taken_over_isnt_lost(void)
{
	struct fixture *f;
	pid_t worker;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(leave_behind), ROLE(return_what_was_left));
	wait_for_number(2, 1);
	wait_for_number(3, 1);
	cue(STEP_LEFT_BEHIND);
	EXPECT(stage_ended(0));
	worker = worker_of(f->pid);
	EXPECT(arm_worker(worker, INJECT_RETURN_HALF, 2));
	cue(STEP_ARMED);
	EXPECT(worker_dies(f->pid, worker));
	EXPECT(cue_comes(STEP_RETURNED));
	fixture_reconnect(f);
	EXPECT(test_wait(little_is_leased, f->socket, ADOPT_SECONDS));
	cue(STEP_COUNTED);
	EXPECT(stage_ended(1));
	stage_end();
}

/* ---- the daemon dies while it makes an arena and its slab maps ---- */

/* Two nodes: two sections of an arena, and two slab maps. */
enum { ARENA_SECTIONS = 4, ARENAS = 64, OBJECTS = 40, OBJECT_BYTES = 3000,
       STEP_LEASED = STEP_OVER + 3, STEP_SECOND_DEATH };

static const char *const two_nodes[] = { "HWLOC_SYNTHETIC=node:2 pu:1", NULL };
static const struct setting two_nodes_setting = { flags, two_nodes };

struct arena_user {
	struct actor actor; /* of a pool of its own */
	char *objects[OBJECTS];
};

static void use_new_arena(const struct actor *a, struct arena_user *u)
{
	u->actor = *a;
	act_pool(&u->actor, 0);
	for (size_t i = 0; i < OBJECTS; i++) {
		u->objects[i] = mmb_malloc(u->actor.pool, OBJECT_BYTES);
		CLIENT_EXPECT(u->objects[i]);
		stamp(u->objects[i], OBJECT_BYTES & ~7, i);
	}
}

static void leave_arena(struct arena_user *u)
{
	for (size_t i = 0; i < OBJECTS; i++) {
		CLIENT_EXPECT(is_stamped(u->objects[i], OBJECT_BYTES & ~7, i));
		mmb_free(u->objects[i]);
	}
	mmb_pool_close(u->actor.pool);
}

static void leave_arenas(struct arena_user *users, unsigned int *nr)
{
	while (*nr)
		leave_arena(&users[--*nr]);
}

static void use_arenas(struct actor *a)
{
	static struct arena_user users[ARENAS];
	unsigned int nr = 0;

	act_open(a);
	cue(STEP_STARTED);
	while (atomic_load(&board->reached) < STEP_OVER) {
		if (nr == ARENAS)
			leave_arenas(users, &nr);
		use_new_arena(a, &users[nr++]);
		rest_us(2000);
	}
	cue(STEP_LEASED);
	await(STEP_SECOND_DEATH);
	leave_arenas(users, &nr);
}

/* The second death shows which maps the daemon goes on with. */
static void die_at_section(unsigned int nth)
{
	struct fixture *f;
	pid_t worker;

	stage_set(&two_nodes_setting);
	f = stage_begin();
	CAST(ROLE(use_arenas));
	EXPECT(cue_comes(STEP_STARTED));
	worker = worker_of(f->pid);
	EXPECT(arm_worker(worker, INJECT_SECTION_ADD, nth));
	EXPECT(worker_dies(f->pid, worker));
	cue(STEP_OVER);
	EXPECT(cue_comes(STEP_LEASED));
	EXPECT_EQ(kill_often(f->pid, 1, NULL, NULL), 1);
	fixture_reconnect(f);
	cue(STEP_SECOND_DEATH);
	EXPECT(stage_ended(0));
	stage_end();
}

static void arenas_are_made_once(void)
{
	for (unsigned int nth = 1; nth <= ARENA_SECTIONS; nth++)
		die_at_section(nth);
}

/* ---- what is held ---- */

static const char *const hold_flags[] = { "--supervise", "--memory.reserve=64M",
					  "--memory.reserve_mode=hold", NULL };
static const struct setting hold_setting = { .flags = hold_flags };

static int64_t held(const struct fixture *f)
{
	return json_number(mmbctl(f->socket, "status --json"), "\"stock\":\"base\"", "held");
}

static void what_is_held_stays_held(void)
{
	struct fixture *f;
	int64_t before, after;

	stage_set(&hold_setting);
	f = stage_begin();
	before = held(f);
	EXPECT(before > 32 * MIB);
	EXPECT_EQ(kill_often(f->pid, 1, NULL, NULL), 1);
	fixture_reconnect(f);
	after = held(f);
	printf("# %lld of %lld MiB are held as soon as the next daemon answers\n",
	       (long long)after >> 20, (long long)before >> 20);
	EXPECT(after >= before - 4 * MIB);
	stage_end();
}

/* ---- clients that end while there is no daemon ---- */

/* ---- who reads nothing ---- */

enum { PINGS = 300, UNREAD_US = 6 * 1000 * 1000 /* replies may be left so for 5 s */ };

static bool all_is_heard(void *r)
{
	int unheard = 1;

	return !ioctl(((struct raw *)r)->sock, SIOCOUTQ, &unheard) && !unheard;
}

/* Its socket is full when the daemon dies, as after some hundred deaths it is of whoever asks for
 * nothing meanwhile. */
static void who_reads_nothing_is_resumed(void)
{
	static struct raw r;
	struct raw_region region;
	struct fixture *f;
	bool told = false;
	pid_t worker;

	stage_set(&setting);
	f = stage_begin();
	raw_init(&r);
	EXPECT_EQ(raw_session(&r, f->socket, "silent"), 0);
	EXPECT_EQ(raw_pool(&r, NULL, 0), 0);
	EXPECT_EQ(raw_region(&r, MIB, &region), 0);
	memset(region.at, 0x11, PAGE);
	for (int i = 0; i < PINGS; i++)
		EXPECT_EQ(raw_request(&r, MMB_METHOD_PING, NULL), 0);
	EXPECT(test_wait(all_is_heard, &r, 20));
	worker = worker_of(f->pid);
	EXPECT(worker > 0 && !kill(worker, SIGKILL) && worker_dies(f->pid, worker));
	fixture_reconnect(f);
	rest_us(UNREAD_US);
	for (size_t at = PAGE; at < MIB; at += PAGE)
		EXPECT(!region.at[at]);
	EXPECT_EQ(region.at[0], 0x11);
	for (int i = 0; i <= PINGS && !told; i++)
		told = !raw_recv(&r) && r.reply.method == MMB_UPCALL_RESUMED;
	EXPECT(told);
	raw_close(&r);
	close(region.fd);
	munmap(region.at, MIB);
	stage_end();
}

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

/* ---- arenas made ahead ---- */

/* Enough for one to be made ahead (client/arena_ahead.h). */
static const char *const large_flags[] = { "--supervise", "--memory.reserve=512M", NULL };

/* Each program's first object, in an arena that the daemon had ready, or had been about to. */
static void programs_start(struct actor *a)
{
	const struct mmb_open_options options = { .size = sizeof(options),
						  .daemon_timeout_ms = 60000 };

	while (atomic_load(&board->reached) < STEP_OVER) {
		struct mmb_pool *pool;
		struct mmb *mmb;
		char *at;

		CLIENT_EXPECT_EQ(mmb_open(a->socket, &options, &mmb), 0);
		CLIENT_EXPECT_EQ(mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool), 0);
		at = mmb_malloc(pool, PAGE);
		CLIENT_EXPECT(at);
		memset(at, 0x5a, PAGE);
		for (int i = 0; i < PAGE; i++)
			CLIENT_EXPECT_EQ(at[i], 0x5a);
		mmb_close(mmb);
		atomic_fetch_add(&board->number[0], 1);
	}
}

static void arenas_made_ahead_outlive_nobody(void)
{
	static const struct setting large = { .flags = large_flags };
	struct fixture *f;

	stage_set(&large);
	f = stage_begin();
	CAST(ROLE(programs_start), ROLE(programs_start));
	wait_for_number(0, 20);
	EXPECT_EQ(kill_often(f->pid, getenv("MMB_LONG") ? 100 : 8, NULL, NULL),
		  getenv("MMB_LONG") ? 100 : 8);
	wait_for_number(0, 40);
	cue(STEP_OVER);
	EXPECT(stage_ended(0));
	EXPECT(stage_ended(1));
	fixture_reconnect(f);
	fixture_expect_verified(f);
	stage_end();
}

static const struct test_case cases[] = {
	{ "clones that are asked for when the daemon dies are made once", clones_are_made_once },
	{ "a region that is made exclusively by name is made once", names_are_made_once },
	{ "grants and returns whose answer is lost are made once",
	  grants_are_neither_lost_nor_doubled },
	{ "who takes over from a client whose return a death has cut finds only what is leased",
	  half_a_return_is_no_trap },
	{ "what was taken over from another and is returned when the daemon dies goes back",
	  a_return_of_what_was_taken_over_isnt_lost },
	{ "an arena and its slab maps that are half made are completed", arenas_are_made_once },
	{ "arenas that are made ahead are nobody's after a death",
	  arenas_made_ahead_outlive_nobody },
	{ "what is held stays held while there is no daemon", what_is_held_stays_held },
	{ "a client that leaves all unread is resumed as any other", who_reads_nothing_is_resumed },
	{ "a client that dies while there is no daemon leaves nothing",
	  who_dies_meanwhile_is_cleaned_up },
	{ "a client's deadline ends its wait while a keeper holds its socket",
	  deadline_ends_the_wait },
	STAGE_STOPS,
};
TEST_MAIN(cases)
