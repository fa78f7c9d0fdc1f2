/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone_audit - compares a section's file with its present pageblocks
 *
 * Cost        one fstat while nothing is wrong.
 */
#include "mm/phys/zone_audit.h"

#include "os/os.h"

static int64_t punch_if_absent(struct zone *zone, uint64_t block)
{
	uint32_t first = pfn_to_block(zone->section->pfn);
	int64_t punched = 0;

	mutex_lock(&zone->grow);
	if (!block_is_present(first + (uint32_t)block) &&
	    !os->punch(zone->section->fd, block << PAGEBLOCK_SHIFT, PAGEBLOCK_SIZE))
		punched = 1;
	mutex_unlock(&zone->grow);
	return punched;
}

int64_t zone_audit(struct zone *zone)
{
	int64_t allocated, punched = 0, at = 0;

	if (!zone->section)
		return 0;
	allocated = os->allocated(zone->section->fd);
	if (allocated < 0)
		return allocated;
	if ((uint64_t)allocated <= atomic_load(&zone->present) << PAGE_SHIFT)
		return 0;
	while ((at = os->next_present(zone->section->fd, (uint64_t)at)) >= 0) {
		uint64_t block = (uint64_t)at >> PAGEBLOCK_SHIFT;

		punched += punch_if_absent(zone, block);
		at = (int64_t)((block + 1) << PAGEBLOCK_SHIFT);
	}
	return punched;
}
