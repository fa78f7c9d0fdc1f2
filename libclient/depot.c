/* SPDX-License-Identifier: Apache-2.0 */
/*
 * depot - a pool's page runs that no thread keeps for itself (cache.h)
 *
 * Invariants  D1  bytes is the sum over all orders of nr[order] runs.
 */
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "runmap.h"

void depot_init(struct run_depot *depot)
{
	pthread_mutex_init(&depot->lock, NULL);
}

void depot_fini(struct run_depot *depot)
{
	for (int order = 0; order <= MMB_ORDER_MAX; order++)
		free(depot->runs[order]);
	pthread_mutex_destroy(&depot->lock);
}

static uint32_t put_locked(struct run_depot *depot, unsigned int order, const uint64_t *runs,
			   uint32_t nr)
{
	uint64_t run_bytes = (uint64_t)CLIENT_PAGE_SIZE << order;
	uint64_t room = (DEPOT_BYTES - depot->bytes) / run_bytes;

	if (!depot->runs[order])
		depot->runs[order] = calloc(DEPOT_RUNS, sizeof(uint64_t));
	if (!depot->runs[order])
		return 0;
	if (room > DEPOT_RUNS - depot->nr[order])
		room = DEPOT_RUNS - depot->nr[order];
	if (nr > room)
		nr = (uint32_t)room;
	memcpy(depot->runs[order] + depot->nr[order], runs, nr * sizeof(*runs));
	depot->nr[order] += nr;
	depot->bytes += nr * run_bytes;
	return nr;
}

uint32_t depot_put(struct run_depot *depot, unsigned int order, const uint64_t *runs, uint32_t nr)
{
	pthread_mutex_lock(&depot->lock);
	nr = put_locked(depot, order, runs, nr);
	pthread_mutex_unlock(&depot->lock);
	return nr;
}

uint32_t depot_take(struct run_depot *depot, unsigned int order, uint64_t *runs, uint32_t max)
{
	uint32_t nr;

	pthread_mutex_lock(&depot->lock);
	nr = depot->nr[order] < max ? depot->nr[order] : max;
	depot->nr[order] -= nr;
	depot->bytes -= nr * ((uint64_t)CLIENT_PAGE_SIZE << order);
	/* Last in, first out: the warmest. */
	if (nr)
		memcpy(runs, depot->runs[order] + depot->nr[order], nr * sizeof(*runs));
	pthread_mutex_unlock(&depot->lock);
	return nr;
}
