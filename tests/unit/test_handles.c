/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_handles - numbers that mean one thing, or nothing
 */
#include "client/handles.h"

#include "base/types.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"

enum { MANY = 5000, INDEX_MASK = HANDLE_MAX - 1 };

static int objects[MANY];
static uint32_t numbers[MANY];

static void begin(struct handles *h)
{
	phys_start(&(struct phys_setup){ .base_mib = 64, .objects = true });
	handles_init(h);
}

static void end(struct handles *h)
{
	handles_fini(h);
	phys_stop();
}

static void a_handle_means_its_object(void)
{
	struct handles h;

	begin(&h);
	for (int i = 0; i < MANY; i++) {
		numbers[i] = handles_add(&h, &objects[i]);
		EXPECT(numbers[i] != 0); /* H1 */
	}
	EXPECT_EQ(h.nr_used, MANY);
	for (int i = 0; i < MANY; i++)
		EXPECT(handles_get(&h, numbers[i]) == &objects[i]);
	for (int i = 0; i < MANY; i++)
		EXPECT(handles_del(&h, numbers[i]) == &objects[i]);
	EXPECT_EQ(h.nr_used, 0);
	end(&h);
}

static void stale_handles_are_nobody(void)
{
	struct handles h;
	uint32_t old, fresh;

	begin(&h);
	old = handles_add(&h, &objects[0]);
	EXPECT(handles_del(&h, old) == &objects[0]);
	EXPECT(handles_get(&h, old) == NULL);
	EXPECT(handles_del(&h, old) == NULL);
	fresh = handles_add(&h, &objects[1]); /* in the same slot */
	EXPECT(fresh != old);
	EXPECT_EQ(fresh & INDEX_MASK, old & INDEX_MASK);
	EXPECT(handles_get(&h, old) == NULL);
	EXPECT(handles_get(&h, fresh) == &objects[1]);
	end(&h);
}

static void serials_wrap_without_zero(void)
{
	struct handles h;
	uint32_t first, now;

	begin(&h);
	first = handles_add(&h, &objects[0]);
	handles_del(&h, first);
	for (uint32_t i = 1; i < 1u << (32 - HANDLE_INDEX_BITS); i++) {
		now = handles_add(&h, &objects[0]);
		EXPECT(now >> HANDLE_INDEX_BITS != 0);
		EXPECT(handles_get(&h, 0) == NULL);
		handles_del(&h, now);
	}
	end(&h);
}

static void invented_handles_are_nobody(void)
{
	uint64_t random = test_seed();
	struct handles h;

	begin(&h);
	EXPECT(handles_get(&h, 0) == NULL);
	EXPECT(handles_get(&h, 1 << HANDLE_INDEX_BITS) == NULL);
	for (int i = 0; i < 100; i++)
		numbers[i] = handles_add(&h, &objects[i]);
	for (int i = 0; i < 20000; i++) {
		uint32_t guess = (uint32_t)test_random(&random);
		bool known = false;

		for (int j = 0; j < 100; j++)
			known |= numbers[j] == guess;
		EXPECT_EQ(handles_get(&h, guess) != NULL, known);
	}
	EXPECT(handles_get(&h, 0) == NULL);
	EXPECT(handles_get(&h, UINT32_MAX) == NULL);
	end(&h);
}

static void a_walk_finds_each_once_and_may_delete(void)
{
	struct handles h;
	uint32_t cursor = 0, handle;
	unsigned int nr = 0;

	begin(&h);
	EXPECT(handles_next(&h, &cursor, &handle) == NULL);
	for (int i = 0; i < 100; i++)
		numbers[i] = handles_add(&h, &objects[i]);
	for (int i = 0; i < 100; i += 3)
		handles_del(&h, numbers[i]);
	cursor = 0;
	while (handles_next(&h, &cursor, &handle)) {
		EXPECT(handles_del(&h, handle) != NULL);
		nr++;
	}
	EXPECT_EQ(nr, 66);
	EXPECT_EQ(h.nr_used, 0);
	end(&h);
}

static void there_is_an_end(void)
{
	struct handles h;
	uint32_t last = 0;

	begin(&h);
	for (uint32_t i = 0; i < HANDLE_MAX; i++) {
		last = handles_add(&h, &objects[0]);
		if (!last)
			EXPECT_EQ(i, HANDLE_MAX);
	}
	EXPECT_EQ(handles_add(&h, &objects[1]), 0);
	EXPECT(handles_del(&h, last) == &objects[0]);
	EXPECT(handles_add(&h, &objects[1]) != 0);
	end(&h);
}

static const struct test_case cases[] = {
	{ "a handle means its object", a_handle_means_its_object },
	{ "a stale handle is refused, its slot used again or not", stale_handles_are_nobody },
	{ "serials wrap and no handle is 0 (H1)", serials_wrap_without_zero },
	{ "invented handles are refused", invented_handles_are_nobody },
	{ "a walk finds each once, and may delete", a_walk_finds_each_once_and_may_delete },
	{ "there is an end to handles", there_is_an_end },
};
TEST_MAIN(cases)
