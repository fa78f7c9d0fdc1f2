/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promise - demands by stock, changed under one lock and refused by their sum
 */
#include "mm/phys/promise.h"

#include <errno.h>
#include <pthread.h>

#include "mm/phys/node.h"
#include "mm/phys/stock.h"
#include "mm/phys/stock_hold.h"

static struct mutex   lock;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static _Atomic(const struct stock_swap *) swap_ops; /* NULL: no swap */
static _Atomic uint64_t total;       /* changes under lock: the sum of demands */
static _Atomic uint64_t total_whole; /* and of those in pages of 2 MiB */

static void init_lock(void)
{
	mutex_init(&lock, RANK_LEAF, "promises");
}

static void lock_promises(void)
{
	pthread_once(&once, init_lock);
	mutex_lock(&lock);
}

/* ---- swap ---- */

void stock_set_swap(const struct stock_swap *swap)
{
	atomic_store(&swap_ops, swap);
}

uint64_t stock_promised_beyond(void)
{
	return atomic_load(&total);
}

uint64_t stock_promised_beyond_huge(void)
{
	return atomic_load(&total_whole);
}

static uint64_t swap_now(void)
{
	const struct stock_swap *swap = atomic_load(&swap_ops);

	return swap ? swap->frames() : 0;
}

static uint64_t whole_swap_now(void)
{
	const struct stock_swap *swap = atomic_load(&swap_ops);

	return swap ? swap->huge_frames() : 0;
}

/* ---- demands ---- */

static uint64_t demand_of(const struct stock *s)
{
	return max_t(uint64_t, left_of(s->committed, s->limit), s->out);
}

static uint64_t whole_demand_of(const struct stock *s)
{
	return min_t(uint64_t, s->whole, s->demand);
}

/* P2, with the sums. */
static void count_demand(struct stock *s)
{
	uint64_t before = s->demand, whole_before = s->whole_demand;

	s->demand = demand_of(s);
	s->whole_demand = whole_demand_of(s);
	atomic_fetch_add(&total, s->demand - before);
	atomic_fetch_add(&total_whole, s->whole_demand - whole_before);
}

/* Of its max, what pages of 2 MiB leave nobody, at worst, is no room. */
static uint64_t usable_max(const struct promise_share *share)
{
	if (!share->whole || share->max == PROMISE_NO_MAX)
		return share->max;
	if (share->whole == share->all)
		return round_down(share->max, PAGEBLOCK_PAGES);
	return left_of(share->max, PAGEBLOCK_PAGES - 1);
}

static uint64_t excess_of(const struct promise_share *share)
{
	bool fits = share->all <= share->max; /* nothing need go */

	return fits ? 0 : left_of(share->all, usable_max(share));
}

/* P1 */
static void count_out(struct promise_share *share)
{
	uint64_t excess = excess_of(share);

	for (int node = 0; node < nr_nodes; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
			struct stock *s = stock_of(node, (enum stock_kind)kind);
			uint64_t      out = min_t(uint64_t, share->evictable[node][kind], excess);

			if (out == share->out[node][kind])
				continue;
			s->out += out - share->out[node][kind];
			share->out[node][kind] = out;
			count_demand(s);
		}
}

/* P4 */
static uint64_t stays_of(const struct promise_share *share, int node, int kind)
{
	uint64_t goes = share->whole ? share->goes_beside_whole : share->goes;
	uint64_t stays = min_t(uint64_t, share->evictable[node][kind],
			       left_of(share->paged, goes));

	return left_of(stays, share->locked[node][kind]);
}

/* False: one of the stocks has no frames for it, and the caller undoes what made it so. */
static bool fix_what_stays(struct promise_share *share, bool again)
{
	for (int node = 0; node < nr_nodes; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
			struct stock *s = stock_of(node, (enum stock_kind)kind);
			uint64_t      stays = stays_of(share, node, kind);
			int64_t       more = (int64_t)(stays - share->stays[node][kind]);

			if (more && !stock_shift(s, -more, more, again ? UINT64_MAX : s->limit))
				return false;
			share->stays[node][kind] = stays;
		}
	return true;
}

