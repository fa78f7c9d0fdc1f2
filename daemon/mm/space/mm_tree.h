/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mm_tree - windows as mm.c and remap.c cut and join them
 *
 * Locking     region->lock of the window's region and mm->lock are held, but for window_region().
 */
#ifndef MMB_SPACE_MM_TREE_H
#define MMB_SPACE_MM_TREE_H

#include "mm/space/mm.h"

static inline struct window *window_of(struct range *range)
{
	return range ? container_of(range, struct window, range) : NULL;
}

static inline uint64_t window_end(const struct window *w)
{
	return w->range.start + w->range.length;
}

static inline bool window_shows_own(const struct window *w)
{
	return w->shown == w->region->section->id;
}

/* How a window's record keeps both of its states. */
enum { RECORD_ADVICE_MASK = 0xff, RECORD_SHOWN_SHIFT = 8 };

struct window_search {
	uint32_t handle;    /* 0: any */
	bool foreign;       /* only windows that show an ancestor's memory */
	uint64_t from, end; /* what ends above the one and begins below the other */
};
/* The region, referenced, of the first such window; NULL: there is none. *found, unless NULL, is
 * its range. Takes mm->lock. */
struct region *window_region(struct mm *mm, const struct window_search *search,
			     struct range *found);
/* Not linked yet, and its record not committed. NULL: no memory. */
struct window *window_new(const struct mm *mm);
void window_free(struct window *w);
/* Its advice and what it shows are recorded. */
void window_record_state(struct window *w);
/* Cuts w at `at`; the upper part becomes a window of its own, made from `fresh`. */
void window_split(struct mm *mm, struct window *w, uint64_t at, struct window *fresh);
/* A streak that has come to the end of `from` goes on in `to`, behind it: who reads a clone page
 * after page has its window cut where parts are mapped anew. mm->lock is held. */
void window_copy_streaks(struct window *to, const struct window *from);
/* M2 around w; returns the window that covers it now. */
struct window *window_merge(struct mm *mm, struct window *w);

#endif
