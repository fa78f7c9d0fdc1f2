/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objtable - chunks cut into slots, one free list
 *
 * Locking     table->lock for list and counts; a chunk is made without it, since that may wait.
 */
#include "mm/obj/objtable.h"

#include <stdlib.h>
#include <string.h>

#include "base/inject.h"

/* Stands before each object. */
struct objtable_slot {
	struct objtable_slot *next;
	uint64_t live;
};

static void *chunk_from_heap(void)
{
	return calloc(1, OBJTABLE_CHUNK_BYTES);
}

void *(*objtable_new_chunk)(void) = chunk_from_heap;
void (*objtable_free_chunk)(void *chunk) = free;

void objtable_init(struct objtable *table, const char *name, size_t bytes)
{
	*table = (struct objtable){ .name = name };
	table->bytes = round_up(sizeof(struct objtable_slot) + bytes, 16);
	table->per_chunk = OBJTABLE_CHUNK_BYTES / table->bytes;
	CHECK(table->per_chunk > 0);
	mutex_init(&table->lock, RANK_LEAF, name);
}

/* Without the lock, since making a chunk may wait for memory. Two threads may both add one. */
static int grow(struct objtable *table)
{
	char *chunk = INJECT(HEAP) ? NULL : objtable_new_chunk();

	if (!chunk)
		return -1;
	mutex_lock(&table->lock);
	if (table->nr_chunks == OBJTABLE_CHUNKS) {
		mutex_unlock(&table->lock);
		objtable_free_chunk(chunk);
		return -1;
	}
	table->chunks[table->nr_chunks++] = chunk;
	for (uint32_t i = table->per_chunk; i-- > 0;) {
		struct objtable_slot *slot = (void *)(chunk + i * table->bytes);

		slot->live = 0;
		slot->next = table->free;
		table->free = slot;
	}
	mutex_unlock(&table->lock);
	return 0;
}

void *objtable_alloc(struct objtable *table)
{
	struct objtable_slot *slot;

	do {
		mutex_lock(&table->lock);
		slot = table->free;
		if (slot) {
			table->free = slot->next;
			slot->live = 1;
			table->nr_live++;
		}
		mutex_unlock(&table->lock);
	} while (!slot && !grow(table));
	if (!slot)
		return NULL;
	memset(slot + 1, 0, table->bytes - sizeof(*slot));
	return slot + 1;
}

void objtable_free(struct objtable *table, void *object)
{
	struct objtable_slot *slot = (struct objtable_slot *)object - 1;

	mutex_lock(&table->lock);
	CHECK(slot->live);
	slot->live = 0;
	slot->next = table->free;
	table->free = slot;
	table->nr_live--;
	mutex_unlock(&table->lock);
}

uint64_t objtable_live(struct objtable *table)
{
	uint64_t nr;

	mutex_lock(&table->lock);
	nr = table->nr_live;
	mutex_unlock(&table->lock);
	return nr;
}

void objtable_validate(struct objtable *table, struct validation *v)
{
	uint64_t nr_free = 0;

	mutex_lock(&table->lock);
	for (struct objtable_slot *slot = table->free; slot; slot = slot->next) {
		validation_expect(v, !slot->live, "table %s: a live object is on the free list",
				  table->name);
		nr_free++;
	}
	validation_compare(v, (uint64_t)table->nr_chunks * table->per_chunk - nr_free,
			   table->nr_live, "table %s: live objects", table->name);
	mutex_unlock(&table->lock);
}
