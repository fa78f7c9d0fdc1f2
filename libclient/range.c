/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range - a pool handle's objects above 4 MiB, private to the process
 *
 * Purpose     See range.h.
 */
#include "range.h"

#include <errno.h>
#include <time.h>

#include "cancel.h"
#include "connection.h"
#include "error.h"
#include "mmbroker.h"
#include "pool_heap.h"
#include "region.h"

/* ---- chunks ---- */

static int create_region(void *context, struct range_backing *backing)
{
	UNCANCELLED;
	struct mmb_region_options options = {
		.size = sizeof(options),
		.page_size = RANGE_PAGE,
		.address = (void *)(uintptr_t)backing->address,
	};
	struct mmb_region *region;
	int error = region_create(context, backing->length, &options, &region);

	if (error)
		return error;
	backing->token = region;
	backing->address = (uintptr_t)mmb_region_address(region);
	return 0;
}

static int empty_region(void *context, const struct range_backing *backing, uint64_t offset,
			uint64_t length)
{
	return mmb_region_advise(backing->token, offset, length, MMB_ADVISE_DONTNEED);
}

static void destroy_region(void *context, const struct range_backing *backing)
{
	mmb_region_close(backing->token);
}

static void kick_pager(void *context)
{
	const struct mmb_pool *pool = context;

	pager_kick(pool->mmb, false);
}

/* A second is measured, not more: the coarse clock is the cheap one. */
static uint64_t coarse_ms(void *context)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the pool's heap ---- */

/*
 * The broker gives arenas and regions addresses that are free in every process, and a chunk must
 * not lie where another client's next arena will be. It uses nothing between its last private
 * address and 0x550000000000. Pools beyond the last home share: who comes second to a place lies
 * anywhere.
 */
#define HOMES_START 0x500000000000ull
enum { NR_HOMES = 80 };
static _Atomic uint32_t nr_homes;

static uint64_t next_home(void)
{
	return HOMES_START + atomic_fetch_add(&nr_homes, 1) % NR_HOMES * RANGE_HOME_BYTES;
}

static struct range_heap *ranges_of(struct mmb_pool *pool)
{
	return atomic_load_explicit(&pool->ranges, memory_order_acquire);
}

static int make(struct mmb_pool *pool)
{
	const struct range_source source = {
		.context = pool,
		.create = create_region,
		.empty = empty_region,
		.destroy = destroy_region,
		.kick = kick_pager,
		.now_ms = coarse_ms,
		.home = next_home(),
	};
	/* Who gives back what isn't used any more. */
	int error = pager_start(pool->mmb);
	struct range_heap *heap;

	if (error)
		return error;
	pthread_mutex_lock(&pool->map_lock);
	heap = ranges_of(pool);
	if (!heap)
		heap = range_heap_new(&source);
	atomic_store_explicit(&pool->ranges, heap, memory_order_release);
	pthread_mutex_unlock(&pool->map_lock);
	return heap ? 0 : fail(-ENOMEM, "no memory for a heap of large objects");
}

uint64_t range_alloc(struct mmb_pool *pool, const struct range_request *request)
{
	uint64_t object = 0;
	int error = ranges_of(pool) ? 0 : make(pool);

	if (error)
		return 0;
	error = range_heap_alloc(ranges_of(pool), request, &object);
	if (error != -ENOMEM)
		return object;
	/* What this process keeps unused may be what is missing. */
	pool_heap_trim(pool);
	range_heap_alloc(ranges_of(pool), request, &object);
	return object;
}

/* ---- objects by address ---- */

/* The heap that has the address, as far as this process may use it. */
static struct range_heap *heap_at(uint64_t address)
{
	struct range_heap *heap = range_heap_find(address);
	const struct mmb_pool *pool = heap ? heap->source.context : NULL;

	return heap && !pool_check(pool) ? heap : NULL;
}

enum range_found range_free(uint64_t object)
{
	struct range_heap *heap = heap_at(object);

	if (heap)
		return range_heap_put(heap, object);
	return range_heap_find(object) ? RANGE_OBJECT : RANGE_NOTHING;
}

bool range_was_parents(uint64_t object)
{
	return range_heap_find(object) && !heap_at(object);
}

bool range_is(const void *p)
{
	return range_heap_find((uintptr_t)p) != NULL;
}

size_t range_length(uint64_t object)
{
	struct range_heap *heap = heap_at(object);

	return heap ? range_heap_length(heap, object) : 0;
}

bool range_resize(uint64_t object, size_t size)
{
	struct range_heap *heap = heap_at(object);

	return heap && range_heap_resize(heap, object, size);
}

/* ---- giving back, and the end ---- */

bool range_tick(struct mmb_pool *pool)
{
	return ranges_of(pool) && range_heap_tick(ranges_of(pool));
}

bool range_is_made(struct mmb_pool *pool)
{
	return ranges_of(pool);
}

void range_trim(struct mmb_pool *pool)
{
	if (ranges_of(pool))
		range_heap_trim(ranges_of(pool), 0);
}

void range_close(struct mmb_pool *pool)
{
	if (ranges_of(pool))
		range_heap_close(ranges_of(pool));
}

void range_fini(struct mmb_pool *pool)
{
	if (ranges_of(pool))
		range_heap_free(ranges_of(pool));
	atomic_store(&pool->ranges, NULL);
}
