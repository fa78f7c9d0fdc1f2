/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node - NUMA nodes that have memory, and the order in which others stand in for one
 *
 * Purpose     struct pglist_data per node, with its zonelists: nodes by distance, itself first.
 * Invariants  N1  a FALLBACK list has every node once; a NOFALLBACK list has the node alone.
 * Locking     none: fixed after nodes_init.
 * Not here    Zones, which belong to pools (zone.h); stocks (stock.h).
 */
#ifndef MMB_MM_PHYS_NODE_H
#define MMB_MM_PHYS_NODE_H

#include "base/types.h"
#include "os/topology.h"

enum zonelist_kind { ZONELIST_FALLBACK, ZONELIST_NOFALLBACK, NR_ZONELISTS };

struct zonelist {
	uint32_t nr;
	uint8_t  nodes[MAX_NUMNODES];
};

/* c: all fixed after nodes_init */
struct pglist_data {
	int             id;
	int             os_node; /* for binding; OS_NODE_ANY: a topology that only counts */
	uint32_t        nr_cpus;
	uint64_t        bytes;
	struct zonelist zonelists[NR_ZONELISTS];
};

extern struct pglist_data node_data[MAX_NUMNODES];
extern int                nr_nodes;

/* -EINVAL: no node. Nodes at equal distance are spread, as in the kernel, so that not all fall
 * back to the same one. */
int nodes_init(const struct topology *topology);

static inline const struct zonelist *node_zonelist(int node, enum zonelist_kind kind)
{
	return &node_data[node].zonelists[kind];
}

#endif
