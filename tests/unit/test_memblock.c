/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_memblock - the kernel's behaviour, case by case (memblock.c, memblock_alloc.c)
 */
#include "mm/phys/memblock.h"

#include <errno.h>
#include <string.h>

#include "lib/test.h"

enum { MB = 1 << 20 };

static struct memblock mb;
static char            arena[8 * MB]; /* physical address a is arena + a */

static void *to_virt(uint64_t address)
{
	return arena + address;
}

static void begin(void)
{
	memblock_init(&mb, to_virt);
}

static void expect_sound(void)
{
	struct validation v = { 0 };

	memblock_validate(&mb, &v);
	EXPECT_EQ(v.nr_differences, 0);
}

static bool region_is(const struct memblock_type *type, uint32_t nr, uint64_t base, uint64_t size)
{
	return nr < type->cnt && type->regions[nr].base == base && type->regions[nr].size == size;
}

static void overlaps_merge(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 1000, 500), 0);
	EXPECT_EQ(memblock_add(&mb, 3000, 500), 0);
	EXPECT_EQ(memblock_add(&mb, 1400, 200), 0);
	EXPECT(region_is(&mb.memory, 0, 1000, 600));
	EXPECT_EQ(memblock_add(&mb, 1600, 1400), 0);
	EXPECT_EQ(mb.memory.cnt, 1);
	EXPECT(region_is(&mb.memory, 0, 1000, 2500));
	EXPECT_EQ(memblock_add(&mb, 0, 10000), 0);
	EXPECT_EQ(mb.memory.cnt, 1);
	EXPECT_EQ(memblock_phys_mem_size(&mb), 10000);
	EXPECT_EQ(memblock_add(&mb, 5, 0), 0);
	EXPECT_EQ(memblock_add(&mb, UINT64_MAX - 10, 100), 0); /* cut at the end */
	EXPECT_EQ(memblock_end_of_DRAM(&mb), UINT64_MAX);
	expect_sound();
}

static void nodes_and_flags_stay_apart(void)
{
	begin();
	EXPECT_EQ(memblock_add_node(&mb, 0, MB, 0, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_add_node(&mb, MB, MB, 1, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_add_node(&mb, 2 * MB, MB, 1, MEMBLOCK_HOTPLUG), 0);
	EXPECT_EQ(mb.memory.cnt, 3);
	EXPECT_EQ(memblock_clear_hotplug(&mb, 0, UINT64_MAX), 0);
	EXPECT_EQ(mb.memory.cnt, 2);
	EXPECT_EQ(memblock_set_node(&mb, MB / 2, MB, 1), 0);
	EXPECT(region_is(&mb.memory, 0, 0, MB / 2));
	EXPECT(region_is(&mb.memory, 1, MB / 2, 5 * MB / 2));
	EXPECT_EQ(memblock_set_node(&mb, 0, UINT64_MAX, 3), 0);
	EXPECT_EQ(mb.memory.cnt, 1);
	expect_sound();
}

static void removing_splits(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 0, 1000), 0);
	EXPECT_EQ(memblock_remove(&mb, 400, 200), 0);
	EXPECT(region_is(&mb.memory, 0, 0, 400) && region_is(&mb.memory, 1, 600, 400));
	EXPECT_EQ(memblock_remove(&mb, 300, 400), 0);
	EXPECT(region_is(&mb.memory, 0, 0, 300) && region_is(&mb.memory, 1, 700, 300));
	EXPECT_EQ(memblock_remove(&mb, 5000, 400), 0);
	EXPECT_EQ(memblock_phys_mem_size(&mb), 600);
	EXPECT_EQ(memblock_reserve(&mb, 100, 100), 0);
	EXPECT_EQ(memblock_free(&mb, 120, 10), 0);
	EXPECT_EQ(mb.reserved.cnt, 2);
	EXPECT_EQ(memblock_reserved_size(&mb), 90);
	EXPECT_EQ(memblock_remove(&mb, 0, UINT64_MAX), 0);
	EXPECT_EQ(mb.memory.cnt, 0);
	EXPECT_EQ(memblock_start_of_DRAM(&mb), 0);
	expect_sound();
}

