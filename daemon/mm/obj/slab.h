/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab - what users of object caches see: create, alloc, free, kmalloc, figures
 *
 * Purpose     The daemon's long-lived objects. A cache has objects of one size; kmalloc() picks
 *             one of thirteen by size, and page runs above. Names and meanings are the kernel's.
 * Invariants  A1  no header stands before an object: state lies in struct page, so that a stray
 *                 write to an object can't lie about whose it is.
 *             A2  nothing here waits for somebody to free; GFP_KERNEL may wait for the host.
 * Locking     any thread, holding nothing of rank CACHES or inner. A thread with a CPU slot hits
 *             its own slab without a lock and without a locked instruction.
 * Not here    How it is done (slub.h); sizes (kmalloc.c); frames (own.h).
 */
#ifndef MMB_MM_OBJ_SLAB_H
#define MMB_MM_OBJ_SLAB_H

#include <stdalign.h>

#include "base/check.h"
#include "base/types.h"
#include "mm/phys/gfp.h"

struct kmem_cache;
struct page;

enum slab_flags {
	SLAB_CONSISTENCY_CHECKS = 0x1, /* F: state and pointers are checked at every call */
	SLAB_RED_ZONE = 0x2,           /* Z: bytes around an object that nobody may write */
	SLAB_POISON = 0x4,             /* P: free objects are filled, and found written */
	SLAB_STORE_USER = 0x8,         /* U: who allocated and who freed last */
	SLAB_DEBUG_FLAGS = 0xf,
	SLAB_HWCACHE_ALIGN = 0x10,
	SLAB_TYPE_STABLE = 0x20, /* a free object's bytes stay an object's for stale readers */
	SLAB_PANIC = 0x40,       /* the daemon can't do without: no memory ends it */
	SLAB_NO_CPU_SLABS = 0x80, /* every call takes the node's lock; for caches hardly used */
};

struct kmem_cache_args {
	size_t   object_size;
	uint32_t align; /* power of two; 0: of a pointer */
	uint32_t flags; /* enum slab_flags */
	/* Once per object and slab, not per allocation. */
	void   (*ctor)(void *object);
	/* The part of an object that may be copied from and to clients: usersize 0: none. */
	uint32_t useroffset, usersize;
};

/* NULL: no memory, or arguments that make no sense (size 0 or above a quarter of the largest
 * block, alignment no power of two, user bytes outside the object). The name is copied. */
struct kmem_cache *kmem_cache_create(const char *name, const struct kmem_cache_args *args);
/* A cache of struct `type`, which the daemon can't do without. */
#define KMEM_CACHE(type, extra_flags)                                           \
	kmem_cache_create(#type, &(struct kmem_cache_args){                     \
		.object_size = sizeof(struct type),                             \
		.align = alignof(struct type),                                  \
		.flags = (extra_flags) | SLAB_PANIC })
/* -EBUSY: objects are live; the cache stays as it was. NULL is fine. */
int kmem_cache_destroy(struct kmem_cache *s);

/* NULL: no memory. gfp: GFP_ZERO, GFP_NOWAIT, GFP_ATOMIC, GFP_THISNODE. */
void *kmem_cache_alloc(struct kmem_cache *s, uint32_t gfp);
void *kmem_cache_zalloc(struct kmem_cache *s, uint32_t gfp);
/* NUMA_NODE_ANY: the calling thread's. */
enum { NUMA_NODE_ANY = -1 };
void *kmem_cache_alloc_node(struct kmem_cache *s, uint32_t gfp, int node);
/* NULL is fine. An object that isn't this cache's, or is free, ends the daemon; in a cache with
 * SLAB_CONSISTENCY_CHECKS it is reported and left alone. */
void kmem_cache_free(struct kmem_cache *s, void *object);
/* All or nothing: nr, or 0. */
unsigned int kmem_cache_alloc_bulk(struct kmem_cache *s, uint32_t gfp, unsigned int nr,
				   void **objects);
/* s NULL: objects of any caches. */
void kmem_cache_free_bulk(struct kmem_cache *s, unsigned int nr, void **objects);
/* Flushes every CPU's slab and gives back all empty ones; returns slabs given back. */
uint64_t kmem_cache_shrink(struct kmem_cache *s);
uint32_t kmem_cache_size(const struct kmem_cache *s);
const char *kmem_cache_name(const struct kmem_cache *s);
/* Slabs: counts, lists, free pointers, poison. CPU slabs are flushed for it. Any time. */
void kmem_cache_validate(struct kmem_cache *s, struct validation *v);

