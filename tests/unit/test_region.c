/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_region - admission by nodes, residency (residency.c), audit (audit.c), and the end
 */
#include "mm/space/region.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/inject.h"
#include "lib/fake_os.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/phys/node.h"

enum { MIB_PAGES = 256, BASE = 0x10000000 };

static struct region_refusal why;

static struct region *new_region(const struct region_request *want)
{
	struct region *region = NULL;

	EXPECT_EQ(region_new(want, &region, &why), 0);
	return region;
}

static uint64_t committed(int node, enum stock_kind kind)
{
	struct stock_snapshot s;

	return stock_snapshot(node, kind, &s) ? s.committed : 0;
}

static int make(struct region *region, uint64_t first, uint64_t nr, struct page_range *run)
{
	return region_make_present(region, (struct page_range){ first, nr }, first, run);
}

static void end_with(struct region *region)
{
	space_expect_valid(region, NULL);
	space_drop_region(region);
	space_end();
}

/* ---- admission ---- */

static void the_whole_length_is_charged_at_once(void)
{
	struct region *region;

	space_begin(&(struct space_options){ 0 });
	region = space_region(1000, PAGE_SHIFT);
	EXPECT_EQ(committed(0, STOCK_BASE), 1000);
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	EXPECT_EQ(atomic_load(&region->quota[0]), 1000);
	space_expect_valid(region, NULL);
	space_drop_region(region);
	EXPECT_EQ(committed(0, STOCK_BASE), 0);
	space_end();
}

static void more_than_there_is_is_refused_with_figures(void)
{
	struct region_request want = { .name = "", .nr_pages = 1 << 20, .page_shift = PAGE_SHIFT };
	struct region *region;
	struct stock_snapshot s;

	space_begin(&(struct space_options){ .nr_nodes = 2 });
	EXPECT_EQ(region_new(&want, &region, &why), -ENOMEM);
	EXPECT_EQ(why.what, REFUSED_COMMIT);
	EXPECT_EQ(why.wanted, (uint64_t)want.nr_pages << PAGE_SHIFT);
	EXPECT(stock_snapshot(0, STOCK_BASE, &s));
	EXPECT_EQ(why.available, 2 * (s.reserve - s.margin) << PAGE_SHIFT);
	want.nr_pages = why.available >> PAGE_SHIFT;
	region = new_region(&want);
	want.nr_pages = 1;
	EXPECT_EQ(region_new(&want, &(struct region *){ NULL }, &why), -ENOMEM);
	end_with(region);
}

static void policies_choose_the_nodes(void)
{
	struct region_request want = { .name = "",
				       .nr_pages = 4 * MIB_PAGES,
				       .page_shift = PAGE_SHIFT };
	struct region *region;

	space_begin(&(struct space_options){ .nr_nodes = 4 });
	want.home_node = 2;
	region = new_region(&want); /* LOCAL */
	EXPECT_EQ(committed(2, STOCK_BASE), 4 * MIB_PAGES);
	space_drop_region(region);
	want.policy = POLICY_PREFERRED;
	want.node_mask = 1 << 3;
	region = new_region(&want);
	EXPECT_EQ(committed(3, STOCK_BASE), 4 * MIB_PAGES);
	space_drop_region(region);
	want.policy = POLICY_INTERLEAVE;
	want.node_mask = 0;
	region = new_region(&want);
	for (int node = 0; node < 4; node++)
		EXPECT_EQ(committed(node, STOCK_BASE), MIB_PAGES);
	space_drop_region(region);
	want.policy = POLICY_BIND;
	want.node_mask = 1 << 1 | 1 << 2;
	region = new_region(&want);
	EXPECT_EQ(committed(0, STOCK_BASE) + committed(3, STOCK_BASE), 0);
	end_with(region);
}

