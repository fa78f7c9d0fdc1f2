/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock_hold - populating and punching the reserve's section
 *
 * Purpose     See stock_hold.h. Held memory is kept at the front of the section, so that it is one
 *             run: filling takes the lowest absent block, giving up takes the highest held one.
 * Invariants  H1  held = PAGEBLOCK_PAGES * (blocks BUSY, BARE or HELD).
 *             H2  a block counts as held before it is populated and until it has been punched.
 *             H3  a BARE block's pages are the broker's as much as a HELD one's; only the host's
 *                 swap may still take them. Locking goes upwards, giving up downwards: what is
 *                 handed over early needs never be locked.
 * Crash       The section's file outlives the daemon, and with it what is held: nobody else can
 *             take it meanwhile. The next daemon keeps what is whole at the front.
 */
#include "mm/phys/stock_hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

static uint64_t block_offset(uint64_t block)
{
	return block << PAGEBLOCK_SHIFT;
}

/* ---- a predecessor's ---- */

static struct section *find_old(const struct stock *s, uint64_t reserve)
{
	for (uint32_t id = 1; id < NR_SECTIONS_MAX; id++) {
		struct section *section = section_by_id(id);

		if (section && section->type == SECTION_RESERVE && !section->owner &&
		    section->kind == s->kind && section->node == s->node &&
		    section->nr_frames == reserve && section->mapped)
			return section;
	}
	return NULL;
}

static bool front_is_whole(const struct stock *s, uint64_t blocks)
{
	return os->allocated(s->section->fd) >> PAGE_SHIFT == (int64_t)(blocks << PAGEBLOCK_ORDER);
}

/* How many blocks at the front are whole, told by what the file has in all: to look at each page
 * takes long where the kernel has no call for it, or the service manager doesn't know that call.
 * What lies behind them goes, and with a hole among them all that lies behind it. */
static uint64_t keep_front(struct stock *s)
{
	uint64_t nr = s->nr_blocks + 1ull;

	do {
		int64_t frames = os->allocated(s->section->fd) >> PAGE_SHIFT;

		nr = frames > 0 ? min_t(uint64_t, nr - 1, (uint64_t)frames >> PAGEBLOCK_ORDER) : 0;
		if (nr < s->nr_blocks &&
		    os->punch(s->section->fd, block_offset(nr), block_offset(s->nr_blocks - nr)))
			return 0;
	} while (nr && !front_is_whole(s, nr));
	return nr;
}

/* It has to be locked again, since that ended with the process. */
static void adopt_front(struct stock *s, uint64_t nr)
{
	bool bare = s->kind == STOCK_BASE;

	memset(s->blocks, bare ? BLOCK_BARE : BLOCK_HELD, nr);
	s->nr_bare = bare ? (uint32_t)nr : 0;
	s->hint_held = (uint32_t)nr;
	s->hint_absent = (uint32_t)nr;
	s->held = nr << PAGEBLOCK_ORDER;
	s->used = s->held;
}

static bool adopt_old(struct stock *s, uint64_t reserve)
{
	s->section = find_old(s, reserve);
	if (!s->section)
		return false;
	s->section->owner = s;
	adopt_front(s, keep_front(s));
	return true;
}

int stock_hold_init(struct stock *s, uint64_t reserve)
{
	char                   name[SECTION_NAME_BYTES];
	struct section_request request = {
		.name = name,
		.nr_frames = reserve,
		.kind = s->kind,
		.type = SECTION_RESERVE,
		.node = s->node,
		.map = true,
		.owner = s,
	};
	int r;

	snprintf(name, sizeof(name), "reserve-%d-%s", s->node,
		 s->kind == STOCK_HUGE ? "huge" : "base");
	s->nr_blocks = (uint32_t)(reserve >> PAGEBLOCK_ORDER);
	s->blocks = calloc(s->nr_blocks, 1);
	if (!s->blocks)
		return -ENOMEM;
	r = adopt_old(s, reserve) ? 0 : section_add(&request, &s->section);
	if (r) {
		free(s->blocks);
		s->blocks = NULL;
	}
	return r;
}

