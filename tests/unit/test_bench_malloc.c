/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bench_malloc - what the suite malloc compares with, and counts with
 *
 * Purpose     heap_arena.c and heap_offset.c against a plain array of objects; kernel_calls.c.
 */
#include <string.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/kernel_calls.h"
#include "lib/shared_heap.h"
#include "lib/test.h"

enum { OBJECTS = 500, STEPS = 100000, LARGEST = 4000, ROOM = 1 << 16 };

struct object {
	unsigned char *at;
	size_t         bytes;
};

static bool holds(const struct object *o, unsigned char byte)
{
	for (size_t i = 0; i < o->bytes; i++) {
		if (o->at[i] != byte)
			return false;
	}
	return true;
}

/* Every object keeps its own bytes, so none overlaps another. Leaves nothing allocated. */
static void objects_stay_apart(const struct shared_heap *heap, void *made)
{
	static struct object objects[OBJECTS];
	uint64_t state = test_seed();

	for (unsigned int step = 0; step < STEPS; step++) {
		unsigned int i = (unsigned int)test_below(&state, OBJECTS);
		struct object *o = &objects[i];

		if (o->at == NULL) {
			o->bytes = 1 + test_below(&state, test_below(&state, LARGEST) + 1);
			o->at = heap->take(made, o->bytes);
			EXPECT(o->at != NULL);
			EXPECT_EQ((uintptr_t)o->at % 16, 0);
			memset(o->at, (int)i, o->bytes);
		} else {
			EXPECT(holds(o, (unsigned char)i));
			heap->give(made, o->at);
			o->at = NULL;
		}
	}
	for (unsigned int i = 0; i < OBJECTS; i++) {
		if (objects[i].at != NULL)
			heap->give(made, objects[i].at);
		objects[i].at = NULL;
	}
}

static void arena_keeps_objects_apart(void)
{
	void *made = shared_heap_arena.make(NULL);

	objects_stay_apart(&shared_heap_arena, made);
	EXPECT(shared_heap_arena.take(made, SHARED_HEAP_BYTES) == NULL);
}

static void offset_heap_is_whole_again(void)
{
	void *made = shared_heap_offset.make(NULL), *all;

	objects_stay_apart(&shared_heap_offset, made);
	EXPECT(shared_heap_offset.take(made, SHARED_HEAP_BYTES) == NULL);
	all = shared_heap_offset.take(made, SHARED_HEAP_BYTES - ROOM);
	EXPECT(all != NULL);
	EXPECT(shared_heap_offset.take(made, ROOM) == NULL);
	shared_heap_offset.give(made, all);
	EXPECT(shared_heap_offset.take(made, SHARED_HEAP_BYTES - ROOM) != NULL);
}

static void a_call_counts_once_each_time_it_is_armed(void)
{
	pid_t parent = getppid();

	if (kernel_calls_begin() != 0)
		SKIP(bench_reason());
	kernel_calls_arm();
	for (unsigned int i = 0; i < 3; i++)
		parent -= getppid() - parent; /* zero, and the call happens */
	kernel_calls_arm();
	kernel_calls_arm();
	EXPECT_EQ(kernel_calls_end(), 1);
	EXPECT_EQ(parent, getppid());
}

static const struct test_case cases[] = {
	{ "the arena keeps objects apart", arena_keeps_objects_apart },
	{ "the offset heap keeps objects apart and merges them", offset_heap_is_whole_again },
	{ "a system call counts once each time it is armed",
	  a_call_counts_once_each_time_it_is_armed },
};

int main(int argc, char **argv)
{
	if (bench_init() != 0)
		return 1;
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
