/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_caches - names, numbers and counts
 *
 * Locking     see pool_caches.h.
 */
#include "client/pool_caches.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/access.h"
#include "client/session.h"
#include "mm/obj/slab.h"

enum { ROOM_MIN = 8 };

void pool_caches_init(struct pool_caches *caches, uint64_t pool)
{
	caches->pool = pool;
	mutex_init(&caches->lock, RANK_LEASES, "caches");
}

void pool_caches_clear(struct pool_caches *caches)
{
	mutex_lock(&caches->lock);
	for (uint32_t i = 0; i < caches->nr; i++)
		record_free(RECORD_CACHE, caches->caches[i].record);
	kfree(caches->caches);
	caches->caches = NULL;
	caches->nr = caches->room = 0;
	mutex_unlock(&caches->lock);
}

void pool_caches_fini(struct pool_caches *caches)
{
	pool_caches_clear(caches);
	mutex_fini(&caches->lock);
}

static int check_cache_args(const struct cache_open_args *args, struct refusal *why)
{
	int r = name_check("cache", args->name, why);

	if (r)
		return r;
	if (!args->object || args->object > CACHE_OBJECT_MAX)
		return refuse(why, -EINVAL, "objects of %u bytes; a cache takes 1 to %d",
			      args->object, CACHE_OBJECT_MAX);
	if (args->align > CACHE_ALIGN_MAX || args->align & (args->align - 1))
		return refuse(why, -EINVAL, "alignment %u is neither 0 nor a power of two up to %d",
			      args->align, CACHE_ALIGN_MAX);
	if (args->flags)
		return refuse(why, -EINVAL, "cache flags %#x have unknown bits; none is known",
			      args->flags);
	return 0;
}

static struct pool_cache *find_locked(struct pool_caches *caches, const char *name)
{
	for (uint32_t i = 0; i < caches->nr; i++)
		if (!strcmp(caches->caches[i].name, name))
			return &caches->caches[i];
	return NULL;
}

static int grow_locked(struct pool_caches *caches)
{
	uint32_t room = caches->room ? caches->room * 2 : ROOM_MIN;
	struct pool_cache *grown;

	if (caches->nr < caches->room)
		return 0;
	grown = krealloc_array(caches->caches, room, sizeof(*grown), GFP_KERNEL);
	if (!grown)
		return -ENOMEM;
	caches->caches = grown;
	caches->room = room;
	return 0;
}

static void commit_record(const struct pool_caches *caches, struct pool_cache *cache)
{
	struct cache_record *record = cache->record;

	record->pool = caches->pool;
	record->number = (uint32_t)(cache - caches->caches) + 1;
	record->object = cache->object;
	record->align = cache->align;
	record->flags = cache->flags;
	memcpy(record->name, cache->name, sizeof(record->name));
	record_commit(RECORD_CACHE, record);
}

static int make_locked(struct pool_caches *caches, const struct cache_open_args *args,
		       struct pool_cache **out, struct refusal *why)
{
	void *record;

	if (caches->nr == SLAB_CACHES_MAX)
		return refuse(why, -EDQUOT, "the pool has %d caches, which is the limit",
			      SLAB_CACHES_MAX);
	if (grow_locked(caches) || record_new(RECORD_CACHE, &record))
		return refuse(why, -ENOMEM, "no memory for another cache");
	*out = &caches->caches[caches->nr++];
	**out = (struct pool_cache){
		.object = args->object, .align = args->align, .flags = args->flags,
		.record = record
	};
	snprintf((*out)->name, sizeof((*out)->name), "%s", args->name);
	commit_record(caches, *out);
	return 0;
}

int pool_caches_resume(struct pool_caches *caches, struct cache_record *record)
{
	uint32_t at = record->number - 1;
	int r = at < SLAB_CACHES_MAX ? 0 : -EUCLEAN;

	mutex_lock(&caches->lock);
	while (!r && caches->nr <= at) {
		r = grow_locked(caches);
		if (!r) /* the ones between come later */
			caches->caches[caches->nr++] = (struct pool_cache){ .object = 1 };
	}
	if (!r && caches->caches[at].record)
		r = -EUCLEAN;
	if (!r) {
		caches->caches[at] = (struct pool_cache){ .object = record->object,
							  .align = record->align,
							  .flags = record->flags,
							  .record = record };
		snprintf(caches->caches[at].name, sizeof(caches->caches[at].name), "%.*s",
			 NAME_MAX_BYTES, record->name);
	}
	mutex_unlock(&caches->lock);
	return r;
}

