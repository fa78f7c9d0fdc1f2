/* SPDX-License-Identifier: Apache-2.0 */
/*
 * phys_fixture - see phys_fixture.h
 */
#include "lib/phys_fixture.h"

#include <stdio.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/map/swap.h"
#include "mm/obj/own.h"
#include "mm/obj/slab.h"
#include "mm/phys/guard.h"
#include "mm/phys/node.h"
#include "os/os.h"

enum { SPAN_FRAMES = 1 << 20, MARGIN_OF_HOST_MIB = 64 };

/* No node of a test is as far. */
enum { OWN_NODE = MAX_NUMNODES - 1, OWN_MIB = 64 };

static struct phys_setup   current;
static struct zone        *own;
static struct fake_os_counts before;

static void start_stock(int node, enum stock_kind kind, uint64_t mib)
{
	struct stock_request request = {
		.node = node,
		.os_node = node_data[node].os_node,
		.kind = kind,
		.mode = current.mode,
		.reserve = mib * FRAMES_PER_MIB,
		.available = mib * FRAMES_PER_MIB,
		.quick = current.quick,
	};

	if (!mib)
		return;
	EXPECT_EQ(stock_init(&request), 0);
	EXPECT_EQ(stock_hold_populate(node, kind, 0, stock_hold_blocks(node, kind)), 0);
}

void objects_start(const struct phys_setup *setup)
{
	uint64_t mib = setup->own_mib ? setup->own_mib : OWN_MIB;
	struct stock_request stock = {
		.node = OWN_NODE,
		.os_node = OS_NODE_ANY,
		.kind = STOCK_BASE,
		.reserve = 2 * OWN_MIB * FRAMES_PER_MIB,
		.available = 2 * OWN_MIB * FRAMES_PER_MIB,
	};
	struct section_request section = {
		.name = "own",
		.nr_frames = mib * FRAMES_PER_MIB,
		.kind = STOCK_BASE,
		.type = SECTION_META,
		.node = OWN_NODE,
		.map = true,
	};
	struct zone_request zone = { .type = ZONE_NORMAL, .node = OWN_NODE };
	struct slab_setup   slab = { .nr_cpus = 2, .debug = setup->slub_debug };

	EXPECT_EQ(stock_init(&stock), 0);
	EXPECT_EQ(section_add(&section, &zone.section), 0);
	EXPECT_EQ(zone_new(&zone, &own), 0);
	own_set_zone(0, own);
	EXPECT_EQ(slab_init(&slab), 0);
}

void objects_stop(const struct phys_setup *setup)
{
	uint64_t        live = slab_fini();
	struct section *section = own->section;

	if (!setup->objects_stay)
		EXPECT_EQ(live, 0);
	own_set_zone(0, NULL);
	zone_free(own);
	section_remove(section);
	stock_fini(OWN_NODE, STOCK_BASE);
}

void objects_boot(void)
{
	struct meta_request meta = { .span_frames = SPAN_FRAMES / 8 };
	struct topology     topology;

	fake_topology(&topology, 1, (uint64_t)4 << 30);
	EXPECT_EQ(nodes_init(&topology), 0);
	EXPECT_EQ(meta_init(&meta), 0);
	section_init();
	objects_start(&(struct phys_setup){ 0 });
}

void objects_shutdown(void)
{
	objects_stop(&(struct phys_setup){ 0 });
	section_fini();
	meta_fini();
}

void phys_start(const struct phys_setup *setup)
{
	struct meta_request meta = { .span_frames = SPAN_FRAMES };
	struct topology     topology;

	current = *setup;
	if (!current.nr_nodes)
		current.nr_nodes = 1;
	fake_os_install();
	fake_topology(&topology, current.nr_nodes, (uint64_t)4 << 30);
	EXPECT_EQ(nodes_init(&topology), 0);
	EXPECT_EQ(guard_init(), 0);
	EXPECT_EQ(meta_init(&meta), 0);
	section_init();
	swap_init();
	fake_os_count(&before);
	for (int node = 0; node < nr_nodes; node++) {
		start_stock(node, STOCK_BASE, current.base_mib);
		start_stock(node, STOCK_HUGE, current.huge_mib);
	}
	if (!current.no_metadata)
		EXPECT_EQ(stock_charge_metadata(0), 0);
	if (this_cpu() < 0)
		EXPECT_EQ(cpu_slot_register(0), 0);
	if (current.objects)
		objects_start(&current);
}

void phys_stop(void)
{
	struct fake_os_counts after;
	struct stock_snapshot stock;

	inject_arm(NR_INJECT_POINTS, 0, 0);
	phys_expect_valid();
	if (current.objects)
		objects_stop(&current);
	if (!current.no_metadata)
		EXPECT_EQ(stock_charge_metadata(-1), 0);
	for (int node = 0; node < nr_nodes; node++) {
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
			if (!stock_snapshot(node, (enum stock_kind)kind, &stock))
				continue;
			EXPECT_EQ(stock.present, 0);
			EXPECT_EQ(stock.committed, 0);
			stock_fini(node, (enum stock_kind)kind);
		}
	}
	EXPECT_EQ(section_count(), 0);
	swap_fini();
	fake_os_count(&after);
	EXPECT_EQ(after.present, before.present);
	EXPECT_EQ(after.files, before.files);
	section_fini();
	meta_fini();
	fake_os_remove();
}

struct zone *phys_zone(int node, uint64_t mib)
{
	struct section_request request = {
		.name = "arena",
		.nr_frames = mib * FRAMES_PER_MIB,
		.kind = current.huge_mib ? STOCK_HUGE : STOCK_BASE,
		.type = SECTION_ARENA,
		.node = node,
		.map = true,
	};
	struct zone_request zone_request = { .type = ZONE_NORMAL, .node = node, .huge = true };
	struct zone        *zone;

	EXPECT_EQ(section_add(&request, &zone_request.section), 0);
	EXPECT_EQ(zone_new(&zone_request, &zone), 0);
	zone->section->owner = zone;
	return zone;
}

void phys_zone_end(struct zone *zone)
{
	struct section *section = zone->section;

	zone_free(zone);
	section_remove(section);
}

void phys_pool(struct pool_zones *pool, unsigned int nr, uint64_t mib)
{
	*pool = (struct pool_zones){ { NULL } };
	for (unsigned int node = 0; node < nr; node++)
		pool->normal[node] = phys_zone((int)node, mib);
}

void phys_pool_end(struct pool_zones *pool)
{
	for (int node = 0; node < MAX_NUMNODES; node++)
		if (pool->normal[node])
			phys_zone_end(pool->normal[node]);
}

void phys_expect_valid(void)
{
	static struct validation v;

	v = (struct validation){ 0 };
	meta_validate(&v);
	section_validate(&v);
	stock_validate(&v);
	swap_validate(&v);
	slab_validate(&v);
	fake_os_validate(&v);
	for (struct zone *zone = zone_walk_next(NULL); zone; zone = zone_walk_next(zone))
		zone_validate(zone, &v);
	for (uint64_t i = 0; i < v.nr_differences && i < VALIDATION_REPORTS; i++)
		fprintf(stderr, "# %s\n", v.reports[i]);
	EXPECT(v.nr_checked > 0);
	EXPECT_EQ(v.nr_differences, 0);
}
