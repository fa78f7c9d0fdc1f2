/* SPDX-License-Identifier: Apache-2.0 */
/*
 * undo - the reply to a request that nobody waits for any more
 *
 * Invariants  N1  The undoing request is sent without waiting, and its own reply is undone by
 *                 nothing: a refusal means that the daemon knows nothing of it either. If the
 *                 socket has no room for it, it goes before the next request, or when a reply has
 *                 come (C8 of call.h).
 */
#include "undo.h"

#include <stddef.h>
#include <sys/socket.h>

#include "connection.h"

static ssize_t close_region(struct wire_packet *head, struct call *c)
{
	const Mmb__Wire__RegionOpenReply *reply = (const void *)c->reply;
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;

	head->method = MMB_METHOD_REGION_CLOSE;
	request.region = reply->region;
	request.unmake = true;
	return wire_encode(head, &request.base, c->out, sizeof(c->out));
}

static ssize_t close_clones(struct wire_packet *head, struct call *c)
{
	const Mmb__Wire__RegionCloneReply *reply = (const void *)c->reply;
	Mmb__Wire__RegionRequest request = MMB__WIRE__REGION_REQUEST__INIT;

	if (!reply->n_regions)
		return -1;
	head->method = MMB_METHOD_REGION_CLOSE;
	request.unmake = true;
	request.region = reply->regions[0];
	request.n_more = reply->n_regions - 1;
	request.more = reply->regions + 1;
	return wire_encode(head, &request.base, c->out, sizeof(c->out));
}

static ssize_t close_pool(struct wire_packet *head, struct call *c)
{
	const Mmb__Wire__PoolOpenReply *reply = (const void *)c->reply;
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;

	head->method = MMB_METHOD_POOL_CLOSE;
	request.pool = reply->pool;
	return wire_encode(head, &request.base, c->out, sizeof(c->out));
}

static ssize_t free_pages(struct wire_packet *head, struct call *c)
{
	const Mmb__Wire__PagesAllocReply *reply = (const void *)c->reply;
	Mmb__Wire__PagesFreeRequest request = MMB__WIRE__PAGES_FREE_REQUEST__INIT;

	head->method = MMB_METHOD_PAGES_FREE;
	request.pool = c->pool;
	request.order = c->order;
	request.n_addresses = reply->n_addresses;
	request.addresses = reply->addresses;
	return wire_encode(head, &request.base, c->out, sizeof(c->out));
}

static ssize_t return_units(struct wire_packet *head, struct call *c)
{
	const Mmb__Wire__SlabLeaseReply *reply = (const void *)c->reply;
	Mmb__Wire__SlabReturnRequest request = MMB__WIRE__SLAB_RETURN_REQUEST__INIT;
	uint32_t units[MMB_PAGES_BATCH];

	if (reply->n_addresses > MMB_PAGES_BATCH)
		return -1;
	for (size_t i = 0; i < reply->n_addresses; i++)
		units[i] = c->order;
	head->method = MMB_METHOD_SLAB_RETURN;
	request.pool = c->pool;
	request.n_addresses = request.n_units = reply->n_addresses;
	request.addresses = reply->addresses;
	request.units = units;
	return wire_encode(head, &request.base, c->out, sizeof(c->out));
}

static const struct undo_way {
	uint32_t method;
	ssize_t (*encode)(struct wire_packet *head, struct call *c);
} ways[] = {
	{ MMB_METHOD_REGION_CREATE, close_region },
	{ MMB_METHOD_REGION_OPEN, close_region },
	{ MMB_METHOD_REGION_CLONE, close_clones },
	{ MMB_METHOD_POOL_OPEN, close_pool },
	{ MMB_METHOD_PAGES_ALLOC, free_pages },
	{ MMB_METHOD_SLAB_LEASE, return_units },
};

static const struct undo_way *way_of(struct call *c)
{
	struct wire_packet packet;
	size_t i;

	if (wire_decode(c->bytes, c->message.length, &packet) || packet.code)
		return NULL;
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (ways[i].method == c->method)
			return call_unpack(c, &packet) ? NULL : &ways[i];
	}
	return NULL;
}

/* It has no id yet: it gets one when it is sent. */
static bool encode_undoing(struct call *c, const struct undo_way *way)
{
	struct wire_packet head = { .id = 0 };
	ssize_t length = way->encode(&head, c);

	if (length <= 0)
		return false;
	c->method = head.method;
	c->out_bytes = (size_t)length;
	c->again = 0;
	c->done = false;
	return true;
}

void undo_late_reply(struct mmb *mmb, struct call *c)
{
	const struct undo_way *way = way_of(c);

	wire_discard_fds(&c->message);
	if (way && encode_undoing(c, way))
		call_send_orphan(mmb, c);
	else
		call_free(mmb, c);
}
