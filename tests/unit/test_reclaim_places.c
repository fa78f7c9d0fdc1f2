/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_reclaim_places - whose frames go where several nodes and several pools have some, and what
 *                       they were promised: reclaim.c, quota.c
 */
#include "mm/space/reclaim.h"

#include <errno.h>
#include <pthread.h>

#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/map/memcg.h"
#include "mm/space/residency.h"

enum { NR = 1024, NR_FULL = 8, SWAP_MIB = 16 };

static struct region *new_region(const struct region_request *want)
{
	struct region_refusal why;
	struct region *region;

	EXPECT_EQ(region_new(want, &region, &why), 0);
	return region;
}

static struct region *half_full_on(int node)
{
	struct region_request want = { .name = "", .nr_pages = NR, .page_shift = PAGE_SHIFT,
				       .policy = POLICY_BIND, .node_mask = 1ull << node };
	struct region *region = new_region(&want);

	EXPECT_EQ(region_populate(region, (struct page_range){ 0, NR / 2 }), 0);
	return region;
}

/* Frames of another node would be of no use. */
static void what_is_short_on_a_node_is_made_there(void)
{
	struct region *far, *near;

	space_begin(&(struct space_options){ .nr_nodes = 2, .swap_mib = SWAP_MIB });
	far = half_full_on(1);
	near = half_full_on(0);
	EXPECT(reclaim_for(near));
	EXPECT(space_present(0, STOCK_BASE) < NR / 2);
	EXPECT_EQ(space_present(1, STOCK_BASE), NR / 2);
	space_drop_region(far);
	space_drop_region(near);
	space_end_swap();
}

static struct memcg full;
static uint64_t frozen_ns;

static void fill(struct region *region)
{
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, NR_FULL }), 0);
	for (uint64_t i = 0; i < NR_FULL; i++) {
		uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)] = { i + 1 };

		EXPECT_EQ(os->write(region->section->fd, i << PAGE_SHIFT, bytes, PAGE_SIZE), 0);
	}
}

/* At its max, and without a slot. */
static struct region *full_region(void)
{
	struct region_request want = { .name = "", .page_shift = PAGE_SHIFT,
				       .nr_pages = NR_FULL, .memcg = &full };
	struct region *region;

	memcg_init(&full, 3);
	region = new_region(&want);
	fill(region);
	memcg_set_limit(&full, MEMCG_SWAP_MAX, 0);
	memcg_set_limit(&full, MEMCG_MAX, NR_FULL);
	return region;
}

static uint64_t stands_still(void)
{
	return frozen_ns;
}

static bool has_run(void *rounds)
{
	return atomic_load(&reclaim_stats.pageoutrun) != *(uint64_t *)rounds;
}

static bool gets_room(void *other)
{
	reclaim_poke(other, 0);
	return memcg_margin(memcg_root()) > 0;
}

/* Nothing of it can go, and for a while nobody tries. */
static void a_pool_at_its_end_keeps_no_other_waiting(void)
{
	uint64_t rounds = atomic_load(&reclaim_stats.pageoutrun);
	struct region *hopeless, *other;
	const struct os_ops *before;
	struct os_ops still;

	space_begin(&(struct space_options){ .swap_mib = SWAP_MIB });
	hopeless = full_region();
	other = space_region(NR, PAGE_SHIFT);
	EXPECT_EQ(region_populate(other, (struct page_range){ 0, NR }), 0);
	before = os;
	still = *os;
	frozen_ns = os->now_ns();
	still.now_ns = stands_still;
	os = &still;
	EXPECT_EQ(kswapd_start(), 0);
	reclaim_poke(hopeless, 0);
	EXPECT(test_wait(has_run, &rounds, 60));
	memcg_set_limit(memcg_root(), MEMCG_MAX, NR);
	EXPECT(test_wait(gets_room, other, 20));
	EXPECT_EQ(memcg_margin(&full), 0);
	memcg_set_limit(memcg_root(), MEMCG_MAX, MEMCG_NO_LIMIT);
	kswapd_stop();
	os = before;
	space_drop_region(other);
	space_drop_region(hopeless);
	memcg_fini(&full);
	space_end_swap();
}

/* Its slots are taken from what others can be promised. */
static void what_is_out_keeps_its_promise(void)
{
	const struct page_range first = { 0, NR_FULL }, next = { NR_FULL, 1 };
	struct region_request want = { .name = "", .page_shift = PAGE_SHIFT, .nr_pages = NR,
				       .overcommit = true };
	struct region *region;

	space_begin(&(struct space_options){ .swap_mib = SWAP_MIB });
	region = new_region(&want);
	EXPECT_EQ(atomic_load(&region->committed[0]), 0);
	fill(region);
	EXPECT_EQ(reclaim_range(region, first), NR_FULL);
	EXPECT_EQ(atomic_load(&region->committed[0]), NR_FULL);
	EXPECT_EQ(region_populate(region, next), 0);
	EXPECT_EQ(atomic_load(&region->committed[0]), NR_FULL + 1);
	EXPECT_EQ(region_populate(region, first), 0);
	EXPECT_EQ(atomic_load(&region->committed[0]), NR_FULL + 1);
	EXPECT_EQ(region_drop(region, first), 0);
	region_return_promises(region);
	EXPECT_EQ(atomic_load(&region->committed[0]), 1);
	space_drop_region(region);
	space_end_swap();
}

