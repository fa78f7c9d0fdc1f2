/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock - admission, and the accounting of memory that exists
 *
 * Purpose     See stock.h. used is held + present, so that one compare-and-swap keeps K1.
 * Not here    Moving held memory (stock_hold.c).
 */
#include "mm/phys/stock.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/inject.h"
#include "base/memalloc.h"
#include "mm/phys/stock_hold.h"
#include "os/os.h"

enum {
	MARGIN_DIVISOR = 128,
	MARGIN_FRAMES_MIN = 2 * PAGEBLOCK_PAGES,
	MARGIN_FRAMES_MAX = (64 << 20) >> PAGE_SHIFT,
	RESERVE_FRAMES_MIN = 2 * MARGIN_FRAMES_MIN,
	/* An instruction can touch several pages, and several threads wait for pages at a time. */
	FLOOR_DIVISOR = 8,
	FLOOR_FRAMES_MIN_BASE = PAGEBLOCK_PAGES,
	FLOOR_FRAMES_MIN_HUGE = 4 * PAGEBLOCK_PAGES,
	FLOOR_FRAMES_MAX = (64 << 20) >> PAGE_SHIFT,
	CREDIT_DIVISOR = 32,
	CREDIT_DIVISOR_MIN = 8,
	CREDIT_FRAMES_MIN = 2 * PAGEBLOCK_PAGES,
	CREDIT_FRAMES_MAX = 16 * PAGEBLOCK_PAGES,
	/* A pageblock for the daemon's own zone, its struct pages, and some for buffers. */
	OWN_FRAMES = PAGEBLOCK_PAGES + PAGEBLOCK_PAGES / 8,
	SPARE_PAUSE_NS = 1000 * 1000 * 1000,
};

static struct stock stocks[MAX_NUMNODES][NR_STOCK_KINDS];
static int          metadata_node = -1;

static _Atomic uint64_t buffers; /* frames charged for the daemon's own buffers */

struct stock *stock_of(int node, enum stock_kind kind)
{
	DCHECK(node >= 0 && node < MAX_NUMNODES);
	return &stocks[node][kind];
}

static uint64_t margin_of(uint64_t reserve)
{
	uint64_t margin = round_down(reserve / MARGIN_DIVISOR, PAGEBLOCK_PAGES);

	margin = max_t(uint64_t, margin, MARGIN_FRAMES_MIN);
	return min_t(uint64_t, margin, MARGIN_FRAMES_MAX);
}

static uint64_t floor_of(uint64_t limit, enum stock_kind kind)
{
	uint64_t least = kind == STOCK_HUGE ? FLOOR_FRAMES_MIN_HUGE : FLOOR_FRAMES_MIN_BASE;
	uint64_t floor = round_down(limit / FLOOR_DIVISOR, PAGEBLOCK_PAGES);

	floor = max_t(uint64_t, floor, least);
	return min_t(uint64_t, min_t(uint64_t, floor, FLOOR_FRAMES_MAX), limit);
}

int stock_check(const struct stock_request *request)
{
	uint64_t reserve = round_down(request->reserve, PAGEBLOCK_PAGES);

	if (reserve < RESERVE_FRAMES_MIN)
		return -EINVAL;
	return reserve > request->available ? -ENOMEM : 0;
}

int stock_init(const struct stock_request *request)
{
	struct stock *s = stock_of(request->node, request->kind);
	uint64_t      reserve = round_down(request->reserve, PAGEBLOCK_PAGES);
	int           r = stock_check(request);

	if (r)
		return r;
	*s = (struct stock){
		.limit = reserve - margin_of(reserve),
		.mode = request->mode,
		.node = request->node,
		.kind = request->kind,
		.os_node = request->os_node,
		.locked = true,
		.quick = request->quick && request->kind == STOCK_BASE,
	};
	s->floor = floor_of(s->limit, s->kind);
	mutex_init(&s->lock, RANK_STOCK, "stock");
	if (s->mode == STOCK_HOLD) {
		s->slack = round_down(margin_of(reserve) / 2, PAGEBLOCK_PAGES);
		r = stock_hold_init(s, reserve);
	} else if (s->kind == STOCK_HUGE) {
		stock_adopt_spare(s);
	}
	if (!r)
		s->reserve = reserve;
	return r;
}

