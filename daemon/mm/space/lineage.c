/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lineage - who still needs a page, and what goes when nobody does
 */
#include "mm/space/lineage.h"

#include <errno.h>
#include <time.h>

#include "base/heartbeat.h"
#include "base/inject.h"
#include "mm/space/cow.h"
#include "mm/space/residency.h"

enum {
	DEAD_MAX = 8,
	BATCH_PAGES = 256,   /* looked at under one hold of the family's lock */
	LOOK_PAGES = 4096,   /* before it is asked again what is used */
	SETTLE_SHARE = 8,    /* the part that diverges before a closed member is settled again */
	SETTLE_TRIES = 50,   /* while pages are busy */
	TICKS_MAX = 10,      /* that what has diverged waits, less than that part */
};
static const struct timespec busy_pause = { .tv_nsec = 1000 * 1000 };
static _Atomic uint64_t nr_unsettled; /* members with nr_diverged */

static uint32_t id_of(const struct region *region)
{
	return region->section->id;
}

/* ---- who needs a page; the family's lock is held ---- */

enum need { NEED_NOT, NEED_PERHAPS, NEEDED };

/* Until a copy has been made and looked over, the page it is made of is needed. */
static enum need need_of(const struct region *member, uint64_t page, uint32_t owner)
{
	uint64_t word = word_load(&member->words[page]);

	if (word_state(word) == PAGE_INHERIT && word_high(word) != owner)
		return NEED_NOT;
	if (word_state(word) == PAGE_INHERIT)
		return word & WORD_BUSY ? NEED_PERHAPS : NEEDED;
	return word_has_mark(word, WORD_CHECKING | WORD_BREAKING) ? NEED_PERHAPS : NEED_NOT;
}

/* What closed members inherit nobody will see, but one may be copying this moment. */
static enum need closed_need(const struct region *member, uint64_t page, uint32_t owner)
{
	return need_of(member, page, owner) == NEED_PERHAPS ? NEED_PERHAPS : NEED_NOT;
}

/* Of those below the owner, but one. */
static enum need who_needs(const struct region *owner, uint64_t page, const struct region *but)
{
	struct kin *root = region_kin(owner);
	enum need most = NEED_NOT;

	for (struct kin *kin = family_below(root, root); kin && most != NEEDED;
	     kin = family_below(root, kin)) {
		enum need need = kin->region == but ? NEED_NOT
				 : kin->closed	    ? closed_need(kin->region, page, id_of(owner))
						    : need_of(kin->region, page, id_of(owner));

		most = need > most ? need : most;
	}
	return most;
}

/* ---- a closed member; its change_lock is held ---- */

static void forget_inherited(struct region *region)
{
	for (uint64_t i = 0; i < region->nr_pages && atomic_load(&region->nr_inherit); i++)
		if (word_state(word_load(&region->words[i])) == PAGE_INHERIT)
			cow_forget(region, (struct page_range){ i, 1 });
}

/* What one look at a batch has found. */
struct look {
	uint64_t first;
	bool     go[BATCH_PAGES]; /* nobody needs it */
	bool     again;           /* some can't be told yet */
};

static void look_at(struct region *region, struct look *look, uint64_t nr)
{
	struct family *family = region_kin(region)->family;

	mutex_lock(&family->lock);
	for (uint64_t i = 0; i < nr; i++) {
		enum need need = NEED_NOT;

		look->go[i] = word_load(&region->words[look->first + i]);
		if (look->go[i])
			need = who_needs(region, look->first + i, NULL);
		look->go[i] = look->go[i] && need == NEED_NOT;
		look->again |= need == NEED_PERHAPS;
	}
	mutex_unlock(&family->lock);
}

/* True: nothing that nobody needs is left. */
static bool drop_unneeded(struct region *region)
{
	struct look look = { 0 };
	bool all = true;

	for (uint64_t at = 0; at < region->nr_pages; at += BATCH_PAGES) {
		uint64_t nr = min_t(uint64_t, BATCH_PAGES, region->nr_pages - at);

		heartbeat_touch();
		look.first = at;
		look_at(region, &look, nr);
		for (uint64_t i = 0; i < nr; i++) {
			struct page_range run = { at + i, 1 };

			if (!look.go[i])
				continue;
			while (i + 1 < nr && look.go[i + 1]) {
				i++;
				run.nr++;
			}
			if (region_drop_locked(region, run))
				all = false;
		}
	}
	return all && !look.again;
}

static bool is_empty(struct region *region)
{
	return !atomic_load(&region->nr_resident) && !atomic_load(&region->nr_swapped) &&
	       !atomic_load(&region->nr_same_filled) && !atomic_load(&region->nr_inherit);
}

static bool has_heirs_elsewhere(struct region *region)
{
	struct kin *root = region_kin(region);
	bool found = false;

	mutex_lock(&root->family->lock);
	for (struct kin *kin = family_below(root, root); kin; kin = family_below(root, kin))
		found |= !kin->closed && ((struct region *)kin->region)->memcg != region->memcg;
	mutex_unlock(&root->family->lock);
	return found;
}

