/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_arena_ahead - a pool finds its arena made, and nobody lacks the memory that is in it
 */
#include <errno.h>
#include <string.h>

#include "base/inject.h"
#include "client/arena_ahead.h"
#include "client/report.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/phys/node.h"
#include "mmbroker.h"
#include "os/os.h"

enum { UID = 1000, MIB = 1 << 20, RESERVE_MIB = 512, RUNS_MAX = RESERVE_MIB };

static struct session *a;
static struct client_counts before;

static void begin_with(uint64_t base_mib, uint64_t huge_mib)
{
	struct client_options options = { .space = { .base_mib = base_mib, .huge_mib = huge_mib } };

	client_begin(&options);
	client_count(&before);
	arenas_ahead_keep(true);
	a = client_session(UID);
}

static void end(void)
{
	client_expect_valid();
	client_leave(a);
	client_settle();
	arenas_ahead_keep(false);
	client_expect_counts(&before);
	client_end();
}

static int lease(uint32_t pool, bool at_once, uint64_t *address)
{
	struct lease_args args = {
		.pool = pool, .units = 1, .nr = 1, .addresses = address, .at_once = at_once
	};
	uint32_t got = 0;
	int r = verb_slab_lease(a, &args, &got, &client_why);

	verb_slab_leased(a, pool);
	pools_flush();
	return r ? r : (int)got;
}

/* From now on one is there, if it may be. */
static uint32_t first_pool(void)
{
	uint32_t pool = client_pool(a, "", MMB_POOL_PRIVATE);
	uint64_t address;

	EXPECT_EQ(lease(pool, false, &address), 1);
	return pool;
}

static uint64_t arena_of(uint32_t pool)
{
	struct pool_stat stat;

	EXPECT_EQ(verb_pool_stat(a, pool, &stat, &client_why), 0);
	return stat.arena;
}

static void take_arena(uint32_t pool)
{
	struct arena_opened arena;
	struct slab_mapped maps;

	EXPECT_EQ(verb_arena_open(a, pool, 0, &arena, &client_why), 0);
	EXPECT_EQ(verb_slab_map(a, pool, 0, &maps, &client_why), 0);
	for (uint32_t i = 0; i < arena.nr; i++) {
		os->close(arena.windows[i].fd);
		os->close(maps.windows[i].fd);
	}
}

static void expect_handed_over(void)
{
	uint32_t first = first_pool(), second, sections = section_count();
	uint64_t address;

	EXPECT_EQ(arenas_ahead_bytes(), PAGEBLOCK_SIZE + PAGE_SIZE);
	client_expect_valid();
	second = client_pool(a, "", MMB_POOL_PRIVATE);
	EXPECT_EQ(arena_of(second), 0);
	take_arena(second);
	EXPECT_EQ(section_count(), sections); /* none was made */
	EXPECT_EQ(arenas_ahead_bytes(), 0);
	EXPECT_EQ(arena_of(second), PAGEBLOCK_SIZE);
	client_expect_valid();
	EXPECT_EQ(lease(second, true, &address), 1);
	EXPECT_EQ(arenas_ahead_bytes(), PAGEBLOCK_SIZE + PAGE_SIZE); /* and the next one */
	EXPECT_EQ(verb_pool_close(a, first, &client_why), 0);
	EXPECT_EQ(verb_pool_close(a, second, &client_why), 0);
}

static void second_pool_finds_its_arena(void)
{
	begin_with(RESERVE_MIB, 0);
	expect_handed_over();
	end();
}

static void second_pool_finds_its_huge_arena(void)
{
	begin_with(64, RESERVE_MIB);
	expect_handed_over();
	end();
}

static void a_pool_with_less_room_makes_its_own(void)
{
	struct pool_open_args small = {
		.name = "", .flags = MMB_POOL_PRIVATE, .limits = { .max = 16 * MIB }
	};
	uint32_t pool;

	begin_with(RESERVE_MIB, 0);
	first_pool();
	EXPECT_EQ(client_open_pool(a, &small, &pool), 0);
	take_arena(pool);
	EXPECT_EQ(arena_of(pool), 0);
	EXPECT_EQ(arenas_ahead_bytes(), PAGEBLOCK_SIZE + PAGE_SIZE);
	end();
}

