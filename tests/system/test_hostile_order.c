/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_order - the right messages at the wrong time
 *
 * Purpose     Anything before HELLO, twice what may come once, requests that need what isn't there
 *             yet, the upcall channel misused, and clients killed between any two messages.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { METHODS_END = 64 };

/* ---- HELLO ---- */

ATTACK(before_hello)
{
	for (uint32_t method = 1; method < METHODS_END; method++) {
		if (!wire_method(method) || method == MMB_METHOD_HELLO)
			continue;
		attack_connect(a);
		attack_cut(&a->r, method, NULL);
		raw_close(&a->r);
	}
}

ATTACK(hello_twice)
{
	Mmb__Wire__HelloRequest hello = MMB__WIRE__HELLO_REQUEST__INIT;

	hello.version_min = hello.version_max = MMB_PROTOCOL_VERSION;
	attack_greet(a);
	attack_cut(&a->r, MMB_METHOD_HELLO, &hello);
	raw_close(&a->r);
	attack_pool(a);
	attack_region(a, 4);
	attack_cut(&a->r, MMB_METHOD_HELLO, &hello);
}

ATTACK(wrong_versions)
{
	static const uint32_t versions[][2] = {
		{ 0, 0 }, { 2, 9 }, { 9, 2 }, { ~0u, ~0u }, { 2, ~0u }, { 1, 0 },
	};

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		Mmb__Wire__HelloRequest hello = MMB__WIRE__HELLO_REQUEST__INIT;

		hello.version_min = versions[i][0];
		hello.version_max = versions[i][1];
		attack_connect(a);
		CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_HELLO, &hello), -EPROTONOSUPPORT);
		CLIENT_EXPECT(raw_refused(&a->r, -EPROTONOSUPPORT));
		attack_ended(&a->r);
		raw_close(&a->r);
	}
}

ATTACK(all_features_wanted)
{
	Mmb__Wire__HelloRequest          hello = MMB__WIRE__HELLO_REQUEST__INIT;
	const Mmb__Wire__HelloReply     *reply;

	hello.version_max = ~0u;
	hello.features = ~0ull;
	attack_connect(a);
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_HELLO, &hello), 0);
	reply = a->r.body;
	CLIENT_EXPECT_EQ(reply->version, MMB_PROTOCOL_VERSION);
	CLIENT_EXPECT_EQ(reply->features & ~15ull, 0);
	attack_serves(&a->r);
}

ATTACK(control_wants_memory)
{
	attack_connect(a);
	CLIENT_EXPECT_EQ(raw_hello_control(&a->r), 0);
	for (uint32_t method = 1; method < METHODS_END; method++)
		if (wire_method(method) && wire_method(method)->access == WIRE_SESSION &&
		    method != MMB_METHOD_ATTACH)
			attack_refused(&a->r, method, NULL, -EPERM);
}

ATTACK(stranger_wants_to_verify)
{
	CLIENT_EXPECT_EQ(client_become_nobody(), 0);
	attack_greet(a);
	attack_refused(&a->r, MMB_METHOD_VERIFY, NULL, -EPERM);
	attack_refused(&a->r, MMB_METHOD_SWAPON, NULL, -EPERM);
	attack_refused(&a->r, MMB_METHOD_SWAPOFF, NULL, -EPERM);
}

static void verify_by_a_stranger(void)
{
	if (getuid())
		SKIP("becoming another user needs root");
	stranger_wants_to_verify();
}

/* ---- ATTACH and what needs it ---- */

ATTACK(attach_twice)
{
	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_uffd(&a->r), 0);
	CLIENT_EXPECT_EQ(raw_attach(&a->r), -EEXIST);
	attack_serves(&a->r);
}

ATTACK(region_before_attach)
{
	Mmb__Wire__RegionOpenRequest region = MMB__WIRE__REGION_OPEN_REQUEST__INIT;

	attack_greet(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
	region.pool = a->r.pool;
	region.length = 16 * PAGE;
	attack_refused(&a->r, MMB_METHOD_REGION_CREATE, &region, ANY_CODE);
	region.flags = MMB_REGION_POPULATE;
	attack_refused(&a->r, MMB_METHOD_REGION_CREATE, &region, ANY_CODE);
	region.name = (char *)(uintptr_t)"early";
	region.flags = MMB_REGION_CREATE;
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &region, ANY_CODE);
}

