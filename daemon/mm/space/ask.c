/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask - how much of a clone's window comes to show the clone's own memory at once
 *
 * Purpose     A page by itself, with what has diverged beside it, costs a mapping or two of the
 *             client; a block that has diverged in many places moves as a whole.
 * Invariants  see cow_ask() in cow.h, and remap.c for what becomes of it.
 * Locking     none.
 */
#include <errno.h>

#include "mm/space/cow.h"
#include "mm/space/fault.h"

enum {
	BLOCK_PAGES = 512,
	DIVERGED_FEW = 8, /* pages of a block that move one by one */
	PIECES_MAX = 2 * DIVERGED_FEW + 1,
	BLOCK_PAGES_HUGE = 2 * DIVERGED_FEW, /* of 2 MiB: each can be a mapping of its own */
	PIECES_OF_WINDOW = 32768,
	WINDOWS_OF_SESSION = 24576, /* from here on whole blocks move */
};

/* Around the page, what isn't inherited in the window that it is in. */
static struct page_range own_run(const struct mm_target *t, struct page_range within)
{
	const struct region *region = t->region;
	uint64_t low = max_t(uint64_t, t->first, within.first), first = t->page;
	uint64_t high = min_t(uint64_t, t->end, within.first + within.nr), end = t->page + 1;

	while (first > low && word_state(word_load(&region->words[first - 1])) != PAGE_INHERIT)
		first--;
	while (end < high && word_state(word_load(&region->words[end])) != PAGE_INHERIT)
		end++;
	return (struct page_range){ first, end - first };
}

static uint64_t block_pages(const struct region *region)
{
	return region->page_shift == PAGE_SHIFT ? BLOCK_PAGES : BLOCK_PAGES_HUGE;
}

/* How many mappings of the client the windows over one block may be. Over all blocks that is at
 * most PIECES_OF_WINDOW, or one a block. */
static uint64_t pieces_max(const struct region *region)
{
	uint64_t nr_blocks = (region->nr_pages + block_pages(region) - 1) / block_pages(region);
	uint64_t most = PIECES_OF_WINDOW / nr_blocks;

	return min_t(uint64_t, PIECES_MAX, max_t(uint64_t, most, 1));
}

/* Asking page by page costs more than to copy what of the rest is touched later, unless a page is
 * as large as a block. */
static bool has_diverged_much(const struct region *region, struct page_range block)
{
	unsigned int nr = 0;

	if (region->page_shift != PAGE_SHIFT)
		return false;
	for (uint64_t i = block.first; i < block.first + block.nr && nr <= DIVERGED_FEW; i++) {
		enum page_state state = word_state(word_load(&region->words[i]));

		nr += state != PAGE_INHERIT && state != PAGE_NONE;
	}
	return nr > DIVERGED_FEW;
}

/* What the window is to show of the clone's own around the page. Where that is a whole block, what
 * it still inherits is copied when it is touched there. */
static struct page_range run_to_move(const struct mm_target *t, const struct mm_remap *around)
{
	if (around->nr_pieces + 2 > pieces_max(t->region) ||
	    around->nr_windows > WINDOWS_OF_SESSION ||
	    has_diverged_much(t->region, around->extent))
		return around->extent;
	return own_run(t, around->extent);
}

/* The client maps the page from the clone's own memory; its faults wait for that alone. */
int cow_ask(struct mm *mm, const struct mm_target *t)
{
	uint64_t nr = block_pages(t->region);
	struct page_range block = { round_down(t->page, nr), nr }, run;
	struct remap want = { .handle = t->handle, .since_ns = os->now_ns() };
	unsigned int shift = t->region->page_shift;
	struct mm_remap around;

	if (mm_remap_look(mm, t, block, &around))
		return COW_AGAIN;
	run = run_to_move(t, &around);
	want.address = t->base + (run.first << shift);
	want.length = run.nr << shift;
	want.offset = run.first << shift;
	want.sent_ns = want.since_ns;
	switch (mm_remap_begin(mm, t, &want)) {
	case REMAP_BEGUN:
		fault_ask_remap(mm, &want);
		return COW_SETTLED;
	case REMAP_PENDING:
		return COW_SETTLED;
	case REMAP_IS_DONE:
		os->uffd_wake(mm->uffd, t->base + (t->page << shift), 1ull << shift);
		return COW_SETTLED;
	default:
		return -EAGAIN;
	}
}
