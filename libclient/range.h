/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range - a pool handle's objects above 4 MiB, private to the process
 *
 * Purpose     Joins ranges/ to the connection: a chunk is an unnamed region of 2 MiB pages. A pool
 *             handle has a range heap from its first such object on; its objects go with it.
 * Locking     pool.map_lock while the heap is made.
 */
#ifndef MMB_LIBCLIENT_RANGE_H
#define MMB_LIBCLIENT_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ranges/range_heap.h"

enum { RANGE_ALIGN_MAX = 2 << 20 };

struct mmb_pool;

/* Of an open pool. 0: no memory, with a sentence. */
uint64_t range_alloc(struct mmb_pool *pool, const struct range_request *request);
/* RANGE_NOTHING also where no range lies; in a forked child every range is left alone. */
enum range_found range_free(uint64_t object);
bool range_is(const void *p);
/* See pool_heap_was_parents(). */
bool range_was_parents(uint64_t object);
size_t range_length(uint64_t object);
/* In place, if it can be. */
bool range_resize(uint64_t object, size_t size);

/* See pool_heap.h. */
bool range_tick(struct mmb_pool *pool);
void range_trim(struct mmb_pool *pool);
/* Whether the pool has had large objects. */
bool range_is_made(struct mmb_pool *pool);
void range_close(struct mmb_pool *pool);
void range_fini(struct mmb_pool *pool);

#endif
