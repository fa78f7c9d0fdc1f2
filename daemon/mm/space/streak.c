/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streak - which page an address means, and how far around it to go
 *
 * Purpose     mm_find(): a window keeps a few streaks of faults that go on page after page; a
 *             fault that continues one is served with neighbours, and with work ahead.
 * Feedback    Pages that were read from slots with a neighbour count as won when the streak passes
 *             them, and as lost when it ends before them. A window that loses more than it wins
 *             believes in longer streaks only.
 * Locking     mm->lock over the look-up and the window's streaks.
 */
#include <string.h>

#include "mm/balance/swap_io.h"
#include "mm/space/ahead.h"
#include "mm/space/mm_tree.h"

enum {
	STREAK_MIN = 2,       /* steps before a streak is believed */
	AROUND_SHIFT_MAX = 9, /* at most 512 pages of 4 KiB at a time */
	AHEAD_BYTES_MAX = 32 << 20,
	AHEAD_STREAK = 8,      /* steps before work goes on in the background */
	AHEAD_STREAK_HUGE = 2, /* the same for 2 MiB pages */
	SCORE_MAX = 1 << 16,   /* pages; then what was long ago counts half */
	WARY = 3,              /* more steps where more is lost than won */
	VERY_WARY = 8,         /* where it is many times as much */
	MANY_TIMES = 4,
};

static uint32_t doubt(const struct window *w)
{
	if (w->nr_lost <= w->nr_won)
		return 0;
	return w->nr_lost / MANY_TIMES > w->nr_won ? VERY_WARY : WARY;
}

static void keep_score(struct window *w, uint64_t won, uint64_t lost)
{
	w->nr_won += (uint32_t)min_t(uint64_t, won, SCORE_MAX);
	w->nr_lost += (uint32_t)min_t(uint64_t, lost, SCORE_MAX);
	if (w->nr_won < SCORE_MAX && w->nr_lost < SCORE_MAX)
		return;
	w->nr_won /= 2;
	w->nr_lost /= 2;
}

/* The streak has come to `page`, or, at its end, no further than where it was. */
static void settle_wish(struct window *w, struct streak *k, uint64_t page)
{
	uint64_t passed = page > k->from ? min_t(uint64_t, page - k->from, k->wish) : 0;

	if (!k->wish)
		return;
	keep_score(w, passed, page ? 0 : k->wish);
	swap_ahead_hit(passed);
	k->wish = 0;
}

/* To map such a page takes as long as one of 4 KiB, and not as one that is made. */
static bool is_huge_of_ancestor(const struct window *w, uint64_t page)
{
	return !window_shows_own(w) &&
	       word_state(word_load(&w->region->words[page])) == PAGE_INHERIT;
}

static uint64_t around_pages(const struct window *w, uint32_t streak, uint64_t page)
{
	uint32_t less = doubt(w);
	unsigned int shift = streak + 1 - min_t(uint32_t, less, streak);

	if (w->advice == WINDOW_SEQUENTIAL)
		shift = AROUND_SHIFT_MAX;
	else if (w->advice == WINDOW_RANDOM || streak < STREAK_MIN + less)
		return 1;
	if (w->region->page_shift != PAGE_SHIFT && !is_huge_of_ancestor(w, page))
		return 1;
	return 1ull << min_t(unsigned int, shift, AROUND_SHIFT_MAX);
}

static bool is_present(const struct region *region, uint64_t page)
{
	return word_state(word_load(&region->words[page])) == PAGE_PRESENT;
}

static bool is_swapped(const struct region *region, uint64_t page)
{
	return word_state(word_load(&region->words[page])) == PAGE_SWAPPED;
}

/* What is there already is mapped by the fault itself, a block at a time: that takes less than the
 * wake-ups of a background thread and of who waits for it.
 * What to produce in the background: from where the last such work ended, so far ahead of the
 * faulting page as the streak has earned. */
static void plan_ahead(struct window *w, struct streak *k, const struct mm_target *t,
		       struct mm_hint *hint)
{
	uint64_t block = ahead_block_pages(w->region);
	uint64_t depth = AHEAD_BYTES_MAX >> w->region->page_shift;
	uint32_t needed = w->region->page_shift == PAGE_SHIFT ? AHEAD_STREAK : AHEAD_STREAK_HUGE;
	uint64_t from, until;

