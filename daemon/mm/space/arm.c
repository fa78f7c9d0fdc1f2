/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm - a page, a batch, a range
 */
#include "mm/space/arm.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "mm/space/cow.h"
#include "mm/space/protect.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"

enum {
	ARM_PAGES_MIN = 512, /* of 2 MiB pages: some 30 to 70 us */
	ROOM_TRIES = 100,
	FROZEN_TRIES = 16, /* while all others wait for the parent */
};
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };

/* ---- pages ---- */

/* What an earlier round gave the clone for the page is taken back. */
static int reset_page(struct region *clone, uint64_t page)
{
	if (word_load(&clone->words[page]) == PAGE_NONE)
		return 0;
	return region_drop_locked(clone, (struct page_range){ page, 1 });
}

/* Nobody knows the clone, but reclaim may hold a hole of it between two victims, for a moment. */
static void hold_hole(struct region *clone, uint64_t page)
{
	uint64_t old;

	while (!word_try_busy(&clone->words[page], PAGE_NONE, &old))
		heartbeat_sleep(&busy_pause);
}

static void fill_hole(struct region *clone, uint64_t page, uint64_t value)
{
	hold_hole(clone, page);
	word_end_busy(&clone->words[page], value);
}

static void inherit_page(struct region *clone, uint64_t page, uint32_t section)
{
	fill_hole(clone, page, word_inherit(section));
	atomic_fetch_add_explicit(&clone->nr_inherit, 1, memory_order_relaxed);
}

/* What the parent doesn't want any more the clone may. */
static uint64_t word_shared(uint64_t seen)
{
	return (seen | WORD_SHARED) & ~(uint64_t)WORD_LAZYFREE;
}

/* C1 begins here: the clone's word first, so that a shared page always has its sharer. */
static int share_page(struct region *parent, struct region *clone, uint64_t page, uint64_t seen)
{
	uint32_t section = parent->section->id;
	int r = 0;

	if (word_load(&clone->words[page]) != word_inherit(section)) {
		r = reset_page(clone, page);
		if (!r)
			inherit_page(clone, page, section);
	}
	if (r || !word_replace(&parent->words[page], &seen, word_shared(seen)))
		return r;
	if (!(seen & WORD_SHARED))
		atomic_fetch_add(&parent->nr_shared, 1);
	return 1;
}

/* The same for many. The counts are never less than what there is. */
uint64_t arm_share_run(struct region *parent, struct region *clone, struct page_range run)
{
	uint64_t inherit = word_inherit(parent->section->id);
	uint64_t nr = 0, nr_inherited = 0, nr_shared = 0;

	atomic_fetch_add(&clone->nr_inherit, run.nr);
	atomic_fetch_add(&parent->nr_shared, run.nr);
	for (; nr < run.nr; nr++) {
		_Atomic uint64_t *word = &parent->words[run.first + nr];
		uint64_t none = PAGE_NONE, seen = word_load(word);

		if (word_state(seen) != PAGE_PRESENT || seen & (WORD_BUSY | WORD_LOCKED) ||
		    !word_replace(&clone->words[run.first + nr], &none, inherit))
			break;
		nr_inherited++;
		if (!word_replace(word, &seen, word_shared(seen)))
			break;
		nr_shared += !(seen & WORD_SHARED);
	}
	atomic_fetch_sub(&clone->nr_inherit, run.nr - nr_inherited);
	atomic_fetch_sub(&parent->nr_shared, run.nr - nr_shared);
	return nr;
}

/* With BUSY held over the parent's: its owner gives copies to both or to none. */
static int pass_on(struct region *parent, struct region *clone, uint64_t page)
{
	uint64_t old;
	int r = reset_page(clone, page);

	if (r || !word_try_busy(&parent->words[page], PAGE_INHERIT, &old))
		return r;
	inherit_page(clone, page, word_high(old));
	if (word_end_busy(&parent->words[page], old))
		region_wake(parent, (struct page_range){ page, 1 });
	return 1;
}

static bool is_frozen(struct region *region)
{
	return atomic_load(&region->frozen);
}

/* Everybody who faults on a frozen parent waits, and the clone's pool may be full for ever. */
static bool try_again(struct region *parent, struct region *clone, unsigned int *tries)
{
	if (is_frozen(parent))
		return ++*tries < FROZEN_TRIES && reclaim_for(clone);
	return region_try_again(clone, tries);
}

/* A locked page is never shared. Who writes to it while it is copied has it copied again. */
static int copy_locked(struct region *parent, struct region *clone, uint64_t page)
{
	struct page_range one = { page, 1 };
	uint64_t copied;
	unsigned int tries = 0;
	int r = reset_page(clone, page);

	if (!r)
		r = region_protect(parent, one);
	if (r)
		return r;
	do {
		hold_hole(clone, page);
		r = region_copy_in(clone, one, parent, 0, &copied);
		if (r)
			word_end_busy(&clone->words[page], PAGE_NONE);
		else
			cow_end_copied(clone, one, parent);
	} while (r == -ENOMEM && try_again(parent, clone, &tries));
	return r ? r : 1;
}

