/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_waiter - faults that wait are handled by threads of their own: waiter.c
 */
#include "mm/space/waiter.h"

#include <stdatomic.h>

#include "lib/space_fixture.h"
#include "lib/test.h"

enum { NR_FAULTS = 500, BASE = 0x10000000 };

static _Atomic uint32_t nr_handled;
static _Atomic uint64_t pages_seen;

static void note(const struct waiting_fault *fault)
{
	atomic_fetch_add(&pages_seen, fault->target.page);
	atomic_fetch_add(&nr_handled, 1);
}

static struct waiting_fault fault_of(struct mm *mm, struct region *region, uint64_t page)
{
	struct waiting_fault fault = { .mm = mm };

	EXPECT(mm_find(mm, BASE + (page << PAGE_SHIFT), &fault.target, &fault.hint));
	EXPECT(fault.target.region == region);
	return fault;
}

static void each_is_handled_once(void)
{
	struct region *region;
	struct mm *mm;
	uint64_t sum = 0;

	space_begin(&(struct space_options){ 0 });
	region = space_region(NR_FAULTS, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	nr_handled = 0;
	pages_seen = 0;
	EXPECT_EQ(waiters_start(note), 0);
	for (uint64_t i = 0; i < NR_FAULTS; i++) {
		struct waiting_fault fault = fault_of(mm, region, i);

		EXPECT(waiters_add(&fault));
		sum += i;
	}
	waiters_stop();
	EXPECT_EQ(nr_handled, NR_FAULTS);
	EXPECT_EQ(pages_seen, sum);
	EXPECT_EQ(atomic_load(&mm->nr_waiting), 0);
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	space_end();
}

static void without_threads_nobody_takes_it(void)
{
	struct waiting_fault fault;
	struct region *region;
	struct mm *mm;

	space_begin(&(struct space_options){ 0 });
	region = space_region(1, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	fault = fault_of(mm, region, 0);
	EXPECT(!waiters_add(&fault));
	region_put(fault.target.region);
	space_close_mm(mm);
	space_drop_region(region);
	space_end();
}

static const struct test_case cases[] = {
	{ "each fault is handled once, and holds its mm and region until then (W1)",
	  each_is_handled_once },
	{ "without waiters the caller keeps the fault", without_threads_nobody_takes_it },
};
TEST_MAIN(cases)