static int find_or_make_locked(struct pool_caches *caches, const struct cache_open_args *args,
			       struct pool_cache **out, struct refusal *why)
{
	struct pool_cache *cache = find_locked(caches, args->name);

	*out = cache;
	if (!cache)
		return make_locked(caches, args, out, why);
	if (cache->object == args->object && cache->align == args->align &&
	    cache->flags == args->flags)
		return 0;
	return refuse(why, -EINVAL,
		      "cache '%s' has objects of %u bytes aligned to %u (flags %#x), and %u bytes "
		      "aligned to %u (flags %#x) are asked for",
		      args->name, cache->object, cache->align, cache->flags, args->object,
		      args->align, args->flags);
}

static int make_counts_locked(struct pool_handle *ph)
{
	if (!ph->cache_opens)
		ph->cache_opens =
			kcalloc(SLAB_CACHES_MAX, sizeof(ph->cache_opens[0]), GFP_KERNEL);
	return ph->cache_opens ? 0 : -ENOMEM;
}

static int open_locked(struct pool_handle *ph, const struct cache_open_args *args,
		       struct cache_opened *out, struct refusal *why)
{
	struct pool_caches *caches = &ph->pool->caches;
	uint32_t before = caches->nr;
	struct pool_cache *cache;
	int r;

	if (ph->caches_closed)
		return refuse(why, -ENOTCONN, "the pool handle has been closed");
	if (make_counts_locked(ph))
		return refuse(why, -ENOMEM, "no memory for another cache");
	r = find_or_make_locked(caches, args, &cache, why);
	if (r)
		return r;
	*out = (struct cache_opened){ .cache = (uint32_t)(cache - caches->caches) + 1,
				      .object = cache->object,
				      .align = cache->align,
				      .flags = cache->flags,
				      .created = caches->nr > before };
	cache->nr_opens++;
	ph->cache_opens[out->cache - 1]++;
	return 0;
}

int pool_cache_open(struct pool_handle *ph, const struct cache_open_args *args,
		    struct cache_opened *out, struct refusal *why)
{
	int r = check_cache_args(args, why);

	if (r)
		return r;
	mutex_lock(&ph->pool->caches.lock);
	r = open_locked(ph, args, out, why);
	mutex_unlock(&ph->pool->caches.lock);
	return r;
}

int pool_cache_close(struct pool_handle *ph, uint32_t cache, struct refusal *why)
{
	struct pool_caches *caches = &ph->pool->caches;
	bool open;

	mutex_lock(&caches->lock);
	open = cache && cache <= caches->nr && ph->cache_opens && ph->cache_opens[cache - 1];
	if (open) {
		ph->cache_opens[cache - 1]--;
		caches->caches[cache - 1].nr_opens--;
	}
	/* Of a session that a predecessor served nobody knows how often it had it open. */
	open = open || (ph->resumed && cache && cache <= caches->nr);
	mutex_unlock(&caches->lock);
	return open ? 0 : refuse(why, -EBADF, "%u is no cache that this session has open", cache);
}

void pool_caches_close_all(struct pool_handle *ph)
{
	struct pool_caches *caches = &ph->pool->caches;

	mutex_lock(&caches->lock);
	for (uint32_t i = 0; i < caches->nr && ph->cache_opens; i++) {
		caches->caches[i].nr_opens -= ph->cache_opens[i];
		ph->cache_opens[i] = 0;
	}
	ph->caches_closed = true;
	mutex_unlock(&caches->lock);
}

bool pool_cache_get(struct pool_caches *caches, uint32_t cache, struct pool_cache *out)
{
	bool found;

	mutex_lock(&caches->lock);
	found = cache && cache <= caches->nr;
	if (found)
		*out = caches->caches[cache - 1];
	mutex_unlock(&caches->lock);
	return found;
}
