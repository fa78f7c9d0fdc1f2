/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memblock - the boot-time allocator: which memory exists, and which of it is taken
 *
 * Purpose     Two sorted lists of ranges, `memory` and `reserved`. Until the buddy is up, an
 *             allocation is a search for a part of memory that isn't reserved, and a reservation.
 *             memblock_free_all() then hands everything that is left to the buddy. Interface and
 *             behaviour are those of Linux (mm/memblock.c), with the instance passed in.
 * Invariants  B1  the regions of a list are sorted, don't overlap and aren't empty.
 *             B2  neighbours that touch differ in node or flags (else they are one region).
 *             B3  total_size is the sum of the sizes.
 *             B4  address 0 is never allocated, so that 0 can mean failure.
 * Addresses   Bytes in the broker's physical address space (pfn << PAGE_SHIFT).
 * Locking     none: boot is one thread.
 * Not here    What is done with the pages afterwards (buddy).
 */
#ifndef MMB_MM_PHYS_MEMBLOCK_H
#define MMB_MM_PHYS_MEMBLOCK_H

#include "base/check.h"
#include "base/types.h"

enum memblock_flags {
	MEMBLOCK_NONE = 0,
	MEMBLOCK_HOTPLUG = 1, /* may go away again */
	MEMBLOCK_MIRROR = 2,  /* mirrored memory; preferred while any exists */
	MEMBLOCK_NOMAP = 4,   /* exists, but isn't in the direct map: never allocated or freed */
};

enum {
	INIT_MEMBLOCK_REGIONS = 128, /* the kernel's number; more live in memblock's own memory */
	NUMA_NO_NODE = -1,
};
#define MEMBLOCK_ALLOC_ANYWHERE UINT64_MAX
#define MEMBLOCK_ALLOC_ACCESSIBLE 0ULL /* as max_addr: up to current_limit */

struct memblock_region {
	uint64_t base, size;
	uint32_t flags; /* enum memblock_flags, or-ed */
	int32_t  nid;
};

static inline uint64_t memblock_region_end(const struct memblock_region *r)
{
	return r->base + r->size;
}

struct memblock_type {
	uint32_t                cnt, max;
	uint64_t                total_size; /* B3 */
	struct memblock_region *regions;
	uint64_t                regions_at; /* address of a list that has grown; 0: the first one */
	const char             *name;
};

typedef void *(*memblock_phys_to_virt_fn)(uint64_t address);

struct memblock {
	bool                     bottom_up;     /* direction of searches; top-down is usual */
	bool                     can_resize;    /* lists may grow into memory of their own */
	bool                     has_mirror;    /* a region was marked: prefer mirrored memory */
	uint64_t                 current_limit; /* end of what MEMBLOCK_ALLOC_ACCESSIBLE reaches */
	struct memblock_type     memory, reserved;
	memblock_phys_to_virt_fn phys_to_virt;
	struct memblock_region   memory_init[INIT_MEMBLOCK_REGIONS];
	struct memblock_region   reserved_init[INIT_MEMBLOCK_REGIONS];
};

/* Empty lists, top-down, no limit, fixed-size lists until memblock_allow_resize(). */
void memblock_init(struct memblock *mb, memblock_phys_to_virt_fn phys_to_virt);
/* From here on a full list doubles, allocated from memblock itself. */
void memblock_allow_resize(struct memblock *mb);
void memblock_set_bottom_up(struct memblock *mb, bool enable);
void memblock_set_current_limit(struct memblock *mb, uint64_t limit);

/* ---- the two lists. -ENOMEM: a list is full and can't grow; nothing has changed then. ---- */

