/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone - joining, freezing, arming
 */
#include "mm/space/clone.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "mm/obj/slab.h"
#include "mm/space/ahead.h"
#include "mm/space/cow.h"
#include "mm/space/mapping.h"
#include "mm/space/protect.h"
#include "mm/space/reclaim.h"
#include "mm/space/residency.h"
#include "mm/space/takeout.h"
#include "os/os.h"

enum {
	ARM_BYTES = 8 << 20, /* protected by one call, of small pages: some 60 us */
	ARM_PAGES_MIN = 512, /* of 2 MiB pages: some 30 to 70 us */
	ROUNDS_MAX = 16,
	NOTES_NEAR = 64,      /* pages between them */
	NOTES_TOGETHER = 512, /* pages of one call: some 30 us for who writes there */
	TOUCHED_FEW = 4, /* runs that are armed while faulting writers wait */
	ROOM_TRIES = 100,
	FROZEN_TRIES = 16, /* while all others wait for the parent */
	PARTS_MAX = 8,
	HELP_FROM = 4,     /* batches that are armed before somebody else is asked to help */
	HELP_SPINS = 64, LEFT_MAX = 32,
};
typedef int (*protect_fn)(struct region *region, struct page_range range);
static const struct timespec busy_pause = { .tv_nsec = 50 * 1000 };

/* ---- the tree ---- */

int clone_join(const struct clone_pair *pair)
{
	struct kin *parent, *kin;
	int r = INJECT(CLONE_JOIN);

	if (r)
		return r;
	mutex_lock_long(&pair->parent->change_lock);
	parent = region_kin(pair->parent);
	if (!parent) {
		parent = family_new(pair->parent);
		atomic_store(&pair->parent->kin, parent);
	}
	kin = parent ? family_join(parent, pair->clone) : NULL;
	if (kin) {
		pair->clone->family = pair->parent->family; /* slots are theirs in common */
		atomic_store(&pair->clone->kin, kin);
		region_get(pair->parent); /* L2 */
	}
	mutex_unlock(&pair->parent->change_lock);
	return kin ? 0 : -ENOMEM;
}

static bool is_ancestor(const struct region *region, uint32_t section)
{
	const struct kin *kin = region_kin(region);

	for (kin = kin ? kin->parent : NULL; kin; kin = kin->parent)
		if (((struct region *)kin->region)->section->id == section)
			return true;
	return false;
}

/* The owner's page was evicted, or lost, and the daemon died before it told this heir. */
static int resume_heir(struct region *region, uint64_t page, uint64_t word)
{
	const struct region *owner = cow_owner(word);
	uint64_t home = page < owner->nr_pages ? word_load(&owner->words[page]) : PAGE_NONE;
	enum page_state state = word_state(home);
	int r;

	if (state == PAGE_PRESENT)
		return 0;
	if (state != PAGE_SWAPPED && state != PAGE_SAME_FILLED) {
		region_poison(region, page, "the page it is cloned from is lost");
		return 0;
	}
	r = state == PAGE_SWAPPED ? region_share_slot(region, word_high(home)) : 0;
	if (r)
		return r;
	atomic_store(&region->words[page], home);
	atomic_fetch_sub(&region->nr_inherit, 1);
	region_count_state(region, state, 1);
	return 0;
}

int clone_resume(struct region *region, struct region *parent)
{
	struct clone_pair pair = { parent, region };
	int r = parent ? clone_join(&pair) : 0;

	for (uint64_t page = 0; page < region->nr_pages && !r; page++) {
		uint64_t word = word_load(&region->words[page]);

		if (word_state(word) != PAGE_INHERIT)
			continue;
		if (is_ancestor(region, word_high(word)))
			r = resume_heir(region, page, word);
		else
			region_poison(region, page, "the region it is cloned from is lost");
	}
	return r;
}

