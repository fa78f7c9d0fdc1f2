/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile_pages - page runs freed twice, freed wrongly, asked for without measure
 *
 * Purpose     PAGES_ALLOC, PAGES_FREE and the arena's windows misused; the buddy notices each.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system/hostile.h"

const char *const hostile_flags[] = { NULL };

enum { RUNS = 16 };

static void free_refused(struct attack *a, uint32_t order, uint64_t *addresses, uint32_t nr)
{
	Mmb__Wire__PagesFreeRequest request = MMB__WIRE__PAGES_FREE_REQUEST__INIT;

	request.pool = a->r.pool;
	request.order = order;
	request.addresses = addresses;
	request.n_addresses = nr;
	attack_refused(&a->r, MMB_METHOD_PAGES_FREE, &request, -EINVAL);
}

static void alloc_refused(struct attack *a, uint32_t order, uint32_t gfp, uint32_t count, int code)
{
	Mmb__Wire__PagesAllocRequest request = MMB__WIRE__PAGES_ALLOC_REQUEST__INIT;

	request.pool = a->r.pool;
	request.order = order;
	request.gfp = gfp;
	request.count = count;
	attack_refused(&a->r, MMB_METHOD_PAGES_ALLOC, &request, code);
}

/* A pool with an arena and RUNS runs of this order. */
static void with_runs(struct attack *a, uint32_t order, uint64_t *runs)
{
	if (a->r.sock < 0)
		attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, NULL), 0);
	CLIENT_EXPECT_EQ(raw_pages(&a->r, order, 0, RUNS, runs), RUNS);
}

ATTACK(double_free)
{
	uint64_t runs[RUNS];

	for (uint32_t order = 0; order <= 4; order += 2) {
		with_runs(a, order, runs);
		CLIENT_EXPECT_EQ(raw_pages_free(&a->r, order, runs, 1), 0);
		free_refused(a, order, runs, 1);
		CLIENT_EXPECT_EQ(raw_pages_free(&a->r, order, &runs[1], RUNS - 1), 0);
		for (int i = 0; i < RUNS; i++)
			free_refused(a, order, &runs[i], 1);
	}
}

ATTACK(wrong_order)
{
	uint64_t runs[RUNS];

	with_runs(a, 3, runs);
	for (uint32_t order = 0; order <= MMB_ORDER_MAX; order++)
		if (order != 3)
			free_refused(a, order, runs, 1);
	free_refused(a, MMB_ORDER_MAX + 1, runs, 1);
	free_refused(a, 31, runs, 1);
	free_refused(a, 32, runs, 1);
	free_refused(a, 64, runs, 1);
	free_refused(a, ~0u, runs, 1);
	CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 3, runs, RUNS), 0);
}

ATTACK(interior_free)
{
	uint64_t runs[RUNS];

	with_runs(a, 3, runs);
	for (uint64_t page = 1; page < 8; page++) {
		uint64_t inside = runs[0] + page * PAGE;

		free_refused(a, 0, &inside, 1);
		free_refused(a, 3, &inside, 1);
	}
}

ATTACK(foreign_addresses)
{
	static const uint64_t fixed[] = { 0, 1, PAGE, 1ull << 31, ~0u, 1ull << 47, 1ull << 63,
					  ~0ull, ~0ull - PAGE + 1, 0x108000000000ull };
	uint64_t              runs[RUNS], address;

	with_runs(a, 0, runs);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		address = fixed[i];
		free_refused(a, 0, &address, 1);
	}
	for (int i = 0; i < 64; i++) {
		address = runs[0] + (1ull << i);
		if (address % PAGE)
			free_refused(a, 0, &address, 1);
	}
	address = (uintptr_t)&address & ~(uint64_t)(PAGE - 1);
	free_refused(a, 0, &address, 1);
	address = runs[0] - (64ull << 20);
	free_refused(a, 0, &address, 1);
	address = runs[0] + (1ull << 40);
	free_refused(a, 0, &address, 1);
}

