/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pcp - pcp.c over asym.c: pagesets, their owners and visitors
 */
#include "mm/phys/pcp.h"

#include <pthread.h>

#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/phys/buddy.h"

static struct zone *start(uint32_t blocks)
{
	struct zone      *zone;
	enum grow_failure why;

	phys_start(&(struct phys_setup){ .base_mib = 128 });
	zone = phys_zone(0, 64);
	for (uint32_t i = 0; i < blocks; i++)
		EXPECT_EQ(zone_grow(zone, 0, &why), 0);
	return zone;
}

static void stop(struct zone *zone)
{
	phys_expect_valid();
	phys_zone_end(zone);
	phys_stop();
}

static struct page *hit(struct zone *zone, unsigned int order, enum migratetype type)
{
	struct pcp_want want = pcp_want_of(zone, order, type);

	return pcp_alloc_hit(&want);
}

static void what_was_freed_last_is_granted_first(void)
{
	struct zone *zone = start(2);
	struct page *page = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
	struct page *other = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);

	EXPECT(pcp_free_hit(other, 0, pg_load(other)));
	EXPECT(pcp_free_hit(page, 0, pg_load(page)));
	EXPECT_EQ(pg_state(page), PG_PCP);
	EXPECT(hit(zone, 0, MIGRATE_MOVABLE) == page);
	EXPECT_EQ(pg_load(page), pg_word(PG_ALLOCATED, 0, MIGRATE_MOVABLE));
	EXPECT(hit(zone, 0, MIGRATE_MOVABLE) == other);
	free_unref_page(zone, page, 0);
	free_unref_page(zone, other, 0);
	stop(zone);
}

static void types_and_orders_have_their_own_lists(void)
{
	static const unsigned int orders[] = { 0, 1, 2, 3, 9 };
	struct zone *zone = start(8);

	for (unsigned int i = 0; i < ARRAY_SIZE(orders); i++) {
		struct page *page = rmqueue(zone, orders[i], MIGRATE_UNMOVABLE, 0);

		EXPECT(page != NULL);
		free_unref_page(zone, page, orders[i]);
		EXPECT(hit(zone, orders[i], MIGRATE_RECLAIMABLE) == NULL);
		EXPECT(hit(zone, orders[i], MIGRATE_UNMOVABLE) == page);
		free_unref_page(zone, page, orders[i]);
	}
	EXPECT_EQ(pcp_class_of(4), -1);
	EXPECT_EQ(pcp_class_of(10), -1);
	stop(zone);
}

static void a_hit_leaves_the_buddy_alone(void)
{
	struct zone *zone = start(2);
	struct page *page = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
	uint64_t     before = zone_free_pages_nr(zone);

	for (int i = 0; i < 1000; i++) {
		free_unref_page(zone, page, 0);
		page = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
	}
	EXPECT_EQ(zone_free_pages_nr(zone), before);
	free_unref_page(zone, page, 0);
	stop(zone);
}

static void bursts_raise_high_and_idleness_lowers_it(void)
{
	enum { NR = 8000 };
	static struct page *pages[NR];
	struct zone        *zone = start(20);
	struct pcp_class   *class;
	uint32_t            high;

	for (int i = 0; i < NR; i++)
		pages[i] = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
	for (int i = 0; i < NR; i++)
		free_unref_page(zone, pages[i], 0);
	class = &pcp_of_this_cpu(zone)->classes[0];
	high = class->high;
	EXPECT(high > class->high_min);
	EXPECT(high <= class->high_max);
	EXPECT(pcp_count(class) <= high);
	pcp_decay(zone);
	EXPECT(class->high < high);
	EXPECT(pcp_count(class) > 0);
	pcp_decay(zone);
	EXPECT_EQ(pcp_nr_blocks(class), 0);
	EXPECT_EQ(class->high, class->high_min);
	EXPECT_EQ(zone_free_pages_nr(zone), zone->managed);
	stop(zone);
}

