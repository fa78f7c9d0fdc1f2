/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap - swap.c and swap_validate.c: slots, clusters, counts
 */
#include "mm/map/swap.h"

#include <errno.h>

#include "base/inject.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/phys/stock.h"

enum { CLUSTERS = 20, SLOTS = CLUSTERS * CLUSTER_SLOTS };

static struct swap_cursor cursor;

static uint32_t start_area(uint64_t nr_slots, int16_t priority)
{
	struct swap_area_request request = { .nr_slots = nr_slots, .priority = priority };
	uint32_t                 area;

	EXPECT_EQ(swap_area_add(&request, &area), 0);
	swap_area_accept(area, true);
	return area;
}

static void start(void)
{
	cursor = (struct swap_cursor){ 0 };
	phys_start(&(struct phys_setup){ .base_mib = 64 });
}

static void stop(void)
{
	struct swap_area_stat stat;

	phys_expect_valid();
	for (uint32_t i = 0; i < SWAP_AREAS_MAX; i++)
		if (swap_area_stat(i, &stat))
			swap_area_remove(i);
	phys_stop();
}

static uint32_t used(uint32_t area)
{
	struct swap_area_stat stat;

	EXPECT(swap_area_stat(area, &stat));
	return (uint32_t)stat.nr_used;
}

static void numbers_fit_their_parts(void)
{
	EXPECT_EQ(slot_area(slot_make(7, 0x1fffffff)), 7);
	EXPECT_EQ(slot_index(slot_make(7, 0x1fffffff)), 0x1fffffff);
	EXPECT_EQ(slot_make(0, 0), SLOT_NONE);
}

static void a_batch_is_adjoining_slots(void)
{
	uint32_t area, first, next, got;

	start();
	area = start_area(SLOTS, 0);
	first = swap_alloc(&cursor, 256, SLOT_NONE, &got);
	EXPECT_EQ(got, 256);
	next = swap_alloc(&cursor, 256, SLOT_NONE, &got);
	EXPECT_EQ(next, first + 256);
	EXPECT_EQ(used(area), 512);
	EXPECT_EQ(swap_count(first + 511), 1);
	EXPECT_EQ(swap_count(first + 512), 0);
	swap_free(first, 512);
	EXPECT_EQ(used(area), 0);
	stop();
}

static void the_header_is_nobodys(void)
{
	uint32_t got, slot, nr = 0;

	start();
	start_area(SLOTS, 0);
	EXPECT_EQ(swap_capacity(), SLOTS - 1);
	while ((slot = swap_alloc(&cursor, 100, SLOT_NONE, &got))) {
		EXPECT(slot_index(slot) != 0);
		EXPECT(got > 0);
		nr += got;
	}
	EXPECT_EQ(nr, SLOTS - 1);
	EXPECT_EQ(swap_free_slots(), 0);
	swap_free(slot_make(0, 1), SLOTS - 1);
	EXPECT_EQ(swap_free_slots(), SLOTS - 1);
	stop();
}

static void an_area_needs_no_whole_clusters(void)
{
	uint32_t got, slot, nr = 0;

	start();
	start_area(700, 0);
	while ((slot = swap_alloc(&cursor, 64, SLOT_NONE, &got))) {
		EXPECT(slot_index(slot) + got <= 700);
		nr += got;
	}
	EXPECT_EQ(nr, 699);
	swap_free(slot_make(0, 1), 699);
	stop();
}

static void a_hint_is_obeyed_if_the_slot_is_free(void)
{
	uint32_t got, slot, wish = slot_make(0, 5 * CLUSTER_SLOTS + 17);

	start();
	start_area(SLOTS, 0);
	EXPECT_EQ(swap_alloc(&cursor, 8, wish, &got), wish);
	EXPECT_EQ(got, 8);
	EXPECT_EQ(swap_alloc(&cursor, 8, wish + 8, &got), wish + 8);
	EXPECT_EQ(swap_alloc(&cursor, 8, wish - 4, &got), wish - 4);
	EXPECT_EQ(got, 4);
	slot = swap_alloc(&cursor, 1, wish, &got);
	EXPECT(slot != SLOT_NONE && slot != wish);
	EXPECT_EQ(got, 1);
	swap_free(slot, 1);
	slot = swap_alloc(&cursor, 1, slot_make(3, 77), &got); /* no such area */
	EXPECT(slot != SLOT_NONE);
	swap_free(slot, 1);
	slot = swap_alloc(&cursor, 1, slot_make(0, SLOTS + 5), &got);
	EXPECT(slot != SLOT_NONE);
	swap_free(slot, 1);
	swap_free(wish - 4, 20);
	stop();
}

