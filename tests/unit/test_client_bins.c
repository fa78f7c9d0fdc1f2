/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_bins - bins of typed caches begin when they are used, and a heap may be made ahead
 *
 * Not here    What heaps do with bins that have begun (test_client_heap.c).
 */
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

static void set_up(bool is_private, struct heap *spare)
{
	heap_area_begin(1);
	area_pool = heap_area_pool(1, is_private);
	atomic_store(&area_pool->bins[BIN].size, BYTES);
	user = heap_new(area_pool, spare);
	EXPECT(user);
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
	{ "a heap that was made ahead is like any other", made_ahead },
};
TEST_MAIN(cases)
