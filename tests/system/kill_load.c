/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_load - one kind of load a client, between touches of pages that are known
 *
 * Locking     none: each client is a process.
 */
#include "system/kill_load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/lib/clock.h"
#include "bench/lib/pattern.h"
#include "system/kill_scene.h"
#include "system/swap_scene.h"

enum { STAGE_RESERVE_MIB = 256, STAGE_SWAP_MIB = 512, STAGE_HUGE_PAGES = 32 };
enum { OPS_A_CALL = 300, DROPPED_PAGES = 16, REST_SECONDS = 60 };
enum { LOCKED_PAGES = 64, ADVISED_PAGES = 48, PAGEOUTS_ONE_IN = 2 };

/* ---- a region whose every page is known ---- */

struct load {
	struct actor *a;
	struct mmb_region *region;
	uint32_t *generation; /* by page; 0: reads zero */
	uint64_t pages, page_bytes, object, random;
	uint64_t first, step;   /* of the region's pages, those that are this client's */
	uint64_t locked, nr_locked; /* pages */
};

static char *page_at(const struct load *l, struct mmb_region *region, uint64_t page)
{
	return act_at(region) + (l->first + page * l->step) * l->page_bytes;
}

static void check_page(const struct load *l, struct mmb_region *region, uint64_t page,
		       uint32_t generation)
{
	ptrdiff_t wrong = pattern_check(page_at(l, region, page), PAGE,
					pattern_key(l->object, page), generation);

	if (wrong >= 0)
		printf("  client %u, page %llu of generation %u: wrong at byte %td\n", l->a->place,
		       (unsigned long long)page, generation, wrong);
	CLIENT_EXPECT(wrong < 0);
}

static void check_all(const struct load *l)
{
	for (uint64_t page = 0; page < l->pages; page++)
		check_page(l, l->region, page, l->generation[page]);
}

/* Of a 2 MiB page the first 4 KiB are looked at: the rest comes and goes with them. */
static void touch_one(struct load *l)
{
	uint64_t page = test_below(&l->random, l->pages), began = clock_ns();

	check_page(l, l->region, page, l->generation[page]);
	l->generation[page]++;
	pattern_fill(page_at(l, l->region, page), PAGE, pattern_key(l->object, page),
		     l->generation[page]);
	waited(l->a->place, "a touch", began);
}

static int advise(const struct load *l, uint64_t first, uint64_t nr, int advice)
{
	return mmb_region_advise(l->region, (l->first + first * l->step) * l->page_bytes,
				 nr * l->page_bytes, advice);
}

/* One at a time, where not all are this client's. */
static void drop_some(struct load *l, uint64_t nr)
{
	uint64_t first = test_below(&l->random, l->pages - nr + 1), began = clock_ns();

	CLIENT_EXPECT_EQ(advise(l, first, nr, MMB_ADVISE_DONTNEED), 0);
	memset(&l->generation[first], 0, nr * sizeof(l->generation[0]));
	waited(l->a->place, "DONTNEED", began);
}

/* ---- one kind of load each, between touches ---- */

static void make_and_close(struct load *l)
{
	uint64_t began = clock_ns();
	struct mmb_region *other = act_region(l->a, MIB, 0);

	CLIENT_EXPECT(is_zero(act_at(other), PAGE));
	memset(act_at(other), 0x5a, PAGE);
	mmb_region_close(other);
	waited(l->a->place, "a region made and closed", began);
	drop_some(l, DROPPED_PAGES);
}

static void drop_a_few(struct load *l)
{
	drop_some(l, DROPPED_PAGES);
}

static void drop_one(struct load *l)
{
	drop_some(l, 1);
}

