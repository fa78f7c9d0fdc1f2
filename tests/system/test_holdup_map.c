/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_holdup_map - clients whose map is kept locked
 *
 * Purpose     A reader of a process's memory, at a page of a file of FUSE that doesn't come, keeps
 *             the lock of that process's map; a thread that wants to change the map queues behind
 *             it, and requests to the process's userfaultfd behind that: os/holdup.c. Whose map it
 *             is ends, the client or another process whose userfaultfd it has sent, and the daemon
 *             serves on, as the same process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { PAGES = 64, DEADLINE_S = 15, TRIES = 4, PATH_BYTES = 64, REQUEST_BYTES = 1 << 17 };

/* ---- a file whose pages don't come ---- */

/* body NULL: there is no such thing. */
static void answer(int device, uint64_t unique, const void *body, size_t bytes)
{
	char message[256];
	struct fuse_out_header header = { .len = (uint32_t)(sizeof(header) + bytes),
					  .unique = unique, .error = body ? 0 : -ENOSYS };

	memcpy(message, &header, sizeof(header));
	if (body)
		memcpy(message + sizeof(header), body, bytes);
	CLIENT_EXPECT_EQ(write(device, message, header.len), header.len);
}

static void serve(int device)
{
	static char request[REQUEST_BYTES];
	const struct fuse_in_header *in = (const void *)request;

	while (read(device, request, sizeof(request)) > 0) {
		struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION, .minor = 31,
					      .max_write = PAGE };
		struct fuse_attr_out attr = { .attr = { .ino = 1, .size = PAGE, .nlink = 1,
							.mode = S_IFREG | 0644 } };
		struct fuse_open_out opened = { .fh = 1 };

		if (in->opcode == FUSE_INIT)
			answer(device, in->unique, &init, sizeof(init));
		else if (in->opcode == FUSE_GETATTR)
			answer(device, in->unique, &attr, sizeof(attr));
		else if (in->opcode == FUSE_OPEN)
			answer(device, in->unique, &opened, sizeof(opened));
		else if (in->opcode != FUSE_READ && in->opcode != FUSE_FORGET &&
			 in->opcode != FUSE_INTERRUPT)
			answer(device, in->unique, NULL, 0);
	}
}

struct silent_file {
	char path[PATH_BYTES];
	pid_t server;
	char *at; /* mapped */
};

static void make_silent_file(struct silent_file *f)
{
	char options[128];
	struct stat of;
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC), fd;

	strcpy(f->path, "/tmp/mmb-test-silent-XXXXXX");
	fd = mkstemp(f->path);
	CLIENT_EXPECT(device >= 0 && fd >= 0);
	close(fd);
	snprintf(options, sizeof(options), "fd=%d,rootmode=100644,user_id=0,group_id=0", device);
	CLIENT_EXPECT_EQ(mount("none", f->path, "fuse", 0, options), 0);
	f->server = fork();
	if (!f->server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(device);
		_exit(0);
	}
	close(device);
	fd = open(f->path, O_RDONLY | O_CLOEXEC);
	CLIENT_EXPECT(fd >= 0);
	CLIENT_EXPECT_EQ(fstat(fd, &of), 0); /* the kernel learns how long it is */
	f->at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	CLIENT_EXPECT(f->at != MAP_FAILED);
	close(fd);
}

/* Whoever waits for the page gets an error. */
static void end_silent_file(struct silent_file *f)
{
	kill(f->server, SIGKILL);
	waitpid(f->server, NULL, 0);
	umount2(f->path, MNT_DETACH);
	unlink(f->path);
}

/* ---- a map that is kept locked ---- */

static pid_t begin_reader(pid_t whose, const char *at)
{
	pid_t reader = fork();

	if (!reader) {
		char path[PATH_BYTES], byte;
		int memory;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(path, sizeof(path), "/proc/%d/mem", whose);
		memory = open(path, O_RDONLY | O_CLOEXEC);
		_exit(pread(memory, &byte, 1, (off_t)(uintptr_t)at) == 1);
	}
	return reader;
}