void stock_hold_fini(struct stock *s)
{
	section_remove(s->section);
	free(s->blocks);
	s->section = NULL;
	s->blocks = NULL;
	s->used = 0;
	s->held = 0;
}

/* Lowest absent block at or after the hint; nr_blocks if none. */
static uint32_t find_absent_locked(struct stock *s)
{
	while (s->hint_absent < s->nr_blocks && s->blocks[s->hint_absent] != BLOCK_ABSENT)
		s->hint_absent++;
	return s->hint_absent;
}

/* Highest held block below the hint, -1 if none. */
static int64_t find_held_locked(struct stock *s)
{
	int64_t block = (int64_t)s->hint_held - 1;

	while (block >= 0 && s->blocks[block] < BLOCK_BARE)
		block--;
	return block;
}

/* Lowest BARE block, nr_blocks if none. */
static uint32_t find_bare_locked(struct stock *s)
{
	if (!s->nr_bare)
		return s->nr_blocks;
	while (s->blocks[s->hint_bare] != BLOCK_BARE)
		s->hint_bare++;
	return s->hint_bare;
}

static void set_held_locked(struct stock *s, uint32_t block, enum stock_block state)
{
	s->blocks[block] = (uint8_t)state;
	s->hint_held = max_t(uint32_t, s->hint_held, block + 1);
	if (state == BLOCK_BARE) {
		s->hint_bare = min_t(uint32_t, s->hint_bare, block);
		s->nr_bare++;
	}
}

static void set_absent_locked(struct stock *s, uint32_t block)
{
	s->nr_bare -= s->blocks[block] == BLOCK_BARE;
	s->blocks[block] = BLOCK_ABSENT;
	s->hint_absent = min_t(uint32_t, s->hint_absent, block);
	atomic_fetch_sub(&s->held, PAGEBLOCK_PAGES);
	atomic_fetch_sub(&s->used, PAGEBLOCK_PAGES);
}

bool stock_punch_held_locked(struct stock *s)
{
	int64_t block = find_held_locked(s);

	if (block < 0)
		return false;
	if (os->punch(s->section->fd, block_offset((uint64_t)block), PAGEBLOCK_SIZE))
		return false;
	s->hint_held = (uint32_t)block; /* a BUSY block above raises it again */
	set_absent_locked(s, (uint32_t)block);
	atomic_fetch_add(&s->nr_punched, 1);
	return true;
}

bool stock_relieve(struct stock *s)
{
	bool punched;

	if (s->mode != STOCK_HOLD)
		return false;
	mutex_lock(&s->lock);
	punched = stock_punch_held_locked(s);
	mutex_unlock(&s->lock);
	return punched;
}

/* ---- the page for what must be ---- */

static void count_spare_locked(struct stock *s, bool has)
{
	s->has_spare = has;
	if (has) {
		atomic_fetch_add(&s->used, PAGEBLOCK_PAGES); /* of the margin */
		atomic_fetch_add(&s->held, PAGEBLOCK_PAGES);
	} else {
		atomic_fetch_sub(&s->held, PAGEBLOCK_PAGES);
		atomic_fetch_sub(&s->used, PAGEBLOCK_PAGES);
	}
}

static void empty_spare_locked(struct stock *s)
{
	int r = s->has_spare ? os->punch(s->spare->fd, 0, PAGEBLOCK_SIZE) : 0;

	if (!r && s->has_spare)
		count_spare_locked(s, false);
}

int stock_fill_spare_locked(struct stock *s)
{
	int r = s->has_spare ? 0 : os->populate(s->spare->fd, 0, PAGEBLOCK_SIZE, s->os_node);

	if (!r && !s->has_spare)
		count_spare_locked(s, true);
	return r;
}

/* Crash    a section without a page is nobody's for the next daemon, nor is one with a page that
 *          nobody asks for until the resume is over. */
