/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bounded - os/bounded.c: work that is given up ends, wherever it is, and leaves nothing open
 */
#include "os/bounded.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include "lib/test.h"

enum { LONG_MS = 60000, SHORT_MS = 2, RUNS = 200 };

static unsigned int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int nr = 0;

	EXPECT(folder);
	while (folder && readdir(folder))
		nr++;
	closedir(folder);
	return nr;
}

static void read_other(void *text)
{
	bounded_read("/proc/1/stat", text, 8);
}

static void work_is_done(void)
{
	char text[8] = "";

	EXPECT_EQ(bounded_run(read_other, text, LONG_MS), 0);
	EXPECT(text[0] == '1' && text[1] == ' ');
}

static void wait_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		pause();
}

static void work_that_waits_is_given_up(void)
{
	EXPECT_EQ(bounded_run(wait_for_ever, NULL, SHORT_MS), -ETIMEDOUT);
}

/* Most of its time it is in these two calls. */
static void open_and_close(void *unused)
{
	(void)unused;
	for (;;)
		bounded_close(bounded_open("/proc/1/stat"));
}

static void work_that_is_given_up_leaves_nothing(void)
{
	unsigned int before = count_descriptors();

	for (int i = 0; i < RUNS; i++)
		EXPECT_EQ(bounded_run(open_and_close, NULL, SHORT_MS), -ETIMEDOUT);
	EXPECT_EQ(count_descriptors(), before);
}

static const struct test_case cases[] = {
	{ "work is done with the caller's memory", work_is_done },
	{ "work that waits for ever is given up", work_that_waits_is_given_up },
	{ "work that is given up at any moment leaves no descriptor",
	  work_that_is_given_up_leaves_nothing },
};
TEST_MAIN(cases)
