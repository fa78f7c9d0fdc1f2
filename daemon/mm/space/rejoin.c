/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rejoin - whose page it is, and becoming its heir
 */
#include "mm/space/rejoin.h"

#include <errno.h>
#include <time.h>

#include "base/heartbeat.h"
#include "mm/space/residency.h"
#include "os/os.h"

enum { READ_TRIES = 400 };
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };

/* J1. */
static bool is_copy(uint64_t word, uint32_t slot)
{
	return word_state(word) == PAGE_PRESENT && word_slot(word) == slot && word & WORD_CLEAN &&
	       !(word & (WORD_LAZYFREE | WORD_LOCKED));
}

static bool is_out(uint64_t word, uint32_t slot)
{
	return word_state(word) == PAGE_SWAPPED && word_high(word) == slot;
}

/* The oldest ancestor whose page `has` the slot; NULL: none. The family's lock is held. */
static struct region *oldest(const struct region *region, uint64_t page, uint32_t slot,
			     bool (*has)(uint64_t word, uint32_t slot))
{
	struct region *found = NULL;

	for (struct kin *kin = region_kin(region)->parent; kin; kin = kin->parent) {
		struct region *above = kin->region;

		if (!kin->closed && above->memcg == region->memcg &&
		    has(word_load(&above->words[page]), slot))
			found = above; /* J2 */
	}
	return found;
}

/* The slot that the page alone is in; SLOT_NONE: it is in memory, or busy. */
static uint32_t slot_of(const struct region *region, uint64_t page)
{
	uint64_t word = word_load(&region->words[page]);

	return word_state(word) == PAGE_SWAPPED && !(word & WORD_BUSY) ? word_high(word)
								       : SLOT_NONE;
}

/* Others use the slot, too. */
static bool is_shared(const struct region *region, uint64_t page)
{
	uint32_t slot = region_kin(region) ? slot_of(region, page) : SLOT_NONE;

	return slot && swap_count(slot) > 1;
}

/* ---- becoming an heir ---- */

static void end_busy(struct region *region, uint64_t page, uint64_t word)
{
	if (word_end_busy(&region->words[page], word))
		region_wake(region, (struct page_range){ page, 1 });
}

/* The ancestor's page is BUSY, and its word says SHARED. */
static bool inherit(struct region *region, uint64_t page, struct region *source, uint32_t slot)
{
	uint64_t old;

	if (!word_try_busy(&region->words[page], PAGE_SWAPPED, &old))
		return false;
	if (word_high(old) != slot) {
		end_busy(region, page, old);
		return false;
	}
	atomic_fetch_add(&region->nr_inherit, 1);
	region_count_state(region, PAGE_SWAPPED, -1);
	end_busy(region, page, word_inherit(source->section->id));
	region_free_slot(region, slot);
	return true;
}

/* What a client has punched out of the ancestor's file is still in the slot. */
static bool has_gone(const struct region *source, uint64_t page)
{
	uint64_t bytes = region_page_bytes(source);

	return os->has_hole(source->section->fd, page * bytes, bytes);
}

static bool rejoin_page(struct region *region, uint64_t page, struct region *source, uint32_t slot)
{
	_Atomic uint64_t *word = &source->words[page];
	uint64_t old;
	bool done = false;

	if (!word_try_busy(word, PAGE_PRESENT, &old))
		return false;
	if (is_copy(old, slot) && !has_gone(source, page)) {
		word_commit_busy(word, old | WORD_SHARED);
		done = inherit(region, page, source, slot);
	}
	if (done && !(old & WORD_SHARED))
		atomic_fetch_add(&source->nr_shared, 1);
	end_busy(source, page, done ? old | WORD_SHARED : old);
	return done;
}

/* change_lock of the region is held, and the family's lock. */
static bool rejoin_one(struct region *region, uint64_t page)
{
	uint32_t slot = slot_of(region, page);
	struct region *source = slot ? oldest(region, page, slot, is_copy) : NULL;
	bool done;

	if (!source || !mutex_trylock(&source->change_lock))
		return false;
	done = rejoin_page(region, page, source, slot);
	mutex_unlock(&source->change_lock);
	return done;
}

uint64_t rejoin_run(struct region *region, struct page_range range)
{
	struct kin *kin = region_kin(region);
	uint64_t done = 0;

	if (!kin || !is_shared(region, range.first))
		return 0;
	mutex_lock(&kin->family->lock);
	if (!kin->closed && mutex_trylock(&region->change_lock)) { /* J3 */
		while (done < range.nr && rejoin_one(region, range.first + done))
			done++;
		mutex_unlock(&region->change_lock);
	}
	mutex_unlock(&kin->family->lock);
	return done;
}

/* ---- reading ---- */

/* With a reference. The range becomes as long as both have the same slots. */
static struct region *find_source(struct region *region, struct page_range *range)
{
	struct family *family = region_kin(region)->family;
	uint32_t slot = slot_of(region, range->first);
	struct region *source;
	uint64_t nr = 1;

	mutex_lock(&family->lock);
	source = slot ? oldest(region, range->first, slot, is_out) : NULL;
	for (; source && nr < range->nr; nr++) {
		slot = slot_of(region, range->first + nr);
		if (!slot || !is_out(word_load(&source->words[range->first + nr]), slot))
			break;
	}
	if (source)
		region_get(source);
	mutex_unlock(&family->lock);
	range->nr = nr;
	return source;
}

bool rejoin_has_source(struct region *region, uint64_t page)
{
	struct page_range one = { page, 1 };
	struct region *source = NULL;

	if (is_shared(region, page))
		source = find_source(region, &one);
	if (!source)
		return false;
	region_put(source);
	return true;
}

/* Who waits for the ancestor's page is woken in the ancestor's windows only. */
static void wait_while_read(struct region *source, uint64_t page)
{
	for (unsigned int i = 0; i < READ_TRIES; i++) {
		uint64_t word = word_load(&source->words[page]);

		if (word_state(word) != PAGE_SWAPPED || !(word & WORD_BUSY))
			return;
		heartbeat_sleep(&busy_pause);
	}
}

int rejoin_swap_in(struct swapper *s, const struct swap_in_request *request,
		   struct page_range *run)
{
	struct swap_in_request want = *request;
	int r;

	if (!is_shared(want.region, want.range.first))
		return -ENOENT;
	want.region = find_source(request->region, &want.range);
	if (!want.region)
		return -ENOENT;
	r = region_swap_in(s, &want, run);
	if (r == -EAGAIN)
		wait_while_read(want.region, want.range.first);
	region_put(want.region);
	return r == -ENOMEM ? -ENOENT : r;
}
