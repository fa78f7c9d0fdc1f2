/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency - how a region's pages come, stay and go
 *
 * Purpose     Populate runs, drop ranges, lock pages, poison one: each claims words with BUSY,
 *             does the file operation, moves the charge between quota and stock, and ends BUSY.
 * Invariants  N1  a claimed run is contiguous, in one state, and its claim ends in this file.
 *             N2  memcg_charge and stock_take come before the file grows, stock_put and
 *                 memcg_uncharge after it has shrunk.
 * Crash       a word left BUSY keeps its old state; the file tells whether the frame is there.
 */
#include <errno.h>
#include <time.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "base/log.h"
#include "mm/phys/node.h"
#include "mm/map/swap.h"
#include "mm/space/cow.h"
#include "mm/space/crowd.h"
#include "mm/space/lineage.h"
#include "mm/space/quota.h"
#include "mm/space/reclaim.h"
#include "mm/space/rejoin.h"
#include "mm/space/residency.h"
#include "mm/space/swapin.h"
#include "os/os.h"

/* Longest run that one punch or populate covers, so that a claim is short: 16 MiB. */
enum { RUN_BYTES_MAX = 16 << 20, LOCK_PAGES = 4096, LOCK_TRIES = 10000 };
/* Longer each time, 1.3 s in all: a stopped client or a busy disk can keep all of a pool in
 * memory. */
enum { SHORT_TRIES = 60, SHORT_DOUBLINGS = 9, SHORT_NS = 50 * 1000 };

static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };

static uint64_t run_pages_max(const struct region *region)
{
	return RUN_BYTES_MAX >> region->page_shift;
}

/* From: not NULL for copies. */
static int fill_file(struct region *region, struct page_range run, int node,
		     enum populate_purpose why, const struct region *from)
{
	const struct stock_source source = {
		.fd = from ? from->section->fd : -1,
		.offset = run.first << region->page_shift,
	};
	struct stock_populate_request request = {
		.section = region->section,
		.offset = source.offset,
		.length = run.nr << region->page_shift,
		.node = node,
		.huge = atomic_load_explicit(&region->huge, memory_order_relaxed),
		.cleared = why == FOR_LATER,
		.copy_of = from ? &source : NULL,
	};

	int r = stock_populate(&request);

	return r == -ENOSPC ? -ENOMEM : r; /* hugetlb's word for it */
}

int region_populate_file(struct region *region, struct page_range run, int node,
			 enum populate_purpose why)
{
	return fill_file(region, run, node, why, NULL);
}

static bool end_run(struct region *region, struct page_range run, uint64_t value)
{
	bool waiters = false;

	for (uint64_t i = run.first; i < run.first + run.nr; i++)
		waiters |= word_end_busy(region_word(region, i), value);
	return waiters;
}

int region_punch(struct region *region, struct page_range run)
{
	return os->punch(region->section->fd, run.first << region->page_shift,
			 run.nr << region->page_shift);
}

static void count_present(struct region *region, int node, int64_t pages)
{
	int64_t frames = pages * (int64_t)region_frames_per_page(region);

	atomic_fetch_add(&region->nr_resident, (uint64_t)pages);
	atomic_fetch_add(&region_lru(region, node)->nr_resident, (uint64_t)frames);
	if (region->movable)
		zone_count_present(region->movable[node], frames);
}

static int charge_by(int (*take)(int node, enum stock_kind kind, uint64_t nr),
		     struct region *region, int node, uint64_t nr)
{
	uint64_t frames = nr * region_frames_per_page(region);
	int r = memcg_charge(region->memcg, MEMCG_REGION, frames);

	if (r) { /* who waits for it may look for room elsewhere: it may be a clone's pool */
		reclaim_poke(region, node);
		return r;
	}
	r = take(node, region->kind, frames);
	if (r) {
		memcg_uncharge(region->memcg, MEMCG_REGION, frames);
		return r;
	}
	count_present(region, node, (int64_t)nr);
	reclaim_poke(region, node);
	return 0;
}

/* Counted before the file grows, so that the audit never sees more in it than is counted. */
int region_charge(struct region *region, int node, uint64_t nr)
{
	return charge_by(stock_take_evictable, region, node, nr);
}

