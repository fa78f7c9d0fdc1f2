/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slub_debug - red zones, poison, owners, and what happens when something is found wrong
 *
 * Purpose     A debug cache checks each object at each call. What it finds it reports, gives the
 *             slab up and goes on; any other cache, which only finds what would otherwise spread,
 *             ends the daemon.
 * Locking     list_lock of the slab's node, but for new slabs and reports.
 * Not here    Which objects are checked when nobody calls (slub_validate.c).
 */
#ifndef MMB_MM_OBJ_SLUB_DEBUG_H
#define MMB_MM_OBJ_SLUB_DEBUG_H

#include "mm/obj/slub.h"

enum {
	POISON_INUSE = 0x5a,      /* never written by anybody */
	POISON_FREE = 0x6b,       /* free */
	POISON_END = 0xa5,        /* its last byte */
	SLUB_RED_INACTIVE = 0xbb, /* around a free object */
	SLUB_RED_ACTIVE = 0xcc,   /* around a live one */
};

enum track_item { TRACK_ALLOC, TRACK_FREE, NR_TRACKS };
struct track {
	uint64_t address; /* of the call; 0: none yet */
	uint64_t when_ns;
	int32_t  cpu, thread;
};

/* Bytes that flags add, besides the red zone on the left. */
void debug_layout(struct kmem_cache *s, uint32_t *size);
void debug_setup_slab(struct kmem_cache *s, struct page *page);
void debug_setup_object(struct kmem_cache *s, void *object);
/* False: something is wrong; it has been reported and the slab given up. */
bool debug_alloc(struct kmem_cache *s, struct page *page, void *object, uintptr_t caller);
/* False: the call is wrong or the object damaged; nothing is to be freed. */
bool debug_free(struct kmem_cache *s, struct page *page, void *object, uintptr_t caller);
void debug_check_free_slab(struct kmem_cache *s, struct page *page);
/* Checks an object, to a validation or, with v NULL, to the log. */
bool debug_check_object(struct kmem_cache *s, const void *object, bool live, struct validation *v);
bool debug_check_padding(struct kmem_cache *s, const struct page *page, struct validation *v);
/* The two last users of an object; NULL: not kept. */
const struct track *debug_track(const struct kmem_cache *s, const void *object,
				enum track_item item);

/* ---- consequences ---- */

_Noreturn void slab_fatal(struct kmem_cache *s, const struct page *page, const void *object,
			  const char *what);
/* The slab is damaged: a debug cache gives it up, all its objects counting as live; else fatal. */
void slab_damaged(struct kmem_cache *s, struct page *page, const void *object, const char *what);
/* A call with an address it can't be for: a cache with consistency checks goes on; else fatal. */
void slab_wrong_call(struct kmem_cache *s, const struct page *page, const void *object,
		     const char *what);

/* Sets what a cache of that name gets (slub_spec.h). -EINVAL. */
int debug_set(const char *spec);
uint32_t debug_flags_of(const char *name);

#endif
