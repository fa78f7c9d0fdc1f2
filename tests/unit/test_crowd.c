/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_crowd - which neighbours of a swapped page come along: crowd.c
 */
#include "mm/space/crowd.h"

#include "lib/space_fixture.h"
#include "lib/test.h"

enum { PLACES = 16, NR = PLACES * CROWD_PLACE };

static struct region *region;

/* Words say that all pages are out; nobody looks at slots. */
static struct mm_target start(void)
{
	space_begin(&(struct space_options){ 0 });
	region = space_region(NR, PAGE_SHIFT);
	for (uint64_t i = 0; i < NR; i++)
		atomic_store(&region->words[i], word_swapped((uint32_t)i + 1, 0));
	return (struct mm_target){ .region = region, .first = 0, .end = NR };
}

static void stop(void)
{
	for (uint64_t i = 0; i < NR; i++)
		atomic_store(&region->words[i], PAGE_NONE);
	space_drop_region(region);
	space_end();
}

static uint32_t fault(struct mm_target *target, uint64_t page, struct crowd *crowd)
{
	target->page = page;
	crowd_fault(target, crowd);
	return crowd->nr;
}

static void the_nearest_come_first(void)
{
	struct mm_target target = start();
	struct crowd crowd = { 0 };
	uint64_t page = 3 * CROWD_PLACE + 100;

	for (int i = 0; i < 2 * CROWD_LEAST && !fault(&target, page, &crowd); i++)
		;
	EXPECT_EQ(crowd.nr, CROWD_READS);
	for (uint32_t i = 0; i < crowd.nr; i++)
		EXPECT_EQ(crowd.pages[i], i % 2 ? page - 1 - i / 2 : page + 1 + i / 2);
	stop();
}

static void none_is_beyond_the_place_or_the_window(void)
{
	struct mm_target target = start();
	struct crowd crowd = { 0 };
	uint64_t page = 3 * CROWD_PLACE;

	target.end = page + 4;
	for (int i = 0; i < 2 * CROWD_LEAST && !fault(&target, page, &crowd); i++)
		;
	EXPECT_EQ(crowd.nr, 3);
	for (uint32_t i = 0; i < crowd.nr; i++)
		EXPECT_EQ(crowd.pages[i], page + 1 + i);
	stop();
}

static void even_faults_are_no_crowd(void)
{
	struct mm_target target = start();
	struct crowd crowd;

	for (uint64_t i = 0; i < 3 * CROWD_FAULTS; i++)
		EXPECT_EQ(fault(&target, i * 2654435761u % NR, &crowd), 0);
	stop();
}

static void what_was_long_ago_is_forgotten(void)
{
	struct mm_target target = start();
	struct crowd crowd;

	for (int i = 0; i < CROWD_FAULTS / 2; i++)
		fault(&target, 0, &crowd);
	for (uint64_t i = 0; i < 8 * CROWD_FAULTS; i++)
		fault(&target, i * 2654435761u % NR, &crowd);
	EXPECT_EQ(fault(&target, 0, &crowd), 0);
	stop();
}

static void what_does_not_pay_is_tried_now_and_then(void)
{
	struct mm_target target = start();
	struct crowd crowd;
	unsigned int nr = 0;

	for (int i = 0; i < CROWD_LEAST * 2; i++)
		fault(&target, 0, &crowd);
	EXPECT(crowd.nr > 0);
	for (int i = 0; i < 2 * CROWD_TRIAL; i++)
		crowd_lost(region);
	for (int i = 0; i < 2 * CROWD_TRIAL; i++)
		nr += fault(&target, 0, &crowd) > 0;
	EXPECT_EQ(nr, 2);
	for (int i = 0; i < CROWD_TRIAL; i++)
		crowd_won(region);
	EXPECT(fault(&target, 0, &crowd) > 0);
	stop();
}

static const struct test_case cases[] = {
	{ "the nearest come first", the_nearest_come_first },
	{ "none is beyond the place or the window", none_is_beyond_the_place_or_the_window },
	{ "faults that lie evenly are no crowd (D1)", even_faults_are_no_crowd },
	{ "what was long ago is forgotten (D1)", what_was_long_ago_is_forgotten },
	{ "what doesn't pay is tried now and then (D3)", what_does_not_pay_is_tried_now_and_then },
};
TEST_MAIN(cases)
