/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_leases - units returned twice, wrongly, never; slab maps full of lies
 *
 * Purpose     SLAB_MAP, SLAB_LEASE, SLAB_RETURN and the caches misused: page accounting stays
 *             exact whatever clients write about what they have.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/slab_map.h"
#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { UNITS = 16, UNIT = SLAB_UNIT_BYTES, CYCLES = 100000, CYCLE_UNITS = 100, ORDER = 4 };

static void return_refused(struct raw *r, const uint64_t *addresses, const uint32_t *units,
			   uint32_t nr)
{
	Mmb__Wire__SlabReturnRequest request = MMB__WIRE__SLAB_RETURN_REQUEST__INIT;

	request.pool = r->pool;
	request.addresses = (uint64_t *)(uintptr_t)addresses;
	request.n_addresses = nr;
	request.units = (uint32_t *)(uintptr_t)units;
	request.n_units = nr;
	attack_refused(r, MMB_METHOD_SLAB_RETURN, &request, -EINVAL);
}

static void one_refused(struct raw *r, uint64_t address, uint32_t units)
{
	return_refused(r, &address, &units, 1);
}

static void lease_refused(struct raw *r, uint32_t units, uint32_t gfp, uint32_t count, int code)
{
	Mmb__Wire__SlabLeaseRequest request = MMB__WIRE__SLAB_LEASE_REQUEST__INIT;

	request.pool = r->pool;
	request.units = units;
	request.gfp = gfp;
	request.count = count;
	attack_refused(r, MMB_METHOD_SLAB_LEASE, &request, code);
}

static void expect_leased(struct raw *r, uint64_t units)
{
	Mmb__Wire__PoolStatReply stat;

	CLIENT_EXPECT_EQ(raw_pool_stat(r, &stat), 0);
	CLIENT_EXPECT_EQ(stat.leased, units * UNIT);
}

static void with_units(struct attack *a, uint64_t *units)
{
	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, NULL), 0);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 1, UNITS, units), UNITS);
}

/* A second session, of the same pool or another. */
static struct raw *second_session(struct attack *a, const char *pool)
{
	static struct attack second;

	raw_init(&second.r);
	second.socket = a->socket;
	attack_attach(&second);
	CLIENT_EXPECT_EQ(raw_pool(&second.r, pool, 0), 0);
	return &second.r;
}

/* ---- wrong returns ---- */

ATTACK(double_return)
{
	uint64_t units[UNITS];

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, 1), 0);
	one_refused(&a->r, units[0], 1);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, &units[1], UNITS - 1), 0);
	for (int i = 0; i < UNITS; i++)
		one_refused(&a->r, units[i], 1);
	expect_leased(&a->r, 0);
}

ATTACK(twice_in_one_request)
{
	static const uint32_t ones[] = { 1, 1, 1 };
	uint64_t              units[UNITS], twice[3];

	with_units(a, units);
	twice[0] = twice[2] = units[0];
	twice[1] = units[1];
	return_refused(&a->r, twice, ones, 3);
	expect_leased(&a->r, UNITS);
	pattern_fill((void *)(uintptr_t)units[0], UNIT, 4);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, UNITS), 0);
}

ATTACK(overlapping_parts_in_one_request)
{
	static const uint32_t parts[] = { 8, 8 };
	uint64_t              run, both[2];

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 12, 1, &run), 1);
	both[0] = run;
	both[1] = run + 4 * UNIT;
	return_refused(&a->r, both, parts, 2);
	expect_leased(&a->r, 12);
}

ATTACK(one_wrong_of_many)
{
	uint64_t units[UNITS], mixed[UNITS];
	uint32_t ones[UNITS];

	with_units(a, units);
	for (int i = 0; i < UNITS; i++)
		ones[i] = 1;
	for (int wrong = 0; wrong < UNITS; wrong++) {
		memcpy(mixed, units, sizeof(mixed));
		mixed[wrong] += 1ull << 39;
		return_refused(&a->r, mixed, ones, UNITS);
	}
	expect_leased(&a->r, UNITS);
}

