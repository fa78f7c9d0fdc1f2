/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_leases - units: leased by a session, kept by the pool, returned by any of its clients
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/inject.h"
#include "client/pool_slabs.h"
#include "client/report.h"
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
	client_share_pool(UID, &a, &pool_a, &b, &pool_b);
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

static void an_arena_is_used_up_before_it_grows(void)
{
	begin();
	for (uint32_t i = 1; i <= 8; i++) {
		EXPECT_EQ(lease(a, pool_a, 1, UNITS_PER_BLOCK, got_a), UNITS_PER_BLOCK);
		EXPECT_EQ(stat_of(a, pool_a).arena, i * PAGEBLOCK_SIZE);
	}
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
	pool = client_pool_of(a, pool_a);
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

/* ---- what is refused ---- */

static void wrong_requests_are_refused_in_words(void)
{
	static const uint32_t wrong[] = { 0, 65, 1u << 16, UINT32_MAX };
	uint64_t at;

	begin();
	EXPECT_EQ(lease(a, pool_a, 1, 1, &at), 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		EXPECT_REFUSED(lease(a, pool_a, wrong[i], 1, got_a), -EINVAL, "1 to 64");
		EXPECT_REFUSED(give_one(a, pool_a, at, wrong[i]), -EINVAL, "1 to 64");
	}
	EXPECT_REFUSED(lease(a, pool_a, 1, 0, got_a), -EINVAL, "1 to 512");
	EXPECT_REFUSED(lease(a, pool_a, 1, 513, got_a), -EINVAL, "1 to 512");
	EXPECT_REFUSED(lease(a, 4711, 1, 1, got_a), -EBADF, "no pool handle");
	EXPECT_REFUSED(give_one(b, pool_a + 1, at, 1), -EBADF, "no pool handle");
	EXPECT_EQ(leased(), 1);
	client_end_two(a, b, &before);
}

static void wrong_addresses_return_nothing(void)
{
	const uint32_t units[3] = { 1, 1, 1 };
	struct pages_args run = { .nr = 1, .order = UNIT_ORDER, .addresses = &got_a[9] };
	uint32_t other, got;
	uint64_t at, foreign, three[3];

	begin();
	run.pool = pool_a;
	other = client_pool(b, "other", MMB_POOL_CREATE);
	EXPECT_EQ(lease(a, pool_a, 2, 1, &at), 1);
	EXPECT_EQ(lease(b, other, 1, 1, &foreign), 1);
	EXPECT_EQ(verb_pages_alloc(a, &run, &got, &client_why), 0);
	EXPECT_REFUSED(give_one(a, pool_a, foreign, 1), -EINVAL, "no unit");
	EXPECT_REFUSED(give_one(b, other, at, 1), -EINVAL, "no unit");
	EXPECT_REFUSED(give_one(a, pool_a, got_a[9], 1), -EINVAL, "no unit");
	EXPECT_REFUSED(give_one(a, pool_a, at + 4096, 1), -EINVAL, "no unit");
	EXPECT_REFUSED(give_one(a, pool_a, at, 3), -EINVAL, "returning");
	EXPECT_REFUSED(give_one(a, pool_a, 0, 1), -EINVAL, "no unit");
	EXPECT_REFUSED(give_one(a, pool_a, UINT64_MAX - 65535, 64), -EINVAL, "no unit");
	three[0] = at;
	three[1] = at + SLAB_UNIT_BYTES;
	three[2] = at;
	EXPECT_REFUSED(give(a, pool_a, three, units, 3), -EINVAL, "twice");
	EXPECT_EQ(leased(), 2);
	run.addresses = &at; /* a unit is no page run */
	EXPECT_REFUSED(verb_pages_free(a, &run, &client_why), -EINVAL, "freeing");
	EXPECT_EQ(leased(), 2);
	client_expect_valid();
	EXPECT_EQ(give_one(a, pool_a, at, 2), 0);
	EXPECT_REFUSED(give_one(a, pool_a, at, 1), -EINVAL, "not leased");
	client_end_two(a, b, &before);
}

static void a_lease_that_fails_leaves_nothing(void)
{
	static const enum inject_point points[] = { INJECT_ALLOC_PAGES, INJECT_POPULATE,
						    INJECT_COMMIT, INJECT_ZONE_GROW };

	begin();
	EXPECT_EQ(lease(a, pool_a, 1, 1, got_a), 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(points); i++) {
		int r;

		inject_arm(points[i], 1, -ENOMEM);
		r = lease(a, pool_a, 64, 1, &got_a[1]);
		inject_arm(points[i], 0, 0);
		EXPECT(r == -ENOMEM || r == 1);
		if (r == 1)
			EXPECT_EQ(give_one(b, pool_b, got_a[1], 64), 0);
		EXPECT_EQ(leased(), 1);
		client_expect_valid();
	}
	client_end_two(a, b, &before);
}

static void a_full_pool_gives_what_it_has(void)
{
	struct pool_open_args args = { .name = "small", .flags = MMB_POOL_CREATE,
				       .limits = { .max = 4 * MIB } };
	uint32_t small;
	int nr;

	begin();
	EXPECT_EQ(client_open_pool(a, &args, &small), 0);
	nr = lease(a, small, 1, MMB_PAGES_BATCH, got_a);
	EXPECT(nr >= 62 && nr <= 64); /* the zone keeps a little for those who can't wait */
	while (lease(a, small, 1, 1, got_a) == 1)
		nr++;
	EXPECT_REFUSED(lease(a, small, 1, 1, got_a), -ENOMEM, "pool");
	EXPECT_EQ(stat_of(a, small).leased, (uint64_t)nr * SLAB_UNIT_BYTES);
	EXPECT_EQ(stat_of(a, small).committed, 4 * MIB);
	client_end_two(a, b, &before);
}

/* ---- life ---- */

static bool is_free(void *pool)
{
	struct leases *leases = &((struct pool *)pool)->leases;
	bool free;

	mutex_lock(&leases->lock);
	free = !leases->nr_units && !leases->nr_ended;
	mutex_unlock(&leases->lock);
	return free;
}

static bool only_one_has_the_pool(void *pool)
{
	return atomic_load(&((struct pool *)pool)->nr_handles) == 1;
}

static void units_stay_in_a_shared_pool(void)
{
	struct pool *pool;

	begin();
	pool = client_pool_of(b, pool_b);
	EXPECT_EQ(lease(a, pool_a, 5, 3, got_a), 3);
	client_leave(a);
	EXPECT(test_wait(only_one_has_the_pool, pool, PATIENCE));
	EXPECT_EQ(stat_of(b, pool_b).leased, 15 * SLAB_UNIT_BYTES);
	EXPECT_EQ(client_told.nr_orphans, 1);
	EXPECT_EQ(client_told.orphans_pool, pool_b);
	EXPECT_EQ(client_told.orphans_of, 1);
	client_expect_valid();
	EXPECT_EQ(give_one(b, pool_b, got_a[1], 5), 0);
	EXPECT_EQ(stat_of(b, pool_b).leased, 10 * SLAB_UNIT_BYTES);
	a = client_session(UID);
	client_end_two(a, b, &before);
}

static void units_go_with_the_last_handle(void)
{
	struct region_opened region;
	struct slab_mapped mapped;
	struct pool *pool;

	begin();
	region = client_region(a, pool_a, "keeper", MIB, MMB_REGION_CREATE);
	pool = client_pool_of(a, pool_a);
	EXPECT_EQ(lease(a, pool_a, 40, 2, got_a), 2);
	EXPECT_EQ(verb_slab_map(b, pool_b, 0, &mapped, &client_why), 0);
	EXPECT_EQ(verb_pool_close(a, pool_a, &client_why), 0);
	EXPECT_EQ(stat_of(b, pool_b).leased, 80 * SLAB_UNIT_BYTES);
	EXPECT_EQ(verb_pool_close(b, pool_b, &client_why), 0);
	EXPECT(region.handle != 0);
	/* The region keeps the pool, but nothing in it is leased any more. */
	pool_b = client_pool(b, "p", 0);
	EXPECT(client_pool_of(b, pool_b) == pool);
	EXPECT_EQ(stat_of(b, pool_b).leased, 0);
	EXPECT_REFUSED(give_one(b, pool_b, got_a[0], 1), -EINVAL, "");
	EXPECT_EQ(lease(b, pool_b, 1, 1, got_a), 1);
	EXPECT_EQ(give_one(b, pool_b, got_a[0], 1), 0);
	EXPECT(test_wait(is_free, pool, PATIENCE));
	client_expect_valid();
	leases_tick(&pool->leases);
	leases_tick(&pool->leases);
	EXPECT_EQ(os->allocated(mapped.windows[0].fd), 0);
	os->close(mapped.windows[0].fd);
	EXPECT_EQ(client_unlink(a, client_pool(a, "p", 0), "keeper", &client_why), 0);
	client_end_two(a, b, &before);
}

static void units_go_with_a_private_pool(void)
{
	struct region_opened region;
	struct pool *pool;
	uint32_t mine;

	begin();
	mine = client_pool(a, "", MMB_POOL_CREATE | MMB_POOL_PRIVATE);
	region = client_region(a, mine, "", MIB, 0);
	pool = client_pool_of(a, mine);
	EXPECT_EQ(lease(a, mine, 64, 2, got_a), 2);
	EXPECT_REFUSED(give_one(b, pool_b, got_a[0], 1), -EINVAL, "no unit");
	EXPECT_EQ(verb_pool_close(a, mine, &client_why), 0);
	EXPECT_EQ(leases_bytes(&pool->leases), 0);
	EXPECT(test_wait(is_free, pool, PATIENCE));
	EXPECT_EQ(client_told.nr_orphans, 0);
	EXPECT_REFUSED(lease(a, mine, 1, 1, got_a), -EBADF, "no pool handle");
	EXPECT_EQ(verb_region_close(a, region.handle, &client_why), 0);
	client_end_two(a, b, &before);
}

static uint64_t leased_of(struct session *s)
{
	struct session_report list[8];
	uint64_t next;
	uint32_t nr = report_sessions(0, list, 8, &next);

	for (uint32_t i = 0; i < nr; i++)
		if (list[i].id == session_id(s))
			return list[i].leased >> SLAB_UNIT_SHIFT;
	return UINT64_MAX;
}

static void sessions_show_what_they_leased(void)
{
	begin();
	EXPECT_EQ(lease(a, pool_a, 3, 2, got_a), 2);
	EXPECT_EQ(leased_of(a), 6);
	EXPECT_EQ(leased_of(b), 0);
	EXPECT_EQ(give_one(b, pool_b, got_a[0], 3), 0);
	EXPECT_EQ(leased_of(a), 6);
	EXPECT_EQ(leased_of(b), 0); /* less than nothing isn't shown */
	EXPECT_EQ(give_one(a, pool_a, got_a[1], 3), 0);
	EXPECT_EQ(leased_of(a), 3);
	client_end_two(a, b, &before);
}

/* ---- members ---- */

static uint32_t member_of_new_handle(struct session *s)
{
	struct pool_open_args args = { .name = "p" };
	struct pool_opened opened = { 0 };

	EXPECT_EQ(verb_pool_open(s, &args, &opened, &client_why), 0);
	EXPECT_EQ(verb_pool_close(s, opened.handle, &client_why), 0);
	return opened.member;
}

static void members_are_numbered_in_a_circle(void)
{
	uint32_t last = 2;

	begin();
	for (uint32_t i = 3; i <= MEMBERS_MAX; i++) {
		last = member_of_new_handle(a);
		if (last != i)
			break;
	}
	EXPECT_EQ(last, MEMBERS_MAX);
	EXPECT_EQ(member_of_new_handle(a), 3); /* 1 and 2 are still there */
	client_end_two(a, b, &before);
}

static void a_session_has_so_many_pool_handles(void)
{
	struct pool_open_args args = { .name = "p" };
	struct pool_opened opened;
	uint32_t nr = 0;

	begin();
	while (!verb_pool_open(a, &args, &opened, &client_why))
		nr++;
	EXPECT_EQ(nr, 255); /* beside the one it has */
	EXPECT(strstr(client_why.text, "256 pool handles"));
	EXPECT_EQ(verb_pool_close(a, opened.handle ? opened.handle : pool_a, &client_why), 0);
	EXPECT_EQ(verb_pool_open(a, &args, &opened, &client_why), 0);
	client_end_two(a, b, &before);
}

static void keys_are_the_pool_s(void)
{
	struct pool_open_args args = { .name = "p" }, other = { .name = "q", .flags = 1 };
	struct pool_opened one, two, three;

	begin();
	EXPECT_EQ(verb_pool_open(a, &args, &one, &client_why), 0);
	EXPECT_EQ(verb_pool_open(b, &args, &two, &client_why), 0);
	EXPECT_EQ(verb_pool_open(b, &other, &three, &client_why), 0);
	EXPECT_EQ(one.key, two.key);
	EXPECT(one.key != three.key);
	EXPECT(one.member != two.member);
	client_end_two(a, b, &before);
}

static void who_could_not_be_told_is_told_later(void)
{
	struct pool *pool;
	uint32_t more[3];

	begin();
	pool = client_pool_of(a, pool_a);
	EXPECT_EQ(lease(a, pool_a, 1, 1, got_a), 1);
	for (int i = 0; i < 3; i++)
		more[i] = client_pool(b, "p", 0);
	client_told.deaf = true;
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(verb_pool_close(b, more[i], &client_why), 0);
	members_tick(&pool->members);
	EXPECT_EQ(client_told.nr_orphans, 0);
	client_told.deaf = false;
	members_tick(&pool->members);
	EXPECT_EQ(client_told.nr_orphans, 6); /* 3 to each of 2 handles */
	members_tick(&pool->members);
	EXPECT_EQ(client_told.nr_orphans, 6);
	client_end_two(a, b, &before);
}

/* 300 others or so: what is told in one tick is bounded, and whoever closes tells nobody. */
static void where_there_are_many_the_tick_tells(void)
{
	struct pool_opened opened;
	struct pool *pool;
	uint32_t more[250], nr = 0, told;

	begin();
	pool = client_pool_of(a, pool_a);
	EXPECT_EQ(lease(a, pool_a, 1, 1, got_a), 1);
	for (int i = 0; i < 150; i++)
		client_pool(a, "p", 0);
	for (int i = 0; i < 250; i++)
		more[i] = client_pool(b, "p", 0);
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(verb_pool_close(b, more[i], &client_why), 0);
	EXPECT_EQ(client_told.nr_orphans, 0);
	do {
		told = client_told.nr_orphans;
		members_tick(&pool->members);
		EXPECT(client_told.nr_orphans - told <= 64 * 256);
		nr++;
	} while (client_told.nr_orphans > told);
	EXPECT(nr > 2);
	EXPECT_EQ(told, 100 * pool->members.nr_listed);
	EXPECT_EQ(pool->members.nr_put_by, 0);
	for (nr = 0; nr < 256; nr++)
		EXPECT_EQ(verb_pool_close(b, client_pool(b, "p", 0), &client_why), 0);
	EXPECT_EQ(verb_pool_open(b, &(struct pool_open_args){ .name = "p" }, &opened, &client_why),
		  -EAGAIN);
	members_tick(&pool->members);
	EXPECT_EQ(verb_pool_open(b, &(struct pool_open_args){ .name = "p" }, &opened, &client_why),
		  0);
	client_end_two(a, b, &before);
}

/* ---- caches ---- */

static int open_cache(struct session *s, uint32_t pool, const char *name, uint32_t object,
		      struct cache_opened *out)
{
	struct cache_open_args args = { .pool = pool, .name = name, .object = object };

	return verb_cache_open(s, &args, out, &client_why);
}

static void caches_are_the_pool_s(void)
{
	struct cache_opened one, two;
	struct pool_cache cache;
	struct pool *pool;

	begin();
	pool = client_pool_of(a, pool_a);
	EXPECT_EQ(open_cache(a, pool_a, "nodes", 48, &one), 0);
	EXPECT(one.created && one.cache == 1);
	EXPECT_EQ(open_cache(b, pool_b, "nodes", 48, &two), 0);
	EXPECT(!two.created && two.cache == 1 && two.object == 48);
	EXPECT_REFUSED(open_cache(b, pool_b, "nodes", 56, &two), -EINVAL, "56 bytes");
	EXPECT_REFUSED(open_cache(b, pool_b, "nodes", 56, &two), -EINVAL, "48 bytes");
	EXPECT_EQ(open_cache(b, pool_b, "edges", 262144, &two), 0);
	EXPECT(two.created && two.cache == 2);
	EXPECT_REFUSED(verb_cache_close(a, pool_a, 2, &client_why), -EBADF, "no cache");
	EXPECT_REFUSED(verb_cache_close(a, pool_a, 0, &client_why), -EBADF, "no cache");
	EXPECT_REFUSED(verb_cache_close(a, pool_a, 928, &client_why), -EBADF, "no cache");
	EXPECT_EQ(verb_cache_close(a, pool_a, 1, &client_why), 0);
	EXPECT_REFUSED(verb_cache_close(a, pool_a, 1, &client_why), -EBADF, "no cache");
	EXPECT(pool_cache_get(&pool->caches, 1, &cache));
	EXPECT_EQ(cache.nr_opens, 1);
	client_leave(b);
	EXPECT(test_wait(only_one_has_the_pool, pool, PATIENCE));
	EXPECT(pool_cache_get(&pool->caches, 2, &cache));
	EXPECT_EQ(cache.nr_opens, 0);
	EXPECT_EQ(open_cache(a, pool_a, "edges", 262144, &two), 0);
	EXPECT(!two.created && two.cache == 2);
	b = client_session(UID);
	client_end_two(a, b, &before);
}

static void wrong_caches_are_refused_in_words(void)
{
	static const struct {
		struct cache_open_args args;
		const char *words;
	} table[] = {
		{ { .name = "", .object = 8 }, "1 to 63" },
		{ { .name = "a b", .object = 8 }, "space" },
		{ { .name = "c", .object = 0 }, "1 to 262144" },
		{ { .name = "c", .object = 262145 }, "1 to 262144" },
		{ { .name = "c", .object = 8, .align = 3 }, "power of two" },
		{ { .name = "c", .object = 8, .align = 8192 }, "power of two" },
		{ { .name = "c", .object = 8, .flags = 1 }, "unknown bits" },
	};
	struct cache_opened out;
	char name[16];

	begin();
	for (uint32_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct cache_open_args args = table[i].args;

		args.pool = pool_a;
		EXPECT_REFUSED(verb_cache_open(a, &args, &out, &client_why), -EINVAL,
			       table[i].words);
	}
	for (int i = 0; i < SLAB_CACHES_MAX; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		EXPECT_EQ(open_cache(a, pool_a, name, 8, &out), 0);
	}
	EXPECT_REFUSED(open_cache(a, pool_a, "more", 8, &out), -EDQUOT, "927");
	client_end_two(a, b, &before);
}

/* ---- the slab map, as clients treat it ---- */

static void conjured_and_punched_map_pages_are_put_right(void)
{
	struct slab_mapped mapped;
	struct pool *pool;
	int fd;

	begin();
	pool = client_pool_of(a, pool_a);
	EXPECT_EQ(verb_slab_map(a, pool_a, 0, &mapped, &client_why), 0);
	fd = mapped.windows[0].fd;
	EXPECT_EQ(lease(a, pool_a, 64, 1, got_a), 1);
	EXPECT_EQ(os->populate(fd, 5 * PAGE_SIZE, 3 * PAGE_SIZE, OS_NODE_ANY), 0);
	EXPECT_EQ(leases_tick(&pool->leases), 3);
	EXPECT_EQ(os->allocated(fd), 2 * PAGE_SIZE);
	EXPECT_EQ(os->punch(fd, 0, 8 * PAGE_SIZE), 0);
	EXPECT_EQ(leases_tick(&pool->leases), 0);
	EXPECT_EQ(os->allocated(fd), 2 * PAGE_SIZE);
	client_expect_valid();
	os->close(fd);
	client_end_two(a, b, &before);
}

/* ---- slabinfo ---- */

static struct pool_slabs_row rows[8];
static uint32_t nr_rows;

static void keep_row(const struct pool_slabs_row *row, void *unused)
{
	EXPECT(nr_rows < ARRAY_SIZE(rows));
	rows[nr_rows++] = *row;
}

static uint32_t read_rows(const char *pool)
{
	nr_rows = 0;
	EXPECT_EQ(pool_slabs_for_each(pool, keep_row, NULL), 0);
	return nr_rows;
}

/* The headers of the first pageblock, as a client has them. */
static struct slab_header *map_headers(int fd)
{
	void *at;

	EXPECT_EQ(os->reserve(NULL, PAGEBLOCK_SIZE, &at), 0);
	EXPECT_EQ(os->map(at, PAGE_SIZE, fd, 0), 0);
	return at;
}

static void a_leased_unit_names_its_member_until_it_is_returned(void)
{
	const uint32_t three = 3;
	struct slab_mapped mapped;
	struct slab_header *headers;
	uint64_t first;

	begin();
	EXPECT_EQ(verb_slab_map(a, pool_a, 0, &mapped, &client_why), 0);
	EXPECT_EQ(lease(a, pool_a, 3, 1, got_a), 1);
	first = (got_a[0] - mapped.windows[0].address) >> SLAB_UNIT_SHIFT;
	headers = map_headers(mapped.windows[0].fd);
	for (uint32_t i = 0; i < UNITS_PER_BLOCK; i++)
		EXPECT_EQ(headers[i].shared >> 32 >> SLAB_MEMBER_SHIFT != 0, i - first < 3);
	EXPECT_EQ(give(a, pool_a, got_a, &three, 1), 0);
	for (uint32_t i = 0; i < UNITS_PER_BLOCK; i++)
		EXPECT_EQ(headers[i].shared, 0);
	os->unmap(headers, PAGE_SIZE);
	os->close(mapped.windows[0].fd);
	client_end_two(a, b, &before);
}

static void rows_count_what_slabs_can_hold(void)
{
	static const struct slab_header honest = { .kind = SLAB_OBJECTS, .bin = 7, .size = 64,
						   .units = 1, .total = 1000, .left = 2,
						   .slow_at = 9, .shared = 4 };
	struct cache_opened cache;
	struct slab_mapped mapped;
	struct slab_header *headers;

	begin();
	EXPECT_EQ(verb_slab_map(a, pool_a, 0, &mapped, &client_why), 0);
	EXPECT_EQ(open_cache(a, pool_a, "nodes", 48, &cache), 0);
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(lease(a, pool_a, 1, 1, &got_a[i]), 1);
	headers = map_headers(mapped.windows[0].fd);
	for (int i = 0; i < 4; i++)
		got_a[i] = (got_a[i] - mapped.windows[0].address) >> SLAB_UNIT_SHIFT;
	EXPECT(read_rows("") == 1 && rows[0].objsize == 48 && !rows[0].num_objs);
	headers[got_a[0]] = honest;
	headers[31 - got_a[0] % 2] = honest; /* not leased: nobody's */
	EXPECT_EQ(read_rows("p"), 2);
	EXPECT(!strcmp(rows[0].name, "p:size-64"));
	EXPECT_EQ(rows[0].num_objs, 1000);
	EXPECT_EQ(rows[0].active_objs, 7);
	EXPECT_EQ(rows[0].objs_per_slab, 1000);
	EXPECT_EQ(rows[0].pages_per_slab, 16);
	headers[got_a[1]] = honest;
	headers[got_a[1]].total = headers[got_a[1]].left = UINT32_MAX - 9;
	EXPECT_EQ(read_rows("p"), 2);
	EXPECT_EQ(rows[0].num_slabs, 2);
	EXPECT_EQ(rows[0].num_objs, 1000 + 1024);
	EXPECT_EQ(rows[0].active_objs, 7 + 1024 - 4);
	headers[got_a[2]] = honest;
	headers[got_a[2]].bin = SLAB_SIZE_CLASSES; /* the first cache */
	headers[got_a[3]] = honest;
	headers[got_a[3]].bin = SLAB_SIZE_CLASSES + 1; /* there is none */
	EXPECT_EQ(read_rows(""), 2);
	EXPECT(!strcmp(rows[1].name, "p:nodes") && rows[1].object_size == 48);
	headers[got_a[2]].units = 65;
	EXPECT_EQ(read_rows(""), 2);
	headers[got_a[2]].units = 0;
	EXPECT_EQ(read_rows(""), 2);
	headers[got_a[2]].units = 1;
	headers[got_a[2]].size = 65537;
	EXPECT_EQ(read_rows(""), 2);
	EXPECT_EQ(pool_slabs_for_each("absent", keep_row, NULL), -ENOENT);
	os->unmap(headers, PAGE_SIZE);
	os->close(mapped.windows[0].fd);
	client_end_two(a, b, &before);
}

/* ---- several threads ---- */

struct worker {
	pthread_t thread;
	struct session *s;
	uint32_t pool;
	uint64_t random;
};

static void *lease_and_return(void *arg)
{
	struct worker *w = arg;
	uint64_t mine[4];
	uint32_t units[4];

	for (int i = 0; i < ROUNDS; i++) {
		struct lease_args args = { .pool = w->pool, .nr = 4, .addresses = mine };
		struct slab_return_args back = { .pool = w->pool, .addresses = mine,
						 .units = units };
		struct refusal why = { "" };
		uint32_t got = 0;

		args.units = 1 + (uint32_t)test_below(&w->random, 12);
		if (verb_slab_lease(w->s, &args, &got, &why))
			break; /* the session has ended */
		for (uint32_t j = 0; j < got; j++)
			units[j] = args.units;
		back.nr = got;
		verb_slab_return(w->s, &back, &why);
	}
	return NULL;
}

static void sessions_end_while_they_lease(void)
{
	struct worker workers[4];

	begin();
	EXPECT_EQ(lease(a, pool_a, 1, 1, got_a), 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i] = (struct worker){ .s = i % 2 ? a : b,
					      .pool = i % 2 ? pool_a : pool_b,
					      .random = test_seed() + i };
		session_get(workers[i].s);
		EXPECT_EQ(pthread_create(&workers[i].thread, NULL, lease_and_return, &workers[i]),
			  0);
	}
	client_leave(a);
	a = client_session(UID);
	pool_a = client_pool(a, "p", 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		session_put(workers[i].s);
	}
	EXPECT(leased() >= 1);
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "units are aligned, apart, and counted", units_are_aligned_apart_and_counted },
	{ "a lease is returned in any parts", a_lease_is_returned_in_any_parts },
	{ "the tail of a lease is free at once", the_tail_of_a_lease_is_free_at_once },
	{ "an arena is used up before it grows", an_arena_is_used_up_before_it_grows },
	{ "pages of the slab map come with units and go after them", slab_map_pages_come_and_go },
	{ "wrong requests are refused in words", wrong_requests_are_refused_in_words },
	{ "wrong addresses return nothing", wrong_addresses_return_nothing },
	{ "a lease that fails leaves nothing", a_lease_that_fails_leaves_nothing },
	{ "a full pool gives what it has", a_full_pool_gives_what_it_has },
	{ "units stay in a shared pool, and the others are told", units_stay_in_a_shared_pool },
	{ "units go with the last handle, whatever keeps the pool", units_go_with_the_last_handle },
	{ "units go with a private pool's handle", units_go_with_a_private_pool },
	{ "sessions show what they leased less what they returned",
	  sessions_show_what_they_leased },
	{ "members are numbered in a circle", members_are_numbered_in_a_circle },
	{ "a session has 256 pool handles at most", a_session_has_so_many_pool_handles },
	{ "a pool has one key", keys_are_the_pool_s },
	{ "who couldn't be told of orphans is told later", who_could_not_be_told_is_told_later },
	{ "where there are many the tick tells", where_there_are_many_the_tick_tells },
	{ "caches are the pool's", caches_are_the_pool_s },
	{ "wrong caches are refused in words, and one too many",
	  wrong_caches_are_refused_in_words },
	{ "conjured and punched pages of the slab map are put right",
	  conjured_and_punched_map_pages_are_put_right },
	{ "a leased unit names its member until it is returned",
	  a_leased_unit_names_its_member_until_it_is_returned },
	{ "rows of slabinfo count no more than slabs can hold", rows_count_what_slabs_can_hold },
	{ "sessions may end while they lease and return", sessions_end_while_they_lease },
};
TEST_MAIN(cases)