/* A closed one without children is ending, and its record may be another's already. */
static void adopt(struct kin *child)
{
	struct region *region = child->region;
	struct region *above = child->parent ? child->parent->region : NULL;

	if (above)
		region_get(above);
	if (region->adopted && !(child->closed && list_empty(&child->children)))
		region->adopted(region->owner, above ? above->owner : NULL);
	INJECT_TURN(ADOPTED);
}

/* The children's references to it go, and with the last one it does. */
static void leave_tree(struct region *region)
{
	uint32_t nr = family_hand_over(region_kin(region), adopt);

	while (nr--)
		region_put(region);
}

static uint64_t enough_diverged(const struct region *region)
{
	return max_t(uint64_t, 1, atomic_load(&region->nr_resident) / SETTLE_SHARE);
}

static void forget_diverged(struct region *region)
{
	if (atomic_exchange(&region->nr_diverged, 0))
		atomic_fetch_sub(&nr_unsettled, 1);
}

static void settle_diverged(struct region *region)
{
	forget_diverged(region);
	region_settle_later(region);
}

static void settle_if_enough(struct region *region)
{
	if (atomic_load(&region->nr_diverged) >= enough_diverged(region))
		settle_diverged(region);
}

/* flat: whoever inherits from it gets copies first. The caller has a reference. */
static void settle(struct region *region, bool flat)
{
	uint64_t kept;

	mutex_lock_long(&region->change_lock);
	forget_diverged(region); /* what diverges from here on may be overlooked */
	forget_inherited(region);
	if (atomic_load(&region->nr_locked))
		region_unlock_pages(region, (struct page_range){ 0, region->nr_pages });
	if (flat || has_heirs_elsewhere(region))
		region_drop_locked(region, (struct page_range){ 0, region->nr_pages });
	for (int i = 0; i < SETTLE_TRIES && !drop_unneeded(region); i++)
		heartbeat_sleep(&busy_pause);
	kept = region_return_commit(region);
	if (is_empty(region))
		leave_tree(region);
	mutex_unlock(&region->change_lock);
	if (region->keeps)
		region->keeps(region->owner, kept << region->page_shift);
	settle_if_enough(region); /* what has diverged meanwhile is more of what is left */
}

/* ---- the family ---- */

/* K1. With a reference; NULL: there aren't too many. */
static struct region *one_too_many(struct region *region)
{
	struct family *family = region_kin(region)->family;
	struct region *smallest = NULL;
	uint32_t living = 0, dead = 0;
	struct kin *kin;

	mutex_lock(&family->lock);
	list_for_each_entry(kin, &family->members, link) {
		struct region *member = kin->region;

		living += !kin->closed;
		if (!kin->closed || list_empty(&kin->children))
			continue;
		dead++;
		if (!smallest || atomic_load(&member->nr_resident) <
					 atomic_load(&smallest->nr_resident))
			smallest = member;
	}
	if (smallest)
		region_get(smallest); /* its children have some */
	mutex_unlock(&family->lock);
	if (!smallest || dead > max_t(uint32_t, DEAD_MAX, living))
		return smallest;
	region_put(smallest);
	return NULL;
}

/* With a reference. */
static struct region *parent_of(struct region *region)
{
	struct kin *kin = region_kin(region);
	struct region *parent;

	mutex_lock(&kin->family->lock);
	parent = kin->parent ? kin->parent->region : NULL;
	if (parent)
		region_get(parent);
	mutex_unlock(&kin->family->lock);
	return parent;
}

void lineage_settle(struct region *region)
{
	struct region *at = region, *next;

	region_get(at);
	for (; at; at = next) {
		next = parent_of(at);
		if (atomic_load(&at->closed))
			settle(at, false);
		region_put(at);
	}
	next = one_too_many(region);
	if (!next)
		return;
	settle(next, true);
	region_put(next);
}

void lineage_diverged(uint32_t section, uint64_t nr)
{
	struct section *home = section_by_id(section);
	struct region *owner = home ? home->owner : NULL;

	if (!owner || !atomic_load_explicit(&owner->closed, memory_order_relaxed))
		return;
	if (!atomic_fetch_add(&owner->nr_diverged, nr))
		atomic_fetch_add(&nr_unsettled, 1);
	settle_if_enough(owner);
}

/* As long as more diverges it is worth waiting for, but not for ever. */
void lineage_tick(struct region *region)
{
	uint64_t nr = atomic_load(&region->nr_diverged);

	if (nr && (nr == region->diverged_before || ++region->diverged_ticks == TICKS_MAX)) {
		settle_diverged(region);
		nr = 0;
	}
	region->diverged_before = nr;
	if (!nr)
		region->diverged_ticks = 0;
}

bool lineage_is_unsettled(void)
{
	return atomic_load(&nr_unsettled);
}

static void settle_unsettled(struct region *region, void *unused)
{
	(void)unused;
	if (atomic_load(&region->nr_diverged))
		settle_diverged(region);
}

void lineage_settle_all(void)
{
	if (lineage_is_unsettled())
		region_for_each(settle_unsettled, NULL);
}

