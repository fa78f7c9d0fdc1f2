/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stock_hold - populating and punching the reserve's section
 *
 * Purpose     See stock_hold.h. Held memory is kept at the front of the section, so that it is one
 *             run: filling takes the lowest absent block, giving up takes the highest held one.
 * Invariants  H1  held = PAGEBLOCK_PAGES * (blocks BUSY or HELD).
 *             H2  a block counts as held before it is populated and until it has been punched.
 */
#include "mm/phys/stock_hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

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
	r = section_add(&request, &s->section);
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

static uint64_t block_offset(uint64_t block)
{
	return block << PAGEBLOCK_SHIFT;
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

	while (block >= 0 && s->blocks[block] != BLOCK_HELD)
		block--;
	return block;
}

static void set_held_locked(struct stock *s, uint32_t block)
{
	s->blocks[block] = BLOCK_HELD;
	s->hint_held = max_t(uint32_t, s->hint_held, block + 1);
}

static void set_absent_locked(struct stock *s, uint32_t block)
{
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

/* Populates and locks BUSY blocks; no lock held. */
static int fill_blocks(struct stock *s, uint64_t first, uint64_t nr)
{
	uint64_t offset = block_offset(first), length = block_offset(nr);
	int      r = (s->kind == STOCK_BASE ? os->populate_huge
					    : os->populate)(s->section->fd, offset, length,
							    s->os_node);

	if (r) {
		os->punch(s->section->fd, offset, length);
		return r;
	}
	/* hugetlb is never swapped. */
	if (s->kind == STOCK_BASE &&
	    os->lock((char *)section_virt(s->section) + offset, length))
		s->locked = false;
	return 0;
}

static void end_busy_locked(struct stock *s, uint32_t block, bool held)
{
	s->nr_busy--;
	if (held)
		set_held_locked(s, block);
	else
		set_absent_locked(s, block);
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

/* Fills what it can of [first, first + nr) in one go; returns blocks, or negative errno. */
static int64_t hold_run(struct stock *s, uint64_t first, uint64_t nr)
{
	int r = 0;

	mutex_lock(&s->lock);
	nr = begin_busy_locked(s, first, nr);
	mutex_unlock(&s->lock);
	if (nr)
		r = fill_blocks(s, first, nr);
	mutex_lock(&s->lock);
	for (uint64_t i = 0; i < nr; i++)
		end_busy_locked(s, (uint32_t)(first + i), !r);
	mutex_unlock(&s->lock);
	return r ? r : (int64_t)nr;
}

int stock_hold_populate(int node, enum stock_kind kind, uint64_t first_block, uint64_t nr)
{
	enum { STEP = 32 }; /* 64 MiB: a failure gives back no more than that */
	struct stock *s = stock_of(node, kind);
	uint64_t      end = min_t(uint64_t, first_block + nr, s->nr_blocks);

	for (uint64_t at = first_block; at < end;) {
		int64_t done = hold_run(s, at, min_t(uint64_t, end - at, STEP));

		if (done < 0)
			return (int)done;
		at += done ? (uint64_t)done : 1;
	}
	return 0;
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
	done = hold_run(s, block, 1);
	if (done > 0)
		atomic_fetch_add(&s->nr_refilled, 1);
	return done < 0 ? (int)done : done > 0;
}

void stock_hold_validate(struct stock *s, struct validation *v)
{
	uint64_t held = 0;

	mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->nr_blocks; i++)
		held += s->blocks[i] != BLOCK_ABSENT ? PAGEBLOCK_PAGES : 0;
	validation_compare(v, held, s->held, "frames held by node %d's stock, by blocks", s->node);
	validation_compare(v, (uint64_t)os->allocated(s->section->fd) >> PAGE_SHIFT, s->held,
			   "frames held by node %d's stock, by its file", s->node);
	mutex_unlock(&s->lock);
}