ATTACK(never_granted)
{
	uint64_t runs[RUNS], address, highest = 0;

	with_runs(a, 0, runs);
	for (int i = 0; i < RUNS; i++)
		highest = runs[i] > highest ? runs[i] : highest;
	for (uint64_t page = 1; page < 600; page++) {
		address = highest + page * PAGE;
		free_refused(a, 0, &address, 1);
	}
}

ATTACK(twice_in_one_request)
{
	uint64_t runs[RUNS], twice[3];

	with_runs(a, 1, runs);
	twice[0] = runs[0];
	twice[1] = runs[1];
	twice[2] = runs[0];
	free_refused(a, 1, twice, 3);
	/* None of them was freed. */
	pattern_fill((void *)(uintptr_t)runs[1], 2 * PAGE, 4);
	CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 1, runs, 2), 0);
}

ATTACK(one_wrong_of_many)
{
	uint64_t runs[RUNS], mixed[RUNS];

	with_runs(a, 0, runs);
	for (int wrong = 0; wrong < RUNS; wrong++) {
		memcpy(mixed, runs, sizeof(mixed));
		mixed[wrong] += 1ull << 39;
		free_refused(a, 0, mixed, RUNS);
	}
	for (int i = 0; i < RUNS; i++)
		CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 0, &runs[i], 1), 0);
}

/* Two sessions of one pool: each frees its own runs only. */
ATTACK(run_of_another_session)
{
	static struct attack second = { .seed = 1 };
	uint64_t             runs[RUNS];

	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, "shared", 0), 0);
	CLIENT_EXPECT_EQ(raw_pages(&a->r, 0, 0, RUNS, runs), RUNS);
	second.socket = a->socket;
	attack_attach(&second);
	CLIENT_EXPECT_EQ(raw_pool(&second.r, "shared", 0), 0);
	for (int i = 0; i < RUNS; i++)
		free_refused(&second, 0, &runs[i], 1);
	CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 0, runs, RUNS), 0);
}

/* One session with two pools: runs go back to their own. */
ATTACK(run_of_another_pool)
{
	uint64_t runs[RUNS];
	uint32_t first;

	attack_pool(a);
	first = a->r.pool;
	CLIENT_EXPECT_EQ(raw_pages(&a->r, 0, 0, RUNS, runs), RUNS);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 0), 0);
	free_refused(a, 0, runs, 1);
	a->r.pool = first;
	CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 0, runs, RUNS), 0);
}

static int close_pool(struct attack *a)
{
	Mmb__Wire__PoolRequest request = MMB__WIRE__POOL_REQUEST__INIT;

	request.pool = a->r.pool;
	return raw_call(&a->r, MMB_METHOD_POOL_CLOSE, &request);
}

ATTACK(pool_closed_with_runs_out)
{
	Mmb__Wire__PagesFreeRequest request = MMB__WIRE__PAGES_FREE_REQUEST__INIT;
	uint64_t                    runs[RUNS];

	with_runs(a, 2, runs);
	CLIENT_EXPECT_EQ(close_pool(a), 0);
	request.pool = a->r.pool;
	request.order = 2;
	request.addresses = runs;
	request.n_addresses = RUNS;
	attack_refused(&a->r, MMB_METHOD_PAGES_FREE, &request, -EBADF);
	CLIENT_EXPECT_EQ(close_pool(a), -EBADF);
	/* What the runs were is gone for this client too. */
	attack_serves(&a->r);
}

ATTACK(impossible_allocations)
{
	uint64_t runs[RUNS];

	with_runs(a, 0, runs);
	alloc_refused(a, MMB_ORDER_MAX + 1, 0, 1, -EINVAL);
	alloc_refused(a, 32, 0, 1, -EINVAL);
	alloc_refused(a, 64, 0, 1, -EINVAL);
	alloc_refused(a, ~0u, 0, 1, -EINVAL);
	alloc_refused(a, 0, 0, 0, -EINVAL);
	alloc_refused(a, 0, 0, MMB_PAGES_BATCH + 1, -EINVAL);
	alloc_refused(a, 0, 0, 1u << 31, -EINVAL);
	alloc_refused(a, 0, 0, ~0u, -EINVAL);
	for (int bit = 9; bit < 32; bit++)
		alloc_refused(a, 0, 1u << bit, 1, -EINVAL);
	alloc_refused(a, 0, ~0u, 1, -EINVAL);
}

