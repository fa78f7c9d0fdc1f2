/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_floor - memory that can't be evicted leaves frames to what can
 *
 * A region is promised more than there is, since swap has room for the rest, and page runs or
 * locked pages take all they can get: before it, after it, and both. Every page of the region must
 * still have a frame when it is touched, or the region be refused; by the stock and by a pool's
 * max.
 */
#include <stdio.h>

#include "system/stage.h"
#include "system/swap_scene.h"

enum { RESERVE_MIB = 96, HUGE_MIB = 32, SWAP_MIB = 192, MAX_MIB = 24, RUN_ORDER = 9,
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

static void touch_all(char *at, size_t bytes)
{
	for (unsigned int round = 0; round < 2; round++) {
		for (size_t i = 0; i < bytes; i += scene.page_size)
			stamp(at + i, PAGE, round + i);
		for (size_t i = 0; i < bytes; i += scene.page_size)
			CLIENT_EXPECT(is_stamped(at + i, PAGE, round + i));
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

static const struct test_case cases[] = {
	{ "page runs leave frames for a region that is promised more than there is",
	  the_stock_leaves_frames },
	{ "and so they do within a pool's max", a_pool_leaves_frames },
	{ "several that share what is left all go on", several_share_what_is_left },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	swap_scene_set(RESERVE_MIB, SWAP_MIB, more_flags);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
