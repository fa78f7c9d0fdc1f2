/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap - where zones and sections are kept
 *
 * Purpose     They are objects of the daemon like others, and lie on a floor below the one that
 *             makes objects. Until that one is up (obj/slab.h) they come from libc, as a kernel's
 *             first ones come from memblock.
 * Not here    Pagesets, which outlive their zones, and any heap (pcp.c).
 * Invariants  E1  an object goes back to where it came from, whoever is asked meanwhile.
 * Locking     none: the heap is set by one thread while nobody allocates.
 */
#ifndef MMB_MM_PHYS_HEAP_H
#define MMB_MM_PHYS_HEAP_H

#include <stddef.h>

enum { PHYS_HEAP_ALIGN = 128 };

struct phys_heap {
	void *(*alloc)(size_t bytes); /* zeroed, aligned to itself if it is a power of two */
	void (*free)(void *object);
};

/* NULL: libc's. */
void phys_heap_set(const struct phys_heap *heap);
/* Zeroed; aligned to PHYS_HEAP_ALIGN if it isn't smaller. NULL: no memory. */
void *phys_alloc(size_t bytes);
void phys_free(void *object);

#endif
