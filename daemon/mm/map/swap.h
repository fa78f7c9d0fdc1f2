/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap - slots of swap areas: numbers, counts, clusters, records
 *
 * Purpose     A slot is 4 KiB of an area and has a 32-bit number: 3 bits of area, 29 of index.
 *             Index 0 is the area's header, so that no slot is 0. Slots are handed out so that what
 *             is written together lies together (a cursor walks through an empty cluster) and what
 *             is near by address stays near (a hint is obeyed if the slot is free).
 * Invariants  W1  a slot's count is the number of page words that name it; it may be given again
 *                 when that is 0. A page of 2 MiB names the first of 512 adjoining slots, each of
 *                 which it counts in.
 *             W2  a retired slot has count SLOT_BAD until its area goes.
 *             W3  nr_used of a cluster is the number of its slots whose count isn't 0, retired
 *                 ones apart; nr_used of an area is the sum over its clusters.
 *             W4  records (checksum, generation) are authoritative; counts and clusters are
 *                 derived: swap_claim() for each word that names a slot restores them.
 * Locking     area->lock (RANK_SWAP) for clusters and counts; a slot's record belongs to whoever
 *             holds BUSY of the page whose contents it has.
 * Not here    Files and I/O (balance/swap_area.h, swap_io.h), which pages to evict (balance).
 */
#ifndef MMB_MAP_SWAP_H
#define MMB_MAP_SWAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/types.h"
#include "mm/phys/meta.h"

enum {
	SLOT_NONE = 0,
	SLOT_INDEX_BITS = 29,
	SWAP_AREAS_MAX = META_SWAP_AREAS,
	CLUSTER_SLOTS = PAGEBLOCK_PAGES,
	SLOT_BAD = 0xffff,       /* count of a retired slot */
	SLOT_COUNT_MAX = 0xfffe, /* of any other */
};

static inline uint32_t slot_make(uint32_t area, uint32_t index)
{
	return area << SLOT_INDEX_BITS | index;
}

static inline uint32_t slot_area(uint32_t slot)
{
	return slot >> SLOT_INDEX_BITS;
}

static inline uint32_t slot_index(uint32_t slot)
{
	return slot & ((1u << SLOT_INDEX_BITS) - 1);
}

/* In the metadata file, by slot. No padding: 0.3 % of the area. */
struct slot_record {
	uint32_t         sum[2];     /* checksum of what was written last: low, high */
	uint16_t         generation; /* grows with each writing */
	_Atomic uint16_t count;      /* W1, W2; derived */
};

static_assert(sizeof(struct slot_record) == SLOT_RECORD_BYTES, "records are dense");
static_assert(CLUSTER_SLOTS * 2 * sizeof(struct slot_record) % PAGE_SIZE == 0,
	      "two clusters' records fill whole pages");

enum { SWAP_CLASSES = 4, CLUSTER_WORDS = CLUSTER_SLOTS / 64 };

/* In the metadata file, by area and cluster; derived. l: the area's lock */
struct swap_cluster {
	uint64_t         taken[CLUSTER_WORDS]; /* (l) one bit a slot: its count isn't 0 */
	struct list_head link;                 /* (l) of area->empty or ->partial[] */
	uint16_t         nr_used;              /* (l) W3 */
	uint16_t         nr_taken;             /* (l) bits: used, retired, header, past end */
	bool             owned;                /* (l) a cursor's, and on no list */
	bool             written;              /* (l) some of it was given away since the start */
	bool             huge;                 /* (l) one page has all of it */
	uint8_t          padding[128 - CLUSTER_SLOTS / 8 - 23];
};

static_assert(sizeof(struct swap_cluster) == SWAP_CLUSTER_BYTES, "clusters don't straddle pages");

/* One reclaiming thread's place; zero is a good beginning. */
struct swap_cursor {
	uint32_t area, cluster; /* where it is while `holds` */
	uint32_t serial;        /* of the area, which may have gone meanwhile */
	bool     holds;
};

