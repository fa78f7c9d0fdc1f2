/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_units - how many units a process leases, and which it keeps
 *
 * Not here    Spans in stock (test_client_heap.c), random operations (test_heap_model.c).
 */
#include "heap/run.h"
#include "lib/heap_area.h"
#include "lib/test.h"

enum { TICKS = 20, OBJECTS = 40, LARGE = 300 << 10, LARGE_UNITS = 5 };

static struct heap_pool *pool;
static struct heap *h;
static uint64_t objects[OBJECTS];

static void begin(bool is_private)
{
	heap_area_begin(1);
	heap_area.magazine_bytes = MAGAZINE_BYTES;
	pool = heap_area_pool(1, is_private);
	h = heap_new(pool, NULL);
	EXPECT(h);
}

static void end(void)
{
	EXPECT_EQ(heap_pool_validate(pool), 0);
	heap_area_retire(h);
	heap_area_close(pool);
	heap_area_end();
}

static uint64_t take(uint32_t units, bool may_cross)
{
	uint64_t at = stock_take(&pool->stock, &(struct stock_want){ units, 1, may_cross });

	EXPECT(at);
	return at;
}

static void put(uint64_t at, uint32_t units)
{
	stock_put(&pool->stock, at, units);
}

/* One object of each of many sizes, which a slab each is kept for. */
static uint32_t fill_magazines(void)
{
	uint32_t before = heap_area.nr_leased - (uint32_t)atomic_load(&pool->stock.nr_units);

	for (unsigned int b = 0; b < OBJECTS; b++)
		objects[b] = heap_area_alloc(h, b);
	for (unsigned int b = 0; b < OBJECTS; b++)
		heap_area_free(h, objects[b]);
	return heap_area.nr_leased - (uint32_t)atomic_load(&pool->stock.nr_units) - before;
}

static void nothing_is_kept_from_others(void)
{
	uint32_t asked;

	for (int large = 0; large < 2; large++) {
		begin(true);
		EXPECT_EQ(fill_magazines(), OBJECTS);
		while (atomic_load(&pool->stock.nr_units))
			take(1, false);
		asked = heap_area.nr_asked;
		/* What the magazines held serves a size that has nothing, or a run. */
		if (large) {
			objects[0] = heap_area_run(h, LARGE, 1);
			objects[1] = heap_area_run(h, LARGE, 1);
		} else {
			objects[0] = heap_area_alloc(h, OBJECTS);
			objects[1] = heap_area_alloc(h, OBJECTS + 1);
		}
		EXPECT(objects[0] && objects[1]);
		EXPECT_EQ(heap_area.nr_asked, asked);
		heap_area_free(h, objects[0]);
		heap_area_free(h, objects[1]);
		heap_area_kill(pool);
	}
}

/* A pageblock is charged as a whole: what is leased fills it. */
static void pageblocks_are_filled(void)
{
	static const uint32_t sizes[] = { 1, 3, 1, 5, 2, 7, 1, 1, 3, 12, 1, 9 };
	uint32_t used = 0;

	begin(true);
	for (unsigned int i = 0; i < 10 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t units = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))], needed;

		take(units, true);
		used += units;
		needed = (used + STOCK_BLOCK_UNITS - 1) / STOCK_BLOCK_UNITS;
		EXPECT(heap_area.nr_leased <= (needed + 1) * STOCK_BLOCK_UNITS);
	}
	heap_area_kill(pool);
}

static void tick_to_the_end(void)
{
	int nr = 0;

	while (heap_pool_tick(pool))
		EXPECT(++nr < TICKS);
}