static void two_cursors_stay_apart(void)
{
	struct swap_cursor other = { 0 };
	uint32_t           a, b, got;

	start();
	start_area(SLOTS, 0);
	a = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	b = swap_alloc(&other, 1, SLOT_NONE, &got);
	EXPECT(a / CLUSTER_SLOTS != b / CLUSTER_SLOTS);
	EXPECT_EQ(swap_alloc(&cursor, 1, SLOT_NONE, &got), a + 1);
	EXPECT_EQ(swap_alloc(&other, 1, SLOT_NONE, &got), b + 1);
	swap_free(a, 2);
	swap_free(b, 2);
	swap_cursor_put(&other);
	swap_cursor_put(&other);
	stop();
}

static void what_another_cursor_holds_is_the_last_resort(void)
{
	struct swap_cursor other = { 0 };
	uint32_t           got, nr = 0;

	start();
	start_area(2 * CLUSTER_SLOTS, 0);
	EXPECT(swap_alloc(&other, 1, SLOT_NONE, &got));
	while (swap_alloc(&cursor, CLUSTER_SLOTS, SLOT_NONE, &got))
		nr += got;
	EXPECT_EQ(nr, 2 * CLUSTER_SLOTS - 2);
	swap_free(slot_make(0, 1), 2 * CLUSTER_SLOTS - 1);
	stop();
}

static void a_huge_page_gets_a_whole_cluster(void)
{
	uint32_t slot, got, nr = 0;

	start();
	start_area(SLOTS, 0);
	EXPECT(swap_alloc(&cursor, 1, SLOT_NONE, &got));
	while ((slot = swap_alloc_huge(&cursor))) {
		EXPECT_EQ(slot % CLUSTER_SLOTS, 0);
		EXPECT_EQ(swap_count(slot + 511), 1);
		swap_free(slot, CLUSTER_SLOTS);
		EXPECT_EQ(swap_alloc_huge(&cursor) % CLUSTER_SLOTS, 0);
		nr++;
	}
	EXPECT_EQ(nr, CLUSTERS - 2); /* the header's and the cursor's */
	for (uint32_t i = 0; i < CLUSTERS; i++)
		if (swap_count(slot_make(0, i * CLUSTER_SLOTS + 1)) &&
		    swap_count(slot_make(0, i * CLUSTER_SLOTS + 9)))
			swap_free(slot_make(0, i * CLUSTER_SLOTS), CLUSTER_SLOTS);
	EXPECT_EQ(used(0), 1);
	EXPECT(swap_alloc_huge(&cursor) != SLOT_NONE);
	for (uint32_t i = 1; i < SLOTS; i++)
		if (swap_count(slot_make(0, i)))
			swap_free(slot_make(0, i), 1);
	stop();
}

static void small_pages_leave_empty_clusters_for_huge_ones(void)
{
	uint32_t got, nr_huge = 0, nr = 0;

	start();
	start_area(SLOTS, 0);
	/* One slot in every cluster but the last fifth: much is free, little is empty. */
	for (uint32_t i = 1; i < CLUSTERS - 2; i++)
		EXPECT(swap_alloc(&cursor, 1, slot_make(0, i * CLUSTER_SLOTS), &got));
	for (nr = 0; nr < 10 * CLUSTER_SLOTS; nr += got)
		EXPECT(swap_alloc(&cursor, 64, SLOT_NONE, &got));
	while (swap_alloc_huge(&cursor))
		nr_huge++;
	EXPECT_EQ(nr_huge, 2);
	for (uint32_t i = 1; i < SLOTS; i++)
		if (swap_count(slot_make(0, i)))
			swap_free(slot_make(0, i), 1);
	stop();
}

