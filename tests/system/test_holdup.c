/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_holdup - clients that keep the lock of a file of the broker's
 *
 * Purpose     write() on a region's file, out of memory that doesn't come, holds that file's lock,
 *             and whoever populates or punches it waits in the kernel for ever: os/holdup.c. The
 *             process that does it is ended, whether it is a client or not, and the daemon serves
 *             on, as the same process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/uffd_compat.h"
#include "system/hostile.h"
#include "system/silent_file.h"

const char *const hostile_flags[] = { NULL };

enum { PAGES = 1024, DEADLINE_S = 25, ANOTHER_USER = 65533, EXECUTED = 20 };

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

/* ---- strangers: processes that the daemon has never heard of, which its client has forked ---- */

static bool waits_for_its_page(pid_t pid, const char *thread)
{
	char path[300], place[64] = "";
	FILE *wchan;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/wchan", pid, thread);
	wchan = fopen(path, "re");
	if (!wchan)
		return false;
	if (!fgets(place, sizeof(place), wchan))
		place[0] = '\0';
	fclose(wchan);
	return strstr(place, "userfault");
}

/* Until one of its threads waits for a page: it has the lock. */
static void wait_for_hold(pid_t pid)
{
	struct dirent *entry;
	char path[64];
	bool waits = false;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	for (int i = 0; i < DEADLINE_S * 100 && !waits; i++) {
		DIR *dir = opendir(path);

		CLIENT_EXPECT(dir);
		while (!waits && (entry = readdir(dir)))
			waits = waits_for_its_page(pid, entry->d_name);
		closedir(dir);
		usleep(10 * 1000);
	}
	CLIENT_EXPECT(waits);
}

/* They say 'w', and keep the lock. */
typedef void (*hold_fn)(int ready, int fd, char *never);

static void say_ready(int ready)
{
	CLIENT_EXPECT_EQ(write(ready, "w", 1), 1);
}

/* While the region is given back. */
static void expect_end_of(struct attack *a, hold_fn hold)
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
		hold(ready[1], region.fd, page_that_never_comes());
		_exit(1);
	}
	CLIENT_EXPECT_EQ(read(ready[0], &step, 1), 1);
	wait_for_hold(writer);
	CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
	CLIENT_EXPECT(is_killed(writer));
	attack_serves(&a->r);
}

static void write_it(int ready, int fd, char *never)
{
	say_ready(ready);
	pwrite(fd, never, PAGE, 0);
}

ATTACK(a_strangers_write)
{
	expect_end_of(a, write_it);
}

static void submit_it(int ready, int fd, char *never)
{
	struct iocb block = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)fd,
			      .aio_buf = (uintptr_t)never, .aio_nbytes = PAGE };
	struct iocb *list = &block;
	aio_context_t context = 0;

	CLIENT_EXPECT_EQ(syscall(SYS_io_setup, 1, &context), 0);
	say_ready(ready);
	syscall(SYS_io_submit, context, 1, &list);
}

ATTACK(a_submitted_write)
{
	expect_end_of(a, submit_it);
}

struct write_args {
	int fd;
	char *from;
};

static void *write_beside(void *args)
{
	const struct write_args *w = args;

	pwrite(w->fd, w->from, PAGE, 0);
	return NULL;
}

/* While the call lasts its number becomes another file's. */
static void write_under_a_name(int ready, int fd, char *never)
{
	struct write_args args = { fd, never };
	int other = open("/dev/null", O_WRONLY | O_CLOEXEC);
	pthread_t thread;

	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, write_beside, &args), 0);
	wait_for_hold(getpid());
	CLIENT_EXPECT_EQ(dup2(other, fd), fd);
	say_ready(ready);
	pause();
}

ATTACK(a_write_to_a_number_of_another_file)
{
	expect_end_of(a, write_under_a_name);
}

/* No client has that user, and the process can't be looked into but by root. */
static void write_as_another_user(int ready, int fd, char *never)
{
	CLIENT_EXPECT_EQ(setresuid(ANOTHER_USER, ANOTHER_USER, ANOTHER_USER), 0);
	write_under_a_name(ready, fd, never);
}

ATTACK(another_users_write)
{
	expect_end_of(a, write_as_another_user);
}

static void rename_threads(const char *name)
{
	struct dirent *entry;
	char path[300];
	DIR *dir = opendir("/proc/self/task");

	while ((entry = readdir(dir))) {
		int fd;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			CLIENT_EXPECT(write(fd, name, strlen(name)) > 0);
			close(fd);
		}
	}
	closedir(dir);
}