/* What isn't in memory isn't brought in for a clone: it gets the slot, too, or the value. */
static int arm_absent(struct region *parent, struct region *clone, uint64_t page, uint64_t seen)
{
	uint64_t old;
	int r = reset_page(clone, page);

	if (r || !word_try_busy(&parent->words[page], word_state(seen), &old))
		return r;
	if (word_state(old) == PAGE_SWAPPED)
		r = region_share_slot(clone, word_high(old));
	if (!r) {
		fill_hole(clone, page, old & ~(uint64_t)(WORD_BUSY | WORD_WAITERS));
		region_count_state(clone, word_state(old), 1);
	}
	if (word_end_busy(&parent->words[page], old))
		region_wake(parent, (struct page_range){ page, 1 });
	/* No room for one more user of the slot: then the parent has it in memory, and shares. */
	return r ? region_populate_locked(parent, (struct page_range){ page, 1 }) : 1;
}

/* Nothing, or what the parent has lost. */
static int arm_empty(struct region *parent, struct region *clone, uint64_t page, uint64_t value)
{
	int r = reset_page(clone, page);

	if (r || value == PAGE_NONE)
		return r ? r : 1;
	atomic_store(&clone->poison_cause, atomic_load(&parent->poison_cause));
	atomic_fetch_add(&clone->nr_poisoned, 1);
	fill_hole(clone, page, value);
	return 1;
}

/* 1: armed; 0: look again; else an error. */
static int arm_page(struct region *parent, struct region *clone, uint64_t page)
{
	uint64_t seen = word_load(&parent->words[page]);

	if (seen & WORD_BUSY) {
		heartbeat_sleep(&busy_pause);
		return 0;
	}
	switch (word_state(seen)) {
	case PAGE_PRESENT:
		return seen & WORD_LOCKED ? copy_locked(parent, clone, page)
					  : share_page(parent, clone, page, seen);
	case PAGE_INHERIT:
		return pass_on(parent, clone, page);
	case PAGE_SWAPPED:
	case PAGE_SAME_FILLED:
		return arm_absent(parent, clone, page, seen);
	default: /* poisoned, or nothing */
		return arm_empty(parent, clone, page, word_state(seen));
	}
}

/* A copy, or what has to be in memory first, finds no room. True: there may be now. */
static bool find_room(const struct clone_pair *p, unsigned int *tries)
{
	unsigned int most = is_frozen(p->parent) ? FROZEN_TRIES : ROOM_TRIES;

	return ++*tries < most && reclaim_for(p->clone);
}

/* What is shared in a batch is protected by one call; holes between are protected too, which does
 * nothing to them. */
int arm_batch(const struct clone_pair *p, struct page_range batch, protect_fn protect)
{
	struct page_range shared = { batch.first, 0 };
	uint64_t at = batch.first, end = batch.first + batch.nr;
	unsigned int tries = 0;
	int r = 0;

	while (at < end && r >= 0) {
		uint64_t nr = arm_share_run(p->parent, p->clone,
					    (struct page_range){ at, end - at });

		if (!nr) {
			r = arm_page(p->parent, p->clone, at);
			if (r == -ENOMEM && find_room(p, &tries))
				r = 0;
			if (r <= 0)
				continue;
		}
		if (nr || word_load(&p->parent->words[at]) & WORD_SHARED) {
			shared.first = shared.nr ? shared.first : at;
			shared.nr = at + max_t(uint64_t, nr, 1) - shared.first;
		}
		at += max_t(uint64_t, nr, 1);
	}
	if (r < 0)
		return r;
	return shared.nr ? protect(p->parent, shared) : 0;
}

int arm_range(const struct clone_pair *p, struct page_range range)
{
	uint64_t step = max_t(uint64_t, ARM_BATCH_BYTES >> p->parent->page_shift, ARM_PAGES_MIN);
	uint64_t end = range.first + range.nr;
	bool huge = p->parent->page_shift != PAGE_SHIFT; /* few pages: it's over soon */
	int r = INJECT(CLONE_ARM);

	for (uint64_t at = range.first; at < end && !r; at += step) {
		heartbeat_touch();
		/* Who writes meanwhile needs the CPU at once. */
		if (at > range.first && !huge && !is_frozen(p->parent))
			sched_yield();
		r = arm_batch(p, (struct page_range){ at, min_t(uint64_t, step, end - at) },
			      region_protect);
	}
	return r;
}
