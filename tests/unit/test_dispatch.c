/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dispatch - the protocol's states, rights and forms, over fake verbs
 */
#include "ipc/dispatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/ipc_fixture.h"
#include "lib/test.h"
#include "mmbroker.h"

static const struct wire_fds none;

/* ---- HELLO ---- */

static void hello_tells_session_features_and_descriptors(void)
{
	Mmb__Wire__HelloRequest      m = MMB__WIRE__HELLO_REQUEST__INIT;
	const Mmb__Wire__HelloReply *reply;
	struct ipc_fixture           f;
	struct wire_client           c;

	ipc_fixture_init(&f);
	f.options.operation_timeout_ms = 1234;
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &c);
	m.version_max = 9;
	m.features = MMB_FEATURE_UPCALLS | MMB_FEATURE_FAULT_LOG | UINT64_C(1) << 60;
	m.name = (char[]){ "caf\xc3\xa9" };
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_HELLO, &m.base), 0);
	reply = wire_client_reply(&c);
	EXPECT_EQ(reply->version, MMB_PROTOCOL_VERSION);
	EXPECT_EQ(reply->features, MMB_FEATURE_UPCALLS | MMB_FEATURE_FAULT_LOG);
	EXPECT_EQ(reply->session, 1);
	EXPECT_EQ(reply->operation_timeout_ms, 1234);
	EXPECT(reply->has_fault_log && reply->has_upcall);
	EXPECT_EQ(c.message.nr_fds, 2 + reply->has_userfaultfd);
	EXPECT(strncmp(reply->server, "mmbrokerd ", 10) == 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void tool_gets_no_descriptors(void)
{
	Mmb__Wire__HelloRequest      m = MMB__WIRE__HELLO_REQUEST__INIT;
	const Mmb__Wire__HelloReply *reply;
	struct ipc_fixture           f;
	struct wire_client           c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &c);
	m.version_min = m.version_max = 1;
	m.features = UINT64_MAX;
	m.control = true;
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_HELLO, &m.base), 0);
	reply = wire_client_reply(&c);
	EXPECT(!reply->has_fault_log && !reply->has_upcall && !reply->has_userfaultfd);
	EXPECT_EQ(c.message.nr_fds, 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static uint32_t offer_fds(struct wire_client *c, uint64_t features, bool control)
{
	Mmb__Wire__HelloRequest      m = MMB__WIRE__HELLO_REQUEST__INIT;
	const Mmb__Wire__HelloReply *reply;

	m.version_min = m.version_max = 1;
	m.features = features;
	m.control = control;
	m.own_userfaultfd = true;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_HELLO, &m.base), 0);
	reply = wire_client_reply(c);
	EXPECT_EQ(c->message.nr_fds, (control ? 0 : reply->has_fault_log + reply->has_upcall) +
					     (reply->offer ? 2 : 0));
	if (!reply->offer)
		return 0;
	EXPECT_EQ(reply->offer->pool, FAKE_POOL);
	EXPECT_EQ(reply->offer->member, FAKE_MEMBER);
	EXPECT_EQ(reply->offer->key, FAKE_KEY);
	EXPECT_EQ(reply->offer->arena->address, FAKE_ADDRESS);
	EXPECT_EQ(reply->offer->arena->length, 1 << 30);
	EXPECT(reply->offer->arena->hugetlb);
	EXPECT_EQ(reply->offer->unit, FAKE_ADDRESS + 65536 * c->packet.id);
	return 2;
}

