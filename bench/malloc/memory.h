/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory - what a process's allocations cost the machine, counted alike for all allocators
 *
 * Purpose     RssAnon + RssFile                  the process's own pages
 *             + max(RssShmem + HugetlbPages,     pages it shares with the daemon as mapped here,
 *                   what the pool is charged)    or all that was granted, mapped or not
 *             + growth of the daemon's metadata  since before the session
 *             - run_scratch()                    which isn't the allocator's
 *             Objects up to 64 KiB are written on every page then (run_touches_pages).
 *             The second line takes the larger one and not the sum: a granted page that is mapped
 *             is in both. Without a daemon it is the first of its two, and the third is 0.
 */
#ifndef MMB_BENCH_MALLOC_MEMORY_H
#define MMB_BENCH_MALLOC_MEMORY_H

#include "malloc/run.h"

uint64_t memory_now(const struct run *r);

/* A thread that keeps the highest of memory_now(), every two milliseconds. */
int memory_watch(const struct run *r);
/* Ends it. The highest, in bytes. */
uint64_t memory_peak(void);

#endif