/* The same as a question, while nr more of `here` are counted in the share, but not yet there. */
static bool could_stay(const struct promise_share *share, const struct stock *here, uint64_t nr)
{
	for (int node = 0; node < nr_nodes; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
			const struct stock *s = stock_of(node, (enum stock_kind)kind);
			int64_t more = (int64_t)(stays_of(share, node, kind) -
						 share->stays[node][kind]);
			int64_t come = s == here ? (int64_t)nr : 0;

			if ((more || come) && !stock_could_shift(s, come - more, more))
				return false;
		}
	return true;
}

/* By how much something changes; s NULL: no stock. */
struct change {
	struct stock         *s;
	struct promise_share *share; /* NULL: nobody's */
	int64_t               committed, evictable, whole, all;
	uint64_t              max; /* the share's from now on */
};

static void apply_to_share(const struct change *c)
{
	if (c->s)
		c->share->evictable[c->s->node][c->s->kind] += (uint64_t)c->evictable;
	c->share->paged += (uint64_t)c->evictable;
	c->share->whole += (uint64_t)c->whole;
	c->share->all += (uint64_t)c->all;
	c->share->max = c->max;
	count_out(c->share);
}

static void apply(const struct change *c)
{
	if (c->s) {
		c->s->committed += (uint64_t)c->committed;
		c->s->whole += (uint64_t)c->whole;
		count_demand(c->s);
	}
	if (c->share)
		apply_to_share(c);
}

static struct change opposite(const struct change *c, uint64_t max)
{
	return (struct change){ c->s, c->share, -c->committed, -c->evictable, -c->whole, -c->all,
				max };
}

/* Who raises no demand is never refused: P3. */
static bool apply_within(const struct change *c, bool again)
{
	uint64_t before = total, whole_before = total_whole;

	apply(c);
	return again || ((total <= before || total <= swap_now()) &&
			 (total_whole <= whole_before || total_whole <= whole_swap_now()));
}

/* Less than there is, or what there was. */
static void apply_again(const struct change *c)
{
	apply(c);
	if (c->share)
		fix_what_stays(c->share, true);
}

static bool try_apply(const struct change *c, bool again)
{
	struct change undo = opposite(c, c->share ? c->share->max : 0);

	if (apply_within(c, again) && (!c->share || fix_what_stays(c->share, again)))
		return true;
	apply_again(&undo);
	return false;
}

static struct change more(struct stock *s, const struct stock_place *place, uint64_t nr)
{
	struct promise_share *share = place ? place->share : NULL;
	int64_t               by = (int64_t)nr;

	return (struct change){
		.s = s,
		.share = share,
		.committed = by,
		.evictable = place ? by : 0,
		.whole = place && place->whole ? by : 0,
		.all = by,
		.max = share ? share->max : 0,
	};
}

static bool add(struct stock *s, const struct stock_place *place, uint64_t nr, bool again)
{
	struct change c;
	bool          fits = false;

	lock_promises();
	if (s->reserve && nr <= INT64_MAX - s->committed) {
		c = more(s, place, nr);
		fits = try_apply(&c, again);
	}
	mutex_unlock(&lock);
	return fits;
}

static void take_away(struct stock *s, const struct stock_place *place, uint64_t nr)
{
	struct change c, less;

	lock_promises();
	CHECK(s->committed >= nr);
	c = more(s, place, nr);
	less = opposite(&c, c.max);
	apply_again(&less);
	mutex_unlock(&lock);
}

bool promise_fixed(struct stock *s, uint64_t nr, bool again)
{
	return add(s, NULL, nr, again);
}

void unpromise_fixed(struct stock *s, uint64_t nr)
{
	take_away(s, NULL, nr);
}

