/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_memcg - charging, limits, protection and the list of pools' memcgs
 */
#include "mm/map/memcg.h"

#include <errno.h>
#include <pthread.h>

#include "lib/fake_os.h"
#include "lib/test.h"

enum { NR_THREADS = 4, ROUNDS = 20000 };

static struct memcg a, b;

static void begin(void)
{
	fake_os_install();
	memcg_init(&a, 7);
}

static void expect_counts(const uint64_t counted[NR_MEMCG_KINDS])
{
	struct validation v = { 0 };

	memcg_validate(&a, counted, &v);
	EXPECT(v.nr_checked > 0);
	EXPECT_EQ(v.nr_differences, 0);
}

static void each_kind_is_counted_and_checked(void)
{
	begin();
	memcg_set_limit(&a, MEMCG_MAX, 100);
	memcg_set_limit(&a, MEMCG_SWAP_MAX, 10);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 60), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, 30), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 11), -ENOMEM);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, 11), -ENOMEM);
	EXPECT_EQ(memcg_charge(&a, MEMCG_LOCKED, 60), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_SWAP, 10), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_SWAP, 1), -ENOSPC);
	expect_counts((uint64_t[NR_MEMCG_KINDS]){ 60, 30, 60, 10 });
	EXPECT_EQ(memcg_usage(&a), 90);
	EXPECT_EQ(memcg_margin(&a), 10);
	EXPECT_EQ(atomic_load(&a.events[MEMCG_EVENT_MAX]), 2);
	EXPECT_EQ(atomic_load(&a.events[MEMCG_EVENT_SWAP_MAX]), 1);
	/* Locked frames and the arena can't be reclaimed: together they stay below max. */
	memcg_uncharge(&a, MEMCG_LOCKED, 60);
	memcg_uncharge(&a, MEMCG_REGION, 60);
	EXPECT_EQ(memcg_charge(&a, MEMCG_LOCKED, 71), -ENOMEM);
	memcg_uncharge(&a, MEMCG_ARENA, 30);
	memcg_uncharge(&a, MEMCG_SWAP, 10);
	expect_counts((uint64_t[NR_MEMCG_KINDS]){ 0 });
	EXPECT_EQ(atomic_load(&a.peak), 90);
	memcg_fini(&a);
}

static void slots_are_charged_as_far_as_there_is_room(void)
{
	begin();
	memcg_set_limit(&a, MEMCG_SWAP_MAX, 10);
	EXPECT_EQ(memcg_charge_slots(&a, 4, 1), 4);
	EXPECT_EQ(atomic_load(&a.events[MEMCG_EVENT_SWAP_MAX]), 0);
	EXPECT_EQ(memcg_charge_slots(&a, 4, 2), 3);
	EXPECT_EQ(memcg_charge_slots(&a, 1, 1), 0);
	EXPECT_EQ(atomic_load(&a.events[MEMCG_EVENT_SWAP_MAX]), 2);
	expect_counts((uint64_t[NR_MEMCG_KINDS]){ [MEMCG_SWAP] = 10 });
	memcg_uncharge(&a, MEMCG_SWAP, 10);
	memcg_fini(&a);
}

static void a_refused_charge_changes_nothing(void)
{
	begin();
	memcg_set_limit(&a, MEMCG_MAX, 10);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, UINT64_MAX), -ENOMEM);
	EXPECT_EQ(memcg_charge(&a, MEMCG_LOCKED, 9), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, 2), -ENOMEM); /* within usage, not within pinned */
	expect_counts((uint64_t[NR_MEMCG_KINDS]){ [MEMCG_LOCKED] = 9 });
	memcg_uncharge(&a, MEMCG_LOCKED, 9);
	memcg_set_limit(&a, MEMCG_SWAP_MAX, 3);
	memcg_charge_shared_swap(&a, 5); /* others share them with it */
	EXPECT_EQ(memcg_charge(&a, MEMCG_SWAP, 1), -ENOSPC);
	expect_counts((uint64_t[NR_MEMCG_KINDS]){ [MEMCG_SWAP] = 5 });
	memcg_uncharge(&a, MEMCG_SWAP, 5);
	memcg_fini(&a);
}

static void a_lowered_limit_stops_growth_only(void)
{
	begin();
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 50), 0);
	memcg_set_limit(&a, MEMCG_MAX, 20);
	memcg_set_limit(&a, MEMCG_HIGH, 10);
	EXPECT_EQ(memcg_usage(&a), 50);
	EXPECT_EQ(memcg_excess(&a), 40);
	EXPECT_EQ(memcg_margin(&a), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 1), -ENOMEM);
	memcg_uncharge(&a, MEMCG_REGION, 31);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 1), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 1), -ENOMEM);
	memcg_set_limit(&a, MEMCG_MAX, MEMCG_NO_LIMIT);
	memcg_set_limit(&a, MEMCG_HIGH, MEMCG_NO_LIMIT);
	EXPECT_EQ(memcg_excess(&a), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 1000), 0);
	memcg_uncharge(&a, MEMCG_REGION, 1020);
	memcg_fini(&a);
}