static void a_full_node_spills_unless_bound(void)
{
	struct region_request want = { .name = "",
				       .nr_pages = 80 * MIB_PAGES,
				       .page_shift = PAGE_SHIFT };
	struct region *region, *none;

	space_begin(&(struct space_options){ .nr_nodes = 2 });
	want.policy = POLICY_BIND;
	want.node_mask = 1;
	EXPECT_EQ(region_new(&want, &none, &why), -ENOMEM);
	EXPECT(why.available < want.nr_pages << PAGE_SHIFT);
	EXPECT_EQ(committed(0, STOCK_BASE) + committed(1, STOCK_BASE), 0);
	want.policy = POLICY_LOCAL;
	region = new_region(&want);
	EXPECT_EQ(committed(0, STOCK_BASE) + committed(1, STOCK_BASE), 80 * MIB_PAGES);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, want.nr_pages }), 0);
	EXPECT_EQ(space_present(0, STOCK_BASE), committed(0, STOCK_BASE));
	EXPECT_EQ(space_present(1, STOCK_BASE), committed(1, STOCK_BASE));
	end_with(region);
}

static void large_pages_come_from_the_huge_stock_if_there_is_one(void)
{
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ .huge_mib = 32 });
	region = space_region(4, PAGEBLOCK_SHIFT);
	EXPECT(region_is_hugetlb(region));
	EXPECT_EQ(committed(0, STOCK_HUGE), 4 * PAGEBLOCK_PAGES);
	EXPECT_EQ(make(region, 1, 1, &run), 0);
	EXPECT_EQ(space_present(0, STOCK_HUGE), PAGEBLOCK_PAGES);
	EXPECT(fake_os_present(region->section->fd, PAGEBLOCK_SIZE));
	end_with(region);
	space_begin(&(struct space_options){ 0 });
	region = space_region(4, PAGEBLOCK_SHIFT);
	EXPECT(!region_is_hugetlb(region));
	EXPECT_EQ(make(region, 3, 1, &run), 0);
	EXPECT_EQ(space_present(0, STOCK_BASE), PAGEBLOCK_PAGES);
	end_with(region);
}

static void a_region_that_cant_be_made_leaves_nothing(void)
{
	static const struct {
		enum inject_point point;
		int what;
	} steps[] = {
		{ INJECT_REGION_NEW, REFUSED_TABLE }, { INJECT_MEMFD_NEW, REFUSED_MEMFD },
		{ INJECT_PFN_RANGE, REFUSED_MEMFD },  { INJECT_SECTION_ADD, REFUSED_MEMFD },
		{ INJECT_COMMIT, REFUSED_METADATA }, /* of the words */
	};
	struct region_request want = { .name = "", .nr_pages = 100, .page_shift = PAGE_SHIFT };
	struct region *none = NULL;

	space_begin(&(struct space_options){ .metadata = true });
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		inject_arm(steps[i].point, 1, -EMFILE);
		EXPECT_EQ(region_new(&want, &none, &why), -EMFILE);
		EXPECT_EQ((int)why.what, steps[i].what);
	}
	inject_arm(INJECT_META_POPULATE, 3, -ENOMEM); /* after the section's two tables */
	EXPECT_EQ(region_new(&want, &none, &why), -ENOMEM);
	EXPECT_EQ(why.what, REFUSED_METADATA);
	inject_arm(INJECT_META_POPULATE, 0, 0);
	EXPECT(!none);
	space_end();
}

/* ---- residency ---- */

static void pages_come_in_one_go(void)
{
	struct fake_os_calls before, after;
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(1000, PAGE_SHIFT);
	fake_os_calls(&before);
	EXPECT_EQ(make(region, 100, 200, &run), 0);
	fake_os_calls(&after);
	EXPECT_EQ(after.populate - before.populate, 1);
	EXPECT_EQ(run.first, 100);
	EXPECT_EQ(run.nr, 200);
	EXPECT_EQ(make(region, 50, 300, &run), 0); /* on both sides of what is there */
	EXPECT_EQ(run.first, 50);
	EXPECT_EQ(run.nr, 300);
	EXPECT_EQ(region->nr_resident, 300);
	EXPECT_EQ(space_present(0, STOCK_BASE), 300);
	EXPECT_EQ(atomic_load(&region->quota[0]), 700);
	end_with(region);
}