void stock_fini(int node, enum stock_kind kind)
{
	struct stock *s = stock_of(node, kind);

	if (!s->reserve)
		return;
	CHECK(s->committed == 0 && s->evictable == 0 && s->spoken == 0 && s->used == s->held);
	CHECK(s->demand == 0 && s->whole == 0);
	if (s->section)
		stock_hold_fini(s);
	mutex_fini(&s->lock);
	s->reserve = 0;
	s->limit = 0;
}

/* Raises *counter by nr unless it would pass limit. */
static bool add_up_to(_Atomic uint64_t *counter, uint64_t nr, uint64_t limit)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	do {
		if (nr > limit || old > limit - nr)
			return false;
	} while (!atomic_compare_exchange_weak(counter, &old, old + nr));
	return true;
}

/* ---- what is evictable, and its floor ---- */

/* What of the limit is kept for so much evictable memory. */
static uint64_t kept(const struct stock *s, uint64_t evictable)
{
	return min_t(uint64_t, evictable, s->floor);
}

bool stock_shift(struct stock *s, int64_t evictable, int64_t fixed, uint64_t limit)
{
	uint64_t old = atomic_load_explicit(&s->evictable, memory_order_relaxed), now;
	int64_t  more;

	for (;;) {
		now = old + (uint64_t)evictable;
		CHECK(evictable >= 0 || now < old);
		more = fixed + (int64_t)kept(s, now) - (int64_t)kept(s, old);
		if (more > 0 && !add_up_to(&s->spoken, (uint64_t)more, limit))
			return false;
		if (atomic_compare_exchange_weak(&s->evictable, &old, now))
			break;
		if (more > 0)
			atomic_fetch_sub(&s->spoken, (uint64_t)more);
	}
	if (more < 0)
		atomic_fetch_sub(&s->spoken, (uint64_t)-more);
	return true;
}

bool stock_could_shift(const struct stock *s, int64_t evictable, int64_t fixed)
{
	uint64_t old = s->evictable, now = old + (uint64_t)evictable;
	int64_t  more = fixed + (int64_t)kept(s, now) - (int64_t)kept(s, old);

	return more <= 0 || (uint64_t)more <= left_of(s->limit, s->spoken);
}

/* It is there before any of it can be told to stay. */
static int commit_evictable(const struct stock_place *place, uint64_t nr, bool again)
{
	struct stock *s = stock_of(place->node, place->kind);

	if (nr <= INT64_MAX && stock_shift(s, (int64_t)nr, 0, again ? UINT64_MAX : s->limit)) {
		if (promise_evictable(s, place, nr, again))
			return 0;
		stock_shift(s, -(int64_t)nr, 0, s->limit);
	}
	atomic_fetch_add(&s->nr_refused, 1);
	return -ENOMEM;
}

int stock_commit_evictable(const struct stock_place *place, uint64_t nr)
{
	int r = INJECT(COMMIT);

	return r ? r : commit_evictable(place, nr, false);
}

int stock_recommit(int node, enum stock_kind kind, uint64_t nr)
{
	struct stock *s = stock_of(node, kind);

	if (!promise_fixed(s, nr, true))
		return -ENOMEM;
	atomic_fetch_add(&s->spoken, nr);
	return 0;
}

int stock_recommit_evictable(const struct stock_place *place, uint64_t nr)
{
	return commit_evictable(place, nr, true);
}

void stock_uncommit_evictable(const struct stock_place *place, uint64_t nr)
{
	struct stock *s = stock_of(place->node, place->kind);

	unpromise_evictable(s, place, nr);
	stock_shift(s, -(int64_t)nr, 0, s->limit);
}

