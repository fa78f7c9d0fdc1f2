/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ranges - ranges/: objects above 4 MiB in chunks of plain memory
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lib/range_fixture.h"
#include "lib/test.h"

#define MIB (1ull << 20)

static struct range_fixture f;

static void an_object_is_found_and_only_where_it_begins(void)
{
	uint64_t a, b;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 5 * MIB);
	b = range_fixture_alloc(&f, 7 * MIB + 1);
	EXPECT(a && b);
	EXPECT(range_heap_find(a) == f.heap && range_heap_find(b + 7 * MIB) == f.heap);
	EXPECT_EQ(range_heap_length(f.heap, a), 5 * MIB);
	EXPECT_EQ(range_heap_length(f.heap, b), 7 * MIB + RANGE_STEP);
	EXPECT_EQ(range_heap_length(f.heap, b + 64), 0);
	EXPECT_EQ(range_heap_put(f.heap, a + 16), RANGE_INSIDE);
	EXPECT_EQ(range_heap_put(f.heap, a + 3 * MIB), RANGE_INSIDE);
	EXPECT_EQ(range_heap_put(f.heap, b + 7 * MIB), RANGE_INSIDE);
	EXPECT_EQ(range_heap_put(f.heap, a), RANGE_OBJECT);
	EXPECT_EQ(range_heap_put(f.heap, a), RANGE_NOTHING);
	EXPECT_EQ(range_heap_put(f.heap, a + 3 * MIB), RANGE_NOTHING);
	EXPECT_EQ(range_heap_put(f.heap, b), RANGE_OBJECT);
	EXPECT(!range_heap_find(UINT64_MAX) && !range_heap_find(0));
	range_fixture_stop(&f);
}

static void the_heap_grows_by_what_is_missing_at_its_end(void)
{
	uint64_t a, b;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 5 * MIB);
	EXPECT_EQ(f.bytes, 6 * MIB);
	b = range_fixture_alloc(&f, 5 * MIB);
	EXPECT_EQ(b, a + 5 * MIB);
	EXPECT_EQ(f.bytes, 10 * MIB);
	EXPECT_EQ(range_heap_validate(f.heap), 0);
	f.nothing_adjacent = true;
	b = range_fixture_alloc(&f, 5 * MIB);
	EXPECT(b && b != a + 10 * MIB);
	EXPECT_EQ(f.bytes, 16 * MIB);
	range_fixture_stop(&f);
}

static void what_was_freed_is_used_first(void)
{
	uint64_t a[4];

	range_fixture_start(&f);
	for (int i = 0; i < 4; i++)
		a[i] = range_fixture_alloc(&f, (8 + 2 * (unsigned int)i) * MIB);
	EXPECT_EQ(range_heap_put(f.heap, a[0]), RANGE_OBJECT);
	EXPECT_EQ(range_heap_put(f.heap, a[2]), RANGE_OBJECT);
	EXPECT_EQ(range_fixture_alloc(&f, 11 * MIB), a[2]);
	EXPECT_EQ(range_fixture_alloc(&f, 6 * MIB), a[0]);
	EXPECT_EQ(f.bytes, 44 * MIB);
	range_fixture_stop(&f);
}

static bool is_zero(const char *p, size_t bytes)
{
	return !p[0] && !memcmp(p, p + 1, bytes - 1);
}

/* Free chunks go where the heap would have much more than it needed, and their places come into
 * use again where less is missing there than at the end. */
