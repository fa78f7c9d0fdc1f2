/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_cache - caches as a whole, between the files of the allocator
 *
 * Purpose     Geometry, walks over all caches, and what they ask of one.
 * Locking     slab_for_each() holds the list of caches (RANK_CACHES).
 */
#ifndef MMB_MM_OBJ_SLUB_CACHE_H
#define MMB_MM_OBJ_SLUB_CACHE_H

#include "mm/obj/slub.h"

/* Order of a cache's slabs for objects of that size with their surroundings. */
uint32_t slub_calculate_order(uint32_t size, uint32_t nr_cpus);

void slab_for_each(void (*fn)(struct kmem_cache *s, void *arg), void *arg);
/* Gives back the slabs of the nodes' lists that are empty; returns how many. */
uint64_t shrink_nodes(struct kmem_cache *s);
/* The slabs of the list belong to a copy of their cache from now on. */
void move_slabs(struct kmem_cache_node *n, struct kmem_cache *to);
/* Figures as the kernel counts them: objects on CPUs' lists count as live. */
void slab_info(struct kmem_cache *s, struct slabinfo *out);

int  kmalloc_init(void);
void kmalloc_fini(void);

#endif