bool promise_evictable(struct stock *s, const struct stock_place *place, uint64_t nr, bool again)
{
	return add(s, place, nr, again);
}

void unpromise_evictable(struct stock *s, const struct stock_place *place, uint64_t nr)
{
	take_away(s, place, nr);
}

/* Without a look at the pool's max. */
static uint64_t most(const struct stock *s, bool whole)
{
	uint64_t left = left_of(swap_now(), total);

	if (whole)
		left = min_t(uint64_t, left, left_of(whole_swap_now(), total_whole));
	return left_of(s->limit + s->demand + left, s->committed);
}

static bool would_fit(struct stock *s, const struct stock_place *place, uint64_t nr)
{
	struct change c = more(s, place, nr), undo = opposite(&c, c.max);
	bool          fits = apply_within(&c, false) && could_stay(c.share, s, nr);

	apply(&undo);
	return fits;
}

static bool is_limited(const struct promise_share *share, uint64_t nr)
{
	return nr > left_of(share->max, share->all) || share->goes != PROMISE_NO_MAX;
}

uint64_t promise_room(struct stock *s, const struct stock_place *place)
{
	const struct promise_share *share = place ? place->share : NULL;
	uint64_t                    fits = 0, end;

	lock_promises();
	if (s->reserve)
		fits = most(s, place && place->whole);
	if (share && is_limited(share, fits)) {
		/* fits..end: not known yet. */
		end = fits;
		fits = 0;
		while (fits < end) {
			uint64_t middle = fits + (end - fits + 1) / 2;

			if (would_fit(s, place, middle))
				fits = middle;
			else
				end = middle - 1;
		}
	}
	mutex_unlock(&lock);
	return fits;
}

/* ---- what is locked ---- */

/* So many more are locked, and as many more frames fixed as don't stay for another reason already;
 * fewer, where negative. In one step: what stays from now on is nobody's in between. */
static bool change_locked(struct stock *s, struct promise_share *share, int64_t nr, uint64_t limit)
{
	uint64_t *locked = share ? &share->locked[s->node][s->kind] : NULL;
	uint64_t  stays = 0;
	int64_t   more = nr;
	bool      fits;

	lock_promises();
	if (share) {
		CHECK(nr >= 0 || *locked >= (uint64_t)-nr);
		*locked += (uint64_t)nr;
		stays = stays_of(share, s->node, s->kind);
		more += (int64_t)(stays - share->stays[s->node][s->kind]);
	}
	fits = stock_shift(s, -more, more, limit);
	if (share && fits)
		share->stays[s->node][s->kind] = stays;
	else if (share)
		*locked -= (uint64_t)nr;
	mutex_unlock(&lock);
	return fits;
}

bool promise_locked(struct stock *s, const struct stock_place *place, uint64_t nr, bool again)
{
	return change_locked(s, place->share, (int64_t)nr, again ? UINT64_MAX : s->limit);
}

void unpromise_locked(struct stock *s, const struct stock_place *place, uint64_t nr)
{
	change_locked(s, place->share, -(int64_t)nr, s->limit);
}

/* ---- what changes a pool's excess ---- */

static int change_share(const struct change *c, bool again)
{
	bool fits;

	lock_promises();
	fits = try_apply(c, again);
	mutex_unlock(&lock);
	return fits ? 0 : -ENOMEM;
}

int promise_arena(struct promise_share *share, uint64_t frames)
{
	struct change c = { .share = share, .all = (int64_t)frames };
	bool          fits;

	lock_promises();
	c.max = share->max;
	fits = try_apply(&c, false);
	mutex_unlock(&lock);
	return fits ? 0 : -ENOMEM;
}

void unpromise_arena(struct promise_share *share, uint64_t frames)
{
	struct change c = { .share = share, .all = -(int64_t)frames };

	lock_promises();
	CHECK(share->all >= frames);
	c.max = share->max;
	apply(&c);
	mutex_unlock(&lock);
}

