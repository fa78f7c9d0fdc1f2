/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unread - unread.c: what is sent and not taken is counted, and nobody gets all there is
 */
#include "ipc/unread.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/connection.h"
#include "lib/ipc_fixture.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "proto/wire.h"

enum { MOST = 1000, LIMIT = 2 * MOST };

static void ledger_init(struct unread *u)
{
	objects_boot();
	unread_init(u, LIMIT);
}

static void ledger_fini(struct unread *u)
{
	unread_fini(u);
	objects_shutdown();
}

static uint64_t total(struct unread *u)
{
	struct unread_count count;

	unread_count(u, 0, &count);
	EXPECT_EQ(count.most, MOST);
	return count.total;
}

/* As many as one uid gets, in steps of 4. */
static uint32_t take_all(struct unread *u, uid_t uid)
{
	uint32_t nr = 0;

	while (!unread_charge(u, uid, 4))
		nr += 4;
	EXPECT_EQ(unread_charge(u, uid, 4), -ENOBUFS);
	return nr;
}

static void one_user_leaves_half_and_two_a_quarter(void)
{
	struct unread u;
	uint32_t      first, second, third;

	ledger_init(&u);
	first = take_all(&u, 1001);
	EXPECT_EQ(first, MOST / 2);
	second = take_all(&u, 1002);
	EXPECT(second >= MOST / 4 - 4 && second <= MOST / 4);
	third = take_all(&u, 1003);
	EXPECT(third >= MOST / 8 - 4 && third <= MOST / 8);
	EXPECT_EQ(total(&u), first + second + third);
	unread_uncharge(&u, 1001, first);
	EXPECT_EQ(unread_charge(&u, 1002, 4), 0);
	unread_uncharge(&u, 1002, second + 4);
	unread_uncharge(&u, 1003, third);
	EXPECT_EQ(total(&u), 0);
	ledger_fini(&u);
}

static void what_is_there_already_counts_beyond_the_shares(void)
{
	struct unread u;

	ledger_init(&u);
	EXPECT_EQ(unread_recharge(&u, 1001, MOST + 100), 0);
	EXPECT_EQ(unread_charge(&u, 1002, 1), -ENOBUFS);
	unread_uncharge(&u, 1001, MOST + 100);
	EXPECT_EQ(unread_charge(&u, 1002, 1), 0);
	unread_uncharge(&u, 1002, 1);
	ledger_fini(&u);
}

static void make_pair(int pair[2])
{
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void send_one(int sock)
{
	int fd = 0;

	EXPECT_EQ(wire_send(sock, "x", 1, (struct wire_fds){ &fd, 1 }, 0), 0);
}

static void take_one(int sock)
{
	uint8_t             bytes[16];
	struct wire_message m = { .bytes = bytes, .capacity = sizeof(bytes) };

	EXPECT_EQ(wire_recv(sock, &m, MSG_DONTWAIT), 1);
	EXPECT_EQ(m.nr_fds, 1);
	wire_discard_fds(&m);
}

/* The kernel's word for it, on which all of this rests. */
static void a_queue_is_empty_when_all_is_received(void)
{
	uint8_t byte;
	int     pair[2];

	make_pair(pair);
	EXPECT(unread_is_taken(pair[0]));
	send_one(pair[0]);
	send_one(pair[0]);
	EXPECT(!unread_is_taken(pair[0]));
	EXPECT_EQ(recv(pair[1], &byte, 1, MSG_PEEK | MSG_DONTWAIT), 1);
	take_one(pair[1]);
	EXPECT(!unread_is_taken(pair[0]));
	EXPECT(unread_is_taken(pair[1]));
	take_one(pair[1]);
	EXPECT(unread_is_taken(pair[0]));
	close(pair[0]);
	close(pair[1]);
}

static void a_socket_lingers_until_it_is_taken_or_closed(void)
{
	struct unread_count count;
	struct unread       u;
	int                 read_late[2], closed[2];

	ledger_init(&u);
	make_pair(read_late);
	make_pair(closed);
	send_one(read_late[0]);
	send_one(closed[0]);
	EXPECT_EQ(unread_charge(&u, 1001, 7), 0);
	unread_linger(&u, read_late[0], 1001, 3);
	unread_linger(&u, closed[0], 1001, 4);
	unread_look(&u);
	unread_count(&u, 1001, &count);
	EXPECT_EQ(count.lingering_of_uid, 2);
	unread_count(&u, 1002, &count);
	EXPECT_EQ(count.lingering_of_uid, 0);
	EXPECT_EQ(count.lingering, 2);
	EXPECT_EQ(total(&u), 7);
	close(closed[1]);
	unread_look(&u);
	EXPECT_EQ(total(&u), 3);
	take_one(read_late[1]); /* which is all there was: */
	EXPECT_EQ(recv(read_late[1], &count, 1, MSG_DONTWAIT), 0);
	unread_look(&u);
	EXPECT_EQ(total(&u), 0);
	close(read_late[1]);
	ledger_fini(&u);
}

/* ---- connections ---- */

static void ask(struct wire_client *c, uint32_t nr)
{
	Mmb__Wire__RegionRequest map = MMB__WIRE__REGION_REQUEST__INIT;

	map.region = FAKE_REGION;
	for (uint32_t i = 0; i < nr; i++)
		EXPECT(wire_client_send(c, MMB_METHOD_REGION_MAP, &map.base,
					(struct wire_fds){ 0 }));
}

static void answers(struct wire_client *c, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++) {
		EXPECT_EQ(wire_client_recv(c, WIRE_CLIENT_WAIT_MS), 1);
		EXPECT_EQ(c->packet.code, 0);
		EXPECT_EQ(c->message.nr_fds, 1);
	}
}

