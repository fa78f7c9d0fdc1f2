/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_overcommit - pools that promise more than there is: the touch fails, or the biggest session
 * ends; pools above high are slowed down and nobody else is
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stage.h"

enum { BIG_READY = 1, SMALL_READY, SMALL_DONE };
enum { MAX = 16 * MIB, PATIENCE = 30 };

static void open_pool(struct actor *a, unsigned int flags, const struct mmb_pool_options *options)
{
	act_open(a);
	if (mmb_pool_open(a->mmb, "promising", MMB_POOL_CREATE | flags, options, &a->pool))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(a->pool);
}

static void open_overcommitting(struct actor *a, unsigned int flags)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .mode = 0666,
						  .max = MAX };

	open_pool(a, MMB_POOL_OVERCOMMIT | flags, &options);
}

static void touch_too_much(struct actor *a)
{
	struct mmb_fault_info info = { .size = sizeof(info) };
	struct mmb_region *region;
	char *at;
	size_t i = 0;

	open_overcommitting(a, 0);
	region = act_region(a, 4 * MAX, 0);
	at = act_at(region);
	while (i < 4 * (size_t)MAX && !touch_write(at + i, 1))
		i += PAGE;
	CLIENT_EXPECT(i >= MAX / 2 && i < 2 * (size_t)MAX);
	CLIENT_EXPECT_EQ(mmb_fault_info(at + i, &info), 0);
	CLIENT_EXPECT(strstr(info.cause, "promised more than there is"));
	CLIENT_EXPECT_EQ(at[0], 1); /* what was had stays */
}

static void a_touch_fails_without_the_policy(void)
{
	PLAY(ROLE(touch_too_much));
}

/* Others can have what is given back at once, and without swap. */
static void give_back_and_touch(struct actor *a, int advice)
{
	struct mmb_region *first, *second;

	open_overcommitting(a, 0);
	first = act_region(a, 12 * MIB, 0);
	for (size_t i = 0; i < 12 * MIB; i += PAGE)
		stamp(act_at(first) + i, PAGE, i);
	CLIENT_EXPECT_EQ(mmb_region_advise(first, 0, 12 * MIB, advice), 0);
	second = act_region(a, 12 * MIB, 0);
	for (size_t i = 0; i < 12 * MIB; i += PAGE)
		stamp(act_at(second) + i, PAGE, ~i);
	for (size_t i = 0; i < 12 * MIB; i += PAGE)
		CLIENT_EXPECT(is_stamped(act_at(second) + i, PAGE, ~i));
	mmb_region_close(first);
}

static void drop_and_touch(struct actor *a)
{
	give_back_and_touch(a, MMB_ADVISE_DONTNEED);
}

static void free_and_touch(struct actor *a)
{
	give_back_and_touch(a, MMB_ADVISE_FREE);
}

static void what_is_dropped_is_had_at_once(void)
{
	PLAY(ROLE(drop_and_touch));
}

static void what_is_freed_makes_room_without_swap(void)
{
	PLAY(ROLE(free_and_touch));
}

static void be_the_biggest(struct actor *a)
{
	open_overcommitting(a, MMB_POOL_OOM_KILL);
	memset(act_at(act_region(a, 12 * MIB, 0)), 1, 12 * MIB);
	cue(BIG_READY);
	for (;;)
		pause();
}

static void need_more(struct actor *a)
{
	struct mmb_region *region;

	await(BIG_READY);
	open_overcommitting(a, 0);
	region = act_region(a, 8 * MIB, 0);
	memset(act_at(region), 2, 8 * MIB); /* goes on when the other one has been ended */
	for (size_t i = 0; i < 8 * MIB; i += PAGE)
		CLIENT_EXPECT_EQ(act_at(region)[i], 2);
}

/* It has nothing but what its clone shows of a closed region. */
static void be_the_biggest_by_a_clone(struct actor *a)
{
	struct mmb_region *origin, *clone;

	open_overcommitting(a, MMB_POOL_OOM_KILL);
	origin = act_region(a, 12 * MIB, 0);
	memset(act_at(origin), 1, 12 * MIB);
	CLIENT_EXPECT_EQ(mmb_region_clone(origin, NULL, &clone), 0);
	mmb_region_close(origin);
	cue(BIG_READY);
	for (;;)
		pause();
}