static void questions(void)
{
	uint64_t start, end;

	begin();
	EXPECT_EQ(memblock_add_node(&mb, MB, MB, 2, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_add_node(&mb, 4 * MB, MB, 3, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_reserve(&mb, 4 * MB, 4096), 0);
	EXPECT(!memblock_is_memory(&mb, MB - 1) && memblock_is_memory(&mb, MB));
	EXPECT(memblock_is_memory(&mb, 2 * MB - 1) && !memblock_is_memory(&mb, 2 * MB));
	EXPECT(memblock_is_region_memory(&mb, MB, MB));
	EXPECT(!memblock_is_region_memory(&mb, MB, MB + 1));
	EXPECT(memblock_is_reserved(&mb, 4 * MB + 4095));
	EXPECT(!memblock_is_reserved(&mb, 4 * MB + 4096));
	EXPECT(memblock_is_region_reserved(&mb, 0, 4 * MB + 1));
	EXPECT(!memblock_is_region_reserved(&mb, 0, 4 * MB));
	EXPECT(memblock_overlaps_region(&mb.memory, 0, UINT64_MAX));
	EXPECT_EQ(memblock_search_pfn_nid(&mb, 4 * MB >> 12, &start, &end), 3);
	EXPECT(start == 4 * MB >> 12 && end == 5 * MB >> 12);
	EXPECT_EQ(memblock_search_pfn_nid(&mb, 0, &start, &end), -1);
	EXPECT_EQ(memblock_start_of_DRAM(&mb), MB);
	EXPECT_EQ(memblock_end_of_DRAM(&mb), 5 * MB);
	EXPECT_EQ(memblock_mark_nomap(&mb, MB, 4096), 0);
	EXPECT(memblock_is_memory(&mb, MB) && !memblock_is_map_memory(&mb, MB));
	expect_sound();
}

static void directions(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 0, MB), 0);
	EXPECT_EQ(memblock_phys_alloc(&mb, 4096, 4096), MB - 4096);
	EXPECT_EQ(memblock_phys_alloc(&mb, 100, 64), MB - 4096 - 128);
	memblock_set_bottom_up(&mb, true);
	EXPECT_EQ(memblock_phys_alloc(&mb, 100, 64), PAGE_SIZE); /* never address 0 */
	EXPECT_EQ(memblock_phys_alloc(&mb, 100, 0), PAGE_SIZE + 128);
	EXPECT_EQ(memblock_phys_alloc(&mb, 4096, 64 << 10), 64 << 10);
	EXPECT_EQ(memblock_phys_alloc(&mb, 0, 1), 0);
	EXPECT_EQ(memblock_phys_alloc(&mb, 2 * MB, 1), 0);
	expect_sound();
}

static void bounds(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 0, 4 * MB), 0);
	EXPECT_EQ(memblock_phys_alloc_range(&mb, 4096, 4096, MB, 2 * MB), 2 * MB - 4096);
	EXPECT_EQ(memblock_phys_alloc_range(&mb, MB, 1, MB, 2 * MB), 0);
	EXPECT_EQ(memblock_phys_alloc_range(&mb, MB - 4096, 1, MB, 2 * MB), MB);
	memblock_set_current_limit(&mb, 3 * MB);
	EXPECT_EQ(memblock_phys_alloc(&mb, 4096, 4096), 3 * MB - 4096);
	EXPECT_EQ(memblock_phys_alloc_range(&mb, 4096, 4096, 0, MEMBLOCK_ALLOC_ANYWHERE),
		  4 * MB - 4096);
	EXPECT_EQ(memblock_find_in_range(&mb, 0, MB, 8192, 8192), MB - 8192);
	EXPECT_EQ(memblock_find_in_range(&mb, 0, MB, 8192, 8192), MB - 8192);
	expect_sound();
}