/* Who asks for it, if it has memory and there is one. */
static void a_pool_is_offered_to_who_takes_one(void)
{
	static const struct {
		uint64_t features;
		bool control, offered;
		uint32_t fds;
	} table[] = {
		{ MMB_FEATURE_POOL_OFFER | MMB_FEATURE_FAULT_LOG, false, true, 2 },
		{ UINT64_MAX, false, true, 2 },
		{ MMB_FEATURE_POOL_OFFER, false, false, 0 },
		{ MMB_FEATURE_FAULT_LOG, false, true, 0 },
		{ UINT64_MAX, true, true, 0 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct ipc_fixture f;
		struct wire_client c;

		ipc_fixture_init(&f);
		f.options.features |= MMB_FEATURE_POOL_OFFER;
		fake_offer_pools(table[i].offered);
		ipc_fixture_start(&f);
		ipc_fixture_connect(&f, &c);
		EXPECT_EQ(offer_fds(&c, table[i].features, table[i].control), table[i].fds);
		wire_client_fini(&c);
		ipc_fixture_fini(&f);
	}
	fake_offer_pools(false);
}

static void device_is_passed_only_by_its_policy(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	f.options.pass_userfaultfd = PASS_NEVER;
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	EXPECT(!((const Mmb__Wire__HelloReply *)wire_client_reply(&c))->has_userfaultfd);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
	if (access("/dev/userfaultfd", R_OK | W_OK))
		SKIP("no /dev/userfaultfd here");
	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	EXPECT(((const Mmb__Wire__HelloReply *)wire_client_reply(&c))->has_userfaultfd);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void no_method_works_before_hello(void)
{
	struct ipc_fixture f;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	for (uint32_t method = 2; method < 64; method++) {
		struct wire_client c;

		if (!wire_method(method) || wire_method(method)->nr_fds)
			continue;
		ipc_fixture_connect(&f, &c);
		EXPECT_EQ(wire_client_call(&c, method, NULL), -EPROTO);
		EXPECT(c.packet.error_bytes > 0);
		EXPECT(wire_client_is_closed(&c));
		wire_client_fini(&c);
	}
	EXPECT_EQ(fake_counts.sessions_new, 0);
	EXPECT_EQ(fake_counts.slow, 0);
	ipc_fixture_fini(&f);
}

static void second_hello_ends_the_session(void)
{
	struct ipc_fixture  f;
	struct wire_client  c;
	struct server_stats stats;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_HELLO, NULL), -EPROTO);
	EXPECT(wire_client_is_closed(&c));
	server_stats(f.server, &stats);
	EXPECT_EQ(stats.bad_messages, 1);
	EXPECT_EQ(stats.sessions, 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void refused_hello_closes(void)
{
	Mmb__Wire__HelloRequest m = MMB__WIRE__HELLO_REQUEST__INIT;
	struct ipc_fixture      f;
	struct wire_client      c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &c);
	m.version_min = 2;
	m.version_max = 3;
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_HELLO, &m.base), -EPROTONOSUPPORT);
	EXPECT(wire_client_is_closed(&c));
	wire_client_fini(&c);
	fake_refuse_sessions(-EUSERS);
	ipc_fixture_connect(&f, &c);
	EXPECT_EQ(wire_client_hello(&c, "one too many", false), -EUSERS);
	EXPECT(memmem(c.packet.error, c.packet.error_bytes, "one too many", 12) != NULL);
	EXPECT(wire_client_is_closed(&c));
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

/* ---- rights ---- */

static void tool_may_read_but_has_no_memory(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_connect(&f, &c);
	EXPECT_EQ(wire_client_hello(&c, "mmbctl", true), 0);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_POOL_OPEN, NULL), -EPERM);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PAGES_ALLOC, NULL), -EPERM);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PING, NULL), 0);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_STATUS, NULL), 0);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_VERIFY, NULL), 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

/* As another user, in a child. */
static int verify_as_stranger(const char *path)
{
	static struct wire_client c;

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return 100;
	if (wire_client_connect(&c, path) || wire_client_hello(&c, "stranger", true))
		return 101;
	if (wire_client_call(&c, MMB_METHOD_VERIFY, NULL) != -EPERM)
		return 102;
	return wire_client_call(&c, MMB_METHOD_STATUS, NULL) ? 103 : 0;
}

static void stranger_may_not_administer(void)
{
	struct ipc_fixture f;
	int                status;
	pid_t              child;

	if (geteuid() != 0)
		SKIP("needs root to become somebody else");
	ipc_fixture_init(&f);
	f.options.mode = 0666;
	ipc_fixture_start(&f);
	EXPECT_EQ(chmod(f.folder, 0755), 0);
	child = fork();
	if (child == 0)
		_exit(verify_as_stranger(f.path));
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(WEXITSTATUS(status), 0);
	ipc_fixture_fini(&f);
}

/* ---- forms ---- */

