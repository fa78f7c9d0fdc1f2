/* SPDX-License-Identifier: Apache-2.0 */
/*
 * typed - the calls under test, of typed caches
 *
 * Purpose     Beside allocator.h: a cache of ours, or the process's malloc with one size, and
 *             bulk calls, which are a loop where there is nothing better.
 */
#ifndef MMB_BENCH_MALLOC_TYPED_H
#define MMB_BENCH_MALLOC_TYPED_H

#include <stdio.h>

#include "lib/bench.h"
#include "malloc/allocator.h"

struct typed {
	size_t            bytes;
	struct mmb_cache *cache; /* ours */
};

static inline int typed_open(const struct run *r, unsigned int index, struct typed *t)
{
#ifdef MALLOC_OURS
	char name[32];
	int error;

	snprintf(name, sizeof(name), "bench-%u", index);
	error = mmb_cache_open(r->pool, name, t->bytes, 0, 0, &t->cache);
	return error ? bench_because(error, "mmb_cache_open: %s", mmb_error()) : 0;
#else
	return 0;
#endif
}

static inline void typed_close(struct typed *t)
{
#ifdef MALLOC_OURS
	mmb_cache_close(t->cache);
#endif
}

static inline void *typed_take(const struct typed *t)
{
#ifdef MALLOC_OURS
	return mmb_cache_alloc(t->cache);
#else
	return malloc(t->bytes);
#endif
}

static inline void typed_give(const struct typed *t, void *at)
{
#ifdef MALLOC_OURS
	mmb_cache_free(t->cache, at);
#else
	free(at);
#endif
}

/* All nr or none. */
static inline bool typed_take_bulk(const struct typed *t, size_t nr, void **out)
{
#ifdef MALLOC_OURS
	return mmb_cache_alloc_bulk(t->cache, nr, out) == 0;
#else
	for (size_t i = 0; i < nr; i++) {
		out[i] = malloc(t->bytes);
		if (out[i] == NULL) {
			while (i > 0)
				free(out[--i]);
			return false;
		}
	}
	return true;
#endif
}

static inline void typed_give_bulk(const struct typed *t, size_t nr, void **objects)
{
#ifdef MALLOC_OURS
	mmb_cache_free_bulk(t->cache, nr, objects);
#else
	for (size_t i = 0; i < nr; i++)
		free(objects[i]);
#endif
}

#endif
