/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remap - windows of clones come to show the clone's own memory, part by part
 *
 * Purpose     A clone's window shows an ancestor's memory at first. Where it has diverged, the
 *             client is asked (REMAP upcall) to map the clone's own; that it has is learnt from
 *             the kernel (EVENT_REMAP), and not from the client. What it moves into place comes
 *             from where no window is.
 * Invariants  N1  a window's `shown` is what the client's kernel has mapped there, unless the
 *                 client did something by itself, which spoils only what it sees.
 *             N2  a client is asked for a page once at a time; who waits for it is woken when all
 *                 that was asked with it is done.
 *             N3  a window that shows the region's own memory doesn't show an ancestor's again.
 *                 What is INHERIT there is copied at the first touch (cow.c).
 * Crash       what a window shows is in its record; a part that the client has moved, of which the
 *             daemon that died had read and not recorded it, is asked for once more.
 * Locking     mm->lock; to cut windows region->lock outside it.
 */
#include <errno.h>

#include "mm/space/mm_tree.h"
#include "os/os.h"

/* The same handle's, at the same distance from its page 0. */
static bool belongs(const struct window *w, const struct mm_target *t)
{
	return w && w->region == t->region && w->handle == t->handle &&
	       w->range.start - (w->page << t->region->page_shift) == t->base;
}

static struct window *before(struct window *w)
{
	struct rb_node *node = rb_prev(&w->range.node);

	return node ? window_of(rb_entry(node, struct range, node)) : NULL;
}

int mm_remap_look(struct mm *mm, const struct mm_target *t, struct page_range block,
		  struct mm_remap *out)
{
	unsigned int shift = t->region->page_shift;
	uint64_t low = t->base + (block.first << shift), high = low + (block.nr << shift);
	struct window *w, *first, *last, *other;

	mutex_lock(&mm->lock);
	out->nr_windows = mm->nr_windows;
	w = window_of(range_find(&mm->windows, t->base + (t->page << shift)));
	if (!belongs(w, t)) {
		mutex_unlock(&mm->lock);
		return -ENOENT;
	}
	first = last = w;
	out->nr_pieces = 1;
	for (other = before(w); first->range.start > low && belongs(other, t) &&
				window_end(other) == first->range.start;
	     other = before(first), out->nr_pieces++)
		first = other;
	for (other = window_of(range_next(&w->range)); window_end(last) < high &&
						       belongs(other, t) &&
						       other->range.start == window_end(last);
	     other = window_of(range_next(&last->range)), out->nr_pieces++)
		last = other;
	low = max_t(uint64_t, low, first->range.start);
	high = min_t(uint64_t, high, window_end(last));
	mutex_unlock(&mm->lock);
	out->extent.first = (low - t->base) >> shift;
	out->extent.nr = (high - low) >> shift;
	return 0;
}

/* ---- asked and done ---- */

_Atomic uint64_t nr_remaps_pending;

static struct remap *find_remap(struct mm *mm, uint64_t address, uint64_t length)
{
	for (uint32_t i = 0; i < mm->nr_remaps; i++) {
		struct remap *r = &mm->remaps[i];

		if (r->address < address + length && address < r->address + r->length)
			return r;
	}
	return NULL;
}

static enum remap_state begin_locked(struct mm *mm, const struct mm_target *t, struct remap *wanted)
{
	uint64_t bytes = region_page_bytes(t->region), address = t->base + t->page * bytes;
	const struct window *w = window_of(range_find(&mm->windows, address));

	if (!belongs(w, t) || window_shows_own(w))
		return REMAP_IS_DONE;
	if (find_remap(mm, address, bytes))
		return REMAP_PENDING;
	if (find_remap(mm, wanted->address, wanted->length)) { /* N2: only what nobody waits for */
		wanted->address = address;
		wanted->length = bytes;
		wanted->offset = t->page * bytes;
	}
	if (mm->nr_remaps == REMAPS_MAX)
		return REMAP_FULL;
	mm->remaps[mm->nr_remaps++] = *wanted;
	atomic_fetch_add(&nr_remaps_pending, 1);
	return REMAP_BEGUN;
}

enum remap_state mm_remap_begin(struct mm *mm, const struct mm_target *t, struct remap *wanted)
{
	enum remap_state state;

	mutex_lock(&mm->lock);
	state = begin_locked(mm, t, wanted);
	mutex_unlock(&mm->lock);
	return state;
}

/* The caller holds mm->lock. N2: who waits anywhere in it looks again. */
static void forget_locked(struct mm *mm, struct remap *r)
{
	os->uffd_wake(mm->uffd, r->address, r->length);
	*r = mm->remaps[--mm->nr_remaps];
	atomic_fetch_sub(&nr_remaps_pending, 1);
}

void mm_forget_remaps(struct mm *mm, uint64_t address, uint64_t length)
{
	struct remap *r;

	mutex_lock(&mm->lock);
	while ((r = find_remap(mm, address, length)))
		forget_locked(mm, r);
	mutex_unlock(&mm->lock);
}

void mm_forget_remaps_of(struct mm *mm, uint32_t handle)
{
	mutex_lock(&mm->lock);
	for (uint32_t i = mm->nr_remaps; i-- > 0;)
		if (!handle || mm->remaps[i].handle == handle)
			forget_locked(mm, &mm->remaps[i]);
	mutex_unlock(&mm->lock);
}

