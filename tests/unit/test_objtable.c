/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_objtable - objects of one size, type-stable
 */
#include "mm/obj/objtable.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/inject.h"
#include "lib/test.h"

enum { BYTES = 100, MANY = 2000, NR_THREADS = 3, ROUNDS = 300 };

static struct objtable table;
static void *objects[MANY];

static void begin(void)
{
	objtable_init(&table, "test", BYTES);
}

static void expect_valid(void)
{
	struct validation v = { 0 };

	objtable_validate(&table, &v);
	EXPECT(v.nr_checked > 0);
	EXPECT_EQ(v.nr_differences, 0);
}

static void end(void)
{
	expect_valid();
	for (uint32_t i = 0; i < table.nr_chunks; i++)
		objtable_free_chunk(table.chunks[i]);
	mutex_fini(&table.lock);
}

static bool is_zero(const char *object)
{
	for (int i = 0; i < BYTES; i++)
		if (object[i])
			return false;
	return true;
}

static void objects_are_zeroed_and_apart(void)
{
	begin();
	for (int i = 0; i < MANY; i++) {
		objects[i] = objtable_alloc(&table);
		EXPECT(objects[i] && is_zero(objects[i]));
		EXPECT(is_aligned((uintptr_t)objects[i], 16));
		memset(objects[i], i & 0xff, BYTES);
	}
	EXPECT_EQ(objtable_live(&table), MANY);
	EXPECT_EQ(table.nr_chunks, (MANY + table.per_chunk - 1) / table.per_chunk);
	expect_valid();
	for (int i = 0; i < MANY; i++) {
		EXPECT_EQ(*(unsigned char *)objects[i], i & 0xff);
		EXPECT_EQ(((unsigned char *)objects[i])[BYTES - 1], i & 0xff);
		objtable_free(&table, objects[i]);
	}
	EXPECT_EQ(objtable_live(&table), 0);
	end();
}

static void memory_stays_with_the_table(void)
{
	void *first, *again;

	begin();
	first = objtable_alloc(&table);
	memset(first, 0xff, BYTES);
	objtable_free(&table, first);
	again = objtable_alloc(&table);
	EXPECT(again == first);
	EXPECT(is_zero(again));
	EXPECT_EQ(table.nr_chunks, 1);
	objtable_free(&table, again);
	end();
}

static void no_memory_is_no_object(void)
{
	void *object;

	begin();
	inject_arm(INJECT_HEAP, 1, -ENOMEM);
	EXPECT(objtable_alloc(&table) == NULL);
	inject_arm(INJECT_HEAP, 0, 0);
	EXPECT_EQ(table.nr_chunks, 0);
	expect_valid();
	object = objtable_alloc(&table);
	EXPECT(object != NULL);
	objtable_free(&table, object);
	end();
}

static void full_tables_refuse(void)
{
	void **large = calloc(OBJTABLE_CHUNKS + 1, sizeof(*large));

	objtable_init(&table, "large", OBJTABLE_CHUNK_BYTES - 16);
	EXPECT_EQ(table.per_chunk, 1);
	for (int i = 0; i < OBJTABLE_CHUNKS; i++) {
		large[i] = objtable_alloc(&table);
		EXPECT(large[i] != NULL);
	}
	EXPECT(objtable_alloc(&table) == NULL);
	objtable_free(&table, large[5]);
	EXPECT(objtable_alloc(&table) == large[5]);
	for (int i = 0; i < OBJTABLE_CHUNKS; i++)
		objtable_free(&table, large[i]);
	free(large);
	end();
}

static void *come_and_go(void *unused)
{
	void *mine[20];

	for (int round = 0; round < ROUNDS; round++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(mine); i++) {
			mine[i] = objtable_alloc(&table);
			EXPECT(is_zero(mine[i]));
			memset(mine[i], 0xee, BYTES);
		}
		for (unsigned int i = 0; i < ARRAY_SIZE(mine); i++)
			objtable_free(&table, mine[i]);
	}
	return unused;
}

static void threads_share_a_table(void)
{
	pthread_t threads[NR_THREADS];

	begin();
	for (int i = 0; i < NR_THREADS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(objtable_live(&table), 0);
	end();
}

static const struct test_case cases[] = {
	{ "objects are zeroed, aligned and don't touch each other", objects_are_zeroed_and_apart },
	{ "freed memory is only ever an object of the same table again",
	  memory_stays_with_the_table },
	{ "without memory there is no object, and nothing changes (O1)", no_memory_is_no_object },
	{ "a table has an end", full_tables_refuse },
	{ "threads share a table", threads_share_a_table },
};
TEST_MAIN(cases)
