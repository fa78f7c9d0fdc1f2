/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_alloc - alloc.c, alloc_failure.c, free_checked.c, split.c and tick.c: the gate
 */
#include "mm/balance/alloc.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/balance/split.h"
#include "mm/balance/tick.h"
#include "mm/phys/buddy.h"
#include "mm/phys/node.h"
#include "mmbroker.h"
#include "os/os.h"

static struct pool_zones    pool;
static struct alloc_failure failure;

static struct alloc_request request_of(uint32_t gfp, uint32_t order)
{
	return (struct alloc_request){
		.zones = &pool, .gfp = gfp, .order = order, .session = 7, .failure = &failure,
	};
}

static int take(uint32_t gfp, uint32_t order, struct page **out)
{
	struct alloc_request request = request_of(gfp, order);

	return alloc_pages(&request, out);
}

static void begin(unsigned int nr, uint64_t stock_mib, uint64_t arena_mib)
{
	phys_start(&(struct phys_setup){ .nr_nodes = nr, .base_mib = stock_mib });
	phys_pool(&pool, nr, arena_mib);
}

static void end(void)
{
	phys_expect_valid();
	phys_pool_end(&pool);
	phys_stop();
}

static void flags_are_those_of_the_public_interface(void)
{
	EXPECT_EQ(GFP_KERNEL, MMB_GFP_KERNEL);
	EXPECT_EQ(GFP_NOWAIT, MMB_GFP_NOWAIT);
	EXPECT_EQ(GFP_ATOMIC, MMB_GFP_ATOMIC);
	EXPECT_EQ(GFP_NORETRY, MMB_GFP_NORETRY);
	EXPECT_EQ(GFP_RETRY_MAYFAIL, MMB_GFP_RETRY_MAYFAIL);
	EXPECT_EQ(GFP_NOFAIL, MMB_GFP_NOFAIL);
	EXPECT_EQ(GFP_ZERO, MMB_GFP_ZERO);
	EXPECT_EQ(GFP_MOVABLE, MMB_GFP_MOVABLE);
	EXPECT_EQ(GFP_RECLAIMABLE, MMB_GFP_RECLAIMABLE);
	EXPECT_EQ(GFP_THISNODE, MMB_GFP_THISNODE);
}

static void every_order_is_aligned_to_its_size(void)
{
	begin(1, 64, 32);
	for (uint32_t order = 0; order <= MAX_ORDER; order++) {
		struct page *page;

		EXPECT_EQ(take(GFP_KERNEL, order, &page), 0);
		EXPECT(is_aligned(page_to_pfn(page), 1u << order));
		EXPECT_EQ(page_session(page), 7);
		free_pages(page, order);
	}
	end();
}

static void contradicting_requests_are_refused(void)
{
	static const uint32_t wrong[] = { GFP_MOVABLE | GFP_RECLAIMABLE, GFP_NOFAIL | GFP_NOWAIT,
					  GFP_NOFAIL | GFP_NORETRY, 512 };
	struct page *page;

	begin(1, 64, 32);
	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++)
		EXPECT_EQ(take(wrong[i], 0, &page), -EINVAL);
	EXPECT_EQ(take(GFP_KERNEL, MAX_ORDER + 1, &page), -EINVAL);
	EXPECT_EQ(failure.kind, ALLOC_FAILED_REQUEST);
	end();
}

