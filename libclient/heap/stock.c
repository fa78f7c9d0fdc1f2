/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock - units that a process has leased and doesn't use at the moment
 *
 * Purpose     See stock.h.
 */
#include "heap/stock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "heap/heap.h"
#include "probe.h"

enum { HOLE_BLOCKS = 8 }; /* that are searched for a hole of the right size */

int stock_init(struct stock *stock, const struct stock_source *source, struct heap_pool *pool)
{
	stock->source = *source;
	stock->pool = pool;
	stock->batch = 1;
	return -(pthread_mutex_init(&stock->leasing, NULL) ||
		 pthread_mutex_init(&stock->lock, NULL));
}

void stock_fini(struct stock *stock)
{
	free(stock->blocks);
	pthread_mutex_destroy(&stock->lock);
	pthread_mutex_destroy(&stock->leasing);
}

/* Whoever is kicked clears `kicked`, perhaps before the kick has returned: it is set before, and
 * cleared here only where nobody comes. */
static bool kick(struct stock *stock, bool now)
{
	bool comes = stock->source.kick(stock->source.context, now);

	if (!comes)
		atomic_store(&stock->kicked, false);
	return comes;
}

void stock_kick(struct stock *stock)
{
	if (!atomic_load_explicit(&stock->kicked, memory_order_relaxed) &&
	    !atomic_exchange(&stock->kicked, true))
		kick(stock, false);
}

/* K1 */
static void mark_units(struct stock *stock, uint64_t address, uint32_t units, uint32_t owner)
{
	const struct heap_view *view = heap_view_of(stock->pool, address);
	struct slab_header *s = heap_header(view, address);

	for (uint32_t i = 0; i < units; i++) {
		atomic_store_explicit(&s[i].kind, SLAB_NONE, memory_order_release);
		atomic_store_explicit(&s[i].shared, shared_word(owner, 0, 0), memory_order_release);
	}
}

/* Of what others have leased it tells a broker that takes over from one that died meanwhile: these
 * haven't been taken back, since who takes them wipes it. */
static void mark_given(struct stock *stock, uint64_t address, uint32_t units)
{
	struct slab_header *s = heap_header(heap_view_of(stock->pool, address), address);

	for (uint32_t i = 0; i < units; i++)
		atomic_store_explicit(&s[i].given, heap_shelf_id(stock->pool),
				      memory_order_release);
}

static void own(struct stock *stock, int64_t units)
{
	pthread_mutex_lock(&stock->lock);
	stock->owned += units;
	pthread_mutex_unlock(&stock->lock);
}

static void give(struct stock *stock, const struct stock_span *spans, uint32_t nr)
{
	int64_t units = 0;

	for (uint32_t i = 0; i < nr; i++) {
		units += spans[i].units;
		/* In a shared pool the daemon does it, as it takes them: who is killed before
		 * leaves them to others. */
		if (stock->pool->is_private)
			mark_units(stock, spans[i].address, spans[i].units, SLAB_NO_OWNER);
		else
			mark_given(stock, spans[i].address, spans[i].units);
		PROBE(return, spans[i].units, 1);
	}
	atomic_fetch_add_explicit(&stock->nr_gives, 1, memory_order_relaxed);
	own(stock, -units);
	stock->source.give(stock->source.context, spans, nr);
}

/* ---- bits ---- */

/* The units [at, at + units) of a block. */
static uint32_t bits_of(uint32_t at, uint32_t units)
{
	return (uint32_t)(((1ull << units) - 1) << at);
}

/* Where in `free` runs of so many bits begin. */
static uint32_t runs_of(uint32_t free, uint32_t units)
{
	for (uint32_t half; units > 1; units -= half) {
		half = units / 2;
		free &= free >> half;
	}
	return free;
}

/* Bits at multiples of align, a power of two. */
static uint32_t multiples_of(uint32_t align)
{
	return UINT32_MAX / (uint32_t)bits_of(0, align);
}

/* ---- blocks ---- */

