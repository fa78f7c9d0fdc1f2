/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_resume_handles - whose a dead client's handles are after a daemon's death: nobody's; and
 *                       what requests do to handles and names when they are repeated
 *
 * Purpose     A session's record has a slot that the next session takes while requests of the one
 *             before are still at work; and a client may die together with the daemon. A request
 *             whose answer was lost may have been carried out, and others have gone on meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/client_process.h"
#include "lib/raw_client.h"
#include "proto/methods.h"
#include "system/kill_scene.h"
#include "system/stage.h"

enum { LOCKED_BYTES = 1 << 30, UNITS = 8, PATIENCE_S = 30, ROUNDS = 3, RUN_REQUESTS = 200,
       SOON_US = 8000, SEVERAL_TICKS_MS = 1000 };

static const char *const flags[] = { "--supervise", "--memory.reserve=1200M", NULL };
static const struct setting setting = { .flags = flags };

static void kill_worker(struct fixture *f)
{
	pid_t worker = worker_of(f->pid);

	EXPECT(worker > 0 && !kill(worker, SIGKILL) && worker_dies(f->pid, worker));
	fixture_reconnect(f);
}

/* ---- a region's handle ---- */

/* Asks for what takes long, and is gone. */
static uint32_t leave_a_request(const char *socket)
{
	static struct raw r;
	struct raw_region region;
	Mmb__Wire__RegionRangeRequest request = MMB__WIRE__REGION_RANGE_REQUEST__INIT;

	raw_init(&r);
	EXPECT_EQ(raw_session(&r, socket, "gone"), 0);
	EXPECT_EQ(raw_pool(&r, NULL, 0), 0);
	EXPECT_EQ(raw_region(&r, LOCKED_BYTES, &region), 0);
	request.region = region.handle;
	request.length = LOCKED_BYTES;
	request.advice = MMB_ADVISE_WILLNEED;
	EXPECT_EQ(raw_request(&r, MMB_METHOD_REGION_ADVISE, &request), 0);
	rest_us(20000);
	raw_close(&r);
	close(region.fd);
	munmap(region.at, LOCKED_BYTES);
	return region.handle;
}

static void ask_for_region(struct raw *r, uint32_t handle)
{
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;

	request.region = handle;
	EXPECT_EQ(raw_call(r, MMB_METHOD_REGION_MAP, &request), -EBADF);
	EXPECT_EQ(r->nr_fds, 0);
}

static void slots_next_session_has_nothing_of_the_last(void)
{
	static struct raw r;
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t handle = leave_a_request(f->socket);

		raw_init(&r);
		rest_us(20000);
		EXPECT_EQ(raw_session(&r, f->socket, "next"), 0);
		kill_worker(f);
		while (!raw_recv(&r) && r.reply.method != MMB_UPCALL_RESUMED)
			;
		ask_for_region(&r, handle);
		raw_close(&r);
	}
	stage_end();
}

/* ---- a pool's handle ---- */

static void lease_and_wait(struct client_process *self, void *socket)
{
	static struct raw r;
	uint64_t units[UNITS], runs[MMB_PAGES_BATCH];

	raw_init(&r);
	CLIENT_EXPECT_EQ(raw_session(&r, socket, "victim"), 0);
	CLIENT_EXPECT_EQ(raw_pool(&r, "common", 0), 0);
	CLIENT_EXPECT_EQ(raw_lease(&r, 1, UNITS, units), UNITS);
	for (int i = 0; i < RUN_REQUESTS; i++)
		CLIENT_EXPECT_EQ(raw_pages(&r, 0, 0, MMB_PAGES_BATCH, runs), MMB_PAGES_BATCH);
	CLIENT_EXPECT(client_tell(self, &r.member, sizeof(r.member)));
	CLIENT_EXPECT(client_tell(self, units, sizeof(units)));
	pause();
}

