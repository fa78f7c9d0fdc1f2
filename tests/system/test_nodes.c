/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_nodes - several nodes, as hwloc describes them: stocks, policies, placement, refusals
 *
 * Purpose     Topologies are pretended (HWLOC_SYNTHETIC, HWLOC_XMLFILE): memory is counted by
 *             node and never bound, so all of this runs on a host with one node.
 * Meaning     The daemon's own memory (page tables and the like) is charged to node 0: there
 *             figures are compared with a tolerance, elsewhere exactly.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/stage.h"

enum {
	NODES_MAX = 4,
	NODE_BYTES = 64 * MIB,
	OWN_MEMORY = 1 * MIB, /* what the broker may take for itself meanwhile, on node 0 */
	BYTES = 8 * MIB,
	XML_PATH_BYTES = 64,
};

static const char *const two_flags[] = { "--memory.reserve=128M", NULL };
static const char *const four_flags[] = { "--memory.reserve=256M", NULL };
static const char *const two_nodes[] = { "HWLOC_SYNTHETIC=node:2 pu:1", NULL };
static const char *const four_nodes[] = { "HWLOC_SYNTHETIC=node:4 pu:1", NULL };
static const char *const memory_node[] = {
	"HWLOC_SYNTHETIC=pack:1 [numa(memory=1073741824)] [numa(memory=1073741824)] pu:2", NULL
};
static char xml_variable[XML_PATH_BYTES];
static const char *const xml_nodes[] = { xml_variable, NULL };

static const struct setting two = { two_flags, two_nodes };
static const struct setting four = { four_flags, four_nodes };
static const struct setting one_without_cpus = { two_flags, memory_node };
static const struct setting from_xml = { two_flags, xml_nodes };

/* ---- what the broker says about its nodes ---- */

struct stocks {
	int64_t reserve[NODES_MAX], committed[NODES_MAX], present[NODES_MAX], margin[NODES_MAX];
};

static struct stocks read_stocks(const char *socket)
{
	const char *status = mmbctl(socket, "status --json");
	struct stocks s;

	for (int node = 0; node < NODES_MAX; node++) {
		char mark[48];

		snprintf(mark, sizeof(mark), "\"node\":%d,\"stock\":\"base\"", node);
		s.reserve[node] = json_number(status, mark, "reserve");
		s.committed[node] = json_number(status, mark, "committed");
		s.present[node] = json_number(status, mark, "present");
		s.margin[node] = json_number(status, mark, "margin");
	}
	return s;
}

static bool grown_by(int node, int64_t now, int64_t before, int64_t by)
{
	int64_t tolerance = node ? 0 : OWN_MEMORY;
	bool right = now - before >= by && now - before <= by + tolerance;

	if (!right)
		printf("  node %d: %lld grew by %lld, not by %lld\n", node, (long long)before,
		       (long long)(now - before), (long long)by);
	return right;
}

/* Committed bytes of each node have grown by `by`, all present if `present`. */
static void expect_growth(struct actor *a, const struct stocks *before, const int64_t *by,
			  bool present)
{
	struct stocks now = read_stocks(a->socket);

	for (int node = 0; node < NODES_MAX && now.reserve[node] >= 0; node++) {
		CLIENT_EXPECT(
			grown_by(node, now.committed[node], before->committed[node], by[node]));
		CLIENT_EXPECT(grown_by(node, now.present[node], before->present[node],
				       present ? by[node] : 0));
	}
}

/* The figure of a zone in zoneinfo. */
static int64_t zone_figure(const char *socket, int node, const char *zone, const char *name)
{
	const char *text = mmbctl(socket, "zoneinfo");
	char header[48];

	snprintf(header, sizeof(header), "Node %d, zone %8s", node, zone);
	text = text ? strstr(text, header) : NULL;
	return text ? line_number(text, name) : -1;
}

static void expect_reported(const struct setting *setting, int nr, const char *source)
{
	struct fixture *f;
	struct stocks s;
	char line[64];

	stage_set(setting);
	f = stage_begin();
	s = read_stocks(f->socket);
	EXPECT(strstr(mmbctl(f->socket, "status --json"), source));
	for (int node = 0; node < nr; node++) {
		EXPECT_EQ(s.reserve[node], NODE_BYTES);
		snprintf(line, sizeof(line), "node %d: base stock of 64 MiB", node);
		EXPECT(fixture_log_says(f, line));
		snprintf(line, sizeof(line), "Node %d, zone   Normal ", node);
		EXPECT(strstr(mmbctl(f->socket, "buddyinfo"), line));
		EXPECT(zone_figure(f->socket, node, "Normal", "spanned") > 0);
		EXPECT_EQ(zone_figure(f->socket, node, "Movable", "present"), 0);
	}
	EXPECT(nr == NODES_MAX || s.reserve[nr] < 0);
	stage_end();
}