/* A worker of the kernel's has any name. */
static void write_by_a_renamed_worker(int ready, int fd, char *never)
{
	struct io_uring ring;
	struct io_uring_sqe *sqe;

	CLIENT_EXPECT_EQ(io_uring_queue_init(4, &ring, 0), 0);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_write(sqe, fd, never, PAGE, 0);
	CLIENT_EXPECT_EQ(io_uring_submit(&ring), 1);
	wait_for_hold(getpid());
	rename_threads("somebody");
	close(fd);
	say_ready(ready);
	pause();
}

ATTACK(a_write_by_a_renamed_worker)
{
	expect_end_of(a, write_by_a_renamed_worker);
}

/* ---- processes that nobody can look at: in execve(), which doesn't come back ---- */

static void be_executed(const char *path, int ready)
{
	char *const argv[] = { "true", NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CLIENT_EXPECT(open(path, O_RDONLY | O_CLOEXEC) >= 0);
	say_ready(ready);
	execv("/bin/true", argv);
	_exit(1);
}

/* The search meets them before the one that it is for, whose number is higher. */
static void write_behind_executed(struct attack *a)
{
	struct silent_file file;
	pid_t executed[EXECUTED];
	int ready[2];
	char step;

	silent_file_make(&file);
	CLIENT_EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
	for (int i = 0; i < EXECUTED; i++) {
		executed[i] = fork();
		if (!executed[i])
			be_executed(file.path, ready[1]);
		CLIENT_EXPECT_EQ(read(ready[0], &step, 1), 1);
	}
	usleep(300 * 1000); /* and is there */
	expect_end_of(a, write_it);
	for (int i = 0; i < EXECUTED; i++)
		CLIENT_EXPECT_EQ(waitpid(executed[i], NULL, WNOHANG), 0);
	silent_file_end(&file);
	for (int i = 0; i < EXECUTED; i++)
		CLIENT_EXPECT_EQ(waitpid(executed[i], NULL, 0), executed[i]);
}

/* Another process has the session of one that is in execve() cut off: the daemon looks when that
 * was started. */
static void be_cut_off(const char *socket, const char *path, int ready)
{
	static const char nonsense[32] = "no request";
	static struct attack a;

	raw_init(&a.r);
	a.socket = socket;
	attack_pool(&a);
	attack_region(&a, 1);
	if (!fork()) {
		usleep(500 * 1000);
		CLIENT_EXPECT_EQ(send(a.r.sock, nonsense, sizeof(nonsense), 0), sizeof(nonsense));
		_exit(0);
	}
	be_executed(path, ready);
}

static void cut_off_while_executed(struct attack *a)
{
	struct silent_file file;
	int ready[2];
	pid_t client;
	char step;

	silent_file_make(&file);
	CLIENT_EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
	client = fork();
	if (!client)
		be_cut_off(a->socket, file.path, ready[1]);
	CLIENT_EXPECT_EQ(read(ready[0], &step, 1), 1);
	usleep(1500 * 1000);
	alarm(DEADLINE_S);
	attack_pool(a);
	attack_serves(&a->r);
	CLIENT_EXPECT_EQ(waitpid(client, NULL, WNOHANG), 0);
	silent_file_end(&file);
	CLIENT_EXPECT_EQ(waitpid(client, NULL, 0), client);
}

static void a_client_that_is_cut_off_in_execve(void)
{
	if (!silent_file_is_possible())
		SKIP("needs root, and /dev/fuse");
	hostile_run(cut_off_while_executed);
}

static void a_writer_behind_processes_that_are_executed(void)
{
	if (!silent_file_is_possible())
		SKIP("needs root, and /dev/fuse");
	hostile_run(write_behind_executed);
}

static const struct test_case cases[] = {
	{ "a client that writes from a hole of its window is ended",
	  a_client_that_writes_from_a_hole_is_ended },
	{ "so is a process that no client is", a_strangers_write },
	{ "so is who has submitted the write", a_submitted_write },
	{ "so is who has given the number to another file meanwhile",
	  a_write_to_a_number_of_another_file },
	{ "so is who has done so as a user that no client has", another_users_write },
	{ "so is whose ring's worker writes, under any name", a_write_by_a_renamed_worker },
	{ "so is who writes behind twenty processes that can't be looked at",
	  a_writer_behind_processes_that_are_executed },
	{ "a client that is cut off while it can't be looked at holds up nobody",
	  a_client_that_is_cut_off_in_execve },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
