/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_swap_max - what is granted stays real where a pool may swap little, or nothing
 *
 * Pools of small pages, of huge ones and of both are granted as much as can be had under each
 * swap_max, beside a max or without. Then all of it is used, twice; a page that can't come in is
 * SIGBUS, which ends the client.
 */
#include <stdio.h>
#include <string.h>

#include "system/stage.h"
#include "system/swap_scene.h"

enum { RESERVE_MIB = 64, HUGE_MIB = 32, SWAP_MIB = 96 };
enum { GRANTED = 1, USED };

static const char *const more_flags[] = { "--memory.reserve_huge=32M",
					  "--memory.fault_deadline=5s", NULL };

/* Which scene the actors play. */
static struct {
	size_t max, swap_max; /* bytes */
	size_t small;         /* bytes in small pages, before as many huge ones as there can be */
	size_t page_size;     /* without `small` */
} scene;

struct granted {
	char *small, *most;
	size_t small_bytes, bytes, page_size;
};

static void stamp_each(char *at, size_t bytes, size_t step, size_t seed)
{
	for (size_t i = 0; i < bytes; i += step) {
		if (touch_write(at + i, 1)) {
			printf("  max %zu KiB, swap_max %zu KiB: SIGBUS at %zu of %zu KiB\n",
			       scene.max >> 10, scene.swap_max >> 10, i >> 10, bytes >> 10);
			CLIENT_EXPECT(!"what is granted can be used");
		}
		stamp(at + i, PAGE, seed + i);
	}
}

static void look_at_each(const struct granted *g, size_t seed)
{
	for (size_t i = 0; i < g->small_bytes; i += PAGE)
		CLIENT_EXPECT(is_stamped(g->small + i, PAGE, seed + i));
	for (size_t i = 0; i < g->bytes; i += g->page_size)
		CLIENT_EXPECT(is_stamped(g->most + i, PAGE, seed + i));
}

static void use(const struct granted *g)
{
	for (unsigned int round = 0; round < 2; round++) {
		stamp_each(g->small, g->small_bytes, PAGE, round);
		stamp_each(g->most, g->bytes, g->page_size, round);
		look_at_each(g, round);
	}
}

static struct mmb_pool *limited_pool(struct actor *a, const char *name)
{
	const struct mmb_pool_options options = { .size = sizeof(options), .max = scene.max,
						  .swap_max = scene.swap_max };
	struct mmb_pool *pool;

	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, name, name ? MMB_POOL_CREATE : MMB_POOL_PRIVATE,
				       &options, &pool), 0);
	return pool;
}

/* As much as is granted of pages of a size. */
static char *most(struct mmb_pool *pool, size_t page_size, size_t *bytes)
{
	const struct mmb_region_options options = { .size = sizeof(options),
						    .page_size = (uint32_t)page_size };
	size_t step = 64 * MIB;
	struct mmb_region *region = NULL, *kept = NULL;

	for (*bytes = 0; step >= page_size; step /= 2) {
		if (mmb_region_create(pool, *bytes + step, &options, &region)) {
			CLIENT_EXPECT(scene.max || !scene.swap_max ||
				      strstr(mmb_error(), "the pool's swap_max"));
			continue;
		}
		*bytes += step;
		mmb_region_close(region);
	}
	if (*bytes)
		CLIENT_EXPECT_EQ(mmb_region_create(pool, *bytes, &options, &kept), 0);
	return kept ? act_at(kept) : NULL;
}

static struct granted grant(struct mmb_pool *pool)
{
	struct granted g = { .page_size = scene.small ? HUGE_PAGE : scene.page_size };
	struct mmb_region *region;

	if (scene.small) {
		CLIENT_EXPECT_EQ(mmb_region_create(pool, scene.small, NULL, &region), 0);
		g.small = act_at(region);
		g.small_bytes = scene.small;
	}
	g.most = most(pool, g.page_size, &g.bytes);
	return g;
}

static void use_what_is_granted(struct actor *a)
{
	struct granted g;

	act_open(a);
	g = grant(limited_pool(a, NULL));
	board->number[0] = g.bytes + g.small_bytes;
	use(&g);
}

/* No less is granted than memory has room for, but for a huge page, and `more` bytes. */
static void play(uint64_t max, uint64_t swap_max, uint64_t more)
{
	scene.max = max;
	scene.swap_max = swap_max;
	PLAY(ROLE(use_what_is_granted));
	EXPECT(board->number[0] + HUGE_PAGE >= max + more);
}

static void need_huge(void)
{
	if (!hugepages_get(HUGE_MIB / 2))
		SKIP("32 MiB of free huge pages: vm.nr_hugepages is too low, and raising it needs "
		     "root");
}

static void small_pages_beside_a_max(void)
{
	scene.page_size = PAGE;
	scene.small = 0;
	for (uint64_t pages = 1; pages < 9; pages++)
		play(4 * MIB, pages * PAGE, 0);
	play(4 * MIB, 1 * MIB, 3 * MIB / 4);
}

static void huge_pages_beside_a_max(void)
{
	need_huge();
	scene.page_size = HUGE_PAGE;
	scene.small = 0;
	play(8 * MIB, 7 * MIB / 2, 0);
	play(8 * MIB, 4 * MIB, 0);
	play(8 * MIB + 2044 * 1024, 19 * MIB / 2, HUGE_PAGE);
	play(8 * MIB, 15 * MIB + 512 * 1024, 4 * HUGE_PAGE);
	play(9 * MIB, 40 * MIB, 12 * HUGE_PAGE);
}

