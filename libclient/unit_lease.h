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

struct mmb_pool;

struct stock_source unit_source(struct mmb_pool *pool);

#endif