/* Where its own node has nothing to promise another's frames aren't taken. */
static void what_is_bound_and_overcommits_stays_on_its_nodes(void)
{
	struct region_request want = { .name = "", .page_shift = PAGE_SHIFT, .nr_pages = NR,
				       .policy = POLICY_BIND, .node_mask = 2, .overcommit = true };
	struct region *region;
	uint64_t left;

	space_begin(&(struct space_options){ .nr_nodes = 2 });
	region = new_region(&want);
	left = stock_available(1, STOCK_BASE);
	EXPECT_EQ(stock_commit(1, STOCK_BASE, left), 0);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, 1 }), -ENOMEM);
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	stock_uncommit(1, STOCK_BASE, left);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, 1 }), 0);
	EXPECT_EQ(atomic_load(&region->committed[1]), 1);
	space_drop_region(region);
	space_end();
}

enum { ROUNDS = 600 * 1000 };

static struct promise_share all_stays = { .max = PROMISE_NO_MAX };
static const struct stock_place staying = { .kind = STOCK_BASE, .share = &all_stays };
static _Atomic bool done;

static void *lock_and_unlock(void *arg)
{
	const uint64_t *nr = arg;

	for (int i = 0; i < ROUNDS; i++) {
		EXPECT_EQ(stock_fix(&staying, *nr), 0);
		stock_unfix(&staying, *nr);
	}
	atomic_store(&done, true);
	return arg;
}

/* What is unlocked, and stays for its pool's swap_max, is nobody's for a moment either. */
static void what_stays_is_never_to_be_had(void)
{
	uint64_t nr, got = 0;
	pthread_t thread;

	space_begin(&(struct space_options){ .swap_mib = SWAP_MIB });
	nr = stock_available_evictable(&staying);
	EXPECT_EQ(stock_commit_evictable(&staying, nr), 0);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	/* More than the floor, which what is evictable keeps. */
	EXPECT_EQ(pthread_create(&thread, NULL, lock_and_unlock, &nr), 0);
	while (!atomic_load(&done))
		got += !stock_commit(0, STOCK_BASE, 1);
	EXPECT_EQ(pthread_join(thread, NULL), 0);
	EXPECT_EQ(got, 0);
	stock_uncommit(0, STOCK_BASE, got);
	stock_uncommit_evictable(&staying, nr);
	space_end_swap();
}

/* One node has frames for what stays then, and the other has none. */
static void what_is_refused_on_a_node_changes_no_other(void)
{
	struct promise_share share = { .max = PROMISE_NO_MAX };
	const struct stock_place near = { .kind = STOCK_BASE, .share = &share };
	const struct stock_place far = { .node = 1, .kind = STOCK_BASE, .share = &share };
	uint64_t half, rest, free;

	space_begin(&(struct space_options){ .nr_nodes = 2, .swap_mib = SWAP_MIB });
	half = stock_available(1, STOCK_BASE) / 2;
	rest = stock_available(1, STOCK_BASE) - half;
	EXPECT_EQ(promise_goes(&share, half, half), 0);
	EXPECT_EQ(stock_commit_evictable(&near, half), 0);
	EXPECT_EQ(stock_commit(1, STOCK_BASE, rest), 0);
	free = stock_available(0, STOCK_BASE);
	EXPECT_EQ(stock_commit_evictable(&far, half + 1), -ENOMEM);
	EXPECT_EQ(stock_available(0, STOCK_BASE), free);
	EXPECT_EQ(stock_available(1, STOCK_BASE), half);
	space_expect_valid(NULL, NULL);
	EXPECT_EQ(stock_commit_evictable(&far, half), 0);
	EXPECT(stock_available(0, STOCK_BASE) < free);
	EXPECT_EQ(promise_goes(&share, 0, 0), 0);
	EXPECT_EQ(promise_goes(&share, 2 * half, 2 * half), 0);
	EXPECT_EQ(stock_available(0, STOCK_BASE), free);
	stock_uncommit_evictable(&far, half);
	stock_uncommit_evictable(&near, half);
	stock_uncommit(1, STOCK_BASE, rest);
	space_end_swap();
}

static const struct test_case cases[] = {
	{ "what is out of a region that overcommits keeps its promise (Q2)",
	  what_is_out_keeps_its_promise },
	{ "what is bound and overcommits stays on its nodes",
	  what_is_bound_and_overcommits_stays_on_its_nodes },
	{ "what stays is never to be had by others (P4)", what_stays_is_never_to_be_had },
	{ "what is refused on a node changes no other",
	  what_is_refused_on_a_node_changes_no_other },
	{ "who is short on a node gets frames of that one", what_is_short_on_a_node_is_made_there },
	{ "a pool at its end keeps no other waiting", a_pool_at_its_end_keeps_no_other_waiting },
};
TEST_MAIN(cases)
