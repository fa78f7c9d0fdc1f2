/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_arguments - lying addresses and lengths, invalid flags, names, foreign handles
 *
 * Purpose     Each argument of each request at its edges and beyond; each lie is refused with a
 *             sentence and the session lives on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Numbers that are no length and no multiple of a page, or much too large. */
static const uint64_t lies[] = {
	1,
	PAGE - 1,
	PAGE + 1,
	HUGE_PAGE - 1,
	(1ull << 31) + 1,
	(1ull << 32) - 1,
	(1ull << 43) + 1,
	1ull << 44,
	1ull << 47,
	1ull << 48,
	1ull << 62,
	1ull << 63,
	(1ull << 63) + PAGE,
	~0ull - PAGE + 1,
	~0ull - 1,
	~0ull,
};

static const uint64_t bad_addresses[] = {
	1,
	PAGE,
	(1ull << 45) + 1,
	(1ull << 45) + PAGE - 1,
	(1ull << 47) - PAGE,
	1ull << 47,
	1ull << 63,
	0xffff800000000000ull,
	~0ull - PAGE + 1,
	~0ull,
};

static Mmb__Wire__RegionOpenRequest region_request(struct attack *a, const char *name)
{
	Mmb__Wire__RegionOpenRequest request = MMB__WIRE__REGION_OPEN_REQUEST__INIT;

	request.pool = a->r.pool;
	request.name = (char *)(uintptr_t)name;
	request.length = 16 * PAGE;
	request.flags = name[0] ? MMB_REGION_CREATE : 0;
	return request;
}

/* As an unnamed and as a named region. */
static void regions_refused(struct attack *a, Mmb__Wire__RegionOpenRequest *request, int code)
{
	request->name = (char *)(uintptr_t)"";
	request->flags &= ~(uint32_t)MMB_REGION_CREATE;
	attack_refused(&a->r, MMB_METHOD_REGION_CREATE, request, code);
	request->name = (char *)(uintptr_t)"lie";
	request->flags |= MMB_REGION_CREATE;
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, request, code);
}

/* ---- lengths and addresses ---- */

ATTACK(region_lengths)
{
	Mmb__Wire__RegionOpenRequest request;

	attack_pool(a);
	request = region_request(a, "");
	for (size_t i = 0; i < COUNT(lies); i++) {
		request.length = lies[i];
		regions_refused(a, &request, ANY_CODE);
	}
	request.length = 0;
	regions_refused(a, &request, -EINVAL);
}

/* Well-formed, and more than there is: refused for what is missing, with nothing charged. */
ATTACK(region_lengths_beyond_the_reserve)
{
	static const uint64_t        lengths[] = { 257ull << 20, 1ull << 31, 1ull << 32, 1ull << 40,
						   (1ull << 43) - PAGE, (1ull << 43) - HUGE_PAGE };
	Mmb__Wire__RegionOpenRequest request;

	attack_pool(a);
	request = region_request(a, "");
	for (size_t i = 0; i < COUNT(lengths); i++) {
		request.length = lengths[i];
		request.flags = i % 2 ? MMB_REGION_POPULATE : 0;
		regions_refused(a, &request, -ENOMEM);
	}
}

ATTACK(huge_region_lengths)
{
	Mmb__Wire__RegionOpenRequest request;

	attack_pool(a);
	request = region_request(a, "");
	request.page_size = HUGE_PAGE;
	for (size_t i = 0; i < COUNT(lies); i++) {
		request.length = lies[i];
		regions_refused(a, &request, ANY_CODE);
	}
	request.length = PAGE;
	regions_refused(a, &request, -EINVAL);
	request.length = HUGE_PAGE + PAGE;
	regions_refused(a, &request, -EINVAL);
}

ATTACK(page_sizes)
{
	static const uint32_t        sizes[] = { 1, 4095, 4097, 8192, 1 << 20, (2 << 20) + 1,
						 1 << 30, 1u << 31, ~0u };
	Mmb__Wire__RegionOpenRequest request;

	attack_pool(a);
	request = region_request(a, "");
	request.length = 4 * HUGE_PAGE;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		request.page_size = sizes[i];
		regions_refused(a, &request, -EINVAL);
	}
}