static void a_busy_page_stops_the_run(void)
{
	struct region *region;
	struct page_range run;
	uint64_t old;

	space_begin(&(struct space_options){ 0 });
	region = space_region(16, PAGE_SHIFT);
	EXPECT(word_try_busy(&region->words[8], PAGE_NONE, &old));
	EXPECT_EQ(make(region, 4, 8, &run), 0);
	EXPECT_EQ(run.first, 4);
	EXPECT_EQ(run.nr, 4);
	EXPECT_EQ(make(region, 8, 2, &run), -EBUSY);
	EXPECT(word_load(&region->words[8]) & WORD_WAITERS);
	/* One before the page that must come is passed over. */
	EXPECT_EQ(region_make_present(region, (struct page_range){ 6, 6 }, 10, &run), 0);
	EXPECT_EQ(run.first, 9);
	EXPECT_EQ(run.nr, 3);
	EXPECT(word_end_busy(&region->words[8], old));
	EXPECT_EQ(region->nr_resident, 7);
	end_with(region);
}

static void a_poisoned_page_stops_the_run(void)
{
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(16, PAGE_SHIFT);
	EXPECT(region_poison(region, 8, "a test"));
	EXPECT(!region_poison(region, 8, "a test"));
	EXPECT_EQ(make(region, 4, 8, &run), 0);
	EXPECT_EQ(run.nr, 4);
	EXPECT_EQ(make(region, 8, 1, &run), -EIO);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, 16 }), -EIO);
	EXPECT_EQ(region_drop(region, (struct page_range){ 8, 1 }), 0);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, 16 }), 0);
	EXPECT_EQ(region->nr_resident, 16);
	end_with(region);
}

static void what_fails_is_charged_to_nobody(void)
{
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(64, PAGE_SHIFT);
	EXPECT_EQ(make(region, 0, 8, &run), 0);
	inject_arm(INJECT_POPULATE, 1, -EINTR);
	EXPECT_EQ(make(region, 8, 8, &run), -EINTR);
	inject_arm(INJECT_POPULATE, 0, 0);
	EXPECT_EQ(space_state(region, 8), PAGE_NONE);
	EXPECT_EQ(space_present(0, STOCK_BASE), 8);
	space_expect_valid(region, NULL);
	fake_os_set_limit(0, fake_os_used(0, false) + 4 * PAGE_SIZE, 0);
	EXPECT_EQ(make(region, 8, 8, &run), -ENOMEM);
	EXPECT_EQ(make(region, 8, 4, &run), 0);
	EXPECT_EQ(region->nr_resident, 12);
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	end_with(region);
	space_begin(&(struct space_options){ .huge_mib = 16 });
	region = space_region(2, PAGEBLOCK_SHIFT);
	fake_os_set_limit(0, UINT64_MAX, 0); /* hugetlb has a word of its own for it */
	EXPECT_EQ(make(region, 0, 1, &run), -ENOMEM);
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	end_with(region);
}

static void held_memory_makes_way_for_pages(void)
{
	struct region *region;
	struct stock_snapshot s;

	space_begin(&(struct space_options){ .hold = true });
	EXPECT(stock_snapshot(0, STOCK_BASE, &s));
	region = space_region(s.reserve - s.margin - PAGEBLOCK_PAGES, PAGE_SHIFT);
	fake_os_set_limit(0, fake_os_used(0, false), 0); /* the host has no page more */
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, region->nr_pages }), 0);
	EXPECT_EQ(region->nr_resident, region->nr_pages);
	fake_os_set_limit(0, UINT64_MAX, UINT64_MAX);
	end_with(region);
}

static void advised_regions_come_by_pageblocks(void)
{
	struct fake_os_calls calls;
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(3 * PAGEBLOCK_PAGES / 2, PAGE_SHIFT);
	atomic_store(&region->huge, true);
	EXPECT_EQ(make(region, 100, 1, &run), 0);
	EXPECT_EQ(run.first, 0);
	EXPECT_EQ(run.nr, PAGEBLOCK_PAGES);
	fake_os_calls(&calls);
	EXPECT_EQ(calls.populate_huge, 1);
	EXPECT_EQ(make(region, PAGEBLOCK_PAGES + 7, 1, &run), 0); /* the last block isn't whole */
	EXPECT_EQ(run.first, PAGEBLOCK_PAGES + 7);
	EXPECT_EQ(run.nr, 1);
	EXPECT_EQ(space_present(0, STOCK_BASE), PAGEBLOCK_PAGES + 1);
	end_with(region);
}

