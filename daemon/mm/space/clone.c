/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone - joining, freezing, rounds of arming
 */
#include "mm/space/clone.h"

#include <errno.h>

#include "base/inject.h"
#include "mm/obj/slab.h"
#include "mm/space/arm.h"
#include "mm/space/cow.h"
#include "mm/space/mapping.h"
#include "mm/space/protect.h"
#include "mm/space/residency.h"
#include "mm/space/takeout.h"
#include "os/os.h"

enum {
	ROUNDS_MAX = 16,
	OWNER_SAMPLES = 64,
	NOTES_NEAR = 64,      /* pages between them */
	NOTES_TOGETHER = 512, /* pages of one call: some 30 us for who writes there */
	TOUCHED_FEW = 4, /* runs that are armed while faulting writers wait */
};

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

/* The one that most of the region is inherited from, as far as words at even distances tell. */
static struct region *main_owner(const struct region *region)
{
	uint64_t step = (region->nr_pages + OWNER_SAMPLES - 1) / OWNER_SAMPLES;
	unsigned int found[OWNER_SAMPLES], nr = 0, best = 0;
	uint64_t words[OWNER_SAMPLES];

	for (uint64_t i = step / 2; i < region->nr_pages; i += step) {
		uint64_t word = word_load(&region->words[i]);
		unsigned int k = 0;

		if (word_state(word) != PAGE_INHERIT || !is_ancestor(region, word_high(word)))
			continue;
		while (k < nr && word_high(words[k]) != word_high(word))
			k++;
		if (k == nr) {
			words[nr] = word;
			found[nr++] = 0;
		}
		found[k]++;
		if (found[k] > found[best])
			best = k;
	}
	return nr ? cow_owner(words[best]) : first_owner(region);
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
	owner = main_owner(region);
	if (owner && may(owner, arg)) {
		fd = os->reopen_readonly(owner->section->fd);
		*section = owner->section->id;
	}
	mutex_unlock(&kin->family->lock);
	return fd < 0 ? -1 : fd;
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
		return arm_range(pair, (struct page_range){ 0, pair->parent->nr_pages });
	for (uint64_t at = 0; !r; at = run.first + run.nr) {
		run = next_noted(noted, pair->parent, at);
		if (!run.nr)
			break;
		r = arm_range(pair, run);
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
