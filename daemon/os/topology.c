/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topology - hwloc's picture, reduced to what memory management asks
 *
 * Invariants  N1  nodes[] has only nodes with memory, in hwloc's order, without gaps; a kernel
 *                 node number appears only as os_index.
 */
#include "os/topology.h"

#include <errno.h>
#include <hwloc.h>
#include <numa.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DISTANCE_SELF = 10, DISTANCE_OTHER = 20 };

/* hwloc reads these variables by itself, too, but goes on with the real machine when it can't make
 * anything of them. */
static int choose_source(hwloc_topology_t hw, struct topology *t)
{
	const char *synthetic = getenv("HWLOC_SYNTHETIC"), *xml = getenv("HWLOC_XMLFILE");

	if (synthetic && *synthetic) {
		snprintf(t->source, sizeof(t->source), "synthetic %s", synthetic);
		return hwloc_topology_set_synthetic(hw, synthetic) ? -EINVAL : 0;
	}
	if (xml && *xml) {
		snprintf(t->source, sizeof(t->source), "xml %s", xml);
		return hwloc_topology_set_xml(hw, xml) ? -EINVAL : 0;
	}
	return 0;
}

static void describe(hwloc_topology_t hw, struct topology *t)
{
	if (!t->source[0])
		snprintf(t->source, sizeof(t->source), "%s machine",
			 hwloc_topology_is_thissystem(hw) ? "this" : "another");
	t->binds = !strcmp(t->source, "this machine") && numa_available() >= 0;
}

/* objects[i] becomes the hwloc object of node i. */
static int add_nodes(hwloc_topology_t hw, struct topology *t, hwloc_obj_t *objects)
{
	hwloc_obj_t obj = NULL;
	bool        any_memory = hwloc_get_root_obj(hw)->total_memory > 0;

	while ((obj = hwloc_get_next_obj_by_type(hw, HWLOC_OBJ_NUMANODE, obj))) {
		if (any_memory && obj->attr->numanode.local_memory == 0)
			continue;
		if (t->nr_nodes == MAX_NUMNODES)
			return -E2BIG;
		t->nodes[t->nr_nodes].os_index = (int)obj->os_index;
		t->nodes[t->nr_nodes].bytes = obj->attr->numanode.local_memory;
		objects[t->nr_nodes++] = obj;
	}
	return t->nr_nodes ? 0 : -ENODEV;
}

/*
 * hwloc gives a memory the CPUs it is local to, the whole machine's for a node without CPUs. A CPU
 * belongs to the node with the fewest CPUs around it; of several such, the first is the default.
 */
static int owner_of_cpu(const struct topology *t, const hwloc_obj_t *objects, unsigned int cpu)
{
	int best = -1, best_weight = 0;

	for (uint32_t i = 0; i < t->nr_nodes; i++) {
		int weight = hwloc_bitmap_weight(objects[i]->cpuset);

		if (weight <= 0 || !hwloc_bitmap_isset(objects[i]->cpuset, cpu))
			continue;
		if (best < 0 || weight < best_weight) {
			best = (int)i;
			best_weight = weight;
		}
	}
	return best;
}

static void add_cpus(hwloc_topology_t hw, struct topology *t, const hwloc_obj_t *objects)
{
	unsigned int cpu;

	hwloc_bitmap_foreach_begin(cpu, hwloc_get_root_obj(hw)->cpuset) {
		int owner = owner_of_cpu(t, objects, cpu);

		if (owner >= 0)
			t->nodes[owner].nr_cpus++;
		if (cpu < ARRAY_SIZE(t->cpu_node))
			t->cpu_node[cpu] = (int8_t)owner;
	}
	hwloc_bitmap_foreach_end();
}

static void default_distances(struct topology *t)
{
	for (uint32_t i = 0; i < t->nr_nodes; i++)
		for (uint32_t j = 0; j < t->nr_nodes; j++)
			t->nodes[i].distance[j] = i == j ? DISTANCE_SELF : DISTANCE_OTHER;
}

/* From one node to another as the table has it; 0: not in the table. */
static uint64_t table_value(struct hwloc_distances_s *d, hwloc_obj_t from, hwloc_obj_t to)
{
	int row = hwloc_distances_obj_index(d, from), column = hwloc_distances_obj_index(d, to);

	if (row < 0 || column < 0)
		return 0;
	return d->values[(unsigned int)row * d->nbobjs + (unsigned int)column];
}

/* Relative latencies, scaled so that a node's distance to itself is 10. */
static void take_distances(struct topology *t, const hwloc_obj_t *objects,
			   struct hwloc_distances_s *d)
{
	for (uint32_t i = 0; i < t->nr_nodes; i++) {
		uint64_t self = table_value(d, objects[i], objects[i]);

		for (uint32_t j = 0; self && j < t->nr_nodes; j++) {
			uint64_t value = table_value(d, objects[i], objects[j]) * DISTANCE_SELF;

			if (value && i != j)
				t->nodes[i].distance[j] =
					(uint32_t)max_t(uint64_t, value / self, DISTANCE_SELF);
		}
	}
}

static void add_distances(hwloc_topology_t hw, struct topology *t, const hwloc_obj_t *objects)
{
	struct hwloc_distances_s *d;
	unsigned int              nr = 1;

	default_distances(t);
	if (hwloc_distances_get_by_type(hw, HWLOC_OBJ_NUMANODE, &nr, &d,
					HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) || nr == 0)
		return;
	take_distances(t, objects, d);
	hwloc_distances_release(hw, d);
}

int topology_discover(struct topology *out)
{
	hwloc_obj_t      objects[MAX_NUMNODES];
	hwloc_topology_t hw;
	int              error;

	*out = (struct topology){ 0 };
	memset(out->cpu_node, -1, sizeof(out->cpu_node));
	if (hwloc_topology_init(&hw))
		return -ENOMEM;
	error = choose_source(hw, out);
	errno = 0;
	if (!error && hwloc_topology_load(hw))
		error = out->source[0] ? -EINVAL : errno ? -errno : -EIO;
	if (error) {
		hwloc_topology_destroy(hw);
		return error;
	}
	out->nr_cpus = (uint32_t)hwloc_get_nbobjs_by_type(hw, HWLOC_OBJ_PU);
	describe(hw, out);
	error = add_nodes(hw, out, objects);
	if (!error) {
		add_cpus(hw, out, objects);
		add_distances(hw, out, objects);
	}
	hwloc_topology_destroy(hw);
	return error;
}

int topology_current_node(const struct topology *t)
{
	int cpu = sched_getcpu();

	if (cpu < 0 || (size_t)cpu >= ARRAY_SIZE(t->cpu_node) || t->cpu_node[cpu] < 0)
		return 0;
	return t->cpu_node[cpu];
}