/* The answers are the same; what no pageset may answer still goes the long way. */
static void prepared_requests_hit_the_pageset(void)
{
	struct alloc_request request = request_of(GFP_MOVABLE, 0);
	struct page         *page, *again;

	begin(1, 64, 32);
	alloc_prepare(&request);
	EXPECT_EQ(alloc_pages(&request, &page), 0);
	EXPECT_EQ(page_session(page), 7);
	free_pages(page, 0);
	EXPECT_EQ(page_session(page), 0);
	EXPECT_EQ(alloc_pages(&request, &again), 0);
	EXPECT(again == page);
	EXPECT_EQ(pg_load(again), pg_word(PG_ALLOCATED, 0, MIGRATE_MOVABLE));
	EXPECT_EQ(page_session(again), 7);
	free_pages(again, 0);
	inject_arm(INJECT_ALLOC_PAGES, 1, -ENOMEM);
	alloc_prepare(&request);
	EXPECT_EQ(alloc_pages(&request, &page), -ENOMEM);
	inject_arm(NR_INJECT_POINTS, 0, 0);
	request.gfp = GFP_MOVABLE | GFP_RECLAIMABLE;
	alloc_prepare(&request);
	EXPECT_EQ(alloc_pages(&request, &page), -EINVAL);
	request = request_of(GFP_KERNEL, MAX_ORDER + 1);
	alloc_prepare(&request);
	EXPECT_EQ(alloc_pages(&request, &page), -EINVAL);
	end();
}

static void nowait_uses_only_what_is_present(void)
{
	struct fake_os_calls before, after;
	struct page         *page, *second;

	begin(1, 64, 32);
	EXPECT_EQ(take(GFP_NOWAIT, 0, &page), -ENOMEM);
	EXPECT_EQ(failure.kind, ALLOC_FAILED_WATERMARK);
	EXPECT_EQ(take(GFP_KERNEL, 0, &page), 0);
	fake_os_calls(&before);
	EXPECT_EQ(take(GFP_NOWAIT, 4, &second), 0);
	fake_os_calls(&after);
	EXPECT_EQ(after.populate + after.populate_huge, before.populate + before.populate_huge);
	free_pages(page, 0);
	free_pages(second, 4);
	end();
}

static void zeroed_runs_read_zero(void)
{
	struct page *page;

	begin(1, 64, 32);
	EXPECT_EQ(take(GFP_KERNEL, 2, &page), 0);
	memset(page_to_virt(page), 0xff, 4 * PAGE_SIZE);
	free_pages(page, 2);
	EXPECT_EQ(take(GFP_KERNEL | GFP_ZERO, 2, &page), 0);
	for (int i = 0; i < 4 * PAGE_SIZE; i++)
		if (((char *)page_to_virt(page))[i])
			EXPECT_EQ(i, -1);
	free_pages(page, 2);
	end();
}

static void the_pool_grows_until_its_address_range_is_full(void)
{
	struct page *pages[64];
	unsigned int nr = 0;
	char         text[320];

	begin(1, 64, 16);
	while (nr < 64 && take(GFP_KERNEL, 9, &pages[nr]) == 0)
		nr++;
	EXPECT_EQ(nr, 8);
	EXPECT_EQ(failure.kind, ALLOC_FAILED_FULL);
	alloc_failure_format(&failure, text, sizeof(text));
	EXPECT(strstr(text, "order 9 on node 0") != NULL);
	for (unsigned int i = 0; i < nr; i++)
		free_pages(pages[i], 9);
	EXPECT_EQ(take(GFP_KERNEL, 10, &pages[0]), 0);
	free_pages(pages[0], 10);
	end();
}

static void the_commit_limit_is_named(void)
{
	struct page *pages[64];
	unsigned int nr = 0;

	begin(1, 32, 128);
	while (nr < 64 && take(GFP_KERNEL, 9, &pages[nr]) == 0)
		nr++;
	EXPECT(nr >= 12 && nr < 15);
	EXPECT(failure.kind == ALLOC_FAILED_COMMIT || failure.kind == ALLOC_FAILED_META);
	for (unsigned int i = 0; i < nr; i++)
		free_pages(pages[i], 9);
	end();
}

/* All but so many frames of a node's stock are committed; returns how many. */
static uint64_t commit_but(int node, uint64_t left)
{
	uint64_t nr = stock_available(node, STOCK_BASE) - left;

	EXPECT_EQ(stock_commit(node, STOCK_BASE, nr), 0);
	return nr;
}

