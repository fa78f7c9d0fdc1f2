/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_upcall - upcalls arrive, are acknowledged, missed, dropped, and never waited for
 */
#include "ipc/upcall.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/ipc_fixture.h"
#include "lib/test.h"

/* A session, and the pager's end of its upcall socket. */
struct upcall_fixture {
	struct ipc_fixture       ipc;
	struct wire_client       client, pager;
	const struct upcall_ops *ops;
	void                    *context;
};

static void fixture_init(struct upcall_fixture *f, uint64_t deadline_ms)
{
	ipc_fixture_init(&f->ipc);
	f->ipc.options.limits.upcall_deadline_ms = deadline_ms;
	ipc_fixture_start(&f->ipc);
	ipc_fixture_session(&f->ipc, &f->client);
	EXPECT(f->client.upcalls >= 0);
	wire_client_init(&f->pager, dup(f->client.upcalls));
	f->ops = fake_upcalls(&f->context);
	EXPECT(f->ops != NULL);
}

static void fixture_fini(struct upcall_fixture *f)
{
	wire_client_fini(&f->pager);
	wire_client_fini(&f->client);
	ipc_fixture_fini(&f->ipc);
}

static void acknowledge(struct upcall_fixture *f, uint64_t id)
{
	f->pager.last_id = id - 1;
	EXPECT(wire_client_send(&f->pager, MMB_UPCALL_ZAP, NULL, (struct wire_fds){ 0 }) == id);
}

static void zap(struct upcall_fixture *f, uint32_t nr)
{
	struct mapped_range ranges[1000];

	for (uint32_t i = 0; i < nr; i++)
		ranges[i] = (struct mapped_range){ UINT64_C(0x7f0000000000) + i * 8192, 4096 };
	f->ops->zap(f->context, ranges, nr);
}

static struct server_stats stats_of(struct upcall_fixture *f)
{
	struct server_stats stats;

	server_stats(f->ipc.server, &stats);
	return stats;
}

