/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_floor - memory that can't be evicted leaves frames to what can
 *
 * A region is promised more than there is, since swap has room for the rest, and page runs or
 * locked pages take all they can get: before it, after it, and both. Every page of the region must
 * still have a frame when it is touched, or the region be refused; by the stock and by a pool's
 * max. And where frames and slots are promised to the last one, pages still come and go: whoever
 * holds slots, by need or without.
 */
#include <stdio.h>

#include "system/stage.h"
#include "system/swap_scene.h"

enum { RESERVE_MIB = 64, HUGE_MIB = 32, SWAP_MIB = 96, MAX_MIB = 24, RUN_ORDER = 9,
       RUNS_MAX = 64, TOUCHERS = 2 };
enum { READY = 1, TAKEN = READY + TOUCHERS };

static const char *const more_flags[] = { "--memory.reserve_huge=32M", NULL };

/* Which scene the actors play. */
static struct {
	size_t page_size, bytes;
	uint64_t max;
	bool runs_first;
} scene;

static unsigned int take_runs(struct actor *a)
{
	unsigned int nr = 0;

	while (nr < RUNS_MAX && mmb_alloc_pages(a->pool, RUN_ORDER, 0))
		nr++;
	return nr;
}

/* As much as is granted, down from what swap and memory have together. */
static struct mmb_region *promised(struct actor *a, size_t *bytes)
{
	struct mmb_region_options options = { .size = sizeof(options),
					      .page_size = (uint32_t)scene.page_size };
	struct mmb_region *region = NULL;

	for (*bytes = scene.bytes; *bytes >= scene.page_size; *bytes -= scene.page_size)
		if (!mmb_region_create(a->pool, *bytes, &options, &region))
			return region;
	return NULL;
}

static void stamp_each(char *at, size_t bytes, size_t step, size_t seed)
{
	for (size_t i = 0; i < bytes; i += step)
		stamp(at + i, PAGE, seed + i);
}

static void expect_each(const char *at, size_t bytes, size_t step, size_t seed)
{
	for (size_t i = 0; i < bytes; i += step)
		CLIENT_EXPECT(is_stamped(at + i, PAGE, seed + i));
}

static void touch_all(char *at, size_t bytes)
{
	for (unsigned int round = 0; round < 2; round++) {
		stamp_each(at, bytes, scene.page_size, round);
		expect_each(at, bytes, scene.page_size, round);
	}
}

static void open_pool(struct actor *a)
{
	act_open(a);
	act_pool(a, scene.max);
}

/* Everything in one pool. */
static void take_and_touch(struct actor *a)
{
	unsigned int nr = 0;
	struct mmb_region *region;
	size_t bytes;

	open_pool(a);
	if (scene.runs_first)
		nr = take_runs(a);
	region = promised(a, &bytes);
	nr += take_runs(a);
	CLIENT_EXPECT(nr > 0);
	board->number[0] = bytes;
	if (!region)
		return;
	/* What is left can't be locked either. */
	if (scene.page_size == PAGE)
		while (bytes && mmb_region_lock(region, 0, bytes / 2 & -scene.page_size))
			bytes /= 2;
	touch_all(act_at(region), board->number[0]);
}

/* Two with regions, and one that takes the rest. */
static void touch(struct actor *a)
{
	struct mmb_region *region;
	size_t bytes;

	open_pool(a);
	region = promised(a, &bytes);
	CLIENT_EXPECT(region);
	cue(READY + a->place);
	await(TAKEN);
	touch_all(act_at(region), bytes);
}

static void take(struct actor *a)
{
	open_pool(a);
	await(READY + TOUCHERS - 1);
	take_runs(a);
	cue(TAKEN);
}

static bool has_huge(void)
{
	return hugepages_get(HUGE_MIB / 2);
}

static void play_alone(size_t page_size, uint64_t max, bool runs_first)
{
	scene.page_size = page_size;
	scene.max = max;
	scene.runs_first = runs_first;
	scene.bytes = (size_t)SWAP_MIB / 2 * MIB;
	PLAY(ROLE(take_and_touch));
	/* Before runs could take it all, most of what was asked for was granted. */
	EXPECT(runs_first || board->number[0] >= scene.bytes / 2);
}

