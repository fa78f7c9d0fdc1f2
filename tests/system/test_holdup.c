/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_holdup - clients that keep the lock of a file of the broker's
 *
 * Purpose     write() on a region's file, out of memory that doesn't come, holds that file's lock,
 *             and whoever populates or punches it waits in the kernel for ever: os/holdup.c. The
 *             process that does it is ended, whether it is a client or not, and the daemon serves
 *             on, as the same process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/uffd_compat.h"
#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { PAGES = 1024, DEADLINE_S = 60 };

/* A page whose fault nobody answers. */
static char *page_that_never_comes(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register r = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CLIENT_EXPECT(uffd >= 0 && at != MAP_FAILED);
	CLIENT_EXPECT_EQ(ioctl(uffd, UFFDIO_API, &api), 0);
	r.range.start = (uintptr_t)at;
	r.range.len = PAGE;
	CLIENT_EXPECT_EQ(ioctl(uffd, UFFDIO_REGISTER, &r), 0);
	return at;
}

/* The lane that is to answer waits for the lock that the writer has. */
static void write_from_a_hole(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };
	struct raw_region region;

	a.socket = socket;
	attack_pool(&a);
	region = attack_region(&a, PAGES);
	CLIENT_EXPECT(client_tell_step(self, 'w'));
	CLIENT_EXPECT_EQ(pwrite(region.fd, region.at + PAGES / 2 * PAGE, PAGE, PAGE), PAGE);
	CLIENT_EXPECT(!"the write came back");
}

/* Ended by the daemon, and not by the end of somebody's patience. */
static bool is_killed(pid_t pid)
{
	int status = 0;
	pid_t got = 0;

	for (int i = 0; i < DEADLINE_S * 100 && !got; i++) {
		usleep(10 * 1000);
		got = waitpid(pid, &status, WNOHANG);
	}
	if (!got)
		kill(pid, SIGKILL);
	return got == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void a_client_that_writes_from_a_hole_is_ended(void)
{
	struct fixture *f;
	struct client_process c;

	f = hostile_begin();
	client_fork(&c, write_from_a_hole, (void *)(uintptr_t)f->socket);
	EXPECT(client_hear_step(&c, 'w'));
	EXPECT(is_killed(c.pid));
	c.pid = 0;
	hostile_check();
}

/* A process that the daemon has never heard of, which its client has forked, keeps the lock while
 * the region is given back. */
ATTACK(a_strangers_write)
{
	struct raw_region region;
	int ready[2];
	pid_t writer;
	char step;

	attack_pool(a);
	region = attack_region(a, PAGES);
	memset(region.at, 1, PAGES * PAGE);
	CLIENT_EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
	writer = fork();
	if (!writer) {
		char *never = page_that_never_comes();

		CLIENT_EXPECT_EQ(write(ready[1], "w", 1), 1);
		pwrite(region.fd, never, PAGE, 0);
		_exit(1);
	}
	CLIENT_EXPECT_EQ(read(ready[0], &step, 1), 1);
	CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
	CLIENT_EXPECT(is_killed(writer));
	attack_serves(&a->r);
}

static const struct test_case cases[] = {
	{ "a client that writes from a hole of its window is ended",
	  a_client_that_writes_from_a_hole_is_ended },
	{ "so is a process that no client is", a_strangers_write },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
