/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle - the pages of a region after the daemon that changed them has died
 *
 * Purpose     Under BUSY a word says what the page is to be if the daemon dies now: the file is
 *             made to agree with it. Counters follow from the words.
 * Invariants  T1  a page whose contents were lost is poisoned, not zero; a page that was being
 *                 dropped is dropped or whole; a page that was being produced isn't there.
 *             T2  nobody has a page mapped whose word was not PRESENT.
 *             T3  only pages of families are SHARED: a clone whose record was never written, or has
 *                 gone, leaves the word behind, and nobody would ever take that away.
 * Locking     none: nobody else knows the region yet.
 */
#include <errno.h>

#include "mm/map/swap.h"
#include "mm/phys/node.h"
#include "mm/space/region.h"
#include "mm/space/residency.h"
#include "mm/space/takeout.h"
#include "os/os.h"

static const char lost_before[] = "the page was lost before the broker was started again";

/* NULL: there is none that can have the page. */
static struct section *owner_of_copy(uint64_t page, uint64_t word)
{
	struct section *owner = section_by_id(word_high(word));

	return owner && owner->type == SECTION_REGION && page < owner->nr_frames ? owner : NULL;
}

/* The page that this clone's is a copy of was to leave the clone's windows (cow.c), and may not
 * have. 0, or the error for which nobody knows what the copy is of. */
static int take_out(const struct region *clone, uint64_t page, uint64_t word)
{
	struct section *owner = owner_of_copy(page, word);
	struct taken_record *note;
	int node, r;

	if (!owner)
		return 0;
	note = takeout_begin(clone->page_shift);
	node = word_node(word_load(&page_words[owner->pfn + page]));
	r = note ? takeout_page(note, owner, page, node < nr_nodes ? node : 0) : -ENOMEM;
	takeout_end(note);
	if (r && r != -ENODATA)
		takeout_lose(owner, page);
	return r == -ENODATA ? r : 0;
}

/* A copy that was being looked over, and may be of a hole, can be made again: what it is of hasn't
 * changed, or is known to be lost. */
static bool can_copy_again(uint64_t page, uint64_t word)
{
	const struct section *owner = word & WORD_SEEN ? NULL : owner_of_copy(page, word);
	uint64_t its = owner ? word_load(&page_words[owner->pfn + page]) : PAGE_NONE;

	return word_state(its) == PAGE_POISONED ||
	       (word_state(its) == PAGE_PRESENT && its & WORD_SHARED);
}

/* A page whose word says BUSY over `word`. If PRESENT, it was being looked at, evicted, locked or
 * unlocked, and is there unless a client punched it, which the next fault finds. Everything else
 * has no frame: also what was being read, or made. Returns what the page is. */
static uint64_t settle_page(const struct region *region, uint64_t page, uint64_t word)
{
	bool whole = word_state(word) == PAGE_PRESENT;

	if (whole && word & WORD_SEEN && take_out(region, page, word)) {
		whole = false;
		word = PAGE_POISONED;
	} else if (word_has_mark(word, WORD_BREAKING | WORD_CHECKING) &&
		   can_copy_again(page, word)) {
		whole = false;
		word = word_inherit(word_high(word));
	}
	if (!whole)
		os->punch(region->section->fd, page << region->page_shift,
			  region_page_bytes(region));
	return word;
}

/* Who was active, clean or old is found out anew. A mapper that is protected has its next write
 * unprotect it. */
static uint64_t forget_reclaim(uint64_t word)
{
	if (word_state(word) == PAGE_INHERIT)
		return word_inherit(word_high(word)) | (word & WORD_SEEN);
	if (word_state(word) != PAGE_PRESENT)
		return word;
	return word & (WORD_STATE_MASK | WORD_LOCKED | WORD_RELOCKED | WORD_SHARED |
		       WORD_NODE_MASK);
}

struct tally {
	uint64_t present[MAX_NUMNODES], locked[MAX_NUMNODES];
	uint64_t swapped, same_filled, poisoned;
	int error;
};

