/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_resume - two walks: over the sections, and over what is granted
 *
 * Locking     see arena_resume.h; locks are taken where callees expect them.
 */
#include "client/arena_resume.h"

#include <errno.h>
#include <string.h>

#include "client/session.h"
#include "mm/phys/node.h"
#include "mm/phys/zone_resume.h"

/* ---- sections ---- */

static struct pool *owner_of(const struct section *section)
{
	struct pool *pool = pool_by_id(section_records[section->id].owner_id);
	uint64_t has_arena;

	if (!pool || section->node < 0 || section->node >= nr_nodes ||
	    !record_word_get(&pool->record->has_arena, &has_arena) || !has_arena)
		return NULL;
	return pool;
}

static int for_sections(enum section_type type, int (*fn)(struct pool *, struct section *))
{
	int r = 0;

	for (uint32_t id = 1; id < NR_SECTIONS_MAX && !r; id++) {
		struct section *section = section_by_id(id);
		struct pool *pool;

		if (!section || section->type != type || section->owner)
			continue;
		pool = owner_of(section);
		r = pool ? fn(pool, section) : 0;
	}
	return r;
}

static int adopt_map(struct pool *pool, struct section *section)
{
	if (!pool->sections[section->node] || pool->leases.maps[section->node])
		return 0;
	return leases_resume_map(pool, section);
}

int resume_arenas(struct refusal *why)
{
	int r = for_sections(SECTION_ARENA, pool_resume_arena);

	if (!r)
		r = for_sections(SECTION_SLAB_MAP, adopt_map);
	return r ? refuse(why, r,
			  "an arena that the last daemon left doesn't fit any more: %s; give "
			  "memory.reserve what it had", strerror(-r))
		 : 0;
}

/* ---- what is granted ---- */

struct walk {
	struct pool *pool;
	struct pool_handle *(*find_share)(uint64_t id);
	int error;
};

static void sort_page(struct page *page, void *arg)
{
	struct walk *walk = arg;
	uint64_t owner = page_session(page);
	struct pool_handle *ph = NULL;
	bool kept;
	int r;

	if (owner & PAGE_UNIT) {
		r = leases_resume_unit(walk->pool, page);
		if (r && r != -EUCLEAN) {
			walk->error = r; /* objects may be in it: the daemon doesn't start */
			return;
		}
		kept = !r;
		if (kept)
			pool_handle_skip(page[1].grant.request);
		ph = kept ? walk->find_share(page[1].grant.request) : NULL;
		if (ph && ph->pool == walk->pool)
			ph->nr_leased++;
		ph = NULL;
	} else {
		ph = walk->find_share(owner);
		kept = ph && ph->pool == walk->pool;
	}
	if (!kept && pg_state(page) == PG_CLAIMED) {
		free_claimed_page(page);
	} else if (!kept) {
		page_clear_owner(page);
		free_pages(page, pg_order(page));
	} else if (ph) {
		list_add_tail(&page->lru, &ph->runs);
		ph->nr_frames += 1ull << pg_order(page);
	}
}

static int sort_pool(struct pool *pool, struct pool_handle *(*find_share)(uint64_t id))
{
	struct walk walk = { pool, find_share, 0 };

	for (int node = 0; node < nr_nodes; node++)
		if (pool->zones.normal[node])
			zone_for_each_granted(pool->zones.normal[node], sort_page, &walk);
	leases_resumed(&pool->leases);
	return walk.error;
}

int resume_grants(struct pool_handle *(*find_share)(uint64_t id))
{
	struct pool *pool;
	int r = 0;

	for (uint64_t after = 0; !r && (pool = pool_next(after)); after = pool->id)
		r = sort_pool(pool, find_share);
	return r;
}
