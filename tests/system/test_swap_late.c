/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_late - what a daemon that was killed had begun to write to swap comes late
 *
 * The disk is a loop device, and the first daemon is in a control group that may write to it very
 * slowly. It is killed in the middle of writing a region out, together with the region's client.
 * The next daemon, which is in no such group, has those slots to give away, and what was begun is
 * still on its way to them: another client's pages must not be written there before, or they are
 * overwritten. Reading goes on meanwhile. And of a disk that doesn't answer at all the next daemon
 * asks nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "system/kill_scene.h"
#include "system/loop_disk.h"
#include "system/stage.h"

enum { PAGES = 512, SLOW_BYTES = 16 << 10 }; /* what is under way lasts for seconds */
enum { EARLY_OUT = 1, FILLED = EARLY_OUT, MAY_BEGIN, KILLED, LANDED };
enum { WRITES, READS };
enum { LATE_BEGUN, OUT_AGAIN_BEGUN, OUT_AGAIN_DONE, EARLY_READ, SERVED };

static const char *const flags[] = { "--memory.reserve=64M", "--supervise", NULL };
static const struct setting setting = { .flags = flags };
static char group[100], limits[2][160];
static const char *keys[2];

/* ---- a group that writes slowly ---- */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static bool limit(int what, const char *bytes_a_second)
{
	char text[80];
	struct stat st;

	EXPECT_EQ(stat(loop_device, &st), 0);
	snprintf(text, sizeof(text), "%u:%u %s%s", major(st.st_rdev), minor(st.st_rdev),
		 keys[what], bytes_a_second);
	return put(limits[what], text);
}

static void limit_no_more(int what)
{
	EXPECT(limit(what, keys[what][0] ? "max" : "0"));
}

static void remove_group(void)
{
	if (group[0] && loop_device[0]) { /* a case has failed */
		limit_no_more(WRITES);
		limit_no_more(READS);
	}
	if (group[0])
		rmdir(group);
}

static void make_group(void)
{
	static const struct {
		const char *folder, *limits[2], *keys[2];
	} ways[] = {
		{ "/sys/fs/cgroup/blkio",
		  { "blkio.throttle.write_bps_device", "blkio.throttle.read_bps_device" },
		  { "", "" } },
		{ "/sys/fs/cgroup", { "io.max", "io.max" }, { "wbps=", "rbps=" } },
	};
	char slow[24];

	put("/sys/fs/cgroup/cgroup.subtree_control", "+io");
	snprintf(slow, sizeof(slow), "%d", SLOW_BYTES);
	atexit(remove_group);
	for (unsigned int i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		snprintf(group, sizeof(group), "%s/mmb-test-%d", ways[i].folder, (int)getpid());
		for (int what = 0; what < 2; what++) {
			snprintf(limits[what], sizeof(limits[what]), "%s/%s", group,
				 ways[i].limits[what]);
			keys[what] = ways[i].keys[what];
		}
		if ((!mkdir(group, 0700) || errno == EEXIST) && limit(WRITES, slow))
			return;
		rmdir(group);
	}
	group[0] = 0;
	SKIP("no control group that slows a loop device down can be made");
}

static void slow_down(pid_t pid)
{
	char path[160], text[24];

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	snprintf(text, sizeof(text), "%d", (int)pid);
	EXPECT(put(path, text));
}

/* ---- actors ---- */

static char *fill(struct actor *a, struct mmb_region **region, uint64_t seed)
{
	char *at;

	act_open(a);
	act_pool(a, 0);
	*region = act_region(a, (size_t)PAGES * PAGE, 0);
	at = act_at(*region);
	CLIENT_EXPECT_EQ(mmb_region_advise(*region, 0, (size_t)PAGES * PAGE, MMB_ADVISE_RANDOM), 0);
	for (uint64_t i = 0; i < PAGES; i++)
		stamp(at + i * PAGE, PAGE, seed + i);
	return at;
}

static bool go_out(void *region)
{
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, (size_t)PAGES * PAGE, MMB_ADVISE_PAGEOUT), 0);
	return act_stat(region).resident == 0;
}

static void compare(const char *at, uint64_t seed)
{
	char value;

	for (uint64_t i = 0; i < PAGES; i++) {
		CLIENT_EXPECT_EQ(touch_read(at + i * PAGE, &value), 0);
		CLIENT_EXPECT(is_stamped(at + i * PAGE, PAGE, seed + i));
	}
}

static void be_read_meanwhile(struct actor *a)
{
	struct mmb_region *region;
	char *at = fill(a, &region, 1 << 20);

	CLIENT_EXPECT(test_wait(go_out, region, 30));
	cue(EARLY_OUT);
	await(KILLED);
	compare(at, 1 << 20);
	atomic_store(&board->number[EARLY_READ], 1);
	await(LANDED);
}

