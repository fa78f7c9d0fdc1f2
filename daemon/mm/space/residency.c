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

#include "base/inject.h"
#include "base/log.h"
#include "mm/phys/node.h"
#include "mm/space/region.h"
#include "os/os.h"

/* Longest run that one punch or populate covers, so that a claim is short: 16 MiB. */
enum { RUN_BYTES_MAX = 16 << 20, LOCK_PAGES = 4096, LOCK_TRIES = 10000 };

static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };

static _Atomic uint64_t *word_of(struct region *region, uint64_t page)
{
	return &region->words[page];
}

static uint64_t run_pages_max(const struct region *region)
{
	return RUN_BYTES_MAX >> region->page_shift;
}

/* Takes up to `nr` pages of quota from one node, the preferred one first; *got is what it gave. */
static int take_quota(struct region *region, uint64_t page, uint64_t nr, uint64_t *got)
{
	int first =
		region->policy == POLICY_INTERLEAVE ? (int)(page % nr_nodes) : region->home_node;

	for (int i = 0; i < nr_nodes; i++) {
		int node = (first + i) % nr_nodes;
		int64_t have = atomic_load_explicit(&region->quota[node], memory_order_relaxed);

		while (have > 0) {
			uint64_t want = min_t(uint64_t, nr, have);

			if (region->policy == POLICY_INTERLEAVE && nr_nodes > 1)
				want = 1;
			if (atomic_compare_exchange_weak(&region->quota[node], &have,
							 have - (int64_t)want)) {
				*got = want;
				return node;
			}
		}
	}
	*got = 0;
	return -ENOMEM;
}

/* A toucher waits for its page alone, and gets it sooner if the kernel clears it while mapping. */
enum purpose { FOR_A_FAULT, FOR_LATER };

static int populate_file(struct region *region, struct page_range run, int node, enum purpose why)
{
	struct stock_populate_request request = {
		.section = region->section,
		.offset = run.first << region->page_shift,
		.length = run.nr << region->page_shift,
		.node = node,
		.huge = atomic_load_explicit(&region->huge, memory_order_relaxed),
		.cleared = why == FOR_LATER,
	};

	int r = stock_populate(&request);

	return r == -ENOSPC ? -ENOMEM : r; /* hugetlb's word for it */
}

static bool end_run(struct region *region, struct page_range run, uint64_t value)
{
	bool waiters = false;

	for (uint64_t i = run.first; i < run.first + run.nr; i++)
		waiters |= word_end_busy(word_of(region, i), value);
	return waiters;
}

/* Counted before the file grows, so that the audit never sees more in it than is counted. */
static int populate_part(struct region *region, struct page_range part, int node, enum purpose why)
{
	uint64_t frames = part.nr * region_frames_per_page(region);
	int r = memcg_charge(region->memcg, MEMCG_REGION, frames);

	if (r)
		return r;
	r = stock_take(node, region->kind, frames);
	if (r) {
		memcg_uncharge(region->memcg, MEMCG_REGION, frames);
		return r;
	}
	atomic_fetch_add(&region->nr_resident, part.nr);
	r = populate_file(region, part, node, why);
	if (!r)
		return 0;
	/* What did come is still there, and a retry would be charged for it once more. */
	os->punch(region->section->fd, part.first << region->page_shift,
		  part.nr << region->page_shift);
	atomic_fetch_sub(&region->nr_resident, part.nr);
	stock_put(node, region->kind, frames);
	memcg_uncharge(region->memcg, MEMCG_REGION, frames);
	return r;
}

/* Produces a claimed run of NONE pages; what couldn't be produced is NONE again. */
static int produce(struct region *region, struct page_range run, enum purpose why,
		   uint64_t *produced)
{
	uint64_t end = run.first + run.nr;
	uint64_t at = run.first;
	bool waiters = false;
	int r = 0;

	while (at < end) {
		struct page_range part = { .first = at };
		int node = take_quota(region, at, end - at, &part.nr);

		if (node < 0) {
			r = node;
			break;
		}
		r = populate_part(region, part, node, why);
		if (r) {
			atomic_fetch_add(&region->quota[node], (int64_t)part.nr);
			break;
		}
		region_count_frames(region, node, (int64_t)part.nr);
		waiters |= end_run(region, part, word_present(node));
		at += part.nr;
	}
	if (at < end)
		waiters |= end_run(region, (struct page_range){ at, end - at }, PAGE_NONE);
	if (waiters)
		region_wake(region, run);
	*produced = at - run.first;
	return r;
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
	       word_try_busy(word_of(region, i), PAGE_NONE, &old))
		i++;
	return i - first;
}

static int why_not(struct region *region, uint64_t page)
{
	uint64_t word = word_load(word_of(region, page));

	if (word & WORD_BUSY)
		return word_wait(word_of(region, page)) ? -EBUSY : -EAGAIN;
	if (word_state(word) == PAGE_POISONED)
		return -EIO;
	return -EAGAIN;
}

static int make_present(struct region *region, struct page_range range, uint64_t want,
			enum purpose why, struct page_range *run)
{
	uint64_t end = range.first + range.nr;
	uint64_t at = range.first;
	int r = 0;