	needed += doubt(w);
	if (w->advice == WINDOW_RANDOM || (k->steps < needed && w->advice != WINDOW_SEQUENTIAL))
		return;
	if (w->region->page_shift != PAGE_SHIFT && !window_shows_own(w))
		return; /* little is left to do */
	if (memcg_excess(w->region->memcg)) /* else what isn't delayed would be made there */
		return;
	from = round_up(max_t(uint64_t, k->ahead, t->page + hint->around), block);
	until = min_t(uint64_t, t->end, round_down(t->page + depth, block));
	if (from >= until || is_present(w->region, from))
		return;
	hint->ahead_first = from;
	hint->ahead_nr = until - from;
	k->ahead = until;
}

/* A streak goes on where its last run was to end, inside of that run if not all of it was done, or
 * inside what was made ahead. */
static bool goes_on(const struct streak *k, uint64_t page)
{
	return page == k->next_page ||
	       (page > k->page && page < max_t(uint64_t, k->next_page, k->ahead));
}

/* The streak that this fault continues, or the one not used for longest, begun anew. */
static struct streak *find_streak(struct window *w, uint64_t page)
{
	struct streak *oldest = &w->streaks[0];

	for (int i = 0; i < NR_STREAKS; i++) {
		struct streak *k = &w->streaks[i];

		if (goes_on(k, page)) {
			k->steps++;
			settle_wish(w, k, page);
			return k;
		}
		if ((int32_t)(k->used - oldest->used) < 0)
			oldest = k;
	}
	settle_wish(w, oldest, 0);
	*oldest = (struct streak){ 0 };
	return oldest;
}

static void plan(struct window *w, const struct mm_target *t, struct mm_hint *hint)
{
	struct streak *k = find_streak(w, t->page);
	uint64_t block = ahead_block_pages(w->region);

	/* Blocks made ahead begin at aligned pages; what is mapped now ends there. */
	hint->alone = w->advice == WINDOW_RANDOM;
	hint->around = min_t(uint64_t, around_pages(w, k->steps, t->page), block - t->page % block);
	hint->in_ahead = t->page < k->ahead;
	plan_ahead(w, k, t, hint);
	k->page = t->page;
	k->next_page = t->page + hint->around;
	k->used = ++w->streak_clock;
	if (hint->around > 1 && is_swapped(w->region, t->page)) {
		k->from = t->page + 1;
		k->wish = hint->around - 1;
	}
}

void window_copy_streaks(struct window *to, const struct window *from)
{
	memcpy(to->streaks, from->streaks, sizeof(to->streaks));
	for (int i = 0; i < NR_STREAKS; i++)
		to->streaks[i].wish = 0; /* won or lost once */
	to->streak_clock = from->streak_clock;
}

bool mm_find(struct mm *mm, uint64_t address, struct mm_target *t, struct mm_hint *hint)
{
	struct range *range;
	struct window *w;
	unsigned int shift;

	mutex_lock(&mm->lock);
	range = range_find(&mm->windows, address);
	if (!range) {
		mutex_unlock(&mm->lock);
		return false;
	}
	w = container_of(range, struct window, range);
	if (!atomic_load_explicit(&w->entered, memory_order_relaxed))
		atomic_store(&w->entered, true);
	shift = w->region->page_shift;
	region_get(w->region);
	t->region = w->region;
	t->shown = w->shown;
	t->handle = w->handle;
	t->first = w->page;
	t->end = w->page + (w->range.length >> shift);
	t->page = w->page + ((address - w->range.start) >> shift);
	t->base = w->range.start - (w->page << shift);
	*hint = (struct mm_hint){ .around = 1 };
	plan(w, t, hint);
	mutex_unlock(&mm->lock);
	return true;
}

bool mm_shows(struct mm *mm, const struct mm_target *t, struct page_range range)
{
	unsigned int shift = t->region->page_shift;
	uint64_t start = t->base + (range.first << shift);
	const struct window *w;
	bool shows;

	mutex_lock(&mm->lock);
	w = window_of(range_find(&mm->windows, start));
	shows = w && w->region == t->region && w->handle == t->handle && w->shown == t->shown &&
		w->range.start - (w->page << shift) == t->base &&
		start + (range.nr << shift) <= window_end(w);
	mutex_unlock(&mm->lock);
	return shows;
}