/* Slots come back with their areas, before the regions. */
static int claim_slot(struct region *region, uint64_t word)
{
	uint64_t frames = region_frames_per_page(region);
	int r = swap_claim(word_slot(word), (uint32_t)frames);

	return r ? r : memcg_charge(region->memcg, MEMCG_SWAP, frames);
}

static void count_word(struct region *region, struct tally *t, uint64_t word)
{
	int node = word_node(word);

	if (word_state(word) == PAGE_INHERIT)
		atomic_fetch_add(&region->nr_inherit, 1);
	if (word & WORD_SHARED)
		atomic_fetch_add(&region->nr_shared, 1);
	t->same_filled += word_state(word) == PAGE_SAME_FILLED;
	t->swapped += word_state(word) == PAGE_SWAPPED;
	t->poisoned += word_state(word) == PAGE_POISONED;
	if (!t->error && word_slot(word))
		t->error = claim_slot(region, word);
	if (word_state(word) != PAGE_PRESENT)
		return;
	if (node >= nr_nodes) {
		t->error = -EUCLEAN;
		return;
	}
	t->present[node]++;
	t->locked[node] += !!(word & WORD_LOCKED);
}

static int charge_node(struct region *region, int node, const struct tally *t)
{
	uint64_t pages = t->present[node], locked = t->locked[node];
	uint64_t frames = locked * region_frames_per_page(region);
	struct stock_place place = region_place(region, node);
	int r = pages && region->overcommit ? region_promise_again(region, node, pages) : 0;

	if (r)
		return r;
	if ((int64_t)pages > atomic_load(&region->quota[node]))
		return -EUCLEAN;
	r = pages ? region_recharge(region, node, pages) : 0;
	if (r)
		return r;
	atomic_fetch_sub(&region->quota[node], (int64_t)pages);
	if (!locked)
		return 0;
	r = memcg_charge(region->memcg, MEMCG_LOCKED, frames);
	stock_refix(&place, frames);
	atomic_fetch_add(&region->nr_locked, locked);
	atomic_fetch_add(&region->locked_on[node], locked);
	return r;
}

/* Q2 of quota.h: on whichever node it may use. */
static int promise_swapped(struct region *region, uint64_t pages)
{
	int r = pages && region->overcommit ? -ENOMEM : 0;

	for (int node = 0; node < nr_nodes && r; node++)
		if (region_may_use(region, node))
			r = region_promise_again(region, node, pages);
	return r;
}

int region_resume_pages(struct region *region)
{
	struct tally t = { 0 };

	for (uint64_t page = 0; page < region->nr_pages; page++) {
		uint64_t word = word_load(&region->words[page]), was = word;

		if (!word)
			continue;
		word &= ~(uint64_t)(WORD_BUSY | WORD_WAITERS);
		if (was & WORD_BUSY)
			word = settle_page(region, page, word);
		word = forget_reclaim(word);
		if (word != was)
			atomic_store(&region->words[page], word);
		count_word(region, &t, word);
	}
	for (int node = 0; node < nr_nodes && !t.error; node++)
		t.error = charge_node(region, node, &t);
	if (!t.error)
		t.error = promise_swapped(region, t.swapped);
	region_count_state(region, PAGE_SWAPPED, (int64_t)t.swapped);
	region_count_state(region, PAGE_SAME_FILLED, (int64_t)t.same_filled);
	atomic_store(&region->nr_poisoned, t.poisoned); /* clients have the marks still */
	atomic_store(&region->poison_cause, lost_before);
	return t.error;
}

void region_resume_alone(struct region *region)
{
	if (region_kin(region) || !atomic_load(&region->nr_shared))
		return;
	for (uint64_t page = 0; page < region->nr_pages; page++)
		atomic_fetch_and(&region->words[page], ~(uint64_t)WORD_SHARED);
	atomic_store(&region->nr_shared, 0);
}