static void stocks_are_split(void)
{
	expect_reported(&two, 2, "synthetic node:2");
	expect_reported(&four, 4, "synthetic node:4");
}

/* ---- regions ---- */

static struct mmb_region *region_with(struct actor *a, size_t bytes, uint32_t policy, uint64_t mask)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .node_policy = policy,
						    .node_mask = mask };
	struct mmb_region *region = NULL;

	if (mmb_region_create(a->pool, bytes, &options, &region))
		printf("  %s\n", mmb_error());
	CLIENT_EXPECT(region);
	return region;
}

static int refused_with(struct actor *a, size_t bytes, uint32_t policy, uint64_t mask)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .node_policy = policy,
						    .node_mask = mask };
	struct mmb_region *region = NULL;
	int error;

	error = mmb_region_create(a->pool, bytes, &options, &region);
	CLIENT_EXPECT(!region);
	CLIENT_EXPECT(mmb_error()[0]);
	return error;
}

static void fill_and_expect(struct actor *a, struct mmb_region *region, const int64_t *by,
			    const struct stocks *before)
{
	size_t length = mmb_region_length(region);

	expect_growth(a, before, by, false);
	stamp(act_at(region), length, 1);
	CLIENT_EXPECT(is_stamped(act_at(region), length, 1));
	expect_growth(a, before, by, true);
}