static void expect_cut(struct ipc_fixture *f, const uint8_t *bytes, size_t nr)
{
	struct wire_client c;

	ipc_fixture_session(f, &c);
	EXPECT_EQ(wire_send(c.sock, bytes, nr, none, 0), 0);
	EXPECT(wire_client_is_closed(&c));
	wire_client_fini(&c);
}

static void malformed_packet_ends_its_session_only(void)
{
	static const uint8_t no_packet[] = { 0xff, 0xff, 0xff };
	static const uint8_t bad_body[] = { 0x08, MMB_METHOD_POOL_STAT, 0x10, 1, 0x2a, 1, 0x08 };
	static const uint8_t slow_bad_body[] = { 0x08, MMB_METHOD_PAGES_ALLOC, 0x10, 1,
						 0x2a, 1, 0x08 };
	static uint8_t       huge[MMB_PACKET_MAX + 1];
	struct ipc_fixture   f;
	struct wire_client   bystander;
	struct server_stats  stats;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &bystander);
	expect_cut(&f, no_packet, sizeof(no_packet));
	expect_cut(&f, bad_body, sizeof(bad_body));
	expect_cut(&f, slow_bad_body, sizeof(slow_bad_body));
	expect_cut(&f, huge, sizeof(huge));
	EXPECT_EQ(wire_client_call(&bystander, MMB_METHOD_PING, NULL), 0);
	server_stats(f.server, &stats);
	EXPECT_EQ(stats.bad_messages, 4);
	EXPECT_EQ(stats.sessions, 1);
	wire_client_fini(&bystander);
	ipc_fixture_fini(&f);
}

