/* SPDX-License-Identifier: Apache-2.0 */
/*
 * figures - what a pool's heaps hold, counted
 *
 * Purpose     Walks the slab map: the slabs of all clients of the pool, with an owner or without.
 *             The rest is of this process.
 * Invariants  F1  Nothing of another client is believed: figures are clamped to what a slab holds.
 *             F2  Owners go on working: a figure is right for some moment of each slab.
 * Locking     heap_pool.lock for this process's heaps.
 */
#ifndef MMB_LIBCLIENT_HEAP_FIGURES_H
#define MMB_LIBCLIENT_HEAP_FIGURES_H

#include "heap/heap.h"

struct heap_bin_figures {
	uint64_t objects, capacity, slabs, bytes; /* objects: in use; bytes: of the slabs */
	uint32_t size;                            /* bytes of an object */
};

struct heap_figures {
	struct heap_bin_figures bins[SLAB_BINS];
	uint64_t runs, run_bytes;
	uint64_t stock_bytes, leases, gives; /* of this process, as are the following */
	uint64_t heaps, shelf;
	struct heap_counts counts;
};

void heap_pool_figures(struct heap_pool *hp, struct heap_figures *out);

#endif