static void draining_empties_the_pagesets(void)
{
	struct zone *zone = start(4);
	struct page *page[3] = { rmqueue(zone, 0, MIGRATE_MOVABLE, 0),
				 rmqueue(zone, 3, MIGRATE_UNMOVABLE, 0),
				 rmqueue(zone, 9, MIGRATE_MOVABLE, 0) };

	free_unref_page(zone, page[0], 0);
	free_unref_page(zone, page[1], 3);
	free_unref_page(zone, page[2], 9);
	EXPECT(pcp_nr_frames(zone) > 0);
	EXPECT_EQ(pcp_drain(zone, this_cpu() + 1), 0);
	EXPECT(pcp_drain_all(zone) > 0);
	EXPECT_EQ(pcp_nr_frames(zone), 0);
	EXPECT_EQ(zone_free_pages_nr(zone), zone->managed);
	stop(zone);
}

static void *take_and_leave(void *arg)
{
	struct zone *zone = arg;
	int          cpu;

	EXPECT_EQ(cpu_slot_register(0), 0);
	cpu = this_cpu();
	for (int i = 0; i < 10; i++)
		free_unref_page(zone, rmqueue(zone, 0, MIGRATE_MOVABLE, 0), 0);
	EXPECT(pcp_nr_frames(zone) > 0);
	pcp_cpu_dead(cpu);
	cpu_slot_unregister();
	return NULL;
}

static void the_pageset_of_a_lost_cpu_is_drained(void)
{
	struct zone *zone = start(4);
	pthread_t    thread;

	EXPECT_EQ(pthread_create(&thread, NULL, take_and_leave, zone), 0);
	pthread_join(thread, NULL);
	EXPECT_EQ(pcp_nr_frames(zone), 0);
	stop(zone);
}

static void *take_without_a_slot(void *arg)
{
	struct zone *zone = arg;
	struct page *page = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);

	EXPECT(page != NULL);
	free_unref_page(zone, page, 0);
	return NULL;
}

static void a_thread_without_a_slot_uses_the_buddy(void)
{
	struct zone *zone = start(1);
	pthread_t    thread;

	EXPECT_EQ(pthread_create(&thread, NULL, take_without_a_slot, zone), 0);
	pthread_join(thread, NULL);
	EXPECT_EQ(pcp_nr_frames(zone), 0);
	EXPECT_EQ(zone_free_pages_nr(zone), zone->managed);
	stop(zone);
}

static void full_pagesets_overflow_to_the_buddy(void)
{
	enum { NR = 64 };
	struct zone *zone = start(NR / 2);
	struct page *pages[NR / 2];

	for (int i = 0; i < NR / 2; i++)
		pages[i] = rmqueue(zone, 9, MIGRATE_MOVABLE, 0);
	EXPECT(rmqueue(zone, 9, MIGRATE_MOVABLE, 0) == NULL);
	for (int i = 0; i < NR / 2; i++)
		free_unref_page(zone, pages[i], 9);
	EXPECT(zone_nr_empty_blocks(zone) >= NR / 2 - 9);
	stop(zone);
}

static void frames_of_special_pageblocks_pass_the_pagesets(void)
{
	struct zone *zone = start(1);
	struct page *page = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
	uint64_t     before;

	pcp_drain_all(zone);
	before = zone_free_pages_nr(zone);
	mutex_lock(&zone->lock);
	set_pageblock_migratetype_locked(zone, pfn_to_block(zone->start_pfn), MIGRATE_ISOLATE);
	mutex_unlock(&zone->lock);
	free_unref_page(zone, page, 0);
	EXPECT_EQ(pcp_nr_frames(zone), 0);
	EXPECT_EQ(zone_free_pages_nr(zone), before + 1);
	stop(zone);
}

