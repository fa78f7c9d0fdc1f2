/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_slabs - what a pool's clients say about their slabs, as rows of slabinfo
 *
 * Purpose     One row for each size class and cache of each pool that has slabs, added up from the
 *             headers in the slab map. Headers are the clients' word: each is copied once, and no
 *             figure of it counts for more than its slab can hold.
 * Locking     none held while headers are read; figures are of different moments.
 * Not here    The text (report).
 */
#ifndef MMB_CLIENT_POOL_SLABS_H
#define MMB_CLIENT_POOL_SLABS_H

#include "base/types.h"

/* POOL, a colon, and the cache's name, or size- and the objects' bytes. */
enum { POOL_SLABS_NAME_BYTES = 2 * NAME_MAX_BYTES + 8 };

/* Fields as in /proc/slabinfo. */
struct pool_slabs_row {
	char name[POOL_SLABS_NAME_BYTES];
	uint64_t active_objs, num_objs, active_slabs, num_slabs;
	uint32_t objsize, align, objs_per_slab, pages_per_slab;
	uint32_t object_size; /* of a typed cache what was asked for, else objsize */
};

/* Of this pool, or of all with "". 0; -ENOENT: no such pool, -ENOMEM. */
int pool_slabs_for_each(const char *pool, void (*fn)(const struct pool_slabs_row *row, void *arg),
			void *arg);

#endif
