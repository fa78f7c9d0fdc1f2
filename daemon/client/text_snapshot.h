/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_snapshot - the numbers behind the kernel-format texts, at one moment
 *
 * Purpose     Plain values that text_format.h turns into meminfo, buddyinfo, zoneinfo,
 *             pagetypeinfo, vmstat and smaps. No pointer into live structures: it is filled once,
 *             from pools (report_text.c) or by a test.
 * Invariants  S1  memory counts are frames of 4 KiB unless the name says otherwise.
 *             S2  zones of one node are neighbours in zones[], nodes ascend.
 *             S3  nr_free is the sum over free[][] of count << order: what lies in pagesets
 *                 isn't in it, as in a kernel.
 *             S4  a zone's pageset and mark are the sums over the pools the text is about; a
 *                 pageset's batch is the largest.
 * Locking     none; a snapshot belongs to the thread that fills it.
 * Not here    The texts' shape (text_format.c), where the numbers come from (report_text.c).
 */
#ifndef MMB_CLIENT_TEXT_SNAPSHOT_H
#define MMB_CLIENT_TEXT_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/types.h"

enum {
	TEXT_MIGRATETYPES = 6, /* Unmovable, Movable, Reclaimable, HighAtomic, CMA, Isolate */
	TEXT_ZONES_MAX = 2 * MAX_NUMNODES, /* Normal (arenas) and Movable (regions) */
	TEXT_WINDOW_NAME_BYTES = 2 * NAME_MAX_BYTES + 16,
};

/* One daemon thread's pageset, summed over the pools the text is about. */
struct text_pageset {
	uint32_t cpu, count, high, batch, high_min, high_max;
};

struct text_zone {
	uint32_t node;
	const char *name; /* "Normal" or "Movable" */
	uint64_t nr_free, nr_free_cma, boost, min, low, high, promo;
	uint64_t spanned, present, managed, cma, start_pfn;
	uint64_t numa_hit, numa_miss, numa_foreign;
	bool     unreclaimable; /* its node: memory is short, and kswapd found nothing last time */
	uint64_t free[TEXT_MIGRATETYPES][NR_ORDERS];
	uint64_t pageblocks[TEXT_MIGRATETYPES];
	uint32_t nr_pagesets;
	struct text_pageset pagesets[NR_CPU_SLOTS];
};

/* What zoneinfo prints once a node, under "per-node stats". */
struct text_node {
	uint32_t id;
	uint64_t anon, shmem; /* resident frames of unnamed and of named regions */
	uint64_t hugetlb;     /* frames of the huge stock that are in use */
	uint64_t active, unevictable; /* of the resident ones; the others are inactive */
};

struct text_memory {
	uint64_t total, free, available;
	uint64_t anon, shmem, locked, active, inactive;
	uint64_t commit_limit, committed;
	uint64_t slab;                 /* frames of the daemon's own objects */
	uint64_t page_tables, percpu;  /* frames of page words; frames lying in pagesets */
	uint64_t direct_4k, direct_2m; /* present frames by what backs them */
	uint64_t huge_total, huge_free, huge_reserved; /* pages of 2 MiB */
	uint64_t hugetlb;                              /* frames of those that are in use */
	uint64_t swap_total, swap_free;                /* slots */
	uint64_t swap_cached; /* resident frames of which swap has a copy, or is getting one */
};

/* Counters since the daemon started, or since the pool was made; they never go back. */
struct text_events {
	uint64_t pgalloc_normal, pgfree;
	uint64_t numa_hit, numa_miss, numa_foreign;
	/* Kept for the whole broker only. */
	uint64_t allocstall_normal, pgfault, pgmajfault, oom_kill;
	uint64_t allocstall_movable, pageoutrun, pswpin, pswpout;
	uint64_t pgscan_kswapd, pgscan_direct, pgsteal_kswapd, pgsteal_direct;
	uint64_t refault_anon, activate_anon, pgactivate, pgdeactivate, pglazyfree;
	uint64_t swap_ra, swap_ra_hit;
	uint64_t pgpgin, pgpgout; /* KiB read from and written to swap areas */
};

struct text_snapshot {
	bool of_pool; /* of one pool: the broker's own counters are left out */
	uint32_t nr_nodes, nr_zones;
	struct text_node nodes[MAX_NUMNODES];
	struct text_zone zones[TEXT_ZONES_MAX];
	struct text_memory memory;
	struct text_events events;
};

/* One mapping in a client, as smaps shows it. Sizes are bytes. */
struct text_window {
	uint64_t start, end, offset;
	uint64_t id; /* of the region, or of the pool for an arena: stands where the inode does */
	uint64_t page_size;
	uint64_t resident, shared, locked; /* shared: of resident, also mapped by other sessions */
	uint64_t proportional, swapped; /* its part of resident; what is out */
	bool writable, is_shared, hugetlb;
	bool sequential, random; /* as advised */
	char name[TEXT_WINDOW_NAME_BYTES]; /* "POOL/REGION", or "[arena]" and the like */
};

#endif