/* Under the family's lock an ancestor whose frames are inherited doesn't end. */
static struct region *first_owner(const struct region *region)
{
	for (uint64_t i = 0; i < region->nr_pages; i++) {
		uint64_t word = word_load(&region->words[i]);

		if (word_state(word) == PAGE_INHERIT)
			return is_ancestor(region, word_high(word)) ? cow_owner(word) : NULL;
	}
	return NULL;
}

int clone_prepare_huge(struct region *region)
{
	int r;

	if (atomic_load(&region->shows_huge))
		return 0;
	r = takeout_prepare();
	if (!r && atomic_exchange(&region->shows_huge, true)) /* somebody else has just now */
		takeout_leave();
	return r;
}

int clone_open_base(struct region *region, bool (*may)(const struct region *ancestor, void *arg),
		    void *arg, uint32_t *section)
{
	struct kin *kin = region_kin(region);
	struct region *owner;
	int fd = -1;

	/* Windows of pages of 2 MiB that are made of small ones can be cut inside a page. */
	if (!kin || !atomic_load(&region->nr_inherit) ||
	    (region->page_shift != PAGE_SHIFT && !region_is_hugetlb(region)))
		return -1;
	mutex_lock(&kin->family->lock);
	owner = first_owner(region);
	if (owner && may(owner, arg)) {
		fd = os->reopen_readonly(owner->section->fd);
		*section = owner->section->id;
	}
	mutex_unlock(&kin->family->lock);
	return fd < 0 ? -1 : fd;
}

/* ---- protecting ---- */

struct mapped_parts {
	struct mm *mm[PARTS_MAX]; /* referenced */
	struct mapped_range range[PARTS_MAX];
	unsigned int nr;
	bool more; /* than there is room for */
};

static void note_part(struct mm *mm, uint64_t address, uint64_t length, void *arg)
{
	struct mapped_parts *parts = arg;

	if (parts->nr == PARTS_MAX) {
		parts->more = true;
	} else if (mm_get(mm)) {
		parts->mm[parts->nr] = mm;
		parts->range[parts->nr++] = (struct mapped_range){ address, length };
	}
}

/* The same without the lock, so that two threads can: who looks for nr_moves afterwards learns of
 * windows that have left meanwhile. What is protected in vain, in whatever a client has mapped in
 * such a one's place, is one event more when it is written. */
static int protect_beside(struct region *region, struct page_range range)
{
	struct mapped_parts parts = { .nr = 0 };
	int r = 0;

	region_for_each_mapping(region, range, note_part, &parts);
	for (unsigned int i = 0; i < parts.nr; i++) {
		if (!r && !parts.more)
			r = mm_protect(parts.mm[i], region, parts.range[i].address,
				       parts.range[i].length);
		mm_put(parts.mm[i]);
	}
	return r || parts.more ? region_protect(region, range) : 0;
}

/* ---- arming: nothing drops or locks pages of the parent ---- */

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

/* The same for pages that nobody else is at work on, from the run's start on; how many. The counts
 * are never less than what there is. */
static uint64_t share_run(struct region *parent, struct region *clone, struct page_range run)
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
		word_end_busy(&clone->words[page], r ? PAGE_NONE : word_load(&clone->words[page]) &
						   ~(uint64_t)(WORD_BUSY | WORD_WAITERS));
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