ATTACK(run_returned_as_a_unit)
{
	uint64_t units[UNITS], runs[UNITS];

	with_units(a, units);
	for (uint32_t order = 0; order <= 6; order += 2) {
		CLIENT_EXPECT_EQ(raw_pages(&a->r, order, 0, 4, runs), 4);
		for (int i = 0; i < 4; i++)
			one_refused(&a->r, runs[i], 1);
		CLIENT_EXPECT_EQ(raw_pages_free(&a->r, order, runs, 4), 0);
	}
	expect_leased(&a->r, UNITS);
}

ATTACK(unit_freed_as_a_run)
{
	Mmb__Wire__PagesFreeRequest request = MMB__WIRE__PAGES_FREE_REQUEST__INIT;
	uint64_t                    units[UNITS];

	with_units(a, units);
	request.pool = a->r.pool;
	request.addresses = units;
	for (uint32_t order = 0; order <= MMB_ORDER_MAX; order++) {
		request.order = order;
		request.n_addresses = 1;
		attack_refused(&a->r, MMB_METHOD_PAGES_FREE, &request, -EINVAL);
	}
	expect_leased(&a->r, UNITS);
}

ATTACK(inside_a_unit)
{
	uint64_t units[UNITS];

	with_units(a, units);
	for (uint64_t at = 1; at < UNIT; at += 4095)
		one_refused(&a->r, units[0] + at, 1);
	expect_leased(&a->r, UNITS);
}

ATTACK(foreign_addresses)
{
	static const uint64_t fixed[] = { 0, 1, UNIT, 1ull << 31, ~0u, 1ull << 47, 1ull << 63,
					  ~0ull, ~0ull - UNIT + 1, 0x108000000000ull };
	uint64_t              units[UNITS];

	with_units(a, units);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		one_refused(&a->r, fixed[i], 1);
	for (int i = 30; i < 64; i++)
		one_refused(&a->r, units[0] + (1ull << i), 1);
	one_refused(&a->r, (uintptr_t)&units & ~(uint64_t)(UNIT - 1), 1);
	expect_leased(&a->r, UNITS);
}

ATTACK(wrapping_lengths)
{
	uint64_t units[UNITS];

	with_units(a, units);
	one_refused(&a->r, ~0ull - UNIT + 1, 64);
	one_refused(&a->r, ~0ull - 63ull * UNIT + 1, 64);
	one_refused(&a->r, 0ull - 32ull * UNIT, 64);
	for (int i = 0; i < UNITS; i++)
		one_refused(&a->r, units[i], 64);
	expect_leased(&a->r, UNITS);
}

ATTACK(never_leased)
{
	uint64_t units[UNITS], highest = 0;

	with_units(a, units);
	for (int i = 0; i < UNITS; i++)
		highest = units[i] > highest ? units[i] : highest;
	for (uint64_t i = 1; i < 300; i++)
		one_refused(&a->r, highest + i * UNIT, 1);
	expect_leased(&a->r, UNITS);
}

ATTACK(tail_of_a_lease)
{
	uint64_t run;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 33, 1, &run), 1);
	one_refused(&a->r, run + 33 * UNIT, 1);
	one_refused(&a->r, run + 63 * UNIT, 1);
	one_refused(&a->r, run, 34);
	CLIENT_EXPECT_EQ(raw_return(&a->r, &run, &(uint32_t){ 33 }, 1), 0);
}

/* ---- impossible numbers ---- */

static const uint32_t wrong_units[] = { 0, 65, 128, 1u << 16, 1u << 31, UINT32_MAX };

