/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node - zonelists out of a topology's distances
 *
 * Purpose     See node.h.
 */
#include "mm/phys/node.h"

#include <errno.h>

#include "os/os.h"

struct pglist_data node_data[MAX_NUMNODES];
int                nr_nodes;

/* Among the nodes not in `used`: the nearest to `node`; at equal distance one with CPUs last, since
 * its memory is wanted by them, then the one that fewer lists have early (load). */
static int find_next_best_node(const struct topology *t, int node, uint64_t used,
			       const uint32_t *load)
{
	int      best = -1;
	uint64_t best_value = UINT64_MAX;

	for (int n = 0; n < (int)t->nr_nodes; n++) {
		uint64_t value = t->nodes[node].distance[n];

		if (used & 1ull << n)
			continue;
		/* The kernel's order of importance: distance, CPUs, load, number. */
		value = value << 32 | (uint64_t)(t->nodes[n].nr_cpus > 0) << 24 |
			(uint64_t)load[n] << 8 | (uint64_t)n;
		if (value < best_value) {
			best_value = value;
			best = n;
		}
	}
	return best;
}

static void build_fallback(const struct topology *t, int node, uint32_t *load)
{
	struct zonelist *list = &node_data[node].zonelists[ZONELIST_FALLBACK];
	uint64_t         used = 1ull << node;
	uint32_t         rank = t->nr_nodes;

	list->nr = 1;
	list->nodes[0] = (uint8_t)node;
	while (list->nr < t->nr_nodes) {
		int next = find_next_best_node(t, node, used, load);

		load[next] += rank--;
		used |= 1ull << next;
		list->nodes[list->nr++] = (uint8_t)next;
	}
}

int nodes_init(const struct topology *topology)
{
	uint32_t load[MAX_NUMNODES] = { 0 };

	if (topology->nr_nodes == 0 || topology->nr_nodes > MAX_NUMNODES)
		return -EINVAL;
	nr_nodes = (int)topology->nr_nodes;
	for (int n = 0; n < nr_nodes; n++) {
		const struct topology_node *from = &topology->nodes[n];

		node_data[n] = (struct pglist_data){
			.id = n,
			.os_node = topology->binds ? from->os_index : OS_NODE_ANY,
			.nr_cpus = from->nr_cpus,
			.bytes = from->bytes,
			.zonelists[ZONELIST_NOFALLBACK] = { .nr = 1, .nodes = { (uint8_t)n } },
		};
		build_fallback(topology, n, load);
	}
	return 0;
}
