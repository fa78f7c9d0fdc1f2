/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space_fixture - see space_fixture.h
 */
#include "lib/space_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/balance/swap_area.h"
#include "mm/map/swap.h"
#include "mm/space/ahead.h"
#include "mm/space/evacuate.h"
#include "mm/space/reclaim.h"
#include "mm/space/swapper.h"

struct space_told space_told;

static bool up;
static void note_record(void *owner, const struct fault_record *record)
{
	space_told.nr_records++;
	space_told.address = record->address;
	space_told.length = record->length;
	space_told.offset = record->offset;
	space_told.error = record->error;
	snprintf(space_told.region, sizeof(space_told.region), "%s", record->region);
	snprintf(space_told.cause, sizeof(space_told.cause), "%s", record->cause);
}

static void note_end(void *owner, const char *reason)
{
	space_told.nr_ended++;
}

static void note_remap(void *owner, const struct remap *remap)
{
	space_told.nr_remaps++;
}

static void begin_faults(const struct space_options *options)
{
	struct fault_config fault = {
		.deadline_ns = options->deadline_ns ? options->deadline_ns : 1000000000,
		.can_poison = !options->cannot_poison,
		.log_fault = note_record,
		.end_client = note_end,
		.ask_remap = note_remap,
	};

	space_told = (struct space_told){ 0 };
	fault_init(options->config ? options->config : &fault);
}

static void begin_swap(uint64_t mib)
{
	struct swap_on_request want = { .bytes = mib << 20 };
	char path[SWAP_PATH_BYTES], why[SWAP_WHY_BYTES];
	char *folder = getcwd(NULL, 0);
	int r;

	snprintf(path, sizeof(path), "%s/space-swap-%d", folder, getpid());
	free(folder);
	want.path = path;
	r = swap_on(&want, why);
	unlink(path); /* nothing stays, however the test ends */
	if (r == -EOPNOTSUPP)
		SKIP("this folder's file system has no direct I/O");
	EXPECT_EQ(r, 0);
}

int space_swap_off(void)
{
	struct swap_report report;
	char why[SWAP_WHY_BYTES];

	return swap_area_report(0, &report) ? swap_off(report.path, why) : -ENOENT;
}

uint64_t space_slots_used(void)
{
	struct swap_area_stat stat;

	return swap_area_stat(0, &stat) ? stat.nr_used : 0;
}

void space_end_swap(void)
{
	EXPECT_EQ(space_slots_used(), 0);
	EXPECT_EQ(space_swap_off(), 0);
	space_end();
}

void space_begin(const struct space_options *options)
{
	struct phys_setup setup = {
		.nr_nodes = options->nr_nodes,
		.base_mib = options->base_mib ? options->base_mib : 64,
		.huge_mib = options->huge_mib,
		.own_mib = options->own_mib,
		.mode = options->hold ? STOCK_HOLD : STOCK_ACCOUNT,
		.no_metadata = !options->metadata,
		.objects = true,
	};

	if (up) { /* its threads still run, on what would be made anew below */
		printf("a failed case has left the fixture up: the others can't run\n");
		exit(1);
	}
	up = true;
	phys_start(&setup);
	mm_table_init();
	begin_faults(options);
	swap_areas_init();
	reclaim_init(&(struct reclaim_config){ 0 });
	evacuate_init();
	if (options->swap_mib)
		begin_swap(options->swap_mib);
	EXPECT_EQ(regions_init(), 0);
	EXPECT_EQ(ahead_init(1), 0);
}

/* Of who is in no pool of its own. */
static void expect_nothing_charged(void)
{
	const struct memcg *m = memcg_root();

	for (int kind = 0; kind < NR_MEMCG_KINDS; kind++)
		EXPECT_EQ(memcg_read(m, (enum memcg_kind)kind), 0);
	EXPECT_EQ(memcg_usage(m), 0);
	EXPECT_EQ(atomic_load(&m->pinned), 0);
	EXPECT_EQ(atomic_load(&m->promised), 0);
	for (int node = 0; node < MAX_NUMNODES; node++) {
		EXPECT_EQ(atomic_load(&m->lruvec[node].nr_resident), 0);
		EXPECT_EQ(atomic_load(&m->lruvec[node].nr_active), 0);
	}
}

void space_end(void)
{
	swapper_keep(false); /* what has looked for room made one, without swap too */
	fault_drop_parked();
	ahead_fini();
	regions_fini();
	expect_nothing_charged();
	reclaim_fini();
	swap_areas_fini();
	fault_fini();
	up = false;
	phys_stop();
}

void space_settle(void)
{
	ahead_fini();
	EXPECT_EQ(ahead_init(1), 0);
	regions_flush();
}

struct region *space_region(uint64_t nr_pages, unsigned int page_shift)
{
	struct region_request want = { .name = "test",
				       .nr_pages = nr_pages,
				       .page_shift = page_shift };
	struct region_refusal why;
	struct region *region = NULL;

	EXPECT_EQ(region_new(&want, &region, &why), 0);
	return region;
}

struct region *space_region_of(struct memcg *memcg)
{
	struct region_request want = { .name = "", .nr_pages = 1, .page_shift = PAGE_SHIFT,
				       .memcg = memcg };
	struct region_refusal why;
	struct region *region = NULL;

	EXPECT_EQ(region_new(&want, &region, &why), 0);
	return region;
}

void space_drop_region(struct region *region)
{
	region_put(region);
	regions_flush();
}

static void count_region(struct region *region, void *nr)
{
	++*(uint64_t *)nr;
}

uint64_t space_nr_regions(void)
{
	uint64_t nr = 0;

	region_for_each(count_region, &nr);
	return nr;
}

uint64_t space_present(int node, enum stock_kind kind)
{
	struct stock_snapshot s;

	return stock_snapshot(node, kind, &s) ? s.present : 0;
}

enum page_state space_state(const struct region *region, uint64_t page)
{
	return word_state(word_load(&region->words[page]));
}

struct mm *space_mm(void)
{
	struct mm_request want = { .uffd = fake_uffd_new(), .pid = 1 };
	struct mm *mm = NULL;

	EXPECT_EQ(mm_new(&want, &mm), 0);
	return mm;
}

void space_window(struct mm *mm, struct region *region, uint64_t start, uint32_t handle)
{
	struct window_request want = { .region = region,
				       .start = start,
				       .handle = handle,
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
	for (uint64_t i = 0; i < v.nr_differences && i < VALIDATION_REPORTS; i++)
		fprintf(stderr, "# %s\n", v.reports[i]);
	EXPECT_EQ(v.nr_differences, 0);
	phys_expect_valid();
}
