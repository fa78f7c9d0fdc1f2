/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run - objects above 256 KiB up to 4 MiB: units of their own
 *
 * Purpose     See run.h.
 */
#include "heap/run.h"

#include <string.h>

#include "error.h"
#include "probe.h"

static uint32_t units_of(size_t size)
{
	return (uint32_t)((size + SLAB_UNIT_BYTES - 1) >> SLAB_UNIT_SHIFT);
}

/* A kept one may be an eighth larger. */
static uint64_t take_kept(struct heap *h, uint32_t *units, size_t align)
{
	for (int i = 0; i < HEAP_RUNS; i++) {
		struct heap_run *kept = &h->runs[i];

		if (kept->units >= *units && kept->units <= *units + *units / 8 &&
		    !(kept->address & (align - 1))) {
			*units = kept->units;
			kept->units = 0;
			return kept->address;
		}
	}
	return 0;
}

/* A kept run keeps this. */
static void make_run(struct slab_header *s, uint32_t units)
{
	for (uint32_t i = 1; i < units; i++) {
		s[i].back = i;
		atomic_store_explicit(&s[i].kind, SLAB_TAIL, memory_order_relaxed);
	}
	s->back = 0;
	s->units = units;
	s->size = 0;
}

static void begin_run(struct slab_header *s, uint64_t address, size_t size)
{
	s->bytes = size;
	PROBE(run, address, s->units);
	atomic_store_explicit(&s->kind, SLAB_RUN, memory_order_release);
}

bool run_take_kept(struct heap *h, size_t size, uint64_t *address)
{
	uint32_t units = units_of(size);

	*address = take_kept(h, &units, 1);
	if (!*address)
		return false;
	h->counts.runs++;
	h->counts.runs_cached++;
	begin_run(heap_header(heap_view_of(h->pool, *address), *address), *address, size);
	return true;
}

void run_drop_kept(struct heap *h)
{
	for (int i = 0; i < HEAP_RUNS; i++) {
		if (h->runs[i].units)
			stock_put(&h->pool->stock, h->runs[i].address, h->runs[i].units);
		h->runs[i].units = 0;
	}
}

uint64_t run_alloc(struct heap *h, size_t size, size_t align)
{
	uint32_t units = units_of(size);
	struct stock_want want = { units, align > SLAB_UNIT_BYTES ? units_of(align) : 1, true };
	uint64_t address = take_kept(h, &units, align);
	struct slab_header *s;

	h->counts.runs++;
	h->counts.runs_cached += address != 0;
	if (!address) {
		/* They may lie beside what is free already. */
		run_drop_kept(h);
		address = heap_take_units(h, &want);
		if (!address)
			return 0;
		make_run(heap_header(heap_view_of(h->pool, address), address), units);
	}
	s = heap_header(heap_view_of(h->pool, address), address);
	begin_run(s, address, size);
	return address;
}

/* U2: another process's units become ours, unless it has died and who adopts it was faster: false,
 * and those that we have got go to the stock. `owner` is whose they were while the object lived:
 * this process's pager may be who adopts, and what it took is ours already, but not this run's. */
static bool take_over(struct heap *h, struct slab_header *s, uint64_t address, uint32_t owner)
{
	uint32_t me = heap_shelf_id(h->pool), units = s->units, nr = 0;
	bool taken[SLAB_UNITS_MAX];

	if (owner == me)
		return true;
	for (uint32_t i = units; i--;) {
		struct slab_view v = { .slab = s + i };

		taken[i] = slab_adopt(&v, owner, me);
		nr += taken[i];
	}
	for (uint32_t i = 0; i < units && nr < units; i++)
		if (taken[i])
			stock_put(&h->pool->stock, address + slab_unit_bytes(i), 1);
	return nr == units;
}

/* U1 */
static void end_run(struct slab_header *s, uint64_t address)
{
	uint8_t kind = SLAB_RUN;

	if (!s->units || s->units > SLAB_UNITS_MAX ||
	    !atomic_compare_exchange_strong(&s->kind, &kind, SLAB_NONE))
		die("libmmbroker: freeing %#llx: it has been freed already (double free)",
		    (unsigned long long)address);
}

void run_free(struct heap *h, struct slab_header *s, uint64_t address)
{
	uint32_t units = s->units, owner = slab_owner(s);
	struct heap_run *oldest;

	end_run(s, address);
	if (!take_over(h, s, address, owner))
		return;
	for (int i = 0; i < HEAP_RUNS; i++) {
		if (!h->runs[i].units) {
			h->runs[i] = (struct heap_run){ address, units };
			stock_kick(&h->pool->stock);
			return;
		}
	}
	oldest = &h->runs[h->counts.runs % HEAP_RUNS];
	stock_put(&h->pool->stock, oldest->address, oldest->units);
	*oldest = (struct heap_run){ address, units };
}

/* Units around a run, taken out of stock. */
struct around {
	uint32_t before, behind;
};

/* There it begins from now on. What it doesn't need at its old end is free. */
static uint64_t move_down(struct heap *h, struct slab_header *s, uint64_t address,
			  const struct around *got, uint32_t need)
{
	uint32_t have = s->units, all = got->before + have + got->behind;
	uint64_t to = address - slab_unit_bytes(got->before);

	end_run(s, address);
	memmove((void *)(uintptr_t)to, (void *)(uintptr_t)address, slab_unit_bytes(have));
	make_run(s - got->before, need);
	if (all > need)
		stock_put(&h->pool->stock, to + slab_unit_bytes(need), all - need);
	return to;
}

/* `more` units for it: behind it, or before it, or on both sides. False: they aren't in stock. */
static bool take_around(struct heap *h, const struct stock_span *run, uint32_t more,
			struct around *got)
{
	const struct heap_view *view = heap_view_of(h->pool, run->address);
	struct stock *stock = &h->pool->stock;
	uint64_t end = run->address + slab_unit_bytes(run->units);
	uint64_t room_before = (run->address - view->base) >> SLAB_UNIT_SHIFT;
	uint64_t room_behind = (view->base + view->length - end) >> SLAB_UNIT_SHIFT;
	uint32_t most = run->units + more, beyond = more;

	*got = (struct around){ 0 };
	if (room_behind >= more)
		got->behind = stock_take_at(stock, end, more, more);
	if (got->behind)
		return true;
	most = most < room_before ? most : (uint32_t)room_before;
	got->before = stock_take_before(stock, run->address, more, most);
	if (got->before || more == 1)
		return got->before;
	beyond = beyond < room_behind ? beyond : (uint32_t)room_behind;
	got->behind = stock_take_at(stock, end, 1, beyond);
	if (!got->behind)
		return false;
	got->before = stock_take_before(stock, run->address, more - got->behind, most);
	if (!got->before)
		stock_put(stock, end, got->behind);
	return got->before;
}

uint64_t run_grow(struct heap *h, struct slab_header *s, uint64_t address, size_t size)
{
	const struct stock_span run = { address, s->units };
	uint32_t need = units_of(size);
	struct around got;

	if (!h->pool->is_private || !run.units || run.units >= need || need > SLAB_UNITS_MAX)
		return 0;
	run_drop_kept(h);
	if (!take_around(h, &run, need - run.units, &got))
		return 0;
	if (!got.before) {
		make_run(s, need);
		s->bytes = size;
		return address;
	}
	address = move_down(h, s, address, &got, need);
	begin_run(s - got.before, address, size);
	return address;
}
