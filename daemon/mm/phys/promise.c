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

/* P1 */
static void count_out(struct promise_share *share)
{
	uint64_t excess = left_of(share->all, share->max);

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

/* By how much something changes; s NULL: no stock. */
struct change {
	struct stock         *s;
	struct promise_share *share; /* NULL: nobody's */
	int64_t               committed, evictable, whole, all;
	uint64_t              max; /* the share's from now on */
};

static void apply(const struct change *c)
{
	if (c->s) {
		c->s->committed += (uint64_t)c->committed;
		c->s->whole += (uint64_t)c->whole;
		count_demand(c->s);
	}
	if (!c->share)
		return;
	if (c->s)
		c->share->evictable[c->s->node][c->s->kind] += (uint64_t)c->evictable;
	c->share->all += (uint64_t)c->all;
	c->share->max = c->max;
	count_out(c->share);
}

static struct change opposite(const struct change *c, uint64_t max)
{
	return (struct change){ c->s, c->share, -c->committed, -c->evictable, -c->whole, -c->all,
				max };
}

/* Who raises no demand is never refused: P3. */
static bool try_apply(const struct change *c, bool again)
{
	uint64_t      before = total, whole_before = total_whole;
	struct change undo = opposite(c, c->share ? c->share->max : 0);

	apply(c);
	if (again || ((total <= before || total <= swap_now()) &&
		      (total_whole <= whole_before || total_whole <= whole_swap_now())))
		return true;
	apply(&undo);
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
	apply(&less);
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

	if (!try_apply(&c, false))
		return false;
	apply(&undo);
	return true;
}

uint64_t promise_room(struct stock *s, const struct stock_place *place)
{
	const struct promise_share *share = place ? place->share : NULL;
	uint64_t                    fits = 0, end;

	lock_promises();
	if (s->reserve)
		fits = most(s, place && place->whole);
	if (share && fits > left_of(share->max, share->all)) {
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
