/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rollback - a region's contents become those of a snapshot, while clients keep it mapped
 *
 * Purpose     Both regions are frozen, and the snapshot is write-protected. Pages that are one
 *             frame in both are left; the others are dropped, which takes them out of every client
 *             at once, and copied from where the snapshot has them. Who shares a page that is
 *             dropped gets a copy first.
 * Instant     Of the region: the thaw. A page that is one frame in both is protected and the others
 *             are taken from everybody, and while it is frozen no page becomes writable: a write is
 *             lost with its page, or waits and comes after all of the snapshot. Of the snapshot, if
 *             clients may write to it: the end of its protection.
 * Locking     change_lock of both, as for a clone.
 * Failure     page by page either the old or the new contents; the page at which it stopped has
 *             neither, and is poisoned until it is done again.
 * Crash       page by page either the old or the new contents, or a hole between: whoever asked
 *             was not answered and asks again. What was whole is noted (client/carried.h) before
 *             anybody writes, and isn't done twice.
 */
#include <errno.h>
#include <time.h>

#include "base/heartbeat.h"
#include "mm/space/clone.h"
#include "mm/space/cow.h"
#include "mm/space/protect.h"
#include "mm/space/residency.h"

enum { PAGE_TRIES = 1000 };
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };

/* The section that has the page of a member; 0: none, it is zero, lost or not in memory. Of a page
 * that isn't held it may be gone by now: it diverges, and an ancestor that is closed ends. */
static uint32_t home_of(const struct region *region, uint64_t word)
{
	if (word_state(word) == PAGE_INHERIT)
		return word_high(word);
	return word_state(word) == PAGE_PRESENT ? region->section->id : 0;
}

static bool is_same(struct region *region, struct region *snapshot, uint64_t page)
{
	uint64_t mine = word_load(&region->words[page]), its = word_load(&snapshot->words[page]);
	uint32_t home = home_of(region, mine);

	if ((mine | its) & WORD_BUSY)
		return false;
	if (home || home_of(snapshot, its))
		return home == home_of(snapshot, its);
	return word_state(mine) == PAGE_NONE && word_state(its) == PAGE_NONE;
}

/* A page that would change can't be taken from who has locked it. */
static bool any_locked(struct region *region, struct region *snapshot)
{
	for (uint64_t page = 0; page < region->nr_pages; page++)
		if (word_load(&region->words[page]) & WORD_LOCKED &&
		    !is_same(region, snapshot, page))
			return true;
	return false;
}

static bool is_lost(const struct region *region, uint64_t page)
{
	return word_state(word_load(&region->words[page])) == PAGE_POISONED;
}

/* The word of a page that is in memory if it has contents, and idle. */
static int settle_source(struct region *snapshot, uint64_t page, uint64_t *word)
{
	for (;;) {
		*word = word_load(&snapshot->words[page]);
		if (*word & WORD_BUSY) {
			heartbeat_sleep(&busy_pause);
		} else if (home_of(snapshot, *word) || word_state(*word) == PAGE_NONE ||
			   word_state(*word) == PAGE_POISONED) {
			return 0;
		} else {
			int r = region_populate_locked(snapshot,
						       (struct page_range){ page, 1 });

			if (r && (r != -EIO || !is_lost(snapshot, page)))
				return r;
		}
	}
}

/* The snapshot's page is held by its BUSY over `its`. */
static int copy_held(struct region *region, struct region *snapshot, uint64_t page, uint64_t its)
{
	const struct page_range one = { page, 1 };
	struct region *home = word_state(its) == PAGE_INHERIT ? cow_owner(its) : snapshot;
	uint64_t old, copied;
	bool waiters;
	int r;

	if (!word_try_busy(&region->words[page], PAGE_NONE, &old))
		return -EAGAIN;
	r = region_copy_in(region, one, home, 0, &copied);
	waiters = r ? word_end_busy(&region->words[page], PAGE_NONE)
		    : cow_end_copied(region, one, home);
	if (waiters)
		region_wake(region, one);
	return r;
}

/* its: the snapshot's word when it was settled. */
static int take_contents(struct region *region, struct region *snapshot, uint64_t page,
			 uint64_t its)
{
	uint64_t held;
	int r;

	if (word_state(its) == PAGE_NONE)
		return 0;
	if (word_state(its) == PAGE_POISONED)
		return region_poison(region, page, "the snapshot's page is lost") ? 0 : -EAGAIN;
	/* Who it inherits from waits before that changes the page. */
	if (!word_try_busy(&snapshot->words[page], word_state(its), &held))
		return -EAGAIN;
	r = copy_held(region, snapshot, page, held);
	if (word_end_busy(&snapshot->words[page], held))
		region_wake(snapshot, (struct page_range){ page, 1 });
	return r;
}

/* Dropped, the page waits for nothing but room for its copy. Without it the page is lost, until the
 * rollback is repeated, and not zero. */
static int roll_page(struct region *region, struct region *snapshot, uint64_t page)
{
	unsigned int tries = 0;
	int r = -EAGAIN, dropped = -EAGAIN;

	for (unsigned int i = 0; r == -EAGAIN && !is_same(region, snapshot, page); i++) {
		uint64_t its = PAGE_NONE;

		/* These two wait for room by themselves. */
		r = dropped = region_drop_locked(region, (struct page_range){ page, 1 });
		if (!r)
			r = settle_source(snapshot, page, &its);
		if (r && r != -EAGAIN)
			break;
		if (!r)
			r = take_contents(region, snapshot, page, its);
		if (r == -ENOMEM && i < PAGE_TRIES && region_try_again(region, &tries))
			r = -EAGAIN;
	}
	if (r == -EAGAIN)
		return 0;
	if (r && !dropped)
		region_poison(region, page, "a rollback stopped here; repeat it");
	return r;
}

/* T3: wherever its windows have moved. */
static int protect_all(struct region *snapshot)
{
	const struct page_range whole = { 0, snapshot->nr_pages };

	for (unsigned int pass = 0; pass < MOVES_PASSES; pass++) {
		uint64_t moves = atomic_load(&snapshot->nr_moves);
		int r = region_protect(snapshot, whole);

		if (!r)
			r = region_await_moves(snapshot, whole);
		if (r || atomic_load(&snapshot->nr_moves) == moves)
			return r;
	}
	return -EAGAIN;
}

int region_rollback(struct region *region, struct region *snapshot, void (*whole)(void *arg),
		    void *arg)
{
	struct region *both[] = { region < snapshot ? region : snapshot,
				  region < snapshot ? snapshot : region };
	int r;

	if (region == snapshot)
		return 0;
	if (region->nr_pages != snapshot->nr_pages || region->page_shift != snapshot->page_shift)
		return -EINVAL;
	regions_freeze(both, 2);
	r = any_locked(region, snapshot) ? -EBUSY : 0;
	if (!r)
		r = protect_all(snapshot);
	for (uint64_t page = 0; page < region->nr_pages && !r; page++) {
		r = roll_page(region, snapshot, page);
		heartbeat_touch();
	}
	if (!r && whole)
		whole(arg);
	regions_thaw(both, 2);
	return r;
}