int stock_fix(const struct stock_place *place, uint64_t nr)
{
	struct stock *s = stock_of(place->node, place->kind);

	if (promise_locked(s, place, nr, false))
		return 0;
	atomic_fetch_add(&s->nr_refused, 1);
	return -ENOMEM;
}

void stock_refix(const struct stock_place *place, uint64_t nr)
{
	promise_locked(stock_of(place->node, place->kind), place, nr, true);
}

void stock_unfix(const struct stock_place *place, uint64_t nr)
{
	unpromise_locked(stock_of(place->node, place->kind), place, nr);
}

static bool commit(struct stock *s, uint64_t nr)
{
	if (!add_up_to(&s->spoken, nr, s->limit))
		return false;
	if (promise_fixed(s, nr, false))
		return true;
	atomic_fetch_sub(&s->spoken, nr);
	return false;
}

static void uncommit(struct stock *s, uint64_t nr)
{
	uint64_t old = atomic_fetch_sub(&s->spoken, nr);

	CHECK(old >= nr);
	unpromise_fixed(s, nr);
}

int stock_commit(int node, enum stock_kind kind, uint64_t nr)
{
	struct stock *s = stock_of(node, kind);
	int           r = INJECT(COMMIT);

	if (r)
		return r;
	if (commit(s, nr))
		return 0;
	atomic_fetch_add(&s->nr_refused, 1);
	return -ENOMEM;
}

void stock_uncommit(int node, enum stock_kind kind, uint64_t nr)
{
	uncommit(stock_of(node, kind), nr);
}

/* ---- credit ---- */

static uint64_t credit_of(const struct stock *s)
{
	uint64_t frames = max_t(uint64_t, s->limit / CREDIT_DIVISOR, CREDIT_FRAMES_MIN);

	return min_t(uint64_t, min_t(uint64_t, frames, CREDIT_FRAMES_MAX),
		     s->limit / CREDIT_DIVISOR_MIN);
}

static bool take_credit(struct stock *s, uint64_t nr)
{
	uint64_t old = atomic_load(&s->credit);

	do {
		if (old < nr)
			return false;
	} while (!atomic_compare_exchange_weak(&s->credit, &old, old - nr));
	return true;
}

int stock_commit_own(int node, enum stock_kind kind, uint64_t nr)
{
	int r = stock_commit(node, kind, nr);

	return r && memalloc_now() && take_credit(stock_of(node, kind), nr) ? 0 : r;
}

void stock_keep_credit(void)
{
	struct stock *s = metadata_node < 0 ? NULL : stock_of(metadata_node, STOCK_BASE);
	uint64_t      wanted = s ? left_of(credit_of(s), s->credit) : 0;

	for (; wanted; wanted /= 2) {
		if (!commit(s, wanted))
			continue;
		atomic_fetch_add(&s->credit, wanted);
		return;
	}
}

static void drop_credit(struct stock *s)
{
	uncommit(s, atomic_exchange(&s->credit, 0));
}

static uint64_t unspoken(const struct stock *s)
{
	return left_of(s->limit, s->spoken);
}

uint64_t stock_available_evictable(const struct stock_place *place)
{
	struct stock *s = stock_of(place->node, place->kind);
	uint64_t      evictable = s->evictable;
	uint64_t      room = unspoken(s), free = promise_room(s, place);
	bool          floor_fits = evictable >= s->floor || room >= s->floor - evictable;

	return floor_fits ? free : min_t(uint64_t, free, room);
}

uint64_t stock_available(int node, enum stock_kind kind)
{
	struct stock *s = stock_of(node, kind);

	return min_t(uint64_t, unspoken(s), promise_room(s, NULL));
}

/* ---- memory that exists ---- */

