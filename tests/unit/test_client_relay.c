/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_relay - objects that one thread frees and another takes, over plain memory
 *
 * Not here    Threads at the same time (test_client_heap_threads.c), random operations
 *             (tests/model/test_heap_model.c).
 */
#include "heap/relay.h"

#include "lib/heap_area.h"
#include "lib/test.h"

enum { SIZE = 64, MANY = 1000, LARGE = 2048 };

static struct heap_pool *pool;
static struct heap *producer, *consumer;
static uint64_t objects[MANY];

static struct heap *new_heap(void)
{
	struct heap *made = heap_new(pool, NULL);

	EXPECT(made);
	return made;
}

static void begin(bool is_private)
{
	heap_area_begin(1);
	heap_area.magazine_bytes = MAGAZINE_BYTES;
	pool = heap_area_pool(1, is_private);
	producer = new_heap();
	consumer = new_heap();
}

static void end(void)
{
	heap_area_retire(producer);
	heap_area_retire(consumer);
	heap_pool_trim(pool);
	heap_pool_trim(pool);
	EXPECT_EQ(heap_area_use().objects, 0);
	heap_area_close(pool);
	heap_area_end();
}

static void take(unsigned int size, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++) {
		objects[i] = heap_area_alloc(producer, size_bin(size));
		EXPECT(objects[i]);
		*(uint64_t *)(uintptr_t)objects[i] = ~objects[i];
	}
}

static void give(uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++) {
		EXPECT_EQ(*(uint64_t *)(uintptr_t)objects[i], ~objects[i]);
		heap_area_free(consumer, objects[i]);
	}
	EXPECT_EQ(heap_pool_validate(pool), 0);
}

static void hand_on(unsigned int size)
{
	uint64_t carved;
	uint32_t nr = 3 * MAGAZINE_OBJECTS;

	take(size, nr);
	give(nr);
	EXPECT(relay_has_any(pool, size_bin(size)));
	/* What is on its way serves the producer, and nothing new does. */
	while (magazine_has_any(producer, size_bin(size)))
		EXPECT(heap_area_alloc(producer, size_bin(size)));
	carved = producer->counts.carved;
	for (int i = 0; relay_has_any(pool, size_bin(size)); i++)
		EXPECT(i < MANY && heap_area_alloc(producer, size_bin(size)));
	EXPECT_EQ(producer->counts.carved, carved);
	EXPECT_EQ(heap_pool_validate(pool), 0);
}

static void overflow_is_handed_on(void)
{
	begin(true);
	hand_on(SIZE);
	hand_on(LARGE);
	/* The objects taken there are lost to this test. */
	heap_area_kill(pool);
}

static void again_and_again(void)
{
	uint64_t leased = 0;

	begin(true);
	for (int round = 0; round < 60; round++) {
		take(SIZE, MANY);
		give(MANY);
		if (round == 10)
			leased = heap_area.nr_leased;
	}
	EXPECT(heap_area.nr_leased <= leased);
	end();
}

/* More than there is room for goes to the slabs, and all of it once nobody takes it. */
static void nobody_takes(void)
{
	begin(true);
	take(SIZE, MANY);
	give(MANY);
	EXPECT(relay_has_any(pool, size_bin(SIZE)) && !relay_has_room(pool, size_bin(SIZE)));
	EXPECT(heap_pool_tick(pool));
	EXPECT(relay_has_any(pool, size_bin(SIZE)));
	for (int i = 0; i < 10; i++)
		heap_pool_tick(pool);
	EXPECT(!relay_has_any(pool, size_bin(SIZE)));
	EXPECT_EQ(heap_area_use().objects, 0);
	EXPECT_EQ(heap_area.nr_leased, 0);
	end();
}

/* Threads that have ended leave it to the next one, or to a visit. */
static void threads_end(void)
{
	begin(true);
	take(SIZE, MANY);
	give(MANY);
	heap_area_retire(producer);
	heap_area_retire(consumer);
	EXPECT(relay_has_any(pool, size_bin(SIZE)));
	EXPECT_EQ(heap_pool_validate(pool), 0);
	for (int i = 0; i < 10; i++)
		heap_pool_tick(pool);
	EXPECT_EQ(heap_area.nr_leased, 0);
	producer = new_heap();
	consumer = new_heap();
	end();
}

/* What a dead process had there would be lost to the others. */
static void shared_pools_have_none(void)
{
	begin(false);
	take(SIZE, MANY);
	give(MANY);
	EXPECT(!relay_has_any(pool, size_bin(SIZE)));
	end();
}

static const struct test_case cases[] = {
	{ "what overflows a magazine is handed on to who allocates", overflow_is_handed_on },
	{ "a producer and a consumer need no more memory with time", again_and_again },
	{ "what nobody takes goes back", nobody_takes },
	{ "what threads leave that end goes back", threads_end },
	{ "shared pools hand nothing on", shared_pools_have_none },
};
TEST_MAIN(cases)