ATTACK(everything_before_a_pool)
{
	Mmb__Wire__PagesAllocRequest alloc = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;

	attack_attach(a);
	alloc.count = 1;
	attack_refused(&a->r, MMB_METHOD_PAGES_ALLOC, &alloc, -EBADF);
	attack_refused(&a->r, MMB_METHOD_ARENA_OPEN, NULL, -EBADF);
	attack_refused(&a->r, MMB_METHOD_POOL_STAT, NULL, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_STAT, NULL, -EBADF);
}

/* ---- the socket's other uses ---- */

ATTACK(half_closed_for_writing)
{
	attack_pool(a);
	attack_region(a, 4);
	CLIENT_EXPECT_EQ(raw_request(&a->r, MMB_METHOD_STATUS, NULL), 0);
	CLIENT_EXPECT_EQ(shutdown(a->r.sock, SHUT_WR), 0);
	attack_ended(&a->r);
}

ATTACK(half_closed_for_reading)
{
	attack_pool(a);
	CLIENT_EXPECT_EQ(shutdown(a->r.sock, SHUT_RD), 0);
	for (int i = 0; i < 100; i++)
		raw_request(&a->r, MMB_METHOD_STATUS, NULL);
}

/* One process connects, another talks: rights are those of the first. */
ATTACK(inherited_socket)
{
	int status;

	attack_pool(a);
	attack_region(a, 4);
	if (fork() == 0) {
		attack_serves(&a->r);
		_exit(0);
	}
	wait(&status);
	CLIENT_EXPECT_EQ(status, 0);
	attack_serves(&a->r);
}

/* The session is its process, not its socket: a child that lives on with it keeps nothing. */
static void leave_socket_to_child(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };
	struct raw_region    region;

	a.socket = socket;
	attack_pool(&a);
	region = attack_region(&a, 16);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
	if (fork() == 0) {
		CLIENT_EXPECT(client_tell_step(self, 'r'));
		attack_ended(&a.r);
		CLIENT_EXPECT(client_tell_step(self, 'e'));
		_exit(0);
	}
	pause();
}

static void child_keeps_socket(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process c;

	client_fork(&c, leave_socket_to_child, f->socket);
	EXPECT(client_hear_step(&c, 'r'));
	kill(c.pid, SIGKILL);
	EXPECT(client_hear_step(&c, 'e'));
	client_signal(&c, SIGKILL);
	hostile_check();
}

/* ---- the upcall channel ---- */

static void send_upcall(struct attack *a, const void *bytes, size_t nr)
{
	CLIENT_EXPECT(a->r.upcall >= 0);
	CLIENT_EXPECT(send(a->r.upcall, bytes, nr, MSG_NOSIGNAL) == (ssize_t)nr);
}

ATTACK(acks_never_asked_for)
{
	static const uint64_t ids[] = { 0, 1, 2, ~0ull };
	static const uint32_t methods[] = { MMB_UPCALL_ZAP, MMB_UPCALL_PRESSURE,
					    MMB_UPCALL_GOODBYE };

	for (size_t i = 0; i < 12; i++) {
		struct wire_packet head = { .method = methods[i % 3], .id = ids[i / 3] };
		uint8_t            bytes[64];
		ssize_t            nr = wire_encode(&head, NULL, bytes, sizeof(bytes));

		attack_greet(a);
		send_upcall(a, bytes, (size_t)nr);
		attack_ended(&a->r);
		raw_close(&a->r);
	}
}

ATTACK(junk_upcalls)
{
	char junk[300];

	memset(junk, 0xff, sizeof(junk));
	attack_greet(a);
	send_upcall(a, junk, sizeof(junk));
	attack_ended(&a->r);
	raw_close(&a->r);
	/* A request there is no acknowledgement either. */
	attack_greet(a);
	CLIENT_EXPECT(raw_encode(&a->r, MMB_METHOD_PING, NULL) > 0);
	send_upcall(a, a->r.out, 4);
	attack_ended(&a->r);
}

ATTACK(descriptors_on_upcalls)
{
	struct raw upcalls;
	int        fds[2] = { STDIN_FILENO, STDOUT_FILENO };

	attack_greet(a);
	raw_init(&upcalls);
	upcalls.sock = a->r.upcall;
	CLIENT_EXPECT_EQ(raw_request_fds(&upcalls, MMB_UPCALL_ZAP, NULL, fds, 2), 0);
	attack_ended(&a->r);
}

ATTACK(upcalls_closed)
{
	attack_pool(a);
	close(a->r.upcall);
	a->r.upcall = -1;
	attack_region(a, 4);
	for (int i = 0; i < 20; i++)
		attack_serves(&a->r);
}