static uint32_t received_ranges(struct upcall_fixture *f)
{
	Mmb__Wire__ZapRequest *m;
	uint32_t               nr;

	EXPECT_EQ(wire_client_recv(&f->pager, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(f->pager.packet.method, MMB_UPCALL_ZAP);
	m = mmb__wire__zap_request__unpack(NULL, f->pager.packet.body_bytes, f->pager.packet.body);
	EXPECT(m != NULL);
	nr = (uint32_t)m->n_ranges;
	mmb__wire__zap_request__free_unpacked(m, NULL);
	return nr;
}

static void ranges_arrive_and_are_acknowledged(void)
{
	struct upcall_fixture f;
	uint32_t              nr = 0;

	fixture_init(&f, 1500);
	zap(&f, 600);
	while (nr < 600) {
		nr += received_ranges(&f);
		acknowledge(&f, f.pager.packet.id);
	}
	EXPECT_EQ(nr, 600);
	f.ops->pressure(f.context, &(struct pressure_call){ .level = 1, .wanted = 4096 });
	EXPECT_EQ(wire_client_recv(&f.pager, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(f.pager.packet.method, MMB_UPCALL_PRESSURE);
	acknowledge(&f, f.pager.packet.id);
	/* Longer than the deadline. */
	EXPECT_EQ(wire_client_recv(&f.pager, 2000), -ETIMEDOUT);
	EXPECT_EQ(stats_of(&f).upcalls_sent, 4);
	EXPECT_EQ(stats_of(&f).upcalls_missed, 0);
	fixture_fini(&f);
}

static bool has_missed_two(void *arg)
{
	return stats_of(arg).upcalls_missed == 2;
}

static void missing_acknowledgement_is_counted_and_late_ones_are_welcome(void)
{
	struct upcall_fixture f;

	fixture_init(&f, 30);
	zap(&f, 1);
	zap(&f, 1);
	EXPECT(test_wait(has_missed_two, &f, 20));
	EXPECT_EQ(received_ranges(&f), 1);
	acknowledge(&f, 1);
	acknowledge(&f, 2);
	EXPECT_EQ(wire_client_call(&f.client, MMB_METHOD_PING, NULL), 0);
	EXPECT_EQ(stats_of(&f).sessions, 1);
	fixture_fini(&f);
}

static void unread_upcalls_are_dropped_without_waiting(void)
{
	struct upcall_fixture f;

	fixture_init(&f, 60000);
	for (int i = 0; i < 1000; i++)
		zap(&f, 256);
	EXPECT_EQ(stats_of(&f).upcalls_sent + stats_of(&f).upcalls_dropped, 1000);
	EXPECT(stats_of(&f).upcalls_dropped > 0);
	EXPECT_EQ(wire_client_call(&f.client, MMB_METHOD_PING, NULL), 0);
	fixture_fini(&f);
}

static void acknowledging_what_was_never_sent_ends_the_session(void)
{
	struct upcall_fixture f;

	fixture_init(&f, 60000);
	zap(&f, 1);
	acknowledge(&f, 2);
	EXPECT(wire_client_is_closed(&f.client));
	EXPECT_EQ(stats_of(&f).bad_messages, 1);
	fixture_fini(&f);
}

static void closed_upcall_socket_leaves_the_session(void)
{
	struct upcall_fixture f;

	fixture_init(&f, 60000);
	wire_client_fini(&f.pager);
	close(f.client.upcalls);
	f.client.upcalls = -1;
	EXPECT_EQ(wire_client_call(&f.client, MMB_METHOD_PING, NULL), 0);
	zap(&f, 1);
	EXPECT_EQ(wire_client_call(&f.client, MMB_METHOD_PING, NULL), 0);
	EXPECT_EQ(stats_of(&f).sessions, 1);
	wire_client_init(&f.pager, dup(0));
	fixture_fini(&f);
}

/* Says when it is connected, and waits for its end. */
static int doomed_client(const char *path, int ready)
{
	static struct wire_client c;

	if (wire_client_connect(&c, path) || wire_client_hello(&c, "doomed", false) ||
	    write(ready, "r", 1) != 1)
		return 1;
	sleep(20);
	return 0;
}

static void broker_can_kill_the_process_that_connected(void)
{
	const struct upcall_ops *ops;
	struct server_stats      stats;
	struct ipc_fixture       f;
	void                    *context;
	int                      ready[2], status;
	pid_t                    child;
	char                     byte;

	ipc_fixture_init(&f);
	ipc_fixture_start(&f);
	EXPECT_EQ(pipe(ready), 0);
	child = fork();
	if (child == 0)
		_exit(doomed_client(f.path, ready[1]));
	EXPECT_EQ(read(ready[0], &byte, 1), 1);
	ops = fake_upcalls(&context);
	ops->kill(context, "it punched its own pages");
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	EXPECT(ipc_wait_count(&fake_counts.sessions_ended, 1));
	/* Too late, and harmless. */
	ops->kill(context, "again");
	ops->pressure(context, &(struct pressure_call){ .level = 2, .wanted = 1 });
	server_stats(f.server, &stats);
	EXPECT_EQ(stats.upcalls_sent, 0);
	close(ready[0]);
	close(ready[1]);
	ipc_fixture_fini(&f);
}

static void orphans_arrive_or_are_not_told(void)
{
	struct upcall_fixture      f;
	Mmb__Wire__OrphansRequest *m;

	fixture_init(&f, 60000);
	EXPECT(f.ops->orphans(f.context, FAKE_POOL, 4711));
	EXPECT_EQ(wire_client_recv(&f.pager, WIRE_CLIENT_WAIT_MS), 1);
	EXPECT_EQ(f.pager.packet.method, MMB_UPCALL_ORPHANS);
	m = mmb__wire__orphans_request__unpack(NULL, f.pager.packet.body_bytes,
					       f.pager.packet.body);
	EXPECT(m != NULL);
	EXPECT_EQ(m->pool, FAKE_POOL);
	EXPECT_EQ(m->member, 4711);
	mmb__wire__orphans_request__free_unpacked(m, NULL);
	for (uint32_t i = 1; i < UPCALLS_PENDING; i++)
		EXPECT(f.ops->orphans(f.context, FAKE_POOL, i));
	EXPECT(!f.ops->orphans(f.context, FAKE_POOL, 1)); /* to be told again */
	wire_client_fini(&f.pager);
	wire_client_fini(&f.client);
	EXPECT(ipc_wait_count(&fake_counts.sessions_freed, 1));
	EXPECT(f.ops->orphans(f.context, FAKE_POOL, 1)); /* nobody is left to tell */
	ipc_fixture_fini(&f.ipc);
}

static const struct test_case cases[] = {
	{ "ORPHANS arrives, or it is known that it didn't", orphans_arrive_or_are_not_told },
	{ "ranges arrive and are acknowledged", ranges_arrive_and_are_acknowledged },
	{ "a missing acknowledgement is counted, and late ones are welcome",
	  missing_acknowledgement_is_counted_and_late_ones_are_welcome },
	{ "unread upcalls are dropped without waiting",
	  unread_upcalls_are_dropped_without_waiting },
	{ "acknowledging what was never sent ends the session",
	  acknowledging_what_was_never_sent_ends_the_session },
	{ "a closed upcall socket leaves the session", closed_upcall_socket_leaves_the_session },
	{ "the broker can kill the process that connected",
	  broker_can_kill_the_process_that_connected },
};

TEST_MAIN(cases)
