/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heirs - hold, count, tell
 */
#include "mm/space/heirs.h"

#include "mm/space/cow.h"
#include "mm/space/lineage.h"
#include "mm/space/mapping.h"
#include "mm/space/residency.h"

enum { SYNC_TRIES = 3 };

/* I2. A clone that is being armed may be told of the page at any moment. */
static bool hold_all(const struct bequest *b)
{
	for (struct kin *kin = family_below(b->root, b->root); kin;
	     kin = family_below(b->root, kin)) {
		struct region *member = kin->region;
		bool seen = false;

		if (kin->arming && kin->parent == b->root)
			return false;
		if (kin->closed)
			continue;
		for (uint64_t i = b->run.first; i < b->run.first + b->run.nr; i++)
			seen |= cow_hold_page(member, i, b->owner);
		for (unsigned int i = 0; seen && !region_show_wait(member, b->run); i++)
			if (i == SYNC_TRIES)
				return false;
	}
	return true;
}

/* Who holds the page, up to `end`, no longer uses the slot; NULL: all of them. */
static void free_users(const struct bequest *b, uint64_t page, uint32_t slot,
		       const struct kin *end)
{
	for (struct kin *kin = family_below(b->root, b->root); kin != end;
	     kin = family_below(b->root, kin))
		if (cow_is_held(kin->region, page))
			region_free_slot(kin->region, slot);
}

/* Each of them becomes a user of the slot, or none. */
static bool share_slot(const struct bequest *b, uint64_t page, uint32_t slot)
{
	struct kin *kin = family_below(b->root, b->root);

	while (kin && (!cow_is_held(kin->region, page) || !region_inherit_slot(kin->region, slot)))
		kin = family_below(b->root, kin);
	if (kin)
		free_users(b, page, slot, kin);
	return !kin;
}

static void unshare_slots(const struct bequest *b)
{
	for (uint64_t i = 0; i < b->run.nr; i++)
		if (b->shared >> i & 1 && word_state(b->values[i]) == PAGE_SWAPPED)
			free_users(b, b->run.first + i, word_high(b->values[i]), NULL);
}

static void end_member(struct region *member, const struct bequest *b, bool gone)
{
	uint64_t nr = 0;
	bool waiters = false;

	for (uint64_t i = 0; i < b->run.nr; i++) {
		uint64_t page = b->run.first + i;

		if (!cow_is_held(member, page))
			continue;
		if (!gone) {
			waiters |= cow_let_go(member, page);
			continue;
		}
		region_count_state(member, word_state(b->values[i]), 1);
		waiters |= word_end_busy(region_word(member, page), b->values[i]);
		nr++;
	}
	atomic_fetch_sub(&member->nr_inherit, nr);
	if (nr)
		lineage_diverged(b->owner->section->id, nr);
	if (waiters)
		region_wake(member, b->run);
}

bool heirs_begin(struct bequest *b)
{
	bool all;

	DCHECK(b->run.nr <= HEIRS_PAGES_MAX);
	b->root = region_kin(b->owner);
	b->shared = 0;
	if (!b->root || !mutex_trylock(&b->root->family->lock))
		return false;
	all = hold_all(b);
	for (uint64_t i = 0; all && i < b->run.nr; i++) {
		all = word_state(b->values[i]) != PAGE_SWAPPED ||
		      share_slot(b, b->run.first + i, word_high(b->values[i]));
		if (all)
			b->shared |= 1ull << i;
	}
	if (!all)
		heirs_end(b, false);
	return all;
}

void heirs_end(struct bequest *b, bool gone)
{
	if (!gone)
		unshare_slots(b);
	for (struct kin *kin = family_below(b->root, b->root); kin;
	     kin = family_below(b->root, kin))
		if (!kin->closed)
			end_member(kin->region, b, gone);
	mutex_unlock(&b->root->family->lock);
}
