/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_runs - page runs get the frames of pages that can be evicted
 *
 * A region that was promised more than there is fills memory; then runs are taken until one is
 * refused. Its pages go to swap for them, however large a run is: what is refused in the end is
 * the promise of more, and never frames that only had to be freed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/stage.h"
#include "system/swap_scene.h"

enum { RESERVE_MIB = 64, SWAP_MIB = 192, REGION_MIB = 96, ROUNDS = 2,
       TAKEN_MIB_MIN = 32 }; /* the reserve without its margin and floor, and the daemon's own */
enum { READY = 1, TAKEN };

static const unsigned int orders[] = { MMB_ORDER_MAX, MMB_ORDER_MAX - 1, MMB_ORDER_MAX - 4 };

static unsigned int order; /* of this scene */

/* As the last refusal gives it. */
static size_t committable_mib(void)
{
	const char *at = strstr(mmb_error(), "committable ");

	CLIENT_EXPECT(at);
	return strtoul(at + strlen("committable "), NULL, 10) >> 10;
}

static void take_runs(struct actor *a)
{
	size_t run = (size_t)PAGE << order, nr = 0;

	while (mmb_alloc_pages(a->pool, order, 0))
		nr++;
	CLIENT_EXPECT(nr * run >= (size_t)TAKEN_MIB_MIN * MIB);
	/* It grows by as much, or by pageblocks; what the daemon itself has changes by a few. */
	CLIENT_EXPECT(committable_mib() < 8);
}

static char *fill(struct actor *a, size_t bytes)
{
	struct mmb_region *region;
	char *at;

	act_open(a);
	act_pool(a, 0);
	region = act_region(a, bytes, 0);
	at = act_at(region);
	for (size_t i = 0; i < bytes; i += PAGE)
		stamp(at + i, PAGE, i);
	return at;
}

static void expect_filled(const char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		CLIENT_EXPECT(is_stamped(at + i, PAGE, i));
}

static void fill_and_take(struct actor *a)
{
	size_t bytes = (size_t)REGION_MIB * MIB;
	const char *at = fill(a, bytes);

	take_runs(a);
	expect_filled(at, bytes);
}

static void use_until_taken(struct actor *a)
{
	size_t bytes = (size_t)REGION_MIB / 2 * MIB;
	const char *at = fill(a, bytes);

	cue(READY);
	while (atomic_load(&board->reached) < TAKEN)
		expect_filled(at, bytes);
}

static void take_beside(struct actor *a)
{
	size_t bytes = (size_t)REGION_MIB / 2 * MIB;
	const char *at;

	await(READY);
	at = fill(a, bytes);
	take_runs(a);
	cue(TAKEN);
	expect_filled(at, bytes);
}

static void cold_pages_make_way(void)
{
	for (unsigned int i = 0; i < ROUNDS * sizeof(orders) / sizeof(orders[0]); i++) {
		order = orders[i / ROUNDS];
		PLAY(ROLE(fill_and_take));
	}
}

static void used_pages_make_way(void)
{
	for (unsigned int i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		order = orders[i];
		PLAY(ROLE(use_until_taken), ROLE(take_beside));
	}
}

static const struct test_case cases[] = {
	{ "pages that nobody uses make way for runs of any order", cold_pages_make_way },
	{ "pages that another client uses make way, too", used_pages_make_way },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	swap_scene_set(RESERVE_MIB, SWAP_MIB, NULL);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