static void be_written_late(struct actor *a)
{
	struct mmb_region *region;

	await(MAY_BEGIN);
	fill(a, &region, 2 << 20);
	atomic_store(&board->number[LATE_BEGUN], 1);
	for (;;)
		go_out(region);
}

static void be_written_there(struct actor *a)
{
	struct mmb_region *region;
	char *at;

	await(KILLED);
	at = fill(a, &region, 3 << 20);
	atomic_store(&board->number[OUT_AGAIN_BEGUN], 1);
	CLIENT_EXPECT(test_wait(go_out, region, 60));
	atomic_store(&board->number[OUT_AGAIN_DONE], 1);
	await(LANDED);
	compare(at, 3 << 20);
}

/* ---- the scene ---- */

static bool all_landed(void *unused)
{
	return board->number[OUT_AGAIN_DONE] != 0;
}

static struct fixture *begin(void)
{
	struct fixture *f;
	char line[100];

	loop_begin("");
	EXPECT_EQ(loop_run("fallocate -l 32M %s/disk", loop_folder), 0);
	loop_attach("");
	make_group();
	f = stage_begin();
	snprintf(line, sizeof(line), "swapon %s", loop_device);
	EXPECT(mmbctl(f->socket, line));
	return f;
}

static void end(struct fixture *f)
{
	char line[100];

	snprintf(line, sizeof(line), "swapoff %s", loop_device);
	EXPECT(mmbctl(f->socket, line));
	stage_end();
	loop_end();
}

static void nothing_comes_late(void)
{
	struct fixture *f = begin();
	const char *areas;
	pid_t worker;

	CAST(ROLE(be_read_meanwhile), ROLE(be_written_late, .status = -SIGKILL),
	     ROLE(be_written_there));
	EXPECT(cue_comes(EARLY_OUT));
	worker = worker_of(f->pid);
	slow_down(worker);
	cue(MAY_BEGIN);
	wait_for_number(LATE_BEGUN, 1);
	rest_us(300 * 1000);
	stage_kill(1, SIGKILL);
	EXPECT_EQ(kill(worker, SIGKILL), 0);
	fixture_reconnect(f);
	cue(KILLED);
	wait_for_number(EARLY_READ, 1);
	wait_for_number(OUT_AGAIN_BEGUN, 1);
	rest_us(1000 * 1000);
	EXPECT_EQ(board->number[OUT_AGAIN_DONE], 0); /* else the rest shows nothing */
	EXPECT(mmbctl(f->socket, "-t 60 verify")); /* what waits to be written counts */
	limit_no_more(WRITES);
	EXPECT(test_wait(all_landed, NULL, 30));
	rest_us(300 * 1000);
	cue(LANDED);
	for (unsigned int i = 0; i < 3; i++)
		EXPECT(stage_ended(i));
	areas = mmbctl(f->socket, "swaps --json");
	EXPECT_EQ(json_number(areas, loop_device, "checksum_errors"), 0);
	end(f);
}

static void have_all_in_memory(struct actor *a)
{
	struct mmb_region *region;
	char *at = fill(a, &region, 4 << 20);

	cue(FILLED);
	await(KILLED);
	stamp(at, PAGE, 5 << 20);
	CLIENT_EXPECT(is_stamped(at, PAGE, 5 << 20));
	mmb_region_close(region);
	region = act_region(a, PAGE, 0);
	stamp(act_at(region), PAGE, 1);
	atomic_store(&board->number[SERVED], 1);
	await(LANDED);
}

static void a_disk_that_stands_still_keeps_nobody(void)
{
	struct fixture *f = begin();
	pid_t worker = worker_of(f->pid);

	CAST(ROLE(have_all_in_memory));
	EXPECT(cue_comes(FILLED));
	EXPECT(limit(READS, "1") && limit(WRITES, "1"));
	slow_down(f->pid);
	slow_down(worker);
	EXPECT_EQ(kill(worker, SIGKILL), 0);
	fixture_reconnect(f);
	cue(KILLED);
	wait_for_number(SERVED, 1);
	EXPECT(mmbctl(f->socket, "-t 60 verify"));
	limit_no_more(READS);
	limit_no_more(WRITES);
	cue(LANDED);
	EXPECT(stage_ended(0));
	end(f);
}

static const struct test_case cases[] = {
	{ "what a dead daemon was writing overwrites nothing of the next one's",
	  nothing_comes_late },
	{ "a disk that stands still keeps nobody waiting who needs nothing of it",
	  a_disk_that_stands_still_keeps_nobody },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
