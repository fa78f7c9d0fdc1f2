/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_descriptors - wrong descriptors, none, too many, and userfaultfds with a twist
 *
 * Purpose     What ATTACH and every other method do with descriptors that aren't what they should
 *             be; the daemon's own descriptor count stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/uffd_compat.h"
#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { METHODS_END = 64, FDS_MANY = 253 };

/* ---- ATTACH with what is no userfaultfd ---- */

/* A connected pair of TCP sockets; the first one's close waits for half a minute, for the second
 * takes nothing of what was sent. */
static void lingering_pair(int pair[2])
{
	static const char  junk[1 << 20];
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct linger      linger = { .l_onoff = 1, .l_linger = 30 };
	socklen_t          bytes = sizeof(address);
	int                listener = socket(AF_INET, SOCK_STREAM, 0);

	CLIENT_EXPECT_EQ(bind(listener, (struct sockaddr *)&address, bytes), 0);
	CLIENT_EXPECT_EQ(listen(listener, 1), 0);
	CLIENT_EXPECT_EQ(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	CLIENT_EXPECT_EQ(connect(pair[0], (struct sockaddr *)&address, bytes), 0);
	pair[1] = accept(listener, NULL, NULL);
	CLIENT_EXPECT(pair[1] >= 0);
	CLIENT_EXPECT_EQ(setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	while (send(pair[0], junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	close(listener);
}

/* From a child that ends at once: who ends doesn't linger, so that it is the daemon or nobody. */
static void send_and_end(const char *socket, int fd)
{
	static struct raw r;
	int               gate[2];
	pid_t             child;
	char              byte;

	CLIENT_EXPECT_EQ(pipe(gate), 0);
	child = fork();
	if (!child) {
		close(gate[1]);
		CLIENT_EXPECT_EQ(read(gate[0], &byte, 1), 0);
		CLIENT_EXPECT_EQ(raw_connect(&r, socket), 0);
		CLIENT_EXPECT_EQ(raw_hello(&r, "sender"), 0);
		raw_request_fds(&r, MMB_METHOD_ATTACH, NULL, &fd, 1);
		_exit(0);
	}
	close(fd); /* before the child sends it: not the last one */
	close(gate[0]);
	close(gate[1]);
	waitpid(child, NULL, 0);
}

ATTACK(descriptors_that_block_when_closed)
{
	enum { BLOCKING = 12, PATIENCE_MS = 15000 };
	struct pollfd p = { .events = POLLIN };
	int           pair[2];

	attack_greet(a);
	for (int i = 0; i < BLOCKING; i++) {
		lingering_pair(pair);
		send_and_end(a->socket, pair[0]);
	}
	CLIENT_EXPECT_EQ(pipe(pair), 0);
	send_and_end(a->socket, pair[1]);
	p.fd = pair[0];
	CLIENT_EXPECT_EQ(poll(&p, 1, PATIENCE_MS), 1);
	CLIENT_EXPECT(p.revents & POLLHUP);
}

/* Greets, and ATTACHes fd, which is closed here. */
static void attach_ends_session(struct attack *a, int fd)
{
	int got;

	CLIENT_EXPECT(fd >= 0);
	attack_greet(a);
	got = raw_call_fds(&a->r, MMB_METHOD_ATTACH, NULL, &fd, 1);
	close(fd);
	CLIENT_EXPECT(got == -ECONNRESET || raw_refused(&a->r, got));
	if (got != -ECONNRESET)
		attack_ended(&a->r);
	raw_close(&a->r);
}

ATTACK(attach_pipe)
{
	int fds[2];

	CLIENT_EXPECT_EQ(pipe(fds), 0);
	attach_ends_session(a, fds[0]);
	attach_ends_session(a, fds[1]);
}

ATTACK(attach_socket)
{
	int fds[2];

	CLIENT_EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	attach_ends_session(a, fds[0]);
	attach_ends_session(a, fds[1]);
	attach_ends_session(a, socket(AF_INET, SOCK_STREAM, 0));
}

ATTACK(attach_epoll)
{
	attach_ends_session(a, epoll_create1(0));
}

ATTACK(attach_eventfd)
{
	attach_ends_session(a, eventfd(0, 0));
	attach_ends_session(a, timerfd_create(CLOCK_MONOTONIC, 0));
}

ATTACK(attach_file)
{
	attach_ends_session(a, open("/proc/self/exe", O_RDONLY));
	attach_ends_session(a, open("/", O_RDONLY | O_DIRECTORY));
	attach_ends_session(a, open("/", O_PATH));
}

ATTACK(attach_memfd)
{
	attach_ends_session(a, memfd_create("anon_inode:[userfaultfd]", MFD_CLOEXEC));
	attach_ends_session(a, memfd_create("plain", MFD_ALLOW_SEALING));
}

ATTACK(attach_device)
{
	attach_ends_session(a, open("/dev/null", O_RDWR));
	attach_ends_session(a, open("/dev/zero", O_RDWR));
}

ATTACK(attach_own_connection)
{
	attack_greet(a);
	CLIENT_EXPECT(raw_call_fds(&a->r, MMB_METHOD_ATTACH, NULL, &a->r.sock, 1));
	attack_ended(&a->r);
	raw_close(&a->r);
	/* A socket in itself: two sockets that hold each other in their queues. */
	for (int i = 0; i < 20; i++) {
		int fds[2];

		CLIENT_EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
		raw_init(&a->r);
		a->r.sock = fds[0];
		CLIENT_EXPECT_EQ(raw_send_fds(&a->r, "x", 1, &fds[1], 1), 0);
		close(fds[0]);
		a->r.sock = -1;
		attach_ends_session(a, fds[1]);
	}
}

ATTACK(attach_upcall_socket)
{
	int fd;

	attack_greet(a);
	fd = dup(a->r.upcall);
	CLIENT_EXPECT(raw_call_fds(&a->r, MMB_METHOD_ATTACH, NULL, &fd, 1));
	close(fd);
	attack_ended(&a->r);
}

ATTACK(attach_nothing)
{
	attack_greet(a);
	attack_cut(&a->r, MMB_METHOD_ATTACH, NULL);
}

/* ---- how many ---- */

static void attach_many(struct attack *a, uint32_t nr)
{
	int fds[FDS_MANY];
	int got;

	attack_greet(a);
	for (uint32_t i = 0; i < nr; i++)
		CLIENT_EXPECT((fds[i] = eventfd(0, EFD_CLOEXEC)) >= 0);
	got = raw_call_fds(&a->r, MMB_METHOD_ATTACH, NULL, fds, nr);
	for (uint32_t i = 0; i < nr; i++)
		close(fds[i]);
	CLIENT_EXPECT(got < 0);
	if (got != -ECONNRESET)
		attack_ended(&a->r);
	raw_close(&a->r);
}

ATTACK(attach_two)
{
	attach_many(a, 2);
	attach_many(a, MMB_PACKET_FDS);
}

ATTACK(attach_five)
{
	attach_many(a, MMB_PACKET_FDS + 1);
}

ATTACK(attach_hundreds)
{
	attach_many(a, FDS_MANY);
	attach_many(a, 100);
}

ATTACK(descriptors_nobody_asked_for)
{
	int fds[MMB_PACKET_FDS] = { 0, 1, 2, 2 };

	for (uint32_t method = 1; method < METHODS_END; method++) {
		if (!wire_method(method) || method == MMB_METHOD_ATTACH)
			continue;
		attack_connect(a);
		if (method != MMB_METHOD_HELLO)
			CLIENT_EXPECT_EQ(raw_hello(&a->r, "generous"), 0);
		CLIENT_EXPECT_EQ(raw_request_fds(&a->r, method, NULL, fds, 1 + method % 4), 0);
		attack_ended(&a->r);
		raw_close(&a->r);
	}
}

ATTACK(descriptors_with_junk)
{
	int fds[MMB_PACKET_FDS] = { 0, 1, 2, 2 };

	for (uint32_t nr = 1; nr <= MMB_PACKET_FDS; nr++) {
		attack_connect(a);
		CLIENT_EXPECT_EQ(raw_send_fds(&a->r, "junk", 4, fds, nr), 0);
		attack_ended(&a->r);
		raw_close(&a->r);
	}
	attack_greet(a);
	CLIENT_EXPECT_EQ(raw_request_fds(&a->r, 99, NULL, fds, 4), 0);
	attack_ended(&a->r);
}

/* Messages full of descriptors, as fast as they go, in a session that is over at the first. */
ATTACK(descriptor_flood)
{
	int fds[MMB_PACKET_FDS];

	for (int i = 0; i < MMB_PACKET_FDS; i++)
		CLIENT_EXPECT((fds[i] = memfd_create("flood", MFD_CLOEXEC)) >= 0);
	for (int round = 0; round < 20; round++) {
		attack_greet(a);
		for (int i = 0; i < 50; i++)
			if (raw_request_fds(&a->r, MMB_METHOD_PING, NULL, fds, MMB_PACKET_FDS))
				break;
		attack_ended(&a->r);
		raw_close(&a->r);
	}
}

/* Credentials and descriptors in one message. */
ATTACK(other_control_messages)
{
	struct ucred  me = { .pid = getpid(), .uid = getuid(), .gid = getgid() };
	char          byte = 8;
	struct iovec  iov = { .iov_base = &byte, .iov_len = 1 };
	union {
		struct cmsghdr head;
		char           space[CMSG_SPACE(sizeof(me))];
	} control = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS,
				.cmsg_len = CMSG_LEN(sizeof(me)) } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &me, sizeof(me));
	attack_greet(a);
	CLIENT_EXPECT_EQ(sendmsg(a->r.sock, &msg, MSG_NOSIGNAL), 1);
	attack_ended(&a->r);
}

/* ---- clones whose replies bring descriptors ---- */

enum { CLONES = 3, CLONES_UNREAD = 40, CLONES_TOO_MANY = 65 };

struct clones {
	Mmb__Wire__RegionCloneRequest         request;
	Mmb__Wire__RegionCloneRequest__Clone  part;
	Mmb__Wire__RegionCloneRequest__Clone *parts[CLONES_TOO_MANY];
};

static void ask_for_clones(struct clones *c, uint32_t region, size_t nr)
{
	mmb__wire__region_clone_request__init(&c->request);
	mmb__wire__region_clone_request__clone__init(&c->part);
	c->part.region = region;
	for (size_t i = 0; i < CLONES_TOO_MANY; i++)
		c->parts[i] = &c->part;
	c->request.clones = c->parts;
	c->request.n_clones = nr;
	c->request.map = true;
}

/* The first one's handle and descriptor, as REGION_MAP tells them once more, and nothing else. */
static void expect_told(struct raw *r)
{
	const Mmb__Wire__RegionCloneReply *reply = r->body;
	Mmb__Wire__RegionRequest           map = MMB__WIRE__REGION_REQUEST__INIT;
	uint32_t                           handles[CLONES] = { 0 };
	uint64_t                           address;
	struct stat                        told, asked;

	CLIENT_EXPECT(reply->opened && reply->n_regions && reply->n_regions <= CLONES);
	memcpy(handles, reply->regions, reply->n_regions * sizeof(handles[0]));
	address = reply->opened->address;
	CLIENT_EXPECT_EQ(reply->opened->region, handles[0]);
	CLIENT_EXPECT_EQ(r->nr_fds, 1);
	CLIENT_EXPECT_EQ(fstat(r->fds[0], &told), 0);
	map.region = handles[0];
	CLIENT_EXPECT_EQ(raw_call(r, MMB_METHOD_REGION_MAP, &map), 0);
	CLIENT_EXPECT_EQ(r->nr_fds, 1);
	CLIENT_EXPECT_EQ(fstat(r->fds[0], &asked), 0);
	CLIENT_EXPECT_EQ(told.st_ino, asked.st_ino);
	CLIENT_EXPECT_EQ(((const Mmb__Wire__RegionOpenReply *)r->body)->address, address);
	for (size_t i = 0; i < CLONES && handles[i]; i++) {
		map.region = handles[i];
		CLIENT_EXPECT_EQ(raw_call(r, MMB_METHOD_REGION_CLOSE, &map), 0);
	}
}

ATTACK(clones_are_told_of_once)
{
	struct raw_region region;
	struct clones     c;
	ssize_t           length;

	attack_pool(a);
	region = attack_region(a, 4);
	ask_for_clones(&c, region.handle, CLONES);
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_CLONE, &c.request), 0);
	expect_told(&a->r);
	/* Another number is as good as 1. */
	c.request.n_clones = 1;
	length = raw_encode(&a->r, MMB_METHOD_REGION_CLONE, &c.request);
	CLIENT_EXPECT(length > 0 && a->r.out[length - 1] == 1);
	a->r.out[length - 1] = 0x7f;
	CLIENT_EXPECT_EQ(raw_send(&a->r, a->r.out, (size_t)length), 0);
	CLIENT_EXPECT_EQ(raw_recv(&a->r), 0);
	expect_told(&a->r);
	c.request.n_clones = CLONES_TOO_MANY;
	attack_refused(&a->r, MMB_METHOD_REGION_CLONE, &c.request, -EINVAL);
	c.request.n_clones = 0;
	attack_refused(&a->r, MMB_METHOD_REGION_CLONE, &c.request, -EINVAL);
	c.request.n_clones = 1;
	c.part.region ^= 0x40000000;
	attack_refused(&a->r, MMB_METHOD_REGION_CLONE, &c.request, -EBADF);
	CLIENT_EXPECT_EQ(a->r.nr_fds, 0);
}

