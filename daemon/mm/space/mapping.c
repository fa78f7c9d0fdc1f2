/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapping - turns, and runs of equal protection
 */
#include "mm/space/mapping.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "os/os.h"

enum { SYNC_SPINS = 64 };
static const struct timespec sync_pause = { .tv_nsec = 20 * 1000 };

unsigned int region_map_enter(struct region *region)
{
	for (;;) {
		unsigned int turn = atomic_load(&region->map_turn) & 1;

		atomic_fetch_add(&region->nr_mapping[turn], 1);
		if ((atomic_load(&region->map_turn) & 1) == turn)
			return turn;
		atomic_fetch_sub(&region->nr_mapping[turn], 1); /* it has just ended */
	}
}

void region_map_leave(struct region *region, unsigned int turn)
{
	atomic_fetch_sub(&region->nr_mapping[turn], 1);
}

void region_map_sync(struct region *region)
{
	unsigned int turn;

	mutex_lock(&region->sync_lock);
	turn = atomic_fetch_add(&region->map_turn, 1) & 1;
	for (unsigned int i = 0; atomic_load(&region->nr_mapping[turn]); i++) {
		if (i < SYNC_SPINS)
			sched_yield();
		else
			nanosleep(&sync_pause, NULL);
	}
	mutex_unlock(&region->sync_lock);
}

static bool is_protected(struct region *region, uint64_t page)
{
	return word_load(&region->words[page]) & WORD_PROTECTED;
}

static struct os_range_result install(struct mm *mm, uint64_t address, uint64_t length,
				      bool protected)
{
	return protected ? os->uffd_continue_protected(mm->uffd, address, length)
			 : os->uffd_continue(mm->uffd, address, length);
}

int map_run(struct mm *mm, const struct mm_target *target, struct page_range run, uint64_t *done)
{
	struct region *region = target->region;
	unsigned int shift = region->page_shift;
	uint64_t end = min_t(uint64_t, run.first + run.nr, target->end);
	uint64_t at = run.first;
	unsigned int turn = region_map_enter(region);
	int error = atomic_load(&region->frozen) ? -EBUSY : 0;

	while (at < end && !error) {
		bool protected = is_protected(region, at);
		uint64_t next = at + 1;
		struct os_range_result r;

		while (next < end && is_protected(region, next) == protected)
			next++;
		r = install(mm, target->base + (at << shift), (next - at) << shift, protected);
		error = r.error;
		at += r.done >> shift;
	}
	region_map_leave(region, turn);
	*done = at - run.first;
	return error;
}

int map_least(struct mm *mm, const struct mm_target *target, uint64_t address, uint64_t *done)
{
	struct region *region = target->region;
	uint64_t bytes = region_is_hugetlb(region) ? PAGEBLOCK_SIZE : PAGE_SIZE;
	unsigned int turn = region_map_enter(region);
	struct os_range_result r = { .error = -EBUSY };

	if (!atomic_load(&region->frozen))
		r = install(mm, round_down(address, bytes), bytes,
			    is_protected(region, target->page));
	region_map_leave(region, turn);
	*done = r.done ? 1 : 0;
	return r.error;
}

int map_unprotect(struct mm *mm, const struct mm_target *target, struct page_range run)
{
	struct region *region = target->region;
	unsigned int turn = region_map_enter(region);
	int error = atomic_load(&region->frozen) ? -EBUSY : 0;

	for (uint64_t i = run.first; i < run.first + run.nr && !error; i++)
		if (is_protected(region, i))
			error = -EAGAIN;
	if (!error)
		error = os->uffd_unprotect(mm->uffd,
					   target->base + (run.first << region->page_shift),
					   run.nr << region->page_shift);
	region_map_leave(region, turn);
	return error;
}
