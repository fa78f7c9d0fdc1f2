/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_offer - who is offered a pool with HELLO, and that one that isn't used comes back whole
 */
#include "client/offer.h"

#include <errno.h>
#include <stddef.h>

#include "client/arena_ahead.h"
#include "client/pool.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "os/os.h"

enum { UID = 1000, OTHER_UID = 2000, RESERVE_MIB = 320 };
static const uint64_t second_ns = 1000000000ull;
static const struct request_past past = { .id = 1 };

static struct client_counts before;

static void begin(void)
{
	struct client_options options = { .space = { .base_mib = RESERVE_MIB } };

	client_begin(&options);
	client_count(&before);
	arenas_ahead_keep(true);
}

static void end(void)
{
	client_expect_valid();
	client_settle();
	pools_flush();
	arenas_ahead_keep(false);
	client_expect_counts(&before);
	EXPECT_EQ(offers_open(), 0);
	client_end();
}

static int lease(struct session *s, uint32_t pool)
{
	uint64_t address;
	struct lease_args args = { .pool = pool, .units = 1, .nr = 1, .addresses = &address };
	uint32_t got = 0;
	int r = verb_slab_lease(s, &args, &got, &client_why);

	verb_slab_leased(s, pool);
	pools_flush();
	return r;
}

/* A session that begins with a private pool and allocates. */
static void begin_so(uid_t uid)
{
	struct session *s = client_session(uid);

	EXPECT_EQ(lease(s, client_pool(s, "", MMB_POOL_PRIVATE)), 0);
	client_leave(s);
	client_settle();
}

static int offer(struct session *s, struct offered *out)
{
	int r = verb_pool_offer(s, &past, out);

	if (!r) {
		verb_slab_leased(s, out->opened.handle);
		pools_flush();
	}
	return r;
}

static void close_fds(const struct offered *o)
{
	os->close(o->arena.fd);
	os->close(o->map_fd);
}

static uint64_t place_of(const struct offered *o, size_t word)
{
	return ((o->unit - o->arena.address) >> SLAB_UNIT_SHIFT << SLAB_HEADER_SHIFT) + word;
}

/* As the library does. */
static bool claim(const struct offered *o)
{
	const uint32_t yes = 1;
	uint32_t offered = 0;

	EXPECT_EQ(os->write(o->map_fd, place_of(o, offsetof(struct slab_header, claimed)), &yes,
			    sizeof(yes)), 0);
	EXPECT_EQ(os->read(o->map_fd, place_of(o, offsetof(struct slab_header, offered)), &offered,
			   sizeof(offered)), 0);
	return offered;
}

static uint64_t leased_in(struct session *s, uint32_t pool)
{
	struct pool_stat stat = { 0 };

	EXPECT_EQ(verb_pool_stat(s, pool, &stat, &client_why), 0);
	return stat.leased;
}

static void expect_refused_at_first(uid_t uid)
{
	struct session *s = client_session(uid);
	struct offered o;

	EXPECT_EQ(offer(s, &o), -EAGAIN);
	client_leave(s);
}

/* ---- who ---- */

static void who_began_so_is_offered_one(void)
{
	struct session *s;
	struct offered o;

	begin();
	expect_refused_at_first(UID);
	begin_so(UID);
	expect_refused_at_first(OTHER_UID);
	s = client_session(UID);
	EXPECT_EQ(offer(s, &o), 0);
	EXPECT(o.opened.handle && o.opened.member && o.opened.key);
	EXPECT(o.unit >= o.arena.address && o.unit < o.arena.address + o.arena.length);
	EXPECT_EQ(offers_open(), 1);
	client_expect_valid();
	EXPECT(claim(&o));
	EXPECT_EQ(leased_in(s, o.opened.handle), SLAB_UNIT_BYTES);
	EXPECT_EQ(offers_open(), 0);
	close_fds(&o);
	client_leave(s);
	end();
}

static void who_began_otherwise_is_not(void)
{
	struct session *s;

	begin();
	s = client_session(UID);
	client_pool(s, "named", MMB_POOL_CREATE);
	EXPECT_EQ(lease(s, client_pool(s, "", MMB_POOL_PRIVATE)), 0);
	client_leave(s);
	expect_refused_at_first(UID);
	/* Nor who has allocated nothing in it. */
	s = client_session(UID);
	client_pool(s, "", MMB_POOL_PRIVATE);
	client_leave(s);
	expect_refused_at_first(UID);
	end();
}

