/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit - does the file hold what the words say?
 *
 * Purpose     A client can make frames appear in holes of a region's file, through a second
 *             mapping or a read-only descriptor. They cost memory that nobody has charged. Found
 *             by comparing the file's size on disk with the count of resident pages, and punched.
 * Invariants  D1  a hole is punched only with BUSY held over NONE, so that a page which is just
 *                 being produced is never hit.
 */
#include <errno.h>

#include "base/heartbeat.h"
#include "mm/phys/node.h"
#include "mm/space/region.h"
#include "os/os.h"

/* Bytes present beyond the last page belong to nobody. */
static int64_t punch_tail(struct region *region)
{
	uint64_t end = region->nr_pages << region->page_shift;
	uint64_t bytes = (region->section->nr_frames << PAGE_SHIFT) - end;

	if (!bytes || os->next_present(region->section->fd, end) < 0)
		return 0;
	return os->punch(region->section->fd, end, bytes) ? 0 : 1;
}

static int64_t punch_conjured(struct region *region, uint64_t page)
{
	struct page_range one = { page, 1 };
	uint64_t old;
	int64_t punched = 0;

	if (!word_try_busy(&region->words[page], PAGE_NONE, &old) &&
	    !word_try_busy(&region->words[page], PAGE_POISONED, &old) &&
	    !word_try_busy(&region->words[page], PAGE_SWAPPED, &old) &&
	    !word_try_busy(&region->words[page], PAGE_SAME_FILLED, &old) &&
	    !word_try_busy(&region->words[page], PAGE_INHERIT, &old))
		return 0;
	if (!os->punch(region->section->fd, page << region->page_shift, region_page_bytes(region)))
		punched = (int64_t)region_frames_per_page(region);
	if (word_end_busy(&region->words[page], old))
		region_wake(region, one);
	return punched;
}

static bool has_surplus(struct region *region)
{
	int64_t allocated = os->allocated(region->section->fd);
	uint64_t counted = atomic_load(&region->nr_resident) << region->page_shift;

	return allocated > 0 && (uint64_t)allocated > counted;
}

int64_t region_audit(struct region *region)
{
	int64_t punched = 0;
	int64_t at = 0;

	if (!has_surplus(region))
		return 0;
	while ((at = os->next_present(region->section->fd, (uint64_t)at)) >= 0) {
		uint64_t page = (uint64_t)at >> region->page_shift;

		if (page >= region->nr_pages)
			break;
		if (word_state(word_load(&region->words[page])) != PAGE_PRESENT)
			punched += punch_conjured(region, page);
		at = (int64_t)((page + 1) << region->page_shift);
	}
	return punched + punch_tail(region);
}

/* A region in use moves on while it is walked: what differs is looked at again. */
struct census {
	uint64_t per_node[MAX_NUMNODES], locked_on[MAX_NUMNODES];
	uint64_t resident, locked, busy, inherit, shared;
	uint64_t swapped, same_filled, slots; /* slots: pages that name one */
};

enum { CENSUS_TRIES = 20, BEAT_PAGES = 1 << 16 };

static void take_census(struct region *region, struct census *c)
{
	*c = (struct census){ 0 };
	for (uint64_t i = 0; i < region->nr_pages; i++) {
		uint64_t word = word_load(&region->words[i]);

		if (i % BEAT_PAGES == 0)
			heartbeat_touch();
		c->busy += !!(word & WORD_BUSY);
		c->locked += !!(word & WORD_LOCKED);
		c->shared += !!(word & WORD_SHARED);
		c->inherit += word_state(word) == PAGE_INHERIT;
		c->swapped += word_state(word) == PAGE_SWAPPED;
		c->same_filled += word_state(word) == PAGE_SAME_FILLED;
		c->slots += !!word_slot(word);
		if (word_state(word) != PAGE_PRESENT)
			continue;
		c->resident++;
		c->per_node[word_node(word)]++;
		c->locked_on[word_node(word)] += !!(word & WORD_LOCKED);
	}
}

static bool settled(struct region *region, const struct census *c)
{
	if (c->busy || c->resident != atomic_load(&region->nr_resident) ||
	    c->locked != atomic_load(&region->nr_locked) ||
	    c->inherit != atomic_load(&region->nr_inherit) ||
	    c->shared != atomic_load(&region->nr_shared) ||
	    c->swapped != atomic_load(&region->nr_swapped) ||
	    c->same_filled != atomic_load(&region->nr_same_filled))
		return false;
	return os->allocated(region->section->fd) == (int64_t)(c->resident << region->page_shift);
}

void region_validate(struct region *region, struct validation *v)
{
	struct census c;
	const char *name = region->name[0] ? region->name : "(unnamed)";

	for (int i = 0; i < CENSUS_TRIES; i++) {
		take_census(region, &c);
		if (settled(region, &c))
			break;
	}
	validation_compare(v, c.resident, atomic_load(&region->nr_resident),
			   "region %s: resident pages", name);
	validation_compare(v, c.locked, atomic_load(&region->nr_locked), "region %s: locked pages",
			   name);
	validation_compare(v, c.swapped, atomic_load(&region->nr_swapped),
			   "region %s: swapped pages", name);
	validation_compare(v, c.same_filled, atomic_load(&region->nr_same_filled),
			   "region %s: pages of one value", name);
	validation_compare(v, c.inherit, atomic_load(&region->nr_inherit),
			   "region %s: inherited pages", name);
	validation_compare(v, c.shared, atomic_load(&region->nr_shared), "region %s: shared pages",
			   name);
	validation_compare(v, (uint64_t)os->allocated(region->section->fd),
			   c.resident << region->page_shift, "region %s: bytes in the file", name);
	for (int node = 0; node < nr_nodes; node++)
		validation_compare(v, c.locked_on[node], atomic_load(&region->locked_on[node]),
				   "region %s: locked pages on node %d", name, node);
	for (int node = 0; node < nr_nodes; node++)
		validation_compare(v, atomic_load(&region->committed[node]) - c.per_node[node],
				   (uint64_t)atomic_load(&region->quota[node]),
				   "region %s: quota on node %d", name, node);
}

void region_count_charge(struct region *region, uint64_t counted[NR_MEMCG_KINDS])
{
	uint64_t frames = region_frames_per_page(region);
	struct census c;

	take_census(region, &c);
	counted[MEMCG_REGION] += c.resident * frames;
	counted[MEMCG_LOCKED] += c.locked * frames;
	counted[MEMCG_SWAP] += (c.slots + atomic_load(&region->nr_writing)) * frames;
}

void region_count_promises(const struct region *region, struct promise_share *counted)
{
	uint64_t frames = region_frames_per_page(region);

	for (int node = 0; node < nr_nodes; node++) {
		uint64_t nr = atomic_load(&region->committed[node]) * frames;

		counted->evictable[node][region->kind] += nr;
		counted->locked[node][region->kind] +=
			atomic_load(&region->locked_on[node]) * frames;
		counted->paged += nr;
		counted->whole += region_place(region, node).whole ? nr : 0;
	}
}
