/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite_fault - what a first touch costs
 *
 * Purpose     The broker's regions beside the bare userfaultfd mechanism with the same placement
 *             of threads, and beside the kernel's own anonymous and hugetlb memory.
 * Goals       p50 at most 1.25 times the floor, p99 at most twice the p50, two threads 1.3 times
 *             the throughput of one; sequential 4 KiB touch 1.3 times faster than anonymous
 *             memory, of resident memory 4 times; 2 MiB resident at most 1.25 times the floor,
 *             sequential as fast as hugetlb, random at most 1.1 times that.
 */
#include <stdio.h>

#include "floor_uffd.h"
#include "kernel_memory.h"
#include "lib/raw.h"
#include "region.h"
#include "suites.h"

#define NR(array) (sizeof(array) / sizeof((array)[0]))
#define SMALL     4096u
#define HUGE      (2u << 20)

#define GOAL_FLOOR       (1 / 1.25)
#define GOAL_P99         (1 / 2.0)
#define GOAL_TWO_THREADS 1.3
#define GOAL_ANONYMOUS   1.3
#define GOAL_RESIDENT    4.0
#define GOAL_HUGE        1.0
#define GOAL_HUGE_RANDOM (1 / 1.1)

enum { HUGE_PAGES_MIN = 8, HUGE_PAGES_MAX = 256 };

/* Sides of every kind, from one touch. The compound literals live as long as their block. */
#define OURS(state_, touch_) \
	{ "mmbroker", region_side, &(struct region_args){ .state = state_, .touch = touch_ } }
#define FLOOR(name_, answer_, touch_)                                                     \
	{ name_, floor_side,                                                              \
	  &(struct floor_args){ .answer = answer_, .huge = (touch_).page == HUGE,         \
				.touch = touch_ } }
#define KERNEL(name_, touch_)                                                             \
	{ name_, kernel_side,                                                             \
	  &(struct kernel_args){ .huge = (touch_).page == HUGE, .touch = touch_ } }

#define P50(name_, ours_, floor_, goal_)                                                  \
	{ .name = name_, .metric = "p50", .unit = "ns", .ours = { ours_, TOUCH_P50 },     \
	  .peer = { floor_, TOUCH_P50 }, .goal = goal_ }
#define P99(name_, ours_)                                                                 \
	{ .name = name_, .metric = "p99", .unit = "ns", .ours = { ours_, TOUCH_P99 },     \
	  .peer = { ours_, TOUCH_P50 }, .peer_name = "its own p50", .goal = GOAL_P99 }
/* What the bare mechanism's own tail is. */
#define SPREAD(name_, floor_)                                                             \
	{ .name = name_, .metric = "p99", .unit = "ns", .ours = { floor_, TOUCH_P99 },    \
	  .peer = { floor_, TOUCH_P50 }, .peer_name = "its own p50" }
#define RATE(name_, ours_, peer_, peer_name_, goal_)                                      \
	{ .name = name_, .metric = "throughput", .unit = "1/s", .kind = HIGHER_IS_BETTER, \
	  .ours = { ours_, TOUCH_RATE }, .peer = { peer_, TOUCH_RATE },                   \
	  .peer_name = peer_name_, .goal = goal_ }
#define PAGE(name_, ours_, peer_, goal_)                                                  \
	{ .name = name_, .metric = "page", .unit = "ns", .ours = { ours_, TOUCH_PAGE },   \
	  .peer = { peer_, TOUCH_PAGE }, .goal = goal_ }

/* Small pages in random order: a quarter of them, so that neighbours are rarely there. */
static struct touch random_small(uint32_t pages, unsigned int threads, uint64_t seed)
{
	return (struct touch){ .page = SMALL, .pages = pages, .touches = pages / 4,
			       .threads = threads, .random = true, .seed = seed };
}

static struct touch random_huge(uint32_t pages, unsigned int threads, uint64_t seed)
{
	return (struct touch){ .page = HUGE, .pages = pages, .touches = pages,
			       .threads = threads, .random = true, .seed = seed };
}

static struct touch sequential(uint32_t page, uint32_t pages, unsigned int threads)
{
	return (struct touch){ .page = page, .pages = pages, .threads = threads };
}

