/* SPDX-License-Identifier: Apache-2.0 */
/* crowd - see crowd.h */
#include "mm/space/crowd.h"

#include "mm/balance/swap_io.h"

static uint32_t load(const _Atomic uint32_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint32_t add_one(_Atomic uint32_t *counter)
{
	return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) + 1;
}

/* D1 */
static void forget_half(struct crowd_marks *marks)
{
	for (int i = 0; i < CROWD_PLACES; i++) {
		uint16_t nr = atomic_load_explicit(&marks->faults[i], memory_order_relaxed);

		atomic_fetch_sub_explicit(&marks->faults[i], (uint16_t)(nr - nr / 2),
					  memory_order_relaxed);
	}
}

/* How many faults the page's place has had lately, this one among them. */
static uint32_t count(struct crowd_marks *marks, uint64_t page)
{
	_Atomic uint16_t *at = &marks->faults[page / CROWD_PLACE % CROWD_PLACES];
	uint32_t nr = atomic_fetch_add_explicit(at, 1, memory_order_relaxed) + 1u;
	uint32_t all = add_one(&marks->nr_faults);

	if (all >= CROWD_FAULTS &&
	    atomic_compare_exchange_strong(&marks->nr_faults, &all, all / 2))
		forget_half(marks);
	return nr;
}

/* D3 */
static bool pays(struct crowd_marks *marks)
{
	if (load(&marks->nr_lost) <= CROWD_WORTH * load(&marks->nr_won) + CROWD_TRIAL)
		return true;
	return add_one(&marks->nr_declined) % CROWD_TRIAL == 0;
}

static bool is_crowded(struct region *region, uint64_t page)
{
	struct crowd_marks *marks = &region->crowd;
	uint64_t places = (region->nr_pages + CROWD_PLACE - 1) / CROWD_PLACE;
	uint32_t nr = count(marks, page);

	places = min_t(uint64_t, places, CROWD_PLACES);
	return nr >= CROWD_LEAST + CROWD_TIMES * load(&marks->nr_faults) / places && pays(marks);
}

static void pick(const struct region *region, uint64_t page, struct page_range within,
		 struct crowd *out)
{
	if (page < within.first || page >= within.first + within.nr || out->nr == CROWD_READS)
		return;
	if (word_state(word_load(&region->words[page])) == PAGE_SWAPPED)
		out->pages[out->nr++] = page;
}

void crowd_fault(const struct mm_target *target, struct crowd *out)
{
	struct region *region = target->region;
	uint64_t place = round_down(target->page, CROWD_PLACE);
	struct page_range within = { max_t(uint64_t, place, target->first), 0 };

	out->nr = 0;
	if (!is_crowded(region, target->page) || region_kin(region))
		return;
	within.nr = min_t(uint64_t, place + CROWD_PLACE, target->end) - within.first;
	for (uint64_t far = 1; far <= CROWD_REACH; far++) {
		pick(region, target->page + far, within, out);
		pick(region, target->page - far, within, out);
	}
}

static void score(_Atomic uint32_t *counter, struct crowd_marks *marks)
{
	if (add_one(counter) < CROWD_SCORE_MAX)
		return;
	atomic_store_explicit(&marks->nr_won, load(&marks->nr_won) / 2, memory_order_relaxed);
	atomic_store_explicit(&marks->nr_lost, load(&marks->nr_lost) / 2, memory_order_relaxed);
}

void crowd_won(struct region *region)
{
	score(&region->crowd.nr_won, &region->crowd);
	swap_ahead_hit(1);
}

void crowd_lost(struct region *region)
{
	score(&region->crowd.nr_lost, &region->crowd);
}
