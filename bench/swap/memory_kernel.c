/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_kernel - the peer's memory: anonymous, in a memory cgroup with a limit
 *
 * Purpose     4 KiB pages, or transparent huge pages for the cases of 2 MiB. Its counters are the
 *             kernel's: /proc/vmstat for what was written, the process's CPU time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/clock.h"
#include "swap/cgroup.h"
#include "swap/player.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

enum {
	HUGE = 2 << 20,
	EMPTY_TRIES = 20,
	OUT_MS = 2,
	LEFT = 64, /* one part in so many may stay: pages on per-CPU lists are skipped */
	OWN_BYTES = 4 << 20,
	TABLES = 256, /* of a range: what its page tables take, doubled */
};

/* The group's limit holds the process's own memory and page tables besides. */
static int kernel_take(struct player *p)
{
	int advice = p->page == HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
	int error = cgroup_limit(p->group, p->limit + p->bytes / TABLES + OWN_BYTES);
	char *at;

	if (error == 0)
		error = cgroup_enter(p->group);
	if (error != 0)
		return error;
	at = mmap(NULL, p->bytes + HUGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return bench_because(-errno, "mmap: %s", strerror(errno));
	p->base = (char *)(((uintptr_t)at + HUGE - 1) / HUGE * HUGE);
	if (madvise(p->base, p->bytes, advice) != 0)
		return bench_because(-errno, "madvise: %s", strerror(errno));
	return 0;
}

static int kernel_out(struct player *p)
{
	if (madvise(p->base, p->bytes, MADV_PAGEOUT) != 0)
		return bench_because(-errno, "MADV_PAGEOUT: %s", strerror(errno));
	while (cgroup_writeback(p->group) != 0)
		clock_sleep_ms(OUT_MS);
	return 0;
}

/* What was written stays in the swap cache, where the next touch would find it: a low limit, for a
 * moment, empties that. */
static int kernel_empty(struct player *p)
{
	uint64_t own = p->bytes / TABLES + OWN_BYTES;

	for (int i = 0; i < EMPTY_TRIES; i++) {
		int error = kernel_out(p), restored;

		cgroup_limit(p->group, own);
		restored = cgroup_limit(p->group, p->limit + own);
		if (error != 0 || restored != 0)
			return error != 0 ? error : restored;
		if (cgroup_usage(p->group) <= p->bytes / LEFT + own)
			return 0;
	}
	return bench_because(-EBUSY, "%llu MiB stay after MADV_PAGEOUT",
			     (unsigned long long)cgroup_usage(p->group) >> 20);
}

/* The kernel has no way to take entries away and keep the page; its own figure for a page taken
 * back is a fault that finds the swap cache, and that isn't a matter of a call. */
static int kernel_cold(struct player *p)
{
	return bench_because(BENCH_SKIP, "no such call");
}

static uint64_t kernel_cpu(struct player *p)
{
	return clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static int kernel_written(struct player *p, uint64_t *pages)
{
	FILE *f = fopen("/proc/vmstat", "re");
	char line[128];
	bool found = false;

	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "pswpout %" SCNu64, pages) == 1;
	if (f != NULL)
		fclose(f);
	return found ? 0 : bench_because(-ENOENT, "no pswpout in /proc/vmstat");
}

const struct player_memory memory_kernel = {
	.take = kernel_take,
	.out = kernel_out,
	.empty = kernel_empty,
	.cold = kernel_cold,
	.cpu_ns = kernel_cpu,
	.written = kernel_written,
};
