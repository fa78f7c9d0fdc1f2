/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead - populates and maps ahead of a sequential streak, in the background
 *
 * Purpose     Of a streak's next blocks every other one is produced and mapped by work threads,
 *             while the client's own faults do the blocks between: two CPUs work, and wait to be
 *             woken by each other once in two blocks at most.
 * Invariants  A1  the first page of a job's block stays unmapped: touching it tells how far the
 *                 client has come, and starts the blocks after it.
 *             A2  a job holds references to its mm and region, and at most AHEAD_JOBS exist.
 *             A3  a faulting client never works on a block together with a job: it waits for a
 *                 job that is being worked on, and takes over one that isn't.
 *             A4  nobody waits for work on another session's memory.
 *             A6  blocks that begin with a swapped page are read by waiters, a few at a time.
 *             A5  blocks of odd number are for jobs, those of even number for faults.
 *             A7  nothing is made ahead for a pool above its high, where each page waits its turn,
 *                 nor out of the last of a pool that promises more than there is.
 *             A8  of a region whose pages clones share, one job at a time gives copies to these
 *                 ahead of a streak of writes, at most BREAK_AHEAD_BYTES before it.
 * Locking     one leaf mutex for the state of jobs; nothing is held over a system call.
 */
#ifndef MMB_SPACE_AHEAD_H
#define MMB_SPACE_AHEAD_H

#include "mm/space/mm.h"

enum {
	AHEAD_BLOCK_BYTES = 2 << 20, /* one job of 4 KiB pages */
	AHEAD_BLOCK_HUGE = 4,        /* one job of 2 MiB pages */
	AHEAD_JOBS = 256,
	BREAK_AHEAD_BYTES = 1 << 20,
	BREAK_AHEAD_FROM = 64, /* pages that the streak is believed for */
};

static inline uint64_t ahead_block_pages(const struct region *region)
{
	uint64_t pages = AHEAD_BLOCK_BYTES >> region->page_shift;

	return pages > AHEAD_BLOCK_HUGE ? pages : AHEAD_BLOCK_HUGE;
}

/* A5 */
static inline bool ahead_is_for_job(const struct region *region, uint64_t page)
{
	return page / ahead_block_pages(region) % 2 == 1;
}

/* On a machine with so many CPUs. */
int ahead_init(unsigned int nr_threads);
void ahead_fini(void);
/* The jobs among the blocks of [first, first + nr) of the target's region, as seen through its
 * window. */
void ahead_start(struct mm *mm, const struct mm_target *target, struct page_range range);
/* Runs other work between jobs. */
void ahead_add(struct work *work);
/* A8: a write at the target's page belongs to a streak that is believed for so many pages: who goes
 * on finds what is shared there broken already. */
void ahead_break(const struct mm_target *target, uint64_t streak);
enum ahead_state {
	AHEAD_NONE,  /* no job has this page: it is done, or there was no room for it */
	AHEAD_BEGUN, /* the job will wake whoever waits for a page of it */
	AHEAD_TAKEN, /* it was still waiting, and is now the caller's to do */
};
enum ahead_state ahead_claim(const struct mm *mm, const struct mm_target *target);

#endif