ATTACK(impossible_units)
{
	uint64_t units[UNITS];

	with_units(a, units);
	for (size_t i = 0; i < sizeof(wrong_units) / sizeof(wrong_units[0]); i++) {
		lease_refused(&a->r, wrong_units[i], 0, 1, -EINVAL);
		one_refused(&a->r, units[0], wrong_units[i]);
	}
	expect_leased(&a->r, UNITS);
}

ATTACK(impossible_counts)
{
	attack_pool(a);
	lease_refused(&a->r, 1, 0, 0, -EINVAL);
	lease_refused(&a->r, 1, 0, MMB_PAGES_BATCH + 1, -EINVAL);
	lease_refused(&a->r, 1, 0, 1u << 31, -EINVAL);
	lease_refused(&a->r, 64, 0, ~0u, -EINVAL);
	for (int bit = 9; bit < 32; bit++)
		lease_refused(&a->r, 1, 1u << bit, 1, -EINVAL);
	lease_refused(&a->r, 1, MMB_GFP_NOFAIL | MMB_GFP_NOWAIT, 1, -EINVAL);
}

ATTACK(more_addresses_than_allowed)
{
	static uint64_t addresses[MMB_PAGES_BATCH + 1];
	static uint32_t ones[MMB_PAGES_BATCH + 1];

	attack_pool(a);
	for (int i = 0; i <= MMB_PAGES_BATCH; i++)
		ones[i] = 1;
	return_refused(&a->r, addresses, ones, MMB_PAGES_BATCH + 1);
	return_refused(&a->r, addresses, ones, 0);
}

ATTACK(as_many_addresses_as_units)
{
	Mmb__Wire__SlabReturnRequest request = MMB__WIRE__SLAB_RETURN_REQUEST__INIT;
	uint64_t                     units[UNITS];
	uint32_t                     ones[UNITS];

	with_units(a, units);
	for (int i = 0; i < UNITS; i++)
		ones[i] = 1;
	request.pool = a->r.pool;
	request.addresses = units;
	request.units = ones;
	request.n_addresses = UNITS;
	request.n_units = UNITS - 1;
	attack_refused(&a->r, MMB_METHOD_SLAB_RETURN, &request, -EINVAL);
	request.n_units = 0;
	attack_refused(&a->r, MMB_METHOD_SLAB_RETURN, &request, -EINVAL);
	request.n_units = UNITS;
	request.n_addresses = 1;
	attack_refused(&a->r, MMB_METHOD_SLAB_RETURN, &request, -EINVAL);
	expect_leased(&a->r, UNITS);
}

/* ---- others' pools ---- */

ATTACK(foreign_pool_handles)
{
	uint64_t    units[UNITS];
	struct raw *other = second_session(a, NULL);

	with_units(a, units);
	other->pool = a->r.pool + 1;
	lease_refused(other, 1, 0, 1, -EBADF);
	other->pool = 0;
	lease_refused(other, 1, 0, 1, -EBADF);
	other->pool = ~0u;
	lease_refused(other, 1, 0, 1, -EBADF);
}

ATTACK(units_of_another_private_pool)
{
	uint64_t    units[UNITS], its[UNITS];
	struct raw *other = second_session(a, NULL);

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_lease(other, 1, UNITS, its), UNITS);
	for (int i = 0; i < UNITS; i++) {
		one_refused(other, units[i], 1);
		one_refused(&a->r, its[i], 1);
	}
	expect_leased(&a->r, UNITS);
	expect_leased(other, UNITS);
}

ATTACK(both_of_a_pool_return_the_same)
{
	uint64_t    units[UNITS];
	struct raw *other = second_session(a, "shared");

	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "shared", 0), 0);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 1, UNITS, units), UNITS);
	CLIENT_EXPECT_EQ(raw_return_units(other, units, UNITS), 0);
	one_refused(&a->r, units[0], 1);
	expect_leased(other, 0);
}

ATTACK(lease_after_close)
{
	uint64_t units[UNITS];

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_pool_close(&a->r), 0);
	lease_refused(&a->r, 1, 0, 1, -EBADF);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, 1), -EBADF);
	CLIENT_EXPECT_EQ(raw_pool_close(&a->r), -EBADF);
	attack_serves(&a->r);
}

