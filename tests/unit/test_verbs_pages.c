/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_verbs_pages - page runs: taken, listed on a handle, given back by whoever took them
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/inject.h"
#include "lib/client_fixture.h"
#include "lib/fake_os.h"
#include "lib/test.h"
#include "mmbroker.h"
#include "proto/methods.h"

enum { UID = 1000, MIB = 1 << 20, ROUNDS = 400 };

static struct session *a, *b;
static uint32_t pool_a, pool_b; /* the same pool */
static struct client_counts before;
static uint64_t runs[MMB_PAGES_BATCH];

static void begin_with(const struct client_options *options)
{
	client_begin(options);
	client_count(&before);
	client_share_pool(UID, &a, &pool_a, &b, &pool_b);
}

static void begin(void)
{
	begin_with(NULL);
}

static int take(struct session *s, uint32_t pool, uint32_t order, uint32_t nr, uint64_t *out)
{
	struct pages_args args = { .pool = pool, .order = order, .nr = nr, .addresses = out };
	uint32_t got = 0;
	int r = verb_pages_alloc(s, &args, &got, &client_why);

	return r ? r : (int)got;
}

static int give(struct session *s, uint32_t pool, uint32_t order, uint32_t nr, uint64_t *runs_given)
{
	struct pages_args args = {
		.pool = pool, .order = order, .nr = nr, .addresses = runs_given
	};

	return verb_pages_free(s, &args, &client_why);
}

static int give_one(struct session *s, uint32_t pool, uint32_t order, uint64_t address)
{
	return give(s, pool, order, 1, &address);
}

static uint64_t arena_bytes(void)
{
	struct pool_stat stat;

	EXPECT_EQ(verb_pool_stat(a, pool_a, &stat, &client_why), 0);
	return stat.arena;
}

/* ---- granting ---- */

static void runs_are_aligned_and_apart(void)
{
	struct arena_opened arena;
	uint64_t address[NR_ORDERS];

	begin();
	for (uint32_t order = 0; order < NR_ORDERS; order++)
		EXPECT_EQ(take(order % 2 ? a : b, order % 2 ? pool_a : pool_b, order, 1,
			       &address[order]),
			  1);
	EXPECT_EQ(verb_arena_open(a, pool_a, 0, &arena, &client_why), 0);
	os->close(arena.windows[0].fd);
	for (uint32_t order = 0; order < NR_ORDERS; order++) {
		uint64_t bytes = (uint64_t)PAGE_SIZE << order;

		EXPECT(is_aligned(address[order], bytes));
		EXPECT(address[order] >= arena.windows[0].address &&
		       address[order] + bytes <=
			       arena.windows[0].address + arena.windows[0].length);
		for (uint32_t other = 0; other < order; other++)
			EXPECT(address[order] + bytes <= address[other] ||
			       address[other] + ((uint64_t)PAGE_SIZE << other) <= address[order]);
	}
	for (uint32_t order = 0; order < NR_ORDERS; order++)
		EXPECT_EQ(give_one(order % 2 ? a : b, order % 2 ? pool_a : pool_b, order,
				   address[order]),
			  0);
	client_end_two(a, b, &before);
}

static void a_batch_gives_what_there_is(void)
{
	int nr;

	begin();
	nr = take(a, pool_a, PAGEBLOCK_ORDER, MMB_PAGES_BATCH, runs);
	EXPECT(nr > 10 && nr < 32); /* of 64 MiB */
	EXPECT_EQ(take(b, pool_b, PAGEBLOCK_ORDER, 1, &runs[nr]), -ENOMEM);
	EXPECT(client_why.text[0]);
	/* The zone keeps a little for those who can't wait. */
	EXPECT(arena_bytes() >= (uint64_t)nr * PAGEBLOCK_SIZE);
	EXPECT(arena_bytes() <= (uint64_t)(nr + 1) * PAGEBLOCK_SIZE);
	EXPECT_EQ(give(a, pool_a, PAGEBLOCK_ORDER, (uint32_t)nr, runs), 0);
	client_end_two(a, b, &before);
}