static void reason_and_figures_are_of_one_node(void)
{
	struct alloc_request request = request_of(GFP_KERNEL, 9);
	struct page         *pages[32];
	unsigned int         nr = 0;
	uint64_t             committed;
	char                 text[256];

	begin(2, 32, 8);
	committed = commit_but(0, 500);
	while (nr < 32 && alloc_pages(&request, &pages[nr]) == 0)
		EXPECT_EQ(page_zone(pages[nr++])->node, 1);
	EXPECT(nr > 0 && nr < 32);
	/* Node 1's arena is full, and node 0's can't be filled. */
	EXPECT_EQ(failure.kind, ALLOC_FAILED_COMMIT);
	EXPECT_EQ(failure.node, 0);
	EXPECT(failure.commit_left < 500);
	free_pages(pages[--nr], 9);
	pcp_drain_all(pool.normal[1]);
	EXPECT_EQ(zone_shrink(pool.normal[1], 0, 64), 1);
	/* What describes node 1's frames is node 0's. */
	committed += commit_but(0, 0);
	request.node = 1;
	request.gfp |= GFP_THISNODE;
	EXPECT_EQ(alloc_pages(&request, &pages[nr]), -ENOMEM);
	EXPECT_EQ(failure.kind, ALLOC_FAILED_META);
	EXPECT_EQ(failure.node, 1);
	EXPECT_EQ(failure.commit_left, 0);
	alloc_failure_format(&failure, text, sizeof(text));
	EXPECT(strstr(text, "on node 1: node 0 has no memory left to describe"));
	EXPECT(strstr(text, "committable there 0 KiB"));
	while (nr)
		free_pages(pages[--nr], 9);
	stock_uncommit(0, STOCK_BASE, committed);
	end();
}

static void the_nearest_node_comes_first(void)
{
	struct alloc_request request = request_of(GFP_KERNEL, 9);
	struct zone_snapshot s;
	struct page         *pages[32];
	unsigned int         nr = 0;

	begin(2, 32, 32);
	request.node = 1;
	while (nr < 32 && alloc_pages(&request, &pages[nr]) == 0)
		nr++;
	EXPECT_EQ(page_zone(pages[0])->node, 1);
	EXPECT_EQ(page_zone(pages[nr - 1])->node, 0);
	zone_snapshot(pool.normal[0], &s);
	EXPECT(s.numa_miss > 0);
	EXPECT_EQ(s.numa_hit, 0);
	zone_snapshot(pool.normal[1], &s);
	EXPECT_EQ(s.numa_foreign, nr - s.numa_hit);
	for (unsigned int i = 0; i < nr; i++)
		free_pages(pages[i], 9);
	end();
}

static void thisnode_and_masks_bind(void)
{
	struct alloc_request request = request_of(GFP_KERNEL | GFP_THISNODE, 9);
	struct page         *pages[64];
	unsigned int         nr = 0;

	begin(2, 32, 32);
	while (nr < 64 && alloc_pages(&request, &pages[nr]) == 0) {
		EXPECT_EQ(page_zone(pages[nr])->node, 0);
		nr++;
	}
	EXPECT(nr < 16);
	request.gfp = GFP_KERNEL;
	request.nodes = 1 << 1;
	EXPECT_EQ(alloc_pages(&request, &pages[nr]), 0);
	EXPECT_EQ(page_zone(pages[nr])->node, 1);
	nr++;
	request.nodes = 1 << 5;
	EXPECT_EQ(alloc_pages(&request, &pages[nr]), -ENOMEM);
	EXPECT_EQ(failure.kind, ALLOC_FAILED_NODES);
	for (unsigned int i = 0; i < nr; i++)
		free_pages(pages[i], 9);
	end();
}

static void atomic_may_use_the_reserve(void)
{
	enum { NR = 2048 };
	static struct page *pages[NR];
	unsigned int        nr = 0, nr_atomic = 0;

	begin(1, 128, 64);
	while (nr < NR && take(GFP_KERNEL, 4, &pages[nr]) == 0)
		nr++;
	EXPECT_EQ(nr, (16384 - 64) / 16);
	EXPECT_EQ(take(GFP_NOWAIT, 4, &pages[nr]), -ENOMEM);
	while (take(GFP_ATOMIC, 4, &pages[nr]) == 0) {
		nr++;
		nr_atomic++;
	}
	EXPECT(nr_atomic >= 2 && nr_atomic < 4);
	EXPECT_EQ(take(GFP_KERNEL, 4, &pages[nr]), -ENOMEM);
	for (unsigned int i = 0; i < nr; i++)
		free_pages(pages[i], 4);
	end();
}