int memblock_add(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_add_node(struct memblock *mb, uint64_t base, uint64_t size, int nid, uint32_t flags);
int memblock_remove(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_reserve(struct memblock *mb, uint64_t base, uint64_t size);
/* Ends a reservation, or a part of one. */
int memblock_free(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_set_node(struct memblock *mb, uint64_t base, uint64_t size, int nid);
int memblock_mark_hotplug(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_clear_hotplug(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_mark_mirror(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_mark_nomap(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_clear_nomap(struct memblock *mb, uint64_t base, uint64_t size);
/* Cuts the ends of every memory region to multiples of align (a power of two). */
void memblock_trim_memory(struct memblock *mb, uint64_t align);
/* Keeps the lowest `limit` bytes of memory; drops what lies above from both lists. */
void memblock_enforce_memory_limit(struct memblock *mb, uint64_t limit);
/* Keeps only [base, base + size), and NOMAP regions. */
void memblock_cap_memory_range(struct memblock *mb, uint64_t base, uint64_t size);

/* ---- questions ---- */

uint64_t memblock_phys_mem_size(const struct memblock *mb);
uint64_t memblock_reserved_size(const struct memblock *mb);
/* First byte, and the byte after the last one; 0 without memory. */
uint64_t memblock_start_of_DRAM(const struct memblock *mb);
uint64_t memblock_end_of_DRAM(const struct memblock *mb);
bool memblock_is_memory(const struct memblock *mb, uint64_t address);
/* Memory that isn't NOMAP. */
bool memblock_is_map_memory(const struct memblock *mb, uint64_t address);
/* The whole range lies in one memory region. */
bool memblock_is_region_memory(const struct memblock *mb, uint64_t base, uint64_t size);
bool memblock_is_reserved(const struct memblock *mb, uint64_t address);
/* Any part is reserved. */
bool memblock_is_region_reserved(const struct memblock *mb, uint64_t base, uint64_t size);
bool memblock_overlaps_region(const struct memblock_type *type, uint64_t base, uint64_t size);
/* Node and bounds of the memory region with this pfn; -1. */
int memblock_search_pfn_nid(const struct memblock *mb, uint64_t pfn, uint64_t *start_pfn,
			    uint64_t *end_pfn);

/* ---- allocation. align: a power of two; 0 for a cache line. 0 or NULL: no room. ---- */

struct memblock_request {
	uint64_t size, align;
	uint64_t min_addr, max_addr; /* max_addr may be MEMBLOCK_ALLOC_ACCESSIBLE or _ANYWHERE */
	int      nid;                /* NUMA_NO_NODE: any */
	uint32_t flags;              /* MEMBLOCK_HOTPLUG, MEMBLOCK_MIRROR: kinds of memory wanted */
};

/* A free range, not reserved yet. */
uint64_t memblock_find_in_range_node(const struct memblock *mb,
				     const struct memblock_request *want);
uint64_t memblock_find_in_range(const struct memblock *mb, uint64_t start, uint64_t end,
				uint64_t size, uint64_t align);
/* Reserved, contents undefined. */
uint64_t memblock_phys_alloc(struct memblock *mb, uint64_t size, uint64_t align);
uint64_t memblock_phys_alloc_range(struct memblock *mb, uint64_t size, uint64_t align,
				   uint64_t start, uint64_t end);
/* nid first, then any node; min_addr is dropped as a last resort. */
uint64_t memblock_phys_alloc_try_nid(struct memblock *mb, uint64_t size, uint64_t align, int nid);
/* Through phys_to_virt. Zeroed. */
void *memblock_alloc(struct memblock *mb, uint64_t size, uint64_t align);
void *memblock_alloc_try_nid(struct memblock *mb, const struct memblock_request *want);
/* Not zeroed. */
void *memblock_alloc_try_nid_raw(struct memblock *mb, const struct memblock_request *want);
/* On want->nid or not at all. Not zeroed. */
void *memblock_alloc_exact_nid_raw(struct memblock *mb, const struct memblock_request *want);

/* ---- walks. Changing the lists during a walk is allowed only after leaving it. ---- */

struct memblock_walk {
	int      nid;   /* in: NUMA_NO_NODE for all */
	uint32_t flags; /* in: as in a request */
	bool     reserved_too;      /* in: all memory, not only what is free */
	uint64_t start, end;        /* out: bytes, end exclusive */
	int      found_nid;         /* out */
	uint32_t memory, reserved;  /* position; 0 to begin */
	bool     started;           /* position of a reverse walk; false to begin */
};
bool memblock_walk_next(const struct memblock *mb, struct memblock_walk *w);
bool memblock_walk_prev(const struct memblock *mb, struct memblock_walk *w);

#define for_each_free_mem_range(mb, w, node, wanted)                                     \
	for (*(w) = (struct memblock_walk){ .nid = (node), .flags = (wanted) };          \
	     memblock_walk_next(mb, w);)
#define for_each_free_mem_range_reverse(mb, w, node, wanted)                             \
	for (*(w) = (struct memblock_walk){ .nid = (node), .flags = (wanted) };          \
	     memblock_walk_prev(mb, w);)
/* Memory, reserved or not. */
#define for_each_mem_range(mb, w)                                                        \
	for (*(w) = (struct memblock_walk){ .nid = NUMA_NO_NODE,                         \
					    .flags = MEMBLOCK_HOTPLUG, .reserved_too = true }; \
	     memblock_walk_next(mb, w);)
#define for_each_reserved_mem_region(mb, region)                                         \
	for (region = (mb)->reserved.regions;                                            \
	     region < (mb)->reserved.regions + (mb)->reserved.cnt; region++)

/* ---- the end of boot ---- */

/* Takes [start_pfn, end_pfn) of node nid into the buddy. */
typedef void (*memblock_free_pages_fn)(void *context, uint64_t start_pfn, uint64_t end_pfn,
				       int nid);
/* Calls free_pages for every free range, whole pages only, never across nodes. Returns the number
 * of pages. The lists stay, as what was memory and what was reserved at boot. */
uint64_t memblock_free_all(struct memblock *mb, memblock_free_pages_fn free_pages, void *context);

/* B1 to B3, and that lists which have grown are reserved. */
void memblock_validate(const struct memblock *mb, struct validation *v);

#endif