static void dropped_pages_read_zero_and_are_paid_back(void)
{
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(1000, PAGE_SHIFT);
	EXPECT_EQ(make(region, 0, 1000, &run), 0);
	EXPECT_EQ(region_drop(region, (struct page_range){ 10, 500 }), 0);
	EXPECT(!fake_os_present(region->section->fd, 10 * PAGE_SIZE));
	EXPECT(fake_os_present(region->section->fd, 510 * PAGE_SIZE));
	EXPECT_EQ(space_present(0, STOCK_BASE), 500);
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, 1000 }), 0);
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, 1000 }), 0);
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	EXPECT_EQ(region->nr_resident, 0);
	EXPECT_EQ(atomic_load(&region->quota[0]), 1000);
	end_with(region);
}

static void a_refused_punch_changes_nothing(void)
{
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(16, PAGE_SHIFT);
	EXPECT_EQ(make(region, 0, 16, &run), 0);
	inject_arm(INJECT_PUNCH, 1, -EIO);
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, 16 }), -EIO);
	inject_arm(INJECT_PUNCH, 0, 0);
	EXPECT_EQ(region->nr_resident, 16);
	EXPECT_EQ(space_state(region, 0), PAGE_PRESENT);
	end_with(region);
}

static void locked_pages_stay(void)
{
	struct region *region;

	space_begin(&(struct space_options){ 0 });
	region = space_region(16, PAGE_SHIFT);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 4, 4 }), 0);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 6, 4 }), 0);
	EXPECT_EQ(region->nr_resident, 6);
	EXPECT_EQ(region->nr_locked, 6);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, 16 }), 0);
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, 16 }), -EBUSY);
	EXPECT_EQ(region->nr_resident, 6);
	space_expect_valid(region, NULL);
	region_unlock_pages(region, (struct page_range){ 0, 16 });
	EXPECT_EQ(region->nr_locked, 0);
	EXPECT_EQ(region_drop(region, (struct page_range){ 0, 16 }), 0);
	EXPECT_EQ(region->nr_resident, 0);
	end_with(region);
}

static void a_lock_that_fails_leaves_no_locks(void)
{
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(16, PAGE_SHIFT);
	EXPECT_EQ(make(region, 0, 4, &run), 0);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 2, 1 }), 0);
	EXPECT(region_poison(region, 6, "a test"));
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 0, 16 }), -EIO);
	EXPECT_EQ(region->nr_locked, 1);
	end_with(region);
}

static void nor_where_much_was_locked_by_then(void)
{
	enum { MANY = 10000, LOST = 9000 };
	struct page_range all = { 0, MANY };
	struct region *region;

	space_begin(&(struct space_options){ 0 });
	region = space_region(MANY, PAGE_SHIFT);
	EXPECT(region_poison(region, LOST, "a test"));
	EXPECT_EQ(region_lock_pages(region, all), -EIO);
	EXPECT_EQ(region->nr_locked, 0);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 60, 10 }), 0);
	EXPECT_EQ(region_lock_pages(region, all), -EIO);
	EXPECT_EQ(region->nr_locked, 10);
	EXPECT(word_load(region_word(region, 60)) & WORD_LOCKED);
	EXPECT(word_load(region_word(region, 69)) & WORD_LOCKED);
	space_expect_valid(region, NULL);
	end_with(region);
}

static void poison_takes_frame_and_lock_away(void)
{
	struct region *region;

	space_begin(&(struct space_options){ 0 });
	region = space_region(8, PAGE_SHIFT);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 0, 2 }), 0);
	EXPECT(region_poison(region, 1, "a test"));
	EXPECT_EQ(region->nr_resident, 1);
	EXPECT_EQ(region->nr_locked, 1);
	EXPECT_EQ(region->nr_poisoned, 1);
	EXPECT(!fake_os_present(region->section->fd, PAGE_SIZE));
	EXPECT_EQ(space_state(region, 1), PAGE_POISONED);
	end_with(region);
}

