/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw_leases - units, slab maps and caches by hand
 *
 * Locking     see raw_client.h.
 */
#include "lib/raw_client.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int raw_lease(struct raw *r, uint32_t units, uint32_t count, uint64_t *out)
{
	Mmb__Wire__SlabLeaseRequest      request = MMB__WIRE__SLAB_LEASE_REQUEST__INIT;
	const Mmb__Wire__SlabLeaseReply *reply;
	int                              error;

	request.pool = r->pool;
	request.units = units;
	request.count = count;
	error = raw_call(r, MMB_METHOD_SLAB_LEASE, &request);
	if (error)
		return error;
	reply = r->body;
	if (!reply->n_addresses || reply->n_addresses > count)
		return -EBADMSG;
	memcpy(out, reply->addresses, reply->n_addresses * sizeof(*out));
	return (int)reply->n_addresses;
}

int raw_return(struct raw *r, const uint64_t *addresses, const uint32_t *units, uint32_t nr)
{
	Mmb__Wire__SlabReturnRequest request = MMB__WIRE__SLAB_RETURN_REQUEST__INIT;

	request.pool = r->pool;
	request.addresses = (uint64_t *)(uintptr_t)addresses;
	request.n_addresses = nr;
	request.units = (uint32_t *)(uintptr_t)units;
	request.n_units = nr;
	return raw_call(r, MMB_METHOD_SLAB_RETURN, &request);
}

int raw_return_units(struct raw *r, const uint64_t *addresses, uint32_t nr)
{
	uint32_t ones[MMB_PAGES_BATCH];

	for (uint32_t i = 0; i < MMB_PAGES_BATCH; i++)
		ones[i] = 1;
	return raw_return(r, addresses, ones, nr);
}

int raw_slab_map(struct raw *r, struct raw_slab_map *out, int *fd)
{
	Mmb__Wire__SlabMapRequest      request = MMB__WIRE__SLAB_MAP_REQUEST__INIT;
	const Mmb__Wire__SlabMapReply *reply;
	int                            error;

	request.pool = r->pool;
	error = raw_call(r, MMB_METHOD_SLAB_MAP, &request);
	if (error)
		return error;
	reply = r->body;
	if (!r->nr_fds || reply->n_windows != r->nr_fds)
		return -EBADMSG;
	out->window = reply->windows[0]->address;
	out->bytes = reply->windows[0]->length >> 9;
	out->at = mmap(NULL, out->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		       r->fds[0], 0);
	error = out->at == MAP_FAILED ? -errno : 0;
	for (uint32_t i = fd ? 1 : 0; i < r->nr_fds; i++)
		close(r->fds[i]);
	if (fd)
		*fd = r->fds[0];
	r->nr_fds = 0;
	return error;
}

int raw_cache_open(struct raw *r, const char *name, uint32_t object, uint32_t align)
{
	Mmb__Wire__CacheOpenRequest request = MMB__WIRE__CACHE_OPEN_REQUEST__INIT;
	int                         error;

	request.pool = r->pool;
	request.name = (char *)(uintptr_t)name;
	request.object = object;
	request.align = align;
	error = raw_call(r, MMB_METHOD_CACHE_OPEN, &request);
	if (error)
		return error;
	return (int)((const Mmb__Wire__CacheOpenReply *)r->body)->cache;
}

int raw_pool_close(struct raw *r)
{
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;

	request.pool = r->pool;
	return raw_call(r, MMB_METHOD_POOL_CLOSE, &request);
}

int raw_pool_stat(struct raw *r, Mmb__Wire__PoolStatReply *out)
{
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;
	int                    error;

	request.pool = r->pool;
	error = raw_call(r, MMB_METHOD_POOL_STAT, &request);
	if (!error)
		*out = *(const Mmb__Wire__PoolStatReply *)r->body;
	return error;
}