/* A file system that has only reserved a block takes as long to decide about it as to write it. */
static void what_was_written_before_is_written_again_first(void)
{
	struct swap_cursor other = { 0 };
	uint32_t           got, first, second, again;

	start();
	start_area(SLOTS, 0);
	first = swap_alloc_huge(&cursor);
	second = swap_alloc(&cursor, CLUSTER_SLOTS / 2, SLOT_NONE, &got);
	swap_cursor_put(&cursor);
	swap_free(first, CLUSTER_SLOTS);
	EXPECT_EQ(swap_alloc_huge(&cursor), first);
	swap_free(second, got);
	swap_free(first, CLUSTER_SLOTS);
	again = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	EXPECT_EQ(slot_index(again) / CLUSTER_SLOTS, slot_index(first) / CLUSTER_SLOTS);
	EXPECT_EQ(swap_alloc_huge(&other), round_down(second, CLUSTER_SLOTS));
	swap_free(round_down(second, CLUSTER_SLOTS), CLUSTER_SLOTS);
	swap_free(again, 1);
	stop();
}

static void a_slot_is_free_when_its_last_word_goes(void)
{
	uint32_t slot, got;

	start();
	start_area(SLOTS, 0);
	slot = swap_alloc(&cursor, 2, SLOT_NONE, &got);
	EXPECT_EQ(swap_dup(slot, 2), 0);
	EXPECT_EQ(swap_count(slot), 2);
	swap_free(slot, 2);
	EXPECT_EQ(used(0), 2);
	swap_free(slot, 1);
	EXPECT_EQ(used(0), 1);
	EXPECT_EQ(swap_count(slot), 0);
	EXPECT_EQ(swap_count(slot + 1), 1);
	swap_free(slot + 1, 1);
	stop();
}

static void counts_end_before_they_wrap(void)
{
	uint32_t slot, got;

	start();
	start_area(SLOTS, 0);
	slot = swap_alloc(&cursor, 2, SLOT_NONE, &got);
	for (int i = 1; i < SLOT_COUNT_MAX; i++)
		EXPECT_EQ(swap_dup(slot + 1, 1), 0);
	EXPECT_EQ(swap_dup(slot + 1, 1), -EOVERFLOW);
	EXPECT_EQ(swap_dup(slot, 2), -EOVERFLOW);
	EXPECT_EQ(swap_count(slot), 1);
	for (int i = 0; i < SLOT_COUNT_MAX; i++)
		swap_free(slot + 1, 1);
	swap_free(slot, 1);
	stop();
}

static void a_retired_slot_is_never_given_again(void)
{
	uint32_t slot, got, nr = 0;

	start();
	start_area(600, 0);
	slot = swap_alloc(&cursor, 3, SLOT_NONE, &got);
	EXPECT_EQ(swap_dup(slot, 1), 0);
	EXPECT_EQ(swap_retire(slot, 2), 1); /* the first has another word */
	EXPECT_EQ(swap_count(slot + 1), 0);
	EXPECT_EQ(swap_capacity(), 598);
	swap_free(slot, 1);
	swap_free(slot + 2, 1);
	while (swap_alloc(&cursor, 7, SLOT_NONE, &got))
		nr += got;
	EXPECT_EQ(nr, 598);
	for (uint32_t i = 1; i < 600; i++)
		if (slot_make(0, i) != slot + 1)
			swap_free(slot_make(0, i), 1);
	EXPECT_EQ(used(0), 0);
	stop();
}

static void areas_are_filled_by_priority(void)
{
	uint32_t low, high, late, got;

	start();
	low = start_area(512, 1);
	high = start_area(512, 5);
	late = start_area(512, 1);
	EXPECT_EQ(slot_area(swap_alloc(&cursor, 512, SLOT_NONE, &got)), high);
	EXPECT_EQ(got, 511);
	EXPECT_EQ(slot_area(swap_alloc(&cursor, 512, SLOT_NONE, &got)), low);
	EXPECT_EQ(slot_area(swap_alloc(&cursor, 512, SLOT_NONE, &got)), late);
	EXPECT_EQ(swap_alloc(&cursor, 512, SLOT_NONE, &got), SLOT_NONE);
	for (uint32_t i = 0; i < 3; i++)
		swap_free(slot_make(i, 1), 511);
	stop();
}

static void an_area_that_does_not_accept_gives_no_slots(void)
{
	uint32_t slot, got;

	start();
	start_area(SLOTS, 0);
	slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	swap_area_accept(0, false);
	EXPECT_EQ(swap_alloc(&cursor, 1, SLOT_NONE, &got), SLOT_NONE);
	EXPECT_EQ(swap_alloc(&cursor, 1, slot + 1, &got), SLOT_NONE);
	EXPECT_EQ(swap_alloc_huge(&cursor), SLOT_NONE);
	EXPECT_EQ(swap_capacity(), 0);
	EXPECT_EQ(swap_count(slot), 1);
	swap_free(slot, 1);
	stop();
}

