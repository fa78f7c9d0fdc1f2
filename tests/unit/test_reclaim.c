/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_reclaim - more memory than there is: reclaim.c, pageout.c, lru.h, promise.c, slots.c
 */
#include "mm/space/reclaim.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/heartbeat.h"
#include "lib/fake_os.h"
#include "lib/phys_fixture.h"
#include "lib/space_fixture.h"
#include "lib/test.h"
#include "mm/map/swap.h"
#include "mm/space/evict.h"
#include "mm/space/fault.h"
#include "mm/space/residency.h"

enum { BASE = 0x10000000, STOCK_MIB = 16, NR = 4096, SWAP_MIB = 32 };

static const struct stock_place base = { .node = 0, .kind = STOCK_BASE };
static struct region *region;
static struct mm *mm;

static void begin(bool accept)
{
	space_begin(&(struct space_options){ .base_mib = STOCK_MIB, .swap_mib = SWAP_MIB });
	swapper_keep(true);
	swap_area_accept(0, accept);
}

static void end(void)
{
	EXPECT_EQ(stock_promised_beyond(), 0);
	space_end_swap();
}

static void start(void)
{
	begin(true);
	region = space_region(NR, PAGE_SHIFT);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	/* Nothing is left to threads that work ahead. */
	EXPECT_EQ(mm_set_advice(mm, 1, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
}

static void stop(void)
{
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	end();
}

static void touch(uint64_t page, uint32_t flags)
{
	uint64_t address = BASE + (page << PAGE_SHIFT);

	if (!fake_uffd_mapped(mm->uffd, address))
		space_fault(mm, address, flags | (space_state(region, page) == PAGE_PRESENT
							  ? OS_FAULT_MINOR
							  : 0));
	else if (flags && fake_uffd_protected(mm->uffd, address))
		space_fault(mm, address, flags | OS_FAULT_WP);
	EXPECT(fake_uffd_mapped(mm->uffd, address));
}

static uint64_t bytes[PAGE_SIZE / sizeof(uint64_t)];

static void put(uint64_t page)
{
	touch(page, OS_FAULT_WRITE);
	bytes[0] = page;
	bytes[1] = ~page;
	EXPECT_EQ(os->write(region->section->fd, page << PAGE_SHIFT, bytes, sizeof(bytes)), 0);
}

static bool may_be_written(uint64_t address)
{
	return fake_uffd_mapped(mm->uffd, address) && !fake_uffd_protected(mm->uffd, address);
}

static bool comes_again(void *page)
{
	uint64_t address = BASE + (*(uint64_t *)page << PAGE_SHIFT);
	bool parked = fault_retry_parked(UINT64_MAX);

	if (!may_be_written(address) && !parked)
		space_fault(mm, address, OS_FAULT_WRITE |
						 (fake_uffd_mapped(mm->uffd, address) ? OS_FAULT_WP
										      : 0));
	return may_be_written(address);
}

/* As put() while others evict: a fault may be put off, or may have to come again, and the page may
 * go at once. */
static void put_beside_others(uint64_t page)
{
	struct page_range one = { page, 1 };

	EXPECT(test_wait(comes_again, &page, 60));
	EXPECT_EQ(region_lock_pages(region, one), 0);
	EXPECT(test_wait(comes_again, &page, 60));
	put(page);
	region_unlock_pages(region, one);
}

static bool get(uint64_t page)
{
	touch(page, 0);
	EXPECT_EQ(os->read(region->section->fd, page << PAGE_SHIFT, bytes, sizeof(bytes)), 0);
	return bytes[0] == page && bytes[1] == ~page;
}

static void swap_lets_more_be_promised(void)
{
	struct region_request want = { .name = "", .page_shift = PAGE_SHIFT };
	struct region_refusal why;
	struct region *more;
	uint64_t without, with;

	begin(false);
	without = stock_available_evictable(&base);
	swap_area_accept(0, true);
	with = stock_available_evictable(&base);
	EXPECT_EQ(with, without + swap_promisable(swap_capacity()));
	EXPECT(swap_promisable(swap_capacity()) < swap_capacity());
	EXPECT_EQ(stock_available(0, STOCK_BASE), without);
	want.nr_pages = with + 1;
	EXPECT_EQ(region_new(&want, &more, &why), -ENOMEM);
	EXPECT_EQ(why.available, with << PAGE_SHIFT);
	want.nr_pages = with;
	EXPECT_EQ(region_new(&want, &more, &why), 0);
	EXPECT_EQ(stock_promised_beyond(), swap_promisable(swap_capacity()));
	EXPECT_EQ(stock_available_evictable(&base), 0);
	/* What is fixed is promised as well. */
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1), -ENOMEM);
	space_drop_region(more);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, without), 0);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1), -ENOMEM);
	/* And what could be evicted would have no frame to be in while it is used. */
	EXPECT_EQ(stock_available_evictable(&base), 0);
	EXPECT_EQ(stock_commit_evictable(&base, 1), -ENOMEM);
	stock_uncommit(0, STOCK_BASE, without);
	end();
}

