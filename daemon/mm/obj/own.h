/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own - frames of pool 0, the daemon's own memory
 *
 * Purpose     Slabs and large objects take their frames here, from the buddies of pool 0's zones,
 *             past the pagesets: any thread may, and nothing is cached that a count would miss.
 * Invariants  W1  never waits for somebody to free: a zone that is too small grows out of the
 *                 stock, or the call fails at once. So whoever gives memory back may allocate.
 *             W2  a block has no owner but the daemon: session and pool are 0.
 * Locking     zone->lock and zone->grow inside; the caller holds nothing of rank PCP or inner.
 * Not here    Frames of clients' pools (balance/alloc.h).
 */
#ifndef MMB_MM_OBJ_OWN_H
#define MMB_MM_OBJ_OWN_H

#include "mm/phys/gfp.h"
#include "mm/phys/zone.h"

/* Gives node `node` its zone of pool 0; NULL takes it away. One thread, before the first slab. */
void own_set_zone(int node, struct zone *zone);
/* NULL: none on that node. */
struct zone *own_zone(int node);
/* Whether there is a struct page of pool 0 behind a pfn, which may be any number. */
bool own_has_pfn(uint64_t pfn);

/* 2^order frames, nearest node first; *from is the node of the table that gave them. gfp: NOWAIT
 * and ATOMIC don't grow, ATOMIC may use what is kept for it, THISNODE stays on the node; contents
 * undefined but for ZERO. NULL: none. */
struct page *own_alloc(int node, unsigned int order, uint32_t gfp, int *from);
void own_free(struct page *page, unsigned int order);
/* Frames present in pool 0. */
uint64_t own_present(void);

#endif
