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

int stock_init(struct stock *stock, const struct stock_source *source, struct heap_pool *pool)
{
	stock->source = *source;
	stock->pool = pool;
	stock->batch = 1;
	return -pthread_mutex_init(&stock->lock, NULL);
}

void stock_fini(struct stock *stock)
{
	for (uint32_t i = 0; i <= SLAB_UNITS_MAX; i++)
		free(stock->lists[i].spans);
	pthread_mutex_destroy(&stock->lock);
}

/* Whoever is kicked clears `kicked`, perhaps before the kick has returned: it is set before, and
 * cleared here only where nobody comes. */
static void kick(struct stock *stock, bool now)
{
	if (!stock->source.kick(stock->source.context, now))
		atomic_store(&stock->kicked, false);
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

static void give(struct stock *stock, uint32_t units, const uint64_t *spans, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		mark_units(stock, spans[i], units, SLAB_NO_OWNER);
	PROBE(return, units, nr);
	atomic_fetch_add_explicit(&stock->nr_gives, 1, memory_order_relaxed);
	stock->source.give(stock->source.context, units, spans, nr);
}

/* ---- lists ---- */

static bool push_locked(struct stock *stock, uint64_t address, uint32_t units)
{
	struct stock_list *l = &stock->lists[units];

	if (l->nr == l->room) {
		uint32_t room = l->room ? l->room * 2 : STOCK_RUN_ENTRIES;
		uint64_t *spans = realloc(l->spans, room * sizeof(*spans));

		if (!spans)
			return false;
		l->spans = spans;
		l->room = room;
	}
	l->spans[l->nr++] = address;
	atomic_store_explicit(&stock->nr_units, stock->nr_units + units, memory_order_relaxed);
	return true;
}

static uint64_t pop_locked(struct stock *stock, uint32_t units)
{
	struct stock_list *l = &stock->lists[units];

	if (!l->nr)
		return 0;
	l->nr--;
	if (l->nr < l->nr_least)
		l->nr_least = l->nr;
	atomic_store_explicit(&stock->nr_units, stock->nr_units - units, memory_order_relaxed);
	return l->spans[l->nr];
}

static bool is_power(uint32_t n)
{
	return !(n & (n - 1));
}

/* From a list of larger spans, whose other halves go to theirs. */
static uint64_t split_locked(struct stock *stock, uint32_t units)
{
	uint32_t from = units * 2;
	uint64_t span = 0;

	if (!is_power(units))
		return 0;
	while (from <= SLAB_UNITS_MAX && !(span = pop_locked(stock, from)))
		from *= 2;
	while (span && from > units) {
		from /= 2;
		if (!push_locked(stock, span + (uint64_t)from * SLAB_UNIT_BYTES, from))
			return 0;
	}
	return span;
}

static uint64_t take_locked(struct stock *stock, uint32_t units)
{
	uint64_t span = pop_locked(stock, units);

	return span ? span : split_locked(stock, units);
}

/* ---- leases ---- */

/* How many spans the next lease asks for. */
static uint32_t batch_locked(struct stock *stock, uint32_t units)
{
	uint32_t count = stock->batch / units;

	if (!is_power(units))
		return 1;
	stock->batch = stock->batch * 2 < STOCK_BATCH_UNITS ? stock->batch * 2 : STOCK_BATCH_UNITS;
	return count ? count : 1;
}

int stock_fill(struct stock *stock, uint32_t units, const uint64_t *spans, uint32_t nr)
{
	uint32_t i;

	PROBE(lease, units, nr);
	atomic_fetch_add_explicit(&stock->nr_leases, 1, memory_order_relaxed);
	for (i = 0; i < nr; i++)
		mark_units(stock, spans[i], units, heap_shelf_id(stock->pool));
	if (nr)
		heap_pool_settle(stock->pool, spans[0]);
	pthread_mutex_lock(&stock->lock);
	for (i = 0; i < nr; i++)
		if (!push_locked(stock, spans[i], units))
			break;
	pthread_mutex_unlock(&stock->lock);
	if (i < nr)
		give(stock, units, spans + i, nr - i);
	return i ? 0 : fail(-ENOMEM, "no memory to keep leased units in mind");
}

/* Into the lists; 0 or a negative errno. */
static int lease(struct stock *stock, uint32_t units, uint32_t count)
{
	struct stock_lease want = { .units = units, .count = count };
	uint64_t spans[STOCK_BATCH_UNITS];
	uint32_t nr = 0;
	int error;

	error = stock->source.lease(stock->source.context, &want, spans, &nr);
	return error ? error : stock_fill(stock, units, spans, nr);
}

uint64_t stock_take(struct stock *stock, uint32_t units)
{
	bool low = false;
	uint32_t count;
	uint64_t span;
	int error = 0;

	for (int tries = 0;; tries++) {
		pthread_mutex_lock(&stock->lock);
		span = take_locked(stock, units);
		count = span ? 0 : batch_locked(stock, units);
		/* A process that has come to large batches is worth a look ahead. */
		if (span && units == 1 && stock->batch == STOCK_BATCH_UNITS &&
		    stock->lists[1].nr < STOCK_LOW && !stock->topping)
			low = stock->topping = true;
		pthread_mutex_unlock(&stock->lock);
		if (span || (error && tries > 1))
			break;
		/* What is refused in a batch may be had singly. */
		error = lease(stock, units, error ? 1 : count);
		if (error && error != -ENOMEM)
			break;
	}
	if (low) {
		atomic_store(&stock->kicked, true);
		kick(stock, true);
	}
	return span;
}

void stock_put(struct stock *stock, uint64_t address, uint32_t units)
{
	bool kept;

	mark_units(stock, address, units, heap_shelf_id(stock->pool));
	pthread_mutex_lock(&stock->lock);
	kept = push_locked(stock, address, units);
	pthread_mutex_unlock(&stock->lock);
	if (!kept)
		give(stock, units, &address, 1);
	stock_kick(stock);
}

/* Moves up to nr of the oldest spans of a list out. */
static uint32_t shed_locked(struct stock *stock, uint32_t units, uint64_t *out, uint32_t nr)
{
	struct stock_list *l = &stock->lists[units];

	if (nr > l->nr)
		nr = l->nr;
	memcpy(out, l->spans, nr * sizeof(*out));
	memmove(l->spans, l->spans + nr, (l->nr - nr) * sizeof(*out));
	l->nr -= nr;
	atomic_store_explicit(&stock->nr_units, stock->nr_units - (uint64_t)nr * units,
			      memory_order_relaxed);
	return nr;
}

/* `all`: not only what wasn't needed since the last tick. */
static void shed(struct stock *stock, uint32_t units, bool all)
{
	struct stock_list *l = &stock->lists[units];
	uint64_t out[256];
	uint32_t left = UINT32_MAX, nr;

	do {
		pthread_mutex_lock(&stock->lock);
		if (left == UINT32_MAX)
			left = all ? l->nr : l->nr_least;
		nr = left && l->nr ? shed_locked(stock, units, out, left < 256 ? left : 256) : 0;
		left -= nr;
		l->nr_least = l->nr;
		pthread_mutex_unlock(&stock->lock);
		if (nr)
			give(stock, units, out, nr);
	} while (nr && left);
}

bool stock_tick(struct stock *stock)
{
	bool top;

	pthread_mutex_lock(&stock->lock);
	top = stock->topping;
	pthread_mutex_unlock(&stock->lock);
	for (uint32_t units = 1; units <= SLAB_UNITS_MAX && !top; units++)
		shed(stock, units, false);
	if (top)
		lease(stock, 1, STOCK_BATCH_UNITS);
	pthread_mutex_lock(&stock->lock);
	stock->topping = false;
	/* Quiet for a tick: the next burst begins small again. */
	if (!top && !stock->nr_units)
		stock->batch = 1;
	pthread_mutex_unlock(&stock->lock);
	return stock->nr_units != 0;
}

void stock_flush(struct stock *stock)
{
	for (uint32_t units = 1; units <= SLAB_UNITS_MAX; units++)
		shed(stock, units, true);
}
