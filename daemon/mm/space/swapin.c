/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swapin - claim, charge, read, publish
 */
#include "mm/space/swapin.h"

#include <errno.h>

#include "base/inject.h"
#include "base/log.h"
#include "mm/balance/swap_frame.h"
#include "mm/phys/node.h"
#include "mm/space/mapping.h"
#include "mm/space/quota.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"
#include "os/disk.h"
#include "os/os.h"

enum { CLAIM_BYTES_MAX = 16 << 20 }; /* so that who waits for one of them doesn't wait long */

/* ---- claims ---- */

static void claim(struct swapper *s, struct region *region, struct page_range range)
{
	uint64_t most = min_t(uint64_t, CLAIM_BYTES_MAX >> region->page_shift, SWAPPER_PAGES);
	uint64_t end = range.first + min_t(uint64_t, range.nr, most);

	s->w->nr = 0;
	for (uint64_t i = range.first; i < end; i++) {
		struct swap_item *item = &s->w->items[s->w->nr];
		enum page_state state = word_state(word_load(region_word(region, i)));

		if ((state != PAGE_SWAPPED && state != PAGE_SAME_FILLED) ||
		    !word_try_busy(region_word(region, i), state, &item->word))
			return;
		item->page = i;
		item->value = word_high(item->word);
		item->fate = state == PAGE_SWAPPED ? FATE_COPIED : FATE_SAME;
		s->w->nr++;
	}
}

static void let_go(struct region *region, const struct swap_item *item)
{
	if (word_end_busy(region_word(region, item->page), item->word))
		region_wake(region, (struct page_range){ item->page, 1 });
}

/* Lets go of the claims from `keep` on. */
static void release(struct swapper *s, struct region *region, uint32_t keep)
{
	for (uint32_t i = keep; i < s->w->nr; i++)
		let_go(region, &s->w->items[i]);
	s->w->nr = min_t(uint32_t, s->w->nr, keep);
}

/* Charges what was claimed, or at least the first page. The node, or -ENOMEM. */
static int charge(struct swapper *s, struct region *region)
{
	uint64_t got;
	int node = region_take_quota(region, s->w->items[0].page, s->w->nr, &got);

	if (node < 0)
		return node;
	if (region_charge(region, node, got)) {
		atomic_fetch_add(&region->quota[node], (int64_t)got - 1);
		got = 1;
		if (region_charge(region, node, 1)) {
			atomic_fetch_add(&region->quota[node], 1);
			return -ENOMEM;
		}
	}
	release(s, region, (uint32_t)got);
	return node;
}

/* Undoes charge() for the frames of a run, whatever is in them. */
static void take_frames(struct region *region, uint64_t first, uint32_t nr, int node)
{
	region_punch(region, (struct page_range){ first, nr });
	region_uncharge(region, node, nr);
	atomic_fetch_add(&region->quota[node], nr);
}

/* ---- contents ---- */

static int fill(struct swapper *s, struct region *region, const struct swap_item *item)
{
	uint64_t bytes = region_page_bytes(region);
	uint64_t offset = item->page * bytes;
	uint64_t step = min_t(uint64_t, bytes, SWAPPER_BYTES);
	uint64_t value = (uint64_t)item->value << 32 | item->value;
	int r = 0;

	if (!value)
		return 0;
	for (uint64_t i = 0; i < step / sizeof(value); i++)
		s->bytes[i] = value;
	for (uint64_t at = 0; at < bytes && !r; at += step)
		r = swap_frame_write(region->section, offset + at, s->bytes, step);
	return r;
}

static void read_slots(struct swapper *s, struct region *region)
{
	uint32_t nr_io = 0;

	for (uint32_t i = 0; i < s->w->nr; i++) {
		if (s->w->items[i].fate != FATE_COPIED)
			continue;
		s->w->io_item[nr_io] = i;
		s->w->io[nr_io++] = swapper_page(region, &s->w->items[i]);
	}
	if (nr_io)
		swap_read(s->queue, s->w->io, nr_io);
	reclaim_count(&reclaim_stats.pswpin, nr_io * region_frames_per_page(region));
}

/* I1. The slot stays in the word: what is on the disk may be of use to somebody. */
static void poison(struct region *region, const struct swap_item *item, int node, int error)
{
	uint32_t slot = item->fate == FATE_COPIED ? item->value : 0;

	take_frames(region, item->page, 1, node);
	region_count_state(region, word_state(item->word), -1);
	atomic_fetch_add(&region->nr_poisoned, 1);
	atomic_store(&region->poison_cause, swap_error_text(error));
	log_emit_limited(LOG_WARNING, "page_poisoned", "region %s, offset %#llx: %s",
			 region->name[0] ? region->name : "(unnamed)",
			 (unsigned long long)(item->page << region->page_shift),
			 swap_error_text(error));
	if (word_end_busy(region_word(region, item->page), word_with_high(PAGE_POISONED, slot)))
		region_wake(region, (struct page_range){ item->page, 1 });
}

/* It is out as before, if that is only for now. What is returned for it. */
static int fail(struct region *region, const struct swap_item *item, int node, int error)
{
	if (!disk_is_passing(error)) {
		poison(region, item, node, error);
		return -EIO;
	}
	take_frames(region, item->page, 1, node);
	let_go(region, item);
	return -ENOMEM;
}

