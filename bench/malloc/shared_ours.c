/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_ours - one pool of ours in several processes
 *
 * Purpose     A handle doesn't survive a fork: each process connects for itself and opens the
 *             pool by the name that their parent gave it.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/bench.h"
#include "lib/shared_heap.h"
#include "mmbroker.h"

struct shared_pool {
	char        name[64];
	const char *socket;
};

static void *pool_make(const char *socket)
{
	static struct shared_pool pool;

	snprintf(pool.name, sizeof(pool.name), "bench-%d", (int)getpid());
	pool.socket = socket;
	return &pool;
}

static int pool_attach(void *made, void **heap)
{
	const struct shared_pool *shared = made;
	struct mmb_pool *pool;
	struct mmb *mmb;
	int error = mmb_open(shared->socket, NULL, &mmb);

	if (error == 0)
		error = mmb_pool_open(mmb, shared->name, MMB_POOL_CREATE, NULL, &pool);
	if (error != 0)
		return bench_because(error, "pool %s: %s", shared->name, mmb_error());
	*heap = pool;
	return 0;
}

static void *pool_take(void *heap, size_t bytes)
{
	return mmb_malloc(heap, bytes);
}

static void pool_give(void *heap, void *at)
{
	mmb_free(at);
}

const struct shared_heap shared_heap_ours = { "ours", pool_make, pool_attach, pool_take,
					      pool_give };