ATTACK(region_addresses)
{
	Mmb__Wire__RegionOpenRequest request;

	attack_pool(a);
	request = region_request(a, "");
	for (size_t i = 0; i < COUNT(bad_addresses); i++) {
		request.address = bad_addresses[i];
		regions_refused(a, &request, -EINVAL);
	}
	request.page_size = HUGE_PAGE;
	request.length = HUGE_PAGE;
	request.address = (1ull << 45) + PAGE;
	regions_refused(a, &request, -EINVAL);
}

ATTACK(region_over_another)
{
	Mmb__Wire__RegionOpenRequest request;
	struct raw_region            first;

	attack_pool(a);
	first = attack_region(a, 16);
	request = region_request(a, "");
	for (int page = -15; page < 16; page++) {
		request.address = (uintptr_t)first.at + (uint64_t)((int64_t)page * PAGE);
		attack_refused(&a->r, MMB_METHOD_REGION_CREATE, &request, ANY_CODE);
	}
}

ATTACK(window_addresses)
{
	Mmb__Wire__WindowRequest request = MMB__WIRE__WINDOW_REQUEST__INIT;
	struct raw_region        region, other;

	attack_pool(a);
	region = attack_region(a, 16);
	other = attack_region(a, 16);
	pattern_fill(region.at, region.length, 1);
	request.region = region.handle;
	for (size_t i = 0; i < COUNT(bad_addresses); i++) {
		request.address = bad_addresses[i];
		attack_refused(&a->r, MMB_METHOD_WINDOW, &request, -EINVAL);
	}
	request.address = 0;
	attack_refused(&a->r, MMB_METHOD_WINDOW, &request, -EINVAL);
	for (int page = -15; page < 16; page++) {
		request.address = (uintptr_t)other.at + (uint64_t)((int64_t)page * PAGE);
		attack_refused(&a->r, MMB_METHOD_WINDOW, &request, ANY_CODE);
	}
	/* The old window is still the one that counts. */
	CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_DONTNEED), 0);
	for (int page = 0; page < 16; page++)
		CLIENT_EXPECT_EQ(raw_write_byte(region.at + page * PAGE, 1), 0);
}

struct extent {
	uint64_t offset, length;
};

/* Of a region of 16 pages of 4 KiB. */
static const struct extent bad_ranges[] = {
	{ 0, 0 },
	{ 0, 1 },
	{ 1, PAGE },
	{ 0, PAGE - 1 },
	{ 0, 17 * PAGE },
	{ PAGE, 16 * PAGE },
	{ 16 * PAGE, PAGE },
	{ 15 * PAGE, 2 * PAGE },
	{ 1ull << 31, PAGE },
	{ (1ull << 32) - PAGE, PAGE },
	{ 1ull << 32, PAGE },
	{ 1ull << 63, PAGE },
	{ ~0ull - PAGE + 1, PAGE },
	{ ~0ull - PAGE + 1, 2 * PAGE },
	{ PAGE, ~0ull - PAGE + 1 },
	{ 0, 1ull << 63 },
	{ 1ull << 63, 1ull << 63 },
	{ ~0ull, ~0ull },
};

static void ranges_refused(struct attack *a, uint32_t method)
{
	static const uint32_t         advices[] = { MMB_ADVISE_NORMAL, MMB_ADVISE_SEQUENTIAL,
						    MMB_ADVISE_WILLNEED, MMB_ADVISE_DONTNEED,
						    MMB_ADVISE_FREE, MMB_ADVISE_HUGEPAGE };
	Mmb__Wire__RegionRangeRequest request = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	struct raw_region             region;

	attack_pool(a);
	region = attack_region(a, 16);
	pattern_fill(region.at, region.length, 2);
	request.region = region.handle;
	for (size_t i = 0; i < COUNT(bad_ranges); i++) {
		request.offset = bad_ranges[i].offset;
		request.length = bad_ranges[i].length;
		request.advice = advices[i % COUNT(advices)];
		attack_refused(&a->r, method, &request, -EINVAL);
	}
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 2));
}

ATTACK(advise_ranges)
{
	ranges_refused(a, MMB_METHOD_REGION_ADVISE);
}

ATTACK(lock_ranges)
{
	ranges_refused(a, MMB_METHOD_REGION_LOCK);
}

ATTACK(unlock_ranges)
{
	ranges_refused(a, MMB_METHOD_REGION_UNLOCK);
}