/* All that a pool may have, with every kind of allocation, and then none. */
ATTACK(more_than_the_pool_may_have)
{
	static uint64_t       runs[MMB_PAGES_BATCH];
	static const uint32_t gfps[] = { 0, MMB_GFP_NOWAIT, MMB_GFP_NORETRY,
					 MMB_GFP_RETRY_MAYFAIL, MMB_GFP_ATOMIC,
					 MMB_GFP_NOWAIT | MMB_GFP_ZERO };
	uint64_t              got = 0;
	int                   r;

	attack_attach(a);
	CLIENT_EXPECT_EQ(raw_pool(&a->r, NULL, 8 * HUGE_PAGE), 0);
	while ((r = raw_pages(&a->r, 0, 0, MMB_PAGES_BATCH, runs)) > 0)
		got += (uint64_t)r;
	CLIENT_EXPECT(raw_refused(&a->r, -ENOMEM));
	CLIENT_EXPECT(got > 0 && got <= 8 * (HUGE_PAGE / PAGE));
	for (size_t i = 0; i < sizeof(gfps) / sizeof(gfps[0]); i++)
		alloc_refused(a, MMB_ORDER_MAX, gfps[i], 1, -ENOMEM);
}

ATTACK(more_than_the_broker_has)
{
	static uint64_t runs[MMB_PAGES_BATCH];
	int             r;

	attack_pool(a);
	while ((r = raw_pages(&a->r, 9, MMB_GFP_NORETRY, 64, runs)) > 0)
		continue;
	CLIENT_EXPECT(raw_refused(&a->r, -ENOMEM));
	while ((r = raw_pages(&a->r, 0, MMB_GFP_NORETRY, MMB_PAGES_BATCH, runs)) > 0)
		continue;
	CLIENT_EXPECT(raw_refused(&a->r, -ENOMEM));
	attack_serves(&a->r);
}

/* ---- the arena's windows ---- */

ATTACK(page_never_granted_touched)
{
	uint64_t                        runs[RUNS];
	const struct mmb_fault_record *record;
	char                           *at;

	with_runs(a, 0, runs);
	/* The arena spans more than what was granted; its last page is far from any grant. */
	at = (char *)(uintptr_t)((runs[0] & ~(uint64_t)(HUGE_PAGE - 1)) + 16 * HUGE_PAGE);
	CLIENT_EXPECT_EQ(raw_write_byte(at, 1), -EFAULT);
	record = raw_fault_record(&a->r, at);
	CLIENT_EXPECT(record && record->cause[0]);
	attack_serves(&a->r);
}

/* Everything reachable of the arena overwritten: its free pages too. The lists of the buddy aren't
 * there, and what is asked for zeroed is zero. */
ATTACK(scribbling_over_free_pages)
{
	uint64_t runs[RUNS], zeroed[RUNS];
	char    *block;

	with_runs(a, 0, runs);
	block = (char *)(uintptr_t)(runs[0] & ~(uint64_t)(HUGE_PAGE - 1));
	for (uint64_t page = 0; page < HUGE_PAGE / PAGE; page++)
		if (!raw_write_byte(block + page * PAGE, (char)0xee))
			memset(block + page * PAGE, 0xee, PAGE);
	CLIENT_EXPECT_EQ(raw_pages_free(&a->r, 0, runs, RUNS), 0);
	CLIENT_EXPECT_EQ(raw_pages(&a->r, 0, MMB_GFP_ZERO, RUNS, zeroed), RUNS);
	for (int i = 0; i < RUNS; i++) {
		const char *page = (const char *)(uintptr_t)zeroed[i];

		for (int at = 0; at < PAGE; at++)
			CLIENT_EXPECT(page[at] == 0);
	}
}