static void a_cursor_survives_its_area(void)
{
	uint32_t got, slot;

	start();
	start_area(SLOTS, 0);
	slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	swap_free(slot, 1);
	swap_area_remove(0);
	EXPECT_EQ(start_area(CLUSTER_SLOTS, 0), 0);
	swap_cursor_put(&cursor);
	slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	EXPECT(slot_index(slot) < CLUSTER_SLOTS);
	swap_free(slot, 1);
	stop();
}

/* What it held of an area that gives nothing for a while is everybody's again. */
static void a_cursor_that_goes_on_lets_go(void)
{
	struct swap_cursor other = { 0 };
	uint32_t           first, slot, huge, got;

	start();
	first = start_area(2 * CLUSTER_SLOTS, 5);
	start_area(SLOTS, 0);
	slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	EXPECT_EQ(slot_area(slot), first);
	swap_free(slot, 1);
	swap_area_accept(first, false);
	slot = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	EXPECT(slot_area(slot) != first);
	swap_area_accept(first, true);
	huge = swap_alloc_huge(&other);
	EXPECT_EQ(huge, slot_make(first, CLUSTER_SLOTS));
	swap_free(huge, CLUSTER_SLOTS);
	swap_free(slot, 1);
	stop();
}

/* Though it looks into the full one first each time. */
static void a_cursor_stays_beside_an_area_that_is_full(void)
{
	uint32_t full, first, got, nr = 0;

	start();
	full = start_area(CLUSTER_SLOTS, 5);
	start_area(SLOTS, 0);
	do
		first = swap_alloc(&cursor, 1, SLOT_NONE, &got);
	while (slot_area(first) == full);
	while (++nr < 20)
		EXPECT_EQ(swap_alloc(&cursor, 1, SLOT_NONE, &got), first + nr);
	swap_free(first, nr);
	swap_free(slot_make(full, 1), CLUSTER_SLOTS - 1);
	stop();
}

static void claims_restore_counts(void)
{
	uint32_t area;

	start();
	EXPECT_EQ(swap_area_add(&(struct swap_area_request){ .nr_slots = SLOTS }, &area), 0);
	EXPECT_EQ(swap_claim(slot_make(0, 1000), 40), 0);
	EXPECT_EQ(swap_claim(slot_make(0, 1010), 1), 0);
	EXPECT_EQ(swap_claim(slot_make(0, SLOTS - 1), 2), -EINVAL);
	EXPECT_EQ(swap_claim(slot_make(1, 1), 1), -EINVAL);
	EXPECT_EQ(swap_claim(SLOT_NONE, 1), -EINVAL);
	EXPECT_EQ(swap_count(slot_make(0, 1010)), 2);
	EXPECT_EQ(used(0), 40);
	swap_free(slot_make(0, 1010), 1);
	swap_free(slot_make(0, 1000), 40);
	stop();
}

static uint64_t swap_frames(void)
{
	return swap_promisable(swap_capacity());
}

/* So many clusters as huge pages were promised stay whole, and no more are promised than there
 * are. */
