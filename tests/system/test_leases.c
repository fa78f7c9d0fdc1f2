/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_leases - leased units over the socket: their life and the end of those who leased them
 *
 * Purpose     Sessions by hand, beside a bystander: what stays, what goes, who is told, and that
 *             a header can be touched as long as its unit is leased.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/slab_map.h"
#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { UNITS = 64, UNIT = SLAB_UNIT_BYTES, PATIENCE_MS = 20000, SEVERAL_TICKS_MS = 2500,
       CUTS = 60, CROWD = CUTS - 1 };

static struct attack other;

/* Sessions of one shared pool. */
static void join(struct attack *a)
{
	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "common", 0), 0);
}

static struct raw *join_second(struct attack *a)
{
	raw_init(&other.r);
	other.socket = a->socket;
	join(&other);
	return &other.r;
}

static uint64_t leased(struct raw *r)
{
	Mmb__Wire__PoolStatReply stat;

	CLIENT_EXPECT_EQ(raw_pool_stat(r, &stat), 0);
	return stat.leased / UNIT;
}

/* The member that the next ORPHANS tells of; it is acknowledged. */
static uint32_t read_orphans(struct raw *r, uint32_t *pool)
{
	struct pollfd              p = { .fd = r->upcall, .events = POLLIN };
	uint8_t                    bytes[512];
	struct wire_message        m = { .bytes = bytes, .capacity = sizeof(bytes) };
	struct wire_packet         packet;
	Mmb__Wire__OrphansRequest *body;
	uint32_t                   member;

	CLIENT_EXPECT_EQ(poll(&p, 1, PATIENCE_MS), 1);
	CLIENT_EXPECT(wire_recv(r->upcall, &m, 0) > 0);
	CLIENT_EXPECT_EQ(wire_decode(m.bytes, m.length, &packet), 0);
	CLIENT_EXPECT_EQ(packet.method, MMB_UPCALL_ORPHANS);
	body = mmb__wire__orphans_request__unpack(NULL, packet.body_bytes, packet.body);
	CLIENT_EXPECT(body != NULL);
	member = body->member;
	*pool = body->pool;
	mmb__wire__orphans_request__free_unpacked(body, NULL);
	return member;
}

ATTACK(leased_units_are_memory)
{
	uint64_t            units[UNITS], run;
	struct raw_slab_map map;

	join(a);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, NULL), 0);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, NULL), 0);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 1, UNITS, units), UNITS);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 64, 1, &run), 1);
	for (int i = 0; i < UNITS; i++) {
		pattern_fill((void *)(uintptr_t)units[i], UNIT, (uint64_t)i);
		memset(map.at + (units[i] - map.window) / UNIT * SLAB_HEADER_BYTES, i,
		       SLAB_HEADER_BYTES);
	}
	pattern_fill((void *)(uintptr_t)run, 64 * UNIT, 99);
	for (int i = 0; i < UNITS; i++)
		CLIENT_EXPECT(pattern_holds((void *)(uintptr_t)units[i], UNIT, (uint64_t)i));
	CLIENT_EXPECT(pattern_holds((void *)(uintptr_t)run, 64 * UNIT, 99));
	CLIENT_EXPECT_EQ(leased(&a->r), UNITS + 64);
}

ATTACK(a_lease_is_returned_in_parts_by_others)
{
	struct raw *second = join_second(a);
	uint64_t    run, parts[3];
	uint32_t    lengths[3] = { 20, 1, 19 };

	join(a);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 40, 1, &run), 1);
	parts[0] = run + 20 * UNIT;
	parts[1] = run + 19 * UNIT;
	parts[2] = run;
	CLIENT_EXPECT_EQ(raw_return(second, parts, lengths, 3), 0);
	CLIENT_EXPECT_EQ(leased(&a->r), 0);
}