int region_recharge(struct region *region, int node, uint64_t nr)
{
	return charge_by(stock_retake, region, node, nr);
}

void region_uncharge(struct region *region, int node, uint64_t nr)
{
	uint64_t frames = nr * region_frames_per_page(region);

	count_present(region, node, -(int64_t)nr);
	stock_put(node, region->kind, frames);
	memcg_uncharge(region->memcg, MEMCG_REGION, frames);
}

void region_free_slot(struct region *region, uint32_t slot)
{
	uint64_t frames = region_frames_per_page(region);

	swap_free(slot, (uint32_t)frames);
	memcg_uncharge(region->memcg, MEMCG_SWAP, frames);
}

void region_drop_slot(struct region *region, uint32_t slot, bool retired)
{
	if (retired)
		memcg_uncharge(region->memcg, MEMCG_SWAP, region_frames_per_page(region));
	else
		region_free_slot(region, slot);
	atomic_fetch_sub(&region->nr_writing, 1);
}

static int share_slot(struct region *region, uint32_t slot)
{
	uint64_t frames = region_frames_per_page(region);
	int r = swap_dup(slot, (uint32_t)frames);

	if (r)
		memcg_uncharge(region->memcg, MEMCG_SWAP, frames);
	return r;
}

int region_share_slot(struct region *region, uint32_t slot)
{
	int r = memcg_charge(region->memcg, MEMCG_SWAP, region_frames_per_page(region));

	return r ? r : share_slot(region, slot);
}

int region_inherit_slot(struct region *region, uint32_t slot)
{
	memcg_charge_shared_swap(region->memcg, region_frames_per_page(region));
	return share_slot(region, slot);
}

void region_count_state(struct region *region, enum page_state state, int64_t pages)
{
	if (state == PAGE_SWAPPED)
		atomic_fetch_add(&region->nr_swapped, (uint64_t)pages);
	if (state == PAGE_SAME_FILLED)
		atomic_fetch_add(&region->nr_same_filled, (uint64_t)pages);
}

static int populate_part(struct region *region, struct page_range part, int node,
			 enum populate_purpose why, const struct region *from)
{
	int r = region_charge(region, node, part.nr);

	if (r)
		return r;
	r = fill_file(region, part, node, why, from);
	if (!r)
		return 0;
	/* What did come is still there, and a retry would be charged for it once more. */
	region_punch(region, part);
	region_uncharge(region, node, part.nr);
	return r;
}

/* The word of a page that is touched for the first time. */
static uint64_t word_fresh(struct region *region, int node)
{
	return word_with_age(word_present(node), lru_age_now(region_lru(region, node)));
}

/* Produces a claimed run of NONE pages; what couldn't be produced is NONE again. */
static int produce(struct region *region, struct page_range run, enum populate_purpose why,
		   uint64_t *produced)
{
	uint64_t end = run.first + run.nr;
	uint64_t at = run.first;
	bool waiters = false;
	int r = 0;

	while (at < end) {
		struct page_range part = { .first = at };
		int node = region_take_quota(region, at, end - at, &part.nr);

		if (node < 0) {
			r = node;
			break;
		}
		r = populate_part(region, part, node, why, NULL);
		if (r) {
			atomic_fetch_add(&region->quota[node], (int64_t)part.nr);
			break;
		}
		waiters |= end_run(region, part, word_fresh(region, node));
		at += part.nr;
	}
	if (at < end)
		waiters |= end_run(region, (struct page_range){ at, end - at }, PAGE_NONE);
	if (waiters)
		region_wake(region, run);
	*produced = at - run.first;
	return r;
}

static void hold_copied(struct region *region, struct page_range part, uint64_t value,
			const struct region *from)
{
	for (uint64_t i = part.first; i < part.first + part.nr; i++) {
		uint64_t seen = word_load(region_word(region, i)), own = value;

		CHECK(seen & WORD_BUSY);
		if (word_state(seen) == PAGE_INHERIT) {
			atomic_fetch_sub(&region->nr_inherit, 1);
			lineage_diverged(word_high(seen), 1);
			own = word_with_high(value | (seen & WORD_SEEN), from->section->id);
		}
		while (!word_replace(region_word(region, i), &seen, own | (seen & WORD_WAITERS)))
			;
	}
}