static void without_an_arena_made_ahead_there_is_none(void)
{
	struct session *s;
	struct offered o;

	begin();
	begin_so(UID);
	arenas_ahead_keep(false);
	s = client_session(UID);
	EXPECT_EQ(offer(s, &o), -EAGAIN);
	client_leave(s);
	arenas_ahead_keep(true);
	end();
}

/* ---- how it ends ---- */

static void tick_after(uint64_t ns)
{
	fake_os_advance_ns(ns);
	offers_tick();
}

/* A session that has been offered a pool. */
static struct session *next_offered(struct offered *o)
{
	struct session *s;

	begin_so(UID);
	s = client_session(UID);
	EXPECT_EQ(offer(s, o), 0);
	return s;
}

static struct session *begin_offered(struct offered *o)
{
	begin();
	return next_offered(o);
}

static void what_is_claimed_stays(void)
{
	struct session *s;
	struct offered o;

	s = begin_offered(&o);
	tick_after(second_ns / 2);
	EXPECT(claim(&o));
	tick_after(2 * second_ns);
	EXPECT_EQ(offers_open(), 0);
	EXPECT_EQ(leased_in(s, o.opened.handle), SLAB_UNIT_BYTES);
	close_fds(&o);
	client_leave(s);
	/* And the next one is offered one, too. */
	s = client_session(UID);
	EXPECT_EQ(offer(s, &o), 0);
	close_fds(&o);
	client_leave(s);
	end();
}

static void what_nobody_claims_is_withdrawn(void)
{
	struct session *s;
	struct offered o;
	struct pool_stat stat;

	s = begin_offered(&o);
	tick_after(2 * second_ns);
	EXPECT_EQ(offers_open(), 0);
	EXPECT(!claim(&o));
	EXPECT_EQ(verb_pool_stat(s, o.opened.handle, &stat, &client_why), -EBADF);
	close_fds(&o);
	/* It begins otherwise nowadays. */
	expect_refused_at_first(UID);
	client_leave(s);
	end();
}

#ifndef __SANITIZE_THREAD__ /* others read at that moment which system there is */

static int late_dup(int fd)
{
	tick_after(2 * second_ns);
	return os_fake.dup(fd);
}

static void what_takes_long_to_make_is_withdrawn(void)
{
	struct os_ops slow;
	struct session *s;
	struct offered o;

	begin();
	begin_so(UID);
	s = client_session(UID);
	slow = *os;
	slow.dup = late_dup;
	os = &slow;
	EXPECT_EQ(offer(s, &o), -EAGAIN);
	os = &os_fake;
	EXPECT_EQ(offers_open(), 0);
	client_leave(s);
	/* The next one isn't made in vain. */
	s = next_offered(&o);
	EXPECT_EQ(offers_open(), 1);
	close_fds(&o);
	client_leave(s);
	end();
}

#endif

static void the_end_of_the_session_is_its_end(void)
{
	struct session *s;
	struct offered o;

	s = begin_offered(&o);
	close_fds(&o);
	client_leave(s);
	EXPECT_EQ(offers_open(), 0);
	expect_refused_at_first(UID);
	end();
}

static void it_can_be_given_back(void)
{
	struct session *s;
	struct offered o;

	s = begin_offered(&o);
	EXPECT_EQ(verb_pool_close(s, o.opened.handle, &client_why), 0);
	EXPECT_EQ(offers_open(), 0);
	close_fds(&o);
	tick_after(2 * second_ns);
	client_leave(s);
	expect_refused_at_first(UID);
	end();
}

static void who_uses_the_handle_has_claimed_it(void)
{
	struct session *s;
	struct offered o;

	s = begin_offered(&o);
	EXPECT_EQ(lease(s, o.opened.handle), 0);
	tick_after(2 * second_ns);
	EXPECT_EQ(leased_in(s, o.opened.handle), 2 * SLAB_UNIT_BYTES);
	close_fds(&o);
	client_leave(s);
	end();
}

/* ---- limits, and liars ---- */