/* A clone keeps what there was, while its origin goes on, and is written to itself. */
static void begin_clone(struct load *clone, const struct load *of)
{
	uint64_t began = clock_ns();
	int error = mmb_region_clone(of->region, NULL, &clone->region);

	if (error)
		printf("  clone: %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	waited(of->a->place, "a clone", began);
	clone->generation = malloc(of->pages * sizeof(clone->generation[0]));
	CLIENT_EXPECT(clone->generation);
	memcpy(clone->generation, of->generation, of->pages * sizeof(clone->generation[0]));
}

static void end_clone(struct load *clone)
{
	uint64_t began = clock_ns();

	mmb_region_close(clone->region);
	waited(clone->a->place, "closing a clone", began);
	free(clone->generation);
}

static void touch_both(struct load *one, struct load *other, int times)
{
	for (int i = 0; i < times; i++) {
		touch_one(one);
		touch_one(other);
	}
}

/* What is written beyond the snapshot is forgotten. */
static void roll_back(struct load *l, const struct load *to)
{
	uint64_t began = clock_ns();
	int error = mmb_region_rollback(l->region, to->region);

	if (error)
		printf("  rollback: %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	memcpy(l->generation, to->generation, l->pages * sizeof(l->generation[0]));
	waited(l->a->place, "a rollback", began);
}

static void clone_and_compare(struct load *l)
{
	struct load clone = *l, snapshot = *l;

	begin_clone(&clone, l);
	touch_both(l, &clone, 40);
	begin_clone(&snapshot, &clone);
	touch_both(l, &clone, 40);
	if (test_below(&l->random, 2))
		roll_back(&clone, &snapshot);
	check_all(&clone);
	end_clone(&clone);
	touch_both(l, &snapshot, 40);
	check_all(&snapshot);
	end_clone(&snapshot);
}

static void drop_or_clone(struct load *l)
{
	if (test_below(&l->random, 2))
		clone_and_compare(l);
	else
		drop_one(l);
}

static void use_arena(struct load *l)
{
	enum { ORDER = 3, NR = 20, BYTES = 3000 };
	uint64_t began = clock_ns();
	char *run = mmb_alloc_pages(l->a->pool, ORDER, MMB_GFP_ZERO), *objects[NR];

	if (!run)
		printf("  run: %s\n", mmb_error());
	CLIENT_EXPECT(run && is_zero(run, PAGE << ORDER));
	stamp(run, PAGE << ORDER, began);
	waited(l->a->place, "a page run", began);
	for (uint64_t i = 0; i < NR; i++) {
		uint64_t at = clock_ns();

		objects[i] = mmb_malloc(l->a->pool, BYTES * (i + 1));
		CLIENT_EXPECT(objects[i]);
		stamp(objects[i], BYTES * (i + 1) & ~7ull, began + i);
		waited(l->a->place, "mmb_malloc", at);
	}
	for (uint64_t i = 0; i < NR; i++) {
		CLIENT_EXPECT(is_stamped(objects[i], BYTES * (i + 1) & ~7ull, began + i));
		mmb_free(objects[i]);
	}
	CLIENT_EXPECT(is_stamped(run, PAGE << ORDER, began));
	began = clock_ns();
	mmb_free_pages(l->a->pool, run, ORDER);
	mmb_trim(l->a->pool);
	waited(l->a->place, "giving back", began);
}

/* What is locked stays so while daemons die, and reads as before; nobody drops it. */
static void lock_or_unlock(struct load *l)
{
	struct mmb_region_stat stat = { .size = sizeof(stat) };
	uint64_t began = clock_ns();

	if (l->nr_locked) {
		CLIENT_EXPECT_EQ(advise(l, l->locked, l->nr_locked, MMB_ADVISE_DONTNEED), -EBUSY);
		CLIENT_EXPECT_EQ(mmb_region_unlock(l->region, l->locked * l->page_bytes,
						   l->nr_locked * l->page_bytes), 0);
		l->nr_locked = 0;
	} else {
		l->locked = test_below(&l->random, l->pages - LOCKED_PAGES + 1);
		l->nr_locked = LOCKED_PAGES;
		CLIENT_EXPECT_EQ(mmb_region_lock(l->region, l->locked * l->page_bytes,
						 l->nr_locked * l->page_bytes), 0);
	}
	waited(l->a->place, "a lock", began);
	for (uint64_t page = 0; page < LOCKED_PAGES; page++)
		check_page(l, l->region, l->locked + page, l->generation[l->locked + page]);
	CLIENT_EXPECT_EQ(mmb_region_stat(l->region, &stat), 0);
	CLIENT_EXPECT_EQ(stat.locked, l->nr_locked * l->page_bytes);
}

/* So much at once that two threads of the daemon do it (space/pageout.c). */
static void page_out(const struct load *l)
{
	uint64_t began = clock_ns();

	CLIENT_EXPECT_EQ(advise(l, 0, l->pages, MMB_ADVISE_PAGEOUT), 0);
	waited(l->a->place, "PAGEOUT", began);
}

/* Advice splits and joins windows; none of it changes a byte. */
static void lock_and_advise(struct load *l)
{
	static const int kinds_of_advice[] = { MMB_ADVISE_SEQUENTIAL, MMB_ADVISE_RANDOM,
					       MMB_ADVISE_WILLNEED, MMB_ADVISE_COLD,
					       MMB_ADVISE_PAGEOUT, MMB_ADVISE_NORMAL };

	lock_or_unlock(l);
	if (!test_below(&l->random, PAGEOUTS_ONE_IN))
		page_out(l);
	for (size_t i = 0; i < sizeof(kinds_of_advice) / sizeof(kinds_of_advice[0]); i++) {
		uint64_t first = test_below(&l->random, l->pages - ADVISED_PAGES + 1);
		uint64_t began = clock_ns();

		CLIENT_EXPECT_EQ(advise(l, first, ADVISED_PAGES, kinds_of_advice[i]), 0);
		waited(l->a->place, "advice", began);
		for (uint64_t page = first; page < first + ADVISED_PAGES; page++)
			check_page(l, l->region, page, l->generation[page]);
	}
}

/* The other client of the region writes its own pages meanwhile, and clones it as well. */
static void clone_shared(struct load *l)
{
	struct load clone = *l;

	begin_clone(&clone, l);
	touch_both(l, &clone, 40);
	check_all(&clone);
	end_clone(&clone);
	drop_some(l, 1);
}

enum { TYPED_BYTES = 712, TYPED = 40, KEPT = 12, GROWN_BYTES = 3 * MIB };

static void use_mempool(struct mmb_cache *cache)
{
	struct mmb_mempool *mempool;
	void *objects[KEPT];

	CLIENT_EXPECT_EQ(mmb_mempool_open(cache, KEPT, &mempool), 0);
	for (uint64_t i = 0; i < KEPT; i++) {
		objects[i] = mmb_mempool_alloc(mempool);
		CLIENT_EXPECT(objects[i]);
		stamp(objects[i], TYPED_BYTES, i);
	}
	for (uint64_t i = 0; i < KEPT; i++) {
		CLIENT_EXPECT(is_stamped(objects[i], TYPED_BYTES, i));
		mmb_mempool_free(mempool, objects[i]);
	}
	mmb_mempool_close(mempool);
}

static void grow_object(const struct load *l)
{
	size_t bytes = PAGE;
	char *object = mmb_malloc(l->a->pool, bytes);

	CLIENT_EXPECT(object);
	stamp(object, PAGE, bytes);
	for (bytes = 2 * PAGE; object && bytes <= GROWN_BYTES; bytes *= 4) {
		object = mmb_realloc(l->a->pool, object, bytes);
		CLIENT_EXPECT(object && is_stamped(object, PAGE, PAGE));
		object[bytes - 1] = 1;
	}
	mmb_free(object);
}

/* The cache is found again by its name, with the objects that were taken from it before. */
static void use_typed(struct load *l)
{
	static void *kept[TYPED];
	uint64_t began = clock_ns(), at;
	struct mmb_cache *cache;
	char name[32];

	snprintf(name, sizeof(name), "typed-%u", l->a->place);
	CLIENT_EXPECT_EQ(mmb_cache_open(l->a->pool, name, TYPED_BYTES, 0, 0, &cache), 0);
	waited(l->a->place, "opening a cache", began);
	for (uint64_t i = 0; i < TYPED && kept[0]; i++)
		CLIENT_EXPECT(is_stamped(kept[i], TYPED_BYTES, i));
	if (kept[0])
		mmb_cache_free_bulk(cache, TYPED, kept);
	at = clock_ns();
	CLIENT_EXPECT_EQ(mmb_cache_alloc_bulk(cache, TYPED, kept), 0);
	waited(l->a->place, "objects of a cache", at);
	for (uint64_t i = 0; i < TYPED; i++)
		stamp(kept[i], TYPED_BYTES, i);
	use_mempool(cache);
	mmb_cache_close(cache);
	grow_object(l);
	mmb_trim(l->a->pool);
}

enum { COMMON = 1 };

static const struct kind {
	const char *name;
	void (*call)(struct load *l);
	uint64_t max, swap_max; /* MiB, of the pool */
	unsigned int pool_flags;
	unsigned int common;
	unsigned int mib;
	uint32_t page_bytes;
	uint32_t node_policy;
	unsigned int shares; /* so many clients have the same region, and this is one of them: */
	unsigned int share;
} kinds[KILL_CLIENTS] = {
	{ "plain", make_and_close, .mib = 16 },
	{ "limited", drop_a_few, .max = 6, .swap_max = 64, .mib = 20 },
	{ "limited too", make_and_close, .max = 8, .swap_max = 64, .mib = 16 },
	{ "cloned", clone_and_compare, .mib = 4 },
	{ "huge", drop_or_clone, .mib = 16, .page_bytes = HUGE_PAGE },
	{ "arena", use_arena, .mib = 4 },
	{ "interleaved", use_arena, .common = COMMON, .mib = 8,
	  .node_policy = MMB_NODE_INTERLEAVE },
	{ "overcommitted", make_and_close, .pool_flags = MMB_POOL_OVERCOMMIT, .mib = 12 },
	{ "locked", lock_and_advise, .mib = 6 },
	{ "typed", use_typed, .common = COMMON, .mib = 2 },
	{ "shared", clone_shared, .common = COMMON, .mib = 4, .shares = 2, .share = 0 },
	{ "shared too", clone_shared, .common = COMMON, .mib = 4, .shares = 2, .share = 1 },
};

static void open_pool(struct actor *a, const struct kind *kind)
{
	struct mmb_pool_options options = { .size = sizeof(options), .max = kind->max * MIB,
					    .swap_max = kind->swap_max * MIB };
	int error;

	if (kind->common) {
		act_common_pool(a);
		return;
	}
	error = mmb_pool_open(a->mmb, NULL, MMB_POOL_CREATE | MMB_POOL_PRIVATE | kind->pool_flags,
			      &options, &a->pool);
	if (error)
		printf("  pool: %s\n", mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
}

static void begin_load(struct load *l, const struct kind *kind)
{
	struct mmb_region_options options = { .size = sizeof(options),
					      .page_size = kind->page_bytes,
					      .node_policy = kind->node_policy };
	int error;

	act_open(l->a);
	open_pool(l->a, kind);
	l->page_bytes = kind->page_bytes ? kind->page_bytes : PAGE;
	l->step = kind->shares ? kind->shares : 1;
	l->first = kind->share;
	l->pages = (uint64_t)kind->mib * MIB / l->page_bytes / l->step;
	l->object = l->a->place + 1;
	error = kind->shares ? mmb_region_open(l->a->pool, "shared", (size_t)kind->mib * MIB,
					       MMB_REGION_CREATE, &options, &l->region)
			     : mmb_region_create(l->a->pool, (size_t)kind->mib * MIB, &options,
						 &l->region);
	if (error)
		printf("  %s: %s\n", kind->name, mmb_error());
	CLIENT_EXPECT_EQ(error, 0);
	l->generation = calloc(l->pages, sizeof(l->generation[0]));
	CLIENT_EXPECT(l->generation);
	atomic_fetch_add(&board->number[LOADS_BEGUN], 1);
}

/* ---- rests ---- */

static bool all_rest(void *unused)
{
	return stage_failed() || atomic_load(&board->number[LOADS_RESTING]) >= KILL_CLIENTS;
}

bool loads_rest(void)
{
	atomic_store(&board->number[LOADS_TO_REST], 1);
	return test_wait(all_rest, NULL, REST_SECONDS) && !stage_failed();
}

void loads_go_on(void)
{
	atomic_store(&board->number[LOADS_TO_REST], 0);
}

static void rest_if_asked(void)
{
	if (!atomic_load(&board->number[LOADS_TO_REST]))
		return;
	atomic_fetch_add(&board->number[LOADS_RESTING], 1);
	while (atomic_load(&board->number[LOADS_TO_REST]))
		rest_us(200);
	atomic_fetch_sub(&board->number[LOADS_RESTING], 1);
}

struct fixture *loads_stage(void)
{
	static const char *const huge[] = { "--supervise", "--memory.reserve_huge=64M", NULL };
	static const char *const without[] = { "--supervise", NULL };
	struct fixture *f;

	setenv("HWLOC_SYNTHETIC", "node:2 pu:1", 1);
	swap_scene_set(STAGE_RESERVE_MIB, STAGE_SWAP_MIB,
		       hugepages_get(STAGE_HUGE_PAGES) ? huge : without);
	f = stage_begin();
	waits_begin();
	return f;
}

/* It ends by the touch after it. */
static void say_why(int number, siginfo_t *info, void *unused)
{
	struct mmb_fault_info why = { .size = sizeof(why) };
	int r = mmb_fault_info(info->si_addr, &why);

	dprintf(STDOUT_FILENO, "  SIGBUS at %p, %s: %s\n", info->si_addr, r ? "?" : why.region,
		r ? "without a cause" : why.cause);
	signal(number, SIG_DFL);
}

void verify_under_kills(struct actor *a)
{
	struct sigaction told = { .sa_sigaction = say_why, .sa_flags = SA_SIGINFO };
	const struct kind *kind = &kinds[a->place];
	struct load l = { .a = a, .random = test_seed() + a->place };
	uint64_t ops = 0;

	sigaction(SIGBUS, &told, NULL);
	begin_load(&l, kind);
	while (atomic_load(&board->reached) < STEP_OVER) {
		touch_one(&l);
		if (++ops % OPS_A_CALL == 0)
			kind->call(&l);
		rest_if_asked();
	}
	check_all(&l);
	if (kind->shares && !kind->share)
		mmb_region_unlink(l.a->pool, "shared");
	mmb_region_close(l.region);
	free(l.generation);
}
