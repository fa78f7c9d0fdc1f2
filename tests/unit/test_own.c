/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_own - own.c: blocks of pool 0
 */
#include "mm/obj/own.h"

#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"

static const struct phys_setup small = { .base_mib = 64, .objects = true, .own_mib = 8 };

static void the_zone_grows_when_it_must(void)
{
	struct page *pages[4];
	int          from;

	phys_start(&small);
	for (int i = 0; i < 3; i++) {
		pages[i] = own_alloc(0, PAGEBLOCK_ORDER, 0, &from);
		EXPECT(pages[i] != NULL);
		EXPECT_EQ(from, 0);
		EXPECT_EQ(page_session(pages[i]), 0);
	}
	EXPECT_EQ(own_present(), 4 * PAGEBLOCK_PAGES);
	EXPECT(own_alloc(0, PAGEBLOCK_ORDER, 0, &from) == NULL);
	phys_expect_valid();
	for (int i = 0; i < 3; i++)
		own_free(pages[i], PAGEBLOCK_ORDER);
	phys_stop();
}

static void flags_that_forbid_waiting_do_not_grow(void)
{
	uint64_t before;
	int      from;

	phys_start(&small);
	before = own_present();
	EXPECT(own_alloc(0, PAGEBLOCK_ORDER, GFP_NOWAIT, &from) == NULL);
	EXPECT(own_alloc(0, PAGEBLOCK_ORDER, GFP_ATOMIC, &from) == NULL);
	EXPECT_EQ(own_present(), before);
	EXPECT(own_alloc(0, MAX_ORDER + 1, 0, &from) == NULL);
	inject_arm(INJECT_SLAB_PAGES, 1, -ENOMEM);
	EXPECT(own_alloc(0, 0, 0, &from) == NULL);
	inject_arm(NR_INJECT_POINTS, 0, 0);
	phys_stop();
}

static void zero_means_zero(void)
{
	struct page *page;
	int          from;

	phys_start(&small);
	page = own_alloc(0, 1, 0, &from);
	memset(page_to_virt(page), 0xff, 2 * PAGE_SIZE);
	own_free(page, 1);
	page = own_alloc(0, 1, GFP_ZERO, &from);
	for (int i = 0; i < 2 * PAGE_SIZE; i++)
		EXPECT_EQ(((char *)page_to_virt(page))[i], 0);
	own_free(page, 1);
	phys_stop();
}

static void any_number_may_be_asked_about(void)
{
	struct page *page;
	int          from;

	phys_start(&small);
	page = own_alloc(0, 0, 0, &from);
	EXPECT(own_has_pfn(page_to_pfn(page)));
	EXPECT(!own_has_pfn(own_zone(0)->end_pfn));
	EXPECT(!own_has_pfn(own_zone(0)->end_pfn - 1)); /* not there yet */
	EXPECT(!own_has_pfn(UINT64_MAX));
	EXPECT(!own_has_pfn(meta_span_frames));
	EXPECT(own_zone(1) == NULL);
	own_free(page, 0);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "the zone grows when it must", the_zone_grows_when_it_must },
	{ "flags that forbid waiting don't grow", flags_that_forbid_waiting_do_not_grow },
	{ "zero means zero", zero_means_zero },
	{ "any number may be asked about", any_number_may_be_asked_about },
};
TEST_MAIN(cases)
