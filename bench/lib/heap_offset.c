/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap_offset - a shared heap of offset pointers
 *
 * Purpose     What C++ programs do with a managed shared memory segment: blocks with boundary
 *             tags that merge with free neighbours, and free blocks linked by pointers that hold
 *             the distance to themselves, so that each process may map the segment elsewhere.
 *             Free blocks hang in bins by size, eight to each power of two; the first that fits
 *             is taken from the smallest bin that is sure to have one.
 * Invariants  O1  two neighbouring blocks are never both free.
 *             O2  a block's before is the size of the block below, 0 for the lowest one.
 *             O3  a bit of the map is set if its bin holds a block.
 * Locking     mutex guards everything.
 */
#include <stdbool.h>

#include "lib/shared_heap.h"

enum { GRAIN = 16, BINS = 64, STEPS = 8, SPLIT_BYTES = 64 };
#define IN_USE 1ull

/* Distance to what is meant from the pointer itself; 0: NULL. */
struct offset {
	int64_t distance;
};

struct block {
	uint64_t      before, size; /* with this header; IN_USE in size */
	struct offset next, previous; /* in its bin, while it is free */
};
enum { HEADER = 16 };

struct heap_offset {
	pthread_mutex_t mutex;
	uint64_t        map;
	struct offset   bins[BINS];
	struct block   *end; /* one grain that is in use for ever */
};

static struct block *offset_get(const struct offset *o)
{
	return o->distance != 0 ? (struct block *)((uintptr_t)o + (uintptr_t)o->distance) : NULL;
}

static void offset_set(struct offset *o, const struct block *to)
{
	o->distance = to != NULL ? (int64_t)((uintptr_t)to - (uintptr_t)o) : 0;
}

static struct block *block_above(struct block *b)
{
	return (struct block *)((char *)b + (b->size & ~IN_USE));
}

/* The bin of blocks of this size, 32 bytes at least. The last one holds all the larger ones. */
static unsigned int bin_of(uint64_t size)
{
	unsigned int top = 63 - (unsigned int)__builtin_clzll(size);
	unsigned int bin = (top - 5) * STEPS + (unsigned int)(size >> (top - 3)) % STEPS;

	return bin < BINS ? bin : BINS - 1;
}

static void bin_add(struct heap_offset *heap, struct block *b)
{
	unsigned int bin = bin_of(b->size);
	struct block *first = offset_get(&heap->bins[bin]);

	offset_set(&b->next, first);
	offset_set(&b->previous, NULL);
	if (first != NULL)
		offset_set(&first->previous, b);
	offset_set(&heap->bins[bin], b);
	heap->map |= 1ull << bin;
}

static void bin_del(struct heap_offset *heap, struct block *b)
{
	unsigned int bin = bin_of(b->size);
	struct block *next = offset_get(&b->next), *previous = offset_get(&b->previous);

	if (next != NULL)
		offset_set(&next->previous, previous);
	if (previous != NULL)
		offset_set(&previous->next, next);
	else
		offset_set(&heap->bins[bin], next);
	if (offset_get(&heap->bins[bin]) == NULL)
		heap->map &= ~(1ull << bin);
}

/* In its own bin a block may be too small; in those above none is. */
static struct block *find_fit(struct heap_offset *heap, uint64_t size)
{
	unsigned int bin = bin_of(size);
	struct block *b = offset_get(&heap->bins[bin]);
	uint64_t above = bin + 1 < BINS ? heap->map & ~0ull << (bin + 1) : 0;

	while (b != NULL && b->size < size)
		b = offset_get(&b->next);
	if (b == NULL && above != 0)
		b = offset_get(&heap->bins[__builtin_ctzll(above)]);
	return b;
}

static void *offset_take(void *made, size_t bytes)
{
	struct heap_offset *heap = made;
	uint64_t size = (bytes + HEADER + GRAIN - 1) / GRAIN * GRAIN;
	struct block *b;

	size = size < sizeof(*b) ? sizeof(*b) : size;
	pthread_mutex_lock(&heap->mutex);
	b = find_fit(heap, size);
	if (b != NULL) {
		bin_del(heap, b);
		if (b->size >= size + SPLIT_BYTES) {
			struct block *rest = (struct block *)((char *)b + size);

			rest->before = size;
			rest->size = b->size - size;
			block_above(rest)->before = rest->size;
			b->size = size;
			bin_add(heap, rest);
		}
		b->size |= IN_USE;
	}
	pthread_mutex_unlock(&heap->mutex);
	return b != NULL ? (char *)b + HEADER : NULL;
}

static bool is_free(const struct block *b)
{
	return (b->size & IN_USE) == 0;
}

static void offset_give(void *made, void *at)
{
	struct heap_offset *heap = made;
	struct block *b = (struct block *)((char *)at - HEADER), *above;

	pthread_mutex_lock(&heap->mutex);
	b->size &= ~IN_USE;
	above = block_above(b);
	if (is_free(above)) {
		bin_del(heap, above);
		b->size += above->size;
	}
	if (b->before != 0) {
		struct block *below = (struct block *)((char *)b - b->before);

		if (is_free(below)) {
			bin_del(heap, below);
			below->size += b->size;
			b = below;
		}
	}
	block_above(b)->before = b->size;
	bin_add(heap, b);
	pthread_mutex_unlock(&heap->mutex);
}

static void *offset_make(const char *socket)
{
	struct heap_offset *heap = shared_map(SHARED_HEAP_BYTES);
	struct block *all;
	uint64_t head = (sizeof(*heap) + GRAIN - 1) / GRAIN * GRAIN;

	if (heap == NULL)
		return NULL;
	shared_mutex_init(&heap->mutex);
	all = (struct block *)((char *)heap + head);
	all->size = SHARED_HEAP_BYTES - head - GRAIN;
	heap->end = block_above(all);
	heap->end->before = all->size;
	heap->end->size = GRAIN | IN_USE;
	bin_add(heap, all);
	return heap;
}

const struct shared_heap shared_heap_offset = { "offset", offset_make, shared_attach_same,
						offset_take, offset_give };