static void ask_for_clones(struct wire_client *c)
{
	Mmb__Wire__RegionCloneRequest         clone = MMB__WIRE__REGION_CLONE_REQUEST__INIT;
	Mmb__Wire__RegionCloneRequest__Clone  part = MMB__WIRE__REGION_CLONE_REQUEST__CLONE__INIT;
	Mmb__Wire__RegionCloneRequest__Clone *parts[] = { &part, &part };
	const Mmb__Wire__RegionCloneReply    *reply;

	clone.clones = parts;
	clone.n_clones = 2;
	clone.map = true;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CLONE, &clone.base), -EBADF);
	EXPECT_EQ(c->message.nr_fds, 0);
	part.region = FAKE_REGION;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CLONE, &clone.base), 0);
	reply = wire_client_reply(c);
	EXPECT_EQ(reply->n_regions, 2);
	EXPECT(reply->opened && reply->opened->region == FAKE_REGION);
	EXPECT_EQ(reply->opened->address, FAKE_ADDRESS);
	EXPECT_EQ(c->message.nr_fds, 1);
	/* Of an older client, and of one whose region can't be told of: it asks. */
	clone.map = false;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CLONE, &clone.base), 0);
	reply = wire_client_reply(c);
	EXPECT(reply->n_regions == 2 && !reply->opened);
	EXPECT_EQ(c->message.nr_fds, 0);
	clone.map = true;
	fake_refuse_maps(-EMFILE);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CLONE, &clone.base), 0);
	reply = wire_client_reply(c);
	EXPECT(reply->n_regions == 2 && !reply->opened);
	EXPECT_EQ(c->message.nr_fds, 0);
	fake_refuse_maps(0);
}

static void clones_bring_descriptors_to_who_asks_for_them(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	ask_for_clones(&c);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void a_client_that_reads_late_gets_all_of_them(void)
{
	struct ipc_fixture f;
	struct wire_client c, other;
	unsigned int       before;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	ipc_fixture_session(&f, &other);
	before = atomic_load(&fake_counts.requests);
	ask(&c, 3 * UNREAD_FDS_MAX);
	ask(&other, 1);
	answers(&other, 1);
	EXPECT(ipc_wait_count(&fake_counts.requests, before + UNREAD_FDS_MAX / 2));
	usleep(20000);
	EXPECT(atomic_load(&fake_counts.requests) <= before + 1 + UNREAD_FDS_MAX);
	answers(&c, 3 * UNREAD_FDS_MAX);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PING, NULL), 0);
	wire_client_fini(&other);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void a_parked_request_ends_with_its_connection(void)
{
	struct ipc_fixture f;
	struct wire_client c;
	unsigned int       before;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	before = atomic_load(&fake_counts.requests);
	ask(&c, 2 * UNREAD_FDS_MAX);
	EXPECT(ipc_wait_count(&fake_counts.requests, before + UNREAD_FDS_MAX / 2));
	wire_client_fini(&c);
	ipc_fixture_fini(&f); /* nothing is left */
}

static bool all_is_read(void *arg)
{
	return unread_is_taken(*(int *)arg);
}

/* Each holds the client's end of a connection that has ended: what lies in it counts. */
static void ended_connections_count_until_nobody_holds_them(void)
{
	struct rlimit      before, low;
	struct ipc_fixture f;
	struct wire_client c[16], late;
	int                held[16], nr = 0, code = 0;

	EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = 256;
	ipc_fixture_init(&f);
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	ipc_fixture_start(&f);
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (; nr < 16 && !code; nr++) {
		ipc_fixture_connect(&f, &c[nr]);
		code = wire_client_hello(&c[nr], "late", false);
		if (!code)
			ask(&c[nr], UNREAD_FDS_MAX / 2);
		held[nr] = dup(c[nr].sock);
		EXPECT(test_wait(all_is_read, &held[nr], 60));
		wire_client_fini(&c[nr]);
		shutdown(held[nr], SHUT_WR);
	}
	EXPECT_EQ(code, -ENOBUFS);
	while (nr)
		close(held[--nr]);
	for (int i = 0; i < 3000 && code; i++) { /* a walk every so often */
		usleep(10000);
		ipc_fixture_connect(&f, &late);
		code = wire_client_hello(&late, "late", false);
		wire_client_fini(&late);
	}
	EXPECT_EQ(code, 0);
	ipc_fixture_fini(&f);
}

static const struct test_case cases[] = {
	{ "clones bring descriptors to who asks for them",
	  clones_bring_descriptors_to_who_asks_for_them },
	{ "one user leaves half of what there is to others, two leave a quarter",
	  one_user_leaves_half_and_two_a_quarter },
	{ "what is there already counts beyond the shares",
	  what_is_there_already_counts_beyond_the_shares },
	{ "a socket's queue is empty when all is received, and not before",
	  a_queue_is_empty_when_all_is_received },
	{ "a socket lingers until what it was sent is taken, or nobody has its other end",
	  a_socket_lingers_until_it_is_taken_or_closed },
	{ "a client that leaves descriptors unread gets no more of them, and all of them later",
	  a_client_that_reads_late_gets_all_of_them },
	{ "a parked request ends with its connection", a_parked_request_ends_with_its_connection },
	{ "what lies in ended connections counts until nobody holds them",
	  ended_connections_count_until_nobody_holds_them },
};

TEST_MAIN(cases)