/* One takes what it has asked for late, the other one never. */
ATTACK(clones_whose_descriptors_nobody_takes)
{
	for (int late = 0; late < 2; late++) {
		struct raw_region region;
		struct clones     c;

		attack_pool(a);
		region = attack_region(a, 4);
		ask_for_clones(&c, region.handle, 1);
		for (int i = 0; i < CLONES_UNREAD; i++)
			CLIENT_EXPECT_EQ(raw_request(&a->r, MMB_METHOD_REGION_CLONE, &c.request),
					 0);
		for (int i = 0; late && i < CLONES_UNREAD; i++) {
			CLIENT_EXPECT_EQ(raw_recv(&a->r), 0);
			CLIENT_EXPECT_EQ(a->r.nr_fds, 1);
		}
		munmap(region.at, region.length);
		close(region.fd);
		raw_close(&a->r);
	}
}

/* ---- userfaultfds ---- */

static int system_uffd(int flags)
{
	return (int)syscall(SYS_userfaultfd, flags | (getuid() ? UFFD_USER_MODE_ONLY : 0));
}

static int shaken_uffd(int flags, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int               fd = system_uffd(flags);

	CLIENT_EXPECT(fd >= 0);
	CLIENT_EXPECT_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

static void attach_refused(struct attack *a, int fd)
{
	int got;

	attack_greet(a);
	got = raw_call_fds(&a->r, MMB_METHOD_ATTACH, NULL, &fd, 1);
	CLIENT_EXPECT(raw_refused(&a->r, got));
	close(fd);
	raw_close(&a->r);
}

ATTACK(uffd_without_handshake)
{
	attach_refused(a, system_uffd(O_CLOEXEC | O_NONBLOCK));
	attach_refused(a, system_uffd(O_CLOEXEC));
}

ATTACK(uffd_without_features)
{
	attach_refused(a, shaken_uffd(O_NONBLOCK, 0));
	attach_refused(a, shaken_uffd(O_NONBLOCK, UFFD_FEATURE_MISSING_SHMEM));
}

/* Served like any other, or refused; in no case does a fault thread wait in it. */
ATTACK(uffd_that_blocks)
{
	struct raw_region region;
	int               got;

	attack_greet(a);
	CLIENT_EXPECT_EQ(raw_uffd(&a->r), 0);
	CLIENT_EXPECT_EQ(fcntl(a->r.uffd, F_SETFL, 0), 0);
	got = raw_attach(&a->r);
	if (got) {
		CLIENT_EXPECT(raw_refused(&a->r, got));
		return;
	}
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
	region = attack_region(a, 64);
	pattern_fill(region.at, region.length, 5);
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 5));
}