static void unknown_method_is_answered(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	EXPECT_EQ(wire_client_call(&c, 0, NULL), -ENOSYS);
	EXPECT_EQ(wire_client_call(&c, 31, NULL), -ENOSYS);
	EXPECT_EQ(wire_client_call(&c, MMB_UPCALL_ZAP, NULL), -ENOSYS);
	EXPECT_EQ(wire_client_call(&c, UINT32_MAX, NULL), -ENOSYS);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PING, NULL), 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void expect_refused_fds(struct ipc_fixture *f, uint32_t method, struct wire_fds fds)
{
	struct wire_client c;

	ipc_fixture_session(f, &c);
	EXPECT(wire_client_send(&c, method, NULL, fds) > 0);
	EXPECT_EQ(wire_client_recv(&c, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(c.packet.code, -EPROTO);
	EXPECT(wire_client_is_closed(&c));
	wire_client_fini(&c);
}

static void wrong_descriptors_are_closed_and_end_the_session(void)
{
	struct ipc_fixture f;
	int                pair[2], fds[4];

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	EXPECT_EQ(pipe(pair), 0);
	for (int i = 0; i < 4; i++)
		fds[i] = pair[i % 2];
	expect_refused_fds(&f, MMB_METHOD_PING, (struct wire_fds){ fds, 1 });
	expect_refused_fds(&f, MMB_METHOD_STATUS, (struct wire_fds){ fds, 4 });
	expect_refused_fds(&f, MMB_METHOD_PAGES_ALLOC, (struct wire_fds){ fds, 1 });
	expect_refused_fds(&f, MMB_METHOD_ATTACH, none);
	expect_refused_fds(&f, MMB_METHOD_ATTACH, (struct wire_fds){ fds, 2 });
	/* One, but not of the kind. */
	expect_refused_fds(&f, MMB_METHOD_ATTACH, (struct wire_fds){ fds, 1 });
	expect_refused_fds(&f, 31, (struct wire_fds){ fds, 1 });
	EXPECT_EQ(fake_counts.attached, 0);
	close(pair[0]);
	close(pair[1]);
	ipc_fixture_fini(&f);
}

static void attach_takes_a_userfaultfd(void)
{
	int                uffd = (int)syscall(SYS_userfaultfd, 1 /* user mode only */);
	struct ipc_fixture f;
	struct wire_client c;

	if (uffd < 0)
		SKIP("no userfaultfd here");
	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	EXPECT(wire_client_send(&c, MMB_METHOD_ATTACH, NULL, (struct wire_fds){ &uffd, 1 }) > 0);
	EXPECT_EQ(wire_client_recv(&c, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(c.packet.code, 0);
	EXPECT_EQ(fake_counts.attached, 1);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
	close(uffd);
}

static int open_pool_named(struct wire_client *c, const char *name)
{
	Mmb__Wire__PoolOpenRequest m = MMB__WIRE__POOL_OPEN_REQUEST__INIT;

	m.name = (char *)(uintptr_t)name;
	return wire_client_call(c, MMB_METHOD_POOL_OPEN, &m.base);
}

static void names_are_printable_and_short(void)
{
	static const char *const bad[] = {
		"new\nline", "tab\t", "\x1b[31m", "del\x7f", "\x80", "\xc3", "\xc0\xaf",
		"\xc2\x85", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xf4\x90\x80\x80",
		"\xff\xfe",
	};
	static const char *const good[] = { "", "a", "with blank", "gr\xc3\xb6\xc3\x9f\x65",
					    "\xe6\xb1\xa0", "\xf0\x9f\x90\x98" };
	char               name[MMB_NAME_MAX + 2];
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(open_pool_named(&c, bad[i]), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		EXPECT_EQ(open_pool_named(&c, good[i]), 0);
	memset(name, 'n', sizeof(name));
	name[MMB_NAME_MAX] = '\0';
	EXPECT_EQ(open_pool_named(&c, name), 0);
	name[MMB_NAME_MAX] = 'n';
	name[MMB_NAME_MAX + 1] = '\0';
	EXPECT_EQ(open_pool_named(&c, name), -EINVAL);
	EXPECT(memmem(c.packet.error, c.packet.error_bytes, "64 bytes", 8) != NULL);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

/* ---- every method ---- */

static void pool_methods_answer(struct wire_client *c)
{
	Mmb__Wire__PoolRequest       pool = MMB__WIRE__POOL_REQUEST__INIT;
	Mmb__Wire__ArenaOpenRequest  arena = MMB__WIRE__ARENA_OPEN_REQUEST__INIT;
	Mmb__Wire__PagesAllocRequest alloc = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;
	Mmb__Wire__PagesFreeRequest  pages = MMB__WIRE__PAGES_FREE_REQUEST__INIT;
	uint64_t                     addresses[MMB_PAGES_BATCH];

	EXPECT_EQ(open_pool_named(c, "forbidden"), -EACCES);
	EXPECT_EQ(open_pool_named(c, "p"), 0);
	EXPECT_EQ(((const Mmb__Wire__PoolOpenReply *)wire_client_reply(c))->pool, FAKE_POOL);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_POOL_STAT, &pool.base), -EINVAL);
	pool.pool = arena.pool = alloc.pool = pages.pool = FAKE_POOL;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_POOL_STAT, &pool.base), 0);
	EXPECT_EQ(((const Mmb__Wire__PoolStatReply *)wire_client_reply(c))->committed, 4096);

	EXPECT_EQ(wire_client_call(c, MMB_METHOD_ARENA_OPEN, &arena.base), 0);
	EXPECT_EQ(((const Mmb__Wire__ArenaOpenReply *)wire_client_reply(c))->n_windows, 4);
	EXPECT_EQ(c->message.nr_fds, 4);
	arena.first = 4;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_ARENA_OPEN, &arena.base), 0);
	EXPECT_EQ(((const Mmb__Wire__ArenaOpenReply *)wire_client_reply(c))->total, 5);
	EXPECT_EQ(c->message.nr_fds, 1);

	EXPECT_EQ(wire_client_call(c, MMB_METHOD_PAGES_ALLOC, &alloc.base), -EINVAL);
	alloc.count = MMB_PAGES_BATCH + 1;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_PAGES_ALLOC, &alloc.base), -EINVAL);
	alloc.count = MMB_PAGES_BATCH;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_PAGES_ALLOC, &alloc.base), 0);
	EXPECT_EQ(((const Mmb__Wire__PagesAllocReply *)wire_client_reply(c))->n_addresses,
		  MMB_PAGES_BATCH);
	memset(addresses, 0xff, sizeof(addresses));
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_PAGES_FREE, &pages.base), -EINVAL);
	pages.addresses = addresses;
	pages.n_addresses = MMB_PAGES_BATCH;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_PAGES_FREE, &pages.base), 0);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_POOL_CLOSE, &pool.base), 0);
}