static void lease_and_wait(struct client_process *self, void *arg)
{
	struct attack *a = arg;
	uint64_t       units[UNITS];

	join(a);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 1, UNITS, units), UNITS);
	CLIENT_EXPECT(client_tell(self, &a->r.member, sizeof(a->r.member)));
	CLIENT_EXPECT(client_tell(self, units, sizeof(units)));
	pause();
}

static void begin_victim(struct attack *a, struct client_process *process,
			 void (*run)(struct client_process *self, void *arg))
{
	static struct attack victim;

	raw_init(&victim.r);
	victim.socket = a->socket;
	client_fork(process, run, &victim);
}

/* Who it is, and what it has leased. */
static uint32_t hear_leased(struct client_process *process, uint64_t units[UNITS])
{
	uint32_t member;

	CLIENT_EXPECT(client_hear(process, &member, sizeof(member)));
	CLIENT_EXPECT(client_hear(process, units, UNITS * sizeof(units[0])));
	return member;
}

ATTACK(units_outlive_who_was_killed)
{
	struct client_process process;
	uint32_t              member, pool;
	uint64_t              units[UNITS];

	join(a);
	begin_victim(a, &process, lease_and_wait);
	member = hear_leased(&process, units);
	client_signal(&process, SIGKILL);
	CLIENT_EXPECT_EQ(read_orphans(&a->r, &pool), member);
	CLIENT_EXPECT_EQ(pool, a->r.pool);
	CLIENT_EXPECT_EQ(leased(&a->r), UNITS);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, UNITS), 0);
	CLIENT_EXPECT_EQ(leased(&a->r), 0);
}

/* Says nonsense with leased units. */
static void lease_and_get_cut(struct client_process *self, struct attack *a)
{
	uint64_t units[UNITS];

	join(a);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 1, UNITS, units), UNITS);
	CLIENT_EXPECT_EQ(raw_send(&a->r, "nonsense", 8), 0);
	CLIENT_EXPECT(raw_ends(&a->r));
	CLIENT_EXPECT(client_tell(self, &a->r.member, sizeof(a->r.member)));
	CLIENT_EXPECT(client_tell(self, units, sizeof(units)));
}

/* And goes on working. */
static void lease_and_be_cut(struct client_process *self, void *arg)
{
	lease_and_get_cut(self, arg);
	pause();
}

/* Nobody takes over what its threads may still write to. */
ATTACK(who_is_cut_is_told_of_when_it_ends)
{
	struct client_process process;
	struct pollfd         p = { .events = POLLIN };
	uint32_t              member, pool;
	uint64_t              units[UNITS];

	join(a);
	begin_victim(a, &process, lease_and_be_cut);
	member = hear_leased(&process, units);
	p.fd = a->r.upcall;
	CLIENT_EXPECT_EQ(poll(&p, 1, SEVERAL_TICKS_MS), 0);
	CLIENT_EXPECT_EQ(leased(&a->r), UNITS);
	client_signal(&process, SIGKILL);
	CLIENT_EXPECT_EQ(read_orphans(&a->r, &pool), member);
	CLIENT_EXPECT_EQ(pool, a->r.pool);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, UNITS), 0);
	CLIENT_EXPECT_EQ(leased(&a->r), 0);
}

/* Many sessions of one process; what they leased waits for its end. */
static void be_cut_often(struct client_process *self, void *arg)
{
	static struct raw crowd;
	struct attack    *a = arg;

	for (int i = 0; i < CROWD; i++) {
		uint64_t unit;

		raw_init(&crowd);
		CLIENT_EXPECT_EQ(raw_session(&crowd, a->socket, "crowd"), 0);
		CLIENT_EXPECT_EQ(raw_pool(&crowd, "common", 0), 0);
		CLIENT_EXPECT_EQ(raw_lease(&crowd, 1, 1, &unit), 1);
		CLIENT_EXPECT_EQ(raw_send(&crowd, "nonsense", 8), 0);
		CLIENT_EXPECT(raw_ends(&crowd));
		CLIENT_EXPECT(dup(crowd.upcall) >= 0); /* raw_close() would shut it */
		raw_close(&crowd);
	}
	lease_and_get_cut(self, a);
	pause();
}