/* ---- kmalloc ---- */

enum { KMALLOC_MIN_SIZE = 8, KMALLOC_MAX_CACHE_SIZE = 8192, NR_KMALLOC_CACHES = 13 };
#define KMALLOC_MAX_SIZE ((size_t)PAGE_SIZE << MAX_ORDER)
/* What kmalloc(0) gives: faults when touched, and may be freed. */
#define ZERO_SIZE_PTR ((void *)16)

/* Powers of two are aligned to themselves, all else to 8. NULL: no memory, or too large. */
void *kmalloc(size_t bytes, uint32_t gfp);
void *kzalloc(size_t bytes, uint32_t gfp);
/* NULL where nr * bytes doesn't fit a size_t. */
void *kmalloc_array(size_t nr, size_t bytes, uint32_t gfp);
void *kcalloc(size_t nr, size_t bytes, uint32_t gfp);
/* As realloc(3); bytes 0 frees. On failure the old one stays. */
void *krealloc(void *object, size_t bytes, uint32_t gfp);
void *krealloc_array(void *object, size_t nr, size_t bytes, uint32_t gfp);
void  kfree(void *object); /* of any cache; NULL and ZERO_SIZE_PTR are fine */
/* Usable bytes of a live object. */
size_t ksize(const void *object);
size_t kmalloc_size_roundup(size_t bytes);

/* ---- copies of what clients send and see ---- */

/* True unless [at, at + nr) touches pool 0 outside the user part of one live object. */
bool check_object_size(const void *at, size_t nr);
/* memcpy with that check on the daemon's side; a bad range ends the daemon. */
void usercopy_in(void *object, const void *from, size_t nr);
void usercopy_out(void *to, const void *object, size_t nr);

/* ---- all caches ---- */

struct slab_setup {
	uint32_t    nr_cpus; /* of the host: objects a slab */
	const char *debug;   /* slub_debug as in Linux: "FZPU", "PU,session,mm*"; NULL: none */
};
/* After own_set_zone(). 0, -ENOMEM, -EINVAL (debug). */
int  slab_init(const struct slab_setup *setup);
bool slab_is_up(void);
/* Forgets everything; pool 0's zones go next. Returns how many objects were live, those of the
 * allocator itself and of SLAB_TYPE_STABLE caches apart. */
uint64_t slab_fini(void);
/* Once in a while: CPU slabs unused since the last call are flushed, empty slabs go back. Returns
 * slabs given back. */
uint64_t slab_tick(void);
void slab_validate(struct validation *v);

#define SLUB_STATS(X)                                                                       \
	X(alloc_fastpath) X(alloc_slowpath) X(free_fastpath) X(free_slowpath) X(free_frozen)  \
	X(free_add_partial) X(free_remove_partial) X(alloc_from_partial) X(alloc_slab)        \
	X(alloc_refill) X(alloc_node_mismatch) X(free_slab) X(cpuslab_flush)                  \
	X(deactivate_full) X(deactivate_empty) X(deactivate_to_head) X(deactivate_to_tail)    \
	X(deactivate_remote_frees) X(deactivate_bypass) X(order_fallback)                     \
	X(cmpxchg_fail) X(cpu_blocked) X(cpu_partial_alloc) X(cpu_partial_free)               \
	X(cpu_partial_node) X(cpu_partial_drain) X(shrink_empty) X(corruption)

enum slub_stat {
#define X(name) SLUB_##name,
	SLUB_STATS(X)
#undef X
	NR_SLUB_STATS
};
const char *slub_stat_name(enum slub_stat stat);

/* A row of slabinfo, whoever's cache it is. */
enum { SLABINFO_NAME_BYTES = 2 * NAME_MAX_BYTES + 8 }; /* POOL:CACHE */
struct slabinfo {
	char     name[SLABINFO_NAME_BYTES];
	uint64_t active_objs, num_objs, active_slabs, num_slabs, shared_avail;
	uint32_t objsize, object_size, objs_per_slab, pages_per_slab, align, flags;
	uint64_t stats[NR_SLUB_STATS];
};
/* Calls fn for each cache, oldest first. */
void slab_for_each_info(void (*fn)(const struct slabinfo *info, void *arg), void *arg);
/* Bytes in slabs and large objects. */
uint64_t slab_bytes(void);

#endif
