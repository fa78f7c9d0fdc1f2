/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_node - node.c: zonelists
 */
#include "mm/phys/node.h"

#include <errno.h>

#include "lib/fake_os.h"
#include "lib/test.h"
#include "os/os.h"

static void itself_first_then_by_distance(void)
{
	struct topology topology;

	fake_topology(&topology, 4, 1 << 30);
	topology.nodes[1].distance[3] = 12;
	topology.nodes[1].distance[0] = 15;
	EXPECT_EQ(nodes_init(&topology), 0);
	EXPECT_EQ(nr_nodes, 4);
	EXPECT_EQ(node_zonelist(1, ZONELIST_FALLBACK)->nr, 4);
	EXPECT_EQ(node_zonelist(1, ZONELIST_FALLBACK)->nodes[0], 1);
	EXPECT_EQ(node_zonelist(1, ZONELIST_FALLBACK)->nodes[1], 3);
	EXPECT_EQ(node_zonelist(1, ZONELIST_FALLBACK)->nodes[2], 0);
	EXPECT_EQ(node_zonelist(1, ZONELIST_FALLBACK)->nodes[3], 2);
	EXPECT_EQ(node_zonelist(2, ZONELIST_NOFALLBACK)->nr, 1);
	EXPECT_EQ(node_zonelist(2, ZONELIST_NOFALLBACK)->nodes[0], 2);
}

static void equal_distances_are_spread(void)
{
	unsigned int    nr_first[MAX_NUMNODES] = { 0 };
	struct topology topology;

	fake_topology(&topology, 4, 1 << 30);
	EXPECT_EQ(nodes_init(&topology), 0);
	for (int node = 0; node < 4; node++)
		nr_first[node_zonelist(node, ZONELIST_FALLBACK)->nodes[1]]++;
	for (int node = 0; node < 4; node++)
		EXPECT(nr_first[node] <= 2);
}

/* Its memory is wanted by nobody near it. Distance comes before that. */
static void a_node_without_cpus_stands_in_first(void)
{
	const struct zonelist *list;
	struct topology        topology;

	fake_topology(&topology, 4, 1 << 30);
	topology.nodes[2].nr_cpus = 0;
	EXPECT_EQ(nodes_init(&topology), 0);
	for (int node = 0; node < 4; node++) {
		list = node_zonelist(node, ZONELIST_FALLBACK);
		EXPECT_EQ(list->nr, 4);
		EXPECT_EQ(list->nodes[0], node);
		EXPECT(node == 2 || list->nodes[1] == 2);
	}
	EXPECT_EQ(node_data[2].nr_cpus, 0);
	topology.nodes[0].distance[3] = 11;
	topology.nodes[0].distance[2] = 30;
	EXPECT_EQ(nodes_init(&topology), 0);
	list = node_zonelist(0, ZONELIST_FALLBACK);
	EXPECT(list->nodes[1] == 3 && list->nodes[3] == 2);
}

static void a_topology_that_only_counts_binds_nothing(void)
{
	struct topology topology;

	fake_topology(&topology, 2, 1 << 30);
	topology.binds = false;
	EXPECT_EQ(nodes_init(&topology), 0);
	EXPECT_EQ(node_data[1].os_node, OS_NODE_ANY);
	topology.nr_nodes = 0;
	EXPECT_EQ(nodes_init(&topology), -EINVAL);
}

static const struct test_case cases[] = {
	{ "itself first, then by distance", itself_first_then_by_distance },
	{ "equal distances are spread", equal_distances_are_spread },
	{ "a node without CPUs stands in first, where it is as near",
	  a_node_without_cpus_stands_in_first },
	{ "a topology that only counts binds nothing", a_topology_that_only_counts_binds_nothing },
};
TEST_MAIN(cases)