static void nodes(void)
{
	struct memblock_request want = { .size = MB, .align = 4096, .nid = 1 };

	begin();
	EXPECT_EQ(memblock_add_node(&mb, 0, 2 * MB, 0, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_add_node(&mb, 2 * MB, MB, 1, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_phys_alloc_try_nid(&mb, MB, 4096, 1), 2 * MB);
	EXPECT(memblock_alloc_exact_nid_raw(&mb, &want) == NULL);
	EXPECT(memblock_alloc_try_nid_raw(&mb, &want) == arena + MB); /* node 0 steps in */
	want.size = 4096;
	want.nid = 0;
	EXPECT(memblock_alloc_exact_nid_raw(&mb, &want) == arena + MB - 4096);
	expect_sound();
}

static void zeroed_and_least_address(void)
{
	struct memblock_request want = {
		.size = 4096, .align = 4096, .min_addr = 4 * MB, .nid = NUMA_NO_NODE,
	};
	char *page;

	begin();
	memset(arena, 0xaa, sizeof(arena));
	EXPECT_EQ(memblock_add(&mb, 0, MB), 0);
	page = memblock_alloc(&mb, 4096, 4096);
	EXPECT(page == arena + MB - 4096);
	for (int i = 0; i < 4096; i++)
		EXPECT(page[i] == 0);
	page = memblock_alloc_try_nid(&mb, &want); /* min_addr is given up */
	EXPECT(page == arena + MB - 8192 && page[0] == 0);
	expect_sound();
}

static void flags_choose(void)
{
	struct memblock_walk w;
	uint64_t             free = 0;

	begin();
	EXPECT_EQ(memblock_add_node(&mb, 0, MB, 0, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_add_node(&mb, MB, MB, 0, MEMBLOCK_HOTPLUG), 0);
	EXPECT_EQ(memblock_add_node(&mb, 2 * MB, MB, 0, MEMBLOCK_NOMAP), 0);
	EXPECT_EQ(memblock_phys_alloc(&mb, 4096, 4096), MB - 4096);
	EXPECT_EQ(memblock_mark_mirror(&mb, 0, 64 << 10), 0);
	EXPECT_EQ(memblock_phys_alloc(&mb, 4096, 4096), (64 << 10) - 4096);
	EXPECT_EQ(memblock_phys_alloc(&mb, 128 << 10, 4096), MB - 4096 - (128 << 10));
	for_each_free_mem_range(&mb, &w, NUMA_NO_NODE, MEMBLOCK_HOTPLUG)
		free += w.end - w.start;
	EXPECT_EQ(free, 2 * MB - 8192 - (128 << 10));
	expect_sound();
}

static void trimming(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 100, 8192), 0);
	EXPECT_EQ(memblock_add(&mb, 20000, 100), 0);
	EXPECT_EQ(memblock_add(&mb, 40960, 4096), 0);
	memblock_trim_memory(&mb, 4096);
	EXPECT_EQ(mb.memory.cnt, 2);
	EXPECT(region_is(&mb.memory, 0, 4096, 4096) && region_is(&mb.memory, 1, 40960, 4096));
	expect_sound();
}

static void limiting(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 0, MB), 0);
	EXPECT_EQ(memblock_add(&mb, 2 * MB, MB), 0);
	EXPECT_EQ(memblock_reserve(&mb, 2 * MB, MB), 0);
	memblock_enforce_memory_limit(&mb, 4 * MB);
	memblock_enforce_memory_limit(&mb, 0);
	EXPECT_EQ(memblock_phys_mem_size(&mb), 2 * MB);
	memblock_enforce_memory_limit(&mb, MB + 4096);
	EXPECT_EQ(memblock_phys_mem_size(&mb), MB + 4096);
	EXPECT_EQ(memblock_end_of_DRAM(&mb), 2 * MB + 4096);
	EXPECT_EQ(memblock_reserved_size(&mb), 4096);
	memblock_cap_memory_range(&mb, MB / 2, MB);
	EXPECT_EQ(memblock_phys_mem_size(&mb), MB / 2);
	EXPECT_EQ(memblock_reserved_size(&mb), 0);
	expect_sound();
}

static void full_list_refuses(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 0, 4 * MB), 0);
	for (uint64_t i = 0; i < INIT_MEMBLOCK_REGIONS; i++)
		EXPECT_EQ(memblock_reserve(&mb, (2 * i + 1) * 8192, 4096), 0);
	EXPECT_EQ(memblock_reserve(&mb, 4 * MB, 4096), -ENOMEM);
	EXPECT_EQ(memblock_free(&mb, 8192 + 100, 10), -ENOMEM);
	EXPECT_EQ(mb.reserved.cnt, INIT_MEMBLOCK_REGIONS);
	EXPECT_EQ(memblock_phys_alloc(&mb, 4096, 4096), 0);
	EXPECT_EQ(memblock_reserved_size(&mb), INIT_MEMBLOCK_REGIONS * 4096);
	expect_sound();
}

static void lists_grow(void)
{
	begin();
	EXPECT_EQ(memblock_add(&mb, 0, 8 * MB), 0);
	memblock_allow_resize(&mb);
	for (uint64_t i = 0; i < 700; i++)
		EXPECT_EQ(memblock_reserve(&mb, (2 * i + 1) * 4096, 4096), 0);
	EXPECT(mb.reserved.max >= 700 && mb.reserved.regions_at);
	for (uint64_t i = 0; i < 300; i++)
		EXPECT_EQ(memblock_add(&mb, 16 * MB + i * 8192, 4096), 0);
	EXPECT(mb.memory.max >= 301 && mb.memory.regions_at);
	for (uint64_t i = 0; i < 700; i++)
		EXPECT(memblock_is_reserved(&mb, (2 * i + 1) * 4096) &&
		       memblock_is_memory(&mb, 16 * MB + (i % 300) * 8192));
	expect_sound();
}

