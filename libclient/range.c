/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range - objects above 4 MiB: regions of 2 MiB pages, private to the process
 *
 * Purpose     See range.h.
 * Locking     ranges_lock for the list; no request to the daemon is made under it.
 */
#include "range.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "error.h"
#include "mmbroker.h"

enum { RANGE_PAGE = 2 << 20 };

/* l: ranges_lock */
struct range {
	LIST_ENTRY(range)  link;    /* (l) */
	uint64_t           address; /* (l) */
	uint64_t           length;  /* (l) */
	struct mmb_region *region;  /* (l) */
};
static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, range) ranges = LIST_HEAD_INITIALIZER(ranges);

static struct range *find_locked(uint64_t object)
{
	struct range *r;

	LIST_FOREACH(r, &ranges, link)
		if (r->address == object)
			return r;
	return NULL;
}

uint64_t range_alloc(struct mmb_pool *pool, size_t size)
{
	struct mmb_region_options o = { .size = sizeof(o), .page_size = RANGE_PAGE };
	uint64_t length = (size + RANGE_PAGE - 1) & ~(uint64_t)(RANGE_PAGE - 1);
	struct range *r;

	if (length < size) {
		fail(-ENOMEM, "%zu bytes are more than an address space holds", size);
		return 0;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		fail(-ENOMEM, "no memory for a handle of %zu bytes of objects", size);
		return 0;
	}
	if (mmb_region_create(pool, length, &o, &r->region)) {
		free(r);
		return 0;
	}
	r->address = (uintptr_t)mmb_region_address(r->region);
	r->length = length;
	pthread_mutex_lock(&ranges_lock);
	LIST_INSERT_HEAD(&ranges, r, link);
	pthread_mutex_unlock(&ranges_lock);
	return r->address;
}

bool range_free(uint64_t object)
{
	struct range *r;

	pthread_mutex_lock(&ranges_lock);
	r = find_locked(object);
	if (r)
		LIST_REMOVE(r, link);
	pthread_mutex_unlock(&ranges_lock);
	if (!r)
		return false;
	mmb_region_close(r->region);
	free(r);
	return true;
}

size_t range_length(uint64_t object)
{
	struct range *r;
	size_t length;

	pthread_mutex_lock(&ranges_lock);
	r = find_locked(object);
	length = r ? r->length : 0;
	pthread_mutex_unlock(&ranges_lock);
	return length;
}

bool range_is(const void *p)
{
	return range_length((uintptr_t)p) != 0;
}