/* The member that the next ORPHANS tells of; 0: none comes in that time. */
static uint32_t hear_orphans_within(struct raw *r, int ms)
{
	struct pollfd p = { .fd = r->upcall, .events = POLLIN };
	uint8_t bytes[512];
	struct wire_message m = { .bytes = bytes, .capacity = sizeof(bytes) };
	struct wire_packet packet;
	Mmb__Wire__OrphansRequest *body;
	uint32_t member = 0;

	while (!member && poll(&p, 1, ms) == 1) {
		if (wire_recv(r->upcall, &m, 0) <= 0 || wire_decode(m.bytes, m.length, &packet))
			return 0;
		if (packet.method != MMB_UPCALL_ORPHANS)
			continue;
		body = mmb__wire__orphans_request__unpack(NULL, packet.body_bytes, packet.body);
		member = body ? body->member : 0;
		mmb__wire__orphans_request__free_unpacked(body, NULL);
	}
	return member;
}

/* Who has just left may be told of, too: the last round's. */
static bool hears_of(struct raw *r, uint32_t member)
{
	uint32_t heard;

	do
		heard = hear_orphans_within(r, PATIENCE_S * 1000);
	while (heard && heard != member);
	return heard;
}

enum order { DAEMON_FIRST, CLIENT_FIRST, WHILE_RUNS_GO_BACK, NR_ORDERS };

static void die_both(struct fixture *f, struct client_process *victim, enum order order)
{
	pid_t worker = worker_of(f->pid);

	EXPECT(worker > 0 && stop_process(f->pid)); /* nobody restarts it yet */
	if (order == CLIENT_FIRST)
		EXPECT(stop_process(worker));
	else if (order == DAEMON_FIRST)
		kill(worker, SIGKILL);
	client_signal(victim, SIGKILL);
	if (order == WHILE_RUNS_GO_BACK)
		rest_us(SOON_US);
	kill(worker, SIGKILL);
	kill(f->pid, SIGCONT);
	EXPECT(worker_dies(f->pid, worker));
	fixture_reconnect(f);
}

/* One that survives, and a victim that leases; the victim's number. */
static uint32_t begin_two(struct fixture *f, struct raw *survivor, struct client_process *victim,
			  client_fn lease, uint64_t units[UNITS])
{
	uint32_t member = 0;

	raw_init(survivor);
	EXPECT_EQ(raw_session(survivor, f->socket, "survivor"), 0);
	EXPECT_EQ(raw_pool(survivor, "common", 0), 0);
	client_fork(victim, lease, f->socket);
	EXPECT(client_hear(victim, &member, sizeof(member)));
	EXPECT(client_hear(victim, units, UNITS * sizeof(units[0])));
	return member;
}

static void others_are_told_of_who_died_with_the_daemon(void)
{
	static struct raw r, next;
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	for (int i = 0; i < NR_ORDERS; i++) {
		struct client_process victim;
		uint64_t units[UNITS];
		uint32_t member = begin_two(f, &r, &victim, lease_and_wait, units);

		die_both(f, &victim, (enum order)i);
		raw_init(&next);
		EXPECT_EQ(raw_session(&next, f->socket, "next"), 0);
		EXPECT_EQ(raw_pool(&next, "common", 0), 0);
		/* It has units in use: the number can't be anybody's until all others know. */
		EXPECT(next.member != r.member);
		EXPECT(hears_of(&r, member));
		EXPECT_EQ(raw_return_units(&next, units, UNITS), 0);
		raw_close(&next);
		raw_close(&r);
	}
	stage_end();
}

/* ---- who was cut before, and lives ---- */

static void lease_and_be_cut(struct client_process *self, void *socket)
{
	static struct raw r;
	uint64_t units[UNITS];

	raw_init(&r);
	CLIENT_EXPECT_EQ(raw_session(&r, socket, "victim"), 0);
	CLIENT_EXPECT_EQ(raw_pool(&r, "common", 0), 0);
	CLIENT_EXPECT_EQ(raw_lease(&r, 1, UNITS, units), UNITS);
	CLIENT_EXPECT_EQ(raw_send(&r, "nonsense", 8), 0);
	CLIENT_EXPECT(raw_ends(&r));
	CLIENT_EXPECT(client_tell(self, &r.member, sizeof(r.member)));
	CLIENT_EXPECT(client_tell(self, units, sizeof(units)));
	pause();
}