/* Leases and the close that overtakes them: whatever the order, nothing is left. */
ATTACK(close_between_leases)
{
	Mmb__Wire__SlabLeaseRequest lease = MMB__WIRE__SLAB_LEASE_REQUEST__INIT;
	Mmb__Wire__PoolRequest      close_it = MMB__WIRE__POOL_REQUEST__INIT;

	attack_attach(a);
	lease.units = 3;
	lease.count = 8;
	for (int i = 0; i < 50; i++) {
		CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
		lease.pool = close_it.pool = a->r.pool;
		for (int j = 0; j < 4; j++)
			CLIENT_EXPECT_EQ(raw_request(&a->r, MMB_METHOD_SLAB_LEASE, &lease), 0);
		CLIENT_EXPECT_EQ(raw_request(&a->r, MMB_METHOD_POOL_CLOSE, &close_it), 0);
		for (int j = 0; j < 5; j++)
			raw_recv(&a->r);
	}
	attack_serves(&a->r);
}

/* ---- too much ---- */

ATTACK(more_than_the_pool_may_have)
{
	static uint64_t units[MMB_PAGES_BATCH];
	uint64_t        got = 0;
	int             r;

	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 8 * HUGE_PAGE), 0);
	while ((r = raw_lease(&a->r, 1, MMB_PAGES_BATCH, units)) > 0)
		got += (uint64_t)r;
	CLIENT_EXPECT(raw_refused(&a->r, -ENOMEM));
	CLIENT_EXPECT(got > 0 && got <= 8 * (HUGE_PAGE / UNIT));
	expect_leased(&a->r, got);
}

ATTACK(more_than_the_broker_has)
{
	static uint64_t runs[MMB_PAGES_BATCH];

	attack_pool(a);
	while (raw_lease(&a->r, 64, MMB_PAGES_BATCH, runs) > 0)
		continue;
	CLIENT_EXPECT(raw_refused(&a->r, -ENOMEM));
	while (raw_lease(&a->r, 1, MMB_PAGES_BATCH, runs) > 0)
		continue;
	CLIENT_EXPECT(raw_refused(&a->r, -ENOMEM));
	attack_serves(&a->r);
}

/* Leases asked for and no reply read: the client dies with all of it. */
ATTACK(replies_never_read)
{
	Mmb__Wire__SlabLeaseRequest lease = MMB__WIRE__SLAB_LEASE_REQUEST__INIT;

	attack_pool(a);
	lease.pool = a->r.pool;
	lease.units = 1;
	lease.count = MMB_PAGES_BATCH;
	CLIENT_EXPECT(fcntl(a->r.sock, F_SETFL, O_NONBLOCK) == 0);
	for (int i = 0; i < 400; i++)
		raw_request(&a->r, MMB_METHOD_SLAB_LEASE, &lease);
}

/* ---- the slab map ---- */

/* What operators look at, on a connection of its own. */
static void look(struct raw *tool, bool verify)
{
	const Mmb__Wire__VerifyReply *reply;
	Mmb__Wire__Empty       empty = MMB__WIRE__EMPTY__INIT;
	Mmb__Wire__ListRequest list = MMB__WIRE__LIST_REQUEST__INIT;

	CLIENT_EXPECT_EQ(raw_call(tool, MMB_METHOD_STATUS, &empty), 0);
	CLIENT_EXPECT_EQ(raw_call(tool, MMB_METHOD_POOLS, &list), 0);
	CLIENT_EXPECT_EQ(raw_call(tool, MMB_METHOD_SESSIONS, &list), 0);
	if (!verify)
		return;
	CLIENT_EXPECT_EQ(raw_call(tool, MMB_METHOD_VERIFY, &empty), 0);
	reply = tool->body;
	for (size_t i = 0; i < reply->n_reports; i++)
		printf("  verify: %s\n", reply->reports[i]);
	CLIENT_EXPECT_EQ(reply->differences, 0);
}