/* What a pool's max keeps out of memory needs slots, whether the stock has room or not; of what
 * doesn't fit into the stock it is a part. */
static void a_pools_max_takes_its_part_of_swap(void)
{
	struct promise_share share = { .max = 1000, .goes = PROMISE_NO_MAX,
				       .goes_beside_whole = PROMISE_NO_MAX };
	struct stock_place limited = { .kind = STOCK_BASE, .share = &share };
	uint64_t limit, swap, rest;

	begin(true);
	limit = stock_limit(0, STOCK_BASE);
	swap = swap_promisable(swap_capacity());
	rest = stock_available_evictable(&base);
	EXPECT_EQ(stock_available_evictable(&limited), swap + 1000);
	EXPECT_EQ(stock_commit_evictable(&limited, 1500), 0);
	EXPECT_EQ(stock_promised_beyond(), 500);
	EXPECT_EQ(stock_available_evictable(&base), rest - 1500);
	EXPECT_EQ(stock_commit_evictable(&base, rest - 1500), 0);
	EXPECT_EQ(stock_promised_beyond(), swap);
	/* Others are out anyway, so that its part of it may grow. */
	EXPECT_EQ(promise_max(&share, 100), 0);
	EXPECT_EQ(stock_promised_beyond(), swap);
	stock_uncommit_evictable(&base, rest - 1500);
	EXPECT_EQ(stock_promised_beyond(), 1400);
	EXPECT_EQ(promise_arena(&share, 100), 0);
	EXPECT_EQ(stock_promised_beyond(), 1500); /* no more than it has that can go */
	EXPECT_EQ(promise_arena(&share, 100), 0);
	EXPECT_EQ(stock_promised_beyond(), 1500);
	unpromise_arena(&share, 200);
	EXPECT_EQ(promise_max(&share, PROMISE_NO_MAX), 0);
	EXPECT_EQ(stock_promised_beyond(), 0);
	EXPECT_EQ(stock_available_evictable(&limited), rest - 1500);
	/* A max that others' slots would be needed for is refused. */
	EXPECT_EQ(stock_commit_evictable(&limited, limit - 1500), 0);
	if (swap < limit)
		EXPECT_EQ(promise_max(&share, limit - swap - 1), -ENOMEM);
	EXPECT_EQ(promise_max(&share, limit - min_t(uint64_t, swap, limit)), 0);
	EXPECT_EQ(stock_promised_beyond(), min_t(uint64_t, swap, limit));
	phys_expect_valid();
	stock_uncommit_evictable(&limited, limit);
	end();
}