/* No room: held memory makes way, one pageblock at a time. */
static int take_slow(struct stock *s, uint64_t nr)
{
	bool room, more = s->mode == STOCK_HOLD;

	mutex_lock(&s->lock);
	while (!(room = add_up_to(&s->used, nr, s->reserve)) && more) {
		if (stock_punch_held_locked(s))
			continue;
		more = s->nr_busy > 0;
		mutex_unlock(&s->lock);
		sched_yield(); /* a block is being filled; it can be punched in a moment */
		mutex_lock(&s->lock);
	}
	mutex_unlock(&s->lock);
	return room ? 0 : -ENOMEM;
}

int stock_take(int node, enum stock_kind kind, uint64_t nr)
{
	struct stock *s = stock_of(node, kind);

	if (likely(add_up_to(&s->used, nr, s->reserve)))
		return 0;
	return s->reserve ? take_slow(s, nr) : -ENOMEM;
}

static uint64_t present_now(const struct stock *s)
{
	/* In this order: what moves from held to present meanwhile is seen in both. */
	uint64_t used = s->used, held = s->held;

	return left_of(used, held);
}

static bool is_promised_beyond(const struct stock *s)
{
	return atomic_load_explicit(&s->committed, memory_order_relaxed) > s->limit;
}

uint64_t stock_lacking(int node, enum stock_kind kind, uint64_t nr)
{
	struct stock *s = stock_of(node, kind);
	uint64_t      own = kind == STOCK_BASE ? OWN_FRAMES : 0;

	return is_promised_beyond(s) ? left_of(present_now(s) + nr + own, s->reserve) : 0;
}

int stock_take_fixed(int node, enum stock_kind kind, uint64_t nr)
{
	return stock_lacking(node, kind, nr) ? -ENOMEM : stock_take(node, kind, nr);
}

int stock_retake(int node, enum stock_kind kind, uint64_t nr)
{
	struct stock *s = stock_of(node, kind);

	if (!stock_take(node, kind, nr))
		return 0;
	if (!s->reserve || !add_up_to(&s->used, nr, s->reserve + margin_of(s->reserve)))
		return -ENOMEM;
	s->beyond = max_t(uint64_t, s->beyond, s->used - s->reserve);
	return 0;
}

int stock_readopt(int node, enum stock_kind kind, uint64_t nr)
{
	int r = stock_recommit(node, kind, nr);

	if (r)
		return r;
	r = stock_retake(node, kind, nr);
	if (r)
		stock_uncommit(node, kind, nr);
	return r;
}

uint64_t stock_free_evictable(int node, enum stock_kind kind)
{
	struct stock *s = stock_of(node, kind);

	if (!is_promised_beyond(s))
		return UINT64_MAX;
	return left_of(s->limit, present_now(s));
}

uint64_t stock_limit(int node, enum stock_kind kind)
{
	return stock_of(node, kind)->limit;
}

int stock_take_evictable(int node, enum stock_kind kind, uint64_t nr)
{
	return stock_free_evictable(node, kind) < nr ? -ENOMEM : stock_take(node, kind, nr);
}

void stock_put(int node, enum stock_kind kind, uint64_t nr)
{
	uint64_t old = atomic_fetch_sub(&stock_of(node, kind)->used, nr);

	CHECK(old >= nr);
}

static int copy_once(const struct stock_populate_request *request, const struct stock *s)
{
	const struct os_copy copy = {
		.from = request->copy_of->fd,
		.from_offset = request->copy_of->offset,
		.to = request->section->fd,
		.offset = request->offset,
		.length = request->length,
		.node = s->os_node,
	};

	return os->copy(&copy);
}

static int populate_once(const struct stock_populate_request *request, const struct stock *s)
{
	struct section *section = request->section;
	uint64_t        offset = request->offset, length = request->length;
	bool            blocks = is_aligned(offset | length, PAGEBLOCK_SIZE);

	if (request->copy_of)
		return copy_once(request, s);
	if (s->kind == STOCK_HUGE && section->mapped)
		return os->populate_mapped(section->fd, offset, length, s->os_node,
					   (char *)section_virt(section) + offset);
	if (s->kind == STOCK_BASE && request->huge && blocks)
		return os->populate_huge(section->fd, offset, length, s->os_node);
	if (s->kind == STOCK_BASE && request->cleared)
		return os->populate_cleared(section->fd, offset, length, s->os_node);
	return os->populate(section->fd, offset, length, s->os_node);
}