ATTACK(each_of_many_that_are_cut_is_told_of_once)
{
	struct client_process process;
	struct pollfd         p = { .events = POLLIN };
	uint32_t              pool, told = 0;
	uint64_t              units[UNITS];

	join(a);
	begin_victim(a, &process, be_cut_often);
	hear_leased(&process, units);
	p.fd = a->r.upcall;
	CLIENT_EXPECT_EQ(poll(&p, 1, SEVERAL_TICKS_MS / 2), 0);
	client_signal(&process, SIGKILL);
	for (; poll(&p, 1, told < CUTS ? PATIENCE_MS : SEVERAL_TICKS_MS / 2) == 1; told++)
		CLIENT_EXPECT(read_orphans(&a->r, &pool));
	CLIENT_EXPECT_EQ(told, CUTS);
}

/* The process lives, and says that it is out of its slabs: it shuts its upcall socket. */
static void lease_be_cut_and_leave(struct client_process *self, void *arg)
{
	struct attack *a = arg;

	lease_and_get_cut(self, a);
	CLIENT_EXPECT(client_hear_step(self, 1));
	CLIENT_EXPECT_EQ(shutdown(a->r.upcall, SHUT_RDWR), 0);
	pause();
}

ATTACK(who_is_cut_is_told_of_when_it_is_out)
{
	struct client_process process;
	struct pollfd         p = { .events = POLLIN };
	uint32_t              member, pool;
	uint64_t              units[UNITS];

	join(a);
	begin_victim(a, &process, lease_be_cut_and_leave);
	member = hear_leased(&process, units);
	p.fd = a->r.upcall;
	CLIENT_EXPECT_EQ(poll(&p, 1, SEVERAL_TICKS_MS / 2), 0);
	CLIENT_EXPECT(client_tell_step(&process, 1));
	CLIENT_EXPECT_EQ(read_orphans(&a->r, &pool), member);
	CLIENT_EXPECT(!client_has_ended(&process));
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, UNITS), 0);
	CLIENT_EXPECT_EQ(leased(&a->r), 0);
	client_signal(&process, SIGKILL);
}

ATTACK(a_closed_handle_is_told_of)
{
	struct raw *second = join_second(a);
	uint32_t    member = second->member, pool;
	uint64_t    unit;

	join(a);
	CLIENT_EXPECT_EQ(raw_lease(second, 1, 1, &unit), 1);
	CLIENT_EXPECT_EQ(raw_pool_close(second), 0);
	CLIENT_EXPECT_EQ(read_orphans(&a->r, &pool), member);
	CLIENT_EXPECT_EQ(leased(&a->r), 1);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, &unit, 1), 0);
}

/* Nothing is leased: nobody is told anything. */
ATTACK(who_leaves_nothing_is_not_told_of)
{
	struct raw   *second = join_second(a);
	struct pollfd p = { .events = POLLIN };

	join(a);
	CLIENT_EXPECT_EQ(raw_pool_close(second), 0);
	p.fd = a->r.upcall;
	CLIENT_EXPECT_EQ(poll(&p, 1, 100), 0);
}

ATTACK(units_go_with_the_last_handle)
{
	const struct raw_region_want want = { .name = "keeper",
					      .length = PAGE,
					      .flags = MMB_REGION_CREATE };
	Mmb__Wire__RegionUnlinkRequest unlink_it = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;
	struct raw_region              region;
	struct raw_slab_map            map;
	uint64_t                       units[UNITS];
	int                            fd;

	join(a);
	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, &fd), 0);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 1, UNITS, units), UNITS);
	CLIENT_EXPECT_EQ(raw_cache_open(&a->r, "c", 64, 0), 1);
	CLIENT_EXPECT_EQ(raw_pool_close(&a->r), 0);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "common", 0), 0);
	CLIENT_EXPECT_EQ(leased(&a->r), 0);
	attack_file_shrinks(fd, 0);
	/* The cache is gone too: the name means another one now. */
	CLIENT_EXPECT_EQ(raw_cache_open(&a->r, "c", 128, 0), 1);
	unlink_it.pool = a->r.pool;
	unlink_it.name = (char *)(uintptr_t)"keeper";
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_UNLINK, &unlink_it), 0);
	CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
}