static void bind_region(struct actor *a)
{
	const int64_t by[NODES_MAX] = { 0, BYTES };
	struct mmb_region *region;
	struct stocks before;

	act_pool(a, 0);
	before = read_stocks(a->socket);
	region = region_with(a, BYTES, MMB_NODE_BIND, 2);
	fill_and_expect(a, region, by, &before);
	CLIENT_EXPECT_EQ(zone_figure(a->socket, 1, "Movable", "present"), BYTES / PAGE);
	CLIENT_EXPECT_EQ(zone_figure(a->socket, 0, "Movable", "present"), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES / 2, MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(zone_figure(a->socket, 1, "Movable", "present"), BYTES / PAGE / 2);
}

/* One node is full; the others have room, and it doesn't help. */
static void fill_one_node(struct actor *a)
{
	struct stocks before, after;
	char figure[32];
	int64_t most;

	act_pool(a, 0);
	before = read_stocks(a->socket);
	most = before.reserve[1] - before.margin[1] - before.committed[1];
	CLIENT_EXPECT_EQ(refused_with(a, (size_t)most + PAGE, MMB_NODE_BIND, 2), -ENOMEM);
	snprintf(figure, sizeof(figure), "%lld", (long long)most);
	CLIENT_EXPECT(strstr(mmb_error(), figure));
	after = read_stocks(a->socket);
	CLIENT_EXPECT_EQ(before.committed[1], after.committed[1]);
	CLIENT_EXPECT_EQ(before.committed[0], after.committed[0]);
	region_with(a, (size_t)most, MMB_NODE_BIND, 2);
	CLIENT_EXPECT_EQ(refused_with(a, PAGE, MMB_NODE_BIND, 2), -ENOMEM);
	stamp(act_at(region_with(a, BYTES, MMB_NODE_LOCAL, 0)), BYTES, 1);
	stamp(act_at(region_with(a, BYTES, MMB_NODE_BIND, 1)), BYTES, 1);
	stamp(act_at(region_with(a, BYTES, MMB_NODE_PREFERRED, 2)), BYTES, 1);
}

static void bind(void)
{
	stage_set(&two);
	PLAY(ROLE(bind_region));
	PLAY(ROLE(fill_one_node));
}

static void interleave_all(struct actor *a)
{
	const int64_t by[NODES_MAX] = { BYTES / 4, BYTES / 4, BYTES / 4, BYTES / 4 };
	struct mmb_region *region;
	struct stocks before, after;

	act_pool(a, 0);
	before = read_stocks(a->socket);
	region = region_with(a, BYTES, MMB_NODE_INTERLEAVE, 0);
	for (size_t i = 0; i < 16; i++)
		act_at(region)[i * PAGE] = 1;
	after = read_stocks(a->socket);
	for (int node = 1; node < 4; node++)
		CLIENT_EXPECT(after.present[node] - before.present[node] >= 4 * PAGE);
	stamp(act_at(region), BYTES, 1);
	expect_growth(a, &before, by, true);
}

static void interleave_some(struct actor *a)
{
	const int64_t by[NODES_MAX] = { 0, BYTES / 2, 0, BYTES / 2 };
	struct stocks before;

	act_pool(a, 0);
	before = read_stocks(a->socket);
	fill_and_expect(a, region_with(a, BYTES, MMB_NODE_INTERLEAVE, 0xa), by, &before);
}

/* More than one node has: the rest of the allowed ones take over. */
static void interleave_beyond(struct actor *a)
{
	int64_t by[NODES_MAX] = { 0 };
	struct stocks before;
	int64_t most;

	act_pool(a, 0);
	region_with(a, 40 * MIB, MMB_NODE_BIND, 2);
	before = read_stocks(a->socket);
	most = before.reserve[1] - before.margin[1] - before.committed[1];
	by[1] = most;
	by[3] = 48 * MIB - most;
	fill_and_expect(a, region_with(a, 48 * MIB, MMB_NODE_INTERLEAVE, 0xa), by, &before);
}

static void interleave(void)
{
	stage_set(&four);
	PLAY(ROLE(interleave_all));
	PLAY(ROLE(interleave_some));
	PLAY(ROLE(interleave_beyond));
}

static void prefer(struct actor *a)
{
	int64_t by[NODES_MAX] = { 0, 0, BYTES, 0 };
	struct stocks before;
	int64_t most;

	act_pool(a, 0);
	before = read_stocks(a->socket);
	fill_and_expect(a, region_with(a, BYTES, MMB_NODE_PREFERRED, 4), by, &before);
	before = read_stocks(a->socket);
	most = before.reserve[2] - before.margin[2] - before.committed[2];
	region_with(a, (size_t)most + BYTES, MMB_NODE_PREFERRED, 4);
	CLIENT_EXPECT_EQ(read_stocks(a->socket).committed[2], before.committed[2] + most);
}

static void prefer_a_node(void)
{
	stage_set(&four);
	PLAY(ROLE(prefer));
}

/* CPU n is on node n. */
static void stay_local(struct actor *a)
{
	int64_t by[NODES_MAX] = { 0 };
	struct stocks before;

	act_on_cpu((int)a->place);
	act_pool(a, 0);
	await(a->place);
	before = read_stocks(a->socket);
	by[a->place] = BYTES;
	fill_and_expect(a, region_with(a, BYTES, MMB_NODE_LOCAL, 0), by, &before);
	cue(a->place + 1);
	/* What ends now would change the other's figures. */
	await(2);
}

static void local(void)
{
	cpu_set_t allowed;

	EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	if (!CPU_ISSET(0, &allowed) || !CPU_ISSET(1, &allowed))
		SKIP("two CPUs to be local to");
	stage_set(&two);
	PLAY(ROLE(stay_local), ROLE(stay_local));
}

static void impossible_policies(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options),
						  .node_policy = MMB_NODE_BIND,
						  .node_mask = 4 };
	struct mmb_pool *pool = NULL;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(refused_with(a, PAGE, MMB_NODE_BIND, 4), -EINVAL);
	CLIENT_EXPECT_EQ(refused_with(a, PAGE, MMB_NODE_INTERLEAVE, 1ull << 63), -EINVAL);
	CLIENT_EXPECT_EQ(refused_with(a, PAGE, MMB_NODE_BIND, 0), -EINVAL);
	CLIENT_EXPECT_EQ(refused_with(a, PAGE, 4, 1), -EINVAL);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, &options, &pool), -EINVAL);
}

static void policies_that_cannot_be(void)
{
	stage_set(&two);
	PLAY(ROLE(impossible_policies));
}

/* ---- pools and page runs ---- */

static void pool_with(struct actor *a, uint32_t policy, uint64_t mask)
{
	const struct mmb_pool_options options = { .size = sizeof(options),
						  .node_policy = policy,
						  .node_mask = mask };

	act_open(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, &options, &a->pool), 0);
}

enum { RUN_ORDER = 9, RUN_BYTES = PAGE << RUN_ORDER, RUNS = 8 };

static void take_runs(struct actor *a, unsigned int gfp)
{
	for (uint64_t i = 0; i < RUNS; i++) {
		char *run = mmb_alloc_pages(a->pool, RUN_ORDER, gfp);

		if (!run)
			printf("  %s\n", mmb_error());
		CLIENT_EXPECT(run);
		stamp(run, RUN_BYTES, i);
		CLIENT_EXPECT(is_stamped(run, RUN_BYTES, i));
	}
}

