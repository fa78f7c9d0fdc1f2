/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_clones_out - what a family shares goes to the disk when memory is short, and comes back
 *
 * Not here    Page by page, without a kernel (tests/unit/test_heirs.c), random trees of clones that
 *             are paged out (test_clone_trees.c).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "system/swap_scene.h"

enum { BYTES = 8 * MIB, LIMIT = 6 * MIB, RESERVE_MIB = 128, SWAP_MIB = 128 };

/* Page by page, so that any part of it can be looked at. */
static void write_pages(char *at, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		stamp(at + i, PAGE, seed);
}

static bool are(const char *at, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		if (!is_stamped(at + i, PAGE, seed))
			return false;
	return true;
}

/* Everything that is in memory belongs to the snapshot when the other region is written. */
static void fill_beside_a_snapshot(struct actor *a)
{
	struct mmb_region *region, *snapshot, *other;

	act_pool(a, LIMIT);
	region = act_region(a, BYTES, 0);
	write_pages(act_at(region), BYTES, 1);
	snapshot = act_clone(region, NULL, MMB_REGION_READONLY);
	CLIENT_EXPECT(are(act_at(snapshot) + BYTES - MIB, MIB, 1));
	other = act_region(a, BYTES, 0);
	write_pages(act_at(other), BYTES, 2);
	CLIENT_EXPECT(are(act_at(snapshot), BYTES, 1));
	for (size_t i = 0; i < BYTES; i += 3 * PAGE)
		write_pages(act_at(region) + i, PAGE, 3);
	CLIENT_EXPECT(are(act_at(snapshot), BYTES, 1));
	CLIENT_EXPECT(are(act_at(other), BYTES, 2));
	for (size_t i = 0; i < BYTES; i += PAGE)
		CLIENT_EXPECT(are(act_at(region) + i, PAGE, i % (3 * PAGE) ? 1 : 3));
	mmb_region_close(other);
	mmb_region_close(snapshot);
	mmb_region_close(region);
}

static void a_snapshot_pins_no_memory(void)
{
	PLAY(ROLE(fill_beside_a_snapshot));
}

/* ---- frames that another process has mapped ---- */

static void page_out(struct actor *a)
{
	struct mmb_region *region, *clone;

	act_common_pool(a);
	region = act_named(a, "origin", BYTES);
	write_pages(act_at(region), BYTES, 5);
	clone = act_clone(region, "copy", 0);
	cue(1);
	await(2);
	swap_scene_out(region);
	CLIENT_EXPECT_EQ(act_stat(clone).resident, 0);
	write_pages(act_at(region), BYTES / 2, 6);
	cue(3);
	await(4);
	CLIENT_EXPECT(are(act_at(region), BYTES / 2, 6));
	CLIENT_EXPECT(are(act_at(region) + BYTES / 2, BYTES / 2, 5));
	CLIENT_EXPECT(are(act_at(clone), BYTES / 4, 7));
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "copy"), 0);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "origin"), 0);
	mmb_region_close(clone);
	mmb_region_close(region);
}

static void look_on(struct actor *a)
{
	struct mmb_region *clone = NULL;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "copy", 0, 0, NULL, &clone), 0);
	CLIENT_EXPECT(are(act_at(clone), BYTES, 5));
	cue(2);
	await(3);
	CLIENT_EXPECT(are(act_at(clone), BYTES, 5));
	write_pages(act_at(clone), BYTES / 4, 7);
	CLIENT_EXPECT(are(act_at(clone) + BYTES / 4, BYTES - BYTES / 4, 5));
	mmb_region_close(clone);
	cue(4);
}

static void frames_that_others_show_go(void)
{
	PLAY(ROLE(page_out), ROLE(look_on));
}

/* ---- pages that are read ---- */

static int64_t frames_read(const struct actor *a)
{
	return swap_scene_count(a->socket, "pswpin");
}

static void read_by_all(struct actor *a)
{
	enum { FRAMES = BYTES / PAGE };
	struct mmb_region *region, *clones[2];
	int64_t before;

	act_common_pool(a);
	region = act_region(a, BYTES, 0);
	write_pages(act_at(region), BYTES, 8);
	for (int i = 0; i < 2; i++)
		clones[i] = act_clone(region, NULL, 0);
	swap_scene_out(region);
	before = frames_read(a);
	CLIENT_EXPECT(are(act_at(clones[0]), BYTES, 8));
	CLIENT_EXPECT_EQ(frames_read(a) - before, FRAMES);
	CLIENT_EXPECT_EQ(act_stat(clones[0]).shared, BYTES);
	CLIENT_EXPECT_EQ(act_stat(clones[0]).own, 0);
	CLIENT_EXPECT_EQ(act_stat(region).resident, BYTES);
	CLIENT_EXPECT(are(act_at(clones[1]), BYTES, 8));
	CLIENT_EXPECT(are(act_at(region), BYTES, 8));
	CLIENT_EXPECT_EQ(frames_read(a) - before, FRAMES);
	CLIENT_EXPECT_EQ(act_stat(clones[1]).shared, BYTES);
	for (int i = 0; i < 2; i++)
		mmb_region_close(clones[i]);
	mmb_region_close(region);
}

