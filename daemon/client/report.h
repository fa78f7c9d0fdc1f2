/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report - what operators read: lists, counters, kernel-format texts, the live verify
 *
 * Purpose     Snapshots for mmbctl. Texts are formatted into a growing buffer the caller frees.
 *             Lists are walked by cursor: `after` 0 starts, *next 0 ends.
 */
#ifndef MMB_CLIENT_REPORT_H
#define MMB_CLIENT_REPORT_H

#include "base/check.h"
#include "client/verbs.h"

struct stock_report {
	uint32_t node;
	const char *stock;
	uint64_t reserve, held, present, committed, margin; /* bytes */
};
struct status_report {
	uint64_t uptime_ms, pools, sessions, regions, metadata, spanned;
	uint64_t faults, fault_p50_ns, fault_p99_ns, poisoned;
	const char *reserve_mode;
	const char *topology;
	uint32_t nr_stocks;
	struct stock_report stocks[2 * MAX_NUMNODES];
};
void report_status(struct status_report *out);

struct pool_report {
	uint64_t id;
	char name[NAME_MAX_BYTES + 1];
	uid_t uid;
	gid_t gid;
	uint32_t mode;
	bool is_private;
	struct pool_stat stat;
};
struct session_report {
	uint64_t id, regions, spanned, resident, page_runs, leased, faults, requests;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	char name[NAME_MAX_BYTES + 1];
	bool user_mode_only;
	const char *state;
};
struct region_report {
	uint64_t id;
	char name[NAME_MAX_BYTES + 1], pool[NAME_MAX_BYTES + 1];
	uid_t uid;
	gid_t gid;
	uint32_t mode;
	bool hugetlb;
	uint64_t parent; /* id, 0: none */
	struct region_stat stat;
	struct region *region; /* not for readers */
};
/* Each fills at most max entries, returns how many, sets *next. */
uint32_t report_pools(uint64_t after, struct pool_report *out, uint32_t max, uint64_t *next);
uint32_t report_sessions(uint64_t after, struct session_report *out, uint32_t max, uint64_t *next);
/* pool "": all. */
uint32_t report_regions(uint64_t after, const char *pool, struct region_report *out, uint32_t max,
			uint64_t *next);

/* pool "": all. -ENOENT with its sentence. */
int report_check_pool(const char *pool, struct refusal *why);
/* That one. */
int report_no_pool(const char *pool, struct refusal *why);

enum report_text { TEXT_MEMINFO, TEXT_BUDDYINFO, TEXT_ZONEINFO, TEXT_PAGETYPEINFO, TEXT_VMSTAT };
/* *out: a NUL-terminated text, freed by the caller. pool "": all pools summed; -ENOENT. */
int report_text(enum report_text what, const char *pool, char **out, struct refusal *why);
/* /proc/PID/smaps-like text of one session's windows. */
int report_maps(uint64_t session, const struct peer *reader, char **out, struct refusal *why);
/* /proc/slabinfo of the daemon's own caches and of pools', by name of a pool if it isn't "". With
 * statistics the title says so, and each row goes on with what /sys/kernel/slab would show. */
int report_slabinfo(const char *pool, bool statistics, char **out, struct refusal *why);
/* Recomputes everything that can be recomputed. */
/* /proc/swaps of the daemon's areas; with details also their state and errors. */
int report_swaps(bool details, char **out, struct refusal *why);

void report_verify(struct validation *v);

#endif
