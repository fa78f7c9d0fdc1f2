/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swapper - what a thread needs to move pages between a region and its slots
 *
 * Purpose     A queue for I/O, a place in the areas, and room for the pages of one batch. Too big
 *             for a stack; threads keep theirs between batches, until they have had nothing to do
 *             for a while.
 * Invariants  S1  a swapper is one thread's, since its ring is; the thread uses it for one purpose
 *                 at a time.
 * Locking     none.
 */
#ifndef MMB_SPACE_SWAPPER_H
#define MMB_SPACE_SWAPPER_H

#include <time.h>

#include "mm/balance/swap_io.h"
#include "mm/map/swap.h"
#include "mm/space/region.h"

enum {
	SWAPPER_PAGES = 512,       /* of one batch */
	SWAPPER_BYTES = 64 * 1024, /* looked at together */
};

enum swap_fate {
	FATE_GIVEN_UP, /* stays as it was */
	FATE_DIRTY,    /* to be written */
	FATE_COPIED,   /* its slot has what it holds */
	FATE_SAME,     /* one value over and over */
	FATE_LAZY,     /* its contents are not wanted */
	FATE_BUSY,     /* the page is ours */
};

struct swap_item {
	uint64_t page;
	uint64_t word;  /* as it was when the page was chosen */
	uint32_t value; /* slot, or what SAME repeats */
	enum swap_fate fate;
	bool ahead;   /* nobody has asked for it */
	bool watched; /* and it stays unmapped until somebody does: crowd.h */
};

/* Writers have room for large requests, readers are many. */
enum swapper_kind { SWAPPER_READER, SWAPPER_WRITER, NR_SWAPPER_KINDS };

struct swap_work {
	uint32_t nr, nr_io;
	struct swap_item items[SWAPPER_PAGES];
	struct swap_page io[SWAPPER_PAGES];
	uint32_t io_item[SWAPPER_PAGES]; /* whose page io[i] is */
	struct swap_batch batch;         /* of io; what is evicted */
	uint64_t moves;                  /* the region's, when it began */
};

struct swapper {
	enum swapper_kind kind;
	bool in_use;
	struct page_range questions[MAPPED_RUNS_MAX]; /* of a writer: what clients are asked for */
	uint32_t nr_questions;
	bool needed;               /* of a writer: somebody waits for what it frees */
	struct swap_queue *queue;
	struct swap_cursor cursor;
	struct swap_work *w;       /* the one worked on */
	struct swap_work works[2]; /* of a writer one is being written while the other is begun */
	uint64_t bytes[SWAPPER_BYTES / sizeof(uint64_t)];
};

/* Whether the calling thread's swappers outlive their batches, until it says no. */
void swapper_keep(bool keep);
/* When who has had nothing to do until then gives them back: CLOCK_MONOTONIC. */
struct timespec swapper_keep_until(void);
/* Waits on a condition of condition_init() for something to do, and gives back what is kept when it
 * lasts: without the lock, so the caller looks again. */
void swapper_rest(struct mutex *lock, pthread_cond_t *wanted);
/* The calling thread's, until swapper_put(). NULL: no memory, or no descriptor for its ring. */
struct swapper *swapper_get(enum swapper_kind kind);
/* NULL, too, while the thread uses it. */
struct swapper *swapper_try_get(enum swapper_kind kind);
void swapper_put(struct swapper *s);
/* The request that moves the item's page from or to its slot. */
struct swap_page swapper_page(const struct region *region, const struct swap_item *item);

#endif