/* What is promised to regions can be brought in, whatever else the pool has. */
static void what_is_evictable_keeps_a_floor(void)
{
	const uint64_t kept = 1000 / 8, huge_kept = 4 * PAGEBLOCK_PAGES;

	begin();
	memcg_set_limit(&a, MEMCG_MAX, 1000);
	EXPECT_EQ(memcg_promise(&a, 5000, false), 0);
	EXPECT_EQ(memcg_kept(&a, 1000), kept);
	EXPECT_EQ(memcg_kept(&a, MEMCG_NO_LIMIT), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, 1000 - kept + 1), -ENOMEM);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, 1000 - kept), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_LOCKED, 1), -ENOMEM);
	EXPECT_EQ(memcg_usage(&a), 1000 - kept);
	memcg_unpromise(&a, 5000, false);

	/* Beside what is pinned: all that fits, else none of it. */
	EXPECT_EQ(memcg_promise(&a, 1, false), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, kept), -ENOMEM);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, kept - 1), 0);
	EXPECT_EQ(memcg_promise(&a, 1, false), -ENOMEM);
	EXPECT_EQ(memcg_charge(&a, MEMCG_LOCKED, 1), 0); /* then it isn't evictable any more */
	memcg_uncharge(&a, MEMCG_LOCKED, 1);
	memcg_uncharge(&a, MEMCG_ARENA, 999);
	memcg_unpromise(&a, 1, false);

	/* Huge pages need more. */
	memcg_set_limit(&a, MEMCG_MAX, 2 * huge_kept);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, huge_kept + 1), 0);
	EXPECT_EQ(memcg_promise(&a, 4 * huge_kept, true), -ENOMEM);
	EXPECT_EQ(memcg_promise(&a, 4 * huge_kept, false), 0);
	memcg_unpromise(&a, 4 * huge_kept, false);
	memcg_uncharge(&a, MEMCG_ARENA, 1);
	EXPECT_EQ(memcg_promise(&a, 4 * huge_kept, true), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, 1), -ENOMEM);
	atomic_store(&a.overcommit, true); /* the policy decides */
	EXPECT_EQ(memcg_charge(&a, MEMCG_ARENA, 1), 0);
	memcg_uncharge(&a, MEMCG_ARENA, huge_kept + 1);
	memcg_unpromise(&a, 4 * huge_kept, true);
	memcg_fini(&a);
}

static void protection_decides_what_is_scanned(void)
{
	begin();
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 1000), 0);
	EXPECT_EQ(memcg_scan_share(&a, 800, false), 800);
	memcg_set_limit(&a, MEMCG_LOW, 500);
	EXPECT_EQ(memcg_scan_share(&a, 800, false), 400);
	EXPECT_EQ(memcg_scan_share(&a, 800, true), 800);
	memcg_set_limit(&a, MEMCG_MIN, 750);
	EXPECT_EQ(memcg_scan_share(&a, 800, true), 200);
	memcg_set_limit(&a, MEMCG_MIN, 999);
	EXPECT_EQ(memcg_scan_share(&a, 800, true), 32);
	EXPECT_EQ(memcg_scan_share(&a, 8, true), 8);
	memcg_set_limit(&a, MEMCG_MIN, 1000);
	EXPECT_EQ(memcg_scan_share(&a, 800, true), 0);
	memcg_set_limit(&a, MEMCG_MIN, MEMCG_NO_LIMIT); /* no protection */
	memcg_set_limit(&a, MEMCG_LOW, 1001);
	EXPECT_EQ(memcg_scan_share(&a, 800, false), 0);
	EXPECT_EQ(memcg_scan_share(&a, 800, true), 800);
	memcg_uncharge(&a, MEMCG_REGION, 1000);
	memcg_fini(&a);
}

static void what_others_take_leaves_the_protected(void)
{
	begin();
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 1000), 0);
	EXPECT_EQ(memcg_take_for_others(&a, 700, false), 700);
	EXPECT_EQ(memcg_take_for_others(&a, 700, false), 300);
	EXPECT_EQ(memcg_take_for_others(&a, 1, false), 0);
	memcg_taken(&a, 1000);
	memcg_set_limit(&a, MEMCG_MIN, 600);
	memcg_set_limit(&a, MEMCG_LOW, 900);
	EXPECT_EQ(memcg_take_for_others(&a, 512, false), 100);
	EXPECT_EQ(memcg_take_for_others(&a, 512, false), 0);
	EXPECT_EQ(memcg_take_for_others(&a, 512, true), 300);
	memcg_uncharge(&a, MEMCG_REGION, 400); /* they have gone, but nobody has said so */
	EXPECT_EQ(memcg_take_for_others(&a, 1, true), 0);
	memcg_taken(&a, 400);
	EXPECT_EQ(memcg_take_for_others(&a, 1, true), 0);
	memcg_uncharge(&a, MEMCG_REGION, 600);
	memcg_fini(&a);
}