/* What is within a max needs no slot, however much of it is in pages of 2 MiB. */
static void what_fits_below_a_max_needs_no_swap(void)
{
	struct promise_share share = { .max = 3 * PAGEBLOCK_PAGES + 100, .goes = PROMISE_NO_MAX,
				       .goes_beside_whole = PROMISE_NO_MAX };
	struct stock_place small = { .kind = STOCK_BASE, .share = &share };
	struct stock_place whole = { .kind = STOCK_BASE, .share = &share, .whole = true };

	begin(false);
	EXPECT_EQ(promise_arena(&share, PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(stock_commit_evictable(&whole, PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(stock_commit_evictable(&small, PAGEBLOCK_PAGES), 0);
	EXPECT_EQ(promise_arena(&share, 100), 0);
	EXPECT_EQ(stock_promised_beyond(), 0);
	/* One more, and a page of 2 MiB must make way for it. */
	EXPECT_EQ(promise_arena(&share, 1), -ENOMEM);
	EXPECT_EQ(stock_commit_evictable(&small, 1), -ENOMEM);
	swap_area_accept(0, true);
	EXPECT_EQ(promise_arena(&share, 1), 0);
	EXPECT_EQ(stock_promised_beyond(), PAGEBLOCK_PAGES);
	phys_expect_valid();
	unpromise_arena(&share, PAGEBLOCK_PAGES + 101);
	stock_uncommit_evictable(&small, PAGEBLOCK_PAGES);
	stock_uncommit_evictable(&whole, PAGEBLOCK_PAGES);
	end();
}

/* What a pool's swap_max doesn't let go has frames like what is fixed, once, also where it is
 * locked; and it isn't promised at all where there are none. */
static void what_may_not_go_has_frames(void)
{
	struct promise_share share = { .max = PROMISE_NO_MAX };
	struct stock_place limited = { .kind = STOCK_BASE, .share = &share };
	uint64_t free, fits, goes;

	begin(true);
	goes = stock_limit(0, STOCK_BASE) / 2;
	free = stock_available(0, STOCK_BASE);
	EXPECT_EQ(stock_available_evictable(&limited), free);
	EXPECT_EQ(promise_goes(&share, goes, goes), 0);
	fits = stock_available_evictable(&limited);
	EXPECT(fits > goes && fits < free + goes);
	EXPECT_EQ(stock_commit_evictable(&limited, fits + 1), -ENOMEM);
	EXPECT_EQ(stock_commit_evictable(&limited, fits), 0);
	EXPECT_EQ(stock_available_evictable(&limited), 0);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	EXPECT_EQ(promise_goes(&share, goes - 1, goes - 1), -ENOMEM);
	EXPECT_EQ(promise_goes(&share, goes + 1, goes + 1), 0);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 1);
	EXPECT_EQ(stock_commit_evictable(&limited, 1), 0);
	EXPECT_EQ(promise_goes(&share, goes, goes), -ENOMEM);
	EXPECT_EQ(stock_fix(&limited, fits - goes), 0);
	EXPECT_EQ(stock_fix(&limited, 1), -ENOMEM);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	phys_expect_valid();
	stock_unfix(&limited, fits - goes);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	/* A restart refuses nothing of it. */
	promise_goes_again(&share, 0, 0);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	stock_uncommit_evictable(&limited, goes + 1);
	EXPECT_EQ(stock_available(0, STOCK_BASE), free - (fits - goes));
	stock_uncommit_evictable(&limited, fits - goes);
	EXPECT_EQ(stock_available(0, STOCK_BASE), free);
	end();
}

/* The most that may be fixed while everything else is promised as evictable. */
static uint64_t stock_fixed_room(uint64_t limit)
{
	uint64_t fixed = 0;

	for (uint64_t step = limit; step; step /= 2)
		while (!stock_fix(&base, step))
			fixed += step;
	stock_unfix(&base, fixed);
	return fixed;
}

/* What is promised beyond memory keeps frames that nothing fixed may take. */
static void what_is_evictable_keeps_a_floor(void)
{
	uint64_t limit, fits, all;

	begin(true);
	limit = stock_limit(0, STOCK_BASE);
	all = stock_available_evictable(&base);
	EXPECT_EQ(stock_commit_evictable(&base, all), 0);
	fits = stock_fixed_room(limit);
	stock_uncommit_evictable(&base, all);
	EXPECT(fits > 0 && fits < limit);

	/* Fixed first: there is room for exactly as much, and for as much beyond as swap has. */
	EXPECT_EQ(stock_commit(0, STOCK_BASE, fits), 0);
	EXPECT_EQ(stock_available_evictable(&base), all - fits);
	EXPECT_EQ(stock_commit_evictable(&base, all - fits), 0);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	stock_uncommit_evictable(&base, 1); /* swap has room again, the floor is kept */
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1), -ENOMEM);
	EXPECT_EQ(stock_fix(&base, 1), -ENOMEM);
	stock_uncommit_evictable(&base, all - fits - 1);

	/* One more, and evictable memory may only be what there is. */
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1), 0);
	EXPECT_EQ(stock_available_evictable(&base), limit - fits - 1);
	EXPECT_EQ(stock_commit_evictable(&base, limit - fits), -ENOMEM);
	EXPECT_EQ(stock_commit_evictable(&base, limit - fits - 1), 0);
	EXPECT_EQ(stock_fix(&base, limit - fits - 1), 0); /* all of it: needs no floor */
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	stock_unfix(&base, limit - fits - 1);
	stock_uncommit_evictable(&base, limit - fits - 1);
	stock_uncommit(0, STOCK_BASE, fits + 1);

	/* A restart refuses nothing of it, even where metadata has grown. */
	EXPECT_EQ(stock_commit(0, STOCK_BASE, fits + 1), 0);
	EXPECT_EQ(stock_recommit_evictable(&base, all - fits - 1), 0);
	stock_refix(&base, 1);
	EXPECT_EQ(stock_available(0, STOCK_BASE), 0);
	EXPECT_EQ(stock_commit(0, STOCK_BASE, 1), -ENOMEM);
	EXPECT_EQ(stock_recommit(0, STOCK_BASE, 3), 0);
	stock_uncommit(0, STOCK_BASE, 3);
	stock_unfix(&base, 1);
	stock_uncommit_evictable(&base, all - fits - 1);
	stock_uncommit(0, STOCK_BASE, fits + 1);
	end();
}

