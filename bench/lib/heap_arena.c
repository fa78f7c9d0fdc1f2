/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap_arena - a shared arena behind one mutex
 *
 * Purpose     The simplest thing that works between processes: a list of free objects for each
 *             multiple of 16 bytes, the rest of the mapping as stock, and a pthread_mutex around
 *             it all. Plain pointers, since the mapping is older than the processes.
 * Invariants  H1  the word before an object holds its class.
 * Locking     mutex guards everything.
 */
#include "lib/shared_heap.h"

enum { GRAIN = 16, CLASSES = 4096 / GRAIN, HEADER = 16 };

struct free_object {
	struct free_object *next;
};

struct heap_arena {
	pthread_mutex_t     mutex;
	struct free_object *free[CLASSES + 1];
	char               *stock, *end;
};

static void *arena_make(const char *socket)
{
	struct heap_arena *arena = shared_map(SHARED_HEAP_BYTES);

	if (arena == NULL)
		return NULL;
	shared_mutex_init(&arena->mutex);
	arena->end = (char *)arena + SHARED_HEAP_BYTES;
	arena->stock = (char *)arena + (sizeof(*arena) + GRAIN - 1) / GRAIN * GRAIN;
	return arena;
}

static void *arena_take(void *heap, size_t bytes)
{
	struct heap_arena *arena = heap;
	size_t class = (bytes + GRAIN - 1) / GRAIN;
	char *at = NULL;

	if (class > CLASSES)
		return NULL;
	pthread_mutex_lock(&arena->mutex);
	if (arena->free[class] != NULL) {
		at = (char *)arena->free[class];
		arena->free[class] = arena->free[class]->next;
	} else if (class * GRAIN + HEADER <= (size_t)(arena->end - arena->stock)) {
		at = arena->stock + HEADER;
		arena->stock = at + class * GRAIN;
		((uint64_t *)at)[-1] = class;
	}
	pthread_mutex_unlock(&arena->mutex);
	return at;
}

static void arena_give(void *heap, void *at)
{
	struct heap_arena *arena = heap;
	struct free_object *object = at;
	size_t class = ((uint64_t *)at)[-1];

	pthread_mutex_lock(&arena->mutex);
	object->next = arena->free[class];
	arena->free[class] = object;
	pthread_mutex_unlock(&arena->mutex);
}

const struct shared_heap shared_heap_arena = { "arena", arena_make, shared_attach_same, arena_take,
					       arena_give };
