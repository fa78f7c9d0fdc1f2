/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_resume_clones - a supervised daemon that dies while clones' windows change
 *
 * Purpose     Clones of small and of 2 MiB pages hold what they held, whatever page was out of its
 *             file and whatever part of a window had moved. MMB_LONG=1: ten deaths at each point.
 * Not here    Requests that make clones (test_resume.c).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/types.h"
#include "system/kill_scene.h"
#include "system/stage.h"
#include "system/swap_scene.h"

enum {
	REGION_BYTES = 16 * MIB,
	REGION_PAGES = REGION_BYTES / PAGE,
	STEP_STARTED = 1,
	STEP_OVER,
};

static const char *const flags[] = { "--supervise", NULL };
static const struct setting setting = { .flags = flags };

/* ---- clones ---- */

enum { RELATIVES = 3, TOUCHES_A_CLONE = 400 };

/* A region, and what each of its pages begins and ends with. */
struct relative {
	struct mmb_region *region;
	uint64_t *at, values[REGION_PAGES];
};

static void expect_value(const struct relative *r, uint64_t page)
{
	CLIENT_EXPECT_EQ(r->at[page * (PAGE / 8)], r->values[page]);
	CLIENT_EXPECT_EQ(r->at[(page + 1) * (PAGE / 8) - 1], r->values[page]);
}

static void give_value(struct relative *r, uint64_t page, uint64_t value)
{
	r->at[page * (PAGE / 8)] = value;
	r->at[(page + 1) * (PAGE / 8) - 1] = value;
	r->values[page] = value;
}

static void clone_relative(const struct relative *of, struct relative *to)
{
	if (to->region)
		mmb_region_close(to->region);
	CLIENT_EXPECT_EQ(mmb_region_clone(of->region, NULL, &to->region), 0);
	to->at = (uint64_t *)(void *)act_at(to->region);
	memcpy(to->values, of->values, sizeof(to->values));
}

/* Each is read in order by turns, so that clones have their ancestors' pages mapped. */
static void touch_relatives(struct relative *all, unsigned int *seed, uint64_t turn)
{
	struct relative *r = &all[rand_r(seed) % RELATIVES];
	uint64_t page = (uint64_t)rand_r(seed) % REGION_PAGES;

	expect_value(&all[turn / REGION_PAGES % RELATIVES], turn % REGION_PAGES);
	expect_value(r, page);
	if (turn % 3 == 0)
		give_value(r, page, turn + 1);
	if (turn % TOUCHES_A_CLONE == 0)
		clone_relative(&all[turn / TOUCHES_A_CLONE % 2], &all[2]);
}

static void clones_under_kills(struct actor *a)
{
	static struct relative all[RELATIVES];
	unsigned int seed = (unsigned int)getpid();

	act_open(a);
	act_pool(a, 0);
	all[0].region = act_region(a, REGION_BYTES, 0);
	all[0].at = (uint64_t *)(void *)act_at(all[0].region);
	for (uint64_t page = 0; page < REGION_PAGES; page++)
		give_value(&all[0], page, page + 1);
	clone_relative(&all[0], &all[1]);
	atomic_fetch_add(&board->number[0], 1);
	clone_relative(&all[1], &all[2]);
	for (uint64_t turn = 1; atomic_load(&board->reached) < STEP_OVER; turn++)
		touch_relatives(all, &seed, turn);
	for (int i = 0; i < RELATIVES; i++) {
		for (uint64_t page = 0; page < REGION_PAGES; page++)
			for (int k = i; k < RELATIVES; k++)
				expect_value(&all[k], page);
		mmb_region_close(all[i].region);
	}
}

static unsigned int nr_clone_kills(void)
{
	return getenv("MMB_LONG") ? 200 : 6;
}

static void clones_stay_what_they_are(void)
{
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(clones_under_kills));
	wait_for_number(0, 1);
	EXPECT_EQ(kill_often(f->pid, nr_clone_kills(), NULL, NULL), nr_clone_kills());
	cue(STEP_OVER);
	EXPECT(stage_ended(0));
	fixture_reconnect(f);
	stage_end();
}
/* ---- nobody is left of those that a clone's window shows ---- */

static uint64_t resident_of(const struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	return stat.resident;
}