static void a_pool_s_max_holds_for_runs(void)
{
	struct pool_open_args args = { .name = "small", .flags = MMB_POOL_CREATE,
				       .limits = { .max = 4 * MIB } };
	struct pool_stat stat;
	uint32_t small;

	begin();
	EXPECT_EQ(client_open_pool(a, &args, &small), 0);
	EXPECT_EQ(take(a, small, PAGEBLOCK_ORDER, 1, runs), 1);
	EXPECT_EQ(take(a, small, PAGEBLOCK_ORDER, 1, runs), 1);
	EXPECT_REFUSED(take(a, small, PAGEBLOCK_ORDER, 1, runs), -ENOMEM, "pool");
	EXPECT_EQ(verb_pool_stat(a, small, &stat, &client_why), 0);
	EXPECT_EQ(stat.committed, 4 * MIB);
	EXPECT(stat.refused > 0);
	EXPECT_EQ(take(a, pool_a, PAGEBLOCK_ORDER, 1, runs), 1); /* others have theirs */
	client_end_two(a, b, &before);
}

static void bound_pools_take_from_their_nodes(void)
{
	struct pool_open_args args = { .name = "bound",
				       .flags = MMB_POOL_CREATE,
				       .nodes = { MMB_NODE_BIND, 2 } };
	uint64_t here, there;
	uint32_t bound;

	begin_with(&(struct client_options){ .space.nr_nodes = 2 });
	EXPECT_EQ(client_open_pool(a, &args, &bound), 0);
	EXPECT_EQ(take(a, bound, 0, 1, runs), 1); /* the arena is set up */
	here = space_present(0, STOCK_BASE);
	there = space_present(1, STOCK_BASE);
	EXPECT_EQ(take(a, bound, PAGEBLOCK_ORDER, 8, runs), 8);
	EXPECT(space_present(1, STOCK_BASE) >= there + 7 * PAGEBLOCK_PAGES);
	EXPECT(space_present(0, STOCK_BASE) < here + PAGEBLOCK_PAGES);
	client_end_two(a, b, &before);
}

static void wrong_requests_are_refused_in_words(void)
{
	static const struct {
		uint32_t order, gfp, nr;
		const char *words;
	} table[] = {
		{ MAX_ORDER + 1, 0, 1, "too large" },
		{ UINT32_MAX, 0, 1, "too large" },
		{ 0, 0, 0, "1 to 512" },
		{ 0, 0, MMB_PAGES_BATCH + 1, "1 to 512" },
		{ 0, 512, 1, "unknown bits" },
		{ 0, UINT32_MAX, 1, "unknown bits" },
		{ 0, MMB_GFP_NOFAIL | MMB_GFP_NORETRY, 1, "" },
	};
	struct pages_args args = { .addresses = runs };
	uint32_t got = 5;

	begin();
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		args = (struct pages_args){ .pool = pool_a,
					    .order = table[i].order,
					    .gfp = table[i].gfp,
					    .nr = table[i].nr,
					    .addresses = runs };
		EXPECT_REFUSED(verb_pages_alloc(a, &args, &got, &client_why), -EINVAL,
			       table[i].words);
		EXPECT_EQ(got, 0);
	}
	args = (struct pages_args){ .pool = pool_b + 1, .nr = 1, .addresses = runs };
	EXPECT_REFUSED(verb_pages_alloc(a, &args, &got, &client_why), -EBADF, "handle");
	EXPECT_REFUSED(verb_pages_free(a, &args, &client_why), -EBADF, "handle");
	client_end_two(a, b, &before);
}

/* The allocator may get over a failure by another way; then the run must be good. */
static void a_grant_that_fails_leaves_nothing(void)
{
	static const enum inject_point points[] = { INJECT_ALLOC_PAGES, INJECT_ZONE_GROW,
						    INJECT_POPULATE, INJECT_COMMIT };
	unsigned int nr_failed = 0;

	begin();
	EXPECT_EQ(take(a, pool_a, 0, 1, runs), 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++) {
		struct client_counts here;
		int r;

		client_count(&here);
		inject_arm(points[i], 1, -ENOMEM);
		r = take(a, pool_a, MAX_ORDER, 1, &runs[1]);
		inject_arm(NR_INJECT_POINTS, 0, 0);
		if (r == 1) {
			EXPECT_EQ(give_one(a, pool_a, MAX_ORDER, runs[1]), 0);
			continue;
		}
		EXPECT_EQ(r, -ENOMEM);
		client_expect_counts(&here);
		nr_failed++;
	}
	EXPECT(nr_failed > 0);
	client_end_two(a, b, &before);
}