/* Both locks are held. */
static void show_own(struct mm *mm, struct window *w, const uint64_t bounds[2],
		     struct window *fresh[2])
{
	if (bounds[1] < window_end(w)) {
		window_split(mm, w, bounds[1], fresh[0]);
		fresh[0] = NULL;
	}
	if (bounds[0] > w->range.start) {
		window_split(mm, w, bounds[0], fresh[1]);
		w = fresh[1];
		fresh[1] = NULL;
	}
	w->shown = w->region->section->id;
	window_record_state(w);
	window_merge(mm, w);
}

static void show_first(struct mm *mm, struct region *region, uint32_t handle,
		       const uint64_t bounds[2], struct window *fresh[2])
{
	mutex_lock(&region->lock);
	mutex_lock(&mm->lock);
	for (struct range *r = range_find_from(&mm->windows, bounds[0]); r && r->start < bounds[1];
	     r = range_next(r)) {
		struct window *w = window_of(r);

		if (w->region != region || window_shows_own(w) || (handle && w->handle != handle))
			continue;
		show_own(mm, w, bounds, fresh);
		break;
	}
	mutex_unlock(&mm->lock);
	mutex_unlock(&region->lock);
}

/* False: there was no memory for all of it. */
static bool show_own_all(struct mm *mm, uint32_t handle, const uint64_t bounds[2])
{
	const struct window_search search = { handle, true, bounds[0], bounds[1] };
	struct region *region;
	bool enough = true;

	while (enough && (region = window_region(mm, &search, NULL))) {
		struct window *fresh[2] = { window_new(mm), window_new(mm) };

		enough = fresh[0] && fresh[1];
		if (enough)
			show_first(mm, region, handle, bounds, fresh);
		for (int i = 0; i < 2; i++)
			if (fresh[i])
				window_free(fresh[i]);
		region_put(region);
	}
	return enough;
}

void mm_show_own(struct mm *mm, uint32_t handle)
{
	const uint64_t all[2] = { 0, UINT64_MAX };

	show_own_all(mm, handle, all);
	mm_forget_remaps_of(mm, handle);
}

uint32_t mm_shown(struct mm *mm, uint32_t handle)
{
	uint32_t shown = 0;

	mutex_lock(&mm->lock);
	for (struct range *r = range_find_from(&mm->windows, 0); r && !shown; r = range_next(r)) {
		const struct window *w = window_of(r);

		if (w->handle == handle && !window_shows_own(w))
			shown = w->shown;
	}
	mutex_unlock(&mm->lock);
	return shown;
}

bool mm_resume_shows(const struct window_record *record)
{
	uint64_t advice;

	return record_word_get(&record->advice, &advice) && advice >> RECORD_SHOWN_SHIFT;
}

static bool is_pending(struct mm *mm, const uint64_t bounds[2])
{
	const struct remap *r = find_remap(mm, bounds[0], bounds[1] - bounds[0]);

	return r && r->address <= bounds[0] && bounds[1] <= r->address + r->length;
}

/* Whole windows of clones lie there, and nothing that a client could have moved away: what comes
 * may have been mapped just now where a window was that the client has cut. */
static bool is_asked_for(struct mm *mm, uint64_t from, const uint64_t bounds[2])
{
	uint64_t at = bounds[0], length = bounds[1] - bounds[0];
	struct range *r;

	r = range_find_from(&mm->windows, from);
	if (r && r->start < from + length && !is_pending(mm, bounds))
		return false;
	for (r = range_find_from(&mm->windows, at); r && at < bounds[1]; r = range_next(r)) {
		struct window *w = window_of(r);

		if (r->start > at || !region_kin(w->region) ||
		    !is_aligned((bounds[0] - r->start) | (bounds[1] - r->start),
				region_page_bytes(w->region)))
			return false;
		at = window_end(w);
	}
	return at >= bounds[1];
}

bool mm_remap_done(struct mm *mm, uint64_t from, uint64_t to, uint64_t length)
{
	const uint64_t bounds[2] = { to, to + length };
	bool asked;

	if (to + length < to || from + length < from)
		return false;
	mutex_lock(&mm->lock);
	asked = is_asked_for(mm, from, bounds);
	mutex_unlock(&mm->lock);
	if (!asked)
		return false;
	/* Without memory it stays noted, is asked for once more, and its deadline counts. */
	if (show_own_all(mm, 0, bounds))
		mm_forget_remaps(mm, to, length);
	return true;
}

bool mm_remap_due(struct mm *mm, uint64_t now_ns, uint64_t after_ns, struct remap *out)
{
	bool found = false;

	mutex_lock(&mm->lock);
	for (uint32_t i = 0; i < mm->nr_remaps && !found; i++) {
		if (mm->remaps[i].sent_ns + after_ns > now_ns)
			continue;
		found = true;
		mm->remaps[i].sent_ns = now_ns;
		*out = mm->remaps[i];
	}
	mutex_unlock(&mm->lock);
	return found;
}

void mm_remap_extend(struct mm *mm, const struct remap *remap, uint64_t now_ns)
{
	struct remap *r;

	mutex_lock(&mm->lock);
	r = find_remap(mm, remap->address, remap->length);
	if (r)
		r->since_ns = now_ns;
	mutex_unlock(&mm->lock);
}

void mm_remap_forget_all(struct mm *mm)
{
	mutex_lock(&mm->lock);
	atomic_fetch_sub(&nr_remaps_pending, mm->nr_remaps);
	mm->nr_remaps = 0;
	mutex_unlock(&mm->lock);
	mm_take_end(mm);
}