/* The clone's pages come to be its own without its client: the origin is written. */
static void outlive_the_origin(struct actor *a)
{
	struct mmb_region *origin, *clone;

	act_open(a);
	act_pool(a, 0);
	origin = act_region(a, MIB, 0);
	stamp(act_at(origin), MIB, 1);
	clone = act_clone(origin, NULL, 0);
	CLIENT_EXPECT(is_stamped(act_at(clone), MIB / 2, 1));
	stamp(act_at(origin), MIB, 2);
	mmb_region_close(origin);
	for (int i = 0; i < 20000 && resident_of(a) > MIB; i++)
		usleep(1000);
	CLIENT_EXPECT_EQ(resident_of(a), MIB);
	cue(STEP_STARTED);
	await(STEP_OVER);
	CLIENT_EXPECT(is_stamped(act_at(clone), MIB, 1));
	stamp(act_at(clone), MIB, 3);
	CLIENT_EXPECT(is_stamped(act_at(clone), MIB, 3));
	mmb_region_close(clone);
}

static void a_clone_outlives_origin_and_daemon(void)
{
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	CAST(ROLE(outlive_the_origin));
	EXPECT(cue_comes(STEP_STARTED));
	EXPECT_EQ(kill_often(f->pid, 2, NULL, NULL), 2);
	cue(STEP_OVER);
	EXPECT(stage_ended(0));
	fixture_reconnect(f);
	stage_end();
}

/* ---- the daemon dies when a client has moved a part of a clone's window ---- */

/* As it was asked to, and goes on. */
static const char *const moved[] = { "MMB_INJECT=CHANGE_READ:2:kill", NULL };
static const struct setting moved_setting = { flags, moved };
static const struct kill_point move_points[] = { { "CHANGE_READ", &moved_setting } };

static void windows_that_have_moved_are_found(void)
{
	die_at_each(&(struct kill_points){ move_points, ARRAY_SIZE(move_points), STEP_OVER },
		    clones_under_kills);
}
/* A page of 2 MiB is out of its file, or a copy of it is made and nobody has been told. */
#define HUGE_POINTS(X) X(TAKEN_OUT) X(COPIED_IN)

#define X(name)                                                                              \
	static const char *const environment_##name[] = { "MMB_INJECT=" #name ":2:kill", NULL }; \
	static const struct setting setting_##name = { huge_flags, environment_##name };
static const char *const huge_flags[] = { "--supervise", "--memory.reserve_huge=64M", NULL };
HUGE_POINTS(X)
#undef X

#define X(name) { #name, &setting_##name },
static const struct kill_point huge_points[] = { HUGE_POINTS(X) };
#undef X

/* ---- the daemon dies while a clone's pages of 2 MiB are taken from its window ---- */

enum { NR_HUGE = 4, HUGE_STOCK = 33, SPARE_FDS = 256, KEPT_SECONDS = 30 };

struct huge_relative {
	struct mmb_region *region;
	uint64_t *at, values[NR_HUGE];
};

static void fill_huge(struct huge_relative *r, uint64_t page, uint64_t value)
{
	r->values[page] = value;
	for (uint64_t i = 0; i < HUGE_PAGE / 8; i += PAGE / 8)
		r->at[page * (HUGE_PAGE / 8) + i] = value + i;
}

static void expect_filled(const struct huge_relative *r)
{
	for (uint64_t page = 0; page < NR_HUGE; page++)
		for (uint64_t i = 0; i < HUGE_PAGE / 8; i += PAGE / 8)
			CLIENT_EXPECT_EQ(r->at[page * (HUGE_PAGE / 8) + i], r->values[page] + i);
}

