/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_account - what a uid has, against its limits
 */
#include "client/account.h"

#include <errno.h>

#include "base/inject.h"
#include "lib/client_fixture.h"
#include "lib/test.h"
#include "mm/obj/slab.h"
#include "mm/phys/meta.h"

static const struct limits small = {
	.sessions = 5,
	.sessions_per_uid = 3,
	.regions_per_uid = 2,
	.pools_per_uid = 1,
	.regions_per_session = 9,
};

static uint32_t limit;

static void begin(void)
{
	client_begin(&(struct client_options){ .limits = small });
}

static void each_kind_has_its_limit(void)
{
	static const enum account_kind kinds[] = { ACCOUNT_SESSIONS, ACCOUNT_REGIONS,
						   ACCOUNT_POOLS };
	static const uint32_t limits[] = { 3, 2, 1 };

	begin();
	EXPECT_EQ(limits_get()->regions_per_session, 9);
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (uint32_t nr = 0; nr < limits[i]; nr++)
			EXPECT_EQ(account_charge(1000, kinds[i], &limit), 0);
		EXPECT_EQ(account_charge(1000, kinds[i], &limit), -EDQUOT);
		EXPECT_EQ(limit, limits[i]);
		EXPECT_EQ(account_total(kinds[i]), limits[i]);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++)
		for (uint32_t nr = 0; nr < limits[i]; nr++)
			account_uncharge(1000, kinds[i]);
	client_end();
}

static void uids_have_their_own(void)
{
	begin();
	/* 1000 and 1064 share a bucket of the hash. */
	for (uid_t uid = 1000; uid <= 1064; uid += 64) {
		EXPECT_EQ(account_charge(uid, ACCOUNT_POOLS, &limit), 0);
		EXPECT_EQ(account_charge(uid, ACCOUNT_POOLS, &limit), -EDQUOT);
	}
	account_uncharge(1000, ACCOUNT_POOLS);
	EXPECT_EQ(account_charge(1064, ACCOUNT_POOLS, &limit), -EDQUOT);
	EXPECT_EQ(account_charge(1000, ACCOUNT_POOLS, &limit), 0);
	account_uncharge(1000, ACCOUNT_POOLS);
	account_uncharge(1064, ACCOUNT_POOLS);
	client_end();
}

static void all_sessions_together_have_a_limit(void)
{
	begin();
	for (uid_t uid = 0; uid < 5; uid++)
		EXPECT_EQ(account_charge(uid, ACCOUNT_SESSIONS, &limit), 0);
	EXPECT_EQ(account_charge(7, ACCOUNT_SESSIONS, &limit), -EDQUOT);
	EXPECT_EQ(limit, 5);
	EXPECT_EQ(account_charge(7, ACCOUNT_REGIONS, &limit), 0);
	account_uncharge(7, ACCOUNT_REGIONS);
	for (uid_t uid = 0; uid < 5; uid++)
		account_uncharge(uid, ACCOUNT_SESSIONS);
	client_end();
}

static void tools_are_counted_apart(void)
{
	uint32_t nr = 0;

	begin();
	for (uint32_t i = 0; i < small.sessions_per_uid; i++)
		EXPECT_EQ(account_charge(1000, ACCOUNT_SESSIONS, &limit), 0);
	EXPECT_EQ(account_charge(1000, ACCOUNT_SESSIONS, &limit), -EDQUOT);
	while (nr < 1000 && !account_charge(1000, ACCOUNT_TOOLS, &limit))
		nr++;
	EXPECT(nr > 0 && nr == limit); /* they get in, but not without end */
	EXPECT_EQ(account_total(ACCOUNT_TOOLS), nr);
	while (nr--)
		account_uncharge(1000, ACCOUNT_TOOLS);
	for (uint32_t i = 0; i < small.sessions_per_uid; i++)
		account_uncharge(1000, ACCOUNT_SESSIONS);
	client_end();
}

/* By lengths, in whole pageblocks. */
static void the_span_of_a_uid_has_a_limit(void)
{
	enum { BLOCK = PAGEBLOCK_PAGES };
	struct limits limits = small;

	limits.span_per_uid = 64ull << 20;
	client_begin(&(struct client_options){ .limits = limits });
	EXPECT_EQ(account_charge_span(1000, 33 * BLOCK), -EDQUOT);
	EXPECT_EQ(account_charge_span(1000, UINT64_MAX), -EDQUOT);
	EXPECT_EQ(account_charge_span(1000, 31 * BLOCK), 0);
	EXPECT_EQ(account_charge_span(1000, 2 * BLOCK), -EDQUOT);
	EXPECT_EQ(account_charge_span(1000, BLOCK), 0);
	EXPECT_EQ(account_charge_span(1000, BLOCK), -EDQUOT);
	EXPECT_EQ(account_charge_span(2000, 32 * BLOCK), 0);
	/* What a predecessor granted stays. */
	EXPECT_EQ(account_recharge_span(1000, 8 * BLOCK), 0);
	EXPECT_EQ(account_total(ACCOUNT_SPAN), 72);
	account_uncharge_span(1000, 8 * BLOCK);
	EXPECT_EQ(account_charge_span(1000, BLOCK), -EDQUOT);
	account_uncharge_span(1000, 32 * BLOCK);
	account_uncharge_span(2000, 32 * BLOCK);
	client_end();
}