static void only_so_many_are_open(void)
{
	struct session *s[OFFERS_MAX + 1];
	struct offered o[OFFERS_MAX + 1];
	uint32_t nr;

	begin();
	for (uid_t uid = UID; uid <= UID + OFFERS_MAX; uid++)
		begin_so(uid);
	for (nr = 0; nr <= OFFERS_MAX; nr++) {
		s[nr] = client_session(UID + nr);
		if (offer(s[nr], &o[nr]))
			break;
	}
	EXPECT_EQ(nr, OFFERS_MAX);
	EXPECT_EQ(offers_open(), OFFERS_MAX);
	/* One that is in use makes room. */
	EXPECT(claim(&o[0]));
	EXPECT_EQ(offer(s[nr], &o[nr]), 0);
	EXPECT_EQ(offers_open(), OFFERS_MAX);
	for (uint32_t i = 0; i <= nr; i++) {
		close_fds(&o[i]);
		client_leave(s[i]);
	}
	end();
}

/* What it writes about its offer decides about its own pool. */
static void liars_lose_their_own_pool_at_most(void)
{
	const uint32_t no = 0, yes = 1;
	struct session *s;
	struct offered o;
	struct pool_stat stat;

	s = begin_offered(&o);
	/* Claimed and taken back: it's withdrawn. */
	EXPECT(claim(&o));
	os->write(o.map_fd, place_of(&o, offsetof(struct slab_header, claimed)), &no, sizeof(no));
	tick_after(2 * second_ns);
	EXPECT_EQ(verb_pool_stat(s, o.opened.handle, &stat, &client_why), -EBADF);
	close_fds(&o);
	client_leave(s);
	s = next_offered(&o);
	/* Offered for ever, as it says: withdrawn all the same. */
	os->write(o.map_fd, place_of(&o, offsetof(struct slab_header, offered)), &yes,
		  sizeof(yes));
	tick_after(2 * second_ns);
	os->write(o.map_fd, place_of(&o, offsetof(struct slab_header, offered)), &yes,
		  sizeof(yes));
	EXPECT_EQ(verb_pool_stat(s, o.opened.handle, &stat, &client_why), -EBADF);
	close_fds(&o);
	client_leave(s);
	s = next_offered(&o);
	/* Punched: what is gone isn't claimed. */
	os->punch(o.map_fd, 0, PAGE_SIZE);
	tick_after(2 * second_ns);
	EXPECT_EQ(offers_open(), 0);
	close_fds(&o);
	client_leave(s);
	end();
}

static void who_has_used_half_is_offered_none(void)
{
	uint32_t pools[CLIENT_POOLS_PER_UID];
	struct session *other, *s;
	struct offered o;

	begin();
	begin_so(UID);
	other = client_session(UID);
	for (uint32_t i = 0; i < CLIENT_POOLS_PER_UID; i++)
		pools[i] = client_pool(other, "", MMB_POOL_PRIVATE);
	s = client_session(UID);
	EXPECT(offer(s, &o) < 0);
	EXPECT_EQ(offers_open(), 0);
	/* Nor does an offer take the last ones from who wants something else. */
	for (uint32_t i = 0; i < CLIENT_POOLS_PER_UID - CLIENT_POOLS_PER_UID / 2; i++) {
		EXPECT_EQ(offer(s, &o), -EAGAIN);
		EXPECT_EQ(verb_pool_close(other, pools[i], &client_why), 0);
		pools_flush();
	}
	EXPECT_EQ(offer(s, &o), 0);
	close_fds(&o);
	client_leave(s);
	client_leave(other);
	end();
}

static const struct test_case cases[] = {
	{ "who began with a private pool is offered one", who_began_so_is_offered_one },
	{ "who began otherwise is not", who_began_otherwise_is_not },
	{ "without an arena made ahead there is none", without_an_arena_made_ahead_there_is_none },
	{ "what is claimed stays", what_is_claimed_stays },
	{ "what nobody claims is withdrawn", what_nobody_claims_is_withdrawn },
#ifndef __SANITIZE_THREAD__
	{ "what takes long to make is withdrawn while it is made",
	  what_takes_long_to_make_is_withdrawn },
#endif
	{ "the end of the session is its end", the_end_of_the_session_is_its_end },
	{ "it can be given back", it_can_be_given_back },
	{ "who uses the handle has claimed it", who_uses_the_handle_has_claimed_it },
	{ "only so many are open", only_so_many_are_open },
	{ "liars lose their own pool at most", liars_lose_their_own_pool_at_most },
	{ "who has used half of what a user may have is offered none",
	  who_has_used_half_is_offered_none },
};
TEST_MAIN(cases)
