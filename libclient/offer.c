/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offer - a private pool that came with HELLO: claimed, given back, forgotten
 *
 * Purpose     See offer.h.
 */
#include "offer.h"

#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "connection.h"
#include "proto/slab_map.h"

bool offer_read(struct pool_offer *offer, const Mmb__Wire__PoolOffer *reply, const int fds[2])
{
	const Mmb__Wire__ArenaWindow *arena = reply->arena;

	if (!reply->pool || !arena || arena->length < SLAB_UNIT_BYTES ||
	    reply->unit % SLAB_UNIT_BYTES || reply->unit < arena->address ||
	    reply->unit - arena->address > arena->length - SLAB_UNIT_BYTES)
		return false;
	*offer = (struct pool_offer){
		.handle = reply->pool,
		.member = reply->member,
		.key = reply->key,
		.address = arena->address,
		.length = arena->length,
		.hugetlb = arena->hugetlb,
		.unit = reply->unit,
		.arena = fds[0],
		.map = fds[1],
	};
	return true;
}

/* False: there is none. */
static bool detach(struct mmb *mmb, struct pool_offer *out)
{
	pthread_mutex_lock(&mmb->lock);
	*out = mmb->offer;
	mmb->offer.handle = 0;
	pthread_mutex_unlock(&mmb->lock);
	if (!out->handle)
		return false;
	if (mmb->entry) {
		process_set_fd(mmb->entry, PROCESS_ARENA, -1);
		process_set_fd(mmb->entry, PROCESS_SLAB_MAP, -1);
	}
	return true;
}

void offer_close_fds(const struct pool_offer *offer)
{
	close(offer->arena);
	close(offer->map);
}

/* F1. By system calls: the file may have become shorter than it was. */
static bool claim(const struct pool_offer *offer)
{
	uint64_t unit = (offer->unit - offer->address) >> SLAB_UNIT_SHIFT;
	off_t header = (off_t)(unit << SLAB_HEADER_SHIFT);
	const uint32_t claimed = 1;
	uint32_t offered = 0;

	if (pwrite(offer->map, &claimed, sizeof(claimed),
		   header + (off_t)offsetof(struct slab_header, claimed)) != sizeof(claimed))
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	return pread(offer->map, &offered, sizeof(offered),
		     header + (off_t)offsetof(struct slab_header, offered)) == sizeof(offered) &&
	       offered;
}

/* Nobody waits for the answer; it may have been withdrawn. */
static void close_handle(struct mmb *mmb, uint32_t handle)
{
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;
	struct call *c;
	int error;

	c = call_get(mmb, &error);
	if (!c)
		return;
	request.pool = handle;
	if (!call_begin(mmb, c, MMB_METHOD_POOL_CLOSE, &request.base))
		call_abandon(c);
	call_put(mmb, c);
}

bool offer_take(struct mmb *mmb, struct pool_offer *out)
{
	if (!detach(mmb, out))
		return false;
	if (!channel_is_broken(&mmb->channel) && claim(out))
		return true;
	offer_close_fds(out);
	/* Either side may have gone back because of the other: then it is nobody's. */
	close_handle(mmb, out->handle);
	return false;
}

void offer_give_back(struct mmb *mmb)
{
	struct pool_offer offer;

	if (!detach(mmb, &offer))
		return;
	offer_close_fds(&offer);
	close_handle(mmb, offer.handle);
}

void offer_forget(struct mmb *mmb)
{
	struct pool_offer offer;

	if (detach(mmb, &offer))
		offer_close_fds(&offer);
}
