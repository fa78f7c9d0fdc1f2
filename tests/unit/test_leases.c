/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_leases - units: leased by a session, kept by the pool, returned by any of its clients
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/inject.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mm/phys/node.h"
#include "mmbroker.h"
#include "proto/methods.h"

enum { UID = 1000, MIB = 1 << 20, ROUNDS = 300, PATIENCE = 20 };

static struct session *a, *b;
static uint32_t pool_a, pool_b; /* the same pool */
static struct client_counts before;
static uint64_t got_a[MMB_PAGES_BATCH];

static void begin(void)
{
	client_begin(NULL);
	client_count(&before);
	a = client_session(UID);
	b = client_session(UID);
	pool_a = client_pool(a, "p", MMB_POOL_CREATE);
	pool_b = client_pool(b, "p", 0);
}

static int lease(struct session *s, uint32_t pool, uint32_t units, uint32_t nr, uint64_t *out)
{
	struct lease_args args = { .pool = pool, .units = units, .nr = nr, .addresses = out };
	uint32_t got = 0;
	int r = verb_slab_lease(s, &args, &got, &client_why);

	return r ? r : (int)got;
}

static int give(struct session *s, uint32_t pool, const uint64_t *addresses, const uint32_t *units,
		uint32_t nr)
{
	struct slab_return_args args = {
		.pool = pool, .nr = nr, .addresses = addresses, .units = units
	};

	return verb_slab_return(s, &args, &client_why);
}

static int give_one(struct session *s, uint32_t pool, uint64_t address, uint32_t units)
{
	return give(s, pool, &address, &units, 1);
}

static struct pool_stat stat_of(struct session *s, uint32_t pool)
{
	struct pool_stat stat;

	EXPECT_EQ(verb_pool_stat(s, pool, &stat, &client_why), 0);
	return stat;
}

static uint64_t leased(void)
{
	return stat_of(a, pool_a).leased >> SLAB_UNIT_SHIFT;
}

static struct pool *pool_of(struct session *s, uint32_t handle)
{
	struct pool_handle *ph = session_pool(s, handle, &client_why);
	struct pool *pool = ph->pool;

	pool_handle_put(ph);
	return pool;
}

static uint32_t map_pages(struct pool *pool)
{
	return (uint32_t)(leases_map_bytes(&pool->leases) >> PAGE_SHIFT);
}

/* ---- leasing ---- */

static void units_are_aligned_apart_and_counted(void)
{
	uint32_t total = 0;

	begin();
	for (uint32_t units = 1; units <= SLAB_UNITS_MAX; units++) {
		EXPECT_EQ(lease(a, pool_a, units, 1, &got_a[units]), 1);
		EXPECT(is_aligned(got_a[units], SLAB_UNIT_BYTES));
		total += units;
		EXPECT_EQ(leased(), total);
		for (uint32_t i = 1; i < units; i++)
			EXPECT(got_a[i] + (uint64_t)i * SLAB_UNIT_BYTES <= got_a[units] ||
			       got_a[units] + (uint64_t)units * SLAB_UNIT_BYTES <= got_a[i]);
		if (units % 8 == 0) {
			for (uint32_t i = units - 7; i <= units; i++)
				EXPECT_EQ(give_one(b, pool_b, got_a[i], i), 0);
			total = 0;
			for (uint32_t i = 1; i <= units; i++)
				got_a[i] = 0;
		}
	}
	EXPECT_EQ(leased(), 0);
	client_end_two(a, b, &before);
}

static void a_lease_is_returned_in_any_parts(void)
{
	uint64_t at;
	const uint32_t one[3] = { 1, 1, 1 };

	begin();
	EXPECT_EQ(lease(a, pool_a, 40, 1, &at), 1); /* over two pageblocks, 24 units given back */
	client_expect_valid();
	EXPECT_EQ(give_one(b, pool_b, at + 30 * SLAB_UNIT_BYTES, 4), 0);
	EXPECT_EQ(leased(), 36);
	EXPECT_REFUSED(give_one(a, pool_a, at, 40), -EINVAL, "not leased");
	EXPECT_EQ(leased(), 36);
	client_expect_valid();
	got_a[0] = at + 34 * SLAB_UNIT_BYTES;
	got_a[1] = at;
	got_a[2] = at + 39 * SLAB_UNIT_BYTES;
	EXPECT_EQ(give(a, pool_a, got_a, one, 3), 0);
	EXPECT_EQ(give_one(a, pool_a, at + SLAB_UNIT_BYTES, 29), 0);
	EXPECT_EQ(give_one(a, pool_a, at + 35 * SLAB_UNIT_BYTES, 4), 0);
	EXPECT_EQ(leased(), 0);
	client_end_two(a, b, &before);
}

static void the_tail_of_a_lease_is_free_at_once(void)
{
	uint64_t at, arena;

	begin();
	EXPECT_EQ(lease(a, pool_a, 33, 1, &at), 1);
	arena = stat_of(a, pool_a).arena;
	for (uint32_t units = 16; units; units /= 2) /* 31 in all */
		EXPECT_EQ(lease(b, pool_b, units, 1, &got_a[units]), 1);
	EXPECT_EQ(stat_of(a, pool_a).arena, arena);
	EXPECT_EQ(leased(), 64);
	client_end_two(a, b, &before);
}

static void slab_map_pages_come_and_go(void)
{
	struct slab_mapped mapped;
	struct pool *pool;
	uint64_t at;

	begin();
	EXPECT_EQ(verb_slab_map(a, pool_a, 0, &mapped, &client_why), 0);
	EXPECT_EQ(mapped.total, 1);
	EXPECT_EQ(os->allocated(mapped.windows[0].fd), 0);
	pool = pool_of(a, pool_a);
	EXPECT_EQ(lease(a, pool_a, 1, 1, got_a), 1);
	EXPECT_EQ(map_pages(pool), 1);
	at = (got_a[0] - mapped.windows[0].address) / PAGEBLOCK_SIZE * PAGE_SIZE;
	EXPECT(!os->has_hole(mapped.windows[0].fd, at, PAGE_SIZE));
	EXPECT_EQ(lease(a, pool_a, 64, 1, &got_a[1]), 1);
	EXPECT_EQ(map_pages(pool), 3);
	EXPECT_EQ(give_one(a, pool_a, got_a[1], 64), 0);
	leases_tick(&pool->leases);
	EXPECT_EQ(map_pages(pool), 3); /* a tick of grace */
	client_expect_valid();
	leases_tick(&pool->leases);
	EXPECT_EQ(map_pages(pool), 1);
	EXPECT_EQ(os->allocated(mapped.windows[0].fd), PAGE_SIZE);
	os->close(mapped.windows[0].fd);
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "units are aligned, apart, and counted", units_are_aligned_apart_and_counted },
	{ "a lease is returned in any parts", a_lease_is_returned_in_any_parts },
	{ "the tail of a lease is free at once", the_tail_of_a_lease_is_free_at_once },
	{ "pages of the slab map come with units and go after them", slab_map_pages_come_and_go },
};
TEST_MAIN(cases)
