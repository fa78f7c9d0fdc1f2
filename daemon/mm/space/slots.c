/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots - walks over regions, first for copies, then for pages that have room
 */
#include "mm/space/slots.h"

#include <errno.h>

#include "base/heartbeat.h"
#include "mm/phys/node.h"
#include "mm/space/mapping.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"
#include "mm/space/swapin.h"
#include "os/os.h"

enum {
	SLOTS_BACK = 4 * PAGEBLOCK_PAGES,
	FRAMES_LEFT = 32, /* to those who wait for one */
	SCARCE_NS = 200 * 1000 * 1000,
};

static _Atomic uint64_t scarce_until_ns;
static _Atomic bool     busy; /* a thread brings pages back */

bool slots_are_scarce(void)
{
	uint64_t until = atomic_load_explicit(&scarce_until_ns, memory_order_relaxed);

	return until && os->now_ns() < until;
}

static uint64_t give_copies(struct swapper *unused, struct region *region, uint64_t wanted)
{
	uint64_t frames = region_frames_per_page(region), freed = 0;

	if (!atomic_load(&region->nr_resident))
		return 0;
	for (uint64_t page = 0; page < region->nr_pages && freed < wanted; page++) {
		uint64_t word = word_load(region_word(region, page));

		if (word_state(word) == PAGE_PRESENT && word & WORD_CLEAN && word_high(word) &&
		    region_dirty_page(region, page))
			freed += frames;
	}
	return freed;
}

/* As many as adjoin, up to a batch. */
static uint64_t swapped_run(struct region *region, uint64_t page)
{
	uint64_t most = SWAPPER_PAGES / region_frames_per_page(region), nr = 0;

	while (nr < most && page + nr < region->nr_pages &&
	       word_state(word_load(region_word(region, page + nr))) == PAGE_SWAPPED)
		nr++;
	return nr;
}

/* What inherits the page may need the same slot: there it is a copy from now on. */
static uint64_t bring_back(struct swapper *s, struct region *region, uint64_t wanted)
{
	uint64_t frames = region_frames_per_page(region), freed = 0, nr;

	if (!atomic_load(&region->nr_swapped))
		return 0;
	for (uint64_t page = 0; page < region->nr_pages && freed < wanted; page += nr) {
		struct swap_in_request want = { .region = region, .write = !region_kin(region) };
		struct page_range run;
		int r;

		nr = swapped_run(region, page);
		want.range = (struct page_range){ page, nr };
		if (!nr) {
			nr = 1;
			continue;
		}
		if (!region_has_room(region, nr * frames + FRAMES_LEFT))
			break;
		r = region_swap_in(s, &want, &run);
		if (r == -ENOMEM)
			break;
		if (!r)
			freed += run.nr * frames;
		heartbeat_touch();
	}
	return freed;
}

static uint64_t for_each(uint64_t (*give)(struct swapper *s, struct region *region,
					  uint64_t wanted),
			 struct swapper *s)
{
	struct region *region = region_seek(NULL, 0);
	uint64_t freed = 0;

	for (; region && freed < SLOTS_BACK; region = region_next(NULL, region)) {
		freed += give(s, region, SLOTS_BACK - freed);
		heartbeat_touch();
	}
	if (region)
		region_put(region);
	return freed;
}

bool slots_take_back(bool needed)
{
	uint64_t freed = for_each(give_copies, NULL);
	struct swapper *s;

	if (!needed)
		return true;
	atomic_store(&scarce_until_ns, os->now_ns() + SCARCE_NS);
	if (freed >= SLOTS_BACK)
		return true;
	if (atomic_exchange(&busy, true))
		return false;
	s = swapper_try_get(SWAPPER_READER);
	if (s) {
		for_each(bring_back, s);
		swapper_put(s);
	}
	atomic_store(&busy, false);
	return true;
}