static void a_heap_that_grows_gives_back_what_is_free(void)
{
	uint64_t a, b, c;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 16 * MIB);
	b = range_fixture_alloc(&f, 18 * MIB);
	c = range_fixture_alloc(&f, 16 * MIB);
	memset((void *)(uintptr_t)b, 1, 18 * MIB);
	EXPECT_EQ(range_heap_put(f.heap, b), RANGE_OBJECT);
	/* 50 + 24, of which 56 and a sixteenth may be: 14.5 MiB are closed, in chunks of 4. */
	EXPECT_EQ(range_fixture_alloc(&f, 24 * MIB), c + 16 * MIB);
	EXPECT_EQ(f.bytes, (50 + 24 - 16) * MIB);
	EXPECT_EQ(range_heap_validate(f.heap), 0);
	EXPECT_EQ(range_fixture_alloc(&f, 18 * MIB), b);
	EXPECT(is_zero((void *)(uintptr_t)b, 16 * MIB));
	EXPECT_EQ(f.bytes, (50 + 24) * MIB);
	EXPECT_EQ(range_heap_validate(f.heap), 0);
	/* Room for this one is there, whatever is closed. */
	EXPECT_EQ(range_heap_put(f.heap, a), RANGE_OBJECT);
	EXPECT_EQ(range_fixture_alloc(&f, 12 * MIB), a);
	range_fixture_stop(&f);
}

static void alignment_is_kept(void)
{
	uint64_t object;

	range_fixture_start(&f);
	EXPECT(range_fixture_alloc(&f, 5 * MIB) != 0);
	for (uint64_t align = 16; align <= RANGE_PAGE; align *= 2) {
		const struct range_request r = { .size = 5 * MIB, .align = align };

		EXPECT_EQ(range_heap_alloc(f.heap, &r, &object), 0);
		EXPECT_EQ(object % align, 0);
		EXPECT_EQ(range_heap_validate(f.heap), 0);
	}
	range_fixture_stop(&f);
}

static void zeros_are_zeros_whatever_was_there(void)
{
	const struct range_request r = { .size = 9 * MIB + 123, .zero = true };
	uint64_t a, b;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 5 * MIB);
	memset((void *)(uintptr_t)a, 0x55, 5 * MIB);
	EXPECT_EQ(range_heap_put(f.heap, a), RANGE_OBJECT);
	/* Begins in what was used, ends in what wasn't. */
	EXPECT_EQ(range_heap_alloc(f.heap, &r, &b), 0);
	EXPECT_EQ(a, b);
	EXPECT(is_zero((void *)(uintptr_t)b, r.size));
	memset((void *)(uintptr_t)b, 0x55, r.size);
	EXPECT_EQ(range_heap_put(f.heap, b), RANGE_OBJECT);
	EXPECT_EQ(range_heap_alloc(f.heap, &r, &b), 0);
	EXPECT(is_zero((void *)(uintptr_t)b, r.size));
	range_fixture_stop(&f);
}

static void free_memory_goes_back_after_a_second_and_not_before(void)
{
	uint64_t a, b, c;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 6 * MIB);
	b = range_fixture_alloc(&f, 5 * MIB);
	c = range_fixture_alloc(&f, 9 * MIB);
	memset((void *)(uintptr_t)c, 1, 9 * MIB);
	EXPECT_EQ(range_heap_put(f.heap, a), RANGE_OBJECT);
	EXPECT_EQ(range_heap_put(f.heap, c), RANGE_OBJECT);
	EXPECT_EQ(f.nr_kicks, 1);
	f.now_ms += RANGE_IDLE_MS - 1;
	EXPECT(range_heap_tick(f.heap));
	EXPECT_EQ(f.bytes, 20 * MIB);
	f.now_ms += 1;
	/* The chunks of a, and of c but for the page it shares with b. */
	EXPECT(!range_heap_tick(f.heap));
	EXPECT_EQ(f.bytes, 6 * MIB);
	EXPECT_EQ(range_heap_validate(f.heap), 0);
	EXPECT(!range_heap_tick(f.heap));
	EXPECT_EQ(range_heap_put(f.heap, b), RANGE_OBJECT);
	EXPECT_EQ(f.nr_kicks, 2);
	range_heap_trim(f.heap, 0);
	EXPECT_EQ(f.bytes, 0);
	range_fixture_stop(&f);
}

