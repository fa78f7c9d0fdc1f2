/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_flood - too much, too fast, or nothing at all
 *
 * Purpose     Silent connections, thousands of connects, requests without end, replies never read:
 *             each is bounded, and the bystander is served meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { "--limits.hello_deadline=500ms",
				      "--limits.sessions_per_uid=1000", NULL };

enum { SILENT = 200, QUICK_CONNECTS = 1000, FLOOD_CLIENTS = 4 };

/* ---- connections ---- */

ATTACK(says_nothing)
{
	attack_connect(a);
	attack_ended(&a->r);
}

ATTACK(says_half_a_thing)
{
	/* A packet is whole or isn't: then it is refused at once. */
	attack_connect(a);
	CLIENT_EXPECT_EQ(raw_send(&a->r, "\x08\x01\x2a\x7f", 4), 0);
	attack_ended(&a->r);
}

ATTACK(many_say_nothing)
{
	static struct raw silent[SILENT];

	for (int i = 0; i < SILENT; i++)
		CLIENT_EXPECT_EQ(raw_connect(&silent[i], a->socket), 0);
	attack_pool(a);
	attack_region(a, 4);
	for (int i = 0; i < SILENT; i++)
		attack_ended(&silent[i]);
	attack_serves(&a->r);
}

ATTACK(quick_connects)
{
	for (int i = 0; i < QUICK_CONNECTS; i++) {
		attack_connect(a);
		raw_close(&a->r);
	}
}

ATTACK(quick_sessions)
{
	for (int i = 0; i < QUICK_CONNECTS / 4; i++) {
		attack_attach(a);
		raw_close(&a->r);
	}
}

/* More connections than the backlog takes, none of them accepted yet while they come. */
ATTACK(connect_burst)
{
	static struct raw burst[QUICK_CONNECTS];

	for (int i = 0; i < QUICK_CONNECTS; i++)
		CLIENT_EXPECT_EQ(raw_connect(&burst[i], a->socket), 0);
	for (int i = 0; i < QUICK_CONNECTS; i++)
		raw_close(&burst[i]);
}

ATTACK(byte_streams)
{
	/* The wrong kind of socket never gets through. */
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		struct raw r;

		raw_init(&r);
		r.sock = socket(AF_UNIX, type, 0);
		CLIENT_EXPECT(r.sock >= 0);
		CLIENT_EXPECT(raw_send(&r, "x", 1) != 0);
		raw_close(&r);
	}
	attack_greet(a);
	attack_serves(&a->r);
}

/* ---- requests without end ---- */

static void expect_each_answered_once(struct raw *r, uint32_t method, const void *body, int nr)
{
	static uint8_t seen[4096];
	uint64_t       first = r->next_id + 1;
	int            sent = 0, answered = 0;

	CLIENT_EXPECT(nr <= (int)sizeof(seen));
	memset(seen, 0, sizeof(seen));
	while (answered < nr) {
		/* Two hundred are in flight at a time: beyond the limit of 64. */
		while (sent < nr && sent - answered < 200) {
			CLIENT_EXPECT_EQ(raw_request(r, method, body), 0);
			sent++;
		}
		CLIENT_EXPECT_EQ(raw_recv(r), 0);
		CLIENT_EXPECT(r->reply.id >= first && r->reply.id < first + (uint64_t)nr);
		CLIENT_EXPECT(!seen[r->reply.id - first]++);
		answered++;
	}
}

ATTACK(quick_requests_beyond_limit)
{
	attack_greet(a);
	expect_each_answered_once(&a->r, MMB_METHOD_PING, NULL, 4000);
	expect_each_answered_once(&a->r, MMB_METHOD_STATUS, NULL, 1000);
}

ATTACK(slow_requests_beyond_limit)
{
	Mmb__Wire__RegionRangeRequest range = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	struct raw_region             region;

	attack_pool(a);
	region = attack_region(a, 256);
	range.region = region.handle;
	range.length = region.length;
	range.advice = MMB_ADVISE_WILLNEED;
	expect_each_answered_once(&a->r, MMB_METHOD_REGION_ADVISE, &range, 500);
	range.advice = MMB_ADVISE_DONTNEED;
	expect_each_answered_once(&a->r, MMB_METHOD_REGION_ADVISE, &range, 500);
	expect_each_answered_once(&a->r, MMB_METHOD_VMSTAT, NULL, 300);
	expect_each_answered_once(&a->r, MMB_METHOD_VERIFY, NULL, 100);
}

/* One after the other without looking: the daemon must slow the client, not collect. */
static void flood(struct client_process *self, void *socket)
{
	static struct attack a = { .seed = 1 };

	a.socket = socket;
	attack_pool(&a);
	CLIENT_EXPECT_EQ(fcntl(a.r.sock, F_SETFL, O_NONBLOCK), 0);
	CLIENT_EXPECT(client_tell_step(self, 'f'));
	for (;;) {
		int error = raw_request(&a.r, MMB_METHOD_VMSTAT, NULL);

		if (error == -EPIPE || error == -ECONNRESET)
			break;
		if (error == -EAGAIN)
			usleep(100);
	}
	client_tell_step(self, 'e');
	pause();
}