static struct raw *tool_of(struct attack *a)
{
	static struct raw tool;

	raw_init(&tool);
	CLIENT_EXPECT_EQ(raw_connect(&tool, a->socket), 0);
	CLIENT_EXPECT_EQ(raw_hello_control(&tool), 0);
	return &tool;
}

/* The page of headers over a unit. */
static char *headers_of(const struct raw_slab_map *map, uint64_t unit)
{
	return map->at + (unit - map->window) / HUGE_PAGE * PAGE;
}

ATTACK(scribbled_slab_map)
{
	uint64_t            units[UNITS], random = a->seed;
	struct raw_slab_map map;
	struct raw         *tool = tool_of(a);

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, NULL), 0);
	for (int i = 0; i < 200; i++) {
		pattern_fill(headers_of(&map, units[0]), PAGE, test_random(&random));
		look(tool, i % 50 == 0);
	}
	memset(headers_of(&map, units[0]), 0xff, PAGE);
	look(tool, true);
	expect_leased(&a->r, UNITS);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, UNITS), 0);
}

/* Headers that look right and claim the impossible. */
ATTACK(plausible_lies)
{
	static const uint32_t sizes[] = { 0, 1, 8, 65536, 262144, ~0u };
	uint64_t              units[UNITS];
	struct raw_slab_map   map;
	struct slab_header   *headers;
	struct raw           *tool = tool_of(a);

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, NULL), 0);
	headers = (struct slab_header *)headers_of(&map, units[0]);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (int i = 0; i < PAGE / SLAB_HEADER_BYTES; i++) {
			headers[i].kind = SLAB_OBJECTS;
			headers[i].size = sizes[s];
			headers[i].units = 1u << (i % 32);
			headers[i].left = ~0u - 1;
			headers[i].first = 2;
			headers[i].total = ~0u;
			headers[i].back = ~0u;
			headers[i].bin = (uint16_t)(i * 33);
			headers[i].shared = ~0ull;
		}
		look(tool, true);
	}
	expect_leased(&a->r, UNITS);
}

ATTACK(punched_slab_map)
{
	uint64_t            units[UNITS];
	struct raw_slab_map map;
	struct raw         *tool = tool_of(a);
	int                 fd;

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, &fd), 0);
	CLIENT_EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   (off_t)map.bytes),
			 0);
	look(tool, true);
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, UNITS), 0);
	CLIENT_EXPECT_EQ(raw_lease(&a->r, 1, UNITS, units), UNITS);
	look(tool, true);
}

/* Pages put into holes of the map go away again. */
ATTACK(conjured_slab_map_pages)
{
	uint64_t            units[UNITS];
	struct raw_slab_map map;
	int                 fd;

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, &fd), 0);
	for (uint64_t at = 0; at < map.bytes && at < 256 * PAGE; at += PAGE)
		CLIENT_EXPECT_EQ(raw_write_byte(map.at + at, 1), 0);
	attack_file_shrinks(fd, 2 * PAGE);
	expect_leased(&a->r, UNITS);
}

/* Behind what the arena needs, too. */
ATTACK(conjured_behind_the_map)
{
	uint64_t            units[UNITS];
	struct raw_slab_map map;
	int                 fd;

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, &fd), 0);
	CLIENT_EXPECT_EQ(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, HUGE_PAGE), 0);
	attack_file_shrinks(fd, 2 * PAGE);
}

ATTACK(slab_map_resized)
{
	struct raw_slab_map map;
	int                 fd;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, &fd), 0);
	CLIENT_EXPECT(ftruncate(fd, 0) < 0 && errno == EPERM);
	CLIENT_EXPECT(ftruncate(fd, 1ll << 40) < 0 && errno == EPERM);
	CLIENT_EXPECT(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
	attack_serves(&a->r);
}

