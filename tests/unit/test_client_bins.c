/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_bins - bins of typed caches begin when they are used, and a heap may be made ahead
 *
 * Not here    What heaps do with bins that have begun (test_client_heap.c).
 */
#include <stdlib.h>

#include "lib/heap_area.h"
#include "lib/test.h"

enum { OBJECTS = 300, BYTES = 1000, BIN = SLAB_SIZE_CLASSES + 200 };

static struct heap_pool *area_pool;
static struct heap *user;
static uint64_t taken[OBJECTS];

static void take_all(struct heap *by, unsigned int from)
{
	for (unsigned int i = 0; i < OBJECTS; i++)
		EXPECT(taken[i] = heap_area_alloc(by, from));
	EXPECT_EQ(heap_pool_validate(area_pool), 0);
}

static void give_all(struct heap *by)
{
	for (unsigned int i = 0; i < OBJECTS; i++)
		heap_area_free(by, taken[i]);
	heap_enter(by);
	heap_flush_pending(by);
	heap_leave(by);
	EXPECT_EQ(heap_pool_validate(area_pool), 0);
}

static void set_up_with(bool is_private, struct heap *spare, uint32_t magazine_bytes)
{
	heap_area_begin(1);
	heap_area.magazine_bytes = magazine_bytes;
	area_pool = heap_area_pool(1, is_private);
	atomic_store(&area_pool->bins[BIN].size, BYTES);
	user = heap_new(area_pool, spare);
	EXPECT(user);
}

static void set_up(bool is_private, struct heap *spare)
{
	set_up_with(is_private, spare, 0);
}

static void tear_down(void)
{
	heap_area_retire(user);
	EXPECT_EQ(heap_area_use().objects, 0);
	heap_area_close(area_pool);
	heap_area_end();
}

/* Objects of the user's bin, freed by a heap that has never used it. Without owner: the slabs
 * become its own by that. */
static void freed_by_another(bool is_private, bool has_owner)
{
	struct heap *other;

	set_up(is_private, NULL);
	take_all(user, BIN);
	EXPECT_EQ(user->nr_bins, BIN + 1);
	if (!has_owner) {
		heap_area_retire(user);
		user = heap_new(area_pool, NULL);
	}
	other = heap_new(area_pool, NULL);
	EXPECT_EQ(other->nr_bins, SLAB_SIZE_CLASSES);
	give_all(other);
	EXPECT(other->nr_bins == BIN + 1 || !is_private);
	EXPECT(other->nr_bins == BIN + 1 || has_owner);
	take_all(other, BIN);
	give_all(other);
	heap_area_retire(other);
	tear_down();
}

static void another_frees(void)
{
	freed_by_another(true, true);
	freed_by_another(false, true);
}

static void nobodys_slabs(void)
{
	freed_by_another(true, false);
	freed_by_another(false, false);
}

static void bulk_begins(void)
{
	void *objects[32];

	set_up(false, NULL);
	EXPECT_EQ(heap_area_bulk(user, BIN, 32, objects), 32);
	EXPECT_EQ(user->nr_bins, BIN + 1);
	heap_area_free_bulk(user, objects, 32);
	EXPECT_EQ(heap_pool_validate(area_pool), 0);
	tear_down();
}

/* What a bulk call freed comes back from the magazine, last first, as with single calls. */
static void bulk_through_the_magazine(void)
{
	enum { FEW = 8 };
	void *objects[FEW], *again[FEW];

	set_up_with(true, NULL, MAGAZINE_BYTES);
	EXPECT_EQ(heap_area_bulk(user, BIN, FEW, objects), FEW);
	heap_enter(user);
	heap_flush_magazine(user, BIN);
	heap_leave(user);
	heap_area_free_bulk(user, objects, FEW);
	EXPECT_EQ(user->magazines[BIN]->top - user->magazines[BIN]->slots, FEW);
	EXPECT_EQ(heap_pool_validate(area_pool), 0);
	EXPECT_EQ(heap_area_alloc(user, BIN), (uintptr_t)objects[FEW - 1]);
	EXPECT_EQ(heap_area_bulk(user, BIN, FEW - 1, again), FEW - 1);
	for (int i = 0; i < FEW - 1; i++)
		EXPECT(again[i] == objects[FEW - 2 - i]);
	heap_area_free(user, (uintptr_t)objects[FEW - 1]);
	heap_area_free_bulk(user, again, FEW - 1);
	tear_down();
}

/* What the magazine has no room for goes to the slabs and counts as a burst, which empties it. */
static void bulk_bursts(void)
{
	enum { MANY = MAGAZINE_BURST + 2 * MAGAZINE_OBJECTS, SMALL = 16 };
	unsigned int bin = size_bin(SMALL);
	void **objects = calloc(MANY, sizeof(*objects));

	EXPECT(objects);
	set_up_with(true, NULL, MAGAZINE_BYTES);
	EXPECT_EQ(heap_area_bulk(user, bin, MANY, objects), MANY);
	heap_area_free_bulk(user, objects, MANY);
	EXPECT(user->magazines[bin] != &magazine_none);
	EXPECT_EQ(user->magazines[bin]->spilled, MAGAZINE_BURST);
	EXPECT(!magazine_has_any(user, bin));
	EXPECT_EQ(heap_pool_validate(area_pool), 0);
	EXPECT_EQ(heap_area_bulk(user, bin, MANY, objects), MANY);
	heap_area_free_bulk(user, objects, MANY);
	free(objects);
	tear_down();
}

static void made_ahead(void)
{
	struct heap *spare = heap_ahead();

	EXPECT(spare);
	heap_pool_prepare();
	heap_pool_prepare(); /* one at most */
	set_up(true, spare);
	EXPECT(user == spare);
	take_all(user, size_bin(BYTES));
	give_all(user);
	take_all(user, BIN);
	give_all(user);
	tear_down();
	heap_free(heap_ahead()); /* nobody wanted it */
}

static const struct test_case cases[] = {
	{ "who frees another's object has its bin", another_frees },
	{ "who adopts a slab by a free has its bin", nobodys_slabs },
	{ "a bulk call begins a bin", bulk_begins },
	{ "bulk calls go through the magazine", bulk_through_the_magazine },
	{ "a bulk call may be a burst", bulk_bursts },
	{ "a heap that was made ahead is like any other", made_ahead },
};
TEST_MAIN(cases)