static void region_methods_answer(struct wire_client *c)
{
	Mmb__Wire__RegionOpenRequest   open = MMB__WIRE__REGION_OPEN_REQUEST__INIT;
	Mmb__Wire__WindowRequest       window = MMB__WIRE__WINDOW_REQUEST__INIT;
	Mmb__Wire__RegionRequest       region = MMB__WIRE__REGION_REQUEST__INIT;
	Mmb__Wire__RegionRangeRequest  range = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	Mmb__Wire__RegionUnlinkRequest name = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;

	open.pool = name.pool = FAKE_POOL;
	window.region = region.region = range.region = FAKE_REGION;
	open.length = 1 << 20;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_OPEN, &open.base), -EINVAL);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CREATE, &open.base), 0);
	EXPECT_EQ(c->message.nr_fds, 1);
	EXPECT_EQ(((const Mmb__Wire__RegionOpenReply *)wire_client_reply(c))->address,
		  FAKE_ADDRESS);
	EXPECT_EQ(fake_counts.slow, 2);
	open.flags = MMB_REGION_POPULATE;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CREATE, &open.base), 0);
	EXPECT_EQ(fake_counts.slow, 3);
	EXPECT_EQ(c->message.nr_fds, 1);
	open.name = name.name = (char[]){ "r" };
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CREATE, &open.base), -EINVAL);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_OPEN, &open.base), 0);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_WINDOW, &window.base), 0);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_STAT, &region.base), 0);
	EXPECT_EQ(((const Mmb__Wire__RegionStatReply *)wire_client_reply(c))->faults, 11);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_ADVISE, &range.base), 0);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_LOCK, &range.base), 0);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_UNLOCK, &range.base), 0);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_UNLINK, &name.base), 0);
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_CLOSE, &region.base), 0);
	range.region = 0;
	EXPECT_EQ(wire_client_call(c, MMB_METHOD_REGION_ADVISE, &range.base), -EINVAL);
}

static void methods_reach_their_verbs(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	pool_methods_answer(&c);
	region_methods_answer(&c);
	EXPECT(fake_counts.requests > 20);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void status_and_verify_answer(void)
{
	const Mmb__Wire__StatusReply *status;
	const Mmb__Wire__VerifyReply *verify;
	struct ipc_fixture            f;
	struct wire_client            c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_STATUS, NULL), 0);
	status = wire_client_reply(&c);
	EXPECT(strcmp(status->socket, f.path) == 0);
	EXPECT_EQ(status->n_stocks, 2 * MAX_NUMNODES);
	EXPECT_EQ(status->stocks[31]->reserve, UINT64_MAX);
	EXPECT_EQ(status->requests, 1);
	EXPECT_EQ(status->pid, getpid());
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_VERIFY, NULL), 0);
	verify = wire_client_reply(&c);
	EXPECT_EQ(verify->checked, 2);
	EXPECT_EQ(verify->differences, 1);
	EXPECT_EQ(verify->n_reports, 1);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

/* ---- lists and texts ---- */

static void list_by_cursor(struct wire_client *c, uint32_t method)
{
	Mmb__Wire__ListRequest m = MMB__WIRE__LIST_REQUEST__INIT;
	uint64_t               seen = 0, pages = 0;

	do {
		const Mmb__Wire__ListReply *reply;

		EXPECT_EQ(wire_client_call(c, method, &m.base), 0);
		reply = wire_client_reply(c);
		EXPECT(reply != NULL);
		for (size_t i = 0; i < reply->n_pools; i++)
			EXPECT_EQ(reply->pools[i]->id, ++seen);
		for (size_t i = 0; i < reply->n_sessions; i++)
			EXPECT_EQ(reply->sessions[i]->id, ++seen);
		for (size_t i = 0; i < reply->n_regions; i++)
			EXPECT_EQ(reply->regions[i]->id, ++seen);
		m.after = reply->next;
		pages++;
	} while (m.after);
	EXPECT_EQ(seen, FAKE_NR_POOLS);
	EXPECT_EQ(pages, 3);
}

