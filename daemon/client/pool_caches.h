/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_caches - the registry of a pool's object caches
 *
 * Purpose     All clients of a pool that open a cache of one name mean the same one: the same
 *             number, object size and alignment. Objects of it may be left by who has gone, so a
 *             cache stays until the pool's last handle closes, whatever is closed before.
 * Invariants  C1  cache n is caches[n - 1]; names are unique.
 *             C2  nr_opens of a cache is the sum over the pool's live handles.
 * Crash       a cache whose record isn't sealed doesn't exist, and its number is given out again:
 *             no client has heard it. nr_opens counts anew with the handles that are resumed.
 * Locking     pool_caches.lock (RANK_LEASES), for the handles' counts too.
 * Not here    The objects (clients' own).
 */
#ifndef MMB_CLIENT_POOL_CACHES_H
#define MMB_CLIENT_POOL_CACHES_H

#include "base/lock.h"
#include "client/verbs.h"
#include "mm/phys/record.h"
#include "proto/slab_map.h"

enum { CACHE_OBJECT_MAX = 256 << 10, CACHE_ALIGN_MAX = 4096 };

struct pool_handle;

struct pool_cache {
	char name[NAME_MAX_BYTES + 1];
	uint32_t object, align, flags;
	uint64_t nr_opens; /* C2 */
	struct cache_record *record;
};

/* l: lock */
struct pool_caches {
	struct mutex lock;
	struct pool_cache *caches; /* (l) */
	uint32_t nr, room;         /* (l) */
	uint64_t pool;             /* fixed: id, for records */
};

void pool_caches_init(struct pool_caches *caches, uint64_t pool);
/* A predecessor's, in any order. -EUCLEAN: there is one of that number; -ENOMEM. */
int pool_caches_resume(struct pool_caches *caches, struct cache_record *record);
void pool_caches_fini(struct pool_caches *caches);
/* The last handle of the pool has closed. */
void pool_caches_clear(struct pool_caches *caches);

int pool_cache_open(struct pool_handle *ph, const struct cache_open_args *args,
		    struct cache_opened *out, struct refusal *why);
int pool_cache_close(struct pool_handle *ph, uint32_t cache, struct refusal *why);
/* All that the handle has open. */
void pool_caches_close_all(struct pool_handle *ph);
/* False: there is no such cache. */
bool pool_cache_get(struct pool_caches *caches, uint32_t cache, struct pool_cache *out);

#endif
