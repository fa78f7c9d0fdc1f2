/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cow - claims of runs, copies, and who gets them
 */
#include "mm/space/cow.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "mm/space/fault.h"
#include "mm/space/lineage.h"
#include "mm/space/mapping.h"

enum {
	BREAK_BYTES_MAX = 256 << 10, /* at once, of small pages: what a thread waits for */
	COPY_SPINS = 256,
};
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };
static const char lost[] = "the page was punched out of the file of the region it is cloned from";

struct region *cow_owner(uint64_t word)
{
	struct section *section = section_by_id(word_high(word));

	CHECK(word_state(word) == PAGE_INHERIT && section && section->type == SECTION_REGION);
	return section->owner;
}

static uint64_t at_once(const struct region *region, uint64_t nr)
{
	uint64_t most = BREAK_BYTES_MAX >> region->page_shift;

	return min_t(uint64_t, nr, most ? most : 1);
}

static bool end_page(struct region *region, uint64_t page, uint64_t clear)
{
	uint64_t word = word_load(&region->words[page]);

	return word_end_busy(&region->words[page],
			     word & ~(uint64_t)(WORD_BUSY | WORD_WAITERS | clear));
}

/* ---- a clone's own copies ---- */

/* From range.first on, what is inherited from one owner. */
static uint64_t claim_inherited(struct region *region, struct page_range range, uint64_t *value)
{
	uint64_t i;

	for (i = range.first; i < range.first + range.nr; i++) {
		uint64_t old;

		if (!word_try_busy(&region->words[i], PAGE_INHERIT, &old))
			break;
		if (i > range.first && word_high(old) != word_high(*value)) {
			if (word_end_busy(&region->words[i], old))
				region_wake(region, (struct page_range){ i, 1 });
			break;
		}
		*value = old;
	}
	return i - range.first;
}

/* What isn't in the owner's file any more was taken by a client that has it: those pages are lost,
 * and not zero. */
static bool end_copied(struct region *region, struct page_range run, struct region *owner)
{
	uint64_t bytes = region_page_bytes(region);
	bool holes = os->has_hole(owner->section->fd, run.first * bytes, run.nr * bytes);
	bool waiters = false;

	for (uint64_t i = run.first; i < run.first + run.nr; i++) {
		if (holes && os->has_hole(owner->section->fd, i * bytes, bytes))
			region_poison_busy(region, i, word_load(&region->words[i]), lost);
		else
			waiters |= end_page(region, i, WORD_BREAKING | WORD_CHECKING);
	}
	return waiters;
}

/* 0: look again; -EBUSY: the page is busy, and wakes the faulter; -ESTALE: the region is closed,
 * and whom it inherits from may be gone. Where it closes later, its busy pages keep the owner. */
static int diverge(struct region *region, struct page_range range)
{
	uint64_t value = 0;
	struct page_range run = { range.first, claim_inherited(region, range, &value) };
	struct page_range copied = { run.first, 0 };
	bool waiters = false;
	int r;

	if (!run.nr)
		return word_load(&region->words[range.first]) & WORD_BUSY &&
				       word_wait(&region->words[range.first])
			       ? -EBUSY
			       : 0;
	r = atomic_load(&region->closed) ? -ESTALE
					 : region_copy_in(region, run, cow_owner(value),
							  WORD_CHECKING, &copied.nr);
	if (copied.nr)
		waiters = end_copied(region, copied, cow_owner(value));
	for (uint64_t i = run.first + copied.nr; i < run.first + run.nr; i++)
		waiters |= end_page(region, i, 0);
	if (waiters)
		region_wake(region, run);
	return copied.nr ? 0 : r;
}

/* ---- an owner's page is about to change ---- */

static uint64_t claim_shared(struct region *region, struct page_range range)
{
	uint64_t i;

	for (i = range.first; i < range.first + range.nr; i++) {
		uint64_t old;

		if (!(word_load(&region->words[i]) & WORD_SHARED) ||
		    !word_try_busy(&region->words[i], PAGE_PRESENT, &old))
			break;
		if (old & WORD_SHARED)
			continue;
		if (word_end_busy(&region->words[i], old))
			region_wake(region, (struct page_range){ i, 1 });
		break;
	}
	return i - range.first;
}