static void small_random(struct bench *b, uint32_t pages)
{
	const struct touch one = random_small(pages, 1, b->seed);
	const struct touch two = random_small(pages, 2, b->seed);
	enum { OURS1, FLOOR1, COPY1, OURS2, FLOOR2, COPY2, NR_SIDES };
	const struct side sides[NR_SIDES] = {
		[OURS1] = OURS(REGION_FRESH, one),
		[FLOOR1] = FLOOR("uffd fallocate, CONTINUE", FLOOR_FALLOCATE, one),
		[COPY1] = FLOOR("uffd COPY", FLOOR_COPY, one),
		[OURS2] = OURS(REGION_FRESH, two),
		[FLOOR2] = FLOOR("uffd fallocate, CONTINUE", FLOOR_FALLOCATE, two),
		[COPY2] = FLOOR("uffd COPY", FLOOR_COPY, two),
	};
	static const char one_floor[] = "4K random first touch, fallocate, CONTINUE";
	static const char one_copy[] = "4K random first touch, COPY";
	static const char two_threads[] = "4K random first touch, 2 threads";
	static const char two_floor[] = "4K random first touch, 2 threads of fallocate, CONTINUE";
	static const char two_copy[] = "4K random first touch, 2 threads of COPY";
	const struct comparison comparisons[] = {
		P50(NULL, OURS1, FLOOR1, GOAL_FLOOR),
		P50(NULL, OURS1, COPY1, GOAL_FLOOR),
		P99(NULL, OURS1),
		SPREAD(one_floor, FLOOR1),
		SPREAD(one_copy, COPY1),
		P50(two_threads, OURS2, FLOOR2, GOAL_FLOOR),
		P50(two_threads, OURS2, COPY2, GOAL_FLOOR),
		P99(two_threads, OURS2),
		SPREAD(two_floor, FLOOR2),
		SPREAD(two_copy, COPY2),
		RATE(two_threads, OURS2, OURS1, "its one thread", GOAL_TWO_THREADS),
		RATE(two_threads, OURS2, FLOOR2, NULL, 0),
		RATE(two_floor, FLOOR2, FLOOR1, "its one thread", 0),
		RATE(two_copy, COPY2, COPY1, "its one thread", 0),
	};

	bench_run(b, &(struct bench_case){ "4K random first touch", sides, NR_SIDES, comparisons,
					   NR(comparisons), 0 });
}

static void small_resident(struct bench *b, uint32_t pages)
{
	const struct touch one = random_small(pages, 1, b->seed);
	const struct touch two = random_small(pages, 2, b->seed);
	enum { OURS1, FLOOR1, OURS2, FLOOR2, NR_SIDES };
	const struct side sides[NR_SIDES] = {
		[OURS1] = OURS(REGION_POPULATED, one),
		[FLOOR1] = FLOOR("uffd CONTINUE", FLOOR_CONTINUE, one),
		[OURS2] = OURS(REGION_POPULATED, two),
		[FLOOR2] = FLOOR("uffd CONTINUE", FLOOR_CONTINUE, two),
	};
	static const char two_threads[] = "4K random, resident, 2 threads";
	const struct comparison comparisons[] = {
		P50(NULL, OURS1, FLOOR1, GOAL_FLOOR),
		PAGE(NULL, OURS1, FLOOR1, 0),
		P50(two_threads, OURS2, FLOOR2, GOAL_FLOOR),
		RATE(two_threads, OURS2, OURS1, "its one thread", GOAL_TWO_THREADS),
	};

	bench_run(b, &(struct bench_case){ "4K random, resident", sides, NR_SIDES, comparisons,
					   NR(comparisons), 0 });
}

static void small_sequential(struct bench *b, uint32_t pages)
{
	const struct touch one = sequential(SMALL, pages, 1), two = sequential(SMALL, pages, 2);
	enum { FRESH1, RESIDENT1, ANON1, FRESH2, ANON2, NR_SIDES };
	const struct side sides[NR_SIDES] = {
		[FRESH1] = OURS(REGION_FRESH, one),
		[RESIDENT1] = OURS(REGION_POPULATED, one),
		[ANON1] = KERNEL("kernel anonymous 4K", one),
		[FRESH2] = OURS(REGION_FRESH, two),
		[ANON2] = KERNEL("kernel anonymous 4K", two),
	};
	const struct comparison comparisons[] = {
		PAGE("4K sequential first touch", FRESH1, ANON1, GOAL_ANONYMOUS),
		PAGE("4K sequential, resident", RESIDENT1, ANON1, GOAL_RESIDENT),
		PAGE("4K sequential first touch, 2 threads", FRESH2, ANON2, 0),
	};

	bench_run(b, &(struct bench_case){ "4K sequential", sides, NR_SIDES, comparisons,
					   NR(comparisons), 0 });
}

/* ---- 2 MiB pages, where this host has free ones for both sides ---- */