static void other_cpus_pagesets_are_drained_before_failing(void)
{
	struct page *page;

	begin(1, 64, 2);
	EXPECT_EQ(take(GFP_KERNEL, 0, &page), 0);
	free_pages(page, 0);
	EXPECT(pcp_nr_frames(pool.normal[0]) > 0);
	EXPECT_EQ(take(GFP_KERNEL, 9, &page), 0);
	free_pages(page, 9);
	end();
}

static void fragmentation_is_named(void)
{
	static struct page *pages[512];
	unsigned int        nr = 0;
	struct page        *page;

	begin(1, 64, 2);
	while (nr < 512 && take(GFP_KERNEL, 0, &pages[nr]) == 0)
		nr++;
	EXPECT_EQ(nr, 512);
	for (unsigned int i = 0; i < nr; i += 2)
		free_pages(pages[i], 0);
	EXPECT_EQ(take(GFP_KERNEL, 1, &page), -ENOMEM);
	EXPECT_EQ(failure.kind, ALLOC_FAILED_FRAGMENTED);
	for (unsigned int i = 1; i < nr; i += 2)
		free_pages(pages[i], 0);
	end();
}

static void nofail_waits_until_the_deadline(void)
{
	struct alloc_request request = request_of(GFP_NOFAIL, 9);
	struct page         *pages[16];
	unsigned int         nr = 0;

	begin(1, 64, 4);
	while (take(GFP_KERNEL, 9, &pages[nr]) == 0)
		nr++;
	request.deadline_ns = os->now_ns();
	EXPECT_EQ(alloc_pages(&request, &pages[nr]), -ENOMEM);
	for (unsigned int i = 0; i < nr; i++)
		free_pages(pages[i], 9);
	end();
}

static void *free_later(void *arg)
{
	struct timespec pause = { 0, 5000000 };

	nanosleep(&pause, NULL);
	free_pages(arg, 9);
	return NULL;
}

static void nofail_gets_what_is_freed_meanwhile(void)
{
	struct alloc_request request = request_of(GFP_NOFAIL, 9);
	struct page         *page, *second;
	pthread_t            thread;

	begin(1, 64, 2);
	EXPECT_EQ(take(GFP_KERNEL, 9, &page), 0);
	request.deadline_ns = UINT64_MAX;
	EXPECT_EQ(pthread_create(&thread, NULL, free_later, page), 0);
	EXPECT_EQ(alloc_pages(&request, &second), 0);
	pthread_join(thread, NULL);
	free_pages(second, 9);
	end();
}

static unsigned int nr_reclaims;
static bool somebody_waits;

static int refuse_all(void *arg, uint64_t frames)
{
	(void)arg, (void)frames;
	return -EDQUOT;
}

static void take_back_nothing(void *arg, uint64_t frames)
{
	(void)arg, (void)frames;
}

static uint64_t reclaim_in_vain(void *arg, uint64_t frames)
{
	(void)arg, (void)frames;
	nr_reclaims++;
	return 1;
}

static bool others_wait(void)
{
	return somebody_waits;
}

/* Each try may last for a tenth of a second: who keeps others out meanwhile leaves after one. */
static void who_holds_up_others_leaves(void)
{
	static const struct zone_charge stingy = { refuse_all, take_back_nothing,
						   reclaim_in_vain };
	struct alloc_request request = request_of(GFP_KERNEL, MAX_ORDER);
	struct section_request section = { .name = "arena", .nr_frames = 8192,
					   .type = SECTION_ARENA, .map = true };
	struct zone_request want = { .charge = &stingy };
	struct page *page;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(section_add(&section, &want.section), 0);
	pool = (struct pool_zones){ { NULL } };
	EXPECT_EQ(zone_new(&want, &pool.normal[0]), 0);
	request.others_wait = others_wait;
	EXPECT_EQ(alloc_pages(&request, &page), -ENOMEM);
	EXPECT(nr_reclaims > 1);
	nr_reclaims = 0;
	somebody_waits = true;
	EXPECT_EQ(alloc_pages(&request, &page), -EAGAIN);
	EXPECT_EQ(nr_reclaims, 1);
	zone_free(pool.normal[0]);
	section_remove(want.section);
	phys_expect_valid();
	phys_stop();
}

