/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bounded - os/bounded.c: work that is given up ends, wherever it is, and leaves nothing open
 */
#include "os/bounded.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/test.h"

enum { LONG_MS = 60000, SHORT_MS = 2, RUNS = 200 };

/* Where the work's calls of close() wait for ever: just before it happens, just after, nowhere. */
static enum { NOWHERE, BEFORE, AFTER } close_waits;
static pid_t caller;

static void wait_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		pause();
}

/* Instead of the library's, so that work can be given up within it. */
int close(int fd)
{
	int error;

	if (close_waits == BEFORE && getpid() != caller)
		wait_for_ever(NULL);
	error = (int)syscall(SYS_close, fd);
	if (close_waits == AFTER && getpid() != caller)
		wait_for_ever(NULL);
	return error;
}

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

static void work_that_waits_is_given_up(void)
{
	EXPECT_EQ(bounded_run(wait_for_ever, NULL, SHORT_MS), -ETIMEDOUT);
}

static void open_two_and_close(void *file)
{
	int first = bounded_open("/proc/1/stat");

	bounded_close(bounded_open(file));
	bounded_close(first);
}

static void work_given_up_in_close_leaves_nothing(void)
{
	char files[][16] = { "/proc/1/status", "/proc/1/task" };
	unsigned int before = count_descriptors();

	caller = getpid();
	for (int i = 0; i < 4; i++) {
		close_waits = i % 2 ? BEFORE : AFTER;
		EXPECT_EQ(bounded_run(open_two_and_close, files[i / 2], SHORT_MS), -ETIMEDOUT);
		close_waits = NOWHERE;
		EXPECT_EQ(count_descriptors(), before);
	}
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
	{ "work that is given up in closing leaves no descriptor",
	  work_given_up_in_close_leaves_nothing },
	{ "work that is given up at any moment leaves no descriptor",
	  work_that_is_given_up_leaves_nothing },
};
TEST_MAIN(cases)