/* ---- giving back ---- */

static void only_the_taker_frees(void)
{
	begin();
	EXPECT_EQ(take(a, pool_a, 2, 1, runs), 1);
	EXPECT_REFUSED(give_one(b, pool_b, 2, runs[0]), -EINVAL, "freeing");
	EXPECT_EQ(give_one(a, pool_a, 2, runs[0]), 0);
	EXPECT_REFUSED(give_one(a, pool_a, 2, runs[0]), -EINVAL, "freeing");
	client_end_two(a, b, &before);
}

static void wrong_orders_and_addresses_free_nothing(void)
{
	uint64_t wrong[8];
	uint32_t nr = 0;

	begin();
	EXPECT_EQ(take(a, pool_a, 3, 2, runs), 2);
	EXPECT_REFUSED(give_one(a, pool_a, 2, runs[0]), -EINVAL, "order 2");
	EXPECT_REFUSED(give_one(a, pool_a, 4, runs[0]), -EINVAL, "order 4");
	wrong[nr++] = runs[0] + PAGE_SIZE;
	wrong[nr++] = runs[0] + 1;
	wrong[nr++] = runs[0] - 64 * MIB;
	wrong[nr++] = runs[0] + (1ull << 40);
	wrong[nr++] = 0;
	wrong[nr++] = UINT64_MAX;
	wrong[nr++] = UINT64_MAX & ~4095ull;
	for (uint32_t i = 0; i < nr; i++)
		EXPECT_REFUSED(give_one(a, pool_a, 3, wrong[i]), -EINVAL, "freeing");
	EXPECT_EQ(give(a, pool_a, 3, 2, runs), 0);
	client_end_two(a, b, &before);
}

static void a_batch_is_freed_whole_or_not_at_all(void)
{
	uint64_t batch[4];

	begin();
	EXPECT_EQ(take(a, pool_a, 0, 3, runs), 3);
	memcpy(batch, runs, sizeof(batch));
	batch[3] = runs[0]; /* twice in one request */
	EXPECT_REFUSED(give(a, pool_a, 0, 4, batch), -EINVAL, "freeing");
	batch[3] = runs[2] + (uint64_t)MIB * 1024 * 1024;
	EXPECT_REFUSED(give(a, pool_a, 0, 4, batch), -EINVAL, "freeing");
	EXPECT_EQ(give(a, pool_a, 0, 3, runs), 0);
	client_end_two(a, b, &before);
}

static void runs_belong_to_the_session_not_the_handle(void)
{
	uint32_t twice;

	begin();
	twice = client_pool(a, "p", 0);
	EXPECT_EQ(take(a, pool_a, 1, 2, runs), 2);
	EXPECT_EQ(take(a, twice, 1, 2, &runs[2]), 2);
	EXPECT_EQ(give_one(a, twice, 1, runs[0]), 0);
	EXPECT_EQ(verb_pool_close(a, pool_a, &client_why), 0);
	EXPECT_EQ(give_one(a, twice, 1, runs[1]), 0); /* it is still there */
	EXPECT_EQ(give_one(a, twice, 1, runs[3]), 0);
	EXPECT_EQ(verb_pool_close(a, twice, &client_why), 0);
	pool_a = client_pool(a, "p", 0);
	EXPECT_REFUSED(give_one(a, pool_a, 1, runs[2]), -EINVAL, "freeing"); /* it went */
	client_end_two(a, b, &before);
}

