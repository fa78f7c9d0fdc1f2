/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object - behind the hits of mmb_malloc and of typed caches
 *
 * Purpose     A miss enters the thread's heap of the pool, and makes it if need be; a free finds
 *             out what its address is, and ends the process where it is nothing that can be freed.
 * Invariants  O1  An allocation fails only after what this process keeps unused has gone back.
 * Locking     none of its own.
 * Not here    Hits (heap/hit.h), slabs and their lists (heap/).
 */
#ifndef MMB_LIBCLIENT_OBJECT_H
#define MMB_LIBCLIENT_OBJECT_H

#include <stddef.h>
#include <stdint.h>

#include "heap/heap.h"

struct object_want {
	unsigned int bin;
	size_t       run;   /* not 0: a run of so many bytes instead of an object of bin */
	size_t       size;  /* what was asked for, of an object of bin */
	size_t       align; /* of the run; of an object, if it is more than its size tells */
};
/* NULL with errno and a sentence. */
void *object_alloc(struct mmb_pool *pool, const struct object_want *want);
/* The same without O1. */
void *object_alloc_once(struct mmb_pool *pool, const struct object_want *want);
/* `got` of nr objects are there already. The rest, or none: then those go back as well. 0, or a
 * negative errno with its sentence. */
struct object_bulk {
	const struct object_want *want; /* each of them */
	size_t                    nr, got;
	void                    **out;
};
int object_alloc_bulk(struct mmb_pool *pool, struct object_bulk *bulk);

/* What may be freed, and by whom the message speaks. */
struct object_rule {
	const char  *function;
	unsigned int bin;   /* the only one; OBJECT_ANY: any, and runs */
	const char  *cache; /* its name */
};
enum { OBJECT_ANY = SLAB_BINS };

/* An address in that window. Ends the process if no object that the rule allows begins there. */
struct slab_view object_check(const struct heap_pool *hp, const struct heap_view *view,
			      uint64_t object, const struct object_rule *rule);
/* The rule's bin, or the process ends; OBJECT_ANY: the object is a run. */
void object_check_bin(unsigned int bin, uint64_t object, const struct object_rule *rule);
/* Inside the heap. */
void object_free(struct heap *h, const struct heap_view *view, uint64_t object,
		 const struct object_rule *rule);
/* All of them, those that are neighbours in one slab together. NULL among them is fine. */
void object_free_bulk(struct heap *h, void **objects, size_t nr, const struct object_rule *rule);
/* hit_put() said so; the heap is left. */
void object_free_more(struct heap *h, struct slab_header *s);
_Noreturn void object_die(const struct object_rule *rule, uint64_t object, const char *why);
_Noreturn void object_die_twice(const struct object_rule *rule, uint64_t object);

#endif