static void pages_of_a_chunk_in_use_are_emptied(void)
{
	uint64_t a;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 20 * MIB);
	memset((void *)(uintptr_t)a, 1, 20 * MIB);
	EXPECT(range_heap_resize(f.heap, a, 5 * MIB));
	EXPECT_EQ(range_heap_length(f.heap, a), 5 * MIB);
	f.fail_empty = true;
	range_heap_trim(f.heap, 0);
	EXPECT_EQ(range_heap_validate(f.heap), 0);
	f.fail_empty = false;
	f.now_ms += RANGE_IDLE_MS;
	EXPECT(!range_heap_trim(f.heap, RANGE_IDLE_MS));
	/* Once when it failed, once when not; the other chunks were closed. */
	EXPECT_EQ(f.heap->counts.pages_emptied, 2);
	EXPECT_EQ(f.bytes, 8 * MIB);
	EXPECT(is_zero((void *)(uintptr_t)(a + 6 * MIB), 2 * MIB));
	EXPECT_EQ(*(char *)(uintptr_t)(a + 5 * MIB), 1);
	EXPECT_EQ(range_heap_validate(f.heap), 0);
	/* Grows into it again. */
	EXPECT(range_heap_resize(f.heap, a, 8 * MIB));
	EXPECT(!range_heap_resize(f.heap, a, 8 * MIB + 1));
	EXPECT(!range_heap_resize(f.heap, a, MIB));
	range_fixture_stop(&f);
}

static void the_limit_is_an_error_and_what_is_freed_can_be_had(void)
{
	uint64_t a, b = 0;
	struct range_request r = { .size = 17 * MIB };

	range_fixture_start(&f);
	f.limit = 16 * MIB;
	a = range_fixture_alloc(&f, 16 * MIB);
	EXPECT(a != 0);
	EXPECT_EQ(range_heap_alloc(f.heap, &r, &b), -ENOMEM);
	EXPECT_EQ(f.bytes, 16 * MIB);
	f.limit = 40 * MIB;
	r.size = 25 * MIB;
	EXPECT_EQ(range_heap_alloc(f.heap, &r, &b), -ENOMEM);
	EXPECT_EQ(f.bytes, 16 * MIB); /* what could be made of it is gone again */
	f.limit = 16 * MIB;
	r.size = SIZE_MAX - 5;
	EXPECT_EQ(range_heap_alloc(f.heap, &r, &b), -ENOMEM);
	r.size = PTRDIFF_MAX;
	EXPECT_EQ(range_heap_alloc(f.heap, &r, &b), -ENOMEM);
	EXPECT_EQ(range_heap_put(f.heap, a), RANGE_OBJECT);
	EXPECT_EQ(range_fixture_alloc(&f, 16 * MIB), a);
	range_fixture_stop(&f);
}

static void a_closed_heap_is_found_nowhere(void)
{
	uint64_t a;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 16 * MIB);
	range_heap_close(f.heap);
	EXPECT(!range_heap_find(a) && !range_heap_find(a + 8 * MIB));
	range_heap_trim(f.heap, 0);
	range_fixture_stop(&f);
}

/* ---- threads ---- */

enum { THREADS = 4, THREAD_STEPS = 1500, HELD = 4 };

static void *allocate_and_free(void *arg)
{
	uint64_t state = test_seed() + (uintptr_t)arg, held[HELD] = { 0 };

	for (int i = 0; i < THREAD_STEPS; i++) {
		uint64_t *slot = &held[test_below(&state, HELD)], mark = (uintptr_t)slot + 1;
		struct range_request r = { .size = 4 * MIB + test_below(&state, 8 * MIB),
					   .zero = test_below(&state, 64) == 0 };

		if (*slot && (*(uint64_t *)(uintptr_t)*slot != mark ||
			      range_heap_put(f.heap, *slot) != RANGE_OBJECT))
			return "an object wasn't what it was";
		if (range_heap_alloc(f.heap, &r, slot))
			return "no memory";
		*(uint64_t *)(uintptr_t)*slot = mark;
	}
	for (int i = 0; i < HELD; i++)
		if (held[i])
			range_heap_put(f.heap, held[i]);
	return NULL;
}