/* ---- whoever waits ---- */

struct waking {
	struct region *region;
	_Atomic bool started;
};

static void *populate_all(void *arg)
{
	struct waking *w = arg;

	atomic_store(&w->started, true);
	EXPECT_EQ(region_populate(w->region, (struct page_range){ 0, 8 }), 0);
	return NULL;
}

static bool has_waiter(void *word)
{
	return word_load(word) & WORD_WAITERS;
}

static void populating_waits_for_a_busy_page(void)
{
	struct waking w = { 0 };
	pthread_t thread;
	uint64_t old;

	space_begin(&(struct space_options){ 0 });
	w.region = space_region(8, PAGE_SHIFT);
	EXPECT(word_try_busy(&w.region->words[4], PAGE_NONE, &old));
	EXPECT_EQ(pthread_create(&thread, NULL, populate_all, &w), 0);
	EXPECT(test_wait(has_waiter, (void *)&w.region->words[4], 10));
	EXPECT_EQ(atomic_load(&w.region->nr_resident), 4);
	word_end_busy(&w.region->words[4], old);
	pthread_join(thread, NULL);
	EXPECT_EQ(w.region->nr_resident, 8);
	end_with(w.region);
}

static void waking_reaches_every_window_of_the_page(void)
{
	struct region *region;
	struct mm *a, *b;

	space_begin(&(struct space_options){ 0 });
	region = space_region(8, PAGE_SHIFT);
	a = space_mm();
	b = space_mm();
	space_window(a, region, BASE, 1);
	space_window(b, region, 2 * BASE, 1);
	EXPECT_EQ(mm_remove_range(b, 2 * BASE + 4 * PAGE_SIZE, PAGE_SIZE), 0);
	region_wake(region, (struct page_range){ 3, 2 });
	EXPECT_EQ(fake_uffd_wakes(a->uffd, BASE + 2 * PAGE_SIZE), 0);
	EXPECT_EQ(fake_uffd_wakes(a->uffd, BASE + 3 * PAGE_SIZE), 1);
	EXPECT_EQ(fake_uffd_wakes(a->uffd, BASE + 4 * PAGE_SIZE), 1);
	EXPECT_EQ(fake_uffd_wakes(a->uffd, BASE + 5 * PAGE_SIZE), 0);
	EXPECT_EQ(fake_uffd_wakes(b->uffd, 2 * BASE + 3 * PAGE_SIZE), 1);
	EXPECT_EQ(fake_uffd_wakes(b->uffd, 2 * BASE + 4 * PAGE_SIZE), 0);
	space_close_mm(a);
	space_close_mm(b);
	end_with(region);
}

/* ---- audit.c ---- */

static void conjured_frames_are_punched(void)
{
	struct region *region;
	struct page_range run;
	int fd;

	space_begin(&(struct space_options){ 0 });
	region = space_region(100, PAGE_SHIFT);
	fd = region->section->fd;
	EXPECT_EQ(make(region, 10, 5, &run), 0);
	EXPECT(region_poison(region, 50, "a test"));
	EXPECT_EQ(region_audit(region), 0);
	fake_os_conjure(fd, 3 * PAGE_SIZE);
	fake_os_conjure(fd, 50 * PAGE_SIZE);
	fake_os_conjure(fd, 99 * PAGE_SIZE);
	fake_os_conjure(fd, 300 * PAGE_SIZE); /* beyond the last page, inside the file */
	EXPECT_EQ(region_audit(region), 4);
	EXPECT(!fake_os_present(fd, 3 * PAGE_SIZE));
	EXPECT(!fake_os_present(fd, 300 * PAGE_SIZE));
	EXPECT(fake_os_present(fd, 14 * PAGE_SIZE));
	EXPECT_EQ(space_state(region, 50), PAGE_POISONED);
	EXPECT_EQ(region_audit(region), 0);
	end_with(region);
}