int stock_add_spare(struct stock *s)
{
	char                   name[SECTION_NAME_BYTES];
	struct section_request request = {
		.name = name,
		.nr_frames = PAGEBLOCK_PAGES,
		.kind = s->kind,
		.type = SECTION_RESERVE,
		.node = s->node,
		.owner = s,
	};
	struct section *section, *lost = NULL;
	int             r;

	snprintf(name, sizeof(name), "spare-%d", s->node);
	r = section_add(&request, &section);
	if (r)
		return r;
	mutex_lock(&s->lock);
	if (s->spare) /* another was faster */
		lost = section;
	else
		s->spare = section;
	r = stock_fill_spare_locked(s);
	mutex_unlock(&s->lock);
	if (lost)
		section_remove(lost);
	return r;
}

struct section *stock_drop_spare_locked(struct stock *s)
{
	struct section *section = s->spare;

	empty_spare_locked(s); /* at once, and not when the keeper has heard of it */
	if (s->has_spare)
		count_spare_locked(s, false);
	s->spare = NULL;
	return section;
}

bool stock_give_spare(struct stock *s)
{
	bool had;

	mutex_lock(&s->lock);
	had = s->has_spare;
	empty_spare_locked(s);
	had &= !s->has_spare;
	mutex_unlock(&s->lock);
	return had;
}

void stock_adopt_spare(struct stock *s)
{
	for (uint32_t id = 1; id < NR_SECTIONS_MAX && !s->spare; id++) {
		struct section *section = section_by_id(id);

		if (section && section->type == SECTION_RESERVE && !section->owner &&
		    section->kind == s->kind && section->node == s->node && !section->mapped &&
		    section->nr_frames == PAGEBLOCK_PAGES &&
		    os->allocated(section->fd) == PAGEBLOCK_SIZE) {
			section->owner = s;
			s->spare = section;
			count_spare_locked(s, true);
		}
	}
}

/* hugetlb is never swapped. */
static void lock_blocks(struct stock *s, uint64_t first, uint64_t nr)
{
	if (s->kind == STOCK_BASE &&
	    os->lock((char *)section_virt(s->section) + block_offset(first), block_offset(nr)))
		s->locked = false;
}

/* Populates BUSY blocks, and locks them unless they shall be BARE; no lock held. */
static int fill_blocks(struct stock *s, uint64_t first, uint64_t nr, enum stock_block state)
{
	bool huge = s->kind == STOCK_BASE && state == BLOCK_HELD;
	int  r = (huge ? os->populate_huge : os->populate)(s->section->fd, block_offset(first),
							   block_offset(nr), s->os_node);

	if (r)
		os->punch(s->section->fd, block_offset(first), block_offset(nr));
	else if (state == BLOCK_HELD)
		lock_blocks(s, first, nr);
	return r;
}

static void end_busy_locked(struct stock *s, uint32_t block, enum stock_block state)
{
	s->nr_busy--;
	if (state == BLOCK_ABSENT)
		set_absent_locked(s, block);
	else
		set_held_locked(s, block, state);
}

uint64_t stock_hold_blocks(int node, enum stock_kind kind)
{
	struct stock *s = stock_of(node, kind);
	uint64_t      present = s->used - s->held;

	if (s->mode != STOCK_HOLD || present + s->slack > s->reserve)
		return 0;
	return (s->reserve - s->slack - present) >> PAGEBLOCK_ORDER;
}

/* Marks the absent ones of [first, first + nr) BUSY up to the first that isn't, as far as the
 * reserve has room; returns how many. */
static uint64_t begin_busy_locked(struct stock *s, uint64_t first, uint64_t nr)
{
	uint64_t done = 0;

	while (done < nr && s->blocks[first + done] == BLOCK_ABSENT) {
		uint64_t used = s->used;

		do {
			if (used + PAGEBLOCK_PAGES + s->slack > s->reserve)
				return done;
		} while (!atomic_compare_exchange_weak(&s->used, &used, used + PAGEBLOCK_PAGES));
		atomic_fetch_add(&s->held, PAGEBLOCK_PAGES);
		s->blocks[first + done++] = BLOCK_BUSY;
		s->nr_busy++;
	}
	return done;
}

/* Fills what it can of [first, first + nr) in one go, and leaves it in that state; returns blocks,
 * or negative errno. */