static void *change_the_map(void *unused)
{
	usleep(600 * 1000);
	mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return NULL;
}

/* The calling process's. A thread's stack is a change, too: it comes before the reader. */
static void lock_own_map(const char *at)
{
	pthread_t thread;

	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, change_the_map, NULL), 0);
	begin_reader(getpid(), at);
	usleep(900 * 1000);
}

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, DEADLINE_S * 1000) == 1;
}

/* Nobody else ends it; whose child it is changes when its parent is killed first. */
static bool is_killed(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended = pidfd < 0 || is_readable(pidfd);

	if (pidfd >= 0)
		close(pidfd);
	return ended;
}

struct culprit {
	struct attack session; /* what it says to the daemon */
	struct silent_file file;
	int told; /* its pid */
};

static void keep_own_map(struct culprit *c)
{
	struct raw *r = &c->session.r;
	struct raw_region region;
	pid_t self = getpid();

	CLIENT_EXPECT_EQ(raw_hello(r, "culprit"), 0);
	CLIENT_EXPECT_EQ(raw_attach(r), 0);
	CLIENT_EXPECT_EQ(raw_pool(r, NULL, 0), 0);
	region = attack_region(&c->session, PAGES);
	raw_advise(r, &region, 0, PAGES * PAGE, MMB_ADVISE_FREE); /* so all is bound */
	memset(region.at, 1, PAGES * PAGE);
	CLIENT_EXPECT_EQ(write(c->told, &self, sizeof(self)), sizeof(self));
	lock_own_map(c->file.at);
	/* The daemon protects the pages. */
	raw_advise(r, &region, 0, PAGES * PAGE, MMB_ADVISE_FREE);
	pause();
}

static void connect_and(struct culprit *c, bool hand_on)
{
	pid_t child = -1;

	CLIENT_EXPECT_EQ(raw_connect(&c->session.r, c->session.socket), 0);
	if (hand_on)
		child = fork();
	if (child <= 0)
		keep_own_map(c);
	pause();
}

/* Whoever it is that keeps its map. */
static bool culprit_ends(struct attack *a, bool hand_on)
{
	static struct culprit c;
	int told[2];
	pid_t peer, culprit;
	bool killed = false;

	c.session = (struct attack){ .socket = a->socket, .seed = 2 };
	raw_init(&c.session.r);
	make_silent_file(&c.file);
	CLIENT_EXPECT_EQ(pipe2(told, O_CLOEXEC), 0);
	c.told = told[1];
	peer = fork();
	if (!peer)
		connect_and(&c, hand_on);
	close(told[1]);
	if (is_readable(told[0]) && read(told[0], &culprit, sizeof(culprit)) == sizeof(culprit)) {
		killed = is_killed(culprit);
		kill(culprit, SIGKILL);
	}
	close(told[0]);
	kill(peer, SIGKILL);
	end_silent_file(&c.file);
	while (waitpid(-1, NULL, 0) > 0)
		;
	attack_serves(&a->r);
	return killed;
}

/* On a busy machine the culprit may be caught by its own lock before it has asked for anything, or
 * have none when it asks: then nobody is held up, and it tries again. */
static void expect_end(struct attack *a, bool hand_on)
{
	bool killed = false;

	attack_pool(a);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < TRIES && !killed; i++)
		killed = culprit_ends(a, hand_on);
	CLIENT_EXPECT(killed);
}

static void own_map(struct attack *a)
{
	expect_end(a, false);
}

static void map_of_another(struct attack *a)
{
	expect_end(a, true);
}

static void run(attack_fn attack)
{
	if (geteuid() || access("/dev/fuse", R_OK | W_OK))
		SKIP("needs root, and /dev/fuse");
	hostile_run(attack);
}

static void a_client_with_a_locked_map(void)
{
	run(own_map);
}

static void a_session_handed_on(void)
{
	run(map_of_another);
}

static const struct test_case cases[] = {
	{ "a client whose map is kept locked is ended", a_client_with_a_locked_map },
	{ "so is who uses its session", a_session_handed_on },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
