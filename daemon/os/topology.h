/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topology - NUMA nodes that have memory, from hwloc
 *
 * Purpose     Node list, CPUs of each node, distances. HWLOC_SYNTHETIC and HWLOC_XMLFILE are
 *             honoured; such a topology counts nodes and never binds (`binds` is false).
 */
#ifndef MMB_OS_TOPOLOGY_H
#define MMB_OS_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

struct topology_node {
	int      os_index;                 /* kernel's node number; for binding */
	uint64_t bytes;                    /* memory of the node, as hwloc tells */
	uint32_t nr_cpus;                  /* 0: a node without CPUs */
	uint32_t distance[MAX_NUMNODES];   /* to node i, 10 for itself */
};

struct topology {
	uint32_t             nr_nodes;
	uint32_t             nr_cpus;
	bool                 binds;        /* a real topology: policies may bind to os_index */
	char                 source[64];   /* "this machine", "synthetic …" or "xml …" */
	struct topology_node nodes[MAX_NUMNODES];
	int8_t               cpu_node[1024]; /* node of hardware CPU i, -1 unknown */
};

/* -EINVAL: of what is in out->source, synthetic or a file, hwloc makes no topology. */
int topology_discover(struct topology *out);
/* Index of the node of the CPU the caller runs on; 0 when unknown. */
int topology_current_node(const struct topology *t);

#endif