/* At least so much has come to each node's arena, and nothing where by is 0. */
static void expect_arenas(struct actor *a, const int64_t *before, const int64_t *by)
{
	for (int node = 0; node < NODES_MAX; node++) {
		int64_t now = zone_figure(a->socket, node, "Normal", "present") * PAGE;

		if (now - before[node] < by[node] || (!by[node] && node && now != before[node]))
			printf("  node %d's arenas: %lld before, %lld now\n", node,
			       (long long)before[node], (long long)now);
		CLIENT_EXPECT(now - before[node] >= by[node]);
		CLIENT_EXPECT(by[node] || !node || now == before[node]);
	}
}

static void runs_by(struct actor *a, uint32_t policy, uint64_t mask, const int64_t *by)
{
	int64_t before[NODES_MAX];

	for (int node = 0; node < NODES_MAX; node++)
		before[node] = zone_figure(a->socket, node, "Normal", "present") * PAGE;
	pool_with(a, policy, mask);
	take_runs(a, 0);
	expect_arenas(a, before, by);
}

static void runs_bound(struct actor *a)
{
	runs_by(a, MMB_NODE_BIND, 4, (int64_t[NODES_MAX]){ 0, 0, RUNS * RUN_BYTES, 0 });
	take_runs(a, MMB_GFP_THISNODE);
}

static void runs_preferred(struct actor *a)
{
	runs_by(a, MMB_NODE_PREFERRED, 8, (int64_t[NODES_MAX]){ 0, 0, 0, RUNS * RUN_BYTES });
}

static void runs_interleaved(struct actor *a)
{
	runs_by(a, MMB_NODE_INTERLEAVE, 0xe,
		(int64_t[NODES_MAX]){ 0, RUN_BYTES, RUN_BYTES, RUN_BYTES });
}

static void page_runs(void)
{
	stage_set(&four);
	PLAY(ROLE(runs_bound));
	PLAY(ROLE(runs_preferred));
	PLAY(ROLE(runs_interleaved));
}

/* A region without a policy of its own goes by its pool's. */
static void inherit_policy(struct actor *a)
{
	const int64_t by[NODES_MAX] = { 0, BYTES };
	struct stocks before;

	pool_with(a, MMB_NODE_BIND, 2);
	before = read_stocks(a->socket);
	fill_and_expect(a, region_with(a, BYTES, MMB_NODE_LOCAL, 0), by, &before);
}

static void pool_policy(void)
{
	stage_set(&two);
	PLAY(ROLE(inherit_policy));
}

/* ---- a node without CPUs ---- */

static void use_memory_node(struct actor *a)
{
	const int64_t on_0[NODES_MAX] = { BYTES, 0 }, on_1[NODES_MAX] = { 0, BYTES };
	struct stocks before;

	act_pool(a, 0);
	before = read_stocks(a->socket);
	fill_and_expect(a, region_with(a, BYTES, MMB_NODE_LOCAL, 0), on_0, &before);
	before = read_stocks(a->socket);
	fill_and_expect(a, region_with(a, BYTES, MMB_NODE_BIND, 2), on_1, &before);
	/* When the node with CPUs is full, the other one helps. */
	stamp(act_at(region_with(a, 80 * MIB, MMB_NODE_LOCAL, 0)), 80 * MIB, 1);
	CLIENT_EXPECT(read_stocks(a->socket).committed[1] > before.committed[1] + 24 * MIB);
}

static void node_without_cpus(void)
{
	stage_set(&one_without_cpus);
	PLAY(ROLE(use_memory_node));
}

