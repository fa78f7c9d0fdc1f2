/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page - what is known of each 2 MiB page that ranges lie in, by address
 *
 * Purpose     Tells mmb_free() whose an address is without a lock, finds the object at an address,
 *             and remembers which memory is known to be zero. Two levels: the root is in the
 *             library, a leaf describes 16 GiB and stays once it was needed.
 * Invariants  P1  freed_ms is 0 while nothing that was in use has been freed in the page since it
 *                 was created or emptied: what is free in it is zero and has no memory of its own
 *                 but what a neighbour's object touched.
 *             P2  object is the one that holds the page's first byte. An object is longer than a
 *                 page, so that it holds the first byte of some page.
 * Locking     heap is written under its heap's lock and read without. freed_ms is written under
 *             the lock; the thread that has just allocated may read it without: others only ever
 *             raise it from 0 then, in the pages that it shares with its neighbours.
 */
#ifndef MMB_LIBCLIENT_RANGES_PAGE_H
#define MMB_LIBCLIENT_RANGES_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

struct extent;
struct range_heap;

#define RANGE_PAGE_SHIFT 21
#define RANGE_PAGE       (1ull << RANGE_PAGE_SHIFT)

/* a: atomic   l: the heap's lock */
struct range_page {
	_Atomic(struct range_heap *) heap;     /* (a) NULL: no range lies here */
	_Atomic uint32_t             freed_ms; /* (a) P1; when something was freed here last */
	struct extent               *object;   /* (l) P2; NULL: none */
};

/* NULL: there was never a range near the address. */
struct range_page *range_page(uint64_t address);
/* The pages of a span exist from now on; 0 or -ENOMEM. */
int range_pages_make(uint64_t address, uint64_t length);
void range_pages_own(uint64_t address, uint64_t length, struct range_heap *heap);

static inline uint64_t range_page_up(uint64_t n)
{
	return (n + RANGE_PAGE - 1) & ~(RANGE_PAGE - 1);
}

static inline uint64_t range_page_down(uint64_t n)
{
	return n & ~(RANGE_PAGE - 1);
}

#endif
