/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/space_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/phys/node.h"
#include "mm/space/ahead.h"

static struct fake_os_counts before;
static unsigned int nr_records;
static bool tables_made;

static void note_record(void *owner, const struct fault_record *record)
{
	nr_records++;
}

static void begin_stock(int node, enum stock_kind kind, uint64_t bytes)
{
	struct stock_request want = { .node = node, .os_node = OS_NODE_ANY, .kind = kind,
				      .mode = STOCK_ACCOUNT, .reserve = bytes >> PAGE_SHIFT,
				      .available = bytes >> PAGE_SHIFT };

	EXPECT_EQ(stock_init(&want), 0);
}

void space_begin(const struct space_options *options)
{
	unsigned int        nodes = options->nr_nodes ? options->nr_nodes : 1;
	struct topology     topology;
	struct meta_request meta = { .span_frames = 1ull << 26 };
	struct fault_config fault = { .deadline_ns = 1000000000, .can_poison = true,
				      .log_fault = note_record };

	fake_os_install();
	fake_os_count(&before);
	fake_topology(&topology, nodes, 1ull << 30);
	cpu_slot_register(0);
	EXPECT_EQ(nodes_init(&topology), 0);
	EXPECT_EQ(meta_init(&meta), 0);
	section_init();
	for (unsigned int node = 0; node < nodes; node++) {
		begin_stock((int)node, STOCK_BASE,
			    options->base_bytes ? options->base_bytes : 64 << 20);
		if (options->huge_bytes)
			begin_stock((int)node, STOCK_HUGE, options->huge_bytes);
	}
	if (!tables_made)
		mm_table_init();
	tables_made = true;
	nr_records = 0;
	memset(&fault_stats, 0, sizeof(fault_stats));
	fault_init(&fault);
	EXPECT_EQ(regions_init(), 0);
	EXPECT_EQ(ahead_init(1), 0);
}

void space_end(void)
{
	struct fake_os_counts after;
	struct stock_snapshot s;

	ahead_fini();
	regions_fini();
	fault_fini();
	for (int node = 0; node < nr_nodes; node++) {
		for (int kind = 0; kind < NR_STOCK_KINDS; kind++) {
			if (!stock_snapshot(node, (enum stock_kind)kind, &s))
				continue;
			EXPECT_EQ(s.present, 0);
			EXPECT_EQ(s.committed, 0);
			stock_fini(node, (enum stock_kind)kind);
		}
	}
	EXPECT_EQ(section_count(), 0);
	section_fini();
	meta_fini();
	cpu_slot_unregister();
	fake_os_count(&after);
	EXPECT_EQ(after.files, before.files);
	EXPECT_EQ(after.present, before.present);
	EXPECT_EQ(after.reservations, before.reservations);
	fake_os_remove();
}

struct region *space_region(uint64_t nr_pages, unsigned int page_shift)
{
	struct region_request want = { .name = "test", .nr_pages = nr_pages,
				       .page_shift = page_shift };
	struct region_refusal why;
	struct region        *region = NULL;

	EXPECT_EQ(region_new(&want, &region, &why), 0);
	return region;
}

struct mm *space_mm(void)
{
	struct mm_request want = { .uffd = fake_uffd_new(), .pid = 1 };
	struct mm        *mm = NULL;

	EXPECT_EQ(mm_new(&want, &mm), 0);
	return mm;
}

void space_window(struct mm *mm, struct region *region, uint64_t start, uint32_t handle)
{
	struct window_request want = { .region = region, .start = start, .handle = handle,
				       .length = region->nr_pages << region->page_shift };

	EXPECT_EQ(mm_add_window(mm, &want), 0);
	fake_uffd_window(mm->uffd, want.start, want.length, region->section->fd, 0);
}

void space_fault(struct mm *mm, uint64_t address, uint32_t flags)
{
	struct os_uffd_event event = { .kind = OS_EVENT_FAULT, .address = address, .flags = flags };

	fault_handle(mm, &event, os->now_ns());
}

void space_close_mm(struct mm *mm)
{
	mm_remove_all(mm);
	mm_put(mm);
}

void space_expect_valid(struct region *region, struct mm *mm)
{
	static struct validation v;

	v = (struct validation){ 0 };
	if (region)
		region_validate(region, &v);
	if (mm)
		mm_validate(mm, &v);
	if (v.nr_differences)
		printf("# %s\n", v.reports[0]);
	EXPECT(v.nr_checked > 0);
	EXPECT_EQ(v.nr_differences, 0);
}

unsigned int space_fault_records(void)
{
	return nr_records;
}