static void open_with_swap(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .mode = 0666,
						  .max = MAX, .swap_max = MAX + 4 * MIB };

	open_pool(a, MMB_POOL_OVERCOMMIT | MMB_POOL_OOM_KILL, &options);
}

static void be_the_biggest_on_disk(struct actor *a)
{
	size_t bytes = MAX + 4 * MIB;
	struct mmb_region *region;

	open_with_swap(a);
	region = act_region(a, bytes, 0);
	for (size_t i = 0; i < bytes; i += PAGE)
		stamp(act_at(region) + i, PAGE, i);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, bytes, MMB_ADVISE_PAGEOUT), 0);
	CLIENT_EXPECT_EQ(act_stat(region).swapped, bytes);
	cue(BIG_READY);
	for (;;)
		pause();
}

static void need_more_than_memory(struct actor *a)
{
	size_t bytes = MAX + 4 * MIB;
	char *at;

	await(BIG_READY);
	open_with_swap(a);
	at = act_at(act_region(a, bytes, 0));
	for (size_t i = 0; i < bytes; i += PAGE)
		stamp(at + i, PAGE, ~i);
	for (size_t i = 0; i < bytes; i += PAGE)
		CLIENT_EXPECT(is_stamped(at + i, PAGE, ~i));
}

struct going_off {
	const char *socket, *line;
};

/* Regions that have just been closed may still be on their way back. */
static bool is_off(void *arg)
{
	const struct going_off *g = arg;

	return mmbctl(g->socket, g->line);
}

/* Who, how much, why, and what was tried. */
static void expect_report(const struct fixture *f)
{
	char biggest[100], other[100];

	snprintf(biggest, sizeof(biggest), "(pid %d, test_overcommit): 12288 KiB of regions",
		 (int)stage_pid(0));
	snprintf(other, sizeof(other), "(pid %d, test_overcommit): ", (int)stage_pid(1));
	EXPECT(fixture_log_says(f, "pool promising can't have 4 KiB more: regions "));
	EXPECT(fixture_log_says(f, "max 16384, committed "));
	EXPECT(fixture_log_says(f, "reclaim found nothing to free, and its clients were asked"));
	EXPECT(fixture_log_says(f, biggest));
	EXPECT(fixture_log_says(f, other));
	EXPECT(fixture_log_says(f, "out of memory in pool promising: the biggest of 2 sessions, "
				   "with 12288 KiB"));
}

static void the_biggest_session_ends(void)
{
	struct fixture *f = stage_begin();

	CAST(ROLE(be_the_biggest, .status = -SIGKILL), ROLE(need_more));
	EXPECT(stage_ended(1));
	EXPECT(line_number(mmbctl(f->socket, "vmstat"), "oom_kill") >= 1);
	expect_report(f);
	stage_end();
}

static void what_a_clone_inherits_counts(void)
{
	PLAY(ROLE(be_the_biggest_by_a_clone, .status = -SIGKILL), ROLE(need_more));
}

static void be_slowed_down(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .mode = 0666,
						  .high = 4 * MIB };
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_region *region;
	char *at;

	open_pool(a, 0, &options);
	region = act_region(a, 8 * MIB, 0);
	at = act_at(region);
	/* Else pages made ahead leave no fault to delay. */
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, 8 * MIB, MMB_ADVISE_RANDOM), 0);
	for (size_t i = 0; i < 8 * MIB && !stat.some_stall_us; i += PAGE) {
		CLIENT_EXPECT_EQ(touch_write(at + i, 1), 0);
		if (i > 4 * MIB)
			CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	}
	CLIENT_EXPECT(stat.some_stall_us > 0);
	CLIENT_EXPECT(stat.full_stall_us <= stat.some_stall_us);
	CLIENT_EXPECT(strstr(mmbctl(a->socket, "pressure --pool promising"), "some avg10="));
	CLIENT_EXPECT(json_number(mmbctl(a->socket, "latency --json"), "\"fault\"", "count") > 0);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static struct mmb_pool_stat stalls_of(const struct actor *a)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };

	CLIENT_EXPECT_EQ(mmb_pool_stat(a->pool, &stat), 0);
	return stat;
}

