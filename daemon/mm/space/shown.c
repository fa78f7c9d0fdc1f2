/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shown - what is inherited is mapped from where it is
 */
#include "mm/space/shown.h"

#include <errno.h>

#include "mm/space/clone.h"
#include "mm/space/cow.h"
#include "mm/space/mapping.h"
#include "mm/space/rejoin.h"

/* Marks what may be shown from the page on; how many. */
static uint64_t mark_seen(struct region *region, struct page_range range, uint32_t section)
{
	uint64_t i;

	for (i = range.first; i < range.first + range.nr; i++) {
		uint64_t seen = word_load(&region->words[i]);

		if (word_state(seen) != PAGE_INHERIT || seen & WORD_BUSY ||
		    word_high(seen) != section)
			break;
		if (!(seen & WORD_SEEN) &&
		    !word_replace(&region->words[i], &seen, seen | WORD_SEEN))
			break;
	}
	return i - range.first;
}

/* Reclaim goes by the owner's words, which have the age of the youngest look at the page. */
static void note_shown(const struct region *region, struct page_range range, uint32_t section)
{
	const struct section *home = section_by_id(section);

	for (uint64_t i = range.first; home && i < range.first + range.nr; i++) {
		_Atomic uint64_t *word = &page_words[home->pfn + i];
		uint64_t seen = word_load(word);
		const struct lruvec *lru = region_lru(region, word_node(seen));
		uint64_t value = word_with_age(seen, lru_age_now(lru));

		if (word_state(seen) == PAGE_PRESENT && !(seen & WORD_BUSY) && value != seen)
			word_replace(word, &seen, value);
	}
}

/* The ancestor's frames from the range's start on, protected; where it stopped, and why. */
static struct os_range_result show(struct mm *mm, const struct mm_target *t,
				   struct page_range range)
{
	struct region *region = t->region;
	struct os_range_result r = { .error = -EFAULT };
	unsigned int turn;
	int place;

	if (region_is_hugetlb(region) && clone_prepare_huge(region)) /* S3 */
		return r;
	turn = region_map_enter(region);
	place = region_show_begin(region, range);
	range.nr = mark_seen(region, range, t->shown);
	if (range.nr) {
		atomic_store(&mm->showing_ns, os->now_ns());
		atomic_fetch_add(&mm->nr_showing, 1);
		r = os->uffd_continue_protected(mm->uffd,
						t->base + (range.first << region->page_shift),
						range.nr << region->page_shift);
		atomic_fetch_sub(&mm->nr_showing, 1);
		note_shown(region, range, t->shown);
	}
	region_show_end(region, place);
	region_map_leave(region, turn);
	return r;
}

void shown_ahead(struct mm *mm, const struct mm_target *target, struct page_range range)
{
	const struct region *region = target->region;
	uint64_t end = min_t(uint64_t, range.first + range.nr, target->end);
	struct os_range_result r = { 0 };

	for (uint64_t at = range.first; at < end && (!r.error || r.error == -EFAULT);) {
		uint64_t word = word_load(&region->words[at]);

		r.done = 0;
		if (word_state(word) == PAGE_INHERIT && word_high(word) == target->shown)
			r = show(mm, target, (struct page_range){ at, end - at });
		at += max_t(uint64_t, r.done >> region->page_shift, 1);
	}
}

/* 0, or the errno for which none was mapped. */
static int show_inherited(struct mm *mm, const struct mm_target *t, uint64_t around)
{
	struct os_range_result r = show(
		mm, t,
		(struct page_range){ t->page, min_t(uint64_t, around, t->end - t->page) });

	return r.done ? 0 : r.error;
}

static void wake_page(struct mm *mm, const struct mm_target *t)
{
	uint64_t bytes = region_page_bytes(t->region);

	os->uffd_wake(mm->uffd, t->base + t->page * bytes, bytes);
}

static int read_foreign(struct mm *mm, const struct mm_target *t, uint64_t around)
{
	int r = show_inherited(mm, t, around);

	if (r == -ENOENT && around > 1) /* the client has cut its window */
		r = show_inherited(mm, t, 1);
	if (!r)
		return COW_SETTLED;
	if (r == -EFAULT) /* it diverged meanwhile, or a client took it out of the owner's file */
		return COW_GO_ON;
	wake_page(mm, t);
	return COW_SETTLED;
}

int shown_fault(struct mm *mm, const struct mm_target *t, uint32_t flags, uint64_t around)
{
	_Atomic uint64_t *word = &t->region->words[t->page];
	uint64_t seen = word_load(word);
	bool shows = word_state(seen) == PAGE_INHERIT && word_high(seen) == t->shown;
	int r = COW_GO_ON;

	if (seen & WORD_BUSY && word_state(seen) == PAGE_SWAPPED) /* it may come to inherit */
		return word_wait(word) ? COW_SETTLED : COW_AGAIN;
	if (!(flags & (OS_FAULT_WRITE | OS_FAULT_WP)) && rejoin_has_source(t->region, t->page))
		return -ENODATA; /* it comes to where the window shows it */
	if (word_state(seen) != PAGE_INHERIT)
		return cow_ask(mm, t);
	if (seen & WORD_BUSY)
		return word_wait(word) ? COW_SETTLED : COW_AGAIN;
	if (shows && !(flags & (OS_FAULT_WRITE | OS_FAULT_WP)))
		r = read_foreign(mm, t, around);
	if (r == COW_GO_ON) {
		struct mm_target one = *t;

		one.end = t->page + 1; /* each page moves to its own home by itself */
		r = cow_fault_on_inherited(shows ? &one : t, around);
	}
	if (r == COW_GO_ON && word_state(word_load(word)) != PAGE_INHERIT)
		return cow_ask(mm, t);
	return r == COW_GO_ON ? COW_AGAIN : r;
}
