/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_waiter - faults that wait are handled by threads of their own: waiter.c
 */
#include "mm/space/waiter.h"

#include <sched.h>
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

/* ---- fairness ---- */

static _Atomic bool may_go_on;
static _Atomic uint32_t nr_begun;
static _Atomic uint64_t served_id; /* of the pool, plus one */
static struct memcg greedy, modest;

static void hold_the_greedy(const struct waiting_fault *fault)
{
	atomic_fetch_add(&nr_begun, 1);
	if (fault->target.region->memcg == &modest)
		atomic_store(&served_id, modest.id + 1);
	while (fault->target.region->memcg == &greedy && !atomic_load(&may_go_on))
		sched_yield();
}

static bool modest_is_served(void *unused)
{
	return atomic_load(&served_id) == modest.id + 1;
}

static bool greedy_has_all_it_gets(void *unused)
{
	return atomic_load(&nr_begun) >= WAITERS_PER_CPU - 1;
}

static struct region *region_of(struct memcg *memcg)
{
	struct region_request want = { .name = "", .page_shift = PAGE_SHIFT, .nr_pages = NR_FAULTS,
				       .memcg = memcg };
	struct region_refusal why;
	struct region *region;

	EXPECT_EQ(region_new(&want, &region, &why), 0);
	return region;
}

static void add_faults(struct mm *mm, uint64_t base, unsigned int nr)
{
	for (uint64_t i = 0; i < nr; i++) {
		struct waiting_fault fault = { .mm = mm };

		EXPECT(mm_find(mm, base + (i << PAGE_SHIFT), &fault.target, &fault.hint));
		EXPECT(waiters_add(&fault));
	}
}

/* Who is in the queue waits for memory, like who is being served. */
static void queued_faults_are_stalled(void)
{
	enum { NR = 100 };
	struct region *region;
	struct mm *mm;

	space_begin(&(struct space_options){ 0 });
	memcg_init(&greedy, 3);
	region = region_of(&greedy);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	may_go_on = false;
	EXPECT_EQ(waiters_start(hold_the_greedy), 0);
	add_faults(mm, BASE, NR);
	EXPECT_EQ(greedy.psi.nr_stalled, NR);
	EXPECT_EQ(mm->psi.nr_stalled, NR);
	may_go_on = true;
	waiters_stop();
	EXPECT_EQ(greedy.psi.nr_stalled, 0);
	EXPECT_EQ(mm->psi.nr_stalled, 0);
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	memcg_fini(&greedy);
	space_end();
}

/* All are added on one CPU, so that they meet. */
static void no_pool_keeps_them_all(void)
{
	struct region *of_greedy, *of_modest;
	struct mm *mm;
	cpu_set_t all, one;

	EXPECT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	space_begin(&(struct space_options){ 0 });
	memcg_init(&greedy, 3);
	memcg_init(&modest, 4);
	of_greedy = region_of(&greedy);
	of_modest = region_of(&modest);
	mm = space_mm();
	space_window(mm, of_greedy, BASE, 1);
	space_window(mm, of_modest, 2 * BASE, 2);
	may_go_on = false;
	nr_begun = 0;
	served_id = 0;
	EXPECT_EQ(waiters_start(hold_the_greedy), 0);
	CPU_ZERO(&one);
	for (unsigned int cpu = 0; !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	EXPECT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	add_faults(mm, BASE, 100);
	EXPECT(test_wait(greedy_has_all_it_gets, NULL, 20));
	add_faults(mm, 2 * BASE, 1);
	EXPECT(test_wait(modest_is_served, NULL, 20));
	EXPECT_EQ(nr_begun, WAITERS_PER_CPU); /* and no more of the other */
	atomic_store(&may_go_on, true);
	waiters_stop();
	EXPECT_EQ(nr_begun, 101);
	EXPECT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
	space_close_mm(mm);
	space_drop_region(of_greedy);
	space_drop_region(of_modest);
	memcg_fini(&greedy);
	memcg_fini(&modest);
	space_end();
}

static const struct test_case cases[] = {
	{ "each fault is handled once, and holds its mm and region until then (W1)",
	  each_is_handled_once },
	{ "a pool with a hundred faults doesn't keep another's first one waiting (W3)",
	  no_pool_keeps_them_all },
	{ "a fault in the queue is stalled, too (W4)", queued_faults_are_stalled },
	{ "without waiters the caller keeps the fault", without_threads_nobody_takes_it },
};
TEST_MAIN(cases)
