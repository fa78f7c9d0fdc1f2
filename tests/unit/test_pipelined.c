/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pipelined - requests sent before HELLO is answered, and the upcall socket that comes later
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/dispatch.h"
#include "lib/ipc_fixture.h"
#include "lib/test.h"

static const struct wire_fds none;

static uint64_t send_hello(struct wire_client *c, uint64_t features, uint32_t version)
{
	Mmb__Wire__HelloRequest m = MMB__WIRE__HELLO_REQUEST__INIT;

	m.version_min = m.version_max = version;
	m.features = features;
	m.name = (char *)(uintptr_t) "eager";
	m.own_userfaultfd = true;
	return wire_client_send(c, MMB_METHOD_HELLO, &m.base, none);
}

static void expect_reply(struct wire_client *c, uint32_t method, uint64_t id, int code)
{
	EXPECT_EQ(wire_client_recv(c, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(c->packet.method, method);
	EXPECT_EQ(c->packet.id, id);
	EXPECT_EQ(c->packet.code, code);
}

/* ---- before HELLO's reply ---- */

static void requests_may_follow_hello_at_once(void)
{
	int                uffd = (int)syscall(SYS_userfaultfd, 1 /* user mode only */);
	struct ipc_fixture f;
	struct wire_client c;
	uint64_t           hello, attach, ping;

	if (uffd < 0)
		SKIP("no userfaultfd here");
	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &c);
	hello = send_hello(&c, 0, MMB_PROTOCOL_VERSION);
	attach = wire_client_send(&c, MMB_METHOD_ATTACH, NULL, (struct wire_fds){ &uffd, 1 });
	ping = wire_client_send(&c, MMB_METHOD_PING, NULL, none);
	expect_reply(&c, MMB_METHOD_HELLO, hello, 0);
	/* It has a userfaultfd of its own and asked for nothing else. */
	EXPECT_EQ(c.message.nr_fds, 0);
	expect_reply(&c, MMB_METHOD_ATTACH, attach, 0);
	expect_reply(&c, MMB_METHOD_PING, ping, 0);
	EXPECT_EQ(fake_counts.attached, 1);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
	close(uffd);
}

static void what_follows_a_refused_hello_is_not_looked_at(void)
{
	struct ipc_fixture f;
	struct wire_client c;
	uint64_t           hello;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &c);
	hello = send_hello(&c, 0, MMB_PROTOCOL_VERSION + 7);
	/* Whether it can still be sent is a matter of time. */
	wire_client_send(&c, MMB_METHOD_POOL_OPEN, NULL, none);
	expect_reply(&c, MMB_METHOD_HELLO, hello, -EPROTONOSUPPORT);
	EXPECT(wire_client_is_closed(&c));
	EXPECT_EQ(fake_counts.sessions_new, 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void wrong_order_ends_the_session_all_the_same(void)
{
	struct ipc_fixture f;
	struct wire_client c;
	uint64_t           first, second;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &c);
	first = wire_client_send(&c, MMB_METHOD_PING, NULL, none);
	send_hello(&c, 0, MMB_PROTOCOL_VERSION);
	expect_reply(&c, MMB_METHOD_PING, first, -EPROTO);
	EXPECT(wire_client_is_closed(&c));
	wire_client_fini(&c);
	ipc_fixture_connect(&f, &c);
	first = send_hello(&c, 0, MMB_PROTOCOL_VERSION);
	second = send_hello(&c, 0, MMB_PROTOCOL_VERSION);
	expect_reply(&c, MMB_METHOD_HELLO, first, 0);
	expect_reply(&c, MMB_METHOD_HELLO, second, -EPROTO);
	EXPECT(wire_client_is_closed(&c));
	EXPECT_EQ(fake_counts.sessions_new, 1);
	EXPECT(ipc_wait_count(&fake_counts.sessions_ended, 1));
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void send_with_id_0(struct wire_client *c, uint32_t method, const ProtobufCMessage *body)
{
	struct wire_packet head = { .method = method };
	uint8_t            bytes[256];
	ssize_t            nr = wire_encode(&head, body, bytes, sizeof(bytes));

	EXPECT(nr > 0);
	EXPECT_EQ(wire_send(c->sock, bytes, (size_t)nr, none, 0), 0);
}

static void with_id_0_only_news_are_answered(void)
{
	Mmb__Wire__PoolOpenRequest  open = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	Mmb__Wire__RegionOpenRequest bad = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	struct ipc_fixture          f;
	struct wire_client          c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	send_with_id_0(&c, MMB_METHOD_PING, NULL);
	open.name = (char *)(uintptr_t) "p";
	send_with_id_0(&c, MMB_METHOD_POOL_OPEN, &open.base);
	expect_reply(&c, MMB_METHOD_POOL_OPEN, 0, 0);
	bad.name = (char *)(uintptr_t) "\n";
	send_with_id_0(&c, MMB_METHOD_REGION_OPEN, &bad.base);
	expect_reply(&c, MMB_METHOD_REGION_OPEN, 0, -EINVAL);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PING, NULL), 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

/* ---- the upcall socket ---- */

static void greet_without_upcalls(struct ipc_fixture *f, struct wire_client *c)
{
	const Mmb__Wire__HelloReply *reply;

	ipc_fixture_connect(f, c);
	expect_reply(c, MMB_METHOD_HELLO, send_hello(c, 0, MMB_PROTOCOL_VERSION), 0);
	reply = wire_client_reply(c);
	EXPECT(reply && !reply->has_upcall);
}

static void upcalls_may_be_asked_for_later(void)
{
	struct ipc_fixture f;
	struct wire_client c, told;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	greet_without_upcalls(&f, &c);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_UPCALLS, NULL), 0);
	EXPECT_EQ(c.message.nr_fds, 1);
	wire_client_init(&told, dup(c.message.fds[0]));
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_UPCALLS, NULL), -EEXIST);
	EXPECT_EQ(c.message.nr_fds, 0);
	server_stop(f.server, "later", 0);
	f.server = NULL;
	EXPECT_EQ(wire_client_recv(&told, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(told.packet.method, MMB_UPCALL_GOODBYE);
	EXPECT(told.packet.id != 0);
	wire_client_fini(&told);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void a_session_without_upcalls_is_told_goodbye(void)
{
	struct ipc_fixture         f;
	struct wire_client         c, tool;
	Mmb__Wire__GoodbyeRequest *goodbye;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	greet_without_upcalls(&f, &c);
	EXPECT_EQ(wire_client_connect(&tool, f.path), 0);
	EXPECT_EQ(wire_client_hello(&tool, "tool", true), 0);
	EXPECT_EQ(wire_client_call(&tool, MMB_METHOD_UPCALLS, NULL), -EPERM);
	server_stop(f.server, "an upgrade", 0);
	f.server = NULL;
	expect_reply(&c, MMB_UPCALL_GOODBYE, 0, 0);
	goodbye = mmb__wire__goodbye_request__unpack(NULL, c.packet.body_bytes, c.packet.body);
	EXPECT(goodbye && !strcmp(goodbye->reason, "an upgrade"));
	mmb__wire__goodbye_request__free_unpacked(goodbye, NULL);
	EXPECT_EQ(wire_client_recv(&c, WIRE_CLIENT_WAIT_MS), 0);
	/* A tool has nothing to give back. */
	EXPECT_EQ(wire_client_recv(&tool, WIRE_CLIENT_WAIT_MS), 0);
	wire_client_fini(&tool);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static const struct test_case cases[] = {
	{ "requests may follow HELLO at once", requests_may_follow_hello_at_once },
	{ "what follows a refused HELLO is not looked at",
	  what_follows_a_refused_hello_is_not_looked_at },
	{ "wrong order ends the session all the same", wrong_order_ends_the_session_all_the_same },
	{ "with id 0 only news are answered", with_id_0_only_news_are_answered },
	{ "upcalls may be asked for later", upcalls_may_be_asked_for_later },
	{ "a session without upcalls is told goodbye", a_session_without_upcalls_is_told_goodbye },
};

TEST_MAIN(cases)