/* Waits while the member makes a copy by itself, until it has looked that over. */
static bool claim_from(struct region *member, uint64_t page, uint32_t owner)
{
	_Atomic uint64_t *word = &member->words[page];
	uint64_t old;

	for (unsigned int i = 0;; i++) {
		uint64_t seen = word_load(word);

		if (!word_has_mark(seen, WORD_CHECKING) &&
		    (word_state(seen) != PAGE_INHERIT || word_high(seen) != owner))
			return false;
		if (word_try_busy(word, PAGE_INHERIT, &old)) {
			if (word_high(old) == owner)
				return true;
			end_page(member, page, 0);
		}
		if (i < COPY_SPINS)
			sched_yield();
		else
			nanosleep(&busy_pause, NULL);
	}
}

static int give_run(struct region *member, struct page_range run, struct region *owner)
{
	uint64_t copied = 0;
	bool waiters = false;
	int r = region_copy_in(member, run, owner, WORD_BREAKING, &copied);

	for (uint64_t i = run.first + copied; i < run.first + run.nr; i++)
		waiters |= end_page(member, i, 0);
	if (waiters)
		region_wake(member, run);
	return r;
}

static int give_copies(struct region *member, struct page_range run, struct region *owner)
{
	uint64_t end = run.first + run.nr;
	int r = 0;

	for (uint64_t at = run.first; at < end && !r;) {
		struct page_range part = { at, 0 };

		while (at < end && claim_from(member, at, owner->section->id)) {
			part.nr++;
			at++;
		}
		if (part.nr)
			r = give_run(member, part, owner);
		at++;
	}
	return r;
}

static void finish_copies(struct region *member, struct page_range run, struct region *owner)
{
	uint64_t end = run.first + run.nr;
	bool waiters = false;

	for (uint64_t at = run.first; at < end;) {
		struct page_range part = { at, 0 };

		while (at < end &&
		       word_has_mark(word_load(&member->words[at]), WORD_BREAKING)) {
			part.nr++;
			at++;
		}
		if (part.nr)
			waiters |= end_copied(member, part, owner);
		at++;
	}
	if (waiters)
		region_wake(member, run);
}

/* A clone that is being armed is told of the change when that ends (clone.h). */
static bool needs_copy(const struct kin *kin, const struct kin *root)
{
	return !kin->closed && !(kin->arming && kin->parent == root);
}

static int give_all(struct region *owner, struct page_range run)
{
	struct kin *root = region_kin(owner), *kin;
	int r = 0;

	mutex_lock(&root->family->lock);
	for (kin = family_below(root, root); kin && !r; kin = family_below(root, kin))
		if (needs_copy(kin, root))
			r = give_copies(kin->region, run, owner);
	for (kin = family_below(root, root); kin; kin = family_below(root, kin))
		finish_copies(kin->region, run, owner);
	mutex_unlock(&root->family->lock);
	return r;
}

/* Of the range, as many pages as are shared and idle from its start on; *broken of them needn't be
 * protected any more. 0, or the errno of a copy. */
static int break_shared(struct region *owner, struct page_range range, uint64_t *broken)
{
	struct page_range run = { range.first, claim_shared(owner, range) };
	bool waiters = false;
	int r;

	*broken = 0;
	if (!run.nr)
		return 0;
	r = give_all(owner, run);
	for (uint64_t i = run.first; i < run.first + run.nr; i++)
		waiters |= end_page(owner, i, r ? 0 : WORD_SHARED);
	if (!r) {
		atomic_fetch_sub(&owner->nr_shared, run.nr);
		*broken = run.nr;
	}
	if (waiters)
		region_wake(owner, run);
	return r;
}

/* ---- faults ---- */