/* It ends under the next daemon, or while there is none. */
static void others_are_told_of_who_was_cut_before_it_died(void)
{
	static struct raw r;
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	for (int with_the_daemon = 0; with_the_daemon < 2; with_the_daemon++) {
		struct client_process victim;
		uint64_t units[UNITS];
		uint32_t member = begin_two(f, &r, &victim, lease_and_be_cut, units);

		if (with_the_daemon) {
			die_both(f, &victim, DAEMON_FIRST);
		} else {
			kill_worker(f);
			EXPECT_EQ(hear_orphans_within(&r, SEVERAL_TICKS_MS), 0);
			client_signal(&victim, SIGKILL);
		}
		EXPECT(hears_of(&r, member));
		EXPECT_EQ(raw_return_units(&r, units, UNITS), 0);
		raw_close(&r);
	}
	stage_end();
}

/* ---- repeated requests ---- */

enum { REGIONS = 3, REGION_BYTES = 2 * MIB };

/* As if it had been read by the daemon that died. */
static int repeat(struct raw *r, uint32_t method, const void *request, uint64_t lost)
{
	struct wire_packet head = { .method = method, .again = lost, .id = ++r->next_id };
	ssize_t nr = wire_encode(&head, request, r->out, sizeof(r->out));

	EXPECT(nr > 0 && !raw_send(r, r->out, (size_t)nr));
	do
		EXPECT_EQ(raw_recv(r), 0);
	while (r->reply.id < r->next_id);
	return r->reply.code;
}

static int close_again(struct raw *r, const struct raw_region *regions, uint64_t lost)
{
	uint32_t more[] = { regions[1].handle, regions[2].handle };
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;

	request.region = regions[0].handle;
	request.more = more;
	request.n_more = REGIONS - 1;
	return repeat(r, MMB_METHOD_REGION_CLOSE, &request.base, lost);
}

static void what_was_closed_by_halves_is_closed(void)
{
	static struct raw r;
	struct raw_region regions[REGIONS];
	Mmb__Wire__RegionRequest last = MMB__WIRE__REGION_REQUEST__INIT;
	struct fixture *f;

	stage_set(&setting);
	f = stage_begin();
	raw_init(&r);
	EXPECT_EQ(raw_session(&r, f->socket, "halves"), 0);
	EXPECT_EQ(raw_pool(&r, NULL, 0), 0);
	for (int i = 0; i < REGIONS; i++)
		EXPECT_EQ(raw_region(&r, REGION_BYTES, &regions[i]), 0);
	last.region = regions[REGIONS - 1].handle;
	for (int i = 0; i < REGIONS - 1; i++)
		EXPECT_EQ(raw_region_close(&r, &regions[i]), 0);
	kill_worker(f);
	EXPECT_EQ(close_again(&r, regions, r.next_id), 0);
	EXPECT_EQ(raw_call(&r, MMB_METHOD_REGION_CLOSE, &last), -EBADF);
	munmap(regions[REGIONS - 1].at, REGION_BYTES);
	close(regions[REGIONS - 1].fd);
	raw_close(&r);
	stage_end();
}

static void open_named(struct raw *r, unsigned int how, struct raw_region *out)
{
	const struct raw_region_want want = { .name = "named", .length = REGION_BYTES,
					      .page_size = PAGE, .flags = how };

	EXPECT_EQ(raw_region_ask(r, &want, out), 0);
	close(out->fd);
}

/* Another client's has the name now. */
static void a_name_that_is_given_anew_isnt_ended(void)
{
	static struct raw r, other;
	Mmb__Wire__RegionUnlinkRequest request = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;
	struct raw_region region;
	struct fixture *f;
	uint64_t lost;

	stage_set(&setting);
	f = stage_begin();
	raw_init(&r);
	raw_init(&other);
	EXPECT_EQ(raw_session(&r, f->socket, "ends"), 0);
	EXPECT_EQ(raw_pool(&r, "common", 0), 0);
	open_named(&r, MMB_REGION_CREATE, &region);
	request.pool = r.pool;
	request.name = (char *)"named";
	EXPECT_EQ(raw_call(&r, MMB_METHOD_REGION_UNLINK, &request), 0);
	lost = r.next_id;
	kill_worker(f);
	EXPECT_EQ(raw_session(&other, f->socket, "makes"), 0);
	EXPECT_EQ(raw_pool(&other, "common", 0), 0);
	open_named(&other, MMB_REGION_CREATE | MMB_REGION_EXCL, &region);
	EXPECT_EQ(repeat(&r, MMB_METHOD_REGION_UNLINK, &request, lost), 0);
	open_named(&other, 0, &region);
	/* What wasn't carried out is. */
	EXPECT_EQ(repeat(&r, MMB_METHOD_REGION_UNLINK, &request, lost - 1), 0);
	EXPECT_EQ(raw_call(&other, MMB_METHOD_REGION_UNLINK, &request), -ENOENT);
	raw_close(&other);
	raw_close(&r);
	stage_end();
}

