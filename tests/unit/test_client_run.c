/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_run - objects of units of their own: alignment, those kept, growing beside others
 *
 * Not here    Random operations (tests/model/test_heap_model.c).
 */
#include <string.h>

#include "heap/run.h"
#include "lib/heap_area.h"
#include "lib/test.h"

enum { LARGE = 300 << 10, RUNS = 20, TICKS = 20 };

static struct heap_pool *pool;
static struct heap *h;
static uint64_t objects[RUNS];

static void begin(bool is_private)
{
	heap_area_begin(1);
	pool = heap_area_pool(1, is_private);
	h = heap_new(pool, NULL);
	EXPECT(h);
}

/* Nothing is in use any more. */
static void end(void)
{
	heap_area_retire(h);
	heap_area_close(pool);
	EXPECT_EQ(heap_area_use().units, 0);
	heap_area_end();
}

static void runs(void)
{
	uint64_t run, again;

	begin(false);
	for (size_t size = SIZE_SLAB_MAX + 1; size <= RUN_BYTES_MAX; size += 123456) {
		for (size_t align = 1; align <= 2 << 20; align <<= 7) {
			run = heap_area_run(h, size, align);
			EXPECT(run && !(run & (align - 1)) && !(run % SLAB_UNIT_BYTES));
			memset((void *)(uintptr_t)run, 1, size);
			heap_area_free(h, run);
		}
		heap_pool_trim(pool);
	}
	run = heap_area_run(h, LARGE, 1);
	heap_area_free(h, run);
	again = heap_area_run(h, LARGE, 1);
	EXPECT_EQ(again, run);
	heap_area_free(h, again);
	for (int i = 0; i < TICKS; i++)
		heap_pool_tick(pool);
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

static void kept_runs_are_few(void)
{
	begin(false);
	for (int i = 0; i < RUNS; i++)
		objects[i] = heap_area_run(h, LARGE, 1);
	for (int i = 0; i < RUNS; i++)
		heap_area_free(h, objects[i]);
	EXPECT_EQ(atomic_load(&pool->stock.nr_units), heap_area.nr_leased - HEAP_RUNS * 5);
	end();
}

static uint64_t grow_to(int i, uint32_t units)
{
	return heap_area_grow(h, objects[i], units * (size_t)SLAB_UNIT_BYTES - 9);
}

/* All of a pageblock is in stock; where it begins. */
static uint64_t begin_with_block(void)
{
	const struct stock_want block = { STOCK_BLOCK_UNITS, STOCK_BLOCK_UNITS, false };
	uint64_t at;

	begin(true);
	at = stock_take(&pool->stock, &block);
	stock_put(&pool->stock, at, STOCK_BLOCK_UNITS);
	return at;
}

static void grows(void)
{
	uint64_t at = begin_with_block();

	for (int i = 0; i < 6; i++) {
		objects[i] = heap_area_run(h, 5 * SLAB_UNIT_BYTES, 1);
		EXPECT_EQ(objects[i], at + (uint64_t)i * 5 * SLAB_UNIT_BYTES);
	}
	EXPECT_EQ(grow_to(5, 7), objects[5]);
	EXPECT_EQ(grow_to(2, 6), 0);
	heap_area_free(h, objects[1]);
	at = objects[2];
	memset((void *)(uintptr_t)at, 1, 4 * SLAB_UNIT_BYTES);
	memset((void *)(uintptr_t)(at + 4 * SLAB_UNIT_BYTES), 2, SLAB_UNIT_BYTES);
	/* Down by five units, onto two of its own. */
	EXPECT_EQ(grow_to(2, 7), objects[1]);
	objects[2] = objects[1];
	EXPECT_EQ(*(unsigned char *)(uintptr_t)objects[2], 1);
	EXPECT_EQ(*(unsigned char *)(uintptr_t)(objects[2] + 4 * SLAB_UNIT_BYTES - 1), 1);
	EXPECT_EQ(*(unsigned char *)(uintptr_t)(objects[2] + 4 * SLAB_UNIT_BYTES), 2);
	EXPECT_EQ(*(unsigned char *)(uintptr_t)(objects[2] + 5 * SLAB_UNIT_BYTES - 1), 2);
	/* The rest of its old place, to which the next one moves. */
	EXPECT_EQ(grow_to(3, 8), objects[2] + 7 * SLAB_UNIT_BYTES);
	objects[3] = objects[2] + 7 * SLAB_UNIT_BYTES;
	EXPECT_EQ(grow_to(4, SLAB_UNITS_MAX + 1), 0);
	EXPECT_EQ(heap_pool_validate(pool), 0);
	for (int i = 0; i < 6; i++)
		if (i != 1)
			heap_area_free(h, objects[i]);
	end();
}

static void grows_on_both_sides(void)
{
	uint64_t at = begin_with_block();

	for (int i = 0; i < 6; i++)
		objects[i] = heap_area_run(h, 5 * SLAB_UNIT_BYTES, 1);
	EXPECT_EQ(objects[5], at + 25 * SLAB_UNIT_BYTES);
	memset((void *)(uintptr_t)objects[1], 1, 5 * SLAB_UNIT_BYTES);
	memset((void *)(uintptr_t)objects[3], 3, 5 * SLAB_UNIT_BYTES);
	heap_area_free(h, objects[0]);
	heap_area_free(h, objects[2]);
	/* Neither side alone has seven, and both together haven't eleven. */
	EXPECT_EQ(grow_to(1, 16), 0);
	EXPECT_EQ(grow_to(1, 12), at);
	for (uint64_t i = 0; i < 5 * SLAB_UNIT_BYTES; i++)
		EXPECT_EQ(*(unsigned char *)(uintptr_t)(at + i), 1);
	EXPECT_EQ(*(unsigned char *)(uintptr_t)objects[3], 3);
	EXPECT_EQ(heap_pool_validate(pool), 0);
	/* Three are left between it and the next one, which takes them. */
	EXPECT_EQ(grow_to(3, 8), at + 12 * SLAB_UNIT_BYTES);
	EXPECT_EQ(*(unsigned char *)(uintptr_t)(at + 12 * SLAB_UNIT_BYTES), 3);
	heap_area_free(h, at);
	heap_area_free(h, at + 12 * SLAB_UNIT_BYTES);
	heap_area_free(h, objects[4]);
	heap_area_free(h, objects[5]);
	end();
}

static const struct test_case cases[] = {
	{ "runs are aligned, and a pair takes the same again", runs },
	{ "a heap keeps four runs", kept_runs_are_few },
	{ "a run grows into free units behind it, or moves down into those before it", grows },
	{ "a run grows into free units on both sides of it", grows_on_both_sides },
};
TEST_MAIN(cases)
