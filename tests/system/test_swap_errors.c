/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_errors - a disk that fails while it is swapped to
 *
 * The disk is memory behind nbdkit's error filter, seen through FUSE, as a loop device: its errors
 * come from the kernel's block layer as a broken disk's do, and begin and end with a file. What
 * can't be written stays resident, and its blocks are left out; what can't be read is a bus error
 * of its page; an area that fails too often takes nothing more; everybody else goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system/loop_disk.h"
#include "system/stage.h"

enum { PAGES = 1024, DISK_MIB = 64, LOST = 77, FEW = 8, ROUNDS = 400 };
enum { FILLED = 1, WRITES_FAIL, STAYED, WRITES_WORK, OUT, READS_FAIL, SEEN, READS_WORK, MANY_FAIL,
       IS_DEAD };

static const char *const flags[] = { "--memory.reserve=64M", NULL };
static const struct setting setting = { .flags = flags };

static bool disk_is_there(void *unused)
{
	return !loop_run("[ -s %s/disk ]", loop_folder);
}

static void make_disk(void)
{
	loop_begin("disk");
	if (loop_run("command -v nbdkit nbdfuse >/dev/null && [ -c /dev/fuse ]"))
		SKIP("no nbdkit, nbdfuse or /dev/fuse here");
	EXPECT_EQ(loop_run(": >%s/disk", loop_folder), 0);
	EXPECT_EQ(loop_run("setsid nbdfuse %1$s/disk --command nbdkit -s --filter=error memory 64M "
			   "error-pwrite=EIO error-pwrite-rate=100%% "
			   "error-pwrite-file=%1$s/no-writes "
			   "error-pread=EIO error-pread-rate=100%% error-pread-file=%1$s/no-reads "
			   "</dev/null >/dev/null 2>&1 &", loop_folder), 0);
	if (!test_wait(disk_is_there, NULL, 20))
		SKIP("nbdfuse mounts nothing here");
	loop_attach("--direct-io=on");
}

static void fail(const char *what)
{
	EXPECT_EQ(loop_run(": >%s/no-%s", loop_folder, what), 0);
}

static void work(const char *what)
{
	EXPECT_EQ(loop_run("rm -f %s/no-%s", loop_folder, what), 0);
}

static char *ready_region(struct actor *a, struct mmb_region **region)
{
	char *at;

	act_open(a);
	act_pool(a, 0);
	*region = act_region(a, (size_t)PAGES * PAGE, 0);
	at = act_at(*region);
	for (uint64_t i = 0; i < PAGES; i++)
		stamp(at + i * PAGE, PAGE, i);
	return at;
}

static void out(struct mmb_region *region, uint64_t first, uint64_t nr)
{
	CLIENT_EXPECT_EQ(mmb_region_advise(region, first * PAGE, nr * PAGE, MMB_ADVISE_PAGEOUT), 0);
}

static bool is_all_out(void *arg)
{
	out(arg, 0, PAGES);
	return act_stat(arg).resident == 0;
}

static void be_on_the_disk(struct actor *a)
{
	struct mmb_region *region;
	char *at = ready_region(a, &region), value;

	cue(FILLED);
	await(WRITES_FAIL);
	out(region, 0, FEW);
	CLIENT_EXPECT_EQ(act_stat(region).resident, (uint64_t)PAGES * PAGE);
	for (uint64_t i = 0; i < PAGES; i++)
		CLIENT_EXPECT(is_stamped(at + i * PAGE, PAGE, i));
	cue(STAYED);
	await(WRITES_WORK);
	CLIENT_EXPECT(test_wait(is_all_out, region, 30));
	cue(OUT);
	await(READS_FAIL);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, (size_t)PAGES * PAGE, MMB_ADVISE_RANDOM), 0);
	CLIENT_EXPECT_EQ(touch_read(at + LOST * PAGE, &value), SIGBUS);
	cue(SEEN);
	await(READS_WORK);
	for (uint64_t i = 0; i < PAGES; i++)
		CLIENT_EXPECT(i == LOST || is_stamped(at + i * PAGE, PAGE, i));
	CLIENT_EXPECT_EQ(touch_read(at + LOST * PAGE, &value), SIGBUS); /* for good */
	await(MANY_FAIL);
	for (uint64_t i = LOST + 1; i < PAGES; i++)
		stamp(at + i * PAGE, PAGE, i); /* else there is nothing to write */
	while (board->reached < IS_DEAD)
		out(region, 0, PAGES);
	for (uint64_t i = 0; i < PAGES; i++) /* what is resident goes on */
		CLIENT_EXPECT(i == LOST || is_stamped(at + i * PAGE, PAGE, i));
	mmb_region_close(region);
}

/* Never on the disk, and never in the way. */
static void look_on(struct actor *a)
{
	struct mmb_region *region;
	char *at = ready_region(a, &region);

	CLIENT_EXPECT_EQ(mmb_region_lock(region, 0, (size_t)PAGES * PAGE), 0);
	while (board->reached < MANY_FAIL)
		for (uint64_t i = 0; i < PAGES; i++)
			CLIENT_EXPECT(is_stamped(at + i * PAGE, PAGE, i));
	mmb_region_close(region);
}

static const char *swaps(const struct fixture *f)
{
	const char *json = mmbctl(f->socket, "swaps --json");

	EXPECT(json != NULL);
	return json;
}

static bool area_is_dead(void *f)
{
	return strstr(swaps(f), "\"state\":\"dead\"");
}

static void go_off(const struct fixture *f)
{
	char line[100];

	snprintf(line, sizeof(line), "swapoff %s", loop_device);
	for (int i = 0; i < ROUNDS && !mmbctl(f->socket, line); i++)
		usleep(50 * 1000);
	EXPECT_EQ(occurrences(swaps(f), loop_device), 0);
}

static void a_failing_disk(void)
{
	struct fixture *f;
	char line[100];

	make_disk();
	f = stage_begin();
	snprintf(line, sizeof(line), "swapon %s", loop_device);
	EXPECT(mmbctl(f->socket, line));
	CAST(ROLE(be_on_the_disk), ROLE(look_on));
	EXPECT(cue_comes(FILLED));
	fail("writes");
	cue(WRITES_FAIL);
	EXPECT(cue_comes(STAYED));
	EXPECT(strstr(swaps(f), "\"state\":\"degraded\""));
	EXPECT_EQ(json_number(swaps(f), loop_device, "bad"), FEW * PAGE);
	EXPECT(json_number(swaps(f), loop_device, "write_errors") >= FEW);
	EXPECT(fixture_log_says(f, "and is made again block by block"));
	work("writes");
	cue(WRITES_WORK);
	EXPECT(cue_comes(OUT));
	fail("reads");
	cue(READS_FAIL);
	EXPECT(cue_comes(SEEN));
	EXPECT(json_number(swaps(f), loop_device, "read_errors") > 0);
	work("reads");
	cue(READS_WORK);
	fail("writes");
	cue(MANY_FAIL);
	EXPECT(test_wait(area_is_dead, f, 60));
	cue(IS_DEAD);
	EXPECT(stage_ended(0));
	EXPECT(stage_ended(1));
	EXPECT(strstr(swaps(f), "\"state\":\"dead\""));
	work("writes");
	go_off(f);
	stage_end();
	loop_end();
}

static const struct test_case cases[] = {
	{ "what can't be written stays, what can't be read is a bus error, and all else goes on",
	  a_failing_disk },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
