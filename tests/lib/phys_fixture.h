/* SPDX-License-Identifier: Apache-2.0 */
/*
 * phys_fixture - nodes, stocks, metadata and arena zones on the fake os, for tests of F2 and F5
 *
 * Purpose     phys_start() boots what the daemon boots below the pools; phys_stop() checks that
 *             everything agrees with everything, takes it down and checks that nothing is left.
 */
#ifndef MMB_TESTS_LIB_PHYS_FIXTURE_H
#define MMB_TESTS_LIB_PHYS_FIXTURE_H

#include "mm/balance/alloc.h"
#include "mm/phys/stock.h"

enum { FRAMES_PER_MIB = 256 };

struct phys_setup {
	unsigned int    nr_nodes;          /* 0: one */
	uint64_t        base_mib, huge_mib; /* reserve of each node; 0: none */
	enum stock_mode mode;
	bool            no_metadata;       /* metadata is not charged */
	bool            quick;             /* of stock_request */
	bool            objects;           /* pool 0 and the caches of objects (obj/slab.h) */
	const char     *slub_debug;        /* see struct slab_setup */
	uint64_t        own_mib;           /* span of pool 0; 0: 64 MiB */
	bool            objects_stay;      /* some are live at the end, and that is right */
};
void phys_start(const struct phys_setup *setup);
void phys_stop(void);

/* An arena of `mib` with its zone, of the base stock, or the huge one if there is one. */
struct zone *phys_zone(int node, uint64_t mib);
void phys_zone_end(struct zone *zone);
/* The same on each of the first nr nodes. */
void phys_pool(struct pool_zones *pool, unsigned int nr, uint64_t mib);
void phys_pool_end(struct pool_zones *pool);

/* Pool 0 and the caches, for tests of what is above: phys_start() does it on wish. Pool 0 is paid
 * for by a stock of its own, so that what is counted in the nodes' is what the test takes. */
void objects_start(const struct phys_setup *setup);
/* The same where there is nothing below yet, on whatever os is installed; and its end. */
void objects_boot(void);
void objects_shutdown(void);
/* Expects that no object is live, and gives pool 0 back. */
void objects_stop(const struct phys_setup *setup);

/* Expects that no validator finds a difference. */
void phys_expect_valid(void);

#endif