static void bulk_gives_what_there_is(void)
{
	struct alloc_request request = request_of(GFP_KERNEL, 0);
	static struct page  *pages[2000];
	int                  nr;

	begin(1, 64, 4);
	nr = alloc_pages_bulk(&request, 2000, pages);
	EXPECT_EQ(nr, 1024);
	EXPECT_EQ(alloc_pages_bulk(&request, 1, pages + nr), -ENOMEM);
	for (int i = 0; i < nr; i++)
		free_pages(pages[i], 0);
	end();
}

/* ---- clients' frees ---- */

static enum free_fault free_as(uint64_t session, uint64_t pfn, uint32_t order)
{
	struct free_request request = { .zones = &pool, .pfn = pfn, .order = order,
					.session = session };
	enum free_fault     fault;
	int                 r = free_pages_checked(&request, &fault);

	EXPECT_EQ(r, fault == FREE_OK ? 0 : -EINVAL);
	EXPECT(strlen(free_fault_text(fault)) > 0);
	return fault;
}

static void lies_about_frees_are_told_apart(void)
{
	static const uint32_t orders[] = { 0, 4, 9 };
	struct page          *page;
	uint64_t              pfn;

	begin(1, 64, 32);
	for (unsigned int i = 0; i < ARRAY_SIZE(orders); i++) {
		EXPECT_EQ(take(GFP_KERNEL, orders[i], &page), 0);
		pfn = page_to_pfn(page);
		EXPECT_EQ(free_as(8, pfn, orders[i]), FREE_FOREIGN);
		EXPECT_EQ(free_as(7, pfn, orders[i] + 1), FREE_WRONG_ORDER);
		if (orders[i])
			EXPECT_EQ(free_as(7, pfn + 1, 0), FREE_INSIDE);
		EXPECT_EQ(free_as(7, pfn, orders[i]), FREE_OK);
		EXPECT_EQ(free_as(7, pfn, orders[i]), FREE_DOUBLE);
		pcp_drain_all(pool.normal[0]);
		EXPECT_EQ(free_as(7, pfn, orders[i]), FREE_DOUBLE);
	}
	EXPECT_EQ(free_as(7, pool.normal[0]->end_pfn - 1, 0), FREE_ABSENT);
	EXPECT_EQ(free_as(7, pool.normal[0]->end_pfn, 0), FREE_FOREIGN);
	EXPECT_EQ(free_as(7, UINT64_MAX, 0), FREE_FOREIGN);
	EXPECT_EQ(free_as(7, 1ull << 32, 0), FREE_FOREIGN);
	end();
}

static void a_freed_run_has_no_owner(void)
{
	struct page *page;
	uint64_t     pfn;

	begin(1, 64, 32);
	EXPECT_EQ(take(GFP_KERNEL, 0, &page), 0);
	pfn = page_to_pfn(page);
	EXPECT_EQ(free_as(7, pfn, 0), FREE_OK);
	EXPECT_EQ(page_session(page), 0);
	/* As an allocation looks before its owner is set. */
	EXPECT(rmqueue(pool.normal[0], 0, MIGRATE_UNMOVABLE, 0) == page);
	EXPECT_EQ(free_as(7, pfn, 0), FREE_FOREIGN);
	EXPECT_EQ(free_as(0, pfn, 0), FREE_FOREIGN);
	free_pages(page, 0);
	end();
}