static void the_stock_leaves_frames(void)
{
	if (!has_huge())
		SKIP("32 MiB of free huge pages: vm.nr_hugepages is too low, and raising it needs "
		     "root");
	play_alone(HUGE_PAGE, 0, false);
	play_alone(HUGE_PAGE, 0, true);
}

static void a_pool_leaves_frames(void)
{
	play_alone(PAGE, (uint64_t)MAX_MIB * MIB, false);
	play_alone(PAGE, (uint64_t)MAX_MIB * MIB, true);
	if (!has_huge())
		SKIP("the rest: 32 MiB of free huge pages, which needs root");
	play_alone(HUGE_PAGE, (uint64_t)MAX_MIB * MIB, false);
	play_alone(HUGE_PAGE, (uint64_t)MAX_MIB * MIB, true);
}

static void several_share_what_is_left(void)
{
	if (!has_huge())
		SKIP("32 MiB of free huge pages: vm.nr_hugepages is too low, and raising it needs "
		     "root");
	scene.page_size = HUGE_PAGE;
	scene.max = 0;
	scene.bytes = (size_t)HUGE_MIB * MIB;
	PLAY(ROLE(touch), ROLE(touch), ROLE(take));
}

/* ---- everything is promised ---- */

static struct mmb_region *most(struct actor *a, size_t *bytes)
{
	struct mmb_region_options options = { .size = sizeof(options) };
	struct mmb_region *region = NULL;

	for (*bytes = (size_t)(RESERVE_MIB + SWAP_MIB) * MIB; *bytes; *bytes -= 64 * PAGE)
		if (!mmb_region_create(a->pool, *bytes, &options, &region))
			return region;
	return NULL;
}

static void use_all(struct actor *a)
{
	struct mmb_region *region;
	const char *text;
	size_t bytes;

	open_pool(a);
	scene.page_size = PAGE;
	region = most(a, &bytes);
	CLIENT_EXPECT(region && bytes > (size_t)SWAP_MIB * MIB);
	stamp_each(act_at(region), bytes, PAGE, 0);
	/* Pages must come and go for that, and an operator can see it. */
	text = mmbctl(a->socket, "meminfo");
	CLIENT_EXPECT(text && line_number(text, "SwapFree:") >= 0);
	expect_each(act_at(region), bytes, PAGE, 0);
}

static void what_is_promised_can_all_be_used(void)
{
	scene.max = 0;
	PLAY(ROLE(use_all));
}

/* A page that is locked needs no slot: those are promised to others. */
static void lock_and_use_all(struct actor *a)
{
	const size_t locked = (size_t)RESERVE_MIB / 2 * MIB;
	struct mmb_region *first, *rest;
	size_t bytes;

	open_pool(a);
	first = act_region(a, locked, 0);
	stamp_each(act_at(first), locked, PAGE, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(first, 0, locked, MMB_ADVISE_PAGEOUT), 0);
	expect_each(act_at(first), locked, PAGE, 0);
	CLIENT_EXPECT_EQ(mmb_region_lock(first, 0, locked), 0);
	rest = most(a, &bytes);
	CLIENT_EXPECT(rest);
	scene.page_size = PAGE;
	touch_all(act_at(rest), bytes);
	expect_each(act_at(first), locked, PAGE, 0);
}

static void locked_pages_hold_no_slots(void)
{
	scene.max = 0;
	PLAY(ROLE(lock_and_use_all));
}

/* min keeps memory from others, all of the stock here, but not what they were promised. */
static void use_beside_min(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options),
						  .min = (uint64_t)(RESERVE_MIB - 4) * MIB };
	const size_t bytes = (size_t)(RESERVE_MIB - 16) * MIB;
	struct mmb_region *first, *rest;
	struct mmb_pool *guarded;
	size_t more;

	open_pool(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "guarded", MMB_POOL_CREATE, &options, &guarded), 0);
	CLIENT_EXPECT_EQ(mmb_region_create(guarded, bytes, NULL, &first), 0);
	stamp_each(act_at(first), bytes, PAGE, 0);
	rest = most(a, &more);
	CLIENT_EXPECT(rest);
	scene.page_size = PAGE;
	touch_all(act_at(rest), more);
	expect_each(act_at(first), bytes, PAGE, 0);
	mmb_region_close(first);
}