int promise_max(struct promise_share *share, uint64_t max)
{
	return change_share(&(struct change){ .share = share, .max = max }, false);
}

void promise_max_again(struct promise_share *share, uint64_t max)
{
	change_share(&(struct change){ .share = share, .max = max }, true);
}

static int change_goes(struct promise_share *share, uint64_t goes, uint64_t beside_whole,
		       bool again)
{
	uint64_t before, before_whole;
	bool     fits;

	lock_promises();
	before = share->goes;
	before_whole = share->goes_beside_whole;
	share->goes = goes;
	share->goes_beside_whole = beside_whole;
	fits = fix_what_stays(share, again);
	if (!fits) {
		share->goes = before;
		share->goes_beside_whole = before_whole;
		fix_what_stays(share, true);
	}
	mutex_unlock(&lock);
	return fits ? 0 : -ENOMEM;
}

int promise_goes(struct promise_share *share, uint64_t goes, uint64_t beside_whole)
{
	return change_goes(share, goes, beside_whole, false);
}

void promise_goes_again(struct promise_share *share, uint64_t goes, uint64_t beside_whole)
{
	change_goes(share, goes, beside_whole, true);
}

/* ---- validation ---- */

void promise_validate(struct validation *v)
{
	uint64_t sum = 0, whole = 0;

	lock_promises();
	for (int node = 0; node < nr_nodes; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
			const struct stock *s = stock_of(node, (enum stock_kind)kind);

			if (!s->reserve)
				continue;
			validation_compare(v, demand_of(s), s->demand,
					   "frames that node %d's %s stock may have on the disk",
					   node, kind == STOCK_HUGE ? "huge" : "base");
			sum += s->demand;
			whole += s->whole_demand;
		}
	validation_compare(v, sum, total, "frames promised beyond memory");
	validation_compare(v, whole, total_whole, "frames of 2 MiB pages promised beyond memory");
	mutex_unlock(&lock);
}

static void validate_place(const struct promise_share *share, const struct promise_share *counted,
			   struct stock *s, unsigned long long pool,
			   struct validation *v)
{
	const char        *name = s->kind == STOCK_HUGE ? "huge" : "base";
	int                node = s->node, kind = s->kind;
	uint64_t           out = min_t(uint64_t, share->evictable[node][kind], excess_of(share));

	validation_compare(v, counted->evictable[node][kind], share->evictable[node][kind],
			   "pool %llu: frames of node %d %s promised to regions", pool, node, name);
	validation_compare(v, counted->locked[node][kind], share->locked[node][kind],
			   "pool %llu: frames of node %d %s that are locked", pool, node, name);
	validation_compare(v, out, share->out[node][kind],
			   "pool %llu: frames of node %d %s beyond its max", pool, node, name);
	validation_compare(v, stays_of(share, node, kind), share->stays[node][kind],
			   "pool %llu: frames of node %d %s that stay", pool, node, name);
}

void promise_validate_share(const struct promise_share *share, const struct promise_share *counted,
			    unsigned long long pool, struct validation *v)
{
	lock_promises();
	validation_compare(v, counted->max, share->max, "pool %llu: max of its promises", pool);
	validation_compare(v, counted->goes, share->goes, "pool %llu: frames that may go", pool);
	validation_compare(v, counted->goes_beside_whole, share->goes_beside_whole,
			   "pool %llu: frames that may go beside 2 MiB pages", pool);
	validation_compare(v, counted->all, share->all, "pool %llu: frames promised to it", pool);
	validation_compare(v, counted->paged, share->paged,
			   "pool %llu: frames of its regions' promises", pool);
	validation_compare(v, counted->whole, share->whole,
			   "pool %llu: promised frames of 2 MiB pages", pool);
	for (int node = 0; node < nr_nodes; node++)
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++)
			if (stock_of(node, (enum stock_kind)kind)->reserve)
				validate_place(share, counted,
					       stock_of(node, (enum stock_kind)kind), pool, v);
	mutex_unlock(&lock);
}
