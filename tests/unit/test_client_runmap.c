/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_runmap - what libclient knows of its page runs
 */
#include "libclient/runmap.h"

#include "libclient/cache.h"
#include "tests/lib/test.h"

enum { PAGE = CLIENT_PAGE_SIZE };
static const uint64_t base = 0x40000000000, length = 64 << 20;
static struct runmap map;

static void begin(void)
{
	runmap_fini(&map);
	runmap_add(&map, base, length);
	EXPECT_EQ(runmap_open(&map), 0);
}

static void a_run_goes_round(void)
{
	begin();
	EXPECT(runmap_grant(&map, base + 8 * PAGE, 3));
	EXPECT(!runmap_grant(&map, base + 8 * PAGE, 3));
	runmap_take(&map, base + 8 * PAGE, 3);
	EXPECT_EQ(runmap_give(&map, base + 8 * PAGE, 3), RUN_OK);
	runmap_forget(&map, base + 8 * PAGE);
	EXPECT_EQ(runmap_explain(&map, base + 8 * PAGE, 3).verdict, RUN_FOREIGN);
}

static void bad_frees_are_told_apart(void)
{
	struct run_fault fault;

	begin();
	runmap_grant(&map, base + 16 * PAGE, 2);
	runmap_take(&map, base + 16 * PAGE, 2);
	EXPECT(runmap_give(&map, base + 16 * PAGE, 1) != RUN_OK);
	fault = runmap_explain(&map, base + 16 * PAGE, 1);
	EXPECT_EQ(fault.verdict, RUN_WRONG_ORDER);
	EXPECT_EQ(fault.order, 2);
	EXPECT(runmap_give(&map, base + 18 * PAGE, 0) != RUN_OK);
	fault = runmap_explain(&map, base + 18 * PAGE, 0);
	EXPECT_EQ(fault.verdict, RUN_INTERIOR);
	EXPECT_EQ(fault.head, base + 16 * PAGE);
	EXPECT_EQ(runmap_explain(&map, base + 17 * PAGE + 5, 0).verdict, RUN_INTERIOR);
	EXPECT_EQ(runmap_explain(&map, base + 21 * PAGE, 1).verdict, RUN_MISALIGNED);
	EXPECT_EQ(runmap_explain(&map, base - PAGE, 0).verdict, RUN_OUTSIDE);
	EXPECT_EQ(runmap_explain(&map, base + length, 0).verdict, RUN_OUTSIDE);
	EXPECT_EQ(runmap_give(&map, base + 16 * PAGE, 2), RUN_OK);
	EXPECT(runmap_give(&map, base + 16 * PAGE, 2) != RUN_OK);
	EXPECT_EQ(runmap_explain(&map, base + 16 * PAGE, 2).verdict, RUN_FREED);
	EXPECT_EQ(runmap_explain(&map, base + 19 * PAGE, 0).verdict, RUN_FREED);
}

static void a_run_must_lie_whole_in_a_window(void)
{
	begin();
	EXPECT(runmap_covers(&map, base, MMB_ORDER_MAX));
	EXPECT(!runmap_covers(&map, base + PAGE, 1));
	EXPECT(!runmap_covers(&map, base + length, 0));
	EXPECT(runmap_covers(&map, base + length - PAGE, 0));
	runmap_add(&map, base + length, 6 * PAGE);
	EXPECT_EQ(runmap_give(&map, base + length, 0), RUN_FOREIGN); /* R4 */
	EXPECT_EQ(runmap_open(&map), 0);
	EXPECT(runmap_covers(&map, base + length + 4 * PAGE, 1));
	EXPECT(!runmap_covers(&map, base + length + 4 * PAGE, 2));
}

/* A model of plain arrays: every order, random operations, states compared by verdict. */
static void random_runs_agree_with_a_model(void)
{
	enum { RUNS = 64, STEPS = 20000 };
	enum { ABSENT, CACHED, OUT } model[RUNS] = { ABSENT };
	uint64_t seed = test_seed();
	unsigned int order = (unsigned int)(test_random(&seed) % 4);
	uint64_t step = (uint64_t)PAGE << order;

	begin();
	for (int i = 0; i < STEPS; i++) {
		uint64_t run = test_random(&seed) % RUNS;
		uint64_t address = base + run * step;

		switch (test_random(&seed) % 3) {
		case 0:
			if (model[run] != OUT)
				EXPECT_EQ(runmap_grant(&map, address, order), model[run] == ABSENT);
			model[run] = model[run] == OUT ? OUT : CACHED;
			break;
		case 1:
			if (model[run] == CACHED) {
				runmap_take(&map, address, order);
				model[run] = OUT;
			}
			break;
		default:
			EXPECT_EQ(runmap_give(&map, address, order) == RUN_OK, model[run] == OUT);
			if (model[run] == CACHED)
				runmap_forget(&map, address);
			model[run] = model[run] == OUT ? CACHED : ABSENT;
		}
	}
}

static void the_depot_is_bounded_by_bytes_and_runs(void)
{
	static struct run_depot depot;
	uint64_t runs[DEPOT_RUNS + 8];
	uint32_t i;

	for (i = 0; i < DEPOT_RUNS + 8; i++)
		runs[i] = base + (uint64_t)i * PAGE;
	depot_init(&depot);
	EXPECT_EQ(depot_put(&depot, 0, runs, DEPOT_RUNS + 8), DEPOT_RUNS);
	EXPECT_EQ(depot_put(&depot, 10, runs, 1), 0);
	EXPECT_EQ(depot_put(&depot, 9, runs, 2), 1);
	EXPECT_EQ(depot_take(&depot, 0, runs, 3), 3);
	EXPECT_EQ(runs[2], base + (uint64_t)(DEPOT_RUNS - 1) * PAGE);
	EXPECT_EQ(depot_take(&depot, 0, runs, DEPOT_RUNS), DEPOT_RUNS - 3);
	EXPECT_EQ(depot_take(&depot, 9, runs, 4), 1);
	EXPECT_EQ(depot_put(&depot, 10, runs, 2), 1);
	EXPECT_EQ(depot_take(&depot, 10, runs, 4), 1);
	EXPECT_EQ(depot.bytes, 0);
	depot_fini(&depot);
}

static const struct test_case cases[] = {
	{ "a run is granted, taken, given and forgotten", a_run_goes_round },
	{ "double frees, wrong orders, interior and foreign addresses are told apart",
	  bad_frees_are_told_apart },
	{ "a run must lie whole in one window", a_run_must_lie_whole_in_a_window },
	{ "random runs agree with a model", random_runs_agree_with_a_model },
	{ "the depot is bounded by bytes and by runs", the_depot_is_bounded_by_bytes_and_runs },
};

TEST_MAIN(cases)