/* So many of them can be taken. */
static uint64_t takeable(int (*take)(int, enum stock_kind, uint64_t))
{
	uint64_t nr = 0;

	while (!take(0, STOCK_BASE, 1))
		nr++;
	stock_put(0, STOCK_BASE, nr);
	return nr;
}

static bool nothing_is_promised_beyond(void *unused)
{
	return stock_promised_beyond() == 0;
}

static void what_is_fixed_leaves_the_daemon_its_frames(void)
{
	uint64_t all, fixed;

	start();
	all = takeable(stock_take);
	fixed = takeable(stock_take_fixed);
	EXPECT(fixed > 0 && fixed + PAGEBLOCK_PAGES < all);
	EXPECT_EQ(stock_lacking(0, STOCK_BASE, fixed), 0);
	EXPECT_EQ(stock_lacking(0, STOCK_BASE, fixed + 7), 7);
	/* Without what must go to swap it is as it was promised. */
	space_drop_region(region);
	region = space_region(1, PAGE_SHIFT);
	space_close_mm(mm);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	EXPECT(test_wait(nothing_is_promised_beyond, NULL, 60));
	EXPECT_EQ(takeable(stock_take_fixed), takeable(stock_take));
	stop();
}

static void twice_the_memory_keeps_what_it_holds(void)
{
	start();
	EXPECT(NR > stock_limit(0, STOCK_BASE));
	for (uint64_t i = 0; i < NR; i++)
		put(i);
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(get(i));
	EXPECT(atomic_load(&region->nr_swapped) >= NR - stock_limit(0, STOCK_BASE));
	stop();
}

static void locking_stays_within_memory(void)
{
	uint64_t limit;

	start();
	limit = stock_limit(0, STOCK_BASE);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ 0, limit / 2 }), 0);
	EXPECT_EQ(region_lock_pages(region, (struct page_range){ limit / 2, NR - limit / 2 }),
		  -ENOMEM);
	region_unlock_pages(region, (struct page_range){ 0, NR });
	EXPECT_EQ(atomic_load(&region->nr_locked), 0);
	for (uint64_t i = 0; i < NR; i++)
		put(i);
	stop();
}