static uint64_t resident_of(pid_t pid)
{
	char               path[40];
	unsigned long long size, resident = 0;
	FILE              *statm;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	statm = fopen(path, "re");
	if (!statm)
		return 0;
	if (fscanf(statm, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(statm);
	return resident * PAGE;
}

static void replies_never_read(void)
{
#ifdef __SANITIZE_ADDRESS__
	enum { MOST_BYTES = 512 << 20 }; /* it keeps freed memory for a while */
#else
	enum { MOST_BYTES = 48 << 20 };
#endif
	struct fixture       *f = hostile_begin();
	struct client_process c[FLOOD_CLIENTS];
	uint64_t              before = resident_of(f->pid);

	for (int i = 0; i < FLOOD_CLIENTS; i++)
		client_fork(&c[i], flood, f->socket);
	for (int i = 0; i < FLOOD_CLIENTS; i++)
		EXPECT(client_hear_step(&c[i], 'f'));
	for (int i = 0; i < 5; i++)
		hostile_expect_bystander();
	/* Let go, each of them, by the daemon. */
	for (int i = 0; i < FLOOD_CLIENTS; i++)
		EXPECT(client_hear_step(&c[i], 'e'));
	EXPECT(resident_of(f->pid) < before + MOST_BYTES);
	for (int i = 0; i < FLOOD_CLIENTS; i++)
		client_signal(&c[i], SIGKILL);
	hostile_check();
}

ATTACK(tiny_receive_buffer)
{
	int bytes = 1;

	attack_pool(a);
	CLIENT_EXPECT_EQ(setsockopt(a->r.sock, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
	CLIENT_EXPECT_EQ(setsockopt(a->r.sock, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	expect_each_answered_once(&a->r, MMB_METHOD_PING, NULL, 50);
}

/* Reads one reply of many, and never in a hurry: still in order, still complete. */
ATTACK(slow_reader)
{
	uint64_t first;
	int      error;

	attack_greet(a);
	first = a->r.next_id + 1;
	CLIENT_EXPECT_EQ(fcntl(a->r.sock, F_SETFL, O_NONBLOCK), 0);
	do {
		error = raw_request(&a->r, MMB_METHOD_STATUS, NULL);
	} while (!error);
	CLIENT_EXPECT_EQ(error, -EAGAIN);
	CLIENT_EXPECT_EQ(fcntl(a->r.sock, F_SETFL, 0), 0);
	usleep(300000);
	for (uint64_t id = first; id < a->r.next_id; id++) {
		CLIENT_EXPECT_EQ(raw_recv(&a->r), 0);
		CLIENT_EXPECT(a->r.reply.id == id);
	}
	attack_serves(&a->r);
}

/* Upcalls that nobody reads fill their socket and then are dropped. */
ATTACK(upcalls_never_read)
{
	struct raw_region region;

	attack_pool(a);
	region = attack_region(a, 64);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
	/* A poisoned page makes each DONTNEED send a ZAP. */
	CLIENT_EXPECT_EQ(madvise(region.at, PAGE, MADV_REMOVE), 0);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), -EFAULT);
	for (int i = 0; i < 2000; i++)
		raw_advise(&a->r, &region, 0, PAGE, MMB_ADVISE_DONTNEED);
	attack_serves(&a->r);
}

ATTACK(open_and_close_without_end)
{
	attack_pool(a);
	for (int i = 0; i < 500; i++) {
		struct raw_region region = attack_region(a, 4);

		CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
		CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
	}
}

ATTACK(pools_without_end)
{
	int error = 0, nr = 0;

	attack_attach(a);
	for (nr = 0; nr < 5000 && !error; nr++)
		error = raw_pool(&a->r, NULL, 0);
	CLIENT_EXPECT(error && raw_refused(&a->r, error));
	attack_serves(&a->r);
}

static const struct test_case cases[] = {
	{ "a connection that says nothing is closed", says_nothing },
	{ "a connection that says half a thing is closed", says_half_a_thing },
	{ "many silent connections keep nobody out", many_say_nothing },
	{ "a thousand quick connects leave nothing", quick_connects },
	{ "hundreds of quick sessions leave nothing", quick_sessions },
	{ "a burst of connections beyond the backlog leaves nothing", connect_burst },
	{ "sockets of another type don't get in", byte_streams },
	{ "quick requests beyond the limit are each answered once", quick_requests_beyond_limit },
	{ "slow requests beyond the limit are each answered once", slow_requests_beyond_limit },
	{ "clients that never read their replies are bounded and let go", replies_never_read },
	{ "the smallest buffers still get every reply", tiny_receive_buffer },
	{ "a slow reader gets everything in order", slow_reader },
	{ "upcalls that nobody reads are bounded", upcalls_never_read },
	{ "regions opened and closed without end leave nothing", open_and_close_without_end },
	{ "pools without end are refused at the limit and come back", pools_without_end },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