int stock_populate(const struct stock_populate_request *request)
{
	struct stock *s = stock_of(request->node, request->section->kind);
	/* Twice what is wanted: what others grab meanwhile is theirs. */
	uint64_t      tries = 2 * (request->length >> PAGEBLOCK_SHIFT) + 8;
	int           r;

	do {
		r = populate_once(request, s);
	} while ((r == -ENOMEM || r == -ENOSPC) && tries-- &&
		 (stock_relieve(s) || (request->must_be && stock_give_spare(s))));
	return r;
}

static bool has_no_spares(const struct stock *s)
{
	return !s->reserve || s->mode == STOCK_HOLD;
}

int stock_keep_spare(int node)
{
	struct stock *s = stock_of(node, STOCK_HUGE);
	bool          there;
	int           r = 0;

	if (has_no_spares(s))
		return 0;
	mutex_lock(&s->lock);
	s->nr_sparing++; /* it stays from now on */
	there = s->spare;
	if (!s->has_spare && os->now_ns() < s->no_spare_until_ns)
		r = -EAGAIN;
	else if (there)
		r = stock_fill_spare_locked(s);
	mutex_unlock(&s->lock);
	if (!there && !r)
		r = stock_add_spare(s);
	if (r)
		stock_leave_spare(node);
	return r;
}

void stock_pause_spares(int node)
{
	struct stock *s = stock_of(node, STOCK_HUGE);

	if (has_no_spares(s))
		return;
	mutex_lock(&s->lock);
	s->no_spare_until_ns = os->now_ns() + SPARE_PAUSE_NS;
	mutex_unlock(&s->lock);
}

/* So many fewer need it. */
static void end_sparing(int node, uint32_t fewer)
{
	struct stock   *s = stock_of(node, STOCK_HUGE);
	struct section *gone = NULL;

	if (has_no_spares(s))
		return;
	mutex_lock(&s->lock);
	CHECK(s->nr_sparing >= fewer);
	s->nr_sparing -= fewer;
	if (!s->nr_sparing && s->spare)
		gone = stock_drop_spare_locked(s);
	mutex_unlock(&s->lock);
	if (gone)
		section_remove(gone);
}

void stock_leave_spare(int node)
{
	end_sparing(node, 1);
}

void stock_renew_spare(int node)
{
	struct stock *s = stock_of(node, STOCK_HUGE);

	if (has_no_spares(s))
		return;
	mutex_lock(&s->lock);
	if (s->nr_sparing && s->spare)
		stock_fill_spare_locked(s);
	mutex_unlock(&s->lock);
}

void stock_settle_spare(int node)
{
	end_sparing(node, 0);
}

/* Exact while nobody commits. */
static uint64_t fixed_now(const struct stock *s)
{
	uint64_t evictable = s->evictable, committed = s->committed;

	return committed > evictable ? committed - evictable : 0;
}

bool stock_snapshot(int node, enum stock_kind kind, struct stock_snapshot *out)
{
	struct stock *s = stock_of(node, kind);

	if (!s->reserve)
		return false;
	mutex_lock(&s->lock);
	*out = (struct stock_snapshot){
		.reserve = s->reserve,
		.held = s->held,
		.present = s->used - s->held,
		.committed = s->committed,
		.fixed = fixed_now(s),
		.margin = s->reserve - s->limit,
		.slack = s->slack,
		.nr_refused = s->nr_refused,
		.hold = s->mode == STOCK_HOLD,
		.locked = s->locked,
		.bare = (uint64_t)s->nr_bare << PAGEBLOCK_ORDER,
	};
	mutex_unlock(&s->lock);
	return true;
}

/* ---- metadata ---- */