bool clone_close(struct region *region)
{
	struct kin *kin = region_kin(region);
	bool has_children;

	if (!kin)
		return false;
	mutex_lock(&kin->family->lock);
	kin->closed = true;
	atomic_store(&region->closed, true);
	has_children = !list_empty(&kin->children);
	mutex_unlock(&kin->family->lock);
	if (has_children)
		region_settle_later(region);
	return has_children;
}

/* What only it needed of those above it goes, too. */
void clone_leave(struct region *region)
{
	struct kin *kin = region_kin(region);
	struct region *parent;

	if (!kin)
		return;
	parent = family_leave(kin);
	if (!parent)
		return;
	region_settle_later(parent);
	region_put(parent); /* L2 of clone.h */
}

int lineage_resume_alone(struct region *region)
{
	struct kin *kin = region_kin(region) ? NULL : family_new(region);

	if (kin)
		atomic_store(&region->kin, kin);
	return region_kin(region) ? 0 : -ENOMEM;
}

/* ---- counting ---- */

/* Of a living one: whom a closed one inherits from may have gone. */
static void count_page(struct region *region, uint64_t page, struct lineage_count *out)
{
	uint64_t word = word_load(&region->words[page]);
	bool is_shared = false;

	if (word_state(word) == PAGE_INHERIT) {
		const struct region *owner = cow_owner(word);

		is_shared = !region_kin(owner)->closed ||
			    who_needs(owner, page, region) != NEED_NOT;
	} else if (word_state(word) != PAGE_PRESENT) {
		return;
	} else if (word & WORD_SHARED) {
		is_shared = who_needs(region, page, NULL) != NEED_NOT;
	}
	out->shared += is_shared;
	out->own += !is_shared;
}

/* A page may be looked up in every member. */
static uint64_t batch_of(const struct family *family)
{
	return BATCH_PAGES / min_t(uint32_t, family->nr_members, BATCH_PAGES);
}

void lineage_count(struct region *region, struct lineage_count *out)
{
	struct kin *kin = region_kin(region);
	uint64_t look = 0;

	*out = (struct lineage_count){ 0 };
	if (!kin)
		out->own = atomic_load(&region->nr_resident);
	for (uint64_t at = 0, end; kin && at < region->nr_pages; at = end) {
		heartbeat_touch();
		if (at >= look) {
			at = region_next_used(region, at);
			look = at + LOOK_PAGES;
		}
		mutex_lock(&kin->family->lock);
		end = min_t(uint64_t, at + batch_of(kin->family), region->nr_pages);
		for (uint64_t i = at; i < end && !kin->closed; i++)
			count_page(region, i, out);
		mutex_unlock(&kin->family->lock);
	}
}

static bool is_below(const struct kin *kin, const struct kin *above)
{
	for (kin = kin->parent; kin; kin = kin->parent)
		if (kin == above)
			return true;
	return false;
}

static bool is_there(const struct kin *kin, uint64_t page)
{
	const struct region *region = kin->region;
	uint64_t word = word_load(&region->words[page]), home;

	for (const struct kin *above = kin->parent; above; above = above->parent) {
		const struct region *owner = above->region;

		if (id_of(owner) != word_high(word))
			continue;
		home = word_load(&owner->words[page]);
		if (home & WORD_BUSY || word_state(home) == PAGE_POISONED ||
		    (word_state(home) == PAGE_PRESENT && home & WORD_SHARED))
			return true;
		break;
	}
	return word_load(&region->words[page]) != word; /* it has just moved on */
}

void lineage_validate(struct family *family, struct validation *v)
{
	struct kin *kin;

	family_validate(family, v);
	mutex_lock(&family->lock);
	list_for_each_entry(kin, &family->members, link) {
		const struct region *region = kin->region;
		uint64_t lost = 0;

		for (uint64_t i = 0; i < region->nr_pages && !kin->closed; i++) {
			if (i % BATCH_PAGES == 0)
				heartbeat_touch();
			lost += word_state(word_load(&region->words[i])) == PAGE_INHERIT &&
				!is_there(kin, i);
		}
		validation_compare(v, lost, 0, "region %s: inherited pages that nobody has",
				   region->name[0] ? region->name : "(unnamed)");
	}
	mutex_unlock(&family->lock);
}

/* The oldest living member below it. Members are listed by age. */
static struct kin *heir_of(const struct kin *dead)
{
	struct kin *kin;

	list_for_each_entry(kin, &dead->family->members, link)
		if (!kin->closed && is_below(kin, dead))
			return kin;
	return NULL;
}

uint64_t lineage_charged(struct region *region)
{
	uint64_t pages = atomic_load(&region->nr_resident);
	struct kin *kin = region_kin(region), *other;

	if (!kin)
		return pages;
	mutex_lock(&kin->family->lock);
	list_for_each_entry(other, &kin->family->members, link)
		if (other->closed && heir_of(other) == kin)
			pages += atomic_load(&((struct region *)other->region)->nr_resident);
	mutex_unlock(&kin->family->lock);
	return pages;
}