static void a_claim_can_be_taken_back(void)
{
	struct free_request request = { .zones = &pool, .session = 7 };
	enum free_fault     fault;
	struct page        *page, *claimed;

	begin(1, 64, 32);
	EXPECT_EQ(take(GFP_KERNEL, 0, &page), 0);
	request.pfn = page_to_pfn(page);
	EXPECT_EQ(page_claim(&request, &claimed, &fault), 0);
	EXPECT(claimed == page);
	EXPECT_EQ(page_claim(&request, &claimed, &fault), -EINVAL);
	EXPECT_EQ(fault, FREE_DOUBLE);
	page_unclaim(page);
	EXPECT_EQ(page_claim(&request, &claimed, &fault), 0);
	free_claimed_page(claimed);
	end();
}

enum { NR_FREERS = 3, NR_RUNS = 500 };
static uint64_t         contested[NR_RUNS];
static _Atomic uint32_t nr_won;

static void *free_all(void *arg)
{
	EXPECT_EQ(cpu_slot_register(0), 0);
	for (int i = 0; i < NR_RUNS; i++)
		if (free_as(7, contested[i], 0) == FREE_OK)
			nr_won++;
	pcp_cpu_dead(this_cpu());
	cpu_slot_unregister();
	return NULL;
}

static void of_several_frees_of_a_run_one_wins(void)
{
	pthread_t    threads[NR_FREERS];
	struct page *page;

	begin(1, 64, 32);
	nr_won = 0;
	for (int i = 0; i < NR_RUNS; i++) {
		EXPECT_EQ(take(GFP_KERNEL, 0, &page), 0);
		contested[i] = page_to_pfn(page);
	}
	for (int i = 0; i < NR_FREERS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, free_all, NULL), 0);
	for (int i = 0; i < NR_FREERS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(nr_won, NR_RUNS);
	end();
}

/* ---- background ---- */

static struct zone *low_zone;

static void note_low(struct zone *zone)
{
	low_zone = zone;
}

static void the_low_hook_is_called(void)
{
	struct page *page;

	begin(1, 64, 32);
	low_zone = NULL;
	balance_set_low_hook(note_low);
	EXPECT_EQ(take(GFP_NOWAIT, 0, &page), -ENOMEM);
	EXPECT(low_zone == pool.normal[0]);
	balance_zone(low_zone);
	EXPECT_EQ(take(GFP_NOWAIT, 0, &page), 0);
	free_pages(page, 0);
	balance_set_low_hook(NULL);
	end();
}

static void idle_pools_give_their_memory_back(void)
{
	struct page *pages[8], *one;
	uint64_t     given = 0;

	begin(1, 64, 32);
	EXPECT_EQ(take(GFP_KERNEL, 0, &one), 0);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(take(GFP_KERNEL, 9, &pages[i]), 0);
	EXPECT_EQ(balance_tick(), 0);
	for (int i = 0; i < 8; i++)
		free_pages(pages[i], 9);
	/* What was empty for one tick only stays. */
	EXPECT_EQ(balance_tick(), 0);
	for (int i = 0; i < 3; i++)
		given += balance_tick();
	EXPECT(given >= 6 * PAGEBLOCK_PAGES);
	EXPECT(pool.normal[0]->present <= 3 * PAGEBLOCK_PAGES);
	phys_expect_valid();
	free_pages(one, 0);
	for (int i = 0; i < 4; i++)
		balance_tick();
	EXPECT_EQ(pool.normal[0]->present, 0);
	end();
}

static void trim_gives_back_at_once(void)
{
	struct page *page;

	begin(1, 64, 32);
	EXPECT_EQ(take(GFP_KERNEL, 9, &page), 0);
	free_pages(page, 9);
	EXPECT(balance_trim(pool.normal[0]) >= PAGEBLOCK_PAGES);
	EXPECT_EQ(pool.normal[0]->present, 0);
	end();
}

