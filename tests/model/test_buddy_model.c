/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_buddy_model - buddy.c, buddy_types.c and pcp.c against a map of frames
 *
 * Random allocations, frees, growth, shrinking and type changes on one zone, against a map with
 * one byte a frame that says who has it.
 */
#include <stdio.h>
#include <string.h>

#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/phys/buddy.h"

enum { NR_SEEDS = 30, NR_STEPS = 3000, NR_RUNS_MAX = 700, ZONE_MIB = 32 };

struct run {
	struct page *page;
	unsigned int order;
};

static struct zone *zone;
static struct run   runs[NR_RUNS_MAX];
static unsigned int nr_runs;
static uint64_t     nr_granted; /* frames */
static uint8_t      granted[ZONE_MIB * FRAMES_PER_MIB];

/* Marks a run in the reference, which must say the opposite now. */
static void mark(const struct run *run, uint8_t value)
{
	uint32_t at = page_to_pfn(run->page) - zone->start_pfn;

	for (uint32_t i = 0; i < 1u << run->order; i++) {
		if (granted[at + i] == value)
			EXPECT_EQ(at + i, UINT32_MAX);
		granted[at + i] = value;
	}
	nr_granted += value ? 1u << run->order : 0;
	nr_granted -= value ? 0 : 1u << run->order;
}

static void take(uint64_t *random)
{
	struct run       run = { NULL, (unsigned int)(test_random(random) % NR_ORDERS) };
	enum migratetype type = (enum migratetype)(test_random(random) % MIGRATE_PCPTYPES);
	unsigned int     flags = test_random(random) % 2 ? ALLOC_CMA : 0;

	if (nr_runs == NR_RUNS_MAX)
		return;
	/* Small ones often, as in life. */
	if (test_random(random) % 4)
		run.order %= 4;
	if (test_random(random) % 8 == 0)
		flags |= ALLOC_HIGHATOMIC;
	run.page = rmqueue(zone, run.order, type, flags);
	if (!run.page)
		return;
	EXPECT_EQ(pg_load(run.page), pg_word(PG_ALLOCATED, run.order, type));
	EXPECT(is_aligned(page_to_pfn(run.page), 1u << run.order));
	mark(&run, 1);
	runs[nr_runs++] = run;
}

static void give(uint64_t *random)
{
	unsigned int at;

	if (!nr_runs)
		return;
	at = (unsigned int)(test_random(random) % nr_runs);
	mark(&runs[at], 0);
	free_unref_page(zone, runs[at].page, runs[at].order);
	runs[at] = runs[--nr_runs];
}

static void change_type(uint64_t *random)
{
	uint32_t block = pfn_to_block(zone->start_pfn) +
			 (uint32_t)(test_random(random) % (ZONE_MIB / 2));

	mutex_lock(&zone->lock);
	if (block_is_present(block))
		set_pageblock_migratetype_locked(zone, block,
						 (enum migratetype)(test_random(random) %
								    MIGRATE_TYPES));
	mutex_unlock(&zone->lock);
}

static void step(uint64_t *random)
{
	enum grow_failure why;
	uint64_t          dice = test_random(random) % 100;

	if (dice < 50)
		take(random);
	else if (dice < 90)
		give(random);
	else if (dice < 93)
		zone_grow(zone, test_random(random) % 4 ? 0 : MAX_ORDER, &why);
	else if (dice < 95)
		zone_shrink(zone, (uint32_t)(test_random(random) % 4), 4);
	else if (dice < 97)
		change_type(random);
	else if (dice < 98)
		pcp_drain_all(zone);
	else if (dice < 99)
		pcp_decay(zone);
	else
		EXPECT(pcp_nr_frames(zone) + zone_free_pages_nr(zone) + nr_granted ==
		       zone->managed);
}

static void run_seed(uint64_t seed)
{
	uint64_t random = seed;

	phys_start(&(struct phys_setup){ .base_mib = 48, .mode = seed % 2 ? STOCK_HOLD
									  : STOCK_ACCOUNT });
	zone = phys_zone(0, ZONE_MIB);
	memset(granted, 0, sizeof(granted));
	nr_runs = 0;
	nr_granted = 0;
	for (int i = 0; i < NR_STEPS; i++) {
		step(&random);
		if (i % 500 == 499)
			phys_expect_valid();
	}
	while (nr_runs)
		give(&random);
	pcp_drain_all(zone);
	phys_expect_valid();
	EXPECT_EQ(zone_free_pages_nr(zone), zone->managed);
	phys_zone_end(zone);
	phys_stop();
}

static void the_buddy_agrees_with_a_map_of_frames(void)
{
	for (uint64_t i = 0; i < NR_SEEDS; i++)
		run_seed(test_seed() + i);
}

static const struct test_case cases[] = {
	{ "the buddy agrees with a map of frames", the_buddy_agrees_with_a_map_of_frames },
};
TEST_MAIN(cases)