ATTACK(slab_map_many_times)
{
	struct raw_slab_map map;
	uint64_t            units[UNITS];
	int                 fd;

	with_units(a, units);
	for (int i = 0; i < 200; i++) {
		CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, &fd), 0);
		headers_of(&map, units[0])[0] = (char)i;
		close(fd);
		if (i % 2 == 0)
			munmap(map.at, map.bytes);
	}
	CLIENT_EXPECT_EQ(headers_of(&map, units[0])[0], (char)199);
}

ATTACK(slab_maps_from_far_behind)
{
	Mmb__Wire__SlabMapRequest request = MMB__WIRE__SLAB_MAP_REQUEST__INIT;

	attack_pool(a);
	request.pool = a->r.pool;
	request.first = ~0u;
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_SLAB_MAP, &request), 0);
	CLIENT_EXPECT_EQ(a->r.nr_fds, 0);
	request.pool = ~0u;
	attack_refused(&a->r, MMB_METHOD_SLAB_MAP, &request, -EBADF);
}

/* A page of the map that is no longer needed is gone from clients that have it mapped. */
ATTACK(headers_touched_after_return)
{
	uint64_t            units[UNITS];
	struct raw_slab_map map;
	int                 fd;

	with_units(a, units);
	CLIENT_EXPECT_EQ(raw_slab_map(&a->r, &map, &fd), 0);
	headers_of(&map, units[0])[5] = 1;
	CLIENT_EXPECT_EQ(raw_return_units(&a->r, units, UNITS), 0);
	attack_file_shrinks(fd, 0);
	headers_of(&map, units[0])[5] = 1;
	attack_file_shrinks(fd, 0);
}

/* ---- members and caches ---- */

ATTACK(handles_without_end)
{
	uint32_t first, nr = 1;
	int      error;

	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "many", 0), 0);
	first = a->r.member;
	for (; !(error = raw_pool(&a->r, "many", 0)); nr++)
		CLIENT_EXPECT_EQ(a->r.member, first + nr);
	CLIENT_EXPECT_EQ(error, -EDQUOT);
	CLIENT_EXPECT(raw_refused(&a->r, -EDQUOT));
	CLIENT_EXPECT_EQ(nr, 256);
}

ATTACK(caches_misused)
{
	Mmb__Wire__CacheOpenRequest open = MMB__WIRE__CACHE_OPEN_REQUEST__INIT;
	Mmb__Wire__CacheRequest     shut = MMB__WIRE__CACHE_REQUEST__INIT;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_cache_open(&a->r, "c", 64, 64), 1);
	open.pool = shut.pool = a->r.pool;
	open.name = (char *)(uintptr_t)"c";
	open.object = 64;
	attack_refused(&a->r, MMB_METHOD_CACHE_OPEN, &open, -EINVAL);
	open.name = (char *)(uintptr_t)"a/b";
	attack_refused(&a->r, MMB_METHOD_CACHE_OPEN, &open, -EINVAL);
	open.name = (char *)(uintptr_t)"";
	attack_refused(&a->r, MMB_METHOD_CACHE_OPEN, &open, -EINVAL);
	open.name = (char *)(uintptr_t)"d";
	open.object = ~0u;
	attack_refused(&a->r, MMB_METHOD_CACHE_OPEN, &open, -EINVAL);
	open.object = 8;
	open.align = 1u << 31;
	attack_refused(&a->r, MMB_METHOD_CACHE_OPEN, &open, -EINVAL);
	open.align = 0;
	open.flags = 1;
	attack_refused(&a->r, MMB_METHOD_CACHE_OPEN, &open, -EINVAL);
	shut.cache = 1;
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_CACHE_CLOSE, &shut), 0);
	attack_refused(&a->r, MMB_METHOD_CACHE_CLOSE, &shut, -EBADF);
	shut.cache = ~0u;
	attack_refused(&a->r, MMB_METHOD_CACHE_CLOSE, &shut, -EBADF);
	shut.cache = 0;
	attack_refused(&a->r, MMB_METHOD_CACHE_CLOSE, &shut, -EBADF);
}