int region_copy_in(struct region *region, struct page_range run, struct region *from, uint64_t mark,
		   uint64_t *copied)
{
	uint64_t end = run.first + run.nr;
	int r = 0;

	for (*copied = 0; *copied < run.nr;) {
		struct page_range part = { .first = run.first + *copied };
		int node = region_take_quota(region, part.first, end - part.first, &part.nr);

		if (node < 0)
			return node;
		r = populate_part(region, part, node, FOR_A_COPY, from);
		if (r) {
			atomic_fetch_add(&region->quota[node], (int64_t)part.nr);
			return r;
		}
		hold_copied(region, part, word_fresh(region, node) | WORD_BUSY | mark, from);
		*copied += part.nr;
		INJECT_TURN(COPIED_IN);
	}
	return 0;
}

/* A whole pageblock if the region asks for huge pages and the block is untouched. */
static void widen_to_block(struct region *region, struct page_range *range)
{
	uint64_t per_block = PAGEBLOCK_SIZE >> region->page_shift;
	uint64_t end = round_up(range->first + range->nr, per_block);

	if (!atomic_load_explicit(&region->huge, memory_order_relaxed) ||
	    region->kind != STOCK_BASE || region->page_shift != PAGE_SHIFT ||
	    end > region->nr_pages)
		return;
	range->first = round_down(range->first, per_block);
	range->nr = end - range->first;
}

static uint64_t claim_run(struct region *region, uint64_t first, uint64_t end)
{
	uint64_t old;
	uint64_t i = first;

	while (i < end && i - first < run_pages_max(region) &&
	       word_try_busy(region_word(region, i), PAGE_NONE, &old))
		i++;
	return i - first;
}

static int why_not(struct region *region, uint64_t page)
{
	uint64_t word = word_load(region_word(region, page));

	if (word & WORD_BUSY)
		return word_wait(region_word(region, page)) ? -EBUSY : -EAGAIN;
	if (word_state(word) == PAGE_POISONED)
		return -EIO;
	if (word_state(word) == PAGE_SWAPPED || word_state(word) == PAGE_SAME_FILLED)
		return -ENODATA;
	if (word_state(word) == PAGE_INHERIT)
		return -ESTALE;
	return -EAGAIN;
}

static int make_present(struct region *region, struct page_range range, uint64_t want,
			enum populate_purpose why, struct page_range *run)
{
	uint64_t end = range.first + range.nr;
	uint64_t at = range.first;
	int r = 0;

	run->first = at;
	while (at < end && !r) {
		uint64_t word = word_load(region_word(region, at));
		uint64_t made = 0;
		uint64_t claimed;

		if (word_state(word) == PAGE_PRESENT && !(word & WORD_BUSY)) {
			at++;
			continue;
		}
		claimed = claim_run(region, at, end);
		if (claimed) {
			r = produce(region, (struct page_range){ at, claimed }, why, &made);
			at += made;
		} else if (at > want) {
			break;
		} else if (at < want) {
			run->first = ++at;
		} else {
			r = why_not(region, at);
			if (r == -EAGAIN)
				r = 0;
		}
	}
	run->nr = at - run->first;
	return at > want ? 0 : r;
}

static int make_block_present(struct region *region, struct page_range range, uint64_t want,
			      enum populate_purpose why, struct page_range *run)
{
	struct page_range block = range;
	int r;

	widen_to_block(region, &block);
	r = make_present(region, block, want, why, run);
	if (r == -ENOMEM && block.nr > range.nr) /* the whole block is a wish */
		r = make_present(region, range, want, why, run);
	return r;
}

int region_make_present(struct region *region, struct page_range range, uint64_t want,
			struct page_range *run)
{
	return make_block_present(region, range, want, FOR_A_FAULT, run);
}

static int swap_in_range(struct region *region, struct page_range range, bool shared)
{
	struct swap_in_request want = { .region = region, .range = range };
	struct swapper *s;
	struct page_range run;
	int r = -ENOENT;

	if (shared && rejoin_run(region, range))
		return 0;
	s = swapper_get(SWAPPER_READER);
	if (!s)
		return -ENOMEM;
	if (shared)
		r = rejoin_swap_in(s, &want, &run);
	if (r == -ENOENT)
		r = region_swap_in(s, &want, &run);
	swapper_put(s);
	return r == -EAGAIN ? 0 : r;
}