/* What is above min may go, and no page more, where others have some. */
static void use_beside_more_than_min(struct actor *a)
{
	const uint64_t min = (uint64_t)RESERVE_MIB / 4 * MIB;
	const struct mmb_pool_options options = { .size = sizeof(options), .min = min };
	const size_t bytes = min + 5 * MIB, more = (size_t)RESERVE_MIB * MIB;
	struct mmb_pool_stat stat = { .size = sizeof(stat) };
	struct mmb_region *first, *rest;
	struct mmb_pool *guarded;

	open_pool(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "guarded", MMB_POOL_CREATE, &options, &guarded), 0);
	CLIENT_EXPECT_EQ(mmb_region_create(guarded, bytes, NULL, &first), 0);
	stamp_each(act_at(first), bytes, PAGE, 0);
	rest = act_region(a, more, 0);
	scene.page_size = PAGE;
	touch_all(act_at(rest), more);
	CLIENT_EXPECT_EQ(mmb_pool_stat(guarded, &stat), 0);
	CLIENT_EXPECT(stat.swapped > 0);
	CLIENT_EXPECT(stat.resident >= min);
	expect_each(act_at(first), bytes, PAGE, 0);
	mmb_region_close(first);
}

static void a_pool_keeps_its_min(void)
{
	scene.max = 0;
	PLAY(ROLE(use_beside_more_than_min));
}

static void min_keeps_nobody_from_a_page(void)
{
	scene.max = 0;
	PLAY(ROLE(use_beside_min));
}

/* An arena grows where pages of the pool can go. */
static void grow(struct actor *a)
{
	unsigned int nr;
	struct mmb_region *region;

	open_pool(a);
	region = act_region(a, scene.max * 3 / 2, 0);
	stamp_each(act_at(region), scene.max * 3 / 2, PAGE, 0);
	nr = take_runs(a);
	if (nr < scene.max / HUGE_PAGE / 2)
		printf("  %u runs: %s\n", nr, mmb_error());
	CLIENT_EXPECT(nr >= scene.max / HUGE_PAGE / 2);
	expect_each(act_at(region), scene.max * 3 / 2, PAGE, 0);
}

static void a_full_pool_makes_room_for_its_runs(void)
{
	scene.max = (uint64_t)MAX_MIB * MIB;
	PLAY(ROLE(grow));
}

/* Slots of small pages lie scattered over all clusters; huge pages need whole ones. */
static void scatter(struct actor *a)
{
	const size_t bytes = (size_t)(SWAP_MIB - 16) * MIB;
	struct mmb_region *small, *huge;
	size_t granted;

	open_pool(a);
	small = act_region(a, bytes, 0);
	stamp_each(act_at(small), bytes, PAGE, 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(small, 0, bytes, MMB_ADVISE_PAGEOUT), 0);
	for (size_t i = 0; i < bytes; i += 16 * PAGE)
		CLIENT_EXPECT_EQ(mmb_region_advise(small, i + PAGE, 15 * PAGE,
						   MMB_ADVISE_DONTNEED), 0);
	CLIENT_EXPECT_EQ(mmb_region_advise(small, 0, bytes, MMB_ADVISE_PAGEOUT), 0);
	huge = promised(a, &granted);
	CLIENT_EXPECT(huge);
	touch_all(act_at(huge), granted);
	expect_each(act_at(small), bytes, 16 * PAGE, 0);
}

static void huge_pages_are_promised_whole_clusters(void)
{
	if (!has_huge())
		SKIP("32 MiB of free huge pages: vm.nr_hugepages is too low, and raising it needs "
		     "root");
	scene.page_size = HUGE_PAGE;
	scene.max = 0;
	scene.bytes = (size_t)SWAP_MIB * MIB;
	PLAY(ROLE(scatter));
}

/* What a pool's max keeps on the disk takes slots though the stock has room. */
static struct mmb_region *behind_max(struct actor *a, size_t bytes)
{
	const struct mmb_pool_options options = { .size = sizeof(options),
						  .max = (uint64_t)MAX_MIB / 3 * MIB };
	struct mmb_region *region;
	struct mmb_pool *limited;

	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, &options, &limited), 0);
	CLIENT_EXPECT_EQ(mmb_region_create(limited, bytes, NULL, &region), 0);
	return region;
}

