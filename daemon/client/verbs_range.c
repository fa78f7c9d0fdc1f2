/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_range - advice and locks on ranges of regions
 *
 * Purpose     What takes long is done in turns, so that other requests get theirs between them.
 * Crash       It is done page by page, and repeated from the first.
 */
#include <errno.h>
#include <string.h>

#include "client/region_open.h"
#include "client/session.h"
#include "mm/space/evict.h"
#include "mm/space/mapping.h"
#include "mm/space/reclaim.h"
#include "mmbroker.h"

enum {
	MARK_TRIES = 50, /* of a millisecond */
	ZAP_RANGES = 64,
	/* Before others have a turn: produced, given up. */
	TURN_PRODUCED = 8 << 20,
	TURN_GIVEN_UP = 32 << 20, /* written in clusters, several at a time */
};

static int range_of(const struct region_handle *rh, const struct region_range_args *args,
		    struct page_range *out, struct refusal *why)
{
	uint64_t bytes = region_page_bytes(rh->pr->region);
	uint64_t end;

	if (args->offset % bytes || args->length % bytes || !args->length)
		return refuse(why, -EINVAL,
			      "offset %llu and length %llu must be multiples of the page "
			      "size %llu, and the length above 0",
			      (unsigned long long)args->offset, (unsigned long long)args->length,
			      (unsigned long long)bytes);
	if (__builtin_add_overflow(args->offset, args->length, &end) || end > rh->pr->bytes)
		return refuse(why, -EINVAL,
			      "the range ends at %llu + %llu, beyond the region's %llu bytes",
			      (unsigned long long)args->offset, (unsigned long long)args->length,
			      (unsigned long long)rh->pr->bytes);
	*out = (struct page_range){ args->offset / bytes, args->length / bytes };
	return 0;
}

/* A session whose window shows a part of the range, at a time. */
struct zap_search {
	struct region *region;
	struct page_range range;
	struct session *session; /* the one looked at */
	struct mapped_range found[ZAP_RANGES];
	uint32_t nr;
};

static void send_zap(struct zap_search *z)
{
	struct session *s = z->session;

	if (z->nr && s->upcalls.zap)
		s->upcalls.zap(s->upcall_context, z->found, z->nr);
	z->nr = 0;
}

static void collect_window(const struct window *w, void *arg)
{
	struct zap_search *z = arg;
	unsigned int shift = z->region->page_shift;
	uint64_t low = max_t(uint64_t, z->range.first, w->page);
	uint64_t high =
		min_t(uint64_t, z->range.first + z->range.nr, w->page + (w->range.length >> shift));

	if (w->region != z->region || low >= high)
		return;
	if (z->nr == ZAP_RANGES)
		send_zap(z);
	z->found[z->nr++] = (struct mapped_range){
		.address = w->range.start + ((low - w->page) << shift),
		.length = (high - low) << shift,
	};
}

static void zap_session(struct session *s, void *arg)
{
	struct zap_search *z = arg;
	struct mm *mm = session_mm(s);

	if (!mm)
		return;
	z->session = s;
	z->nr = 0;
	mm_for_each_window(mm, collect_window, z);
	send_zap(z);
	mm_put(mm);
}

/* Poison stays in a client's page table when the file is punched; only the client can drop it. */
void region_zap_poison(struct region *region, struct page_range range)
{
	struct zap_search z = { .region = region, .range = range };

	if (!atomic_load(&region->nr_poisoned))
		return;
	/* Marks that are being set come first, unless a client holds that up. */
	for (int i = 0; i < MARK_TRIES && !region_map_try_sync(region); i++)
		;
	session_for_each(zap_session, &z);
}

static int refuse_locked(struct refusal *why)
{
	return refuse(why, -EBUSY, "a part of the range is locked; unlock it first");
}

static int dontneed(struct region_handle *rh, struct page_range range, struct refusal *why)
{
	int r = region_drop(rh->pr->region, range);

	region_zap_poison(rh->pr->region, range);
	if (r == -EBUSY)
		return refuse_locked(why);
	return r ? refuse(why, r, "dropping the range failed: %s", strerror(-r)) : 0;
}

/* Best effort: what is being changed, locked, or finds no slot, stays. */
static int make_room(struct region_handle *rh, struct page_range range, uint32_t advice,
		     struct refusal *why)
{
	struct region *region = rh->pr->region;

	if (rh->readonly && advice != MMB_ADVISE_COLD)
		return refuse(why, -EACCES,
			      "the region is open read-only: its pages can't be given up");
	if (advice == MMB_ADVISE_COLD)
		reclaim_make_cold(region, range);
	else if (advice == MMB_ADVISE_PAGEOUT)
		reclaim_range(region, range);
	else
		evict_lazily(region, range);
	return 0;
}

static int willneed(struct region_handle *rh, struct page_range range, struct refusal *why)
{
	int r = region_populate(rh->pr->region, range);

	return r ? refuse(why, r, "a page can't be produced: %s", strerror(-r)) : 0;
}