static void both_beside_a_max(void)
{
	need_huge();
	scene.small = 2 * MIB - PAGE;
	play(10 * MIB, 7 * MIB / 2, 0);
	play(10 * MIB, 8 * MIB, HUGE_PAGE);
	scene.small = 3 * MIB;
	play(11 * MIB, 19 * MIB / 2, HUGE_PAGE);
}

/* ---- without a max ---- */

static void no_swap_is_as_much_as_memory_has(void)
{
	scene.page_size = PAGE;
	scene.small = 0;
	play(0, 1, 32 * MIB);
	play(0, 16 * MIB, 48 * MIB);
}

static void no_swap_for_huge_pages(void)
{
	need_huge();
	scene.page_size = HUGE_PAGE;
	scene.small = 0;
	play(0, 1, 16 * MIB);
	play(0, 9 * MIB, 24 * MIB);
	scene.small = 16 * MIB;
	play(0, 9 * MIB, 32 * MIB);
}

static void fill_memory(struct actor *a)
{
	struct granted g;

	act_open(a);
	await(GRANTED);
	scene.swap_max = 1;
	g = grant(limited_pool(a, NULL));
	board->number[1] = g.bytes;
	use(&g);
	cue(USED);
	await(USED + 1);
	use(&g);
}

static void use_beside(struct actor *a)
{
	struct mmb_region *region;
	struct granted g;

	act_open(a);
	scene.swap_max = 0;
	g = (struct granted){ .page_size = PAGE, .bytes = 48 * MIB };
	CLIENT_EXPECT_EQ(mmb_region_create(limited_pool(a, NULL), g.bytes, NULL, &region), 0);
	g.most = act_at(region);
	cue(GRANTED);
	await(USED);
	use(&g);
	cue(USED + 1);
}

/* Who was promised something before finds frames, whoever may not swap. */
static void others_keep_what_they_were_promised(void)
{
	scene = (typeof(scene)){ .page_size = PAGE };
	PLAY(ROLE(use_beside), ROLE(fill_memory));
	EXPECT(board->number[1] > 0);
}

/* ---- beside who is promised nothing ---- */

static void overfill(struct actor *a)
{
	const struct mmb_pool_options options = { .size = sizeof(options),
						  .swap_max = scene.swap_max };
	const size_t most = (RESERVE_MIB + SWAP_MIB) * 2 * (size_t)MIB;
	struct mmb_region *region;
	struct mmb_pool *pool;
	size_t bytes = 0;
	char *at;

	act_open(a);
	await(GRANTED);
	CLIENT_EXPECT_EQ(mmb_pool_open(a->mmb, "overfull", MMB_POOL_CREATE | MMB_POOL_OVERCOMMIT,
				       &options, &pool), 0);
	CLIENT_EXPECT_EQ(mmb_region_create(pool, most, NULL, &region), 0);
	at = act_at(region);
	for (; bytes < most && !touch_write(at + bytes, 1); bytes += PAGE)
		stamp(at + bytes, PAGE, bytes);
	board->number[1] = bytes;
	cue(USED);
	await(USED + 1);
}

/* Whatever has been taken without a promise, what was promised can be used. */
static void a_promise_is_older_than_overcommit(void)
{
	static const size_t some[] = { 0, 16 * MIB };

	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		scene = (typeof(scene)){ .page_size = PAGE, .swap_max = some[i] };
		PLAY(ROLE(use_beside), ROLE(overfill));
		EXPECT(board->number[1] > 0);
	}
}

/* ---- at run time ---- */

static void lower(struct actor *a)
{
	static const char *const lowered[] = { "0", "4K", "1M", "31M", "40M", "80M" };
	struct granted g = { .page_size = PAGE, .bytes = (RESERVE_MIB + 8) * (size_t)MIB };
	struct mmb_region *region;
	char command[64];

	act_open(a);
	CLIENT_EXPECT_EQ(mmb_region_create(limited_pool(a, "lowered"), g.bytes, NULL, &region), 0);
	g.most = act_at(region);
	for (size_t i = 0; i < sizeof(lowered) / sizeof(lowered[0]); i++) {
		snprintf(command, sizeof(command), "pool set lowered swap_max=%s", lowered[i]);
		if (mmbctl(a->socket, command)) {
			board->number[2]++;
			use(&g);
		}
	}
	CLIENT_EXPECT(mmbctl(a->socket, "pool set lowered swap_max=none"));
	use(&g);
}

static void a_lowered_swap_max_takes_nothing(void)
{
	scene = (typeof(scene)){ .page_size = PAGE };
	PLAY(ROLE(lower));
	EXPECT(board->number[2] > 0);
}

static const struct test_case cases[] = {
	{ "small pages beside a max, with a few slots or one", small_pages_beside_a_max },
	{ "huge pages beside a max, whatever they and the slots leave over",
	  huge_pages_beside_a_max },
	{ "both beside a max", both_beside_a_max },
	{ "a pool without swap is granted what memory has", no_swap_is_as_much_as_memory_has },
	{ "and of huge pages, too", no_swap_for_huge_pages },
	{ "a pool without swap takes nobody's frames", others_keep_what_they_were_promised },
	{ "what was promised can be used, whatever overcommitting pools have taken",
	  a_promise_is_older_than_overcommit },
	{ "a swap_max that would take what was granted is refused",
	  a_lowered_swap_max_takes_nothing },
	STAGE_STOPS,
};

int main(int argc, char **argv)
{
	swap_scene_set(RESERVE_MIB, SWAP_MIB, more_flags);
	return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