static int64_t hold_run(struct stock *s, uint64_t first, uint64_t nr, enum stock_block state)
{
	int r = 0;

	mutex_lock(&s->lock);
	nr = begin_busy_locked(s, first, nr);
	mutex_unlock(&s->lock);
	if (nr)
		r = fill_blocks(s, first, nr, state);
	mutex_lock(&s->lock);
	for (uint64_t i = 0; i < nr; i++)
		end_busy_locked(s, (uint32_t)(first + i), r ? BLOCK_ABSENT : state);
	mutex_unlock(&s->lock);
	return r ? r : (int64_t)nr;
}

int stock_hold_populate(int node, enum stock_kind kind, uint64_t first_block, uint64_t nr)
{
	enum { STEP = 32 }; /* 64 MiB: a failure gives back no more than that */
	struct stock *s = stock_of(node, kind);
	uint64_t      end = min_t(uint64_t, first_block + nr, s->nr_blocks);

	for (uint64_t at = first_block; at < end;) {
		int64_t done = hold_run(s, at, min_t(uint64_t, end - at, STEP),
					s->quick ? BLOCK_BARE : BLOCK_HELD);

		if (done < 0)
			return (int)done;
		at += done ? (uint64_t)done : 1;
	}
	/* Whether locking is allowed at all is known when start-up ends. */
	if (!first_block)
		stock_settle_step(node, kind);
	return 0;
}

bool stock_settle_step(int node, enum stock_kind kind)
{
	struct stock *s = stock_of(node, kind);
	uint32_t      block;
	bool          more;

	if (s->mode != STOCK_HOLD || !s->reserve || !s->locked)
		return false;
	mutex_lock(&s->lock);
	block = find_bare_locked(s);
	if (block == s->nr_blocks) {
		mutex_unlock(&s->lock);
		return false;
	}
	s->blocks[block] = BLOCK_BUSY; /* nobody punches it: to lock a hole would fill it */
	s->nr_bare--;
	s->nr_busy++;
	mutex_unlock(&s->lock);
	lock_blocks(s, block, 1);
	mutex_lock(&s->lock);
	end_busy_locked(s, block, BLOCK_HELD);
	more = s->nr_bare && s->locked;
	mutex_unlock(&s->lock);
	return more;
}

int64_t stock_hold_surplus(int node, enum stock_kind kind)
{
	struct stock *s = stock_of(node, kind);
	int64_t       surplus = (int64_t)s->used + (int64_t)s->slack - (int64_t)s->reserve;

	if (s->mode != STOCK_HOLD || !s->reserve)
		return 0;
	return min_t(int64_t, surplus, (int64_t)s->held);
}

int stock_refill_step(int node, enum stock_kind kind)
{
	struct stock *s = stock_of(node, kind);
	int64_t       surplus = stock_hold_surplus(node, kind);
	uint32_t      block;
	int64_t       done;

	if (surplus > 0)
		return stock_relieve(s);
	if (surplus > -PAGEBLOCK_PAGES)
		return 0;
	mutex_lock(&s->lock);
	block = find_absent_locked(s);
	mutex_unlock(&s->lock);
	if (block == s->nr_blocks)
		return 0;
	done = hold_run(s, block, 1, BLOCK_HELD);
	if (done > 0)
		atomic_fetch_add(&s->nr_refilled, 1);
	return done < 0 ? (int)done : done > 0;
}

void stock_hold_validate(struct stock *s, struct validation *v)
{
	uint64_t held = 0, bare = 0;

	mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->nr_blocks; i++) {
		held += s->blocks[i] != BLOCK_ABSENT ? PAGEBLOCK_PAGES : 0;
		bare += s->blocks[i] == BLOCK_BARE;
	}
	validation_compare(v, bare, s->nr_bare, "pageblocks still to be locked, node %d", s->node);
	validation_compare(v, held, s->held, "frames held by node %d's stock, by blocks", s->node);
	validation_compare(v, (uint64_t)os->allocated(s->section->fd) >> PAGE_SHIFT, s->held,
			   "frames held by node %d's stock, by its file", s->node);
	mutex_unlock(&s->lock);
}
