/* SPDX-License-Identifier: Apache-2.0 */
/* frames - see frames.h */
#include "frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "lib/clock.h"
#include "lib/parallel.h"
#include "lib/stats.h"
#include "mm/balance/alloc.h"
#include "mm/phys/node.h"
#include "mm/phys/section.h"
#include "mm/phys/stock.h"
#include "mm/phys/zone.h"
#include "os/os.h"
#include "os/topology.h"

static struct pool_zones zones; /* fixed after frames_init */

int frames_floors_init(void)
{
	static bool up;
	struct meta_request meta = { .span_frames = META_SPAN_FRAMES,
				     .base = (void *)META_BASE,
				     .direct_map_base = (void *)DIRECT_MAP_BASE };
	struct topology topology;
	int error;

	if (up)
		return 0;
	error = topology_discover(&topology);
	if (error == 0)
		error = nodes_init(&topology);
	if (error == 0)
		error = meta_init(&meta);
	if (error != 0)
		return error;
	section_init();
	up = true;
	return 0;
}

int frames_init(uint64_t bytes)
{
	uint64_t frames = round_up(bytes, PAGEBLOCK_SIZE << 1) >> PAGE_SHIFT;
	struct section_request arena = { .name = "bench", .nr_frames = frames, .map = true,
					 .type = SECTION_ARENA };
	struct zone_request zone = { .type = ZONE_NORMAL, .pool = 1 };
	struct stock_request stock = { .os_node = OS_NODE_ANY, .reserve = frames * 5 / 4,
				       .available = frames * 5 / 4 };
	int error = frames_floors_init();

	if (error == 0)
		error = stock_init(&stock);
	if (error == 0)
		error = section_add(&arena, &zone.section);
	if (error == 0)
		error = zone_new(&zone, &zones.normal[0]);
	if (error != 0)
		return bench_because(error, "no arena in this process: %s", strerror(-error));
	zone.section->owner = zones.normal[0];
	return 0;
}

/* ---- the work ---- */

static int no_frame(const struct alloc_failure *why, int error)
{
	char text[200];

	alloc_failure_format(why, text, sizeof(text));
	return bench_because(error, "%s", text);
}

static int take_and_give(const struct alloc_request *request, uint64_t pairs)
{
	for (uint64_t i = 0; i < pairs; i++) {
		struct page *page;
		int error = alloc_pages(request, &page);

		if (error != 0)
			return no_frame(request->failure, error);
		free_pages(page, request->order);
	}
	return 0;
}

static int take_all_give_all(const struct alloc_request *request, uint32_t nr, struct page **pages)
{
	uint32_t taken = 0;
	int error = 0;

	while (taken < nr && error == 0) {
		error = alloc_pages(request, &pages[taken]);
		taken += error == 0;
	}
	for (uint32_t i = 0; i < taken; i++)
		free_pages(pages[i], request->order);
	return error != 0 ? no_frame(request->failure, error) : 0;
}

static int frames_thread(struct parallel *p, void *arg, double *figure)
{
	const struct frames_args *args = arg;
	uint64_t operations = args->bulk ? args->bulk : args->pairs / PAGE_TURNS, before;
	double turns[PAGE_TURNS];
	struct page **pages = calloc(args->bulk + 1ull, sizeof(struct page *));
	struct alloc_failure failure;
	struct alloc_request request = { .zones = &zones, .order = args->order, .session = 1,
					 .pool = 1, .failure = &failure };
	int error = pages ? cpu_slot_register(0) : -ENOMEM;

	alloc_prepare(&request);
	if (pages != NULL)
		memset(pages, 1, (args->bulk + 1ull) * sizeof(struct page *));
	parallel_begin(p);
	if (error != 0) {
		free(pages);
		return bench_because(error, "no CPU slot");
	}
	for (int i = 0; i < PAGE_TURNS && error == 0; i++) {
		before = clock_thread_cpu_ns();
		error = args->bulk ? take_all_give_all(&request, args->bulk, pages)
				   : take_and_give(&request, operations);
		turns[i] = (double)(clock_thread_cpu_ns() - before) / (double)operations;
	}
	*figure = error ? 0 : stats_median(turns, PAGE_TURNS);
	cpu_slot_unregister();
	free(pages);
	return error;
}

int frames_side(struct bench *b, const void *arg, struct sample *out)
{
	struct frames_args args = *(const struct frames_args *)arg;

	return parallel_fair(frames_thread, &args, args.threads, &out->v[0]);
}