static void runs_of_another_pool_are_foreign(void)
{
	uint32_t other;

	begin();
	other = client_pool(a, "other", MMB_POOL_CREATE);
	EXPECT_EQ(take(a, other, 0, 1, runs), 1);
	EXPECT_EQ(take(a, pool_a, 0, 1, &runs[1]), 1);
	EXPECT(runs[0] != runs[1]);
	EXPECT_REFUSED(give_one(a, pool_a, 0, runs[0]), -EINVAL, "freeing");
	EXPECT_EQ(give_one(a, other, 0, runs[0]), 0);
	EXPECT_EQ(give_one(a, pool_a, 0, runs[1]), 0);
	client_end_two(a, b, &before);
}

static bool only_b_has_the_pool(void *unused)
{
	struct pool_stat stat;

	return !verb_pool_stat(b, pool_b, &stat, &client_why) && stat.sessions == 1;
}

static void a_session_s_runs_go_with_it(void)
{
	uint64_t of_b;

	begin();
	EXPECT_EQ(take(a, pool_a, 0, 300, runs), 300);
	EXPECT_EQ(take(b, pool_b, 0, 1, &of_b), 1);
	client_leave(a);
	EXPECT(test_wait(only_b_has_the_pool, NULL, 20));
	a = client_session(UID);
	pool_a = client_pool(a, "p", 0);
	EXPECT_REFUSED(give_one(a, pool_a, 0, runs[0]), -EINVAL, "freeing");
	EXPECT_EQ(give_one(b, pool_b, 0, of_b), 0);
	client_end_two(a, b, &before);
}

/* ---- several threads ---- */

struct worker {
	pthread_t thread;
	struct session *s;
	uint32_t pool;
	uint64_t random;
};

static void *take_and_give(void *arg)
{
	struct worker *w = arg;
	uint64_t mine[8];

	for (int i = 0; i < ROUNDS; i++) {
		uint32_t order = (uint32_t)test_below(&w->random, 5);
		struct pages_args args = {
			.pool = w->pool, .order = order, .nr = 8, .addresses = mine
		};
		struct refusal why = { "" };
		uint32_t got = 0;
		int r = verb_pages_alloc(w->s, &args, &got, &why);

		if (r)
			break; /* the session has ended */
		args.nr = got;
		if (test_below(&w->random, 4))
			verb_pages_free(w->s, &args, &why);
	}
	return NULL;
}

static void sessions_end_while_they_take(void)
{
	struct worker workers[4];

	begin();
	EXPECT_EQ(take(a, pool_a, 0, 1, runs), 1);
	for (uint64_t i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i] = (struct worker){ .s = i % 2 ? a : b,
					      .pool = i % 2 ? pool_a : pool_b,
					      .random = test_seed() + i };
		session_get(workers[i].s);
		EXPECT_EQ(pthread_create(&workers[i].thread, NULL, take_and_give, &workers[i]), 0);
	}
	client_leave(a);
	a = client_session(UID);
	pool_a = client_pool(a, "p", 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		session_put(workers[i].s);
	}
	client_end_two(a, b, &before);
}

static const struct test_case cases[] = {
	{ "runs are aligned, apart, and inside the arena's window", runs_are_aligned_and_apart },
	{ "a batch gives what there is", a_batch_gives_what_there_is },
	{ "a pool's max holds for runs", a_pool_s_max_holds_for_runs },
	{ "bound pools take from their nodes", bound_pools_take_from_their_nodes },
	{ "wrong requests are refused in words", wrong_requests_are_refused_in_words },
	{ "a grant that fails leaves nothing", a_grant_that_fails_leaves_nothing },
	{ "only the session that took a run frees it, and once", only_the_taker_frees },
	{ "wrong orders and addresses free nothing", wrong_orders_and_addresses_free_nothing },
	{ "a batch is freed whole or not at all", a_batch_is_freed_whole_or_not_at_all },
	{ "runs belong to the session, whichever of its handles took them",
	  runs_belong_to_the_session_not_the_handle },
	{ "runs of another pool are foreign", runs_of_another_pool_are_foreign },
	{ "a session's runs go with it", a_session_s_runs_go_with_it },
	{ "sessions may end while they take and give", sessions_end_while_they_take },
};
TEST_MAIN(cases)
