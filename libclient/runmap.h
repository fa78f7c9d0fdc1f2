/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runmap - what this process knows about the page runs of one pool
 *
 * Purpose     One state byte a page of the pool's arena, set at a run's first page: handed to the
 *             application, kept in a cache of ours, or nothing of ours. So a double free, a wrong
 *             order and an address inside a run are found without asking the daemon.
 * Invariants  R1  The byte is not RUN_NONE only at the first page of a run this process owns.
 *             R2  A window, once added, stays where it is until runmap_fini().
 *             R3  Whoever turns OUT into CACHED owns the run. The byte is changed without a locked
 *                 instruction, so two threads freeing one run in the same nanoseconds may both
 *                 win; the daemon finds that when the run comes back twice.
 *             R4  A window that isn't open has no bytes and no run: most processes have objects
 *                 only. Runs are granted in open ones alone.
 * Locking     runmap_add: the caller's. Everything else: none.
 * Not here    Where runs are kept (magazine.c), what is done about a bad free (pages.c).
 */
#ifndef MMB_LIBCLIENT_RUNMAP_H
#define MMB_LIBCLIENT_RUNMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { RUNMAP_WINDOWS = 64, CLIENT_PAGE_SHIFT = 12, CLIENT_PAGE_SIZE = 1 << CLIENT_PAGE_SHIFT };

/* c: fixed after runmap_add   a: atomic */
struct runmap_window {
	uint64_t         base;     /* (c) */
	uint64_t         nr_pages; /* (c) */
	_Atomic(_Atomic uint8_t *) states; /* (a) as are its bytes; reserved whole, populated on
					    * use; NULL: R4 */
};
struct runmap {
	_Atomic uint32_t     nr; /* (a) windows in use, published by release */
	struct runmap_window windows[RUNMAP_WINDOWS];
};

enum run_verdict {
	RUN_OK,
	RUN_OUTSIDE,     /* not an address of this pool */
	RUN_FOREIGN,     /* of this pool, and not a run of this process */
	RUN_MISALIGNED,  /* can't be the start of any run of this order */
	RUN_FREED,       /* this process has freed it already */
	RUN_WRONG_ORDER, /* it is a run of another order */
	RUN_INTERIOR     /* it lies inside a run of this process */
};

struct run_fault {
	enum run_verdict verdict;
	uint64_t         head;  /* WRONG_ORDER, INTERIOR: the run that is there */
	unsigned int     order; /* and its order */
};

/* There must be room: one of at most RUNMAP_WINDOWS. */
void runmap_add(struct runmap *map, uint64_t base, uint64_t length);
/* R4: before runs are asked for; a negative errno with its sentence. */
int runmap_open(struct runmap *map);
void runmap_fini(struct runmap *map);
/* Whether exactly that is a window. */
bool runmap_has(const struct runmap *map, uint64_t base, uint64_t length);
/* Whether the whole run lies in one window. */
bool runmap_covers(const struct runmap *map, uint64_t address, unsigned int order);

/* The daemon granted the run: it goes to a cache. False: it is ours already. */
bool runmap_grant(struct runmap *map, uint64_t address, unsigned int order);
/* From a cache to the application. */
void runmap_take(struct runmap *map, uint64_t address, unsigned int order);
/* From the application to a cache; anything but RUN_OK changes nothing. */
enum run_verdict runmap_give(struct runmap *map, uint64_t address, unsigned int order);
/* From a cache to the daemon. */
void runmap_forget(struct runmap *map, uint64_t address);
/* Why runmap_give() refused, in full. */
struct run_fault runmap_explain(const struct runmap *map, uint64_t address, unsigned int order);

#endif