/* The arena's file punched by a client: frames that the daemon holds for granted are gone. */
ATTACK(arena_punched)
{
	uint64_t runs[RUNS], more[RUNS];
	char     value;
	int      fd, r;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, &fd), 0);
	CLIENT_EXPECT_EQ(raw_pages(&a->r, 0, 0, RUNS, runs), RUNS);
	for (int i = 0; i < RUNS; i++)
		CLIENT_EXPECT_EQ(raw_write_byte((char *)(uintptr_t)runs[i], 1), 0);
	CLIENT_EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 64ll << 20),
			 0);
	for (int i = 0; i < RUNS; i++)
		raw_read_byte((char *)(uintptr_t)runs[i], &value);
	r = raw_pages(&a->r, 0, MMB_GFP_ZERO, RUNS, more);
	CLIENT_EXPECT(r == RUNS || raw_refused(&a->r, r));
	r = raw_pages_free(&a->r, 0, runs, RUNS);
	CLIENT_EXPECT(r == 0 || raw_refused(&a->r, r));
	attack_serves(&a->r);
}

ATTACK(arena_resized)
{
	off_t end;
	int   fd;

	attack_pool(a);
	CLIENT_EXPECT_EQ(raw_arena(&a->r, &fd), 0);
	end = lseek(fd, 0, SEEK_END);
	CLIENT_EXPECT_EQ(ftruncate(fd, 0), -1);
	CLIENT_EXPECT_EQ(ftruncate(fd, end * 2), -1);
	CLIENT_EXPECT_EQ(lseek(fd, 0, SEEK_END), end);
}

ATTACK(arena_windows_beyond_the_end)
{
	static const uint32_t          firsts[] = { 1, 4, 64, 1u << 31, ~0u };
	Mmb__Wire__ArenaOpenRequest    request = MMB__WIRE__ARENA_OPEN_REQUEST__INIT;

	attack_pool(a);
	request.pool = a->r.pool;
	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		const Mmb__Wire__ArenaOpenReply *reply;

		request.first = firsts[i];
		CLIENT_EXPECT_EQ(raw_call(&a->r, MMB_METHOD_ARENA_OPEN, &request), 0);
		reply = a->r.body;
		CLIENT_EXPECT(reply->total >= 1);
		CLIENT_EXPECT_EQ(reply->n_windows, a->r.nr_fds);
	}
}

ATTACK(window_of_a_region_over_the_arena)
{
	Mmb__Wire__WindowRequest request = MMB__WIRE__WINDOW_REQUEST__INIT;
	struct raw_region        region;
	uint64_t                 runs[RUNS];
	int                      got;

	with_runs(a, 0, runs);
	region = attack_region(a, 4);
	request.region = region.handle;
	request.address = runs[0];
	/* Only its own address map is confused by that. */
	got = raw_call(&a->r, MMB_METHOD_WINDOW, &request);
	CLIENT_EXPECT(got == 0 || raw_refused(&a->r, got));
	raw_write_byte((char *)(uintptr_t)runs[0], 1);
	raw_write_byte(region.at, 1);
	attack_serves(&a->r);
}

static const struct test_case cases[] = {
	{ "a run freed twice is refused", double_free },
	{ "a run freed with the wrong order is refused", wrong_order },
	{ "a run freed from its middle is refused", interior_free },
	{ "freeing addresses that aren't the pool's is refused", foreign_addresses },
	{ "freeing pages that were never granted is refused", never_granted },
	{ "a run twice in one request is refused, and none is freed", twice_in_one_request },
	{ "one wrong address of many: none is freed", one_wrong_of_many },
	{ "another session's run can't be freed", run_of_another_session },
	{ "another pool's run can't be freed", run_of_another_pool },
	{ "a pool closed with runs out takes them back", pool_closed_with_runs_out },
	{ "impossible orders, counts and flags are refused", impossible_allocations },
	{ "more than the pool may have is refused and comes back", more_than_the_pool_may_have },
	{ "more than the broker has is refused and comes back", more_than_the_broker_has },
	{ "a touch of a page never granted is SIGBUS with a cause", page_never_granted_touched },
	{ "scribbling over free pages of the arena spoils no other's", scribbling_over_free_pages },
	{ "an arena punched by its client harms that pool alone", arena_punched },
	{ "an arena can't be resized", arena_resized },
	{ "arena windows beyond the last are none", arena_windows_beyond_the_end },
	{ "a region's window over the arena confuses that client alone",
	  window_of_a_region_over_the_arena },
	HOSTILE_STOPS,
};
TEST_MAIN(cases)