/* Unlocking what was never locked, more often than it was locked. */
ATTACK(unlock_without_lock)
{
	Mmb__Wire__RegionRangeRequest request = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	struct raw_region             region;

	attack_pool(a);
	region = attack_region(a, 16);
	request.region = region.handle;
	request.length = 8 * PAGE;
	for (int i = 0; i < 3; i++)
		raw_call(&a->r, MMB_METHOD_REGION_UNLOCK, &request);
	CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_REGION_LOCK, &request), 0);
	CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, PAGE, MMB_ADVISE_DONTNEED), -EBUSY);
	for (int i = 0; i < 3; i++)
		raw_call(&a->r, MMB_METHOD_REGION_UNLOCK, &request);
	CLIENT_EXPECT_EQ(raw_advise(&a->r, &region, 0, region.length, MMB_ADVISE_DONTNEED), 0);
}

/* ---- flags, modes, policies, names ---- */

ATTACK(advices)
{
	static const uint32_t         advices[] = { 9, 10, 11, 255, 1u << 31, ~0u };
	Mmb__Wire__RegionRangeRequest request = MMB__WIRE__REGION_RANGE_REQUEST__INIT;
	struct raw_region             region;

	attack_pool(a);
	region = attack_region(a, 16);
	request.region = region.handle;
	request.length = PAGE;
	for (size_t i = 0; i < COUNT(advices); i++) {
		request.advice = advices[i];
		attack_refused(&a->r, MMB_METHOD_REGION_ADVISE, &request, -EINVAL);
	}
}

ATTACK(region_flags)
{
	Mmb__Wire__RegionOpenRequest request;

	attack_pool(a);
	request = region_request(a, "");
	for (int bit = 5; bit < 32; bit++) {
		request.flags = 1u << bit;
		regions_refused(a, &request, -EINVAL);
	}
	request.flags = MMB_REGION_READONLY;
	attack_refused(&a->r, MMB_METHOD_REGION_CREATE, &request, -EINVAL);
}

ATTACK(pool_flags)
{
	Mmb__Wire__PoolOpenRequest request = MMB__WIRE__POOL_OPEN_REQUEST__INIT;

	attack_attach(a);
	request.name = (char *)(uintptr_t)"flags";
	for (int bit = 5; bit < 32; bit++) {
		request.flags = MMB_POOL_CREATE | 1u << bit;
		attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &request, -EINVAL);
	}
	request.flags = 0;
	attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &request, -ENOENT);
}

ATTACK(contradictory_pool_limits)
{
	static const struct {
		uint64_t min, low, high, max;
		int      code;
	} wrong[] = {
		{ .min = 2 * PAGE, .max = PAGE, .code = -EINVAL },
		{ .low = 2 * PAGE, .high = PAGE, .code = -EINVAL },
		{ .high = 3 * PAGE, .max = 2 * PAGE, .code = -EINVAL },
		{ .min = ~0ull, .low = PAGE, .code = -EINVAL },
		{ .max = 1, .code = -EINVAL },
		{ .max = PAGE - 1, .code = -EINVAL },
		{ .high = PAGE - 1, .code = -EINVAL },
		{ .min = ~0ull, .code = -ENOMEM },
		{ .min = 1ull << 63, .code = -ENOMEM },
	};

	attack_attach(a);
	for (size_t i = 0; i < COUNT(wrong); i++) {
		Mmb__Wire__PoolOpenRequest request = MMB__WIRE__POOL_OPEN_REQUEST__INIT;

		request.name = (char *)(uintptr_t)"limits";
		request.flags = MMB_POOL_CREATE;
		request.min = wrong[i].min;
		request.low = wrong[i].low;
		request.high = wrong[i].high;
		request.max = wrong[i].max;
		attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &request, wrong[i].code);
	}
}

/* A pool with room for a page, and for more than there is. */
ATTACK(pool_limits_at_the_edge)
{
	static const uint64_t limits[] = { PAGE, PAGE + 1, ~0ull, 1ull << 63 };

	attack_attach(a);
	for (size_t i = 0; i < COUNT(limits); i++) {
		struct raw_region region;
		uint64_t          run;
		int               got;

		CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, limits[i]), 0);
		got = raw_region(&a->r, 2 * PAGE, &region);
		CLIENT_EXPECT(limits[i] < 2 * PAGE ? raw_refused(&a->r, got) : got == 0);
		got = raw_pages(&a->r, 0, 0, 1, &run);
		CLIENT_EXPECT(got == 1 || raw_refused(&a->r, got));
	}
}