static int arm_empty(struct region *clone, uint64_t page, uint64_t value)
{
	int r = reset_page(clone, page);

	if (!r && value != PAGE_NONE)
		fill_hole(clone, page, value);
	return r ? r : 1;
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
		return arm_empty(clone, page, word_state(seen));
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
static int arm_batch(const struct clone_pair *p, struct page_range batch, protect_fn protect)
{
	struct page_range shared = { batch.first, 0 };
	uint64_t at = batch.first, end = batch.first + batch.nr;
	unsigned int tries = 0;
	int r = 0;

	while (at < end && r >= 0) {
		uint64_t nr = share_run(p->parent, p->clone, (struct page_range){ at, end - at });

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

static int arm(const struct clone_pair *p, struct page_range range)
{
	uint64_t step = max_t(uint64_t, ARM_BYTES >> p->parent->page_shift, ARM_PAGES_MIN);
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

/* ---- the first pass over a large parent, by two threads ---- */

enum help_stage { HELP_WANTED, HELP_BEGUN, HELP_OVER };

/* c: fixed   a: atomic   h: the helper's until HELP_OVER */
struct help {
	struct work work;
	struct clone_pair pair;            /* (c) */
	_Atomic unsigned int refs;         /* (a) the clone's maker, the queue */
	_Atomic enum help_stage stage;     /* (a) */
	_Atomic uint64_t next;             /* (a) the first page that nobody has taken */
	unsigned int nr_left;              /* (h) */
	struct page_range left[LEFT_MAX];  /* (h) what isn't shared by a store a page */
};

/* What isn't used is in no batch; what comes to be there meanwhile is noted. */
static bool take_batch(struct help *h, struct page_range *batch)
{
	uint64_t step = ARM_BYTES >> PAGE_SHIFT, end = h->pair.parent->nr_pages;
	uint64_t at = atomic_load(&h->next), first;

	do
		first = at < end ? round_down(region_next_used(h->pair.parent, at), step) : at;
	while (!atomic_compare_exchange_weak(&h->next, &at, first + step));
	*batch = (struct page_range){ first, first < end ? min_t(uint64_t, step, end - first) : 0 };
	return batch->nr;
}

/* Who writes needs the CPU more. */
static bool is_written(const struct region *parent)
{
	return atomic_load(&atomic_load(&parent->touched)->nr_runs);
}

static void help_with(struct help *h, struct page_range batch)
{
	struct page_range run = batch;

	run.nr = share_run(h->pair.parent, h->pair.clone, batch);
	if (run.nr && protect_beside(h->pair.parent, run))
		run.nr = 0;
	if (run.nr < batch.nr)
		h->left[h->nr_left++] = (struct page_range){ batch.first + run.nr,
							     batch.nr - run.nr };
}

static void put_help(struct help *h)
{
	if (atomic_fetch_sub(&h->refs, 1) == 1)
		kfree(h);
}

static void run_help(struct work *work)
{
	struct help *h = container_of(work, struct help, work);
	enum help_stage wanted = HELP_WANTED;
	struct page_range batch;

	if (atomic_compare_exchange_strong(&h->stage, &wanted, HELP_BEGUN)) {
		while (h->nr_left < LEFT_MAX && !is_written(h->pair.parent) &&
		       take_batch(h, &batch)) {
			heartbeat_touch();
			help_with(h, batch);
		}
		atomic_store(&h->stage, HELP_OVER);
	}
	put_help(h);
}

/* Nobody helps any more; what the helper has left is armed. */
static int end_help(struct help *h)
{
	enum help_stage stage = HELP_WANTED;
	int r = 0;

	atomic_compare_exchange_strong(&h->stage, &stage, HELP_OVER);
	for (unsigned int i = 0; atomic_load(&h->stage) != HELP_OVER; i++) {
		if (i < HELP_SPINS)
			sched_yield();
		else
			heartbeat_sleep(&busy_pause);
	}
	for (unsigned int i = 0; i < h->nr_left && !r; i++)
		r = arm(&h->pair, h->left[i]);
	put_help(h);
	return r;
}

static int arm_together(const struct clone_pair *p)
{
	struct help *h = kzalloc(sizeof(*h), GFP_KERNEL);
	struct page_range batch;
	unsigned int nr = 0;
	int r = h ? INJECT(CLONE_ARM) : -ENOMEM, left;

	if (!h)
		return arm(p, (struct page_range){ 0, p->parent->nr_pages });
	h->pair = *p;
	atomic_store(&h->refs, 1);
	work_init(&h->work, run_help);
	while (!r && take_batch(h, &batch)) {
		heartbeat_touch();
		if (nr)
			sched_yield(); /* who writes meanwhile needs the CPU at once */
		if (nr++ == HELP_FROM && !is_written(p->parent)) {
			atomic_fetch_add(&h->refs, 1);
			ahead_add(&h->work);
		}
		r = arm_batch(p, batch, protect_beside);
	}
	left = end_help(h);
	return r ? r : left;
}

static int arm_whole(const struct clone_pair *p)
{
	if (p->parent->page_shift != PAGE_SHIFT ||
	    p->parent->nr_pages < (uint64_t)HELP_FROM * 2 * (ARM_BYTES >> PAGE_SHIFT))
		return arm(p, (struct page_range){ 0, p->parent->nr_pages });
	return arm_together(p);
}

/* ---- several together ---- */

struct parents {
	struct region *list[CLONES_MAX]; /* each once, by address */
	struct touched *touched[CLONES_MAX], *before[CLONES_MAX];
	uint64_t moves[CLONES_MAX];
	unsigned int nr;
};

static void add_parent(struct parents *parents, struct region *region)
{
	unsigned int i = parents->nr;

	while (i && parents->list[i - 1] > region)
		i--;
	if (i && parents->list[i - 1] == region)
		return;
	for (unsigned int k = parents->nr; k > i; k--)
		parents->list[k] = parents->list[k - 1];
	parents->list[i] = region;
	parents->nr++;
}

static void lock_changes(struct region *const *regions, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (i)
			mutex_lock_long_nested(&regions[i]->change_lock);
		else
			mutex_lock_long(&regions[i]->change_lock);
	}
}

static void unlock_changes(struct region *const *regions, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		mutex_unlock(&regions[i]->change_lock);
}

static void freeze(struct region *const *regions, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		atomic_store(&regions[i]->frozen, true);
	for (unsigned int i = 0; i < nr; i++)
		region_map_sync(regions[i]);
}

static void thaw(struct region *const *regions, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		atomic_store(&regions[i]->frozen, false);
	for (unsigned int i = 0; i < nr; i++)
		region_wake(regions[i], (struct page_range){ 0, regions[i]->nr_pages });
}

void regions_freeze(struct region *const *regions, unsigned int nr)
{
	lock_changes(regions, nr);
	freeze(regions, nr);
}

void regions_thaw(struct region *const *regions, unsigned int nr)
{
	thaw(regions, nr);
	unlock_changes(regions, nr);
}

/* ---- rounds ---- */

static int watch(struct parents *p)
{
	int r = 0;

	for (unsigned int i = 0; i < p->nr && !r; i++) {
		p->touched[i] = touched_new(p->list[i]);
		p->before[i] = touched_new(p->list[i]);
		r = p->touched[i] && p->before[i] ? 0 : -ENOMEM;
	}
	for (unsigned int i = 0; i < p->nr && !r; i++) {
		p->moves[i] = atomic_load(&p->list[i]->nr_moves);
		atomic_store(&p->list[i]->touched, p->touched[i]);
	}
	for (unsigned int i = 0; i < p->nr && !r; i++) /* what began before isn't noted */
		region_map_sync(p->list[i]);
	return r;
}

static void unwatch(struct parents *p)
{
	for (unsigned int i = 0; i < p->nr; i++) {
		atomic_store(&p->list[i]->touched, NULL);
		kfree(p->touched[i]);
		kfree(p->before[i]);
	}
}

/* What was noted is in `before` afterwards, and isn't added to. */
static void turn_page(struct parents *p)
{
	for (unsigned int i = 0; i < p->nr; i++) {
		struct touched *noted = p->touched[i];

		p->touched[i] = p->before[i];
		p->before[i] = noted;
		touched_clear(p->touched[i]);
		atomic_store(&p->list[i]->touched, p->touched[i]);
	}
	for (unsigned int i = 0; i < p->nr; i++)
		region_map_sync(p->list[i]);
}

static uint64_t nr_touched(const struct parents *p)
{
	uint64_t nr = 0;

	for (unsigned int i = 0; i < p->nr; i++)
		nr += atomic_load(&p->touched[i]->nr_runs);
	return nr;
}

/* Notes close to each other in one: a call on a client that has a second thread running costs as
 * much as some hundred pages do, and to arm what lies between again changes nothing. */
static struct page_range next_noted(const struct touched *noted, const struct region *parent,
				    uint64_t from)
{
	struct page_range run = touched_next(noted, parent, from), next;
	uint64_t end = run.first + run.nr;

	if (parent->page_shift != PAGE_SHIFT || atomic_load(&parent->nr_locked))
		return run; /* locked pages would be copied again */
	for (; run.nr; end = next.first + next.nr) {
		next = touched_next(noted, parent, end);
		if (!next.nr || next.first - end > NOTES_NEAR ||
		    next.first + next.nr - run.first > NOTES_TOGETHER)
			break;
		run.nr = next.first + next.nr - run.first;
	}
	return run;
}

static int arm_noted(const struct clone_pair *pair, const struct touched *noted, bool moved)
{
	struct page_range run;
	int r = 0;

	if (moved) /* a window may have left while it was being protected */
		return arm(pair, (struct page_range){ 0, pair->parent->nr_pages });
	for (uint64_t at = 0; !r; at = run.first + run.nr) {
		run = next_noted(noted, pair->parent, at);
		if (!run.nr)
			break;
		r = arm(pair, run);
	}
	return r;
}

static int arm_again(const struct clone_pair *pairs, unsigned int nr, struct parents *p)
{
	int r = 0;

	turn_page(p);
	for (unsigned int k = 0; k < p->nr && !r; k++) {
		uint64_t moves = atomic_load(&p->list[k]->nr_moves);
		bool moved = moves != p->moves[k];

		p->moves[k] = moves;
		for (unsigned int i = 0; i < nr && !r; i++)
			if (pairs[i].parent == p->list[k])
				r = arm_noted(&pairs[i], p->before[k], moved);
	}
	return r;
}

static void set_arming(const struct clone_pair *pairs, unsigned int nr, bool arming)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct kin *kin = region_kin(pairs[i].clone);

		mutex_lock(&kin->family->lock);
		kin->arming = arming;
		mutex_unlock(&kin->family->lock);
	}
}

/* 1: a window has moved since a round looked, and was protected where it had been (T3). */
static int look_for_moves(const struct parents *p)
{
	int moved = 0;

	for (unsigned int i = 0; i < p->nr; i++) {
		int r = region_await_moves(p->list[i],
					   (struct page_range){ 0, p->list[i]->nr_pages });

		if (r)
			return r;
		moved |= atomic_load(&p->list[i]->nr_moves) != p->moves[i];
	}
	return moved;
}

static int arm_frozen(const struct clone_pair *pairs, unsigned int nr, struct parents *p)
{
	int r = 1;

	for (unsigned int i = 0; i < MOVES_PASSES && r > 0; i++) {
		r = arm_again(pairs, nr, p);
		r = r ? r : look_for_moves(p);
	}
	return r > 0 ? -EAGAIN : r;
}

static int arm_all(const struct clone_pair *pairs, unsigned int nr, struct parents *p)
{
	int r = watch(p);

	for (unsigned int i = 0; i < nr && !r; i++)
		r = arm_whole(&pairs[i]);
	for (unsigned int i = 0; i < ROUNDS_MAX && !r && nr_touched(p) > TOUCHED_FEW; i++)
		r = arm_again(pairs, nr, p);
	r = r ? r : look_for_moves(p); /* before others wait as well */
	freeze(p->list, p->nr);
	if (r >= 0)
		r = arm_frozen(pairs, nr, p);
	unwatch(p);
	return r;
}

int clone_arm(const struct clone_pair *pairs, unsigned int nr)
{
	struct parents parents = { .nr = 0 };
	int r;

	CHECK(nr <= CLONES_MAX);
	for (unsigned int i = 0; i < nr; i++)
		add_parent(&parents, pairs[i].parent);
	lock_changes(parents.list, parents.nr);
	set_arming(pairs, nr, true);
	r = arm_all(pairs, nr, &parents);
	set_arming(pairs, nr, false);
	thaw(parents.list, parents.nr);
	unlock_changes(parents.list, parents.nr);
	return r;
}