	run->first = at;
	while (at < end && !r) {
		uint64_t word = word_load(word_of(region, at));
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
			      enum purpose why, struct page_range *run)
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

int region_populate(struct region *region, struct page_range range)
{
	uint64_t at = range.first;
	uint64_t end = range.first + range.nr;

	while (at < end) {
		struct page_range rest = { at, end - at };
		struct page_range run;
		int r = make_block_present(region, rest, at, FOR_LATER, &run);

		if (r == -EBUSY)
			nanosleep(&busy_pause, NULL);
		else if (r)
			return r;
		else
			at = run.first + run.nr;
	}
	return 0;
}

/* Claims neighbours in one droppable state and of one node. */
static uint64_t claim_present(struct region *region, uint64_t first, uint64_t end, uint64_t *value)
{
	uint64_t i;

	for (i = first; i < end && i - first < run_pages_max(region); i++) {
		uint64_t word = word_load(word_of(region, i));
		uint64_t old;

		if (word_state(word) == PAGE_NONE || word & (WORD_BUSY | WORD_LOCKED))
			break;
		if (i > first && word != *value)
			break;
		if (!word_try_busy(word_of(region, i), word_state(word), &old))
			break;
		/* It may have been locked, or changed nodes, since it was looked at. */
		if (old & WORD_LOCKED || (i > first && old != *value)) {
			if (word_end_busy(word_of(region, i), old))
				region_wake(region, (struct page_range){ i, 1 });
			break;
		}
		*value = old;
	}
	return i - first;
}

static void uncharge(struct region *region, uint64_t value, uint64_t nr)
{
	int node = word_node(value);

	if (word_state(value) != PAGE_PRESENT)
		return;
	region_count_frames(region, node, -(int64_t)nr);
	atomic_fetch_sub(&region->nr_resident, nr);
	memcg_uncharge(region->memcg, MEMCG_REGION, nr * region_frames_per_page(region));
	atomic_fetch_add(&region->quota[node], (int64_t)nr);
}

static int drop_run(struct region *region, struct page_range run, uint64_t value)
{
	int r = os->punch(region->section->fd, run.first << region->page_shift,
			  run.nr << region->page_shift);

	if (!r)
		uncharge(region, value, run.nr);
	if (end_run(region, run, r ? value : PAGE_NONE))
		region_wake(region, run);
	return r;
}

int region_drop(struct region *region, struct page_range range)
{
	uint64_t at = range.first;
	uint64_t end = range.first + range.nr;
	int result = 0;

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
		word = word_load(word_of(region, at));
		if (word & WORD_BUSY) {
			nanosleep(&busy_pause, NULL);
		} else {
			if (word & WORD_LOCKED)
				result = -EBUSY;
			at += word_state(word) == PAGE_NONE || word & WORD_LOCKED;
		}
	}
	return result;
}

static void count_locked(struct region *region, int64_t pages)
{
	uint64_t frames = region_frames_per_page(region);

	atomic_fetch_add(&region->nr_locked, (uint64_t)pages);
	if (pages < 0)
		memcg_uncharge(region->memcg, MEMCG_LOCKED, (uint64_t)-pages * frames);
}

/* Locks one page that may be present. -EAGAIN: it isn't, or is busy; -ENOMEM: the pool's limit. */
static int lock_page(struct region *region, uint64_t page)
{
	uint64_t frames = region_frames_per_page(region);
	uint64_t old;
	int r = 0;

	if (!word_try_busy(word_of(region, page), PAGE_PRESENT, &old))
		return -EAGAIN;
	if (!(old & WORD_LOCKED))
		r = memcg_charge(region->memcg, MEMCG_LOCKED, frames);
	if (!r && !(old & WORD_LOCKED))
		count_locked(region, 1);
	if (word_end_busy(word_of(region, page), r ? old : old | WORD_LOCKED))
		region_wake(region, (struct page_range){ page, 1 });
	return r;
}

int region_lock_pages(struct region *region, struct page_range range)
{
	uint64_t at = range.first;
	uint64_t end = range.first + range.nr;

	/* In parts, and not for ever: others may drop pages as fast as they are made. */
	for (unsigned int tries = 0; at < end; tries++) {
		struct page_range part = { at, min_t(uint64_t, end - at, LOCK_PAGES) };
		int r = tries < LOCK_TRIES ? region_populate(region, part) : -EBUSY;

		while (!r && at < part.first + part.nr) {
			r = lock_page(region, at);
			if (!r) {
				at++;
				tries = 0;
			}
		}
		if (r && r != -EAGAIN)
			return r;
	}
	return 0;
}

void region_unlock_pages(struct region *region, struct page_range range)
{
	for (uint64_t at = range.first; at < range.first + range.nr; at++) {
		_Atomic uint64_t *word = word_of(region, at);
		uint64_t seen = word_load(word);
		uint64_t old;

		if (!(seen & WORD_LOCKED))
			continue;
		while (!word_try_busy(word, word_state(seen), &old)) {
			nanosleep(&busy_pause, NULL);
			seen = word_load(word);
		}
		if (old & WORD_LOCKED)
			count_locked(region, -1);
		if (word_end_busy(word, old & ~(uint64_t)WORD_LOCKED))
			region_wake(region, (struct page_range){ at, 1 });
	}
}

void region_poison_busy(struct region *region, uint64_t page, uint64_t old, const char *cause)
{
	os->punch(region->section->fd, page << region->page_shift, region_page_bytes(region));
	if (old & WORD_LOCKED)
		count_locked(region, -1);
	uncharge(region, old, 1);
	atomic_fetch_add(&region->nr_poisoned, 1);
	atomic_store(&region->poison_cause, cause);
	log_emit_limited(LOG_WARNING, "page_poisoned", "region %s, offset %#llx: %s",
			 region->name[0] ? region->name : "(unnamed)",
			 (unsigned long long)(page << region->page_shift), cause);
	if (word_end_busy(word_of(region, page), PAGE_POISONED))
		region_wake(region, (struct page_range){ page, 1 });
}

bool region_poison(struct region *region, uint64_t page, const char *cause)
{
	uint64_t old = 0;

	if (!word_try_busy(word_of(region, page), PAGE_PRESENT, &old) &&
	    !word_try_busy(word_of(region, page), PAGE_NONE, &old))
		return false;
	region_poison_busy(region, page, old, cause);
	return true;
}