static void block_and_fault(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };
	struct raw_region    region;

	a.socket = socket;
	attack_pool(&a);
	region = attack_region(&a, 512);
	CLIENT_EXPECT_EQ(fcntl(a.r.uffd, F_SETFL, 0), 0);
	for (int i = 0; i < 256; i++) {
		CLIENT_EXPECT_EQ(raw_write_byte(region.at + i * PAGE, 1), 0);
		CLIENT_EXPECT_EQ(fcntl(a.r.uffd, F_SETFL, i % 2 ? O_NONBLOCK : 0), 0);
	}
	CLIENT_EXPECT_EQ(fcntl(a.r.uffd, F_SETFL, 0), 0);
	CLIENT_EXPECT(client_tell_step(self, 'b'));
	pause();
}

/* More of them than there are fault threads. */
static void uffd_made_blocking_later(void)
{
	enum { CLIENTS = 8 };
	struct fixture       *f = hostile_begin();
	struct client_process c[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		client_fork(&c[i], block_and_fault, f->socket);
	for (int i = 0; i < CLIENTS; i++)
		EXPECT(client_hear_step(&c[i], 'b'));
	for (int i = 0; i < 3; i++)
		hostile_expect_bystander();
	for (int i = 0; i < CLIENTS; i++)
		client_signal(&c[i], SIGKILL);
	hostile_check();
}

/* A child's userfaultfd, passed to the attacker, who attaches it as its own. */
static void send_uffd(int sock)
{
	static struct raw child;
	char             *at;
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	raw_init(&child);
	CLIENT_EXPECT_EQ(raw_uffd(&child), 0);
	at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CLIENT_EXPECT(at != MAP_FAILED);
	range.range.start = (uintptr_t)at;
	range.range.len = 4 * PAGE;
	CLIENT_EXPECT_EQ(ioctl(child.uffd, UFFDIO_REGISTER, &range), 0);
	child.sock = sock;
	CLIENT_EXPECT_EQ(raw_send_fds(&child, "u", 1, &child.uffd, 1), 0);
	raw_write_byte(at, 1); /* answered with SIGBUS, or never */
	_exit(0);
}

ATTACK(uffd_of_another_process)
{
	uint8_t             byte;
	struct wire_message m = { .bytes = &byte, .capacity = 1 };
	int                 pair[2], got;
	pid_t               child;

	CLIENT_EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	child = fork();
	if (!child)
		send_uffd(pair[1]);
	CLIENT_EXPECT_EQ(wire_recv(pair[0], &m, 0), 1);
	CLIENT_EXPECT_EQ(m.nr_fds, 1);
	attack_greet(a);
	got = raw_call_fds(&a->r, MMB_METHOD_ATTACH, NULL, m.fds, 1);
	CLIENT_EXPECT(!got || raw_refused(&a->r, got));
	if (!got)
		attack_serves(&a->r);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	attack_serves(&a->r);
}

/* One userfaultfd in two sessions of its process. */
ATTACK(uffd_attached_to_two_sessions)
{
	static struct raw second;
	struct raw_region first_region;
	int               got;

	attack_pool(a);
	first_region = attack_region(a, 16);
	CLIENT_EXPECT_EQ(raw_connect(&second, a->socket), 0);
	CLIENT_EXPECT_EQ(raw_hello(&second, "second"), 0);
	got = raw_call_fds(&second, MMB_METHOD_ATTACH, NULL, &a->r.uffd, 1);
	CLIENT_EXPECT(!got || raw_refused(&second, got));
	/* Its faults may be answered by either; the daemon must not care. */
	raw_write_byte(first_region.at, 1);
	raw_close(&second);
	attack_serves(&a->r);
}

ATTACK(uffd_closed_by_the_client)
{
	struct raw_region region;

	attack_pool(a);
	region = attack_region(a, 16);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 7), 0);
	close(a->r.uffd);
	a->r.uffd = -1;
	CLIENT_EXPECT(region.at[0] == 7);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at + PAGE, 7), 0);
	attack_serves(&a->r);
}

