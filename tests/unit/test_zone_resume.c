/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_zone_resume - zone_resume.c: what a daemon that died had granted stays, the rest is free
 */
#include "mm/phys/zone_resume.h"

#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "os/os.h"

enum { BLOCKS = 4, OWNER = 7 };

/* A section with two present pageblocks, as a predecessor had it; struct pages are all zero. */
static struct section *left_arena(void)
{
	struct section_request want = { .name = "left", .nr_frames = BLOCKS * PAGEBLOCK_PAGES,
					.kind = STOCK_BASE, .type = SECTION_ARENA, .map = true };
	struct section *section = NULL;

	EXPECT_EQ(section_add(&want, &section), 0);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t pfn = section->pfn + i * PAGEBLOCK_PAGES;

		EXPECT_EQ(os->populate(section->fd, section_offset(section, pfn), PAGEBLOCK_SIZE,
				       0), 0);
		EXPECT_EQ(os->populate(meta_fd(),
				       meta_header->window_offset[META_VMEMMAP] +
					       pfn * sizeof(struct page),
				       PAGEBLOCK_PAGES * sizeof(struct page), 0), 0);
		atomic_store(&block_flags[pfn_to_block(pfn)], BLOCK_PRESENT | MIGRATE_UNMOVABLE);
	}
	return section;
}

static void left_page(const struct section *section, uint32_t at, uint32_t word, uint64_t owner)
{
	struct page *page = pfn_to_page(section->pfn + at);

	page_set_owner(page, owner, 1);
	pg_store(page, word);
}

static void count(struct page *page, void *arg)
{
	EXPECT(page_session(page) == OWNER ||
	       (pg_state(page) == PG_CLAIMED && page_session(page) == (PAGE_UNIT | OWNER)));
	++*(uint32_t *)arg;
}

static void what_is_granted_stays(void)
{
	struct zone_request want = { .type = ZONE_NORMAL, .pool = 1 };
	struct zone *zone = NULL;
	uint32_t nr = 0;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	want.section = left_arena();
	left_page(want.section, 0, pg_word(PG_ALLOCATED, 4, MIGRATE_UNMOVABLE), OWNER);
	left_page(want.section, 16, pg_word(PG_ALLOCATED, 0, MIGRATE_UNMOVABLE), 0);
	left_page(want.section, 17, pg_word(PG_CLAIMED, 0, MIGRATE_UNMOVABLE), OWNER);
	left_page(want.section, 32, pg_word(PG_BUDDY, 5, MIGRATE_UNMOVABLE), 0);
	left_page(want.section, 64, pg_word(PG_CLAIMED, 4, MIGRATE_UNMOVABLE), PAGE_UNIT | OWNER);
	left_page(want.section, 700, pg_word(PG_ALLOCATED, 0, MIGRATE_UNMOVABLE), OWNER);
	EXPECT_EQ(zone_new(&want, &zone), 0);
	want.section->owner = zone;
	EXPECT_EQ(zone_resume(zone), 0);
	EXPECT_EQ(zone->present, 2 * PAGEBLOCK_PAGES);
	EXPECT_EQ(zone->managed, 2 * PAGEBLOCK_PAGES);
	EXPECT_EQ(zone_free_pages_nr(zone), 2 * PAGEBLOCK_PAGES - 33);
	zone_for_each_granted(zone, count, &nr);
	EXPECT_EQ(nr, 3);
	phys_expect_valid();
	zone_free(zone);
	section_remove(want.section);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "what is granted stays, as do claimed units; all else of what is present is free",
	  what_is_granted_stays },
};
TEST_MAIN(cases)