/* ---- death between any two messages ---- */

static void die_here(int *steps_left)
{
	if ((*steps_left)-- == 0)
		raise(SIGKILL);
}

static void step_by_step(struct client_process *self, void *arg)
{
	static struct attack    a = { .seed = 1 };
	static uint64_t         runs[16];
	int                     left = **(int **)arg;
	struct raw_region       region;

	a.socket = ((void **)arg)[1];
	attack_connect(&a);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_hello(&a.r, "mortal"), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_uffd(&a.r), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_attach(&a.r), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_pool(&a.r, "mortals", 0), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_arena(&a.r, NULL), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_pages(&a.r, 2, 0, 16, runs), 16);
	die_here(&left);
	*(char *)(uintptr_t)runs[0] = 1;
	region = attack_region(&a, 256);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at + 5 * PAGE, 1), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_advise(&a.r, &region, 0, 64 * PAGE, MMB_ADVISE_WILLNEED), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_request(&a.r, MMB_METHOD_STATUS, NULL), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_pages_free(&a.r, 2, runs, 8), 0);
	die_here(&left);
	CLIENT_EXPECT_EQ(raw_region_close(&a.r, &region), 0);
	die_here(&left);
	raw_close(&a.r);
	CLIENT_EXPECT(client_tell_step(self, 'd'));
}

static void killed_between_messages(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process c;
	int                   steps = 0;
	void                 *arg[2] = { &steps, f->socket };

	for (int status = -SIGKILL; status == -SIGKILL; steps++) {
		client_fork(&c, step_by_step, arg);
		status = client_wait(&c);
		EXPECT(status == -SIGKILL || status == 0);
	}
	EXPECT(steps > 10);
	hostile_check();
}

/* Requests sent, the answers not waited for, and gone: at every count of requests. */
static void send_and_die(struct client_process *self, void *arg)
{
	static struct attack         a = { .seed = 1 };
	int                          nr = **(int **)arg;
	Mmb__Wire__RegionOpenRequest region = MMB__WIRE__REGION_OPEN_REQUEST__INIT;

	a.socket = ((void **)arg)[1];
	attack_pool(&a);
	region.pool = a.r.pool;
	region.length = 1 << 20;
	region.flags = nr % 2 ? MMB_REGION_POPULATE : 0;
	for (int i = 0; i < nr; i++)
		CLIENT_EXPECT_EQ(raw_request(&a.r, MMB_METHOD_REGION_CREATE, &region), 0);
	raise(SIGKILL);
}

static void killed_with_requests_in_flight(void)
{
	struct fixture       *f = hostile_begin();
	struct client_process c;
	int                   nr;
	void                 *arg[2] = { &nr, f->socket };

	for (nr = 1; nr <= 20; nr++) {
		client_fork(&c, send_and_die, arg);
		EXPECT_EQ(client_wait(&c), -SIGKILL);
	}
	hostile_check();
}

static const struct test_case cases[] = {
	{ "every method before HELLO ends the session", before_hello },
	{ "a second HELLO ends the session and its memory comes back", hello_twice },
	{ "versions that don't meet are refused with a sentence", wrong_versions },
	{ "unknown features are left out of what both sides have", all_features_wanted },
	{ "a control session gets no memory", control_wants_memory },
	{ "VERIFY, SWAPON and SWAPOFF are refused to a stranger", verify_by_a_stranger },
	{ "a second ATTACH is refused and the session lives", attach_twice },
	{ "regions before ATTACH are refused and charge nothing", region_before_attach },
	{ "requests before a pool is open are refused", everything_before_a_pool },
	{ "a socket closed for writing ends the session", half_closed_for_writing },
	{ "a socket closed for reading harms nobody", half_closed_for_reading },
	{ "a child may talk on the parent's socket", inherited_socket },
	{ "a child that keeps the socket doesn't keep the dead parent's session",
	  child_keeps_socket },
	{ "an acknowledgement of no upcall ends the session", acks_never_asked_for },
	{ "junk on the upcall socket ends the session", junk_upcalls },
	{ "descriptors on the upcall socket end the session", descriptors_on_upcalls },
	{ "a session goes on without its upcall socket", upcalls_closed },
	{ "a client killed between any two messages leaves nothing", killed_between_messages },
	{ "a client killed with requests in flight leaves nothing",
	  killed_with_requests_in_flight },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