ATTACK(windows_unregistered)
{
	struct raw_region   region;
	struct uffdio_range range = { 0 };

	attack_pool(a);
	region = attack_region(a, 16);
	range.start = (uintptr_t)region.at;
	range.len = region.length;
	CLIENT_EXPECT_EQ(ioctl(a->r.uffd, UFFDIO_UNREGISTER, &range), 0);
	for (int i = 0; i < 16; i++)
		raw_write_byte(region.at + i * PAGE, 1); /* frames behind the daemon's back */
	attack_serves(&a->r);
}

ATTACK(window_write_protected)
{
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct raw_region          region;

	attack_pool(a);
	region = attack_region(a, 16);
	pattern_fill(region.at, region.length, 9);
	wp.range.start = (uintptr_t)region.at;
	wp.range.len = region.length;
	CLIENT_EXPECT_EQ(ioctl(a->r.uffd, UFFDIO_WRITEPROTECT, &wp), 0);
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 9));
	for (int i = 0; i < 16; i++)
		CLIENT_EXPECT_EQ(raw_write_byte(region.at + i * PAGE, 1), 0);
}

/* Ranges the client registers by itself: nobody granted memory there. */
ATTACK(strange_range_registered)
{
	struct uffdio_register          range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	const struct mmb_fault_record *record;
	char                           *at;

	attack_pool(a);
	at = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CLIENT_EXPECT(at != MAP_FAILED);
	range.range.start = (uintptr_t)at;
	range.range.len = 64 * PAGE;
	CLIENT_EXPECT_EQ(ioctl(a->r.uffd, UFFDIO_REGISTER, &range), 0);
	CLIENT_EXPECT_EQ(raw_write_byte(at + 3 * PAGE, 1), -EFAULT);
	record = raw_fault_record(&a->r, at + 3 * PAGE);
	CLIENT_EXPECT(record && record->error < 0 && record->cause[0]);
	attack_serves(&a->r);
}

