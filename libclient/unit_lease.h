/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_lease - SLAB_LEASE and SLAB_RETURN: where a pool's stock gets its units
 *
 * Purpose     The stock_source of a pool handle.
 * Invariants  L1  An address is believed only if it lies in an arena window that is mapped here and
 *                 described by a slab map.
 *             L2  Units are forgotten before they are returned.
 */
#ifndef MMB_LIBCLIENT_UNIT_LEASE_H
#define MMB_LIBCLIENT_UNIT_LEASE_H

#include "heap/stock.h"

struct call;
struct heap_pool;
struct mmb_pool;

/* What a reply to `want` is checked against and goes to. */
struct unit_taking {
	const struct stock_lease *want;
	const struct heap_pool   *heap;
	uint64_t                 *addresses; /* want->count of them */
	uint32_t                 *nr;
};

/* The halves of one SLAB_LEASE, so that others can be on their way at the same time. */
int unit_ask(struct mmb_pool *pool, struct call *c, const struct stock_lease *want);
int unit_take(struct mmb_pool *pool, struct call *c, const struct unit_taking *t);

struct stock_source unit_source(struct mmb_pool *pool);

#endif