/* However little that is. */
static void each_user_leaves_span_to_the_next(void)
{
	enum { USERS = 16 };
	struct limits limits = small;
	uint64_t left = META_SPAN_FRAMES;

	limits.span_per_uid = META_SPAN_FRAMES << PAGE_SHIFT;
	client_begin(&(struct client_options){ .limits = limits });
	for (uid_t uid = 0; uid < USERS; uid++) {
		EXPECT_EQ(account_charge_span(uid, left / 2 + PAGEBLOCK_PAGES), -EDQUOT);
		EXPECT(account_arena_frames(uid, left) <= left / 2);
		EXPECT_EQ(account_charge_span(uid, left / 2), 0);
		EXPECT_EQ(account_charge_span(uid, PAGEBLOCK_PAGES), -EDQUOT);
		EXPECT_EQ(account_arena_frames(uid, left), 0);
		left /= 2;
	}
	/* Others' end is everybody's gain. */
	account_uncharge_span(0, META_SPAN_FRAMES / 2);
	EXPECT_EQ(account_charge_span(1, META_SPAN_FRAMES / 8), 0);
	account_uncharge_span(1, META_SPAN_FRAMES / 8);
	for (uid_t uid = 1; uid < USERS; uid++)
		account_uncharge_span(uid, META_SPAN_FRAMES >> (uid + 1));
	client_end();
}

/* Of pools without max the first have all that they could take, and each can have something. */
static void arenas_leave_room_for_the_next_ones(void)
{
	enum { FULL = 1 << 16, POOLS = 64, WHOLE = 1 << 21 };
	struct limits limits = small;
	uint64_t taken = 0, frames, least = FULL;

	limits.pools_per_uid = POOLS;
	limits.span_per_uid = (uint64_t)WHOLE << PAGE_SHIFT;
	client_begin(&(struct client_options){ .limits = limits });
	for (int i = 0; i < POOLS; i++) {
		frames = account_arena_frames(1000, FULL);
		EXPECT(frames <= least);
		EXPECT(i >= WHOLE / 4 / FULL || frames == FULL);
		EXPECT(frames >= WHOLE / 2 / POOLS);
		least = frames;
		EXPECT_EQ(account_charge_span(1000, round_up(frames, PAGEBLOCK_PAGES)), 0);
		taken += round_up(frames, PAGEBLOCK_PAGES);
	}
	EXPECT(least < FULL);
	EXPECT_EQ(account_arena_frames(2000, FULL), FULL);
	account_uncharge_span(1000, taken);
	client_end();
}

/* U1: else a stranger's every try would leave one. */
static void a_refusal_leaves_no_account(void)
{
	struct limits none = small;
	uint64_t bytes;

	none.regions_per_uid = 0;
	client_begin(&(struct client_options){ .limits = none });
	EXPECT_EQ(account_charge(1, ACCOUNT_REGIONS, &limit), -EDQUOT);
	bytes = slab_bytes();
	for (uid_t uid = 0; uid < 3000; uid++)
		EXPECT_EQ(account_charge(uid, ACCOUNT_REGIONS, &limit), -EDQUOT);
	EXPECT_EQ(slab_bytes(), bytes);
	client_end();
}

static void without_memory_nothing_is_charged(void)
{
	begin();
	inject_arm(INJECT_SLAB, 1, -ENOMEM);
	EXPECT_EQ(account_charge(1000, ACCOUNT_SESSIONS, &limit), -ENOMEM);
	inject_arm(INJECT_SLAB, 0, 0);
	EXPECT_EQ(account_total(ACCOUNT_SESSIONS), 0);
	client_end();
}

static const struct test_case cases[] = {
	{ "each kind has its limit", each_kind_has_its_limit },
	{ "uids don't share their limits", uids_have_their_own },
	{ "all sessions together have a limit", all_sessions_together_have_a_limit },
	{ "tools are counted apart, and get in when the sessions are taken",
	  tools_are_counted_apart },
	{ "what a uid's memory spans has a limit", the_span_of_a_uid_has_a_limit },
	{ "each user leaves half of the span to the next", each_user_leaves_span_to_the_next },
	{ "arenas leave room for the next ones", arenas_leave_room_for_the_next_ones },
	{ "a refusal leaves no account (U1)", a_refusal_leaves_no_account },
	{ "without memory nothing is charged", without_memory_nothing_is_charged },
};
TEST_MAIN(cases)