static void *touch_region(void *arg)
{
	struct raw_region *region = arg;

	for (uint64_t at = 0; at < region->length; at += PAGE)
		raw_write_byte(region->at + at, 1);
	return NULL;
}

/* Reads the events itself: its faults may then stay unanswered, nobody else's. */
static void steal_events(struct client_process *self, void *socket)
{
	static struct attack     a = { .seed = 1 };
	static struct raw_region region;
	struct uffd_msg          msgs[16];
	pthread_t                thread;

	a.socket = socket;
	attack_pool(&a);
	region = attack_region(&a, 256);
	CLIENT_EXPECT_EQ(pthread_create(&thread, NULL, touch_region, &region), 0);
	CLIENT_EXPECT(client_tell_step(self, 's'));
	for (;;)
		if (read(a.r.uffd, msgs, sizeof(msgs)) < 0 && errno != EAGAIN)
			pause();
}

static void events_stolen(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process c;

	client_fork(&c, steal_events, f->socket);
	EXPECT(client_hear_step(&c, 's'));
	for (int i = 0; i < 5; i++)
		hostile_expect_bystander();
	client_signal(&c, SIGKILL);
	hostile_check();
}

static const struct test_case cases[] = {
	{ "ATTACH with a pipe ends the session", attach_pipe },
	{ "ATTACH with a socket ends the session", attach_socket },
	{ "ATTACH with an epoll descriptor ends the session", attach_epoll },
	{ "ATTACH with an eventfd or a timerfd ends the session", attach_eventfd },
	{ "ATTACH with a file or a folder ends the session", attach_file },
	{ "ATTACH with a memfd, however named, ends the session", attach_memfd },
	{ "ATTACH with a device ends the session", attach_device },
	{ "ATTACH with the connection itself ends the session", attach_own_connection },
	{ "ATTACH with the upcall socket ends the session", attach_upcall_socket },
	{ "ATTACH with nothing ends the session", attach_nothing },
	{ "ATTACH with two or four descriptors ends the session", attach_two },
	{ "five descriptors end the session and none is kept", attach_five },
	{ "253 descriptors end the session and none is kept", attach_hundreds },
	{ "descriptors where none are expected end the session", descriptors_nobody_asked_for },
	{ "descriptors with junk end the session and none is kept", descriptors_with_junk },
	{ "a flood of descriptors leaves none behind", descriptor_flood },
	{ "descriptors that block when they are closed hold up no others",
	  descriptors_that_block_when_closed },
	{ "credentials beside a message end the session", other_control_messages },
	{ "a clone's reply tells of the first, once", clones_are_told_of_once },
	{ "clones whose descriptors nobody takes, or late", clones_whose_descriptors_nobody_takes },
	{ "a userfaultfd before its handshake is refused", uffd_without_handshake },
	{ "a userfaultfd without the needed features is refused", uffd_without_features },
	{ "a blocking userfaultfd holds no fault thread", uffd_that_blocks },
	{ "userfaultfds made blocking after ATTACH hold no fault thread",
	  uffd_made_blocking_later },
	{ "another process's userfaultfd harms nobody", uffd_of_another_process },
	{ "one userfaultfd in two sessions harms nobody", uffd_attached_to_two_sessions },
	{ "a client that closes its userfaultfd harms itself alone", uffd_closed_by_the_client },
	{ "a client that unregisters its windows harms itself alone", windows_unregistered },
	{ "a client that write-protects its windows is helped out", window_write_protected },
	{ "a range that the client registered by itself is poisoned", strange_range_registered },
	{ "a client that reads its own faults delays nobody", events_stolen },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
