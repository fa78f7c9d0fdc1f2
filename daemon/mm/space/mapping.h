/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapping - installing entries in clients' page tables, and knowing when none is under way
 *
 * Purpose     The only place that CONTINUEs or un-protects pages of regions. What a word says about
 *             protection holds for every entry: who wants a page protected sets its bit, waits for
 *             the installations that may not have seen it, and protects what is mapped.
 * Invariants  I1  an entry is installed, or un-protected, between region_map_enter() and
 *                 region_map_leave(), and the words are read after the former.
 *             I2  a page whose word has one of WORD_PROTECTED is only ever mapped protected.
 *             I3  while a region is frozen, nothing of it becomes writable.
 *             I4  while a region has `touched`, whatever of it becomes writable is noted there
 *                 before region_map_leave().
 *             I5  what isn't done for the thread that touched the page, in the course of that, may
 *                 find another window where the one was that it is for, whose pages are to be
 *                 mapped by other words: it looks again, and whoever takes a window away, or adds
 *                 one, waits for those who have looked.
 * Locking     a count for each of two turns; region_map_sync() waits for those of the turn that
 *             it ends. It may wait for as long as an ioctl on a client takes.
 */
#ifndef MMB_SPACE_MAPPING_H
#define MMB_SPACE_MAPPING_H

#include "mm/space/mm.h"

/* Returns the turn, for region_map_leave(). */
unsigned int region_map_enter(struct region *region);
void region_map_leave(struct region *region, unsigned int turn);
/* Every installation that began before this call has ended when it returns. Not from inside one. */
void region_map_sync(struct region *region);
/* The same, but false after a millisecond, or if somebody else waits. */
bool region_map_try_sync(struct region *region);
/* Every installation that began before this call has ended: without waiting, or after a
 * millisecond at most, for who holds BUSY and nothing else. False: some haven't. */
bool region_map_idle(struct region *region);
bool region_map_settle(struct region *region);

/* I5. False: the window, or part of it, has gone. */
bool map_late_begin(struct mm *mm, const struct mm_target *target, struct page_range run,
		    unsigned int *turn);
void map_late_end(struct mm *mm, unsigned int turn);
/* Who looked before this call is done with what it maps; waits for a second at most, as long as the
 * client keeps its map busy. */
void map_late_sync(struct mm *mm);

/* Around each call that maps inherited pages into a window, before their words are read; the
 * result is for region_show_end(). Who has made such words busy waits for the calls that may not
 * have seen it, and not for those about other pages. False after a millisecond. */
int region_show_begin(struct region *region, struct page_range run);
void region_show_end(struct region *region, int place);
bool region_show_wait(struct region *region, struct page_range run);

/* Pages that became writable since a region's `touched` was set: one bit for each, or for as many
 * as it takes to have TOUCHED_BITS_MAX at most. */
enum { TOUCHED_BITS_MAX = 1 << 20 };
/* c: fixed   a: atomic */
struct touched {
	unsigned int shift;       /* (c) pages of a bit */
	uint64_t nr_words;        /* (c) */
	_Atomic uint64_t nr_runs; /* (a) noted, each perhaps several times */
	_Atomic uint64_t bits[];  /* (a) */
};
/* kfree() ends it. NULL: no memory. */
struct touched *touched_new(const struct region *region);
void touched_clear(struct touched *touched);
/* The first run noted from page `from` on; of 0 pages: there is none. */
struct page_range touched_next(const struct touched *touched, const struct region *region,
			       uint64_t from);
/* Between region_map_enter() and region_map_leave(): whoever syncs after that finds it noted. */
void region_note_touched(struct region *region, struct page_range run);

/* The page's copy on disk is no longer what it holds: forgets it, so that the page may be written.
 * False if the word is busy or not PRESENT: look again. */
bool region_dirty_page(struct region *region, uint64_t page);

/* Installs entries for pages that are present, for the fault path too. Negative errno of the first
 * page that couldn't be mapped, with *done pages finished. -EBUSY: the region is frozen, and wakes
 * whoever waits when it thaws. */
int map_run(struct mm *mm, const struct mm_target *target, struct page_range run, uint64_t *done);
/* False: this kernel can't map pages protected, so that no page may be shared that is looked at. */
bool map_can_protect(void);
/* As map_run for the least part around an address that can be mapped. */
int map_least(struct mm *mm, const struct mm_target *target, uint64_t address, uint64_t *done);
/* A write hit a page of the target that needs no protection any more. -EBUSY as above; -EAGAIN:
 * one is to stay protected, is busy, or isn't there any more. */
int map_unprotect(struct mm *mm, const struct mm_target *target, struct page_range run);

#endif
