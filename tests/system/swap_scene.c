/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap_scene - the swap file and its flags
 *
 * Locking     none.
 */
#include "system/swap_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MORE_MAX = 8, OUT_SECONDS = 30, USED_SECONDS = 20, OUT_NS = 2000000 };

static char path[96], path_flag[128], size_flag[48], reserve_flag[48];
static const char *flags[5 + MORE_MAX];
static struct setting setting = { .flags = flags };
static pid_t owner;

static void remove_file(void)
{
	if (getpid() == owner)
		unlink(path);
}

void swap_scene_set(unsigned int reserve_mib, unsigned int swap_mib, const char *const *more)
{
	const char *folder = getenv("TMPDIR");
	unsigned int nr = 0;

	if (!owner)
		atexit(remove_file);
	owner = getpid();
	snprintf(path, sizeof(path), "%.60s/mmb-test-swap-%d", folder ? folder : "/var/tmp",
		 (int)owner);
	snprintf(path_flag, sizeof(path_flag), "--swap.path=%s", path);
	snprintf(size_flag, sizeof(size_flag), "--swap.size=%uM", swap_mib);
	snprintf(reserve_flag, sizeof(reserve_flag), "--memory.reserve=%uM", reserve_mib);
	flags[nr++] = path_flag;
	flags[nr++] = size_flag;
	flags[nr++] = reserve_flag;
	for (unsigned int i = 0; more && more[i] && i < MORE_MAX; i++)
		flags[nr++] = more[i];
	flags[nr] = NULL;
	stage_set(&setting);
}

const char *swap_scene_path(void)
{
	return path;
}

int64_t swap_scene_count(const char *socket, const char *counter)
{
	const char *text = mmbctl(socket, "vmstat");
	int64_t value = text ? line_number(text, counter) : -1;

	if (value < 0)
		printf("  vmstat has no %s\n", counter);
	return value;
}

static bool nothing_used(void *socket)
{
	return json_number(mmbctl(socket, "swaps --json"), "{", "used") == 0;
}

void swap_scene_intact(const char *socket, int64_t checksum_errors)
{
	const char *areas = mmbctl(socket, "swaps --json");

	EXPECT(areas && strstr(areas, "\"state\":\"on\""));
	EXPECT_EQ(json_number(areas, "{", "bad"), 0);
	EXPECT_EQ(json_number(areas, "{", "write_errors"), 0);
	EXPECT_EQ(json_number(areas, "{", "read_errors"), 0);
	EXPECT(json_number(areas, "{", "checksum_errors") >= checksum_errors);
	EXPECT(test_wait(nothing_used, (void *)(uintptr_t)socket, USED_SECONDS));
}

void swap_scene_out(struct mmb_region *region)
{
	const struct timespec pause = { .tv_nsec = OUT_NS };
	time_t until = time(NULL) + OUT_SECONDS;

	do {
		int error = mmb_region_advise(region, 0, mmb_region_length(region),
					      MMB_ADVISE_PAGEOUT);

		if (error)
			printf("  PAGEOUT: %s\n", mmb_error());
		CLIENT_EXPECT_EQ(error, 0);
		if (act_stat(region).resident == 0)
			return;
		nanosleep(&pause, NULL);
	} while (time(NULL) < until);
	printf("  %llu KiB of %zu stay\n", (unsigned long long)act_stat(region).resident / 1024,
	       mmb_region_length(region) / 1024);
	CLIENT_EXPECT(!"the region goes out");
}
