/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_meta - meta.c: populated pieces of the metadata file, charged exactly
 */
#include "mm/phys/meta.h"

#include <errno.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"

static void populated_bytes_are_exact(void)
{
	uint64_t before;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	before = meta_bytes();
	EXPECT_EQ(meta_populate(META_VMEMMAP, 1024, 1024), 0);
	EXPECT_EQ(meta_bytes() - before, 1024 * sizeof(struct page));
	EXPECT_EQ(meta_populate(META_WORDS, 512, 512), 0);
	EXPECT_EQ(meta_bytes() - before, 1024 * sizeof(struct page) + PAGE_SIZE);
	EXPECT_EQ(pfn_to_page(1024)->state, 0);
	EXPECT_EQ(page_words[1023], 0);
	phys_expect_valid();
	meta_release(META_VMEMMAP, 1024, 1024);
	meta_release(META_WORDS, 512, 512);
	EXPECT_EQ(meta_bytes(), before);
	phys_stop();
}

static void shared_pieces_go_with_their_last_user(void)
{
	uint64_t before;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	before = meta_bytes();
	EXPECT(!meta_is_populated(META_SECTION_OF, 0));
	EXPECT_EQ(meta_populate(META_SECTION_OF, 0, 10), 0);
	EXPECT_EQ(meta_populate(META_SECTION_OF, 10, 1014), 0);
	EXPECT_EQ(meta_bytes() - before, PAGE_SIZE);
	section_of[5] = 7;
	meta_release(META_SECTION_OF, 10, 1014);
	EXPECT(meta_is_populated(META_SECTION_OF, 1000));
	EXPECT_EQ(section_of[5], 7);
	meta_release(META_SECTION_OF, 0, 10);
	EXPECT(!meta_is_populated(META_SECTION_OF, 5));
	EXPECT_EQ(meta_bytes(), before);
	phys_stop();
}

static void released_entries_come_back_zero(void)
{
	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(meta_populate(META_WORDS, 0, 512), 0);
	page_words[100] = 42;
	meta_release(META_WORDS, 0, 512);
	EXPECT_EQ(meta_populate(META_WORDS, 0, 512), 0);
	EXPECT_EQ(page_words[100], 0);
	meta_release(META_WORDS, 0, 512);
	phys_stop();
}

static void metadata_is_charged_to_the_base_stock(void)
{
	struct stock_snapshot a, b;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT(stock_snapshot(0, STOCK_BASE, &a));
	EXPECT_EQ(a.present, meta_bytes() >> PAGE_SHIFT);
	EXPECT_EQ(a.committed, a.present);
	EXPECT_EQ(meta_populate(META_VMEMMAP, 0, 512), 0);
	EXPECT(stock_snapshot(0, STOCK_BASE, &b));
	EXPECT_EQ(b.present - a.present, 8);
	meta_release(META_VMEMMAP, 0, 512);
	phys_stop();
}

static void without_commit_nothing_is_populated(void)
{
	struct stock_snapshot s;
	uint64_t              before, rest;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	before = meta_bytes();
	rest = stock_available(0, STOCK_BASE) - 7;
	EXPECT_EQ(stock_commit(0, STOCK_BASE, rest), 0);
	EXPECT_EQ(meta_populate(META_VMEMMAP, 0, 512), -ENOMEM);
	EXPECT_EQ(meta_bytes(), before);
	stock_uncommit(0, STOCK_BASE, rest);
	EXPECT(stock_snapshot(0, STOCK_BASE, &s));
	EXPECT_EQ(s.nr_refused, 1);
	phys_stop();
}

static void a_failed_population_leaves_no_trace(void)
{
	enum { PER_PAGE = PAGE_SIZE / sizeof(struct section_record) };
	uint64_t before, first = 16 * PER_PAGE;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	/* What lies between is there already: two runs, of which the second fails. */
	EXPECT_EQ(meta_populate(META_RECORDS, first + 2 * PER_PAGE, 1), 0);
	before = meta_bytes();
	inject_arm(INJECT_POPULATE, 2, -ENOSPC);
	EXPECT_EQ(meta_populate(META_RECORDS, first, 5 * PER_PAGE), -ENOSPC);
	EXPECT_EQ(meta_bytes(), before);
	EXPECT(!meta_is_populated(META_RECORDS, first + PER_PAGE));
	EXPECT(meta_is_populated(META_RECORDS, first + 2 * PER_PAGE));
	inject_arm(INJECT_POPULATE, 3, -ENOSPC);
	EXPECT_EQ(meta_populate(META_RECORDS, first, 5 * PER_PAGE), 0);
	EXPECT_EQ(meta_bytes(), before + 4 * PAGE_SIZE);
	EXPECT(meta_is_populated(META_RECORDS, first + 5 * PER_PAGE - 1));
	meta_release(META_RECORDS, first, 5 * PER_PAGE);
	EXPECT(!meta_is_populated(META_RECORDS, first));
	EXPECT(!meta_is_populated(META_RECORDS, first + 3 * PER_PAGE));
	EXPECT(meta_is_populated(META_RECORDS, first + 2 * PER_PAGE));
	EXPECT_EQ(meta_bytes(), before);
	meta_release(META_RECORDS, first + 2 * PER_PAGE, 1);
	before -= PAGE_SIZE;
	EXPECT_EQ(meta_bytes(), before);
	inject_arm(INJECT_POPULATE, 1, -ENOSPC);
	EXPECT_EQ(meta_populate(META_VMEMMAP, 0, 512), -ENOSPC);
	EXPECT_EQ(meta_bytes(), before);
	phys_stop();
}

static void the_header_describes_the_file(void)
{
	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(meta_header->magic, META_MAGIC);
	EXPECT_EQ(meta_header->version, META_VERSION);
	EXPECT_EQ(meta_header->page_bytes, 64);
	EXPECT_EQ((char *)meta_header + meta_header->window_offset[META_VMEMMAP] - (char *)vmemmap,
		  0);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "populated bytes are exact", populated_bytes_are_exact },
	{ "shared pieces go with their last user", shared_pieces_go_with_their_last_user },
	{ "released entries come back zero", released_entries_come_back_zero },
	{ "metadata is charged to the base stock", metadata_is_charged_to_the_base_stock },
	{ "without commit nothing is populated", without_commit_nothing_is_populated },
	{ "a failed population leaves no trace", a_failed_population_leaves_no_trace },
	{ "the header describes the file", the_header_describes_the_file },
};
TEST_MAIN(cases)
