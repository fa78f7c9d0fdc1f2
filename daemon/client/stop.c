/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop - punch, then poison: the kernel poisons absent pages only
 *
 * Why         A client keeps its own descriptor of the userfaultfd, so that a daemon that dies
 *             doesn't feed it zeros. After a planned stop nobody will answer, and a thread that
 *             touches a page would wait for ever.
 * Crash       the session's record has ended before: nobody resumes it, and a client that is left
 *             with a part of its memory has a connection that closes. What others share with it is
 *             resumed, and a page that was punched already is found lost there (settle.c).
 */
#include "client/stop.h"

#include <errno.h>

#include "mm/phys/node.h"
#include "os/os.h"

static const char cause[] = "the broker has been stopped";

static void poison(struct session *s, struct mm *mm, const struct mapped_range *range,
		   const char *region)
{
	struct fault_record record = { .address = range->address, .length = range->length,
				       .region = region, .error = -EOWNERDEAD, .cause = cause };

	session_log_fault(s, &record);
	os->uffd_poison(mm->uffd, range->address, range->length);
}

struct stop_walk {
	struct session *session;
	struct mm *mm;
};

static void poison_window(const struct window *w, void *arg)
{
	struct stop_walk *walk = arg;
	struct mapped_range range = { w->range.start, w->range.length };

	os->punch(w->region->section->fd, w->page << w->region->page_shift, w->range.length);
	poison(walk->session, walk->mm, &range, w->region->name);
}

/* Only pageblocks that exist: an arena's window is as long as the reserve. */
static void poison_arena(struct stop_walk *walk, struct pool *pool, int node)
{
	struct section *section = pool->sections[node];
	uint32_t first = pfn_to_block(section->pfn);

	for (uint32_t i = 0; i < section->nr_frames / PAGEBLOCK_PAGES; i++) {
		struct mapped_range range = {
			pool->windows[node].start + (uint64_t)i * PAGEBLOCK_SIZE, PAGEBLOCK_SIZE
		};

		if (!block_is_present(first + i))
			continue;
		os->punch(section->fd, (uint64_t)i * PAGEBLOCK_SIZE, PAGEBLOCK_SIZE);
		poison(walk->session, walk->mm, &range, "");
	}
}

void session_poison(struct session *s, struct mm *mm)
{
	struct stop_walk walk = { s, mm };
	struct region_handle *rh;
	struct pool_handle *ph;
	uint32_t cursor = 0, handle;

	while ((rh = handles_next(&s->regions, &cursor, &handle)))
		pool_region_lose(rh->pr);
	cursor = 0;
	mm_for_each_window(mm, poison_window, &walk);
	while ((ph = handles_next(&s->pools, &cursor, &handle)))
		for (int node = 0; node < nr_nodes; node++)
			if (ph->pool->sections[node])
				poison_arena(&walk, ph->pool, node);
}
