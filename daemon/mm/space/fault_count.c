/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_count - begins and ends of faults
 */
#include "mm/space/fault_count.h"

#include "os/os.h"

struct fault_stats fault_stats;
struct histogram fault_latency;

void fault_count(struct waiting_fault *fault)
{
	struct region *region = fault->target.region;
	uint32_t flags = fault->event.flags;

	if (fault->counted)
		return;
	fault->counted = true;
	fault_stat(&fault_stats.nr_faults);
	fault_stat(flags & OS_FAULT_MINOR ? &fault_stats.nr_minor
	      : flags & OS_FAULT_WP  ? &fault_stats.nr_wp
				     : &fault_stats.nr_missing);
	fault_stat(&fault->mm->nr_faults);
	fault_stat(&region->nr_faults);
	if (flags & OS_FAULT_WRITE)
		fault_stat(&region->nr_write_faults);
}

void fault_count_major(struct waiting_fault *fault)
{
	if (!fault->major)
		fault_stat(&fault_stats.nr_major);
	fault->major = true;
}

void fault_ended(const struct waiting_fault *fault)
{
	if (fault->counted)
		histogram_add(&fault_latency, os->now_ns() - fault->first_ns);
}