ATTACK(private_units_go_with_their_session)
{
	static struct attack mine;
	uint64_t             runs[4];

	join(a);
	raw_init(&mine.r);
	mine.socket = a->socket;
	attack_pool(&mine);
	CLIENT_EXPECT_EQ(raw_lease(&mine.r, 64, 4, runs), 4);
	CLIENT_EXPECT_EQ(leased(&mine.r), 4 * 64);
	raw_close(&mine.r);
	/* The frame expects all counters as they were. */
}

ATTACK(numbers_come_again_late)
{
	uint32_t    first;
	struct raw *second = join_second(a);

	join(a);
	first = a->r.member;
	CLIENT_EXPECT(first != second->member);
	CLIENT_EXPECT_EQ(raw_pool_close(second), 0);
	for (uint32_t i = 1; i < 100; i++) {
		CLIENT_EXPECT_EQ(raw_pool(second, "common", 0), 0);
		CLIENT_EXPECT_EQ(second->member, first + i);
		CLIENT_EXPECT_EQ(raw_pool_close(second), 0);
	}
}

/* A client that dies while it leases may have got units that it never heard of. */
static void lease_without_end(struct client_process *self, void *arg)
{
	struct attack *a = arg;
	uint64_t       units[8];

	join(a);
	CLIENT_EXPECT(client_tell_step(self, 'r'));
	for (;;) {
		int nr = raw_lease(&a->r, 2, 8, units);
		uint32_t twos[8] = { 2, 2, 2, 2, 2, 2, 2, 2 };

		CLIENT_EXPECT(nr > 0);
		CLIENT_EXPECT_EQ(raw_return(&a->r, units, twos, (uint32_t)nr), 0);
	}
}

ATTACK(killed_while_leasing)
{
	uint64_t left = 1;

	for (int i = 0; i < 20; i++) {
		struct client_process process;

		begin_victim(a, &process, lease_without_end);
		CLIENT_EXPECT(client_hear_step(&process, 'r'));
		usleep(1000 + 777 * (useconds_t)i);
		client_signal(&process, SIGKILL);
	}
	/* The pool goes with the last of them, who joined before the one before was found dead. */
	attack_attach(a);
	for (int ms = 0; left && ms < PATIENCE_MS; ms++) {
		usleep(1000);
		CLIENT_EXPECT_EQ(raw_pool(&a->r, "common", 0), 0);
		left = leased(&a->r);
		CLIENT_EXPECT_EQ(raw_pool_close(&a->r), 0);
	}
	CLIENT_EXPECT_EQ(left, 0);
}

static const struct test_case cases[] = {
	{ "leased units and their headers are memory", leased_units_are_memory },
	{ "a lease is returned in parts, by others", a_lease_is_returned_in_parts_by_others },
	{ "units outlive a killed session, and the others are told at once",
	  units_outlive_who_was_killed },
	{ "a session that is cut while its process lives is told of when that has ended",
	  who_is_cut_is_told_of_when_it_ends },
	{ "a session that is cut while its process lives is told of when that has left",
	  who_is_cut_is_told_of_when_it_is_out },
	{ "each of many sessions that are cut is told of once, when its process has ended",
	  each_of_many_that_are_cut_is_told_of_once },
	{ "a closed handle is told of", a_closed_handle_is_told_of },
	{ "who leaves nothing is not told of", who_leaves_nothing_is_not_told_of },
	{ "units and caches go with the last handle, named region or not",
	  units_go_with_the_last_handle },
	{ "units of a private pool go with the session", private_units_go_with_their_session },
	{ "members' numbers come again late", numbers_come_again_late },
	{ "clients killed while they lease", killed_while_leasing },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