/* The word of a page that has come back. */
static uint64_t word_back(struct region *region, const struct swap_item *item, int node, bool write)
{
	struct lruvec *lru = region_lru(region, node);
	uint64_t word = word_with_age(word_present(node), lru_age_now(lru));
	uint64_t frames = region_frames_per_page(region);

	word |= item->word & WORD_SHARED;
	if (item->watched)
		word |= WORD_UNASKED;
	reclaim_count(&reclaim_stats.workingset_refault_anon, frames);
	if (!item->ahead && lru_refaults_soon(lru, word_shadow(item->word))) {
		word |= WORD_ACTIVE | WORD_REFERENCED;
		atomic_fetch_add(&lru->nr_active, frames);
		reclaim_count(&reclaim_stats.workingset_activate_anon, frames);
	}
	if (item->fate == FATE_COPIED && !write)
		word = word_with_high(word | WORD_CLEAN, item->value);
	return word;
}

static bool publish(struct region *region, const struct swap_item *item, int node, bool write)
{
	bool waiters;

	INJECT_TURN(SWAPPED_IN);
	region_count_state(region, word_state(item->word), -1);
	waiters = word_end_busy(region_word(region, item->page),
				word_back(region, item, node, write));
	atomic_fetch_add_explicit(&region->nr_refaults, 1, memory_order_relaxed);
	if (item->fate == FATE_COPIED && write)
		region_free_slot(region, item->value);
	return waiters;
}

static int finish(struct swapper *s, const struct swap_in_request *request, int node)
{
	struct region *region = request->region;
	uint32_t nr_io = 0;
	bool waiters = false;
	int first_error = 0;

	for (uint32_t i = 0; i < s->w->nr; i++) {
		int error = s->w->items[i].fate == FATE_COPIED ? s->w->io[nr_io++].error
							    : fill(s, region, &s->w->items[i]);

		if (error)
			error = fail(region, &s->w->items[i], node, error);
		else
			waiters |= publish(region, &s->w->items[i], node, request->write);
		if (i == 0)
			first_error = error;
	}
	if (waiters)
		region_wake(region, (struct page_range){ s->w->items[0].page, s->w->nr });
	return first_error;
}

int region_swap_in(struct swapper *s, const struct swap_in_request *request,
		   struct page_range *run)
{
	struct region *region = request->region;
	int node, r;

	claim(s, region, request->range);
	if (!s->w->nr)
		return -EAGAIN;
	if (!region_map_settle(region)) { /* I3 */
		release(s, region, 0);
		return -EAGAIN;
	}
	node = charge(s, region);
	if (node < 0) {
		release(s, region, 0);
		return node;
	}
	*run = (struct page_range){ s->w->items[0].page, s->w->nr };
	r = region_populate_file(region, *run, node, FOR_A_FAULT); /* nobody needs it cleared */
	if (r) {
		take_frames(region, s->w->items[0].page, s->w->nr, node);
		release(s, region, 0);
		return r;
	}
	read_slots(s, region);
	return finish(s, request, node);
}

/* ---- one page in two steps ---- */

int region_swap_claim(struct region *region, uint64_t page, struct swap_claim *claim,
		      struct swap_page *io)
{
	struct swap_item *item = &claim->item;
	uint64_t got;
	int r;

	*claim = (struct swap_claim){ .region = region };
	item->page = page;
	item->fate = FATE_COPIED;
	if (!word_try_busy(region_word(region, page), PAGE_SWAPPED, &item->word))
		return -EAGAIN;
	item->value = word_high(item->word);
	claim->node = region_take_quota(region, page, 1, &got);
	r = claim->node < 0 ? claim->node : region_charge(region, claim->node, 1);
	if (r) {
		if (claim->node >= 0)
			atomic_fetch_add(&region->quota[claim->node], 1);
		let_go(region, item);
		return r;
	}
	*io = swapper_page(region, item);
	return 0;
}

/* Writing makes the frame, too, and nobody sees it before it is filled. Populating, which decides
 * on the node, shows it empty: whoever began to map the page before it was evicted has to be
 * done. */
static int bring_in(const struct swap_claim *claim, const void *bytes)
{
	struct region *region = claim->region;
	struct page_range one = { claim->item.page, 1 };
	uint64_t offset = one.first << PAGE_SHIFT;
	int r = -ENOMEM;

	if (nr_nodes == 1)
		r = swap_frame_write(region->section, offset, bytes, PAGE_SIZE);
	if (!r)
		return 0;
	if (!region_map_try_sync(region))
		return -EAGAIN;
	r = region_populate_file(region, one, claim->node, FOR_A_FAULT);
	return r ? r : swap_frame_write(region->section, offset, bytes, PAGE_SIZE);
}

int region_swap_settle(const struct swap_claim *claim, const void *bytes, int error, bool write)
{
	struct region *region = claim->region;
	const struct swap_item *item = &claim->item;
	int r;

	reclaim_count(&reclaim_stats.pswpin, 1);
	if (error)
		return fail(region, item, claim->node, error);
	r = bring_in(claim, bytes);
	if (r) {
		take_frames(region, item->page, 1, claim->node);
		let_go(region, item);
		return r;
	}
	if (publish(region, item, claim->node, write))
		region_wake(region, (struct page_range){ item->page, 1 });
	return 0;
}
