/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evacuate - every region, again and again, until the area's slots are free
 */
#include "mm/space/evacuate.h"

#include <errno.h>
#include <time.h>

#include "base/heartbeat.h"
#include "mm/balance/swap_area.h"
#include "mm/space/mapping.h"
#include "mm/space/reclaim.h"
#include "mm/space/rejoin.h"
#include "mm/space/residency.h"
#include "mm/space/swapin.h"

/* Evictions that had slots before the area stopped giving any are over long before that. */
enum { WALKS_MAX = 10000, SHORT_TRIES = 100 };

static const struct timespec walk_pause = { .tv_nsec = 1000 * 1000 };

struct evacuation {
	uint32_t area;
	struct swapper *swapper;
	uint64_t end; /* of what this walk has brought back of the region */
	uint32_t nr_short; /* how often nothing could be freed, since a page came back last */
	int error;
};

static bool is_in(uint64_t word, uint32_t area)
{
	return word_slot(word) && slot_area(word_slot(word)) == area;
}

/* As many pages from here on as are in the area; the caller looks at what is left again. */
static int bring_back(struct evacuation *e, struct region *region, uint64_t page)
{
	/* Who uses the same slot can inherit the page later in this walk: the next one frees it. */
	struct swap_in_request want = { .region = region, .range = { page, 1 },
					.write = !region_kin(region) };
	struct page_range run;
	int r;

	while (want.range.nr < SWAPPER_PAGES && page + want.range.nr < region->nr_pages) {
		uint64_t word = word_load(region_word(region, page + want.range.nr));

		if (word_state(word) != PAGE_SWAPPED || !is_in(word, e->area))
			break;
		want.range.nr++;
	}
	if (rejoin_run(region, want.range))
		return 0;
	r = region_swap_in(e->swapper, &want, &run);
	if (!r) {
		e->end = run.first + run.nr;
		e->nr_short = 0;
	}
	if (r == -ENOMEM && reclaim_for(region)) {
		r = -EAGAIN;
	} else if (r == -ENOMEM && e->nr_short++ < SHORT_TRIES) {
		heartbeat_sleep(&walk_pause); /* others have taken what was freed */
		r = -EAGAIN;
	}
	/* A page that can't be read is poisoned, and keeps its slot until the next look. */
	return r == -EAGAIN || r == -EIO ? 0 : r;
}

/* The copy on disk goes, and with it the last hope for what it held. */
static void forget_poisoned(struct region *region, uint64_t page)
{
	uint64_t old;

	if (!word_try_busy(region_word(region, page), PAGE_POISONED, &old))
		return;
	if (word_end_busy(region_word(region, page), PAGE_POISONED))
		region_wake(region, (struct page_range){ page, 1 });
	if (word_slot(old))
		region_free_slot(region, word_slot(old));
}

static int settle_page(struct evacuation *e, struct region *region, uint64_t page, uint64_t word)
{
	if (word_state(word) == PAGE_SWAPPED)
		return bring_back(e, region, page);
	if (word_state(word) != PAGE_PRESENT)
		forget_poisoned(region, page);
	else if (page >= e->end)
		region_dirty_page(region, page);
	return 0;
}

static void evacuate_region(struct region *region, void *arg)
{
	struct evacuation *e = arg;

	e->end = 0;
	for (uint64_t i = 0; i < region->nr_pages && !e->error; i++) {
		uint64_t word = word_load(region_word(region, i));

		if (is_in(word, e->area) && !(word & WORD_BUSY))
			e->error = settle_page(e, region, i, word);
	}
}

static int evacuate_area(uint32_t area)
{
	struct evacuation e = { .area = area, .swapper = swapper_get(SWAPPER_READER) };
	struct swap_area_stat stat;
	int walks = 0;

	if (!e.swapper)
		return -ENOMEM;
	while (!e.error && swap_area_stat(area, &stat) && stat.nr_used) {
		if (walks++ == WALKS_MAX)
			e.error = -EBUSY;
		region_for_each(evacuate_region, &e);
		heartbeat_sleep(&walk_pause);
	}
	swapper_put(e.swapper);
	return e.error;
}

static int may_have(uint64_t slots)
{
	return stock_promised_beyond() > swap_promisable(slots) ||
			       stock_promised_beyond_huge() > swap_promisable_huge()
		       ? -ENOMEM
		       : 0;
}

void evacuate_init(void)
{
	static const struct swap_hooks hooks = { .capacity = may_have, .evacuate = evacuate_area };

	swap_set_hooks(&hooks);
}