static int charge_by(int (*commit_by)(int, enum stock_kind, uint64_t), uint64_t frames)
{
	int r = commit_by(metadata_node, STOCK_BASE, frames);

	if (r)
		return r;
	r = stock_take(metadata_node, STOCK_BASE, frames);
	if (r)
		stock_uncommit(metadata_node, STOCK_BASE, frames);
	return r;
}

static int charge_metadata(uint64_t frames)
{
	return charge_by(stock_commit_own, frames);
}

static int recharge_metadata(uint64_t frames)
{
	return stock_readopt(metadata_node, STOCK_BASE, frames);
}

static void uncharge_metadata(uint64_t frames)
{
	stock_put(metadata_node, STOCK_BASE, frames);
	stock_uncommit(metadata_node, STOCK_BASE, frames);
}

static bool relieve_metadata(void)
{
	return stock_relieve(stock_of(metadata_node, STOCK_BASE));
}

bool stock_charge_buffers(uint64_t frames)
{
	if (metadata_node < 0 || charge_by(stock_commit, frames))
		return false;
	atomic_fetch_add(&buffers, frames);
	return true;
}

void stock_uncharge_buffers(uint64_t frames)
{
	atomic_fetch_sub(&buffers, frames);
	uncharge_metadata(frames);
}

uint64_t stock_buffer_frames(void)
{
	return atomic_load(&buffers);
}

int stock_metadata_node(void)
{
	return metadata_node;
}

int stock_charge_metadata(int node)
{
	struct meta_charger charger = { charge_metadata, uncharge_metadata, recharge_metadata,
					relieve_metadata, 0 };
	int                 r;

	if (node < 0) {
		r = meta_set_charger(NULL);
		if (metadata_node >= 0)
			drop_credit(stock_of(metadata_node, STOCK_BASE));
		metadata_node = -1;
		return r;
	}
	metadata_node = node;
	charger.os_node = stock_of(node, STOCK_BASE)->os_node;
	r = meta_set_charger(&charger);
	if (r)
		metadata_node = -1;
	return r;
}

/* ---- validation ---- */

static void add_section(struct section *section, void *arg)
{
	uint64_t *present = arg;

	if (section->type != SECTION_RESERVE)
		present[section->kind] += (uint64_t)os->allocated(section->fd) >> PAGE_SHIFT;
}

static void validate_stock(struct stock *s, struct validation *v)
{
	const char *name = s->kind == STOCK_HUGE ? "huge" : "base";
	uint64_t    spare = s->has_spare ? PAGEBLOCK_PAGES : 0;

	validation_expect(v, s->used <= s->reserve + s->beyond + spare,
			  "node %d %s: held + present within the reserve", s->node, name);
	validation_expect(v, s->evictable <= s->committed, "node %d %s: evictable is committed",
			  s->node, name);
	validation_expect(v, fixed_now(s) <= s->limit, "node %d %s: fixed within the limit",
			  s->node, name);
	validation_compare(v, fixed_now(s) + kept(s, s->evictable), s->spoken,
			   "frames of node %d %s fixed or kept for evictable memory", s->node,
			   name);
	validation_expect(v, s->used - s->held <= s->committed,
			  "node %d %s: present is committed", s->node, name);
	if (s->section)
		stock_hold_validate(s, v);
}

void stock_validate(struct validation *v)
{
	uint64_t present[NR_STOCK_KINDS] = { 0 };

	section_for_each(add_section, present);
	if (metadata_node >= 0)
		present[STOCK_BASE] += (meta_bytes() >> PAGE_SHIFT) + buffers;
	for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
		uint64_t recorded = 0;

		for (int node = 0; node < MAX_NUMNODES; node++) {
			struct stock *s = stock_of(node, (enum stock_kind)kind);

			if (!s->reserve)
				continue;
			recorded += s->used - s->held;
			validate_stock(s, v);
		}
		validation_compare(v, present[kind], recorded, "frames present in %s stocks",
				   kind == STOCK_HUGE ? "huge" : "base");
	}
	promise_validate(v);
}