struct swap_area_request {
	uint64_t nr_slots; /* with the header; 2 .. swap_slots_max() */
	int16_t  priority; /* higher is filled first; equal ones in order of number */
	bool     resumed;  /* the area `number`, with its records; see swap_claim() */
	uint32_t number;
};

struct swap_area_stat {
	uint64_t nr_slots; /* with the header */
	uint64_t nr_used, nr_bad;
	uint64_t nr_empty; /* clusters */
	int16_t  priority;
	bool     accepting; /* new slots come from here */
};

/* Once, after meta_init(). */
void swap_init(void);
/* No area is left. */
void swap_fini(void);
/* Most slots an area may have. */
uint64_t swap_slots_max(void);

/* A new area, all free, accepting nothing until swap_area_accept(). Charges its tables. -ENOSPC:
 * SWAP_AREAS_MAX exist; -EINVAL: size; -EBUSY: resumed twice; -ENOMEM: tables. */
int swap_area_add(const struct swap_area_request *request, uint32_t *area);
/* Nobody names its slots. */
void swap_area_remove(uint32_t area);
void swap_area_accept(uint32_t area, bool accept);
/* False: no such area. */
bool swap_area_stat(uint32_t area, struct swap_area_stat *out);

/* Slots of accepting areas that aren't retired, and those of them that are free. Any time. */
uint64_t swap_capacity(void);
uint64_t swap_free_slots(void);
/* How many of `slots` may be promised. When every frame and every slot is in use, no page can come
 * in: it needs a frame, whose page needs a slot. A 32nd is kept for that, and 8 MiB at least where
 * that isn't more than a quarter, which is rounded up. */
uint64_t swap_promisable(uint64_t slots);
/* The same to a pool that may use so many and has pages of 2 MiB: one is exchanged, and neither
 * what they leave over of the slots nor of its memory is of use to another. */
uint64_t swap_promisable_beside_huge(uint64_t slots);
/* The same for pages of 2 MiB: in clusters that are empty, or theirs already. So many of them are
 * kept from small pages as stocks have promised. */
uint64_t swap_promisable_huge(void);

/* Up to `nr` adjoining free slots, each with count 1: at `hint` if that one is free (SLOT_NONE: no
 * wish), else where the cursor is, else where most is free. Returns the first and sets *got, or
 * SLOT_NONE: none is free. A run doesn't cross a cluster. */
uint32_t swap_alloc(struct swap_cursor *cursor, uint32_t nr, uint32_t hint, uint32_t *got);
/* A whole cluster for a 2 MiB page; SLOT_NONE: none is empty. */
uint32_t swap_alloc_huge(struct swap_cursor *cursor);
/* What the cursor holds is others' again. */
void swap_cursor_put(struct swap_cursor *cursor);
/* One more word names each of the nr slots. -EOVERFLOW: one has SLOT_COUNT_MAX already, none was
 * raised; the caller makes a copy of the contents. */
int swap_dup(uint32_t slot, uint32_t nr);
/* One word less. */
void swap_free(uint32_t slot, uint32_t nr);
/* As swap_free, of slots that can't be written: with their last word they are retired, not given
 * again. Returns how many were retired at once. */
uint32_t swap_retire(uint32_t slot, uint32_t nr);
/* Words that name the slot; 0 also for numbers that no area has. */
uint32_t swap_count(uint32_t slot);
/* Of a slot that a word names: what is in it may be relied on. False: its area is to go, or its
 * disk has failed. */
bool swap_stays(uint32_t slot);

/* At resume: no area of that number comes back, and its tables go. */
void swap_forget(uint32_t area);
/* At resume, before anybody takes slots: a word names nr slots. -EINVAL: there are no such slots,
 * or too many words name one. */
int swap_claim(uint32_t slot, uint32_t nr);

/* Of a slot of an area that exists. */
struct slot_record *swap_record(uint32_t slot);

void swap_validate(struct validation *v);

#endif
