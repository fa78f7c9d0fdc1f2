/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_zone_model - alloc.c, free_checked.c, tick.c and zone_grow.c against a table of runs
 *
 * Random requests with all flags on two pools of two nodes, frees by clients that lie now and then,
 * background work in between; against a table of the runs that were granted.
 */
#include <errno.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/balance/tick.h"

enum { NR_SEEDS = 20, NR_STEPS = 2000, NR_POOLS = 2, NR_RUNS_MAX = 400 };

struct run {
	uint64_t     pfn;
	uint32_t     order;
	unsigned int pool;
};

static struct pool_zones pools[NR_POOLS];
static struct run        runs[NR_RUNS_MAX];
static unsigned int      nr_runs;

static bool overlaps(const struct run *a, const struct run *b)
{
	return a->pfn < b->pfn + (1u << b->order) && b->pfn < a->pfn + (1u << a->order);
}

static void take(uint64_t *random)
{
	unsigned int         pool = (unsigned int)(test_random(random) % NR_POOLS);
	struct alloc_request request = {
		.zones = &pools[pool],
		.node = (int)(test_random(random) % 2),
		.nodes = test_random(random) % 4,
		.gfp = (uint32_t)test_random(random) & GFP_ALL & ~(GFP_NOFAIL | GFP_RETRY_MAYFAIL),
		.order = (uint32_t)(test_random(random) % (NR_ORDERS + 1)),
		.session = pool + 1,
		.pool = pool,
	};
	struct page *page;
	struct run   run;
	int          r;

	if (nr_runs == NR_RUNS_MAX)
		return;
	if (test_random(random) % 3)
		request.order %= 4;
	r = alloc_pages(&request, &page);
	if (r) {
		EXPECT(r == -ENOMEM || r == -EINVAL);
		return;
	}
	EXPECT(request.order <= MAX_ORDER);
	run = (struct run){ page_to_pfn(page), request.order, pool };
	for (unsigned int i = 0; i < nr_runs; i++)
		if (overlaps(&run, &runs[i]))
			EXPECT_EQ(run.pfn, UINT64_MAX);
	EXPECT(!request.nodes || request.nodes & 1ull << page_zone(page)->node);
	EXPECT(!(request.gfp & GFP_THISNODE) || page_zone(page)->node == request.node);
	runs[nr_runs++] = run;
}

static struct run *find_run(uint64_t pfn)
{
	for (unsigned int i = 0; i < nr_runs; i++)
		if (runs[i].pfn == pfn)
			return &runs[i];
	return NULL;
}

static void give(uint64_t *random)
{
	unsigned int        at = (unsigned int)(test_random(random) % (nr_runs + 1));
	struct free_request request = { .order = (uint32_t)(test_random(random) % NR_ORDERS) };
	bool                lie = at == nr_runs || test_random(random) % 4 == 0;
	unsigned int        pool = (unsigned int)(test_random(random) % NR_POOLS);
	enum free_fault     fault;
	struct run         *run;
	int                 r;

	if (lie) {
		struct zone *zone = pools[pool].normal[test_random(random) % 2];

		request.pfn = zone->start_pfn + test_random(random) % 20000 - 1000;
	} else {
		pool = runs[at].pool;
		request.pfn = runs[at].pfn;
		request.order = runs[at].order;
	}
	request.zones = &pools[pool];
	request.session = pool + 1;
	r = free_pages_checked(&request, &fault);
	run = find_run(request.pfn);
	if (run && run->pool == pool && run->order == request.order) {
		EXPECT_EQ(r, 0);
		*run = runs[--nr_runs];
	} else {
		EXPECT_EQ(r, -EINVAL);
		EXPECT(fault != FREE_OK);
	}
}

static void step(uint64_t *random)
{
	uint64_t dice = test_random(random) % 100;

	if (dice < 3)
		inject_arm(NR_INJECT_POINTS, 1 + test_random(random) % 5, -ENOMEM);
	if (dice < 55)
		take(random);
	else if (dice < 93)
		give(random);
	else if (dice < 96)
		balance_tick();
	else if (dice < 98)
		balance_refill(3);
	else if (dice < 99)
		balance_zone(pools[test_random(random) % NR_POOLS].normal[test_random(random) % 2]);
	else
		balance_trim(pools[test_random(random) % NR_POOLS].normal[test_random(random) % 2]);
	inject_arm(NR_INJECT_POINTS, 0, 0);
}

static void run_seed(uint64_t seed)
{
	uint64_t random = seed;

	phys_start(&(struct phys_setup){ .nr_nodes = 2, .base_mib = 48,
					 .huge_mib = seed % 3 ? 48 : 0,
					 .mode = seed % 2 ? STOCK_HOLD : STOCK_ACCOUNT });
	for (int i = 0; i < NR_POOLS; i++)
		phys_pool(&pools[i], 2, 64);
	nr_runs = 0;
	for (int i = 0; i < NR_STEPS; i++) {
		step(&random);
		if (i % 500 == 499)
			phys_expect_valid();
	}
	while (nr_runs)
		give(&random);
	for (int i = 0; i < NR_POOLS; i++) {
		for (int node = 0; node < 2; node++) {
			balance_trim(pools[i].normal[node]);
			EXPECT_EQ(pools[i].normal[node]->present, 0);
		}
		phys_pool_end(&pools[i]);
	}
	phys_stop();
}

static void grants_never_overlap_and_lies_are_found(void)
{
	for (uint64_t i = 0; i < NR_SEEDS; i++)
		run_seed(test_seed() + i);
}

static const struct test_case cases[] = {
	{ "grants never overlap, lies are found, all comes back",
	  grants_never_overlap_and_lies_are_found },
};
TEST_MAIN(cases)