static int window_advice(struct session *s, uint32_t handle, struct page_range range,
			 uint32_t advice, struct refusal *why)
{
	enum window_advice what = advice == MMB_ADVISE_SEQUENTIAL ? WINDOW_SEQUENTIAL
				  : advice == MMB_ADVISE_RANDOM   ? WINDOW_RANDOM
								  : WINDOW_NORMAL;
	int r;

	mutex_lock(&s->lock);
	r = s->ended || !s->mm ? -ENOTCONN : mm_set_advice(s->mm, handle, range, what);
	mutex_unlock(&s->lock);
	return r ? refuse(why, r, "the advice can't be kept: %s", strerror(-r)) : 0;
}

/* What a turn is for at most; 0: all of the range. */
static uint64_t turn_bytes(uint32_t advice)
{
	switch (advice) {
	case MMB_ADVISE_WILLNEED:
		return TURN_PRODUCED;
	case MMB_ADVISE_DONTNEED:
	case MMB_ADVISE_COLD:
	case MMB_ADVISE_PAGEOUT:
	case MMB_ADVISE_FREE:
		return TURN_GIVEN_UP;
	default:
		return 0;
	}
}

/* Of a range whose turns so far are counted in args->done, with a mark where a part was locked. */
enum { DONE_BUSY = 1 };

static struct page_range part_of(const struct region_handle *rh,
				 const struct region_range_args *args, struct page_range range,
				 uint64_t turn)
{
	uint64_t bytes = region_page_bytes(rh->pr->region);
	uint64_t before = args->done ? *args->done / bytes : 0;

	if (!args->done || !turn)
		return range;
	return (struct page_range){ range.first + before,
				    min_t(uint64_t, range.nr - before, turn / bytes) };
}

/* -EAGAIN: there is more. */
static int end_part(const struct region_handle *rh, const struct region_range_args *args,
		    struct page_range part)
{
	if (!args->done)
		return 0;
	*args->done += part.nr * region_page_bytes(rh->pr->region);
	return (*args->done & ~(uint64_t)DONE_BUSY) < args->length ? -EAGAIN : 0;
}

static int advise(struct session *s, struct region_handle *rh, const struct region_range_args *args,
		  struct page_range range, struct refusal *why)
{
	switch (args->advice) {
	case MMB_ADVISE_NORMAL:
	case MMB_ADVISE_SEQUENTIAL:
	case MMB_ADVISE_RANDOM:
		return window_advice(s, args->region, range, args->advice, why);
	case MMB_ADVISE_WILLNEED:
		return willneed(rh, range, why);
	case MMB_ADVISE_DONTNEED:
		if (rh->readonly)
			return refuse(why, -EACCES,
				      "the region is open read-only: it can't be emptied");
		return dontneed(rh, range, why);
	case MMB_ADVISE_COLD:
	case MMB_ADVISE_PAGEOUT:
	case MMB_ADVISE_FREE:
		return make_room(rh, range, args->advice, why);
	case MMB_ADVISE_HUGEPAGE:
		atomic_store(&rh->pr->region->huge, true);
		record_word_set(&rh->pr->record->huge, 1);
		return 0;
	default:
		return refuse(why, -EINVAL, "advice %u doesn't exist in this version",
			      args->advice);
	}
}

int verb_region_advise(struct session *s, const struct region_range_args *args, struct refusal *why)
{
	struct region_handle *rh = session_region(s, args->region, why);
	struct page_range range;
	int r;

	if (!rh)
		return -EBADF;
	r = range_of(rh, args, &range, why);
	if (!r) {
		range = part_of(rh, args, range, turn_bytes(args->advice));
		r = advise(s, rh, args, range, why);
	}
	/* The parts behind a locked page are dropped all the same. */
	if (r == -EBUSY && args->done && args->advice == MMB_ADVISE_DONTNEED) {
		*args->done |= DONE_BUSY;
		r = 0;
	}
	if (!r)
		r = end_part(rh, args, range);
	if (!r && args->done && *args->done & DONE_BUSY)
		r = refuse_locked(why);
	region_handle_put(rh);
	return r;
}

static int lock_part(struct region_handle *rh, struct page_range whole, struct page_range part,
		     struct refusal *why)
{
	struct page_range before = { whole.first, part.first - whole.first };
	int r = region_lock_pages(rh->pr->region, part);

	if (!r)
		return 0;
	region_undo_lock(rh->pr->region, before);
	return refuse(why, r, "a page of the range can't be produced: %s", strerror(-r));
}

static int lock_verb(struct session *s, const struct region_range_args *args, bool lock,
		     struct refusal *why)
{
	struct region_handle *rh = session_region(s, args->region, why);
	struct page_range range = { 0 }, part = { 0 };
	int r;

	if (!rh)
		return -EBADF;
	r = range_of(rh, args, &range, why);
	if (!r && rh->readonly)
		r = refuse(why, -EACCES, "the region is open read-only: its pages can't be %s",
			   lock ? "locked" : "unlocked");
	if (!r)
		part = part_of(rh, args, range, lock ? TURN_PRODUCED : TURN_GIVEN_UP);
	if (!r && lock)
		r = lock_part(rh, range, part, why);
	else if (!r)
		region_unlock_pages(rh->pr->region, part);
	if (!r)
		r = end_part(rh, args, part);
	region_handle_put(rh);
	return r;
}

int verb_region_lock(struct session *s, const struct region_range_args *args, struct refusal *why)
{
	return lock_verb(s, args, true, why);
}

int verb_region_unlock(struct session *s, const struct region_range_args *args, struct refusal *why)
{
	return lock_verb(s, args, false, why);
}
