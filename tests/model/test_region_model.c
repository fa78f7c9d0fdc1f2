/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_region_model - random residency on one to four nodes against a state a page
 *
 * Purpose     One thread against a plain reference, with failures in between; then several threads
 *             on one region, of which only what must be true afterwards is checked.
 */
#include <errno.h>
#include <pthread.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/phys/node.h"

enum {
	NR_SEEDS = 10,
	NR_STEPS = 1200,
	NR_REGIONS = 4,
	PAGES_MAX = 1200,
	NR_THREADS = 3,
	THREAD_SEEDS = 3,
	THREAD_STEPS = 1500,
	THREAD_PAGES = 64,
};

struct reference {
	struct region *region;
	uint64_t nr;
	enum page_state state[PAGES_MAX];
	bool locked[PAGES_MAX];
};

static struct reference all[NR_REGIONS];

static struct page_range any_range(uint64_t *random, uint64_t nr)
{
	struct page_range range = { .first = test_below(random, nr) };
	uint64_t longest = test_below(random, 4) ? 16 : nr;

	range.nr = 1 + test_below(random, min_t(uint64_t, longest, nr - range.first));
	return range;
}

/* ---- what must be true ---- */

static void expect_same_state(const struct reference *ref)
{
	uint64_t resident = 0, locked = 0;

	for (uint64_t i = 0; i < ref->nr; i++) {
		uint64_t word = word_load(&ref->region->words[i]);
		bool present = ref->state[i] == PAGE_PRESENT;

		if (word_state(word) != ref->state[i] || !!(word & WORD_LOCKED) != ref->locked[i] ||
		    word & (WORD_BUSY | WORD_WAITERS))
			EXPECT_EQ(word, ref->state[i]);
		if (fake_os_present(ref->region->section->fd, i << ref->region->page_shift) !=
		    present)
			EXPECT_EQ(i, present ? -1 : -2);
		resident += present;
		locked += ref->locked[i];
	}
	EXPECT_EQ(ref->region->nr_resident, resident);
	EXPECT_EQ(ref->region->nr_locked, locked);
}

static void expect_stocks(void)
{
	uint64_t present[MAX_NUMNODES][NR_STOCK_KINDS] = { 0 };
	uint64_t committed[MAX_NUMNODES][NR_STOCK_KINDS] = { 0 };

	for (int i = 0; i < NR_REGIONS; i++) {
		struct region *region = all[i].region;
		uint64_t frames = region_frames_per_page(region), promised = 0;

		for (int node = 0; node < nr_nodes; node++) {
			committed[node][region->kind] += region->committed[node] * frames;
			promised += region->committed[node];
		}
		EXPECT_EQ(promised, region->nr_pages);
		for (uint64_t page = 0; page < region->nr_pages; page++) {
			uint64_t word = word_load(&region->words[page]);

			if (word_state(word) == PAGE_PRESENT)
				present[word_node(word)][region->kind] += frames;
		}
	}
	for (int i = 0; i < nr_nodes * NR_STOCK_KINDS; i++) {
		enum stock_kind kind = (enum stock_kind)(i % NR_STOCK_KINDS);
		int node = i / NR_STOCK_KINDS;
		struct stock_snapshot s = { 0 };

		stock_snapshot(node, kind, &s);
		EXPECT_EQ(s.present, present[node][kind]);
		EXPECT_EQ(s.committed, committed[node][kind]);
	}
}

static void expect_all(void)
{
	for (int i = 0; i < NR_REGIONS; i++) {
		expect_same_state(&all[i]);
		space_expect_valid(all[i].region, NULL);
	}
	expect_stocks();
}

/* ---- operations on the reference ---- */

static int model_make(struct reference *ref, struct page_range range, uint64_t want,
		      struct page_range *run)
{
	uint64_t at = range.first, end = range.first + range.nr;

	run->first = at;
	for (; at < end; at++) {
		if (ref->state[at] != PAGE_POISONED) {
			ref->state[at] = PAGE_PRESENT;
		} else if (at < want) {
			run->first = at + 1;
		} else {
			break;
		}
	}
	run->nr = at - run->first;
	return at > want ? 0 : -EIO;
}

static void make_present(struct reference *ref, uint64_t *random)
{
	struct page_range range = any_range(random, ref->nr), run, expected;
	uint64_t want = range.first + test_below(random, range.nr);
	uint64_t block = PAGEBLOCK_SIZE >> ref->region->page_shift;
	int r = region_make_present(ref->region, range, want, &run);

	if (ref->region->huge && ref->region->page_shift == PAGE_SHIFT &&
	    round_up(range.first + range.nr, block) <= ref->nr) {
		range.nr = round_up(range.first + range.nr, block);
		range.first = round_down(range.first, block);
		range.nr -= range.first;
	}
	EXPECT_EQ(r, model_make(ref, range, want, &expected));
	if (r)
		return;
	EXPECT_EQ(run.first, expected.first);
	EXPECT_EQ(run.nr, expected.nr);
}