ATTACK(more_caches_than_allowed)
{
	Mmb__Wire__CacheOpenRequest open = MMB__WIRE__CACHE_OPEN_REQUEST__INIT;
	char                        name[32];

	attack_pool(a);
	for (int i = 1; i <= SLAB_CACHES_MAX; i++) {
		snprintf(name, sizeof(name), "cache-%d", i);
		CLIENT_EXPECT_EQ(raw_cache_open(&a->r, name, 16, 0), i);
	}
	open.pool = a->r.pool;
	open.name = (char *)(uintptr_t)"one-more";
	open.object = 16;
	attack_refused(&a->r, MMB_METHOD_CACHE_OPEN, &open, -EDQUOT);
}

/* ---- for long ---- */

ATTACK(cycles_without_end)
{
	uint64_t units[CYCLE_UNITS], random = a->seed;
	uint32_t parts[CYCLE_UNITS], nr;

	attack_pool(a);
	for (int done = 0; done < CYCLES; done += (int)nr) {
		uint32_t each = 1 + (uint32_t)(test_random(&random) % 3);

		nr = 1 + (uint32_t)(test_random(&random) % CYCLE_UNITS);
		for (uint32_t i = 0; i < nr; i++)
			parts[i] = each;
		CLIENT_EXPECT_EQ(raw_lease(&a->r, each, nr, units), (int)nr);
		CLIENT_EXPECT_EQ(raw_return(&a->r, units, parts, nr), 0);
	}
	expect_leased(&a->r, 0);
}

static const struct test_case cases[] = {
	{ "a unit returned twice", double_return },
	{ "a unit twice in one request", twice_in_one_request },
	{ "overlapping parts in one request", overlapping_parts_in_one_request },
	{ "one wrong unit among many returns none", one_wrong_of_many },
	{ "page runs are no units", run_returned_as_a_unit },
	{ "units are no page runs", unit_freed_as_a_run },
	{ "addresses inside a unit", inside_a_unit },
	{ "addresses of nobody", foreign_addresses },
	{ "lengths that wrap around", wrapping_lengths },
	{ "units never leased", never_leased },
	{ "the tail that a lease gave back", tail_of_a_lease },
	{ "impossible numbers of units", impossible_units },
	{ "impossible counts and flags", impossible_counts },
	{ "more addresses than a request may have", more_addresses_than_allowed },
	{ "more addresses than lengths, and fewer", as_many_addresses_as_units },
	{ "handles of others", foreign_pool_handles },
	{ "units of another private pool", units_of_another_private_pool },
	{ "two sessions return the same", both_of_a_pool_return_the_same },
	{ "leases after the pool is closed", lease_after_close },
	{ "a close overtakes leases", close_between_leases },
	{ "more than the pool may have", more_than_the_pool_may_have },
	{ "more than the broker has", more_than_the_broker_has },
	{ "replies that are never read", replies_never_read },
	{ "random bytes in the slab map", scribbled_slab_map },
	{ "plausible lies in the slab map", plausible_lies },
	{ "a punched slab map", punched_slab_map },
	{ "conjured pages of the slab map", conjured_slab_map_pages },
	{ "conjured pages behind the slab map", conjured_behind_the_map },
	{ "a slab map resized and sealed", slab_map_resized },
	{ "a slab map asked for and mapped many times", slab_map_many_times },
	{ "slab maps of windows that don't exist", slab_maps_from_far_behind },
	{ "headers touched after their units are returned", headers_touched_after_return },
	{ "handles of one pool without end", handles_without_end },
	{ "caches misused", caches_misused },
	{ "more caches than a pool may have", more_caches_than_allowed },
	{ "leases and returns without end", cycles_without_end },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