/* Pages of 2 MiB are copied from where they were read. */
static void read_huge_by_all(struct actor *a)
{
	enum { FRAMES = 3 * HUGE_PAGE / PAGE };
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	struct mmb_region *region, *clone;
	int64_t before;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, 3 * HUGE_PAGE, &options, &region), 0);
	write_pages(act_at(region), 3 * HUGE_PAGE, 8);
	clone = act_clone(region, NULL, 0);
	swap_scene_out(region);
	before = frames_read(a);
	CLIENT_EXPECT(are(act_at(clone), 3 * HUGE_PAGE, 8));
	CLIENT_EXPECT_EQ(act_stat(region).resident, 3 * HUGE_PAGE);
	CLIENT_EXPECT(are(act_at(region), 3 * HUGE_PAGE, 8));
	CLIENT_EXPECT_EQ(frames_read(a) - before, FRAMES);
	write_pages(act_at(region), HUGE_PAGE, 9);
	swap_scene_out(region);
	swap_scene_out(clone);
	CLIENT_EXPECT(are(act_at(clone), 3 * HUGE_PAGE, 8));
	CLIENT_EXPECT(are(act_at(region), HUGE_PAGE, 9));
	mmb_region_close(region);
	CLIENT_EXPECT(are(act_at(clone), 3 * HUGE_PAGE, 8));
	mmb_region_close(clone);
}

/* ---- while it goes out ---- */

enum { ROUNDS = 30 };

static void push_out(struct actor *a)
{
	struct mmb_region *region = NULL;

	act_common_pool(a);
	await(1);
	CLIENT_EXPECT_EQ(mmb_region_open(a->pool, "pushed", 0, 0, NULL, &region), 0);
	while (!atomic_load(&board->number[0]))
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, BYTES, MMB_ADVISE_PAGEOUT), 0);
	mmb_region_close(region);
	cue(2);
}

static void clone_and_look(struct actor *a)
{
	struct mmb_region *region, *clone, *last;

	act_common_pool(a);
	region = act_named(a, "pushed", BYTES);
	for (size_t i = 0; i < BYTES / MIB; i += 2) /* the rest is never touched */
		write_pages(act_at(region) + i * MIB, MIB, 3);
	cue(1);
	for (int round = 0; round < ROUNDS; round++) {
		char *at = act_at(region);

		clone = act_clone(region, NULL, 0);
		last = act_clone(clone, NULL, 0);
		write_pages(at, PAGE, round);
		CLIENT_EXPECT(are(act_at(last), PAGE, round ? round - 1 : 3));
		CLIENT_EXPECT(are(act_at(last) + PAGE, MIB - PAGE, 3));
		write_pages(act_at(clone) + 2 * MIB, MIB / 2, 1000 + round);
		mmb_region_close(clone);
		CLIENT_EXPECT(are(act_at(last) + 2 * MIB, MIB, 3));
		CLIENT_EXPECT(are(at + 2 * MIB, MIB, 3));
		CLIENT_EXPECT_EQ(act_at(last)[MIB], 0);
		mmb_region_close(last);
	}
	atomic_store(&board->number[0], 1);
	await(2);
	CLIENT_EXPECT_EQ(mmb_region_unlink(a->pool, "pushed"), 0);
	mmb_region_close(region);
}

enum { OUTS = 4 };

/* By two threads of the daemon, which must not keep pages from each other. */
static void page_out_a_family(struct actor *a)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = HUGE_PAGE };
	const size_t bytes = (size_t)(RESERVE_MIB - 16) / 2 * MIB;
	struct mmb_region *region, *clone;

	act_pool(a, 0);
	CLIENT_EXPECT_EQ(mmb_region_create(a->pool, bytes, &options, &region), 0);
	for (unsigned int round = 1; round <= OUTS; round++) {
		write_pages(act_at(region), bytes, round);
		clone = act_clone(region, NULL, MMB_REGION_READONLY);
		CLIENT_EXPECT_EQ(mmb_region_advise(region, 0, bytes, MMB_ADVISE_PAGEOUT), 0);
		CLIENT_EXPECT_EQ(act_stat(region).resident, 0);
		CLIENT_EXPECT_EQ(act_stat(clone).swapped, bytes);
		CLIENT_EXPECT(are(act_at(clone), bytes, round));
		mmb_region_close(clone);
	}
	CLIENT_EXPECT(are(act_at(region), bytes, OUTS));
}

static void a_family_goes_out_whole(void)
{
	PLAY(ROLE(page_out_a_family));
}

static void cloned_while_it_goes_out(void)
{
	PLAY(ROLE(clone_and_look), ROLE(push_out));
}

static void a_huge_page_is_read_once(void)
{
	PLAY(ROLE(read_huge_by_all));
}

static void a_shared_page_is_read_once(void)
{
	PLAY(ROLE(read_by_all));
}

static const struct test_case cases[] = {
	{ "a snapshot pins no memory under a limit", a_snapshot_pins_no_memory },
	{ "frames that another process shows go, and come back", frames_that_others_show_go },
	{ "a shared page that is out is read once, and shared again", a_shared_page_is_read_once },
	{ "a page of 2 MiB that is out is read once", a_huge_page_is_read_once },
	{ "what is paged out goes with all who inherit it, and all of it",
	  a_family_goes_out_whole },
	{ "a region is cloned while it is paged out", cloned_while_it_goes_out },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