enum { THEFTS_MAX = 32 };
static uint64_t stolen[THEFTS_MAX];
static unsigned int nr_stolen;

/* As another thread, which needs no chunk for it. */
static void steal(void)
{
	EXPECT(nr_stolen < THEFTS_MAX);
	stolen[nr_stolen] = range_fixture_alloc(&f, 4 * MIB);
	EXPECT(stolen[nr_stolen++]);
}

/* Whenever the heap has grown by what is missing, others have a part of the rest. */
static void who_is_always_too_late_gets_a_chunk_of_its_own(void)
{
	uint64_t a, b;

	range_fixture_start(&f);
	a = range_fixture_alloc(&f, 4 * MIB);
	b = range_fixture_alloc(&f, 8 * MIB);
	EXPECT_EQ(range_heap_put(f.heap, b), RANGE_OBJECT);
	nr_stolen = 0;
	f.on_create = steal;
	b = range_fixture_alloc(&f, 12 * MIB);
	f.on_create = NULL;
	EXPECT(b && nr_stolen > 1);
	EXPECT_EQ(range_heap_put(f.heap, a), RANGE_OBJECT);
	EXPECT_EQ(range_heap_put(f.heap, b), RANGE_OBJECT);
	while (nr_stolen)
		EXPECT_EQ(range_heap_put(f.heap, stolen[--nr_stolen]), RANGE_OBJECT);
	range_fixture_stop(&f);
}

static void threads_share_a_heap_that_gives_back(void)
{
	pthread_t threads[THREADS];
	void *why;

	range_fixture_start(&f);
	for (uintptr_t i = 0; i < THREADS; i++)
		EXPECT(!pthread_create(&threads[i], NULL, allocate_and_free, (void *)i));
	for (int i = 0; i < 200; i++) {
		f.now_ms += 100;
		range_heap_trim(f.heap, i % 4 ? 300 : 0);
	}
	for (int i = 0; i < THREADS; i++) {
		EXPECT(!pthread_join(threads[i], &why));
		EXPECT(!why);
	}
	f.now_ms += 2 * RANGE_IDLE_MS;
	EXPECT(!range_heap_trim(f.heap, RANGE_IDLE_MS));
	EXPECT_EQ(f.bytes, 0);
	range_fixture_stop(&f);
}

static const struct test_case cases[] = {
	{ "an object is found, and only where it begins",
	  an_object_is_found_and_only_where_it_begins },
	{ "the heap grows by what is missing at its end",
	  the_heap_grows_by_what_is_missing_at_its_end },
	{ "what was freed is used first, what fits best of it", what_was_freed_is_used_first },
	{ "a heap that grows gives back what is free", a_heap_that_grows_gives_back_what_is_free },
	{ "alignment up to 2 MiB is kept", alignment_is_kept },
	{ "zeros are zeros, whatever was there", zeros_are_zeros_whatever_was_there },
	{ "free memory goes back after a second, and not before",
	  free_memory_goes_back_after_a_second_and_not_before },
	{ "free pages of a chunk in use are emptied", pages_of_a_chunk_in_use_are_emptied },
	{ "the limit is an error, and what is freed can be had",
	  the_limit_is_an_error_and_what_is_freed_can_be_had },
	{ "a closed heap is found nowhere", a_closed_heap_is_found_nowhere },
	{ "who is too late for each part of the heap gets a chunk of its own",
	  who_is_always_too_late_gets_a_chunk_of_its_own },
	{ "threads share a heap that gives back", threads_share_a_heap_that_gives_back },
};
TEST_MAIN(cases)
