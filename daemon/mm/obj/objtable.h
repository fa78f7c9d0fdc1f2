/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objtable - objects of one size, in chunks of the daemon's own memory
 *
 * Purpose     Long-lived objects live in the metadata arena at fixed addresses, so that pointers
 *             between them outlast a crash. Memory is type-stable: a freed object's memory is
 *             only ever reused for an object of the same table.
 * Invariants  O1  nr_live + length of the free list = nr_chunks * per_chunk.
 * Locking     table->lock, a leaf.
 * Not here    Slabs with per-CPU lists: the daemon's objects come and go rarely.
 */
#ifndef MMB_OBJ_OBJTABLE_H
#define MMB_OBJ_OBJTABLE_H

#include "base/check.h"
#include "base/lock.h"
#include "base/types.h"

enum { OBJTABLE_CHUNKS = 1024, OBJTABLE_CHUNK_BYTES = 64 << 10 };

struct objtable_slot;

/* c: fixed after init   l: lock */
struct objtable {
	const char *name;   /* (c) */
	size_t bytes;       /* (c) of one object, rounded up */
	uint32_t per_chunk; /* (c) */
	struct mutex lock;
	struct objtable_slot *free;    /* (l) */
	uint64_t nr_live;              /* (l) */
	uint32_t nr_chunks;            /* (l) */
	void *chunks[OBJTABLE_CHUNKS]; /* (l) */
};

/* Where chunks come from; unit tests leave it at the heap. Zeroed, OBJTABLE_CHUNK_BYTES long. */
extern void *(*objtable_new_chunk)(void);
extern void (*objtable_free_chunk)(void *chunk);

void objtable_init(struct objtable *table, const char *name, size_t bytes);
/* Zeroed. NULL: no memory, or OBJTABLE_CHUNKS chunks are full. */
void *objtable_alloc(struct objtable *table);
void objtable_free(struct objtable *table, void *object);
uint64_t objtable_live(struct objtable *table);
void objtable_validate(struct objtable *table, struct validation *v);

#endif
