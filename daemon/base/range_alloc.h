/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range_alloc - address-ordered allocator of disjoint ranges, first fit, lowest address
 *
 * Purpose     Hands out parts of one span of numbers (pfns, addresses, slots). The record of a
 *             range is embedded in what the range is for, so allocating needs no memory, freeing
 *             can't fail and free neighbours are one gap by construction.
 * Invariants  A1  busy ranges are disjoint and inside [start, end).
 *             A2  gap is the free room between a range and the one before it (or the span's
 *                 start); max_gap is the largest gap in its subtree.
 *             A3  nr_free + the lengths of all ranges is end - start.
 * Locking     none; the owner's lock.
 * After       The augmented tree of address space gaps in Linux 3.8 to 6.0 (mm/mmap.c).
 */
#ifndef MMB_BASE_RANGE_ALLOC_H
#define MMB_BASE_RANGE_ALLOC_H

#include "base/rbtree.h"

struct range {
	struct rb_node node;
	uint64_t       start, length; /* length 0: not allocated */
	uint64_t       gap, max_gap;  /* A2 */
};

struct range_alloc {
	struct rb_root root;
	uint64_t       start, end;
	uint64_t       nr_free;
	uint64_t       nr_ranges;
};

void range_alloc_init(struct range_alloc *ra, uint64_t start, uint64_t end);

/* Lowest place for length units whose start is a multiple of align (any number above 0).
 * Fills *r. -ENOSPC: no gap is large enough; -EINVAL: length or align is 0. */
int range_alloc(struct range_alloc *ra, struct range *r, uint64_t length, uint64_t align);
/* The same, within [low, high) only. */
struct range_request {
	uint64_t length, align, low, high;
};
int range_alloc_within(struct range_alloc *ra, struct range *r, const struct range_request *want);
/* Exactly [start, start + length). -EEXIST: a part is taken; -EINVAL: outside the span. */
int range_alloc_at(struct range_alloc *ra, struct range *r, uint64_t start, uint64_t length);
/* Gives an allocated range back; r->length becomes 0. */
void range_free(struct range_alloc *ra, struct range *r);

/* The range that contains `at`, or NULL. */
struct range *range_find(const struct range_alloc *ra, uint64_t at);
/* The first range that ends above `at`, or NULL: starts a walk over [at, ...). */
struct range *range_find_from(const struct range_alloc *ra, uint64_t at);
struct range *range_next(const struct range *r);

void range_alloc_validate(const struct range_alloc *ra, struct validation *v);

#endif