static void small_brokers_make_none(void)
{
	begin_with(64, 0);
	first_pool();
	EXPECT_EQ(arenas_ahead_bytes(), 0);
	end();
}

static void what_nobody_wants_goes(void)
{
	begin_with(RESERVE_MIB, 0);
	first_pool();
	arenas_ahead_tick();
	EXPECT(arenas_ahead_bytes() > 0);
	fake_os_advance_ns(61 * 1000000000ull);
	arenas_ahead_tick();
	EXPECT_EQ(arenas_ahead_bytes(), 0);
	end();
}

/* So many runs of 2 MiB can be had. */
static uint32_t fill(uint32_t pool)
{
	uint64_t address;
	struct pages_args args = {
		.pool = pool, .order = PAGEBLOCK_ORDER, .nr = 1, .addresses = &address
	};
	uint32_t nr = 0, got;

	while (nr < RUNS_MAX && !verb_pages_alloc(a, &args, &got, &client_why))
		nr++;
	return nr;
}

static void nobody_lacks_its_memory(void)
{
	uint32_t pool, with, without;

	begin_with(RESERVE_MIB, 0);
	pool = first_pool();
	EXPECT(arenas_ahead_bytes() > 0);
	with = fill(pool);
	EXPECT_EQ(arenas_ahead_bytes(), 0);
	EXPECT_EQ(verb_pool_close(a, pool, &client_why), 0);
	client_settle();
	pools_flush();
	arenas_ahead_keep(false);
	without = fill(first_pool());
	EXPECT(without > RESERVE_MIB / 4);
	EXPECT_EQ(with, without);
	end();
}

static void what_is_there_at_once_needs_no_growth(void)
{
	uint64_t addresses[UNITS_PER_BLOCK + 1];
	uint32_t pool, nr = 0;

	begin_with(64, 0);
	pool = client_pool(a, "", MMB_POOL_PRIVATE);
	EXPECT_EQ(lease(pool, true, &addresses[0]), -EAGAIN);
	EXPECT_EQ(lease(pool, false, &addresses[0]), 1);
	while (nr < UNITS_PER_BLOCK && lease(pool, true, &addresses[nr]) == 1)
		nr++;
	EXPECT_EQ(nr, UNITS_PER_BLOCK - 1);
	EXPECT_EQ(arena_of(pool), PAGEBLOCK_SIZE);
	end();
}

static void a_failure_on_the_way_leaves_nothing(void)
{
	static const enum inject_point points[] = { INJECT_SECTION_ADD, INJECT_COMMIT,
						    INJECT_PFN_RANGE };

	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++) {
		uint64_t address;
		uint32_t pool;

		begin_with(RESERVE_MIB, 0);
		pool = client_pool(a, "", MMB_POOL_PRIVATE);
		arenas_ahead_keep(false);
		EXPECT_EQ(lease(pool, false, &address), 1);
		arenas_ahead_keep(true);
		for (uint64_t nth = 1; nth <= 3 && !arenas_ahead_bytes(); nth++) {
			inject_arm(points[i], nth, -ENOMEM);
			arena_ahead_want(0);
			pools_flush();
			inject_arm(NR_INJECT_POINTS, 0, 0);
			client_expect_valid();
		}
		arena_ahead_want(0);
		pools_flush();
		EXPECT(arenas_ahead_bytes() > 0);
		end();
	}
}

static const struct test_case cases[] = {
	{ "the second pool finds its arena made", second_pool_finds_its_arena },
	{ "the second pool finds its arena of huge pages made", second_pool_finds_its_huge_arena },
	{ "a pool with less room makes its own", a_pool_with_less_room_makes_its_own },
	{ "where memory is scarce none is made", small_brokers_make_none },
	{ "what nobody wants goes back", what_nobody_wants_goes },
	{ "who finds no memory gets what is in it", nobody_lacks_its_memory },
	{ "what is wanted at once comes out of what is free",
	  what_is_there_at_once_needs_no_growth },
	{ "a failure while it is made leaves nothing", a_failure_on_the_way_leaves_nothing },
};
TEST_MAIN(cases)