static void above_high_delays_grow_with_the_square_of_the_excess(void)
{
	const uint64_t ms = 1000 * 1000;
	uint64_t small;

	begin();
	memcg_set_limit(&a, MEMCG_HIGH, 1000);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 1000), 0);
	EXPECT_EQ(memcg_delay_ns(&a, 512), 0);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 100), 0); /* a tenth */
	small = memcg_delay_ns(&a, 1);
	EXPECT(small >= 9 * ms && small <= 11 * ms);
	EXPECT_EQ(memcg_delay_ns(&a, 10), 10 * small);
	EXPECT_EQ(memcg_charge(&a, MEMCG_REGION, 100), 0);
	EXPECT(memcg_delay_ns(&a, 1) >= 4 * small - ms);
	EXPECT_EQ(memcg_delay_ns(&a, UINT64_MAX), 2000 * ms); /* bounded */
	EXPECT_EQ(atomic_load(&a.events[MEMCG_EVENT_HIGH]), 4);
	memcg_uncharge(&a, MEMCG_REGION, 1200);
	memcg_fini(&a);
}

static void *charge_and_uncharge(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t frames = 1 + (uint64_t)i % 7;

		if (memcg_charge(&a, MEMCG_REGION, frames))
			continue;
		CHECK(memcg_usage(&a) <= 16);
		if (!memcg_charge(&a, MEMCG_LOCKED, frames))
			memcg_uncharge(&a, MEMCG_LOCKED, frames);
		memcg_uncharge(&a, MEMCG_REGION, frames);
	}
	return unused;
}

static void threads_never_get_past_a_limit(void)
{
	pthread_t threads[NR_THREADS];

	begin();
	memcg_set_limit(&a, MEMCG_MAX, 16);
	for (int i = 0; i < NR_THREADS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, charge_and_uncharge, NULL), 0);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	expect_counts((uint64_t[NR_MEMCG_KINDS]){ 0 });
	EXPECT(atomic_load(&a.peak) <= 16);
	memcg_fini(&a);
}

static void *end_a(void *ended)
{
	memcg_fini(&a);
	atomic_store((_Atomic bool *)ended, true);
	return NULL;
}

static void a_walk_sees_all_and_holds_the_one_it_is_at(void)
{
	_Atomic bool ended = false;
	struct memcg *m;
	pthread_t thread;

	begin();
	memcg_init(&b, 8);
	m = memcg_walk_next(NULL);
	EXPECT_EQ(m->id, 0);
	m = memcg_walk_next(m);
	EXPECT_EQ(m->id, 7);
	EXPECT_EQ(pthread_create(&thread, NULL, end_a, &ended), 0);
	EXPECT(!atomic_load(&ended));
	m = memcg_walk_next(m);
	EXPECT_EQ(m->id, 8);
	pthread_join(thread, NULL);
	EXPECT(atomic_load(&ended));
	EXPECT(!memcg_walk_next(m));
	m = memcg_walk_next(NULL);
	EXPECT(m == memcg_root());
	memcg_walk_end(m);
	memcg_fini(&b);
}

static void stalls_count_for_the_pool_and_the_session(void)
{
	struct psi_snapshot s;
	struct psi session;

	begin();
	psi_init(&session, os->now_ns());
	memstall_enter(&a, &session);
	memstall_enter(&a, NULL);
	fake_os_advance_ns(5000);
	EXPECT_EQ(a.psi.nr_stalled, 2);
	EXPECT_EQ(session.nr_stalled, 1);
	memstall_leave(&a, &session);
	memstall_leave(&a, NULL);
	psi_snapshot(&a.psi, os->now_ns(), &s);
	EXPECT_EQ(a.psi.nr_stalled + session.nr_stalled, 0);
	EXPECT_EQ(s.total_us[PSI_FULL], 5);
	EXPECT_EQ(s.total_us[PSI_SOME], 5);
	psi_fini(&session);
	memcg_fini(&a);
}

static const struct test_case cases[] = {
	{ "each kind is counted and has its limit (C1)", each_kind_is_counted_and_checked },
	{ "slots are charged as far as swap_max has room",
	  slots_are_charged_as_far_as_there_is_room },
	{ "a refused charge changes nothing (C3)", a_refused_charge_changes_nothing },
	{ "a lowered limit stops growth and takes nothing (C3)",
	  a_lowered_limit_stops_growth_only },
	{ "what is evictable keeps frames that nothing pinned may take (C4)",
	  what_is_evictable_keeps_a_floor },
	{ "min and low protect in proportion", protection_decides_what_is_scanned },
	{ "what others take leaves what is protected, whoever they are",
	  what_others_take_leaves_the_protected },
	{ "above high delays grow with the square of the excess",
	  above_high_delays_grow_with_the_square_of_the_excess },
	{ "threads that charge never get past max", threads_never_get_past_a_limit },
	{ "a walk sees all; one that is looked at doesn't end (C5)",
	  a_walk_sees_all_and_holds_the_one_it_is_at },
	{ "a stall is the pool's and the session's", stalls_count_for_the_pool_and_the_session },
};
TEST_MAIN(cases)