static void what_is_used_stays(void)
{
	uint64_t before, hot = 256;

	start();
	for (uint64_t i = 0; i < NR; i++)
		put(i);
	for (int round = 0; round < 3; round++) {
		for (uint64_t i = hot; i < NR; i++) {
			EXPECT(get(i));
			if (i % 32)
				continue;
			/* The client drops its entries now and then, as asked to. */
			fake_uffd_zap(mm->uffd, BASE, hot << PAGE_SHIFT);
			for (uint64_t k = 0; k < hot; k += 16)
				EXPECT(get(k));
		}
	}
	before = atomic_load(&region->nr_refaults);
	for (uint64_t k = 0; k < hot; k += 16)
		EXPECT(get(k));
	EXPECT_EQ(atomic_load(&region->nr_refaults), before);
	EXPECT(atomic_load(&region_lru(region, 0)->nr_active) > 0);
	stop();
}

static void kswapd_makes_room_before_it_is_needed(void)
{
	uint64_t stalls;

	start();
	EXPECT_EQ(kswapd_start(), 0);
	stalls = atomic_load(&reclaim_stats.pgsteal_kswapd);
	for (uint64_t i = 0; i < NR; i++)
		put_beside_others(i);
	for (int i = 0; i < 10000 && atomic_load(&reclaim_stats.pgsteal_kswapd) == stalls; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	EXPECT(atomic_load(&reclaim_stats.pgsteal_kswapd) > stalls);
	kswapd_stop();
	for (uint64_t i = 0; i < NR; i++)
		EXPECT(get(i));
	stop();
}

static bool says_of_kswapd(void *gave_up)
{
	reclaim_poke(region, 0);
	return kswapd_gave_up(0) == *(bool *)gave_up;
}

static void kswapd_tells_that_it_found_nothing(void)
{
	bool yes = true, no = false;

	start();
	for (uint64_t i = 0; stock_free_evictable(0, STOCK_BASE) > 64; i++)
		put(i);
	swap_area_accept(0, false);
	EXPECT(!kswapd_gave_up(0));
	EXPECT_EQ(kswapd_start(), 0);
	EXPECT(test_wait(says_of_kswapd, &yes, 60));
	swap_area_accept(0, true);
	EXPECT(test_wait(says_of_kswapd, &no, 60));
	kswapd_stop();
	stop();
}

static void *page_all_out(void *freed)
{
	cpu_slot_register(0);
	for (int round = 0; round < 8; round++)
		atomic_fetch_add((_Atomic uint64_t *)freed,
				 reclaim_range(region, (struct page_range){ 0, NR }));
	cpu_slot_unregister();
	return NULL;
}

/* Three of them, so that one finds the others at work (E3). */
static void threads_share_a_range(void)
{
	_Atomic uint64_t freed = 0;
	pthread_t other;

	start();
	EXPECT_EQ(pageout_start(), 0);
	for (int round = 0; round < 4; round++) {
		uint64_t resident;

		for (uint64_t i = 0; i < NR / 2; i++)
			put((i * 7 + (uint64_t)round * 3) % NR);
		resident = atomic_load(&region->nr_resident);
		atomic_store(&freed, 0);
		EXPECT_EQ(pthread_create(&other, NULL, page_all_out, &freed), 0);
		atomic_fetch_add(&freed, reclaim_range(region, (struct page_range){ 0, NR }));
		pthread_join(other, NULL);
		EXPECT_EQ(atomic_load(&freed), resident);
		EXPECT_EQ(atomic_load(&region->nr_resident), 0);
		EXPECT(!atomic_load(&region->evicting));
		for (uint64_t i = 0; i < NR / 2; i += 5)
			EXPECT(get((i * 7 + (uint64_t)round * 3) % NR));
	}
	pageout_stop();
	stop();
}

static void a_pool_gives_up_its_own_pages(void)
{
	start();
	for (uint64_t i = 0; i < 1024; i++)
		put(i);
	EXPECT(reclaim_memcg(region->memcg, 512) >= 512);
	EXPECT(atomic_load(&region->nr_resident) <= 512);
	for (uint64_t i = 0; i < 1024; i++)
		EXPECT(get(i));
	stop();
}

static void cold_pages_go_first(void)
{
	struct page_range cold = { 512, 256 };
	uint64_t deactivated;

	start();
	for (uint64_t i = 0; i < 1024; i++)
		put(i);
	region_note_use(region, cold.first);
	lru_next_generation(region_lru(region, 0));
	region_note_use(region, cold.first);
	EXPECT_EQ(atomic_load(&region_lru(region, 0)->nr_active), 1);
	deactivated = reclaim_stats.pgdeactivate;
	reclaim_make_cold(region, cold);
	EXPECT_EQ(reclaim_stats.pgdeactivate - deactivated, 1);
	EXPECT(reclaim_memcg(region->memcg, 256) >= 256);
	for (uint64_t i = 0; i < 1024; i++)
		EXPECT_EQ(space_state(region, i),
			  i - cold.first < cold.nr ? PAGE_SWAPPED : PAGE_PRESENT);
	stop();
}

static void one_that_is_busy_holds_up_nobody(void)
{
	struct region *other;

	start();
	other = space_region(1024, PAGE_SHIFT);
	space_window(mm, other, 2 * BASE, 2);
	EXPECT_EQ(mm_set_advice(mm, 2, (struct page_range){ 0, 1024 }, WINDOW_RANDOM), 0);
	for (uint64_t i = 0; i < 1024; i++) {
		put(i);
		space_fault(mm, 2 * BASE + (i << PAGE_SHIFT), OS_FAULT_WRITE);
	}
	atomic_store(&region->evicting, true); /* as if another thread did */
	EXPECT(reclaim_memcg(region->memcg, 512) >= 512);
	EXPECT_EQ(atomic_load(&region->nr_swapped), 0);
	atomic_store(&region->evicting, false);
	space_expect_valid(other, NULL);
	for (uint64_t i = 0; i < 1024; i++)
		EXPECT(get(i));
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	space_drop_region(other);
	end();
}

/* Steps of walks while as much is reclaimed, and how often the thread was heard of meanwhile. */
static uint64_t steps_of(struct memcg *memcg, uint64_t *freed, uint64_t *beats)
{
	struct heartbeat hb;
	uint64_t before = region_walk_steps();

	heartbeat_register(&hb, "sweep");
	*freed = reclaim_memcg(memcg, *freed);
	*beats = atomic_load(&hb.beats) / 2;
	heartbeat_unregister(&hb);
	return region_walk_steps() - before;
}

/* Whoever has a great many regions makes nobody else's pages dearer; and a walk over them takes a
 * step for each, and is heard of at each. */
static void many_regions_of_others_cost_nothing(void)
{
	enum { OTHERS = 600, DEPTH = 24, ROUNDS = LRU_OLD + LRU_GENERATIONS + 2 };
	static struct region *others[OTHERS];
	static struct memcg foreign;
	uint64_t freed = 8, nothing = 8, steps, beats;

	start();
	memcg_init(&foreign, 7);
	for (int i = 0; i < OTHERS; i++)
		others[i] = space_region_of(&foreign);
	for (uint64_t i = 0; i < 1024; i++)
		put(i);
	steps = steps_of(region->memcg, &freed, &beats);
	EXPECT(freed >= 8);
	EXPECT(steps > 0 && steps < OTHERS);

	steps = steps_of(&foreign, &nothing, &beats);
	EXPECT_EQ(nothing, 0);
	EXPECT(beats >= OTHERS);
	EXPECT(steps >= OTHERS && steps <= ROUNDS * (OTHERS + DEPTH));
	for (int i = 0; i < OTHERS; i++)
		region_put(others[i]);
	regions_flush();
	memcg_fini(&foreign);
	stop();
}

static void shadows_tell_soon_from_late(void)
{
	static struct lruvec lru;
	uint16_t shadow;

	atomic_store(&lru.nr_resident, 100000);
	shadow = lru_shadow(&lru);
	EXPECT(lru_refaults_soon(&lru, shadow));
	atomic_fetch_add(&lru.nr_evicted, 40000);
	EXPECT(lru_refaults_soon(&lru, shadow));
	atomic_fetch_add(&lru.nr_evicted, 40000);
	EXPECT(!lru_refaults_soon(&lru, shadow));
	/* What was evicted long ago isn't taken for what was just now. */
	for (int i = 0; i < 60; i++) {
		atomic_fetch_add(&lru.nr_evicted, 100000);
		EXPECT(!lru_refaults_soon(&lru, shadow));
	}
}

/* Who is asked has time to answer, and nobody is before there is reason to. */
static void generations_and_questions_wait_for_their_turn(void)
{
	static struct lruvec lru;

	atomic_store(&lru.nr_resident, 1000);
	EXPECT(!lru_is_ripe(&lru));
	atomic_fetch_add(&lru.nr_evicted, 1000 / LRU_PARTS);
	EXPECT(lru_is_ripe(&lru));
	lru_next_generation(&lru);
	EXPECT(!lru_is_ripe(&lru));
	atomic_store(&lru.nr_active, 10 * LRU_ACTIVE_MAX_PERCENT);
	EXPECT(!lru_is_crowded(&lru));
	atomic_fetch_add(&lru.nr_active, 1);
	EXPECT(lru_is_crowded(&lru));
}

/* Its client is asked while there is time to answer, and one answer keeps it. */
static void who_is_used_is_known_before_it_goes(void)
{
	enum { OLD = 256, USED = 300, UNUSED = 301 };
	uint64_t word;

	start();
	for (uint64_t i = 0; i < OLD; i++)
		put(i);
	lru_next_generation(region_lru(region, 0));
	put(USED);
	put(UNUSED);
	EXPECT(!(word_load(region_word(region, USED)) & WORD_ASKED));
	lru_next_generation(region_lru(region, 0));
	EXPECT_EQ(reclaim_memcg(region->memcg, 1), OLD);
	EXPECT(word_load(region_word(region, USED)) & WORD_ASKED);
	EXPECT(word_load(region_word(region, UNUSED)) & WORD_ASKED);

	fake_uffd_zap(mm->uffd, BASE + ((uint64_t)USED << PAGE_SHIFT), 2 * PAGE_SIZE);
	touch(USED, 0);
	word = word_load(region_word(region, USED));
	EXPECT(word & WORD_ACTIVE);
	EXPECT(!(word & WORD_ASKED));
	lru_next_generation(region_lru(region, 0));
	EXPECT_EQ(reclaim_memcg(region->memcg, 1), 1);
	EXPECT_EQ(space_state(region, USED), PAGE_PRESENT);
	EXPECT_EQ(space_state(region, UNUSED), PAGE_SWAPPED);
	stop();
}

/* A write to a page that has a valid copy is heard of, and says that the page is in use. */
static void who_writes_uses_the_page(void)
{
	uint64_t before, after;

	start();
	put(0);
	EXPECT_EQ(reclaim_range(region, (struct page_range){ 0, 1 }), 1);
	EXPECT(get(0));
	before = word_load(region_word(region, 0));
	EXPECT(before & WORD_CLEAN);
	lru_next_generation(region_lru(region, 0));
	touch(0, OS_FAULT_WRITE);
	after = word_load(region_word(region, 0));
	EXPECT(!(after & WORD_CLEAN));
	EXPECT(after & WORD_REFERENCED);
	EXPECT_EQ(lru_distance(region_lru(region, 0), before), 1);
	EXPECT_EQ(lru_distance(region_lru(region, 0), after), 0);
	stop();
}

/* ---- a pool that promises more than there is, at its max, without a slot ---- */

enum { NR_FULL = 8 };
static struct memcg full;
static struct os_ops generous_os;

static void start_full(void)
{
	struct region_request want = { .name = "", .page_shift = PAGE_SHIFT, .nr_pages = NR,
				       .memcg = &full, .overcommit = true };
	struct region_refusal why;

	begin(true);
	memcg_init(&full, 3);
	memcg_set_limit(&full, MEMCG_SWAP_MAX, 0);
	EXPECT_EQ(region_new(&want, &region, &why), 0);
	mm = space_mm();
	space_window(mm, region, BASE, 1);
	EXPECT_EQ(mm_set_advice(mm, 1, (struct page_range){ 0, NR }, WINDOW_RANDOM), 0);
	for (uint64_t i = 0; i < NR_FULL; i++)
		put(i);
	memcg_set_limit(&full, MEMCG_MAX, memcg_usage(&full));
}

static void stop_full(void)
{
	space_expect_valid(region, mm);
	space_close_mm(mm);
	space_drop_region(region);
	memcg_fini(&full);
	end();
}

static void nobody_waits_for_who_finds_nothing(void)
{
	start_full();
	atomic_store(&region->evicting, true); /* as if another thread looked for some, too */
	EXPECT(!reclaim_for(region));
	memcg_set_limit(&full, MEMCG_SWAP_MAX, MEMCG_NO_LIMIT);
	EXPECT(reclaim_for(region)); /* what it writes may be on its way */
	atomic_store(&region->evicting, false);
	stop_full();
}

static int read_while_others_give_back(int fd, uint64_t offset, void *to, uint64_t length)
{
	memcg_set_limit(&full, MEMCG_MAX, MEMCG_NO_LIMIT);
	return os_fake.read(fd, offset, to, length);
}

static void what_comes_back_meanwhile_is_found(void)
{
	struct waiting_fault fault = { .event = { .address = BASE + (NR_FULL << PAGE_SHIFT),
						  .flags = OS_FAULT_WRITE } };

	start_full();
	fault.mm = mm;
	fault.first_ns = os->now_ns();
	EXPECT(mm_find(mm, fault.event.address, &fault.target, &fault.hint));
	generous_os = os_fake;
	generous_os.read = read_while_others_give_back;
	os = &generous_os;
	fault_wait(&fault);
	os = &os_fake;
	region_put(fault.target.region);
	EXPECT(memcg_limit(&full, MEMCG_MAX) == MEMCG_NO_LIMIT);
	EXPECT(fake_uffd_mapped(mm->uffd, fault.event.address));
	stop_full();
}

static const struct test_case cases[] = {
	{ "swap lets more be promised, and no more than it holds", swap_lets_more_be_promised },
	{ "what a pool's max keeps out of memory is promised slots (P1 to P3 of promise.h)",
	  a_pools_max_takes_its_part_of_swap },
	{ "what fits below a pool's max needs no swap, in pages of any size (P1)",
	  what_fits_below_a_max_needs_no_swap },
	{ "what a pool's swap_max doesn't let go has frames (P4)", what_may_not_go_has_frames },
	{ "what is evictable keeps frames that nothing fixed may take",
	  what_is_evictable_keeps_a_floor },
	{ "what is fixed leaves the daemon what it needs to evict",
	  what_is_fixed_leaves_the_daemon_its_frames },
	{ "a region bigger than memory keeps what it holds", twice_the_memory_keeps_what_it_holds },
	{ "locks stay within memory", locking_stays_within_memory },
	{ "pages in use stay", what_is_used_stays },
	{ "kswapd makes room before it is needed", kswapd_makes_room_before_it_is_needed },
	{ "kswapd tells that it found nothing while memory is short",
	  kswapd_tells_that_it_found_nothing },
	{ "threads share a range, and each page goes once (E3, P1)", threads_share_a_range },
	{ "a pool gives up its own pages", a_pool_gives_up_its_own_pages },
	{ "cold pages go first", cold_pages_go_first },
	{ "a region that another thread evicts from doesn't hold up the others",
	  one_that_is_busy_holds_up_nobody },
	{ "many regions of others cost a pool's reclaim nothing",
	  many_regions_of_others_cost_nothing },
	{ "the shadow of a page tells how long ago it was evicted", shadows_tell_soon_from_late },
	{ "generations and questions wait for their turn",
	  generations_and_questions_wait_for_their_turn },
	{ "who is used is known before it goes", who_is_used_is_known_before_it_goes },
	{ "who writes uses the page", who_writes_uses_the_page },
	{ "where no slot is left nobody waits for another thread that finds nothing",
	  nobody_waits_for_who_finds_nothing },
	{ "a fault finds what came back while it reclaimed in vain",
	  what_comes_back_meanwhile_is_found },
};
TEST_MAIN(cases)