static void lists_tell_everything_once(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	list_by_cursor(&c, MMB_METHOD_POOLS);
	list_by_cursor(&c, MMB_METHOD_SESSIONS);
	list_by_cursor(&c, MMB_METHOD_REGIONS);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static unsigned int read_text(struct wire_client *c, uint32_t method, Mmb__Wire__TextRequest *m)
{
	unsigned int lines = 0;

	m->offset = 0;
	do {
		const Mmb__Wire__TextReply *reply;
		size_t                      nr;

		EXPECT_EQ(wire_client_call(c, method, &m->base), 0);
		reply = wire_client_reply(c);
		nr = strlen(reply->text);
		EXPECT(nr > 0 && reply->text[nr - 1] == '\n');
		for (const char *l = reply->text; *l; l = strchr(l, '\n') + 1)
			EXPECT_EQ(atoi(l + 5), lines++);
		m->offset = reply->next;
	} while (m->offset);
	return lines;
}

static void long_texts_come_in_whole_lines_of_one_snapshot(void)
{
	Mmb__Wire__TextRequest m = MMB__WIRE__TEXT_REQUEST__INIT;
	struct ipc_fixture     f;
	struct wire_client     c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	for (uint32_t method = MMB_METHOD_MEMINFO; method <= MMB_METHOD_VMSTAT; method++)
		EXPECT_EQ(read_text(&c, method, &m), FAKE_TEXT_LINES);
	EXPECT_EQ(fake_counts.texts, 5);
	m.session = 1;
	EXPECT_EQ(read_text(&c, MMB_METHOD_MAPS, &m), FAKE_TEXT_LINES);
	EXPECT_EQ(fake_counts.texts, 6);
	EXPECT_EQ(read_text(&c, MMB_METHOD_SLABINFO, &m), FAKE_TEXT_LINES);
	EXPECT_EQ(fake_counts.texts, 7);
	/* Far behind the end there is nothing, and that is all. */
	m.offset = UINT64_MAX;
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_VMSTAT, &m.base), 0);
	EXPECT_EQ(strlen(((const Mmb__Wire__TextReply *)wire_client_reply(&c))->text), 0);
	m.pool = (char[]){ "absent" };
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_VMSTAT, &m.base), -ENOENT);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

/* ---- slow and quick ---- */

static void send_slow(struct wire_client *c)
{
	Mmb__Wire__RegionRangeRequest m = MMB__WIRE__REGION_RANGE_REQUEST__INIT;

	m.region = FAKE_REGION;
	EXPECT(wire_client_send(c, MMB_METHOD_REGION_ADVISE, &m.base, none) > 0);
}

