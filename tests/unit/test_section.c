/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_section - section.c: pfn ranges, files and the table that finds them
 */
#include "mm/phys/section.h"

#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/test.h"
#include "mm/phys/section_file.h"
#include "os/os.h"

static struct section_request request_of(enum section_type type, uint64_t blocks)
{
	return (struct section_request){
		.name = "test", .nr_frames = blocks << PAGEBLOCK_ORDER, .type = type, .map = true,
	};
}

static void every_pfn_finds_its_section(void)
{
	struct section_request request = request_of(SECTION_REGION, 3);
	struct section        *a, *b;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT(pfn_to_section(0) == NULL);
	EXPECT_EQ(section_add(&request, &a), 0);
	request.nr_frames = PAGEBLOCK_PAGES;
	EXPECT_EQ(section_add(&request, &b), 0);
	EXPECT(pfn_to_section(a->pfn) == a);
	EXPECT(pfn_to_section(a->pfn + a->nr_frames - 1) == a);
	EXPECT(pfn_to_section(b->pfn) == b);
	EXPECT(pfn_to_section(b->pfn + PAGEBLOCK_PAGES) == NULL);
	EXPECT(pfn_to_section(meta_span_frames) == NULL);
	EXPECT(pfn_to_section(UINT64_MAX) == NULL);
	EXPECT(section_by_id(a->id) == a);
	phys_expect_valid();
	section_remove(a);
	EXPECT(pfn_to_section(0) == NULL);
	EXPECT(pfn_to_section(b->pfn) == b);
	section_remove(b);
	phys_stop();
}

static void arenas_start_at_the_largest_order(void)
{
	struct section_request region = request_of(SECTION_REGION, 1);
	struct section_request arena = request_of(SECTION_ARENA, 1);
	struct section        *a, *b, *c;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	EXPECT_EQ(section_add(&region, &a), 0);
	EXPECT_EQ(section_add(&arena, &b), 0);
	EXPECT_EQ(section_add(&region, &c), 0);
	EXPECT(is_aligned(b->pfn, 1 << MAX_ORDER));
	EXPECT_EQ(a->pfn, 0);
	EXPECT_EQ(c->pfn, PAGEBLOCK_PAGES);
	section_remove(a);
	section_remove(b);
	section_remove(c);
	phys_stop();
}

static void the_direct_map_shows_the_file(void)
{
	struct section_request request = request_of(SECTION_REGION, 1);
	struct section        *s;

	phys_start(&(struct phys_setup){ .base_mib = 64, .no_metadata = true });
	EXPECT_EQ(section_add(&request, &s), 0);
	EXPECT_EQ(os->populate(s->fd, PAGE_SIZE, PAGE_SIZE, OS_NODE_ANY), 0);
	memset(pfn_to_virt(s->pfn + 1), 0x5a, PAGE_SIZE);
	EXPECT_EQ(virt_to_pfn((char *)pfn_to_virt(s->pfn + 1) + 100), s->pfn + 1);
	EXPECT_EQ(((unsigned char *)section_virt(s))[PAGE_SIZE], 0x5a);
	section_remove(s);
	phys_stop();
}

static void the_record_says_what_the_section_is(void)
{
	struct section_request       request = request_of(SECTION_ARENA, 2);
	const struct section_record *record;
	struct section              *s;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	request.owner_id = 77;
	EXPECT_EQ(section_add(&request, &s), 0);
	record = &section_records[s->id];
	EXPECT_EQ(record->magic, SECTION_RECORD_MAGIC);
	EXPECT_EQ(record->owner_id, 77);
	EXPECT_EQ(record->type, SECTION_ARENA);
	EXPECT_EQ(record->nr_frames, 2 * PAGEBLOCK_PAGES);
	section_remove(s);
	phys_stop();
}

/* A file that one section has had never comes back: a stranger may still have it open. */
static void files_that_are_ready_serve_unnamed_regions_once(void)
{
	struct section_request request = request_of(SECTION_REGION, 1);
	struct fake_os_counts  ready, used;
	struct section        *a, *b;
	int                    fd;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	request.name = "region";
	section_files_keep(2);
	fake_os_count(&ready);
	EXPECT_EQ(section_add(&request, &a), 0);
	fake_os_count(&used);
	EXPECT_EQ(used.files, ready.files);
	EXPECT_EQ(os->populate(a->fd, 0, PAGE_SIZE, OS_NODE_ANY), 0);
	fd = a->fd;
	section_remove(a);
	section_files_refill();
	fake_os_count(&used);
	EXPECT_EQ(used.files, ready.files);
	EXPECT_EQ(section_add(&request, &b), 0);
	EXPECT(os->next_present(b->fd, 0) < 0);
	EXPECT(b->fd != fd || os->allocated(b->fd) == 0);
	request.name = "a name";
	EXPECT_EQ(section_add(&request, &a), 0);
	fake_os_count(&used);
	EXPECT_EQ(used.files, ready.files + 1);
	section_remove(a);
	section_remove(b);
	section_files_keep(0);
	phys_stop();
}

