/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_full - a swap area whose disk has no block left
 *
 * The area is a loop device, whose file has holes and lies on a file system that is full before
 * they are filled: writes of pages fail with ENOSPC, as on thin disks. What doesn't fit stays
 * resident, what did comes back, and the area takes nothing more.
 *
 * The kernel's loop driver says of the one write that the end of the space cuts short that all of
 * it was written (6.18; pwrite() and pread() without a broker show it). Its last pages read as
 * zeros: they are bus errors, and never zeros here.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "system/loop_disk.h"
#include "system/stage.h"

enum { BACKING_MIB = 24, BYTES = 48 * MIB, PAGES = BYTES / PAGE, TRIES = 3,
       LIES = 512 };
enum { READ = 1, OFF };

static const char *const flags[] = { "--memory.reserve=128M", NULL };
static const struct setting setting = { .flags = flags };

static void make_disk(void)
{
	loop_begin("");
	if (loop_run("mount -t tmpfs -o size=24m none %s && truncate -s 64m %s/disk", loop_folder,
		     loop_folder))
		SKIP("no file system can be mounted here");
	loop_attach("");
}

static void check(const char *at)
{
	uint64_t nr_lost = 0;
	char value;

	for (uint64_t i = 0; i < PAGES; i++)
		if (touch_read(at + i * PAGE, &value) == SIGBUS)
			nr_lost++;
		else
			CLIENT_EXPECT(is_stamped(at + i * PAGE, PAGE, i));
	CLIENT_EXPECT(nr_lost <= LIES);
	board->number[0] = nr_lost;
}

static void write_more_than_fits(struct actor *a)
{
	struct mmb_region *region;
	struct mmb_region_stat stat;
	char *at;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, BYTES, 0);
	at = act_at(region);
	for (uint64_t i = 0; i < PAGES; i++)
		stamp(at + i * PAGE, PAGE, i);
	for (int i = 0; i < TRIES; i++)
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_PAGEOUT), 0);
	stat = act_stat(region);
	CLIENT_EXPECT(stat.swapped > 0);
	CLIENT_EXPECT(stat.resident >= (uint64_t)BYTES - BACKING_MIB * MIB - LIES * PAGE);
	CLIENT_EXPECT_EQ(stat.swapped + stat.resident, (uint64_t)BYTES);
	check(at);
	cue(READ);
	await(OFF);
	check(at);
	mmb_region_close(region);
}

static void the_disk_is_full(void)
{
	struct fixture *f;
	const char *json;
	char line[160];

	make_disk();
	f = stage_begin();
	snprintf(line, sizeof(line), "swapon %s", loop_device);
	EXPECT(mmbctl(f->socket, line));
	CAST(ROLE(write_more_than_fits));
	EXPECT(cue_comes(READ));
	json = mmbctl(f->socket, "swaps --json");
	EXPECT(json);
	EXPECT(strstr(json, "\"state\":\"dead\""));
	EXPECT(json_number(json, loop_device, "write_errors") > 0);
	EXPECT_EQ(json_number(json, loop_device, "read_errors"), 0);
	EXPECT_EQ(json_number(json, loop_device, "checksum_errors"), board->number[0]);
	EXPECT(fixture_log_says(f, "No space left on device; nothing more is written there"));
	snprintf(line, sizeof(line), "swapoff %s", loop_device);
	EXPECT(mmbctl(f->socket, line)); /* all fits without it */
	cue(OFF);
	EXPECT(stage_ended(0));
	stage_end();
	loop_end();
}

static const struct test_case cases[] = {
	{ "what a full disk refuses stays resident, and the rest comes back", the_disk_is_full },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	stage_set(&setting);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
