/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extents - the memory of a range heap in address order, and its free parts by size
 *
 * Purpose     Best fit among free extents, memory that was used before first, then that which
 *             lies lowest. Sizes are in steps of RANGE_STEP; free extents are kept in bins an
 *             eighth of a doubling apart: finding one costs a look at bitmaps and, in each of one
 *             or two bins, at EXTENT_LOOKS extents, or more as long as none of them fits.
 * Invariants  X1  Extents don't overlap and lie in address order. Two free ones never touch.
 *             X2  A free extent is in the bin of its length, among the used ones if a page that it
 *                 touches has freed_ms. An object and an extent that is away are in no bin.
 *             X3  The pages of an object name it (P2 of page.h).
 * Locking     the heap's lock.
 * Not here    Where memory comes from and goes to (range_heap.c).
 */
#ifndef MMB_LIBCLIENT_RANGES_EXTENTS_H
#define MMB_LIBCLIENT_RANGES_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ranges/page.h"

#define RANGE_STEP (64ull << 10)

enum {
	EXTENT_SUBBINS_SHIFT = 3,
	EXTENT_BINS = 256, /* 47 bits of address, less 16 of the step, 8 a doubling: 240 */
	EXTENT_LOOKS = 64,
};

enum extent_state {
	EXTENT_FREE,
	EXTENT_OBJECT,
	EXTENT_AWAY, /* whoever holds the heap's work lock has it */
};

/* l: the heap's lock */
struct extent {
	TAILQ_ENTRY(extent) order;   /* (l) */
	LIST_ENTRY(extent)  bin;     /* (l) X2 */
	uint64_t            address; /* (l) */
	uint64_t            length;  /* (l) */
	enum extent_state   state;   /* (l) */
	bool                used;    /* (l) X2 */
};
LIST_HEAD(extent_bin, extent);
TAILQ_HEAD(extent_order, extent);

struct extents {
	struct extent_order order;                       /* (l) */
	struct extent_bin   bins[2][EXTENT_BINS];        /* (l) [used] */
	uint64_t            filled[2][EXTENT_BINS / 64]; /* (l) bins that aren't empty */
};

/* What is looked for; both multiples of RANGE_STEP. */
struct extent_want {
	uint64_t length, align;
};

void extents_init(struct extents *x);
/* Memory that came: [address, address + length) touches no extent's inside. */
void extents_add(struct extents *x, struct extent *e);
/* An object, or NULL. What is left over of a free extent goes back. */
struct extent *extents_take(struct extents *x, const struct extent_want *want);
/* An object's end, or an absentee's return: free again, and one with free neighbours. */
void extents_put(struct extents *x, struct extent *e);
/* Free to away. */
void extents_hide(struct extents *x, struct extent *e);
/* Parts an object or absentee in two at an offset; the second part, or NULL: no memory. */
struct extent *extents_split(struct extents *x, struct extent *e, uint64_t offset);
/* An object or absentee, or what is left of it, is no more. */
void extents_del(struct extents *x, struct extent *e);
/* An object gets another length: the tail is freed, or the free extent behind it is used.
 * False: it can't. */
bool extents_resize(struct extents *x, struct extent *e, uint64_t length);
/* The heap's object that has the address, which is the heap's; NULL: none. */
struct extent *extents_find(const struct range_heap *heap, uint64_t address);
/* Marks all pages of a span as freed in. */
void extents_stamp(uint64_t address, uint64_t length, uint32_t now_ms);
/* How many invariants don't hold. */
uint32_t extents_validate(const struct extents *x);

static inline uint64_t extent_end(const struct extent *e)
{
	return e->address + e->length;
}

#endif