ATTACK(modes)
{
	static const uint32_t        modes[] = { 01000,   02000,    04000, 07777,
						 0100644, 1u << 31, ~0u };
	Mmb__Wire__RegionOpenRequest region;
	Mmb__Wire__PoolOpenRequest   pool = MMB__WIRE__POOL_OPEN_REQUEST__INIT;

	attack_pool(a);
	region = region_request(a, "mode");
	pool.name = (char *)(uintptr_t)"mode";
	pool.flags = MMB_POOL_CREATE;
	for (size_t i = 0; i < COUNT(modes); i++) {
		region.mode = pool.mode = modes[i];
		regions_refused(a, &region, -EINVAL);
		attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &pool, -EINVAL);
	}
}

ATTACK(node_policies)
{
	static const struct {
		uint32_t policy;
		uint64_t mask;
	} bad[] = {
		{ 4, 1 }, { 255, 0 }, { 1u << 31, 1 }, { ~0u, 1 },      /* no such policy */
		{ 0, 1ull << 63 }, { 1, 1ull << 63 }, { 2, 1ull << 62 }, /* no such node */
		{ 3, ~0ull },      { 2, 0 },
	};
	Mmb__Wire__RegionOpenRequest region;
	Mmb__Wire__PoolOpenRequest   pool = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	Mmb__Wire__NodePolicy        nodes = MMB__WIRE__NODE_POLICY__INIT;

	attack_pool(a);
	region = region_request(a, "nodes");
	region.nodes = pool.nodes = &nodes;
	pool.name = (char *)(uintptr_t)"nodes";
	pool.flags = MMB_POOL_CREATE;
	for (size_t i = 0; i < COUNT(bad); i++) {
		nodes.policy = bad[i].policy;
		nodes.mask = bad[i].mask;
		regions_refused(a, &region, -EINVAL);
		attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &pool, -EINVAL);
	}
}

static const char *const bad_names[] = {
	"64-bytes-are-one-more-than-a-name-may-have-so-that-they-aren't-ok",
	"with/slash",
	"/",
	"..",
	"\n",
	"tab\there",
	"escape\033[31m",
	"\x7f",
	"\xff\xfe",
	"\xc0\x80",         /* an overlong NUL */
	"\xc3",             /* cut in the middle of a character */
	"\xed\xa0\x80",     /* half a surrogate pair */
	"\xf4\x90\x80\x80", /* beyond Unicode */
	"\x80",
};

static bool allowed_name(const char *name)
{
	/* A folder's names are no danger where no files are made from them. */
	return !strcmp(name, "..");
}

ATTACK(region_names)
{
	Mmb__Wire__RegionOpenRequest   region;
	Mmb__Wire__RegionUnlinkRequest unlinked = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;

	attack_pool(a);
	unlinked.pool = a->r.pool;
	for (size_t i = 0; i < COUNT(bad_names); i++) {
		if (allowed_name(bad_names[i]))
			continue;
		region = region_request(a, bad_names[i]);
		attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &region, -EINVAL);
		unlinked.name = region.name;
		attack_refused(&a->r, MMB_METHOD_REGION_UNLINK, &unlinked, -EINVAL);
	}
	region = region_request(a, "");
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &region, -EINVAL);
	region = region_request(a, "named");
	attack_refused(&a->r, MMB_METHOD_REGION_CREATE, &region, -EINVAL);
}

ATTACK(pool_names)
{
	Mmb__Wire__PoolOpenRequest pool = MMB__WIRE__POOL_OPEN_REQUEST__INIT;

	attack_attach(a);
	pool.flags = MMB_POOL_CREATE;
	attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &pool, -EINVAL);
	for (size_t i = 0; i < COUNT(bad_names); i++) {
		if (allowed_name(bad_names[i]))
			continue;
		pool.name = (char *)(uintptr_t)bad_names[i];
		attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &pool, -EINVAL);
	}
}

ATTACK(client_names)
{
	Mmb__Wire__HelloRequest hello = MMB__WIRE__HELLO_REQUEST__INIT;

	hello.version_max = MMB_PROTOCOL_VERSION;
	for (size_t i = 0; i < COUNT(bad_names); i++) {
		int got;

		hello.name = (char *)(uintptr_t)bad_names[i];
		attack_connect(a);
		got = raw_call(&a->r, MMB_METHOD_HELLO, &hello);
		/* A client's name is a label: a slash does no harm. */
		CLIENT_EXPECT(raw_refused(&a->r, -EINVAL) ||
			      (got == 0 && !strpbrk(bad_names[i], "\n\t\033\x7f\xff\x80")));
		raw_close(&a->r);
	}
}