static void walks_agree(void)
{
	struct memblock_region *r;
	struct memblock_walk    w;
	uint64_t                forth = 0, back = 0, all = 0, reserved = 0, last = UINT64_MAX;

	begin();
	EXPECT_EQ(memblock_add_node(&mb, 0, MB, 0, 0), 0);
	EXPECT_EQ(memblock_add_node(&mb, MB, MB, 1, 0), 0);
	EXPECT_EQ(memblock_add_node(&mb, 3 * MB, MB, 1, 0), 0);
	EXPECT_EQ(memblock_reserve(&mb, MB - 4096, 8192), 0);
	EXPECT_EQ(memblock_reserve(&mb, 2 * MB - 4096, MB + 8192), 0);
	for_each_free_mem_range(&mb, &w, NUMA_NO_NODE, MEMBLOCK_NONE)
		forth += w.end - w.start;
	for_each_free_mem_range_reverse(&mb, &w, NUMA_NO_NODE, MEMBLOCK_NONE) {
		EXPECT(w.end <= last);
		last = w.start;
		back += w.end - w.start;
	}
	for_each_mem_range(&mb, &w)
		all += w.end - w.start;
	for_each_reserved_mem_region(&mb, r)
		reserved += r->size;
	EXPECT_EQ(forth, 3 * MB - 8192 - 8192);
	EXPECT_EQ(back, forth);
	EXPECT_EQ(all, 3 * MB);
	EXPECT_EQ(reserved, memblock_reserved_size(&mb));
	for_each_free_mem_range(&mb, &w, 0, MEMBLOCK_NONE)
		EXPECT(w.found_nid == 0 && w.end == MB - 4096);
}

struct handed_over {
	uint64_t pages, calls;
};

static void take(void *context, uint64_t start_pfn, uint64_t end_pfn, int nid)
{
	struct handed_over *h = context;

	EXPECT(start_pfn < end_pfn);
	EXPECT(nid == (start_pfn < MB >> PAGE_SHIFT ? 0 : 1));
	h->pages += end_pfn - start_pfn;
	h->calls++;
}

static void free_all_gives_whole_pages(void)
{
	struct handed_over h = { 0 };

	begin();
	EXPECT_EQ(memblock_add_node(&mb, 0, MB, 0, MEMBLOCK_NONE), 0);
	EXPECT_EQ(memblock_add_node(&mb, MB, MB, 1, MEMBLOCK_HOTPLUG), 0);
	EXPECT_EQ(memblock_add_node(&mb, 2 * MB, MB, 1, MEMBLOCK_NOMAP), 0);
	EXPECT_EQ(memblock_reserve(&mb, 10, 10), 0);
	EXPECT_EQ(memblock_reserve(&mb, 3 * 4096 + 5, 4096), 0);
	EXPECT_EQ(memblock_free_all(&mb, take, &h), 512 - 3);
	EXPECT_EQ(h.pages, 512 - 3);
	EXPECT_EQ(h.calls, 3);
	expect_sound();
}

static const struct test_case cases[] = {
	{ "overlapping and touching ranges become one", overlaps_merge },
	{ "different nodes and flags stay apart, equal ones merge", nodes_and_flags_stay_apart },
	{ "removing a part splits", removing_splits },
	{ "questions about addresses and ranges", questions },
	{ "top-down takes the end, bottom-up the start, never address 0", directions },
	{ "allocation stays within its bounds and the current limit", bounds },
	{ "the wanted node comes first, or only", nodes },
	{ "allocated memory is zero, and a least address is a wish", zeroed_and_least_address },
	{ "hotplug, mirror and nomap regions are chosen by flag", flags_choose },
	{ "trimming keeps whole aligned pieces", trimming },
	{ "a memory limit keeps the lowest bytes", limiting },
	{ "a full list refuses and changes nothing", full_list_refuses },
	{ "lists grow in memory of their own", lists_grow },
	{ "walks in both directions see the same", walks_agree },
	{ "what is free at the end goes over in whole pages by node", free_all_gives_whole_pages },
};
TEST_MAIN(cases)