/* Node 0 with all CPUs, node 3 without any, and between them distances. */
static const char xml[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
	"<topology version=\"2.0\">\n"
	" <object type=\"Machine\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
	" allowed_cpuset=\"0x3\" nodeset=\"0x9\" complete_nodeset=\"0x9\""
	" allowed_nodeset=\"0x9\" gp_index=\"1\">\n"
	"  <object type=\"NUMANode\" os_index=\"3\" cpuset=\"0x0\" complete_cpuset=\"0x0\""
	" nodeset=\"0x8\" complete_nodeset=\"0x8\" gp_index=\"2\" local_memory=\"1073741824\"/>\n"
	"  <object type=\"Package\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"3\">\n"
	"   <object type=\"NUMANode\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"4\" local_memory=\"1073741824\"/>\n"
	"   <object type=\"PU\" os_index=\"0\" cpuset=\"0x1\" complete_cpuset=\"0x1\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"5\"/>\n"
	"   <object type=\"PU\" os_index=\"1\" cpuset=\"0x2\" complete_cpuset=\"0x2\""
	" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"6\"/>\n"
	"  </object>\n"
	" </object>\n"
	"</topology>\n";

/* Node numbers are the broker's, without gaps: which of the two has the CPUs, LOCAL tells. */
static void use_xml_nodes(struct actor *a)
{
	struct stocks before, after;
	int near;

	act_pool(a, 0);
	before = read_stocks(a->socket);
	stamp(act_at(region_with(a, BYTES, MMB_NODE_LOCAL, 0)), BYTES, 1);
	after = read_stocks(a->socket);
	near = after.committed[1] - before.committed[1] >= BYTES;
	stamp(act_at(region_with(a, BYTES, MMB_NODE_BIND, near ? 1 : 2)), BYTES, 1);
	after = read_stocks(a->socket);
	for (int node = 0; node < 2; node++) {
		CLIENT_EXPECT_EQ(after.reserve[node], NODE_BYTES);
		CLIENT_EXPECT(grown_by(node, after.present[node], before.present[node], BYTES));
	}
}

static void nodes_from_xml(void)
{
	char path[] = "/tmp/mmb-test-nodes-XXXXXX";
	int fd = mkstemp(path);

	EXPECT(fd >= 0);
	EXPECT_EQ(write(fd, xml, strlen(xml)), (ssize_t)strlen(xml));
	close(fd);
	chmod(path, 0644);
	snprintf(xml_variable, sizeof(xml_variable), "HWLOC_XMLFILE=%s", path);
	stage_set(&from_xml);
	stage_begin();
	unlink(path);
	CAST(ROLE(use_xml_nodes));
	stage_end();
}

/* ---- more than there is ---- */

/* 2 nodes of 32 MiB and 128 MiB of slots. One node and all slots hold less than the region. */
enum { LARGE_BYTES = 164 * MIB };

static char swap_flag[64];
static const char *const swapping_flags[] = { "--memory.reserve=64M", swap_flag,
					      "--swap.size=128M", "--memory.fault_deadline=5s",
					      NULL };
static const struct setting swapping = { swapping_flags, two_nodes };

static uint64_t large_word(size_t page, uint64_t round)
{
	return page << 8 | round;
}

/* Each word differs, so that each page that is out needs a slot. */
static void fill_more_than_a_node(struct actor *a)
{
	uint64_t *words;

	act_pool(a, 0);
	words = (uint64_t *)act_at(act_region(a, LARGE_BYTES, 0));
	for (uint64_t round = 1; round < 3; round++) {
		for (size_t i = 0; i < LARGE_BYTES / PAGE; i++) {
			uint64_t *at = words + i * PAGE / sizeof(*at);

			CLIENT_EXPECT_EQ(*at, round > 1 ? large_word(i, round - 1) : 0);
			at[0] = large_word(i, round);
			at[1] = ~at[0];
		}
	}
}

static void what_was_granted_on_two_nodes_is_there(void)
{
	snprintf(swap_flag, sizeof(swap_flag), "--swap.path=/var/tmp/mmb-test-nodes-%d", getpid());
	stage_set(&swapping);
	PLAY(ROLE(fill_more_than_a_node));
	stage_set(&two);
	unlink(strchr(swap_flag, '/'));
}

static const struct test_case cases[] = {
	{ "the reserve is split between 2 and 4 nodes, each with a stock and zones",
	  stocks_are_split },
	{ "BIND: charged and populated there alone, and refused when it is full", bind },
	{ "INTERLEAVE: the same to each node of the mask, as long as each has room", interleave },
	{ "PREFERRED: there first, then elsewhere", prefer_a_node },
	{ "LOCAL: on the node of the CPU that asked", local },
	{ "a policy that can't be kept is -EINVAL", policies_that_cannot_be },
	{ "page runs go by their pool's policy", page_runs },
	{ "a region goes by its pool's policy if it has none", pool_policy },
	{ "a node without CPUs serves who binds to it, and helps out", node_without_cpus },
	{ "nodes from an XML file", nodes_from_xml },
	{ "with swap, all that was granted on two nodes is there",
	  what_was_granted_on_two_nodes_is_there },
	STAGE_STOPS,
};

TEST_MAIN(cases)