static uint32_t take_snapshot(struct raw *r, const struct raw_region *region)
{
	Mmb__Wire__RegionCloneRequest request = MMB__WIRE__REGION_CLONE_REQUEST__INIT;
	Mmb__Wire__RegionCloneRequest__Clone clone = MMB__WIRE__REGION_CLONE_REQUEST__CLONE__INIT;
	Mmb__Wire__RegionCloneRequest__Clone *clones[] = { &clone };

	clone.region = region->handle;
	clone.name = (char *)"";
	request.clones = clones;
	request.n_clones = 1;
	EXPECT_EQ(raw_call(r, MMB_METHOD_REGION_CLONE, &request), 0);
	return ((const Mmb__Wire__RegionCloneReply *)r->body)->regions[0];
}

/* How the region reads once another daemon has been asked for the rollback: first as it was asked
 * before, and somebody has written since, then as if that one hadn't been read. */
static void what_was_rolled_back_isnt_once_more(void)
{
	static struct raw r;
	Mmb__Wire__RegionRollbackRequest request = MMB__WIRE__REGION_ROLLBACK_REQUEST__INIT;
	struct raw_region region;
	struct fixture *f;
	uint64_t lost;
	char value;

	stage_set(&setting);
	f = stage_begin();
	raw_init(&r);
	EXPECT_EQ(raw_session(&r, f->socket, "rolls"), 0);
	EXPECT_EQ(raw_pool(&r, NULL, 0), 0);
	EXPECT_EQ(raw_region(&r, REGION_BYTES, &region), 0);
	EXPECT_EQ(raw_write_byte(region.at, 1), 0);
	request.region = region.handle;
	request.snapshot = take_snapshot(&r, &region);
	EXPECT_EQ(raw_write_byte(region.at, 2), 0);
	EXPECT_EQ(raw_call(&r, MMB_METHOD_REGION_ROLLBACK, &request), 0);
	lost = r.next_id;
	EXPECT(!raw_read_byte(region.at, &value) && value == 1);
	kill_worker(f);
	EXPECT_EQ(raw_write_byte(region.at, 3), 0);
	EXPECT_EQ(repeat(&r, MMB_METHOD_REGION_ROLLBACK, &request, lost), 0);
	EXPECT(!raw_read_byte(region.at, &value) && value == 3);
	EXPECT_EQ(repeat(&r, MMB_METHOD_REGION_ROLLBACK, &request, lost - 1), 0);
	EXPECT(!raw_read_byte(region.at, &value) && value == 1);
	munmap(region.at, REGION_BYTES);
	close(region.fd);
	raw_close(&r);
	stage_end();
}

static const struct test_case cases[] = {
	{ "who gets the slot of a session that has ended has none of its handles",
	  slots_next_session_has_nothing_of_the_last },
	{ "the others of a pool are told of who died with the daemon",
	  others_are_told_of_who_died_with_the_daemon },
	{ "the others of a pool are told of who was cut before the daemon died, and has ended",
	  others_are_told_of_who_was_cut_before_it_died },
	{ "a request that had closed some of its regions closes the others when it is repeated",
	  what_was_closed_by_halves_is_closed },
	{ "a repeated unlink ends no name that another region has been given meanwhile",
	  a_name_that_is_given_anew_isnt_ended },
	{ "a repeated rollback loses nothing that was written after it had been carried out",
	  what_was_rolled_back_isnt_once_more },
	STAGE_STOPS,
};
TEST_MAIN(cases)
