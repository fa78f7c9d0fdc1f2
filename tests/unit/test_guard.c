/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_guard - guard.c: a frame that goes away while the daemon touches it is an error code
 */
#include "mm/phys/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "lib/test.h"

/* Two pages of which the file has only the first. */
static char *half_a_mapping(void)
{
	int   fd = memfd_create("guard", MFD_CLOEXEC);
	char *p;

	EXPECT(fd >= 0);
	EXPECT_EQ(ftruncate(fd, PAGE_SIZE), 0);
	p = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED);
	close(fd);
	return p;
}

static void what_is_there_is_done(void)
{
	char *p = half_a_mapping(), copy[64];

	EXPECT_EQ(guard_init(), 0);
	memset(p, 7, PAGE_SIZE);
	EXPECT_EQ(guarded_copy(copy, p, sizeof(copy)), 0);
	EXPECT_EQ(copy[63], 7);
	EXPECT_EQ(guarded_zero(p, PAGE_SIZE), 0);
	EXPECT_EQ(p[4095], 0);
	munmap(p, 2 * PAGE_SIZE);
}

static void what_is_gone_is_an_error(void)
{
	char *p = half_a_mapping(), copy[64];

	EXPECT_EQ(guard_init(), 0);
	for (int i = 0; i < 100; i++) {
		EXPECT_EQ(guarded_zero(p, 2 * PAGE_SIZE), -EFAULT);
		EXPECT_EQ(guarded_copy(copy, p + PAGE_SIZE, sizeof(copy)), -EFAULT);
		EXPECT_EQ(guarded_copy(p + PAGE_SIZE, copy, sizeof(copy)), -EFAULT);
		EXPECT_EQ(guarded_zero(p, PAGE_SIZE), 0);
	}
	munmap(p, 2 * PAGE_SIZE);
}

static void *touch_gone(void *arg)
{
	for (int i = 0; i < 1000; i++)
		EXPECT_EQ(guarded_zero((char *)arg + PAGE_SIZE, PAGE_SIZE), -EFAULT);
	return NULL;
}

static void threads_are_guarded_each_for_itself(void)
{
	pthread_t threads[2];
	char     *p = half_a_mapping();

	EXPECT_EQ(guard_init(), 0);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, touch_gone, p), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	munmap(p, 2 * PAGE_SIZE);
}

static void an_unguarded_touch_still_ends_the_process(void)
{
	char *p = half_a_mapping();
	pid_t child;
	int   status;

	EXPECT_EQ(guard_init(), 0);
	child = fork();
	if (!child) {
		*(volatile char *)(p + PAGE_SIZE) = 1;
		_exit(0);
	}
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
	munmap(p, 2 * PAGE_SIZE);
}

static const struct test_case cases[] = {
	{ "what is there is done", what_is_there_is_done },
	{ "what is gone is an error", what_is_gone_is_an_error },
	{ "threads are guarded each for itself", threads_are_guarded_each_for_itself },
	{ "an unguarded touch still ends the process", an_unguarded_touch_still_ends_the_process },
};
TEST_MAIN(cases)