static void no_failing_step_leaves_anything_behind(void)
{
	struct section_request request = request_of(SECTION_ARENA, 2);
	struct fake_os_counts  before, after;
	struct section        *s;
	unsigned int           nr_failed = 0;
	uint64_t               bytes;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	fake_os_count(&before);
	bytes = meta_bytes();
	for (uint64_t k = 1;; k++) {
		int r;

		inject_arm(NR_INJECT_POINTS, k, -EIO);
		r = section_add(&request, &s);
		inject_arm(NR_INJECT_POINTS, 0, 0);
		if (!r)
			break;
		nr_failed++;
		fake_os_count(&after);
		EXPECT_EQ(after.files, before.files);
		EXPECT_EQ(after.present, before.present);
		EXPECT_EQ(section_count(), 0);
		EXPECT_EQ(meta_bytes(), bytes);
		phys_expect_valid();
	}
	EXPECT(nr_failed >= 5);
	section_remove(s);
	phys_stop();
}

static void thousands_of_sections_fit(void)
{
	enum { NR = 2000 };
	static struct section *sections[NR];
	struct section_request request = request_of(SECTION_REGION, 1);

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	static_assert(NR_SECTIONS_MAX > 40000, "as many regions as clients may have");
	request.map = false;
	for (int i = 0; i < NR; i++)
		EXPECT_EQ(section_add(&request, &sections[i]), 0);
	EXPECT_EQ(section_count(), NR);
	EXPECT(pfn_to_section(1234 * PAGEBLOCK_PAGES + 5) == sections[1234]);
	phys_expect_valid();
	for (int i = 0; i < NR; i++)
		section_remove(sections[i]);
	request.nr_frames = meta_span_frames;
	EXPECT_EQ(section_add(&request, &sections[0]), -ENOSPC);
	phys_stop();
}

/* Whoever takes the span in large parts leaves others an eighth of it. */
static void the_last_part_is_for_small_ones(void)
{
	enum { LARGE = (SECTION_SMALL_FRAMES >> PAGEBLOCK_ORDER) + 1, LEFT = 128 };
	struct section_request first = request_of(SECTION_REGION, 1);
	struct section_request large = request_of(SECTION_ARENA, LARGE);
	struct section *all, *s;
	uint64_t free;

	phys_start(&(struct phys_setup){ .base_mib = 64 });
	first.map = large.map = false;
	free = meta_span_frames - (1u << MAX_ORDER);
	EXPECT(section_frames_max() <= free - meta_span_frames / 8);
	first.nr_frames = free - SECTION_SMALL_FRAMES - (LEFT << PAGEBLOCK_ORDER);
	EXPECT_EQ(section_add(&first, &all), 0);
	EXPECT_EQ(section_frames_max(), SECTION_SMALL_FRAMES);
	EXPECT_EQ(section_add(&large, &s), -ENOSPC);
	large.type = SECTION_REGION;
	EXPECT_EQ(section_add(&large, &s), -ENOSPC);
	large.nr_frames = SECTION_SMALL_FRAMES;
	EXPECT_EQ(section_add(&large, &s), 0);
	section_remove(s);
	section_remove(all);
	phys_stop();
}

static const struct test_case cases[] = {
	{ "every pfn finds its section", every_pfn_finds_its_section },
	{ "arenas start at the largest order", arenas_start_at_the_largest_order },
	{ "the direct map shows the file", the_direct_map_shows_the_file },
	{ "the record says what the section is", the_record_says_what_the_section_is },
	{ "files that are ready serve unnamed regions, once each",
	  files_that_are_ready_serve_unnamed_regions_once },
	{ "no failing step leaves anything behind", no_failing_step_leaves_anything_behind },
	{ "thousands of sections fit, a span too long is refused", thousands_of_sections_fit },
	{ "the last part of the span is for small sections", the_last_part_is_for_small_ones },
};
TEST_MAIN(cases)