bool region_try_again(struct region *region, unsigned int *tries)
{
	struct timespec pause = { 0 };

	if (reclaim_for(region))
		return true;
	if (region->overcommit || !swap_capacity() || ++*tries > SHORT_TRIES)
		return false;
	pause.tv_nsec = SHORT_NS << min_t(unsigned int, *tries, SHORT_DOUBLINGS);
	heartbeat_sleep(&pause);
	return true;
}

/* shared: what an ancestor can have in memory for the region, too, comes to there. */
static int populate(struct region *region, struct page_range range, bool shared)
{
	uint64_t at = range.first;
	uint64_t end = range.first + range.nr;
	unsigned int tries = 0;

	while (at < end) {
		struct page_range rest = { at, end - at };
		struct page_range run;
		int r = make_block_present(region, rest, at, FOR_LATER, &run);

		if (r == -ESTALE) { /* what a clone inherits is there */
			r = 0;
			at++;
		} else if (!r)
			at = run.first + run.nr;
		if (r == -ENODATA)
			r = swap_in_range(region, rest, shared);
		if (r == -ENOMEM && region_try_again(region, &tries))
			r = 0;
		if (r == -EBUSY)
			heartbeat_sleep(&busy_pause);
		else if (r)
			return r;
	}
	return 0;
}

int region_populate(struct region *region, struct page_range range)
{
	return populate(region, range, true);
}

int region_populate_locked(struct region *region, struct page_range range)
{
	return populate(region, range, false);
}

/* Of which a run to be dropped is alike: what is charged for it, and where. */
static uint64_t kind_of_charge(uint64_t word)
{
	return word_state(word) == PAGE_PRESENT ? word & (WORD_STATE_MASK | WORD_NODE_MASK)
						: word & WORD_STATE_MASK;
}

/* Claims neighbours in one droppable state and of one node. */
static uint64_t claim_present(struct region *region, uint64_t first, uint64_t end, uint64_t *value)
{
	uint64_t i;

	for (i = first; i < end && i - first < run_pages_max(region); i++) {
		uint64_t word = word_load(region_word(region, i));
		uint64_t old;

		if (word_state(word) == PAGE_NONE || word & (WORD_BUSY | WORD_LOCKED))
			break;
		if (i > first && kind_of_charge(word) != *value)
			break;
		if (!word_try_busy(region_word(region, i), word_state(word), &old))
			break;
		/* It may have been locked, or changed nodes, since it was looked at. */
		if (old & WORD_LOCKED || (i > first && kind_of_charge(old) != *value)) {
			if (word_end_busy(region_word(region, i), old))
				region_wake(region, (struct page_range){ i, 1 });
			break;
		}
		*value = kind_of_charge(old);
	}
	return i - first;
}

static void uncharge(struct region *region, uint64_t value, uint64_t nr)
{
	int node = word_node(value);

	region_count_state(region, word_state(value), -(int64_t)nr);
	if (word_state(value) != PAGE_PRESENT)
		return;
	region_give_back(region, node, nr);
}

/* The page's slot and its place among the active ones go with its contents. */
static void forget_contents(struct region *region, uint64_t word)
{
	if (word_state(word) == PAGE_PRESENT && word & WORD_ACTIVE)
		atomic_fetch_sub(&region_lru(region, word_node(word))->nr_active,
				 region_frames_per_page(region));
	if (word_slot(word))
		region_free_slot(region, word_slot(word));
}

/* Crash    from the commit on the run reads zero, and resume punches it once more. */
static int drop_run(struct region *region, struct page_range run, uint64_t value)
{
	bool waiters;
	int r;

	for (uint64_t i = run.first; i < run.first + run.nr; i++) {
		uint64_t word = word_load(region_word(region, i));

		word_commit_busy(region_word(region, i), PAGE_NONE);
		forget_contents(region, word);
	}
	r = region_punch(region, run);
	if (r && word_state(value) != PAGE_PRESENT)
		r = 0; /* there was nothing to punch */

	if (!r)
		uncharge(region, value, run.nr);
	waiters = end_run(region, run, r ? value : PAGE_NONE);
	if (waiters)
		region_wake(region, run);
	return r;
}

