/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run - objects above 256 KiB up to 4 MiB: units of their own
 *
 * Purpose     A run is a span of units with one object. A heap keeps the few it freed last, so
 *             that a pair costs no lock and no message.
 * Invariants  U1  The header of a run's first unit is SLAB_RUN while the object lives; who turns
 *                 it into SLAB_NONE has freed it. So a second free is always found.
 *             U2  The owner of its units is the shelf of the process that took them, which says
 *                 nothing about who may free it; who frees it becomes the owner of all of them
 *                 before anything else. So a dead process's units that nobody uses are known by
 *                 their owner and by a first unit that is no run.
 * Locking     none for what a heap keeps; see stock.h for the rest.
 */
#ifndef MMB_LIBCLIENT_HEAP_RUN_H
#define MMB_LIBCLIENT_HEAP_RUN_H

#include "heap/heap.h"

enum { RUN_BYTES_MAX = SLAB_UNITS_MAX * SLAB_UNIT_BYTES };

/* The thread, between enter and leave. `align` is a power of two. 0: no memory, with a sentence. */
/* One that the heap keeps, of that size; false: there is none. */
bool run_take_kept(struct heap *h, size_t size, uint64_t *address);
uint64_t run_alloc(struct heap *h, size_t size, size_t align);
/* What the heap keeps goes to the stock. */
void run_drop_kept(struct heap *h);
/* Of any process of the pool. s is the header of its first unit. */
void run_free(struct heap *h, struct slab_header *s, uint64_t address);
/* To more units, in a private pool: with units of the stock behind it, or with such before it, and
 * its contents moved down. So vectors that grow in turns don't leave holes too small for the next.
 * The address; 0: neither is free, and nothing is changed. */
uint64_t run_grow(struct heap *h, struct slab_header *s, uint64_t address, size_t size);

#endif