/* The first line of its kind, of a pool, a session, or all. */
static double average_of(const char *text, const char *who)
{
	const char *at = text ? strstr(text, who) : NULL;
	double average = -1;

	if (!at || !(at = strstr(at, "some avg10=")) || sscanf(at, "some avg10=%lf", &average) != 1)
		return -1;
	return average;
}

static bool average_shows(void *arg)
{
	const struct actor *a = arg;

	return average_of(mmbctl(a->socket, "pressure --pool promising"), "some") > 0;
}

/* Twice as much as high: a fault for one page waits for a second. Nobody else is there, so that all
 * of it counts as full, too. */
static void stall_for_a_second(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .mode = 0666 };
	struct mmb_pool_stat before, after;
	struct mmb_region *region;
	uint64_t some, began;
	char *at;

	open_pool(a, 0, &options);
	region = act_region(a, 8 * MIB, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, 8 * MIB, MMB_ADVISE_RANDOM), 0);
	at = act_at(region);
	for (size_t i = 0; i < 6 * MIB; i += PAGE)
		stamp(at + i, PAGE, i); /* pages of one value would go without swap */
	CLIENT_EXPECT(mmbctl(a->socket, "pool set promising high=3M"));
	began = now_us();
	before = stalls_of(a);
	CLIENT_EXPECT_EQ(touch_write(at + 7 * MIB, 1), 0);
	after = stalls_of(a);
	some = after.some_stall_us - before.some_stall_us;
	CLIENT_EXPECT(some >= 900 * 1000);
	CLIENT_EXPECT(some <= now_us() - began);
	CLIENT_EXPECT(after.full_stall_us - before.full_stall_us >= some / 2);
	CLIENT_EXPECT(test_wait(average_shows, a, PATIENCE));
}

static void what_is_on_the_disk_counts(void)
{
	struct fixture *f = stage_begin();
	char *folder = getcwd(NULL, 0);
	char path[300], line[400];

	snprintf(path, sizeof(path), "%s/overcommit-%d", folder, (int)getpid());
	free(folder);
	snprintf(line, sizeof(line), "swapon '%s' 64M", path);
	EXPECT(mmbctl(f->socket, line));
	unlink(path); /* nothing stays, however the test ends */
	CAST(ROLE(be_the_biggest_on_disk, .status = -SIGKILL), ROLE(need_more_than_memory));
	EXPECT(stage_ended(1));
	EXPECT(stage_ended(0));
	snprintf(line, sizeof(line), "(pid %d, test_overcommit): 0 KiB of regions, 20480 swapped",
		 (int)stage_pid(0));
	EXPECT(fixture_log_says(f, line));
	snprintf(line, sizeof(line), "swapoff '%s'", path);
	EXPECT(test_wait(is_off, &(struct going_off){ f->socket, line }, PATIENCE));
	stage_end();
}

static void a_known_stall_is_told(void)
{
	PLAY(ROLE(stall_for_a_second));
}

static void a_pool_above_high_is_slowed_down(void)
{
	PLAY(ROLE(be_slowed_down));
}

static const struct test_case cases[] = {
	{ "a page that a pool promised in vain raises SIGBUS, and says why",
	  a_touch_fails_without_the_policy },
	{ "what a client drops others can have at once", what_is_dropped_is_had_at_once },
	{ "what clients have freed makes room without swap, too",
	  what_is_freed_makes_room_without_swap },
	{ "with MMB_POOL_OOM_KILL the biggest session ends, and only it",
	  the_biggest_session_ends },
	{ "what a session has on the disk counts like what it has in memory",
	  what_is_on_the_disk_counts },
	{ "what a session's clones show of closed regions counts, too",
	  what_a_clone_inherits_counts },
	{ "faults above high are delayed, and counted as stalls",
	  a_pool_above_high_is_slowed_down },
	{ "a stall of a known length is counted as that, and its average shows",
	  a_known_stall_is_told },
	STAGE_STOPS,
};
TEST_MAIN(cases)