static void clone_huge_until_over(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct huge_relative origin = { 0 }, clone;
	unsigned int seed = (unsigned int)getpid();

	act_open(a);
	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, NR_HUGE * HUGE_PAGE, &options,
					   &origin.region), 0);
	origin.at = (uint64_t *)(void *)act_at(origin.region);
	for (uint64_t page = 0; page < NR_HUGE; page++)
		fill_huge(&origin, page, page + 1);
	atomic_fetch_add(&board->number[0], 1);
	for (uint64_t turn = 1; atomic_load(&board->reached) < STEP_OVER; turn++) {
		clone = origin;
		CLIENT_EXPECT_EQ(mmb_region_clone(origin.region, NULL, &clone.region), 0);
		clone.at = (uint64_t *)(void *)act_at(clone.region);
		expect_filled(&clone);
		fill_huge(&origin, (uint64_t)rand_r(&seed) % NR_HUGE, turn << 32);
		fill_huge(&clone, (uint64_t)rand_r(&seed) % NR_HUGE, turn << 33);
		fill_huge(&origin, (uint64_t)rand_r(&seed) % NR_HUGE, turn << 34);
		expect_filled(&clone);
		expect_filled(&origin);
		mmb_region_close(clone.region);
	}
	mmb_region_close(origin.region);
}

static void pages_of_2_mib_are_put_back(void)
{
	if (!hugepages_get(HUGE_STOCK))
		SKIP("no 66 MiB of free huge pages: vm.nr_hugepages is too low");
	die_at_each(&(struct kill_points){ huge_points, ARRAY_SIZE(huge_points), STEP_OVER },
		    clone_huge_until_over);
}
/* ---- the page that is put by, for one that is out ---- */

static const struct setting huge_setting = { .flags = huge_flags };

/* The inode of the file in which the process has it; 0: it has none, or the file is empty. */
static uint64_t spare_of(pid_t pid)
{
	char path[64], name[64];
	uint64_t inode = 0;
	struct stat file;
	ssize_t length;

	for (int fd = 0; fd < SPARE_FDS && !inode; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		length = readlink(path, name, sizeof(name) - 1);
		name[length > 0 ? length : 0] = '\0';
		if (strstr(name, "mmb-spare-0") && !stat(path, &file) && file.st_blocks)
			inode = file.st_ino;
	}
	return inode;
}

static void show_huge(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct huge_relative origin = { 0 }, clone;

	act_open(a);
	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, NR_HUGE * HUGE_PAGE, &options,
					   &origin.region), 0);
	origin.at = (uint64_t *)(void *)act_at(origin.region);
	for (uint64_t page = 0; page < NR_HUGE; page++)
		fill_huge(&origin, page, page + 1);
	clone = origin;
	CLIENT_EXPECT_EQ(mmb_region_clone(origin.region, NULL, &clone.region), 0);
	clone.at = (uint64_t *)(void *)act_at(clone.region);
	expect_filled(&clone);
	cue(STEP_STARTED);
	await(STEP_OVER);
	fill_huge(&origin, 0, 7);
	expect_filled(&clone);
	mmb_region_close(clone.region);
	mmb_region_close(origin.region);
}

/* It has read what the daemon has sent. */
static bool supervisor_has_spare(void *f)
{
	return spare_of(((struct fixture *)f)->pid);
}

/* Nobody of the host gets it while there is no daemon. */
static void the_spare_page_outlives_the_daemon(void)
{
	uint64_t spare;
	struct fixture *f;
	pid_t worker;

	need_root("the supervisor's descriptors can't be read otherwise");
	if (!hugepages_get(HUGE_STOCK))
		SKIP("no 66 MiB of free huge pages: vm.nr_hugepages is too low");
	stage_set(&huge_setting);
	f = stage_begin();
	CAST(ROLE(show_huge));
	EXPECT(cue_comes(STEP_STARTED));
	worker = worker_of(f->pid);
	spare = spare_of(worker);
	EXPECT(spare && test_wait(supervisor_has_spare, f, KEPT_SECONDS));
	EXPECT(stop_process(f->pid) && !kill(worker, SIGKILL));
	EXPECT_EQ(spare_of(f->pid), spare);
	EXPECT_EQ(kill(f->pid, SIGCONT), 0);
	EXPECT(worker_dies(f->pid, worker));
	fixture_reconnect(f);
	EXPECT_EQ(spare_of(worker_of(f->pid)), spare);
	cue(STEP_OVER);
	EXPECT(stage_ended(0));
	stage_end();
}

/* ---- and a stock without room for it ---- */