/* Each free goes to the zone it came from, whatever zone the thread freed to before. */
static void frees_find_their_zone_when_it_changes(void)
{
	struct zone *zones[2] = { start(2), phys_zone(0, 32) };
	struct page *pages[2];

	for (int i = 0; i < 2; i++) {
		enum grow_failure why;

		EXPECT_EQ(zone_grow(zones[i], 0, &why), 0);
		pages[i] = rmqueue(zones[i], 0, MIGRATE_MOVABLE, 0);
	}
	for (int i = 0; i < 10; i++) {
		int at = i % 2;

		free_unref_page(zones[at], pages[at], 0);
		EXPECT(hit(zones[at], 0, MIGRATE_MOVABLE) == pages[at]);
		EXPECT(page_zone(pages[at]) == zones[at]);
	}
	free_unref_page(zones[0], pages[0], 0);
	free_unref_page(zones[1], pages[1], 0);
	pcp_drain_all(zones[1]);
	EXPECT_EQ(zone_free_pages_nr(zones[1]), zones[1]->managed);
	EXPECT(pcp_nr_frames(zones[0]) > 0);
	phys_zone_end(zones[1]);
	stop(zones[0]);
}

/* What the thread used last has no zone any more, then another one's. */
static void a_pageset_outlives_its_zone(void)
{
	struct zone      *zone = start(2), *next;
	struct page      *page = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
	struct pcp       *pcp = pcp_of_this_cpu(zone);
	enum grow_failure why;

	free_unref_page(zone, page, 0);
	phys_zone_end(zone);
	EXPECT_EQ(pcp->zone_id, PCP_UNUSED);
	next = phys_zone(0, 32);
	EXPECT_EQ(zone_grow(next, 0, &why), 0);
	EXPECT(pcp_of_this_cpu(next) == NULL);
	page = rmqueue(next, 0, MIGRATE_MOVABLE, 0);
	EXPECT(pcp_of_this_cpu(next) == pcp);
	EXPECT_EQ(pcp->zone_id, next->id);
	EXPECT_EQ(pcp->classes[0].nr_alloc, 1);
	free_unref_page(next, page, 0);
	EXPECT(hit(next, 0, MIGRATE_MOVABLE) == page);
	free_unref_page(next, page, 0);
	stop(next);
}

/* In either direction, and in none, everything merges again. */
static void runs_of_frees_come_back_whole(void)
{
	enum { NR = 3000 };
	static struct page *pages[NR];
	struct zone        *zone = start(16);

	for (int way = 0; way < 3; way++) {
		for (int i = 0; i < NR; i++)
			pages[i] = rmqueue(zone, 0, MIGRATE_MOVABLE, 0);
		for (int i = 0; i < NR; i++) {
			int at = way == 0 ? i : way == 1 ? NR - 1 - i : i * 1009 % NR;

			free_unref_page(zone, pages[at], 0);
		}
		phys_expect_valid();
		pcp_drain_all(zone);
		EXPECT_EQ(zone_free_pages_nr(zone), zone->managed);
		EXPECT_EQ(zone_nr_empty_blocks(zone), 16);
	}
	stop(zone);
}

/* A burst of one type doesn't push everything of another out. */
static void an_overflow_takes_from_every_type(void)
{
	enum { NR = 400 };
	static struct page *pages[2][NR];
	struct zone        *zone = start(16);
	struct pcp_class   *class;

	for (int type = 0; type < 2; type++)
		for (int i = 0; i < NR; i++)
			pages[type][i] = rmqueue(zone, 0, (enum migratetype)type, 0);
	pcp_drain_all(zone);
	pcp_decay(zone);
	class = &pcp_of_this_cpu(zone)->classes[0];
	class->high = class->high_min;
	for (int i = 0; i < NR; i++)
		for (int type = 0; type < 2; type++)
			free_unref_page(zone, pages[type][i], 0);
	EXPECT(!list_empty(&class->lists[MIGRATE_UNMOVABLE]));
	EXPECT(!list_empty(&class->lists[MIGRATE_MOVABLE]));
	EXPECT(class->nr_out > 0);
	pcp_drain_all(zone);
	EXPECT_EQ(zone_free_pages_nr(zone), zone->managed);
	stop(zone);
}

/* ---- several CPUs and visitors at once ---- */

