/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_slabs - headers added up by bin
 *
 * Reading     with os->read(): a mapping would put pages into holes that clients have punched.
 */
#include "client/pool_slabs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inject.h"
#include "client/pool.h"
#include "mm/phys/node.h"
#include "os/os.h"

struct walk {
	struct pool *pool;
	struct pool_slabs_row bins[SLAB_BINS];
	struct slab_header headers[UNITS_PER_BLOCK]; /* a copy */
};

/* Of the slab's own length, if all its units are leased as far as this pageblock tells. */
static uint32_t units_of(const struct slab_header *h, uint32_t bits)
{
	if (!h->units || h->units > SLAB_UNITS_MAX)
		return 0;
	for (uint32_t i = 0; i < h->units && i < UNITS_PER_BLOCK && bits >> i; i++)
		if (!(bits >> i & 1))
			return 0;
	return h->units;
}

/* Objects in use, or in a magazine: handed out, less those that others have freed. */
static uint64_t in_use(const struct slab_header *h, uint64_t total)
{
	uint64_t out = min_t(uint64_t, (uint32_t)(h->left + h->slow_at), total);
	uint64_t freed = h->shared & UINT16_MAX;

	return out - min_t(uint64_t, freed, out);
}

static void add_slab(struct walk *w, const struct slab_header *h, uint32_t bits)
{
	uint32_t units = units_of(h, bits);
	uint64_t capacity, total, used;
	struct pool_slabs_row *row;

	if (h->kind != SLAB_OBJECTS || h->bin >= SLAB_BINS || !h->size || !units)
		return;
	capacity = (uint64_t)units * SLAB_UNIT_BYTES / h->size;
	total = min_t(uint64_t, h->total, capacity);
	if (!total)
		return;
	used = in_use(h, total);
	row = &w->bins[h->bin];
	if (!row->num_slabs) {
		row->objsize = h->size;
		row->objs_per_slab = (uint32_t)total;
		row->pages_per_slab = units * UNIT_PAGES;
	}
	row->num_slabs++;
	row->active_slabs += used != 0;
	row->num_objs += total;
	row->active_objs += used;
}

static void add_node(struct walk *w, int node)
{
	struct leases *leases = &w->pool->leases;
	uint32_t bits, block = 0;

	while ((bits = leases_next_block(leases, node, &block))) {
		uint64_t offset = (uint64_t)block << PAGE_SHIFT;

		block++;
		if (os->read(leases->maps[node]->section->fd, offset, w->headers,
			     sizeof(w->headers)))
			continue;
		for (uint32_t i = 0; i < UNITS_PER_BLOCK; i++)
			if (bits >> i & 1)
				add_slab(w, &w->headers[i], bits >> i);
	}
}

/* Of a cache without a slab yet: the least that one can be. */
static void foresee_slab(struct pool_slabs_row *row, const struct pool_cache *cache)
{
	uint32_t least = cache->object > 8 ? 16 : 8;

	row->objsize = (uint32_t)round_up(cache->object, max_t(uint32_t, cache->align, least));
	row->objs_per_slab = max_t(uint32_t, SLAB_UNIT_BYTES / row->objsize, 1);
	row->pages_per_slab = (uint32_t)round_up(row->objsize, SLAB_UNIT_BYTES) >> PAGE_SHIFT;
}

/* False: a cache that nobody has opened. */
static bool name_row(struct walk *w, uint32_t bin)
{
	struct pool_slabs_row *row = &w->bins[bin];
	const struct pool *pool = w->pool;
	struct pool_cache cache;
	char prefix[NAME_MAX_BYTES + 1];

	if (pool->name[0])
		snprintf(prefix, sizeof(prefix), "%s", pool->name);
	else
		snprintf(prefix, sizeof(prefix), "private-%llu", (unsigned long long)pool->id);
	if (bin < SLAB_SIZE_CLASSES) {
		snprintf(row->name, sizeof(row->name), "%s:size-%u", prefix, row->objsize);
		row->object_size = row->objsize;
		return true;
	}
	if (!pool_cache_get(&w->pool->caches, bin - SLAB_SIZE_CLASSES + 1, &cache))
		return false;
	snprintf(row->name, sizeof(row->name), "%s:%s", prefix, cache.name);
	row->align = cache.align;
	row->object_size = cache.object;
	if (!row->num_slabs)
		foresee_slab(row, &cache);
	return true;
}

static void walk_pool(struct walk *w, void (*fn)(const struct pool_slabs_row *row, void *arg),
		      void *arg)
{
	memset(w->bins, 0, sizeof(w->bins));
	for (int node = 0; node < nr_nodes; node++)
		add_node(w, node);
	for (uint32_t bin = 0; bin < SLAB_BINS; bin++)
		if ((w->bins[bin].num_slabs || bin >= SLAB_SIZE_CLASSES) && name_row(w, bin))
			fn(&w->bins[bin], arg);
}

int pool_slabs_for_each(const char *name, void (*fn)(const struct pool_slabs_row *row, void *arg),
			void *arg)
{
	struct walk *w = INJECT(HEAP) ? NULL : malloc(sizeof(*w));
	bool found = name[0] == '\0';
	struct pool *pool = NULL;

	if (!w)
		return -ENOMEM;
	while ((pool = pool_walk_next(pool))) {
		w->pool = pool;
		if (name[0] && !pool_has_name(pool, name))
			continue;
		found = true;
		walk_pool(w, fn, arg);
	}
	free(w);
	return found ? 0 : -ENOENT;
}