/* It would be charged all the same, and nobody else could use it. */
static void a_part_of_what_is_used_stays(void)
{
	uint64_t run, other;

	begin(true);
	run = heap_area_run(h, LARGE, 1);
	put(take(STOCK_BLOCK_UNITS - LARGE_UNITS, false), STOCK_BLOCK_UNITS - LARGE_UNITS);
	other = take(STOCK_BLOCK_UNITS, false);
	put(other, STOCK_BLOCK_UNITS);
	/* Nor is anybody woken for it again. */
	tick_to_the_end();
	EXPECT(heap_area.nr_leased > LARGE_UNITS);
	EXPECT(heap_area.nr_leased <= STOCK_BLOCK_UNITS);
	heap_area_free(h, run);
	tick_to_the_end();
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

static void others_of_a_pool_may_use_a_part(void)
{
	uint64_t run;

	begin(false);
	run = heap_area_run(h, LARGE, 1);
	put(take(STOCK_BLOCK_UNITS - 8, false), STOCK_BLOCK_UNITS - 8);
	tick_to_the_end();
	EXPECT_EQ(heap_area.nr_leased, LARGE_UNITS);
	heap_area_free(h, run);
	tick_to_the_end();
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

static void a_slab_fills_a_hole(void)
{
	uint64_t at, unit = SLAB_UNIT_BYTES;

	begin(true);
	at = take(STOCK_BLOCK_UNITS, false);
	put(at, 8);
	put(at + 10 * unit, 1);
	put(at + 12 * unit, 3);
	EXPECT_EQ(take(3, false), at + 12 * unit);
	EXPECT_EQ(take(1, false), at + 10 * unit);
	/* A run may grow where it is: it begins as low as it can. */
	EXPECT_EQ(take(1, true), at);
	EXPECT_EQ(take(1, false), at + unit);
	heap_area_kill(pool);
}

/* 20480 bytes: 3 in a unit, 16 in five. */
static void a_size_with_many_slabs_has_tight_ones(void)
{
	static uint64_t many[30 * 16];
	unsigned int bin = size_bin(20 << 10), nr = 0;
	uint32_t first, last, used;

	begin(true);
	for (; nr < sizeof(many) / sizeof(many[0]); nr++)
		EXPECT(many[nr] = heap_area_alloc(h, bin));
	first = heap_slab_of(pool, many[0]).slab->units;
	last = heap_slab_of(pool, many[nr - 1]).slab->units;
	EXPECT(first == 1 && last == 5);
	used = heap_area.nr_leased - (uint32_t)atomic_load(&pool->stock.nr_units);
	EXPECT_EQ(atomic_load(&pool->bins[bin].units), (int32_t)used);
	while (nr)
		heap_area_free(h, many[--nr]);
	tick_to_the_end();
	EXPECT_EQ(heap_area.nr_leased, 0);
	EXPECT_EQ(atomic_load(&pool->bins[bin].units), 0);
	end();
}

/* Killed before the daemon has read what it was sent. */
static void who_dies_giving_leaves_units_to_others(void)
{
	struct heap_pool *next;
	struct heap *other;

	begin(false);
	next = heap_area_pool(2, false);
	other = heap_new(next, NULL);
	EXPECT(other);
	fill_magazines();
	heap_area_free(h, heap_area_run(h, LARGE, 1));
	heap_area.deaf = true;
	heap_pool_trim(pool);
	EXPECT_EQ(atomic_load(&pool->stock.nr_units), 0);
	EXPECT(heap_area.nr_leased >= OBJECTS + LARGE_UNITS);
	heap_area_kill(pool);
	heap_area.deaf = false;
	heap_pool_adopt(next, 1);
	heap_pool_trim(next);
	EXPECT_EQ(heap_area.nr_leased, 0);
	pool = next;
	h = other;
	end();
}

static const struct test_case cases[] = {
	{ "what is in magazines keeps no unit from others", nothing_is_kept_from_others },
	{ "leases fill pageblocks", pageblocks_are_filled },
	{ "in a private pool a part of a used pageblock stays", a_part_of_what_is_used_stays },
	{ "in a shared pool it goes", others_of_a_pool_may_use_a_part },
	{ "who dies giving units back leaves them to others",
	  who_dies_giving_leaves_units_to_others },
	{ "a slab fills a hole of its size", a_slab_fills_a_hole },
	{ "a size that has many slabs has tight ones", a_size_with_many_slabs_has_tight_ones },
};
TEST_MAIN(cases)