static void slow_request_delays_no_quick_one(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	fake_gate(true);
	send_slow(&c);
	EXPECT(ipc_wait_count(&fake_counts.slow, 1));
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PING, NULL), 0);
	fake_gate(false);
	EXPECT_EQ(wire_client_recv(&c, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(c.packet.method, MMB_METHOD_REGION_ADVISE);
	EXPECT_EQ(c.packet.code, 0);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void a_verb_may_want_another_turn(void)
{
	Mmb__Wire__PagesAllocRequest pages = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;
	struct ipc_fixture f;
	struct wire_client c;
	unsigned int requests;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	pages.pool = FAKE_POOL;
	pages.count = 1;
	requests = fake_counts.requests;
	fake_ask_again(5);
	EXPECT_EQ(wire_client_call(&c, MMB_METHOD_PAGES_ALLOC, &pages.base), 0);
	EXPECT_EQ(fake_counts.slow, 6);
	EXPECT_EQ(fake_counts.requests, requests + 1);
	/* One that would never end is forgotten with its session. */
	fake_ask_again(UINT32_MAX);
	EXPECT(wire_client_send(&c, MMB_METHOD_PAGES_ALLOC, &pages.base, none) > 0);
	EXPECT(ipc_wait_count(&fake_counts.slow, 8));
	wire_client_fini(&c);
	EXPECT(ipc_wait_count(&fake_counts.sessions_freed, 1));
	ipc_fixture_fini(&f);
}

static void requests_in_flight_are_bounded_and_none_is_lost(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	f.options.limits.requests_in_flight = 4;
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	fake_gate(true);
	for (int i = 0; i < 10; i++)
		send_slow(&c);
	EXPECT(wire_client_send(&c, MMB_METHOD_PING, NULL, none) > 0);
	/* It isn't read before those at work have become fewer. */
	EXPECT_EQ(wire_client_recv(&c, 100), -ETIMEDOUT);
	fake_gate(false);
	for (int i = 0; i < 11; i++)
		EXPECT_EQ(wire_client_recv(&c, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(fake_counts.slow, 10);
	wire_client_fini(&c);
	ipc_fixture_fini(&f);
}

static void sessions_take_turns(void)
{
	struct ipc_fixture f;
	struct wire_client greedy, modest;

	ipc_fixture_init(&f);
	f.options.nr_work_threads = 3;
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &greedy);
	ipc_fixture_session(&f, &modest);
	fake_gate(true);
	for (int i = 0; i < 20; i++)
		send_slow(&greedy);
	EXPECT(ipc_wait_count(&fake_counts.slow, 1));
	send_slow(&modest);
	/* A session has one thread at a time. */
	EXPECT(ipc_wait_count(&fake_counts.slow, 2));
	fake_gate(false);
	EXPECT_EQ(wire_client_recv(&modest, WIRE_CLIENT_WAIT_MS), 1);
	for (int i = 0; i < 20; i++)
		EXPECT_EQ(wire_client_recv(&greedy, WIRE_CLIENT_WAIT_MS), 1);
	wire_client_fini(&greedy);
	wire_client_fini(&modest);
	ipc_fixture_fini(&f);
}

static void client_gone_while_paused_ends_at_once(void)
{
	struct ipc_fixture f;
	struct wire_client c;

	ipc_fixture_init(&f);
	f.options.limits.requests_in_flight = 2;
	ipc_fixture_start(&f);
	ipc_fixture_session(&f, &c);
	fake_gate(true);
	for (int i = 0; i < 5; i++)
		send_slow(&c);
	EXPECT(ipc_wait_count(&fake_counts.slow, 1));
	wire_client_fini(&c);
	EXPECT(ipc_wait_count(&fake_counts.sessions_ended, 1));
	fake_gate(false);
	ipc_fixture_fini(&f);
}

static const struct test_case cases[] = {
	{ "HELLO tells session, features and descriptors",
	  hello_tells_session_features_and_descriptors },
	{ "a tool gets no descriptors", tool_gets_no_descriptors },
	{ "the device is passed only by its policy", device_is_passed_only_by_its_policy },
	{ "a pool is offered to who takes one", a_pool_is_offered_to_who_takes_one },
	{ "no method works before HELLO", no_method_works_before_hello },
	{ "a second HELLO ends the session", second_hello_ends_the_session },
	{ "a refused HELLO closes", refused_hello_closes },
	{ "a tool may read but has no memory", tool_may_read_but_has_no_memory },
	{ "a stranger may not administer", stranger_may_not_administer },
	{ "a malformed packet ends its session only", malformed_packet_ends_its_session_only },
	{ "an unknown method is answered", unknown_method_is_answered },
	{ "wrong descriptors are closed and end the session",
	  wrong_descriptors_are_closed_and_end_the_session },
	{ "ATTACH takes a userfaultfd", attach_takes_a_userfaultfd },
	{ "names are printable and short", names_are_printable_and_short },
	{ "a verb may want another turn", a_verb_may_want_another_turn },
	{ "methods reach their verbs", methods_reach_their_verbs },
	{ "STATUS and VERIFY answer", status_and_verify_answer },
	{ "lists tell everything once", lists_tell_everything_once },
	{ "long texts come in whole lines of one snapshot",
	  long_texts_come_in_whole_lines_of_one_snapshot },
	{ "a slow request delays no quick one", slow_request_delays_no_quick_one },
	{ "requests in flight are bounded and none is lost",
	  requests_in_flight_are_bounded_and_none_is_lost },
	{ "sessions take turns", sessions_take_turns },
	{ "a client gone while paused ends at once", client_gone_while_paused_ends_at_once },
};

TEST_MAIN(cases)