/* A NUL within a name: it must not end up as a shorter one that passes the checks. */
ATTACK(names_with_nul)
{
	static const char packet_head[] = { 0x08, MMB_METHOD_POOL_OPEN, 0x10, 1, 0x2a, 11 };
	static const char body[] = { 0x0a, 7, 'h', 'i', 0, 'd', 'd', 'e', 'n', 0x10, 1 };
	char              packet[sizeof(packet_head) + sizeof(body)];
	int               got;

	memcpy(packet, packet_head, sizeof(packet_head));
	memcpy(packet + sizeof(packet_head), body, sizeof(body));
	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_send(&a->r, packet, sizeof(packet)), 0);
	got = raw_recv(&a->r);
	CLIENT_EXPECT(got == -ECONNRESET || a->r.reply.code < 0);
}

/* ---- handles ---- */

static void region_handle_refused(struct attack *a, uint32_t handle)
{
	Mmb__Wire__WindowRequest      window = MMB__WIRE__WINDOW_REQUEST__INIT;
	Mmb__Wire__RegionRequest      region = MMB__WIRE__REGION_REQUEST__INIT;
	Mmb__Wire__RegionRangeRequest range = MMB__WIRE__REGION_RANGE_REQUEST__INIT;

	window.region = region.region = range.region = handle;
	window.address = 1ull << 45;
	range.length = PAGE;
	attack_refused(&a->r, MMB_METHOD_WINDOW, &window, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_ADVISE, &range, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_LOCK, &range, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_UNLOCK, &range, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_STAT, &region, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_CLOSE, &region, -EBADF);
}

static void pool_handle_refused(struct attack *a, uint32_t handle)
{
	static uint64_t                address = PAGE;
	Mmb__Wire__PoolRequest         pool = MMB__WIRE__POOL_REQUEST__INIT;
	Mmb__Wire__ArenaOpenRequest    arena = MMB__WIRE__ARENA_OPEN_REQUEST__INIT;
	Mmb__Wire__PagesAllocRequest   alloc = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;
	Mmb__Wire__PagesFreeRequest    dealloc = MMB__WIRE__PAGES_FREE_REQUEST__INIT;
	Mmb__Wire__RegionUnlinkRequest unlinked = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;
	Mmb__Wire__RegionOpenRequest   region = region_request(a, "");

	pool.pool = arena.pool = alloc.pool = dealloc.pool = unlinked.pool = region.pool = handle;
	alloc.count = 1;
	dealloc.addresses = &address;
	dealloc.n_addresses = 1;
	unlinked.name = (char *)(uintptr_t)"any";
	attack_refused(&a->r, MMB_METHOD_POOL_STAT, &pool, -EBADF);
	attack_refused(&a->r, MMB_METHOD_ARENA_OPEN, &arena, -EBADF);
	attack_refused(&a->r, MMB_METHOD_PAGES_ALLOC, &alloc, -EBADF);
	attack_refused(&a->r, MMB_METHOD_PAGES_FREE, &dealloc, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_UNLINK, &unlinked, -EBADF);
	attack_refused(&a->r, MMB_METHOD_REGION_CREATE, &region, -EBADF);
	attack_refused(&a->r, MMB_METHOD_POOL_CLOSE, &pool, -EBADF);
}

static void guess_handles(struct attack *a, uint32_t real,
			  void (*refused)(struct attack *a, uint32_t handle))
{
	uint64_t state = a->seed;

	for (int bit = 0; bit < 32; bit++)
		refused(a, real ^ 1u << bit);
	for (int i = 0; i < 50; i++) {
		uint32_t guess = (uint32_t)test_random(&state);

		if (guess != real)
			refused(a, guess);
	}
	refused(a, 0);
	refused(a, ~0u);
}

ATTACK(guessed_region_handles)
{
	attack_pool(a);
	guess_handles(a, attack_region(a, 1).handle, region_handle_refused);
}

ATTACK(guessed_pool_handles)
{
	attack_pool(a);
	guess_handles(a, a->r.pool, pool_handle_refused);
}