enum { NR_OWNERS = 3, NR_ROUNDS = 4000, NR_HELD = 40 };

struct stress {
	struct zone  *zone;
	_Atomic bool  stop;
	unsigned int  seed;
};

static void *own(void *arg)
{
	struct stress *stress = arg;
	struct page   *held[NR_HELD] = { NULL };
	unsigned int   order[NR_HELD] = { 0 };
	uint64_t       random = stress->seed;

	EXPECT_EQ(cpu_slot_register(0), 0);
	for (int i = 0; i < NR_ROUNDS; i++) {
		int at = (int)(test_random(&random) % NR_HELD);

		if (held[at]) {
			EXPECT_EQ(pg_word_state(pg_load(held[at])), PG_ALLOCATED);
			EXPECT_EQ(page_session(held[at]), stress->seed);
			free_unref_page(stress->zone, held[at], order[at]);
			held[at] = NULL;
			continue;
		}
		order[at] = (unsigned int)(test_random(&random) % 6);
		held[at] = rmqueue(stress->zone, order[at],
				   (enum migratetype)(test_random(&random) % 3), 0);
		if (held[at])
			page_set_owner(held[at], stress->seed, 0);
	}
	for (int at = 0; at < NR_HELD; at++)
		if (held[at])
			free_unref_page(stress->zone, held[at], order[at]);
	pcp_cpu_dead(this_cpu());
	cpu_slot_unregister();
	return NULL;
}

static void *visit(void *arg)
{
	struct stress *stress = arg;

	for (unsigned int i = 0; !stress->stop; i++) {
		enum grow_failure why;

		if (i % 3 == 0)
			pcp_drain_all(stress->zone);
		else if (i % 3 == 1)
			pcp_decay(stress->zone);
		zone_shrink(stress->zone, 2, 2);
		zone_grow(stress->zone, 0, &why);
	}
	return NULL;
}

static void visitors_and_owners_agree(void)
{
	struct stress stress[NR_OWNERS + 1];
	pthread_t     threads[NR_OWNERS + 1];
	struct zone  *zone = start(8);

	for (unsigned int i = 0; i <= NR_OWNERS; i++) {
		stress[i] = (struct stress){ .zone = zone, .seed = i + 1 };
		EXPECT_EQ(pthread_create(&threads[i], NULL, i < NR_OWNERS ? own : visit,
					 &stress[i]), 0);
	}
	for (int i = 0; i < NR_OWNERS; i++)
		pthread_join(threads[i], NULL);
	stress[NR_OWNERS].stop = true;
	pthread_join(threads[NR_OWNERS], NULL);
	pcp_drain_all(zone);
	EXPECT_EQ(zone_free_pages_nr(zone), zone->managed);
	stop(zone);
}

static const struct test_case cases[] = {
	{ "what was freed last is granted first", what_was_freed_last_is_granted_first },
	{ "types and orders have their own lists", types_and_orders_have_their_own_lists },
	{ "a hit leaves the buddy alone", a_hit_leaves_the_buddy_alone },
	{ "bursts raise high and idleness lowers it", bursts_raise_high_and_idleness_lowers_it },
	{ "draining empties the pagesets", draining_empties_the_pagesets },
	{ "the pageset of a lost CPU is drained", the_pageset_of_a_lost_cpu_is_drained },
	{ "a thread without a slot uses the buddy", a_thread_without_a_slot_uses_the_buddy },
	{ "full pagesets overflow to the buddy", full_pagesets_overflow_to_the_buddy },
	{ "frames of special pageblocks pass the pagesets",
	  frames_of_special_pageblocks_pass_the_pagesets },
	{ "frees find their zone when it changes", frees_find_their_zone_when_it_changes },
	{ "a pageset outlives its zone", a_pageset_outlives_its_zone },
	{ "runs of frees come back whole", runs_of_frees_come_back_whole },
	{ "an overflow takes from every type", an_overflow_takes_from_every_type },
	{ "visitors and owners agree", visitors_and_owners_agree },
};
TEST_MAIN(cases)