static void the_audit_leaves_busy_pages_alone(void)
{
	struct region *region;
	uint64_t old;

	space_begin(&(struct space_options){ 0 });
	region = space_region(16, PAGE_SHIFT);
	fake_os_conjure(region->section->fd, 3 * PAGE_SIZE);
	EXPECT(word_try_busy(&region->words[3], PAGE_NONE, &old));
	EXPECT_EQ(region_audit(region), 0); /* D1: it may be just coming */
	EXPECT(fake_os_present(region->section->fd, 3 * PAGE_SIZE));
	word_end_busy(&region->words[3], old);
	EXPECT_EQ(region_audit(region), 1);
	end_with(region);
}

static void the_validator_sees_what_a_client_did(void)
{
	static struct validation v;
	struct region *region;
	struct page_range run;

	space_begin(&(struct space_options){ 0 });
	region = space_region(16, PAGE_SHIFT);
	EXPECT_EQ(make(region, 0, 4, &run), 0);
	fake_os_client_punch(region->section->fd, 0, PAGE_SIZE);
	v = (struct validation){ 0 };
	region_validate(region, &v);
	EXPECT(v.nr_differences > 0);
	EXPECT(strstr(v.reports[0], "bytes in the file"));
	EXPECT(region_poison(region, 0, "a test"));
	end_with(region);
}

/* ---- the end ---- */

static _Atomic int nr_released;

static void note_released(void *owner)
{
	EXPECT_EQ(space_present(0, STOCK_BASE), 0);
	EXPECT_EQ(committed(0, STOCK_BASE), 0);
	EXPECT(owner == &nr_released);
	atomic_fetch_add(&nr_released, 1);
}

static void the_owner_hears_when_the_memory_is_back(void)
{
	struct region_request want = { .name = "x",
				       .nr_pages = 100,
				       .page_shift = PAGE_SHIFT,
				       .released = note_released,
				       .owner = &nr_released };
	struct region *region;

	atomic_store(&nr_released, 0);
	space_begin(&(struct space_options){ 0 });
	region = new_region(&want);
	EXPECT_EQ(region_populate(region, (struct page_range){ 0, 100 }), 0);
	region_get(region);
	region_put(region);
	regions_flush();
	EXPECT_EQ(nr_released, 0);
	space_drop_region(region);
	EXPECT_EQ(nr_released, 1);
	space_end();
}

static void movable_zones_count_resident_frames(void)
{
	struct zone *zones[MAX_NUMNODES] = { NULL };
	struct region_request want = {
		.name = "x", .nr_pages = 8, .page_shift = PAGEBLOCK_SHIFT, .movable = zones
	};
	struct zone_request zone = { .type = ZONE_MOVABLE };
	struct region *region;

	space_begin(&(struct space_options){ 0 });
	EXPECT_EQ(zone_new(&zone, &zones[0]), 0);
	region = new_region(&want);
	EXPECT_EQ(region_populate(region, (struct page_range){ 2, 3 }), 0);
	EXPECT_EQ(atomic_load(&zones[0]->present), 3 * PAGEBLOCK_PAGES);
	EXPECT_EQ(region_drop(region, (struct page_range){ 2, 1 }), 0);
	EXPECT_EQ(atomic_load(&zones[0]->present), 2 * PAGEBLOCK_PAGES);
	space_drop_region(region);
	EXPECT_EQ(atomic_load(&zones[0]->present), 0);
	zone_free(zones[0]);
	space_end();
}

static void count_region(struct region *region, void *arg)
{
	EXPECT(atomic_load(&region->refs) > 1);
	++*(unsigned int *)arg;
}

static void every_region_is_visited_once(void)
{
	enum { MANY = 600 };
	static struct region *regions[MANY];
	unsigned int nr = 0;

	space_begin(&(struct space_options){ 0 });
	for (int i = 0; i < MANY; i++)
		regions[i] = space_region(1, PAGE_SHIFT);
	region_for_each(count_region, &nr);
	EXPECT_EQ(nr, MANY);
	for (int i = 0; i < MANY; i++)
		region_put(regions[i]);
	regions_flush();
	nr = 0;
	region_for_each(count_region, &nr);
	EXPECT_EQ(nr, 0);
	space_end();
}

/* Walks go by age, also from the middle on; those that are gone are passed, and what a walk holds
 * goes only when it has gone on. */