int region_drop_locked(struct region *region, struct page_range range)
{
	uint64_t at = range.first;
	uint64_t end = range.first + range.nr;
	int result = cow_forget(region, range);

	if (result)
		return result;
	while (at < end) {
		uint64_t value = 0;
		uint64_t nr = claim_present(region, at, end, &value);
		uint64_t word;
		int r;

		if (nr) {
			r = drop_run(region, (struct page_range){ at, nr }, value);
			if (r)
				return r;
			at += nr;
			continue;
		}
		word = word_load(region_word(region, at));
		if (word & WORD_BUSY) {
			heartbeat_sleep(&busy_pause);
		} else {
			if (word & WORD_LOCKED)
				result = -EBUSY;
			at += word_state(word) == PAGE_NONE || word & WORD_LOCKED;
		}
	}
	return result;
}

int region_drop(struct region *region, struct page_range range)
{
	int r;

	mutex_lock_long(&region->change_lock);
	r = region_drop_locked(region, range);
	mutex_unlock(&region->change_lock);
	return r;
}

static void uncharge_locked(struct region *region, int node)
{
	uint64_t frames = region_frames_per_page(region);
	struct stock_place place = region_place(region, node);

	atomic_fetch_sub(&region->nr_locked, 1);
	atomic_fetch_sub(&region->locked_on[node], 1);
	stock_unfix(&place, frames);
	memcg_uncharge(region->memcg, MEMCG_LOCKED, frames);
}

/* What is locked can't be evicted, and mustn't be more than the stock has. */
static int charge_locked(struct region *region, int node)
{
	uint64_t frames = region_frames_per_page(region);
	struct stock_place place = region_place(region, node);
	int r = memcg_charge(region->memcg, MEMCG_LOCKED, frames);

	if (r)
		return r;
	r = stock_fix(&place, frames);
	if (r) {
		memcg_uncharge(region->memcg, MEMCG_LOCKED, frames);
		return r;
	}
	atomic_fetch_add(&region->nr_locked, 1);
	atomic_fetch_add(&region->locked_on[node], 1);
	return 0;
}

/* Locks one page that may be present. -EAGAIN: it isn't, or is busy; -ENOMEM: the pool's limit. */
static int lock_page(struct region *region, uint64_t page)
{
	uint64_t old, value;
	uint32_t slot = 0;
	int r = 0;

	if (!word_try_busy(region_word(region, page), PAGE_PRESENT, &old))
		return -EAGAIN;
	if (!(old & WORD_LOCKED))
		r = charge_locked(region, word_node(old));
	value = r ? old : old | (old & WORD_LOCKED ? WORD_RELOCKED : WORD_LOCKED);
	/* What can't be evicted needs no copy, whose slot may be promised to others. */
	if (!r && value & (WORD_CLEAN | WORD_LAZYFREE)) {
		slot = word_high(value);
		value = word_with_high(value & ~(uint64_t)(WORD_CLEAN | WORD_LAZYFREE), 0);
	}
	if (word_end_busy(region_word(region, page), value))
		region_wake(region, (struct page_range){ page, 1 });
	if (slot)
		region_free_slot(region, slot);
	return r;
}

/* *at: what comes after the last page that it has locked, also where it fails. */
static int lock_range(struct region *region, struct page_range range, uint64_t *at)
{
	uint64_t end = range.first + range.nr;
	int r = cow_unshare(region, range); /* device I/O goes past protection */

	*at = range.first;
	if (r)
		return r;
	/* In parts, and not for ever: others may drop pages as fast as they are made. */
	for (unsigned int tries = 0; *at < end; tries++) {
		struct page_range part = { *at, min_t(uint64_t, end - *at, LOCK_PAGES) };

		heartbeat_touch();
		r = tries < LOCK_TRIES ? region_populate_locked(region, part) : -EBUSY;
		while (!r && *at < part.first + part.nr) {
			r = lock_page(region, *at);
			if (!r) {
				++*at;
				tries = 0;
			}
		}
		if (r && r != -EAGAIN)
			return r;
	}
	return 0;
}