static void every_failing_step_leaves_the_counters_as_they_were(void)
{
	struct stock_snapshot before, after;
	uint64_t              k = 1;
	struct page          *page;

	phys_start(&(struct phys_setup){ .base_mib = 64, .mode = STOCK_HOLD });
	phys_pool(&pool, 1, 32);
	stock_snapshot(0, STOCK_BASE, &before);
	for (;; k++) {
		int r;

		inject_arm(NR_INJECT_POINTS, k, -ENOMEM);
		r = take(GFP_NORETRY | GFP_ZERO, 9, &page);
		inject_arm(NR_INJECT_POINTS, 0, 0);
		if (!r)
			free_pages(page, 9);
		balance_trim(pool.normal[0]);
		stock_snapshot(0, STOCK_BASE, &after);
		EXPECT_EQ(after.present, before.present);
		EXPECT_EQ(after.committed, before.committed);
		phys_expect_valid();
		if (!r && k > 20)
			break;
	}
	end();
}

static void a_block_is_split_into_blocks(void)
{
	struct alloc_request request = request_of(0, MAX_ORDER);
	struct free_request  foreign = { .zones = &pool, .order = 4, .session = 7 };
	enum free_fault      fault;
	struct page         *page, *claimed;

	begin(1, 64, 32);
	request.session = 0;
	for (unsigned int order = 0; order <= MAX_ORDER; order++) {
		EXPECT_EQ(alloc_pages(&request, &page), 0);
		split_page(page, order);
		phys_expect_valid();
		for (uint32_t i = 0; i < 1u << MAX_ORDER; i += 1u << order) {
			EXPECT_EQ(pg_order(page + i), order);
			EXPECT_EQ(pg_state(page + i), PG_ALLOCATED);
			EXPECT(page_head(page + i + (1u << order) - 1) == page + i);
			foreign.pfn = page_to_pfn(page + i);
			EXPECT_EQ(page_claim(&foreign, &claimed, &fault), -EINVAL);
			free_pages(page + i, order);
		}
	}
	end();
}

static const struct test_case cases[] = {
	{ "a block is split into blocks, each freed for itself", a_block_is_split_into_blocks },
	{ "flags are those of the public interface", flags_are_those_of_the_public_interface },
	{ "every order is aligned to its size", every_order_is_aligned_to_its_size },
	{ "contradicting requests are refused", contradicting_requests_are_refused },
	{ "prepared requests hit the pageset", prepared_requests_hit_the_pageset },
	{ "NOWAIT uses only what is present", nowait_uses_only_what_is_present },
	{ "zeroed runs read zero", zeroed_runs_read_zero },
	{ "the pool grows until its address range is full",
	  the_pool_grows_until_its_address_range_is_full },
	{ "the commit limit is named", the_commit_limit_is_named },
	{ "a refusal's reason and figures are of one node", reason_and_figures_are_of_one_node },
	{ "the nearest node comes first", the_nearest_node_comes_first },
	{ "THISNODE and masks bind", thisnode_and_masks_bind },
	{ "ATOMIC may use the reserve", atomic_may_use_the_reserve },
	{ "other CPUs' pagesets are drained before failing",
	  other_cpus_pagesets_are_drained_before_failing },
	{ "fragmentation is named", fragmentation_is_named },
	{ "NOFAIL waits until the deadline", nofail_waits_until_the_deadline },
	{ "NOFAIL gets what is freed meanwhile", nofail_gets_what_is_freed_meanwhile },
	{ "who holds up others leaves after a try", who_holds_up_others_leaves },
	{ "bulk gives what there is", bulk_gives_what_there_is },
	{ "lies about frees are told apart", lies_about_frees_are_told_apart },
	{ "a freed run has no owner", a_freed_run_has_no_owner },
	{ "a claim can be taken back", a_claim_can_be_taken_back },
	{ "of several frees of a run one wins", of_several_frees_of_a_run_one_wins },
	{ "the low hook is called", the_low_hook_is_called },
	{ "idle pools give their memory back", idle_pools_give_their_memory_back },
	{ "trim gives back at once", trim_gives_back_at_once },
	{ "every failing step leaves the counters as they were",
	  every_failing_step_leaves_the_counters_as_they_were },
};
TEST_MAIN(cases)