static void walks_go_by_age_and_pool(void)
{
	enum { MANY = 90 };
	struct region *regions[MANY], *at;
	struct memcg pools[2];
	uint64_t steps;

	space_begin(&(struct space_options){ 0 });
	memcg_init(&pools[0], 1);
	memcg_init(&pools[1], 2);
	for (int i = 0; i < MANY; i++)
		regions[i] = space_region_of(&pools[i % 2]);
	steps = region_walk_steps();
	at = region_seek(NULL, regions[MANY / 3]->serial);
	for (int i = MANY / 3; i < MANY; i++, at = region_next(NULL, at))
		EXPECT(at == regions[i]);
	EXPECT(!at);
	EXPECT(region_walk_steps() - steps < 2 * MANY);

	region_put(regions[5]);
	at = region_seek(&pools[1], regions[2]->serial);
	EXPECT(at == regions[3]);
	region_put(regions[3]); /* the walk has the last reference */
	at = region_next(&pools[1], at);
	EXPECT(at == regions[7]);
	region_put(at);
	at = region_seek(&pools[1], regions[2]->serial);
	EXPECT(at == regions[7]);
	region_put(at);
	EXPECT(!region_seek(&pools[0], regions[MANY - 1]->serial));
	for (int i = 0; i < MANY; i++)
		if (i != 3 && i != 5)
			region_put(regions[i]);
	EXPECT(!region_seek(NULL, 0));
	regions_flush();
	memcg_fini(&pools[0]);
	memcg_fini(&pools[1]);
	space_end();
}

static const struct test_case cases[] = {
	{ "the whole length is charged when a region is made (R1)",
	  the_whole_length_is_charged_at_once },
	{ "more than there is is refused with figures, and what they name is granted",
	  more_than_there_is_is_refused_with_figures },
	{ "policies choose the nodes that promise", policies_choose_the_nodes },
	{ "a full node spills to others, unless the region is bound",
	  a_full_node_spills_unless_bound },
	{ "2 MiB pages come from the huge stock where there is one",
	  large_pages_come_from_the_huge_stock_if_there_is_one },
	{ "a region that can't be made leaves nothing", a_region_that_cant_be_made_leaves_nothing },
	{ "pages that adjoin come in one go (N1)", pages_come_in_one_go },
	{ "a busy page stops a run, and notes who wants it", a_busy_page_stops_the_run },
	{ "a poisoned page stops a run until it is dropped", a_poisoned_page_stops_the_run },
	{ "what can't be populated is charged to nobody (N2)", what_fails_is_charged_to_nobody },
	{ "held memory makes way for pages", held_memory_makes_way_for_pages },
	{ "a region advised to huge pages comes by whole pageblocks",
	  advised_regions_come_by_pageblocks },
	{ "dropped pages are absent and paid back (R2, R3)",
	  dropped_pages_read_zero_and_are_paid_back },
	{ "a refused punch changes nothing", a_refused_punch_changes_nothing },
	{ "locked pages stay", locked_pages_stay },
	{ "a lock that fails leaves no locks", a_lock_that_fails_leaves_no_locks },
	{ "nor where much of the range was locked by then", nor_where_much_was_locked_by_then },
	{ "poison takes frame and lock away", poison_takes_frame_and_lock_away },
	{ "populating waits for a busy page", populating_waits_for_a_busy_page },
	{ "waking reaches every window of a page, and no other page",
	  waking_reaches_every_window_of_the_page },
	{ "frames that a client conjured are punched", conjured_frames_are_punched },
	{ "the audit leaves busy pages alone (D1)", the_audit_leaves_busy_pages_alone },
	{ "the validator sees what a client did", the_validator_sees_what_a_client_did },
	{ "the owner hears when the memory is really back",
	  the_owner_hears_when_the_memory_is_back },
	{ "ZONE_MOVABLE counts resident frames", movable_zones_count_resident_frames },
	{ "every region is visited once, with a reference", every_region_is_visited_once },
	{ "walks go by age, over all regions or a pool's", walks_go_by_age_and_pool },
};
TEST_MAIN(cases)