int region_lock_pages(struct region *region, struct page_range range)
{
	uint64_t end;
	int r;

	mutex_lock_long(&region->change_lock);
	r = lock_range(region, range, &end);
	if (r)
		region_undo_lock(region, (struct page_range){ range.first, end - range.first });
	mutex_unlock(&region->change_lock);
	return r;
}

/* But for pages with the flag `but`. */
static void unlock_pages(struct region *region, struct page_range range, uint64_t but)
{
	for (uint64_t at = range.first; at < range.first + range.nr; at++) {
		_Atomic uint64_t *word = region_word(region, at);
		uint64_t seen = word_load(word), value, old;

		if (!(seen & WORD_LOCKED))
			continue;
		heartbeat_touch();
		while (!word_try_busy(word, word_state(seen), &old)) {
			heartbeat_sleep(&busy_pause);
			seen = word_load(word);
		}
		value = old;
		if (old & WORD_LOCKED && !(old & but)) {
			uncharge_locked(region, word_node(old));
			value = old & ~(uint64_t)(WORD_LOCKED | WORD_RELOCKED);
		}
		if (word_end_busy(word, value))
			region_wake(region, (struct page_range){ at, 1 });
	}
}

void region_unlock_pages(struct region *region, struct page_range range)
{
	unlock_pages(region, range, 0);
}

void region_undo_lock(struct region *region, struct page_range range)
{
	unlock_pages(region, range, WORD_RELOCKED);
}

/* Crash    from the commit on the page is poisoned, and resume punches it once more. */
void region_poison_busy(struct region *region, uint64_t page, uint64_t old, const char *cause)
{
	word_commit_busy(region_word(region, page), PAGE_POISONED);
	region_punch(region, (struct page_range){ page, 1 });
	if (old & WORD_LOCKED)
		uncharge_locked(region, word_node(old));
	uncharge(region, old, 1);
	forget_contents(region, old);
	if (old & WORD_SHARED)
		atomic_fetch_sub(&region->nr_shared, 1);
	if (word_state(old) == PAGE_INHERIT)
		atomic_fetch_sub(&region->nr_inherit, 1);
	atomic_fetch_add(&region->nr_poisoned, 1);
	atomic_store(&region->poison_cause, cause);
	log_emit_limited(LOG_WARNING, "page_poisoned", "region %s, offset %#llx: %s",
			 region->name[0] ? region->name : "(unnamed)",
			 (unsigned long long)(page << region->page_shift), cause);
	if (word_end_busy(region_word(region, page), PAGE_POISONED))
		region_wake(region, (struct page_range){ page, 1 });
}

bool region_poison(struct region *region, uint64_t page, const char *cause)
{
	uint64_t old = 0;

	if (!word_try_busy(region_word(region, page), PAGE_PRESENT, &old) &&
	    !word_try_busy(region_word(region, page), PAGE_NONE, &old) &&
	    !word_try_busy(region_word(region, page), PAGE_INHERIT, &old))
		return false;
	region_poison_busy(region, page, old, cause);
	return true;
}

/* ---- use ---- */

void region_note_use(struct region *region, uint64_t page)
{
	_Atomic uint64_t *word = &region->words[page];
	uint64_t seen = word_load(word);
	struct lruvec *lru = region_lru(region, word_node(seen));
	uint64_t value = word_with_age(seen & ~(uint64_t)(WORD_ASKED | WORD_UNASKED),
				       lru_age_now(lru)) | WORD_REFERENCED;

	if (word_state(seen) != PAGE_PRESENT || seen & WORD_BUSY || value == seen)
		return;
	if (seen & (WORD_REFERENCED | WORD_ASKED))
		value |= WORD_ACTIVE;
	if (!word_replace(word, &seen, value))
		return;
	if (seen & WORD_UNASKED)
		crowd_won(region);
	if (value & ~seen & WORD_ACTIVE) {
		atomic_fetch_add(&lru->nr_active, region_frames_per_page(region));
		reclaim_count(&reclaim_stats.pgactivate, region_frames_per_page(region));
	}
}
