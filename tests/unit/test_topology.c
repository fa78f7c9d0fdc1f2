/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_topology - the machine, a synthetic and a described one
 */
#include "os/topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/test.h"

static struct topology t;

static void discover_synthetic(const char *description)
{
	unsetenv("HWLOC_XMLFILE");
	setenv("HWLOC_SYNTHETIC", description, 1);
	EXPECT_EQ(topology_discover(&t), 0);
	unsetenv("HWLOC_SYNTHETIC");
}

static void real_machine(void)
{
	unsetenv("HWLOC_SYNTHETIC");
	unsetenv("HWLOC_XMLFILE");
	EXPECT_EQ(topology_discover(&t), 0);
	EXPECT(t.nr_nodes >= 1 && t.nr_cpus >= 1);
	EXPECT(!strcmp(t.source, "this machine"));
	EXPECT(t.nodes[0].bytes > 0);
	EXPECT_EQ(t.nodes[0].distance[0], 10);
	EXPECT(topology_current_node(&t) >= 0);
	EXPECT(topology_current_node(&t) < (int)t.nr_nodes);
}

static void synthetic_nodes(void)
{
	discover_synthetic("node:4(memory=1073741824) core:2 pu:2");
	EXPECT_EQ(t.nr_nodes, 4);
	EXPECT_EQ(t.nr_cpus, 16);
	EXPECT(!t.binds);
	EXPECT(!strncmp(t.source, "synthetic ", 10));
	for (uint32_t i = 0; i < 4; i++) {
		EXPECT_EQ(t.nodes[i].bytes, 1 << 30);
		EXPECT_EQ(t.nodes[i].nr_cpus, 4);
		EXPECT_EQ(t.cpu_node[4 * i], i);
		for (uint32_t j = 0; j < 4; j++)
			EXPECT_EQ(t.nodes[i].distance[j], i == j ? 10 : 20);
	}
	EXPECT_EQ(t.cpu_node[16], -1);
}

static void too_many_nodes(void)
{
	setenv("HWLOC_SYNTHETIC", "node:32(memory=1073741824) pu:1", 1);
	EXPECT(topology_discover(&t) < 0);
	unsetenv("HWLOC_SYNTHETIC");
}

/* hwloc alone would describe the real machine, and nobody would notice. */
static void nonsense_is_no_topology(void)
{
	setenv("HWLOC_SYNTHETIC", "nothing of the kind", 1);
	EXPECT_EQ(topology_discover(&t), -EINVAL);
	EXPECT(strstr(t.source, "nothing of the kind"));
	unsetenv("HWLOC_SYNTHETIC");
	setenv("HWLOC_XMLFILE", "/no/such/file.xml", 1);
	EXPECT_EQ(topology_discover(&t), -EINVAL);
	EXPECT(strstr(t.source, "/no/such/file.xml"));
	unsetenv("HWLOC_XMLFILE");
}

/* Three nodes: the second has no CPUs, the third no memory; distances in the file. */
static const char xml[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
	"<topology version=\"2.0\">\n"
	" <object type=\"Machine\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
	" allowed_cpuset=\"0x3\" nodeset=\"0xd\" complete_nodeset=\"0xd\""
	" allowed_nodeset=\"0xd\" gp_index=\"1\">\n"
	"  <object type=\"NUMANode\" os_index=\"2\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
	" nodeset=\"0x4\" complete_nodeset=\"0x4\" gp_index=\"5\" local_memory=\"0\"/>\n"
	"  <object type=\"NUMANode\" os_index=\"3\" cpuset=\"0x0\" complete_cpuset=\"0x0\""
	" nodeset=\"0x8\" complete_nodeset=\"0x8\" gp_index=\"6\""
	" local_memory=\"4294967296\"/>\n"
	"  <object type=\"Package\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"2\">\n"
	"   <object type=\"NUMANode\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"3\""
	" local_memory=\"8589934592\"/>\n"
	"   <object type=\"PU\" os_index=\"0\" cpuset=\"0x1\" complete_cpuset=\"0x1\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"7\"/>\n"
	"   <object type=\"PU\" os_index=\"1\" cpuset=\"0x2\" complete_cpuset=\"0x2\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"8\"/>\n"
	"  </object>\n"
	" </object>\n"
	" <distances2 type=\"NUMANode\" nbobjs=\"2\" kind=\"5\" name=\"NUMALatency\""
	" indexing=\"os\">\n"
	"  <indexes length=\"4\">0 3 </indexes>\n"
	"  <u64values length=\"12\">10 17 28 10 </u64values>\n"
	" </distances2>\n"
	"</topology>\n";

static void xml_nodes(void)
{
	char path[] = "/tmp/mmb-test-topology-XXXXXX";
	int  fd = mkstemp(path), error, near = -1, far = -1;

	EXPECT(fd >= 0);
	EXPECT_EQ(write(fd, xml, strlen(xml)), (ssize_t)strlen(xml));
	close(fd);
	setenv("HWLOC_XMLFILE", path, 1);
	error = topology_discover(&t);
	unsetenv("HWLOC_XMLFILE");
	unlink(path);
	EXPECT_EQ(error, 0);
	EXPECT(!t.binds);
	EXPECT(!strncmp(t.source, "xml ", 4));
	EXPECT_EQ(t.nr_nodes, 2);
	for (int i = 0; i < 2; i++)
		*(t.nodes[i].os_index == 0 ? &near : &far) = i;
	EXPECT(near >= 0 && far >= 0);
	EXPECT_EQ(t.nodes[far].os_index, 3);
	EXPECT_EQ(t.nodes[far].nr_cpus, 0);
	EXPECT_EQ(t.nodes[near].nr_cpus, 2);
	EXPECT_EQ(t.cpu_node[0], near);
	EXPECT_EQ(t.cpu_node[1], near);
	EXPECT_EQ(t.nodes[near].distance[far], 17);
	EXPECT_EQ(t.nodes[far].distance[near], 28);
}

static const struct test_case cases[] = {
	{ "the machine's own nodes have memory, and the caller runs on one", real_machine },
	{ "a synthetic topology counts nodes and never binds", synthetic_nodes },
	{ "more nodes than the broker can hold are refused", too_many_nodes },
	{ "what hwloc can make nothing of is refused", nonsense_is_no_topology },
	{ "nodes without CPUs count, nodes without memory don't, distances are taken", xml_nodes },
};
TEST_MAIN(cases)