/* The first block at or above that address. */
static uint32_t find_locked(const struct stock *stock, uint64_t base)
{
	uint32_t low = 0, high = stock->nr_blocks;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (stock->blocks[middle].base < base)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_block_at(const struct stock *stock, uint32_t i, uint64_t base)
{
	return i < stock->nr_blocks && stock->blocks[i].base == base;
}

static struct stock_block *insert_locked(struct stock *stock, uint32_t i, uint64_t base)
{
	if (stock->nr_blocks == stock->room) {
		uint32_t room = stock->room ? stock->room * 2 : STOCK_BLOCK_UNITS;
		struct stock_block *blocks = realloc(stock->blocks, room * sizeof(*blocks));

		if (!blocks)
			return NULL;
		stock->blocks = blocks;
		stock->room = room;
	}
	memmove(&stock->blocks[i + 1], &stock->blocks[i],
		(stock->nr_blocks - i) * sizeof(*stock->blocks));
	stock->nr_blocks++;
	stock->blocks[i] = (struct stock_block){ .base = base };
	return &stock->blocks[i];
}

static void count_locked(struct stock *stock, int64_t units)
{
	atomic_store_explicit(&stock->nr_units, stock->nr_units + (uint64_t)units,
			      memory_order_relaxed);
}

/* K3 */
static void take_bits_locked(struct stock *stock, uint32_t i, uint32_t bits)
{
	struct stock_block *b = &stock->blocks[i];

	b->free &= ~bits;
	b->least &= b->free;
	b->ticks = 0;
	count_locked(stock, -__builtin_popcount(bits));
	if (b->free)
		return;
	stock->nr_blocks--;
	memmove(b, b + 1, (stock->nr_blocks - i) * sizeof(*b));
}

/* False: no memory; some of them may be in stock, `*done` says how many. */
static bool put_locked(struct stock *stock, const struct stock_span *span, uint32_t *done)
{
	for (*done = 0; *done < span->units;) {
		uint64_t address = span->address + slab_unit_bytes(*done);
		uint64_t base = address & ~(uint64_t)(STOCK_BLOCK_BYTES - 1);
		uint32_t at = (uint32_t)((address - base) >> SLAB_UNIT_SHIFT);
		uint32_t nr = span->units - *done, i = find_locked(stock, base);
		struct stock_block *b = is_block_at(stock, i, base) ? &stock->blocks[i] :
								      insert_locked(stock, i, base);

		if (!b)
			return false;
		if (nr > STOCK_BLOCK_UNITS - at)
			nr = STOCK_BLOCK_UNITS - at;
		b->free |= bits_of(at, nr);
		count_locked(stock, nr);
		*done += nr;
	}
	return true;
}

/* Of the runs that begin there, those that are all of a hole. */
static uint32_t holes_of(uint32_t free, uint32_t runs, uint32_t units)
{
	return runs & ~(free << 1) & ~(units < STOCK_BLOCK_UNITS ? free >> units : 0);
}

/* The lowest one; but of the first few blocks a hole that it fills, so that others stay long. */
static uint64_t find_inside_locked(const struct stock *stock, const struct stock_want *want)
{
	uint32_t places = multiples_of(want->align);
	uint64_t lowest = 0;

	for (uint32_t i = 0; i < stock->nr_blocks; i++) {
		const struct stock_block *b = &stock->blocks[i];
		uint32_t runs = runs_of(b->free, want->units) & places;
		uint32_t holes = holes_of(b->free, runs, want->units);

		if (holes)
			return b->base + slab_unit_bytes((uint32_t)__builtin_ctz(holes));
		if (runs && !lowest)
			lowest = b->base + slab_unit_bytes((uint32_t)__builtin_ctz(runs));
		if (lowest && i >= HOLE_BLOCKS)
			break;
	}
	return lowest;
}

/* How many bits are set from the lowest one on. */
static uint32_t length_of(uint64_t bits)
{
	return (uint32_t)__builtin_ctzll(~bits);
}

/* Where the units at the end of a block begin, aligned; STOCK_BLOCK_UNITS: nowhere. */
static uint32_t end_begins(uint32_t free, uint32_t align)
{
	uint32_t begin = 32 - (uint32_t)__builtin_clzll(~((uint64_t)free << 32));

	return (begin + align - 1) & ~(align - 1);
}

/* Of so many units, how many one block can hold. */
static uint32_t in_block(uint32_t units)
{
	return units < STOCK_BLOCK_UNITS ? units : STOCK_BLOCK_UNITS;
}

/* Whether the blocks behind it begin with so many units. */
static bool goes_on(const struct stock *stock, uint32_t i, uint32_t units)
{
	const struct heap_view *view = heap_view_of(stock->pool, stock->blocks[i].base);

	for (; units; units -= in_block(units)) {
		uint64_t base = stock->blocks[i].base + STOCK_BLOCK_BYTES;

		if (!is_block_at(stock, ++i, base) ||
		    length_of(stock->blocks[i].free) < in_block(units) ||
		    heap_view_of(stock->pool, base) != view)
			return false;
	}
	return true;
}

/* From the end of a block and the beginning of the next ones. */
static uint64_t find_across_locked(const struct stock *stock, const struct stock_want *want)
{
	for (uint32_t i = 0; i + 1 < stock->nr_blocks; i++) {
		const struct stock_block *b = &stock->blocks[i];
		uint32_t at = end_begins(b->free, want->align), here = STOCK_BLOCK_UNITS - at;

		if (here && here < want->units && goes_on(stock, i, want->units - here))
			return b->base + slab_unit_bytes(at);
	}
	return 0;
}

/* All of them are in stock. */
static void take_span_locked(struct stock *stock, uint64_t address, uint32_t units)
{
	while (units) {
		uint64_t base = address & ~(uint64_t)(STOCK_BLOCK_BYTES - 1);
		uint32_t at = (uint32_t)((address - base) >> SLAB_UNIT_SHIFT);
		uint32_t nr = units < STOCK_BLOCK_UNITS - at ? units : STOCK_BLOCK_UNITS - at;

		take_bits_locked(stock, find_locked(stock, base), bits_of(at, nr));
		address += slab_unit_bytes(nr);
		units -= nr;
	}
}

/* The lower one: what remains at the end of a block is used with the next one's beginning. */
static uint64_t take_locked(struct stock *stock, const struct stock_want *want)
{
	uint64_t span = 0, across = 0;

	if (want->units > stock->nr_units)
		return 0;
	if (want->units <= STOCK_BLOCK_UNITS)
		span = find_inside_locked(stock, want);
	if (want->may_cross)
		across = find_across_locked(stock, want);
	if (across && (!span || across < span))
		span = across;
	if (span)
		take_span_locked(stock, span, want->units);
	return span;
}

/* ---- neighbours ---- */

/* Takes the unit, or, with `look`, only looks. False: it isn't in stock. */
static bool take_unit_locked(struct stock *stock, uint64_t address, bool look)
{
	uint64_t base = address & ~(uint64_t)(STOCK_BLOCK_BYTES - 1);
	uint32_t bit = 1u << ((address - base) >> SLAB_UNIT_SHIFT), i = find_locked(stock, base);

	if (!is_block_at(stock, i, base) || !(stock->blocks[i].free & bit))
		return false;
	if (!look)
		take_bits_locked(stock, i, bit);
	return true;
}

uint32_t stock_take_before(struct stock *stock, uint64_t address, uint32_t least, uint32_t most)
{
	uint32_t nr = 0;

	pthread_mutex_lock(&stock->lock);
	while (nr < most && take_unit_locked(stock, address - slab_unit_bytes(nr + 1), true))
		nr++;
	nr = nr < least ? 0 : nr;
	for (uint32_t i = 1; i <= nr; i++)
		take_unit_locked(stock, address - slab_unit_bytes(i), false);
	pthread_mutex_unlock(&stock->lock);
	return nr;
}

uint32_t stock_take_at(struct stock *stock, uint64_t address, uint32_t least, uint32_t most)
{
	uint32_t nr = 0;

	pthread_mutex_lock(&stock->lock);
	while (nr < most && take_unit_locked(stock, address + slab_unit_bytes(nr), true))
		nr++;
	nr = nr < least ? 0 : nr;
	for (uint32_t i = 0; i < nr; i++)
		take_unit_locked(stock, address + slab_unit_bytes(i), false);
	pthread_mutex_unlock(&stock->lock);
	return nr;
}

/* ---- leases ---- */

/* Of so many units, how many spans of `units` there are; one at least. */
static uint32_t count_of(uint32_t all, uint32_t units)
{
	return all > units ? all / units : 1;
}

/* Up to the end of the pageblock that the last lease began: each is charged as a whole. */
static uint32_t rest_locked(const struct stock *stock)
{
	int64_t rest = STOCK_BLOCK_UNITS - stock->owned % STOCK_BLOCK_UNITS;

	return rest < STOCK_BLOCK_UNITS ? (uint32_t)rest : STOCK_BLOCK_UNITS;
}

/* What the next lease asks for. Spans are aligned to the power of two that holds them, so what is
 * behind them in it comes along. */
static struct stock_lease plan_locked(struct stock *stock, uint32_t units)
{
	struct stock_lease want = { .units = 1 };

	if (units > STOCK_BLOCK_UNITS)
		return (struct stock_lease){ .units = units, .count = 1 };
	while (want.units < units)
		want.units *= 2;
	want.count = count_of(stock->batch < STOCK_BATCH_UNITS ? stock->batch : rest_locked(stock),
			      want.units);
	stock->batch = stock->batch * 2 < STOCK_BATCH_UNITS ? stock->batch * 2 : STOCK_BATCH_UNITS;
	return want;
}

int stock_fill(struct stock *stock, uint32_t units, const uint64_t *spans, uint32_t nr)
{
	struct stock_span span = { .units = units };
	uint32_t i, done = 0;

	PROBE(lease, units, nr);
	atomic_fetch_add_explicit(&stock->nr_leases, 1, memory_order_relaxed);
	for (i = 0; i < nr; i++)
		mark_units(stock, spans[i], units, heap_shelf_id(stock->pool));
	if (nr)
		heap_pool_settle(stock->pool, spans[0]);
	pthread_mutex_lock(&stock->lock);
	stock->owned += (int64_t)nr * units;
	for (i = 0; i < nr; i++) {
		span.address = spans[i];
		if (!put_locked(stock, &span, &done))
			break;
	}
	pthread_mutex_unlock(&stock->lock);
	if (i == nr)
		return nr ? 0 : fail(-ENOMEM, "no units were leased");
	for (uint32_t back = i; back < nr; back++, done = 0)
		give(stock, &(struct stock_span){ spans[back] + slab_unit_bytes(done),
						  units - done }, 1);
	return i ? 0 : fail(-ENOMEM, "no memory to keep leased units in mind");
}

/* Into the stock; 0 or a negative errno. */
static int lease(struct stock *stock, const struct stock_lease *want)
{
	uint64_t spans[STOCK_BATCH_UNITS];
	uint32_t nr = 0;
	int error;

	error = stock->source.lease(stock->source.context, want, spans, &nr);
	return error ? error : stock_fill(stock, want->units, spans, nr);
}

/* A process that has come to large batches is worth a look ahead. */
static bool is_low_locked(const struct stock *stock)
{
	return stock->batch == STOCK_BATCH_UNITS && stock->nr_units < STOCK_LOW && !stock->topping;
}

static void ask_for_more(struct stock *stock)
{
	atomic_store(&stock->kicked, true);
	if (kick(stock, true))
		return;
	pthread_mutex_lock(&stock->lock);
	stock->topping = false;
	pthread_mutex_unlock(&stock->lock);
}

/* With `leasing`: another thread may have leased meanwhile. */
static uint64_t take_leased(struct stock *stock, const struct stock_want *want)
{
	uint32_t units = want->units > want->align ? want->units : want->align;
	struct stock_lease next = { 0 };
	uint64_t span;
	int error = 0;

	for (int tries = 0;; tries++) {
		pthread_mutex_lock(&stock->lock);
		span = take_locked(stock, want);
		/* What is refused in a batch may be had singly. */
		if (!span && error)
			next = (struct stock_lease){ .units = units, .count = 1 };
		else if (!span)
			next = plan_locked(stock, units);
		pthread_mutex_unlock(&stock->lock);
		if (span || (error && tries > 1))
			return span;
		error = lease(stock, &next);
		if (error && error != -ENOMEM)
			return 0;
	}
}

uint64_t stock_take(struct stock *stock, const struct stock_want *want)
{
	bool low;
	uint64_t span = stock_take_held(stock, want, &low);

	if (!span) {
		pthread_mutex_lock(&stock->leasing);
		span = take_leased(stock, want);
		pthread_mutex_unlock(&stock->leasing);
	}
	if (span)
		stock_look_ahead(stock);
	return span;
}

uint64_t stock_take_held(struct stock *stock, const struct stock_want *want, bool *low)
{
	uint64_t span;

	pthread_mutex_lock(&stock->lock);
	span = take_locked(stock, want);
	*low = is_low_locked(stock);
	pthread_mutex_unlock(&stock->lock);
	return span;
}

void stock_look_ahead(struct stock *stock)
{
	bool low;

	pthread_mutex_lock(&stock->lock);
	low = is_low_locked(stock);
	stock->topping |= low;
	pthread_mutex_unlock(&stock->lock);
	if (low)
		ask_for_more(stock);
}

void stock_put(struct stock *stock, uint64_t address, uint32_t units)
{
	struct stock_span span = { address, units };
	uint32_t done;
	bool kept;

	mark_units(stock, address, units, heap_shelf_id(stock->pool));
	pthread_mutex_lock(&stock->lock);
	kept = put_locked(stock, &span, &done);
	pthread_mutex_unlock(&stock->lock);
	if (!kept) {
		span.address += slab_unit_bytes(done);
		span.units -= done;
		give(stock, &span, 1);
	}
	stock_kick(stock);
}

/* ---- going back ---- */

struct shedding {
	struct stock_span spans[256];
	uint32_t nr;
	uint64_t from; /* blocks below have been looked at */
	bool     all;  /* not only what wasn't needed since the last tick */
	bool     more; /* something may go at the next one */
};

/* Whether another unit of the block is in use, by its header (K1): then the block is charged all
 * the same, if nobody else is in the pool. */
static bool is_used_beside(const struct stock *stock, const struct stock_block *b)
{
	const struct heap_view *view = heap_view_of(stock->pool, b->base);
	const struct slab_header *s = heap_header(view, b->base);

	for (uint32_t i = 0; i < STOCK_BLOCK_UNITS; i++, s++)
		if (!(b->free >> i & 1) && (slab_kind(s) != SLAB_NONE || slab_shared(s)))
			return true;
	return false;
}

/* A whole pageblock is worth most to others, a part of it to us. */
static bool is_kept_locked(struct stock *stock, struct stock_block *b)
{
	if (b->least == UINT32_MAX)
		return false;
	return ++b->ticks < STOCK_TICKS || (stock->pool->is_private && is_used_beside(stock, b));
}

/* The block's part, one span after the other. False: no room for more. */
static bool shed_block_locked(struct stock *stock, uint32_t i, struct shedding *s)
{
	uint64_t base = stock->blocks[i].base;
	uint32_t bits = s->all ? stock->blocks[i].free : stock->blocks[i].least, out = 0;
	bool room = true;

	if (!s->all && is_kept_locked(stock, &stock->blocks[i])) {
		s->more |= stock->blocks[i].ticks < STOCK_TICKS;
		stock->blocks[i].least = stock->blocks[i].free;
		s->from = base + STOCK_BLOCK_BYTES;
		return true;
	}
	while (bits && (room = s->nr < sizeof(s->spans) / sizeof(s->spans[0]))) {
		uint32_t at = (uint32_t)__builtin_ctz(bits);
		uint32_t units = length_of((uint64_t)bits >> at);

		s->spans[s->nr++] = (struct stock_span){
			base + slab_unit_bytes(at), units };
		out |= bits_of(at, units);
		bits &= ~out;
	}
	stock->blocks[i].least = room ? stock->blocks[i].free & ~out : bits;
	s->from = room ? base + STOCK_BLOCK_BYTES : base;
	s->more |= stock->blocks[i].free != out;
	take_bits_locked(stock, i, out);
	return room;
}

/* True: there is more for the next tick. */
static bool shed(struct stock *stock, bool all)
{
	struct shedding s = { .all = all };

	do {
		uint32_t i;

		s.nr = 0;
		pthread_mutex_lock(&stock->lock);
		while ((i = find_locked(stock, s.from)) < stock->nr_blocks)
			if (!shed_block_locked(stock, i, &s))
				break;
		pthread_mutex_unlock(&stock->lock);
		if (s.nr)
			give(stock, s.spans, s.nr);
	} while (s.nr);
	return s.more;
}

/* Unless a thread is at it, or was since it was asked for. */
static void top_up(struct stock *stock)
{
	struct stock_lease want = { .units = 1 };
	bool low;

	if (pthread_mutex_trylock(&stock->leasing))
		return;
	pthread_mutex_lock(&stock->lock);
	low = stock->nr_units < STOCK_LOW;
	want.count = rest_locked(stock);
	pthread_mutex_unlock(&stock->lock);
	if (low)
		lease(stock, &want);
	pthread_mutex_unlock(&stock->leasing);
}

bool stock_tick(struct stock *stock)
{
	bool top, more = true;

	pthread_mutex_lock(&stock->lock);
	top = stock->topping;
	pthread_mutex_unlock(&stock->lock);
	if (top)
		top_up(stock);
	else
		more = shed(stock, false);
	pthread_mutex_lock(&stock->lock);
	stock->topping = false;
	/* Quiet for a tick: the next burst begins small again. */
	if (!top && !stock->nr_units)
		stock->batch = 1;
	pthread_mutex_unlock(&stock->lock);
	return more;
}

void stock_flush(struct stock *stock)
{
	pthread_mutex_lock(&stock->lock);
	stock->topping = false;
	pthread_mutex_unlock(&stock->lock);
	shed(stock, true);
}