/* Of 8 pages 2 are the margin, and 2 can be fixed. */
enum { FULL_RESERVE_MIB = 64, FULL_HUGE_MIB = 16, FULL_SWAP_MIB = 64, FULL_HUGE = 6,
       FULL_RUNS = 2, FULL_STOCK = 9, HUGE_ORDER = 9,
       STEP_TOUCHED = STEP_OVER + 1, STEP_HUNG, STEP_FULL, STEP_SERVED };

static char *huge_at(struct mmb_region *region, uint64_t page)
{
	return act_at(region) + page * HUGE_PAGE;
}

static void expect_stamped(struct mmb_region *region)
{
	for (uint64_t page = 0; page < FULL_HUGE; page++)
		CLIENT_EXPECT(is_stamped(huge_at(region, page), PAGE, page));
}

static void fill_the_stock(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region, *clone;
	char *runs[FULL_RUNS];

	act_open(a);
	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, FULL_HUGE * HUGE_PAGE, &options, &region), 0);
	for (uint64_t page = 0; page < FULL_HUGE; page++)
		stamp(huge_at(region, page), PAGE, page);
	cue(STEP_TOUCHED);
	await(STEP_HUNG);
	for (uint64_t i = 0; i < FULL_RUNS; i++) {
		runs[i] = mmb_alloc_pages(a->pool, HUGE_ORDER, 0);
		CLIENT_EXPECT(runs[i]);
		stamp(runs[i], PAGE, 100 + i);
	}
	clone = act_clone(region, NULL, 0);
	expect_stamped(clone);
	cue(STEP_FULL);
	await(STEP_SERVED);
	expect_stamped(region);
	expect_stamped(clone);
	for (uint64_t i = 0; i < FULL_RUNS; i++) {
		CLIENT_EXPECT(is_stamped(runs[i], PAGE, 100 + i));
		mmb_free_pages(a->pool, runs[i], HUGE_ORDER);
	}
	stamp(huge_at(clone, 0), PAGE, 7);
	expect_stamped(region);
	mmb_region_close(clone);
	mmb_region_close(region);
}

/* With the page that is put by. */
static int64_t huge_used(const struct fixture *f)
{
	const char *status = mmbctl(f->socket, "status --json");

	return json_number(status, "\"stock\":\"huge\"", "held") +
	       json_number(status, "\"stock\":\"huge\"", "present");
}

/* Who would evict hangs, so that the stock stays as it is until the death. */
static void a_full_stock_is_taken_over(void)
{
	static const char *const more[] = { "--supervise", "--memory.reserve_huge=16M", NULL };
	struct fixture *f;
	pid_t worker;

	if (!hugepages_get(FULL_STOCK))
		SKIP("no 18 MiB of free huge pages: vm.nr_hugepages is too low");
	setenv("MMB_INJECT", "KSWAPD_TURN:1:hang", 1);
	swap_scene_set(FULL_RESERVE_MIB, FULL_SWAP_MIB, more);
	f = stage_begin();
	CAST(ROLE(fill_the_stock));
	EXPECT(cue_comes(STEP_TOUCHED));
	worker = worker_of(f->pid);
	EXPECT(worker > 0 && !kill(worker, SIGRTMIN + 1));
	cue(STEP_HUNG);
	EXPECT(cue_comes(STEP_FULL));
	EXPECT(huge_used(f) > FULL_HUGE_MIB * MIB);
	EXPECT(!kill(worker, SIGKILL) && worker_dies(f->pid, worker));
	fixture_reconnect(f);
	cue(STEP_SERVED);
	EXPECT(stage_ended(0));
	stage_end();
	unsetenv("MMB_INJECT");
}

static const struct test_case cases[] = {
	{ "clones stay what they are, also of a region that has been closed",
	  clones_stay_what_they_are },
	{ "a clone whose origin has gone is there after the daemon's death",
	  a_clone_outlives_origin_and_daemon },
	{ "parts of a clone's window that have moved when the daemon dies show what they should",
	  windows_that_have_moved_are_found },
	{ "pages of 2 MiB that are out when the daemon dies are put back",
	  pages_of_2_mib_are_put_back },
	{ "the page put by for what is out outlives the daemon",
	  the_spare_page_outlives_the_daemon },
	{ "a stock that is full, with a page put by beside, is taken over",
	  a_full_stock_is_taken_over },
	STAGE_STOPS,
};
TEST_MAIN(cases)