ATTACK(stale_region_handles)
{
	struct raw_region region;
	uint32_t          stale[40];

	attack_pool(a);
	for (int i = 0; i < 40; i++) {
		region = attack_region(a, 1);
		stale[i] = region.handle;
		CLIENT_EXPECT_EQ(raw_region_close(&a->r, &region), 0);
	}
	region = attack_region(a, 1);
	for (int i = 0; i < 40; i++)
		if (stale[i] != region.handle)
			region_handle_refused(a, stale[i]);
	CLIENT_EXPECT_EQ(raw_write_byte(region.at, 1), 0);
}

ATTACK(stale_pool_handles)
{
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;

	attack_attach(a);
	for (int i = 0; i < 20; i++) {
		CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
		request.pool = a->r.pool;
		CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_POOL_CLOSE, &request), 0);
		pool_handle_refused(a, request.pool);
	}
}

/* What one session has, another asks for by its number. */
ATTACK(handles_of_another_session)
{
	static struct attack owner = { .seed = 1 };
	struct raw_region    region;

	owner.socket = a->socket;
	attack_pool(&owner);
	region = attack_region(&owner, 16);
	pattern_fill(region.at, region.length, 3);
	attack_attach(a);
	pool_handle_refused(a, owner.r.pool);
	region_handle_refused(a, region.handle);
	CLIENT_EXPECT(pattern_holds(region.at, region.length, 3));
	attack_serves(&owner.r);
}

/* The other kind's number. */
ATTACK(handles_of_the_other_kind)
{
	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
	region_handle_refused(a, a->r.pool);
	attack_serves(&a->r);
}

/* ---- named things that are there already, or somebody else's ---- */

ATTACK(existing_region_otherwise)
{
	Mmb__Wire__RegionOpenRequest request;
	struct raw_region            region;
	struct raw_region_want       want = { .name = "there", .length = 16 * PAGE,
					      .flags = MMB_REGION_CREATE };

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_region_open(&a->r, &want, &region), 0);
	request = region_request(a, "there");
	request.flags = MMB_REGION_CREATE | MMB_REGION_EXCL;
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &request, -EEXIST);
	request.flags = 0;
	request.length = 17 * PAGE;
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &request, -EINVAL);
	request.length = 16 * PAGE;
	request.page_size = HUGE_PAGE;
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &request, -EINVAL);
	request = region_request(a, "absent");
	request.flags = 0;
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &request, -ENOENT);
}

/* The owner is root; the attacker, uid 65534, gets nothing that the mode bits don't give it. */
ATTACK(somebody_elses)
{
	static struct attack           owner = { .seed = 1 };
	struct raw_region              region;
	struct raw_region_want         want = { .name = "private", .length = 16 * PAGE,
						.flags = MMB_REGION_CREATE, .mode = 0600 };
	Mmb__Wire__PoolOpenRequest     pool = MMB__WIRE__POOL_OPEN_REQUEST__INIT;
	Mmb__Wire__RegionOpenRequest   request;
	Mmb__Wire__RegionUnlinkRequest unlinked = MMB__WIRE__REGION_UNLINK_REQUEST__INIT;
	Mmb__Wire__TextRequest         maps = MMB__WIRE__TEXT_REQUEST__INIT;

	owner.socket = a->socket;
	attack_attach(&owner);
	pool.name = (char *)(uintptr_t)"closed";
	pool.flags = MMB_POOL_CREATE;
	CLIENT_EXPECT_EQ(raw_call(&owner.r, MMB_METHOD_POOL_OPEN, &pool), 0);
	pool.name = (char *)(uintptr_t)"open";
	pool.mode = 0666;
	CLIENT_EXPECT_EQ(raw_call(&owner.r, MMB_METHOD_POOL_OPEN, &pool), 0);
	owner.r.pool = ((const Mmb__Wire__PoolOpenReply *)owner.r.body)->pool;
	CLIENT_EXPECT_EQ(raw_region_ask(&owner.r, &want, &region), 0);

	CLIENT_EXPECT_EQ(client_become_nobody(), 0);
	attack_attach(a);
	pool.flags = 0;
	pool.name = (char *)(uintptr_t)"closed";
	attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &pool, -EACCES);
	pool.flags = MMB_POOL_CREATE;
	attack_refused(&a->r, MMB_METHOD_POOL_OPEN, &pool, -EACCES);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "open", 0), 0);
	request = region_request(a, "private");
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &request, -EACCES);
	request.flags = MMB_REGION_READONLY;
	attack_refused(&a->r, MMB_METHOD_REGION_OPEN, &request, -EACCES);
	unlinked.pool = a->r.pool;
	unlinked.name = (char *)(uintptr_t)"private";
	attack_refused(&a->r, MMB_METHOD_REGION_UNLINK, &unlinked, -EACCES);
	maps.session = owner.r.session;
	attack_refused(&a->r, MMB_METHOD_MAPS, &maps, ANY_CODE);
	unlinked.pool = owner.r.pool;
	CLIENT_EXPECT_EQ(raw_call(&owner.r, MMB_METHOD_REGION_UNLINK, &unlinked), 0);
}