static int fault_on_inherited(const struct mm_target *t, uint64_t around)
{
	struct page_range range = { t->page,
				    at_once(t->region, min_t(uint64_t, around, t->end - t->page)) };
	int r = diverge(t->region, range);

	if (r != -EBUSY)
		return r < 0 && r != -ESTALE ? r : COW_GO_ON;
	atomic_fetch_add_explicit(&fault_stats.nr_busy, 1, memory_order_relaxed);
	return COW_SETTLED;
}

/* The write that is an event: with the break it can go on, in the neighbourhood too. */
static int fault_on_shared(struct mm *mm, const struct mm_target *t, uint32_t flags,
			   uint64_t around)
{
	struct page_range range = { t->page,
				    at_once(t->region, min_t(uint64_t, around, t->end - t->page)) };
	unsigned int turn = region_map_enter(t->region);
	bool frozen = atomic_load(&t->region->frozen);
	int r = frozen ? 0 : break_shared(t->region, range, &range.nr);

	if (!frozen)
		region_note_touched(t->region, range);
	region_map_leave(t->region, turn);
	if (frozen) /* the thaw wakes */
		return COW_SETTLED;
	if (!r && !range.nr && word_wait(&t->region->words[t->page]))
		return COW_SETTLED;
	if (r || !range.nr || !(flags & OS_FAULT_WP))
		return r < 0 ? r : COW_GO_ON;
	for (uint64_t i = range.first; i < range.first + range.nr; i++)
		region_dirty_page(t->region, i);
	r = map_unprotect(mm, t, range);
	return !r || r == -EBUSY ? COW_SETTLED : COW_GO_ON;
}

int cow_fault(struct mm *mm, const struct mm_target *target, const struct os_uffd_event *event,
	      uint64_t around)
{
	uint64_t word = word_load(&target->region->words[target->page]);

	if (word_state(word) == PAGE_INHERIT)
		return fault_on_inherited(target, around);
	if (word_state(word) == PAGE_PRESENT && word & WORD_SHARED &&
	    (event->flags & (OS_FAULT_WRITE | OS_FAULT_WP) || !map_can_protect()))
		return fault_on_shared(mm, target, event->flags, around);
	return COW_GO_ON;
}

/* ---- ranges ---- */

/* One step at page `at`: 0 and *done pages, or an error. */
static int unshare_step(struct region *region, struct page_range rest, uint64_t *done)
{
	uint64_t word = word_load(&region->words[rest.first]);

	*done = 0;
	rest.nr = at_once(region, rest.nr);
	if (word & WORD_BUSY)
		nanosleep(&busy_pause, NULL);
	else if (word_state(word) == PAGE_INHERIT)
		return diverge(region, rest);
	else if (word & WORD_SHARED)
		return break_shared(region, rest, done);
	else
		*done = 1;
	return 0;
}

int cow_unshare(struct region *region, struct page_range range)
{
	while (range.nr && region_kin(region)) {
		uint64_t done;
		int r = unshare_step(region, range, &done);

		if (r && r != -EBUSY)
			return r;
		range.first += done;
		range.nr -= done;
	}
	return 0;
}

static void forget_inherited(struct region *region, struct page_range range)
{
	uint64_t old;

	for (uint64_t i = range.first; i < range.first + range.nr; i++) {
		while (word_state(word_load(&region->words[i])) == PAGE_INHERIT) {
			if (!word_try_busy(&region->words[i], PAGE_INHERIT, &old)) {
				nanosleep(&busy_pause, NULL);
				continue;
			}
			atomic_fetch_sub(&region->nr_inherit, 1);
			/* A closed one keeps nobody above it from ending. */
			if (!atomic_load(&region->closed))
				lineage_diverged(word_high(old), 1);
			if (word_end_busy(&region->words[i], PAGE_NONE))
				region_wake(region, (struct page_range){ i, 1 });
		}
	}
}

int cow_forget(struct region *region, struct page_range range)
{
	if (!region_kin(region))
		return 0;
	forget_inherited(region, range);
	return cow_unshare(region, range);
}
