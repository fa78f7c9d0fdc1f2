/* SPDX-License-Identifier: Apache-2.0 */
/* ours - see ours.h */
#include "malloc/ours.h"

#include <pthread.h>

#include "lib/bench.h"
#include "lib/raw.h"
#include "mmbroker.h"

static struct mmb      *mmb;
static struct mmb_pool *pool;
static struct raw      *raw;
static uint64_t         metadata; /* before the session */
static pthread_mutex_t  raw_lock = PTHREAD_MUTEX_INITIALIZER; /* one call at a time */

/* All that the pool was granted, in use or not, and what the daemon needed for it beside that. */
static uint64_t ours_charged(void)
{
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct raw_status status;
	uint64_t charged;
	int error;

	pthread_mutex_lock(&raw_lock);
	error = raw_status(raw, &status);
	pthread_mutex_unlock(&raw_lock);
	if (error != 0 || mmb_pool_stat(pool, &stat) != 0)
		return 0;
	charged = stat.committed > stat.resident ? stat.committed : stat.resident;
	return charged + (status.metadata > metadata ? status.metadata - metadata : 0);
}

int ours_open(struct run *r, const char *socket)
{
	struct raw_status status;
	int error = raw_open(socket, &raw);

	if (error == 0)
		error = raw_status(raw, &status);
	if (error != 0)
		return error;
	/* Who asks the daemon is the bench and not the program. */
	r->scratch += raw_memory();
	metadata = status.metadata;
	error = mmb_open(socket, NULL, &mmb);
	if (error == 0)
		error = mmb_pool_open(mmb, NULL, MMB_POOL_PRIVATE, NULL, &pool);
	if (error != 0)
		return bench_because(error, "connecting: %s", mmb_error());
	r->pool = pool;
	r->charged = ours_charged;
	return 0;
}

void ours_close(struct run *r)
{
	mmb_pool_close(pool);
	mmb_close(mmb);
	raw_close(raw);
}