static void somebody_elses_things(void)
{
	if (getuid())
		SKIP("two users are needed, and becoming another one needs root");
	somebody_elses();
}

/* ---- reading verbs ---- */

ATTACK(cursors_and_offsets)
{
	static const uint64_t  numbers[] = { 1, 1ull << 31, ~0u, 1ull << 63, ~0ull };
	Mmb__Wire__ListRequest list = MMB__WIRE__LIST_REQUEST__INIT;
	Mmb__Wire__TextRequest text = MMB__WIRE__TEXT_REQUEST__INIT;

	attack_greet(a);
	for (size_t i = 0; i < COUNT(numbers); i++) {
		list.after = numbers[i];
		text.offset = numbers[i];
		for (uint32_t m = MMB_METHOD_POOLS; m <= MMB_METHOD_REGIONS; m++)
			CLIENT_EXPECT(!raw_call(&a->r, m, &list) ||
				      raw_refused(&a->r, a->r.reply.code));
		for (uint32_t m = MMB_METHOD_MEMINFO; m <= MMB_METHOD_VMSTAT; m++)
			CLIENT_EXPECT(!raw_call(&a->r, m, &text) ||
				      raw_refused(&a->r, a->r.reply.code));
	}
	text.offset = 0;
	for (size_t i = 0; i < COUNT(numbers); i++) {
		text.session = numbers[i] + 1000000;
		attack_refused(&a->r, MMB_METHOD_MAPS, &text, ANY_CODE);
	}
	text.pool = (char *)(uintptr_t)"no such pool";
	for (uint32_t m = MMB_METHOD_MEMINFO; m <= MMB_METHOD_VMSTAT; m++)
		attack_refused(&a->r, m, &text, ANY_CODE);
}

static const struct test_case cases[] = {
	{ "lengths that no region can have are refused", region_lengths },
	{ "lengths beyond the reserve are refused and charge nothing",
	  region_lengths_beyond_the_reserve },
	{ "lengths that no region of 2 MiB pages can have are refused", huge_region_lengths },
	{ "page sizes that don't exist are refused", page_sizes },
	{ "addresses where no region can be are refused", region_addresses },
	{ "a region over another one of the session is refused", region_over_another },
	{ "windows where none can be are refused and the old one stays", window_addresses },
	{ "ADVISE on ranges that aren't the region's is refused", advise_ranges },
	{ "LOCK of ranges that aren't the region's is refused", lock_ranges },
	{ "UNLOCK of ranges that aren't the region's is refused", unlock_ranges },
	{ "unlocking more than was locked confuses nothing", unlock_without_lock },
	{ "advice that doesn't exist is refused", advices },
	{ "region flags that don't exist are refused", region_flags },
	{ "pool flags that don't exist are refused", pool_flags },
	{ "contradictory pool limits are refused", contradictory_pool_limits },
	{ "pool limits at the edge hold", pool_limits_at_the_edge },
	{ "mode bits beyond permissions are refused", modes },
	{ "node policies and nodes that don't exist are refused", node_policies },
	{ "region names that aren't names are refused", region_names },
	{ "pool names that aren't names are refused", pool_names },
	{ "client names that aren't printable are refused", client_names },
	{ "a NUL within a name is refused", names_with_nul },
	{ "guessed region handles are refused", guessed_region_handles },
	{ "guessed pool handles are refused", guessed_pool_handles },
	{ "handles of closed regions are refused", stale_region_handles },
	{ "handles of closed pools are refused", stale_pool_handles },
	{ "another session's handles are refused", handles_of_another_session },
	{ "a pool's handle is no region's", handles_of_the_other_kind },
	{ "an existing region can't be opened as something else", existing_region_otherwise },
	{ "another user's pool, region and maps are refused", somebody_elses_things },
	{ "cursors, offsets and names of what isn't there are answered", cursors_and_offsets },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