static void clusters_are_kept_for_huge_pages(void)
{
	static const struct stock_swap swap = { swap_frames, swap_promisable_huge };
	const struct stock_place huge = { .kind = STOCK_HUGE, .whole = true };
	struct phys_setup setup = { .base_mib = 64, .huge_mib = 16 };
	uint64_t fits, kept = 5;
	uint32_t got, slot, nr = 0;

	phys_start(&setup);
	cursor = (struct swap_cursor){ 0 };
	start_area(SLOTS, 0);
	stock_set_swap(&swap);
	/* Without the header's. */
	EXPECT_EQ(swap_promisable_huge(), (CLUSTERS - 1 - 2) * CLUSTER_SLOTS);
	fits = stock_limit(0, STOCK_HUGE);
	EXPECT_EQ(stock_commit_evictable(&huge, fits + kept * CLUSTER_SLOTS), 0);
	EXPECT_EQ(stock_promised_beyond_huge(), kept * CLUSTER_SLOTS);
	while (swap_alloc(&cursor, 1, SLOT_NONE, &got))
		nr++;
	EXPECT_EQ(nr, SLOTS - 1 - (kept + 2) * CLUSTER_SLOTS);
	/* All that is left is promised already. */
	EXPECT_EQ(swap_promisable_huge(), kept * CLUSTER_SLOTS);
	EXPECT_EQ(stock_commit_evictable(&huge, CLUSTER_SLOTS), -ENOMEM);
	for (uint64_t i = 0; i < kept + 2; i++) {
		slot = swap_alloc_huge(&cursor);
		EXPECT(slot);
		EXPECT_EQ(swap_promisable_huge(), kept * CLUSTER_SLOTS);
	}
	EXPECT_EQ(swap_alloc_huge(&cursor), SLOT_NONE);
	stock_uncommit_evictable(&huge, fits + kept * CLUSTER_SLOTS);
	EXPECT_EQ(stock_promised_beyond_huge(), 0);
	swap_free(slot, CLUSTER_SLOTS);
	EXPECT(swap_alloc(&cursor, 1, SLOT_NONE, &got)); /* nobody is promised it any more */
	stock_set_swap(NULL);
	phys_expect_valid();
	for (uint32_t i = 1; i < SLOTS; i++)
		if (swap_count(slot_make(0, i)))
			swap_free(slot_make(0, i), 1);
	stop();
}

static void an_area_that_can_not_be_leaves_nothing(void)
{
	struct swap_area_request request = { .nr_slots = 1 };
	uint64_t                 before;
	uint32_t                 area;

	start();
	before = meta_bytes();
	EXPECT_EQ(swap_area_add(&request, &area), -EINVAL);
	request.nr_slots = swap_slots_max() + 1;
	EXPECT_EQ(swap_area_add(&request, &area), -EINVAL);
	request.nr_slots = SLOTS;
	for (int nth = 1; nth <= 2; nth++) {
		inject_arm(INJECT_META_POPULATE, (uint64_t)nth, -ENOMEM);
		EXPECT_EQ(swap_area_add(&request, &area), -ENOMEM);
		EXPECT_EQ(meta_bytes(), before);
	}
	inject_arm(INJECT_META_POPULATE, 0, 0);
	for (int i = 0; i < SWAP_AREAS_MAX; i++)
		EXPECT_EQ(swap_area_add(&request, &area), 0);
	EXPECT_EQ(swap_area_add(&request, &area), -ENOSPC);
	stop();
}

static const struct test_case cases[] = {
	{ "numbers fit their parts", numbers_fit_their_parts },
	{ "a batch is adjoining slots", a_batch_is_adjoining_slots },
	{ "the header is nobody's", the_header_is_nobodys },
	{ "an area needs no whole clusters", an_area_needs_no_whole_clusters },
	{ "a hint is obeyed if the slot is free", a_hint_is_obeyed_if_the_slot_is_free },
	{ "two cursors stay apart", two_cursors_stay_apart },
	{ "what another cursor holds is the last resort",
	  what_another_cursor_holds_is_the_last_resort },
	{ "clusters are kept for huge pages that are promised", clusters_are_kept_for_huge_pages },
	{ "a huge page gets a whole cluster", a_huge_page_gets_a_whole_cluster },
	{ "small pages leave empty clusters for huge ones",
	  small_pages_leave_empty_clusters_for_huge_ones },
	{ "what was written before is written again first",
	  what_was_written_before_is_written_again_first },
	{ "a slot is free when its last word goes", a_slot_is_free_when_its_last_word_goes },
	{ "counts end before they wrap", counts_end_before_they_wrap },
	{ "a retired slot is never given again", a_retired_slot_is_never_given_again },
	{ "areas are filled by priority", areas_are_filled_by_priority },
	{ "an area that doesn't accept gives no slots",
	  an_area_that_does_not_accept_gives_no_slots },
	{ "a cursor survives its area", a_cursor_survives_its_area },
	{ "a cursor that goes on to another area lets go", a_cursor_that_goes_on_lets_go },
	{ "a cursor stays where it is beside an area that is full",
	  a_cursor_stays_beside_an_area_that_is_full },
	{ "claims restore counts", claims_restore_counts },
	{ "an area that can't be leaves nothing", an_area_that_can_not_be_leaves_nothing },
};
TEST_MAIN(cases)
