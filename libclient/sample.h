/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample - a few objects alone on a page between guards (MMB_CONF=sample=N)
 *
 * Purpose     One in N allocations of up to 4096 bytes lies at the end of a page whose neighbours
 *             can't be accessed: writing beyond it faults at that instruction. When it is freed its
 *             page is taken away as well, for as long as others can be used instead.
 * Invariants  A1  A slot's page is accessible only from its allocation to its free. What of the
 *                 page isn't the object has a pattern, which is checked at the free.
 *             A2  Slots are used in the order in which they were freed.
 *             A3  Without a slot, or without memory for the region, the allocation is an ordinary
 *                 one.
 *             A4  A sampled object is known to this process alone, and ends with its pool handle.
 * Locking     the process lock for samplers and slots; a page is changed by who has its slot.
 * Source      GWP-ASan (Android, Chromium) and KFENCE (Linux mm/kfence) for the method.
 */
#ifndef MMB_LIBCLIENT_SAMPLE_H
#define MMB_LIBCLIENT_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "object.h"

struct mmb_pool;

enum { SAMPLE_SLOTS = 256 };

/* NULL: it isn't this one's turn, or A3. */
void *sample_alloc(struct mmb_pool *pool, const struct object_want *want);
/* False: no sampled object, nor its neighbourhood. Ends the process if no object that the rule
 * allows begins there. The parent's in a forked child is left alone. */
bool sample_free(uint64_t object, const struct object_rule *rule);
/* The same check alone. */
bool sample_check(uint64_t object, const struct object_rule *rule);
/* What was asked for, at least 1; 0: no sampled object. */
size_t sample_size(uint64_t object);
/* See pool_heap_was_parents(). */
bool sample_was_parents(uint64_t object);
/* The pool's objects are no longer found. */
void sample_close(struct mmb_pool *pool);
/* After that: the region goes. */
void sample_end(struct mmb_pool *pool);

#endif