static void use_beside_a_limited_pool(struct actor *a)
{
	const size_t bytes = (size_t)(RESERVE_MIB - 16) * MIB;
	struct mmb_region *limited, *huge;
	size_t granted;

	open_pool(a);
	limited = behind_max(a, bytes);
	huge = promised(a, &granted);
	CLIENT_EXPECT(huge);
	board->number[0] = granted;
	for (unsigned int round = 0; round < 2; round++) {
		stamp_each(act_at(huge), granted, HUGE_PAGE, round);
		stamp_each(act_at(limited), bytes, PAGE, round);
		expect_each(act_at(huge), granted, HUGE_PAGE, round);
		expect_each(act_at(limited), bytes, PAGE, round);
	}
}

static void a_pools_max_leaves_slots_to_huge_pages(void)
{
	if (!has_huge())
		SKIP("32 MiB of free huge pages: vm.nr_hugepages is too low, and raising it needs "
		     "root");
	scene.page_size = HUGE_PAGE;
	scene.max = 0;
	scene.bytes = (size_t)(HUGE_MIB + SWAP_MIB) * MIB;
	PLAY(ROLE(use_beside_a_limited_pool));
	EXPECT(board->number[0] >= (size_t)HUGE_MIB * MIB);
}

/* Slots that nobody needs, since there is room in memory, are taken from who needs some. */
static void use_beside_what_was_paged_out(struct actor *a)
{
	const size_t bytes = (size_t)(RESERVE_MIB - 16) * MIB;
	const size_t more = (size_t)(SWAP_MIB - 12) * MIB; /* so that not all is promised */
	struct mmb_region *limited, *rest;

	open_pool(a);
	limited = behind_max(a, bytes);
	rest = act_region(a, more, 0);
	stamp_each(act_at(rest), more, PAGE, 0);
	for (unsigned int round = 0; round < 2; round++) {
		CLIENT_EXPECT_EQ(mmb_region_advise(rest, 0, more, MMB_ADVISE_PAGEOUT), 0);
		stamp_each(act_at(limited), bytes, PAGE, round);
		expect_each(act_at(limited), bytes, PAGE, round);
	}
	expect_each(act_at(rest), more, PAGE, 0);
}

static void what_was_paged_out_makes_way(void)
{
	scene.max = 0;
	PLAY(ROLE(use_beside_what_was_paged_out));
}

/* A swap_max is used to its last slots, however many pages would go together. */
static void use_a_small_swap_max(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .max = 4 * MIB,
						  .swap_max = scene.max };
	size_t bytes = 4 * MIB + scene.max;
	struct mmb_region *region = NULL;
	struct mmb_pool *limited;

	open_pool(a);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, NULL, MMB_POOL_PRIVATE, &options, &limited), 0);
	while (mmb_region_create(limited, bytes, NULL, &region))
		bytes -= PAGE;
	CLIENT_EXPECT(bytes > 4 * MIB);
	touch_all(act_at(region), bytes);
}

static void a_small_swap_max_can_all_be_used(void)
{
	scene.page_size = PAGE;
	for (scene.max = MIB / 2; scene.max <= 8 * MIB; scene.max *= 2)
		PLAY(ROLE(use_a_small_swap_max));
}

static const struct test_case cases[] = {
	{ "page runs leave frames for a region that is promised more than there is",
	  the_stock_leaves_frames },
	{ "and so they do within a pool's max", a_pool_leaves_frames },
	{ "several that share what is left all go on", several_share_what_is_left },
	{ "everything that is granted can be used, and the daemon still answers",
	  what_is_promised_can_all_be_used },
	{ "locked pages hold no slots that others were promised", locked_pages_hold_no_slots },
	{ "a pool keeps its min to the page while others have what can go", a_pool_keeps_its_min },
	{ "a pool's min keeps nobody from a page that was granted", min_keeps_nobody_from_a_page },
	{ "a pool full of pages that can go makes room for its runs",
	  a_full_pool_makes_room_for_its_runs },
	{ "huge pages are promised whole clusters, or refused",
	  huge_pages_are_promised_whole_clusters },
	{ "what a pool's max keeps on the disk isn't promised to huge pages, too",
	  a_pools_max_leaves_slots_to_huge_pages },
	{ "who was paged out without need makes way for who needs the slots",
	  what_was_paged_out_makes_way },
	{ "what a small swap_max grants can be used, to its last slots",
	  a_small_swap_max_can_all_be_used },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	swap_scene_set(RESERVE_MIB, SWAP_MIB, more_flags);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