/* What a populating call makes present, up to the first poisoned page. */
static int model_populate(struct reference *ref, struct page_range range)
{
	uint64_t block = PAGEBLOCK_SIZE >> ref->region->page_shift;
	uint64_t at = range.first, end = range.first + range.nr;

	while (at < end) {
		struct page_range step = { at, end - at }, run;

		if (ref->region->huge && ref->region->page_shift == PAGE_SHIFT &&
		    round_up(end, block) <= ref->nr) {
			step.first = round_down(at, block);
			step.nr = round_up(end, block) - step.first;
		}
		if (model_make(ref, step, at, &run))
			return -EIO;
		at = run.first + run.nr;
	}
	return 0;
}

static void populate(struct reference *ref, uint64_t *random)
{
	struct page_range range = any_range(random, ref->nr);
	int r = region_populate(ref->region, range);

	EXPECT_EQ(r, model_populate(ref, range));
}

static void drop(struct reference *ref, uint64_t *random)
{
	struct page_range range = any_range(random, ref->nr);
	int expected = 0;

	for (uint64_t i = range.first; i < range.first + range.nr; i++) {
		if (ref->locked[i])
			expected = -EBUSY;
		else
			ref->state[i] = PAGE_NONE;
	}
	EXPECT_EQ(region_drop(ref->region, range), expected);
}

static void lock(struct reference *ref, uint64_t *random)
{
	struct page_range range = any_range(random, ref->nr);
	int r = region_lock_pages(ref->region, range);

	EXPECT_EQ(r, model_populate(ref, range));
	for (uint64_t i = range.first; i < range.first + range.nr && !r; i++)
		ref->locked[i] = true;
}

static void unlock(struct reference *ref, uint64_t *random)
{
	struct page_range range = any_range(random, ref->nr);

	region_unlock_pages(ref->region, range);
	for (uint64_t i = range.first; i < range.first + range.nr; i++)
		ref->locked[i] = false;
}

static void poison(struct reference *ref, uint64_t *random)
{
	uint64_t page = test_below(random, ref->nr);

	EXPECT_EQ(region_poison(ref->region, page, "a test"), ref->state[page] != PAGE_POISONED);
	ref->state[page] = PAGE_POISONED;
	ref->locked[page] = false;
}

static void conjure(struct reference *ref, uint64_t *random)
{
	uint64_t page = test_below(random, ref->nr);
	bool surplus = ref->state[page] != PAGE_PRESENT;

	fake_os_conjure(ref->region->section->fd, page << ref->region->page_shift);
	if (surplus && ref->region->page_shift != PAGE_SHIFT && ref->region->kind == STOCK_BASE)
		EXPECT(region_audit(ref->region) > 0);
	else
		EXPECT_EQ(region_audit(ref->region),
			  surplus ? (int64_t)region_frames_per_page(ref->region) : 0);
}

/* Something fails in the middle; what must hold is looked at, and the reference starts from it. */
static void fail_somewhere(struct reference *ref, uint64_t *random)
{
	struct page_range range = any_range(random, ref->nr), run;
	bool tight = test_below(random, 2);

	if (tight)
		fake_os_set_limit(0, fake_os_used(0, false) + test_below(random, 8) * PAGE_SIZE,
				  fake_os_used(0, true) + test_below(random, 2) * PAGEBLOCK_SIZE);
	else
		inject_arm(test_below(random, 3) ? INJECT_POPULATE : INJECT_PUNCH,
			   1 + test_below(random, 3), -ENOMEM);
	if (test_below(random, 2))
		region_make_present(ref->region, range, range.first, &run);
	else if (test_below(random, 2))
		region_lock_pages(ref->region, range);
	else
		region_drop(ref->region, range);
	inject_arm(INJECT_POPULATE, 0, 0);
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	region_audit(ref->region); /* what a refused punch has left */
	for (uint64_t i = 0; i < ref->nr; i++) {
		ref->state[i] = space_state(ref->region, i);
		ref->locked[i] = word_load(&ref->region->words[i]) & WORD_LOCKED;
	}
}

static void step(uint64_t *random)
{
	static void (*const operations[])(struct reference *, uint64_t *) = {
		make_present, make_present, make_present, drop,    drop,           populate,
		lock,         unlock,       poison,       conjure, fail_somewhere,
	};

	operations[test_below(random, ARRAY_SIZE(operations))](&all[test_below(random, NR_REGIONS)],
							       random);
}

/* ---- one thread ---- */