static void huge_random(struct bench *b, uint32_t pages)
{
	const struct touch one = random_huge(pages, 1, b->seed);
	const struct touch two = random_huge(pages, 2, b->seed);
	enum { READY1, FLOOR1, READY2, FLOOR2, FRESH1, KERNEL1, FRESH2, KERNEL2, BARE1, BARE2,
	       NR_SIDES };
	static const char bare[] = "2M random first touch, touch and CONTINUE";
	static const char bare2[] = "2M random first touch, 2 threads of touch and CONTINUE";
	const struct side sides[NR_SIDES] = {
		[READY1] = OURS(REGION_POPULATED, one),
		[FLOOR1] = FLOOR("uffd CONTINUE", FLOOR_CONTINUE, one),
		[READY2] = OURS(REGION_POPULATED, two),
		[FLOOR2] = FLOOR("uffd CONTINUE", FLOOR_CONTINUE, two),
		[FRESH1] = OURS(REGION_FRESH, one),
		[KERNEL1] = KERNEL("kernel hugetlb", one),
		[FRESH2] = OURS(REGION_FRESH, two),
		[KERNEL2] = KERNEL("kernel hugetlb", two),
		[BARE1] = FLOOR("uffd touch, CONTINUE", FLOOR_TOUCH, one),
		[BARE2] = FLOOR("uffd touch, CONTINUE", FLOOR_TOUCH, two),
	};
	const struct comparison comparisons[] = {
		P50("2M random, resident", READY1, FLOOR1, GOAL_FLOOR),
		P50("2M random, resident, 2 threads", READY2, FLOOR2, GOAL_FLOOR),
		P50("2M random first touch", FRESH1, KERNEL1, GOAL_HUGE_RANDOM),
		P50(bare, BARE1, KERNEL1, 0),
		P99("2M random first touch", FRESH1),
		P50("2M random first touch, 2 threads", FRESH2, KERNEL2, GOAL_HUGE_RANDOM),
		P50(bare2, BARE2, KERNEL2, 0),
		RATE("2M random first touch, 2 threads", FRESH2, FRESH1, "its one thread", 0),
	};

	bench_run(b, &(struct bench_case){ "2M random", sides, NR_SIDES, comparisons,
					   NR(comparisons), 0 });
}

static void huge_sequential(struct bench *b, uint32_t pages)
{
	const struct touch one = sequential(HUGE, pages, 1), two = sequential(HUGE, pages, 2);
	enum { FRESH1, KERNEL1, FRESH2, KERNEL2, NR_SIDES };
	const struct side sides[NR_SIDES] = {
		[FRESH1] = OURS(REGION_FRESH, one),
		[KERNEL1] = KERNEL("kernel hugetlb", one),
		[FRESH2] = OURS(REGION_FRESH, two),
		[KERNEL2] = KERNEL("kernel hugetlb", two),
	};
	const struct comparison comparisons[] = {
		PAGE("2M sequential first touch", FRESH1, KERNEL1, GOAL_HUGE),
		PAGE("2M sequential first touch, 2 threads", FRESH2, KERNEL2, 0),
	};

	bench_run(b, &(struct bench_case){ "2M sequential", sides, NR_SIDES, comparisons,
					   NR(comparisons), 0 });
}

/* How many 2 MiB pages a case may use: three quarters of the broker's, and so many must be free
 * for the peers beside them. 0 after bench_because(). */
static uint32_t huge_pages(const struct bench *b)
{
	uint64_t free_pages = kernel_hugepages_free(), pages;
	struct raw_status status = { 0 };
	struct raw *raw;
	int error = raw_open(b->socket, &raw);

	if (error == 0)
		error = raw_status(raw, &status);
	raw_close(raw);
	if (error != 0)
		return 0;
	pages = status.reserve_huge / HUGE * 3 / 4;
	if (pages > free_pages / 2)
		pages = free_pages / 2;
	if (pages < HUGE_PAGES_MIN) {
		bench_because(0, "%llu MiB of hugetlb in the broker's reserve, %llu hugepages free"
			      " (vm.nr_hugepages): at least %d pages for each side are needed",
			      (unsigned long long)status.reserve_huge >> 20,
			      (unsigned long long)free_pages, HUGE_PAGES_MIN);
		return 0;
	}
	return pages < HUGE_PAGES_MAX ? (uint32_t)pages : HUGE_PAGES_MAX;
}

void suite_fault(struct bench *b)
{
	uint32_t pages;

	small_random(b, b->quick ? 8192 : 131072);
	small_resident(b, b->quick ? 8192 : 131072);
	small_sequential(b, b->quick ? 16384 : 262144);
	pages = huge_pages(b);
	if (pages == 0) {
		bench_skip(b, "2M random", bench_reason());
		bench_skip(b, "2M sequential", bench_reason());
		return;
	}
	huge_random(b, pages);
	huge_sequential(b, pages);
}
