/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harden - objects that are freed with suspicion (MMB_CONF=harden)
 *
 * Purpose     A freed object is zeroed and waits in its thread's quarantine; when it leaves, and
 *             before it is allocated again, it must be as it was left. What isn't ends the process.
 * Invariants  D1  A quarantined object counts as used in its slab. Its first word is encoded as a
 *                 free object's (B3 of slab.h), with a mark that is on no list, and the rest of it
 *                 is zero: any thread of any process knows it for freed.
 *             D2  The quarantine is a queue of at most QUARANTINE_OBJECTS and QUARANTINE_BYTES.
 *             D3  In a private pool whose heaps are hardened, slabs are zeroed when they are made:
 *                 a free object has no byte but its first word that isn't 0.
 * Locking     H3 of heap.h.
 * Not here    Runs, which are zeroed and freed at once (object.c): a second free of one is always
 *             found.
 */
#ifndef MMB_LIBCLIENT_HEAP_HARDEN_H
#define MMB_LIBCLIENT_HEAP_HARDEN_H

#include "heap/heap.h"

enum { QUARANTINE_OBJECTS = 1024, QUARANTINE_BYTES = 1 << 20 };

/* Whether its word is that of an object that is free or in quarantine. */
bool harden_is_free(const struct slab_view *v, uint64_t object);
/* An object that isn't free. */
void harden_free(struct heap *h, const struct slab_view *v, uint64_t object);
/* As heap_alloc(). */
uint64_t harden_alloc(struct heap *h, unsigned int bin);
/* A slab that was just made (D3). */
void harden_new_slab(const struct heap_pool *hp, const struct slab_view *v);
bool harden_has_any(const struct heap *h);
/* All of the quarantine is freed. */
void harden_flush(struct heap *h);
/* What is in it is forgotten. */
void harden_fini(struct heap *h);

#endif