static void start_region(struct reference *ref, uint64_t *random)
{
	static const enum region_policy policies[] = { POLICY_LOCAL, POLICY_PREFERRED, POLICY_BIND,
						       POLICY_INTERLEAVE };
	bool large = test_below(random, 3) == 0;
	struct region_request want = {
		.name = "model",
		.nr_pages = 1 + test_below(random, large ? 12 : PAGES_MAX),
		.page_shift = large ? PAGEBLOCK_SHIFT : PAGE_SHIFT,
		.policy = policies[test_below(random, ARRAY_SIZE(policies))],
		.home_node = (int)test_below(random, (uint64_t)nr_nodes),
	};
	struct region_refusal why;

	if (want.policy != POLICY_LOCAL)
		want.node_mask = test_below(random, 1ull << nr_nodes);
	*ref = (struct reference){ .nr = want.nr_pages };
	EXPECT_EQ(region_new(&want, &ref->region, &why), 0);
	atomic_store(&ref->region->huge, large || test_below(random, 4) == 0);
	for (int node = 0; node < nr_nodes; node++)
		EXPECT(want.policy < POLICY_BIND || !want.node_mask || want.node_mask >> node & 1 ||
		       !ref->region->committed[node]);
}

static void run_seed(uint64_t seed)
{
	uint64_t random = seed;

	space_begin(&(struct space_options){ .nr_nodes = 1 + (unsigned int)(seed % 4),
					     .base_mib = 160,
					     .huge_mib = seed % 3 ? 160 : 0,
					     .hold = seed % 5 == 0 });
	for (int i = 0; i < NR_REGIONS; i++)
		start_region(&all[i], &random);
	for (int i = 0; i < NR_STEPS; i++) {
		step(&random);
		if (i % 40 == 0)
			expect_all();
	}
	expect_all();
	for (int i = 0; i < NR_REGIONS; i++)
		space_drop_region(all[i].region);
	space_end();
}

static void residency_is_what_was_asked_for(void)
{
	for (uint64_t i = 0; i < NR_SEEDS; i++)
		run_seed(test_seed() + i);
}

/* ---- several threads ---- */

struct racer {
	pthread_t thread;
	struct region *region;
	uint64_t random;
};

static void race_step(struct region *region, uint64_t *random)
{
	struct page_range range = any_range(random, region->nr_pages), run;

	switch (test_below(random, 8)) {
	case 0:
		region_drop(region, range);
		break;
	case 1:
		region_lock_pages(region, range);
		break;
	case 2:
		region_unlock_pages(region, range);
		break;
	case 3:
		if (test_below(random, 8) == 0)
			region_poison(region, range.first, "a test");
		break;
	case 4:
		region_populate(region, range);
		break;
	case 5:
		region_audit(region);
		break;
	default:
		region_make_present(region, range, range.first + test_below(random, range.nr),
				    &run);
		break;
	}
}

static void *race(void *arg)
{
	struct racer *racer = arg;

	for (int i = 0; i < THREAD_STEPS; i++)
		race_step(racer->region, &racer->random);
	return NULL;
}

static void run_race(uint64_t seed)
{
	struct racer racers[NR_THREADS];
	struct region_request want = { .name = "race",
				       .nr_pages = THREAD_PAGES,
				       .page_shift = PAGE_SHIFT,
				       .policy = seed % 2 ? POLICY_INTERLEAVE : POLICY_LOCAL };
	struct region_refusal why;
	struct region *region;

	space_begin(&(struct space_options){ .nr_nodes = 2 });
	EXPECT_EQ(region_new(&want, &region, &why), 0);
	for (uint64_t i = 0; i < NR_THREADS; i++) {
		racers[i] = (struct racer){ .region = region, .random = seed * NR_THREADS + i };
		EXPECT_EQ(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(racers[i].thread, NULL);
	space_expect_valid(region, NULL);
	for (uint64_t i = 0; i < THREAD_PAGES; i++)
		EXPECT(!(word_load(&region->words[i]) & (WORD_BUSY | WORD_WAITERS)));
	region_unlock_pages(region, (struct page_range){ 0, THREAD_PAGES });
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, THREAD_PAGES }), 0);
	EXPECT_EQ(space_present(0, STOCK_BASE) + space_present(1, STOCK_BASE), 0);
	space_drop_region(region);
	space_end();
}

static void threads_leave_nothing_behind(void)
{
	for (uint64_t i = 0; i < THREAD_SEEDS; i++)
		run_race(test_seed() + i);
}

static const struct test_case cases[] = {
	{ "residency, charge and file agree after any operations and failures",
	  residency_is_what_was_asked_for },
	{ "threads on one region leave words, charge and file in agreement",
	  threads_leave_nothing_behind },
};
TEST_MAIN(cases)
