/* SPDX-License-Identifier: Apache-2.0 */
/*
 * psi - how long a pool's or a session's threads have stood still for lack of memory
 *
 * Purpose     Counts threads that wait now, adds up the time in which some of them waited, and the
 *             time in which all of them did, and keeps averages over 10, 60 and 300 seconds, in the
 *             meaning and the text format of the kernel's pressure files.
 * Invariants  P1  total[SOME] is the time in which nr_stalled was above 0.
 *             P2  total[FULL] is the time in which nr_stalled was at least nr_tasks as well, hence
 *                 never more than total[SOME].
 *             P3  averages change once a period of 2 s, however often they are looked at.
 * Locking     lock (a leaf), for some 20 ns.
 * Not here    Who waits for what (memcg.h: memstall_enter), how many threads there are: the broker
 *             sees only those that fault, and says so with psi_set_tasks().
 */
#ifndef MMB_MAP_PSI_H
#define MMB_MAP_PSI_H

#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"

enum psi_kind { PSI_SOME, PSI_FULL, NR_PSI_KINDS };
enum psi_window { PSI_10S, PSI_60S, PSI_300S, NR_PSI_WINDOWS };
enum { PSI_TEXT_BYTES = 256 };

/* l: lock */
struct psi {
	struct mutex lock;
	uint32_t nr_stalled;             /* (l) */
	uint32_t nr_tasks;               /* (l) threads that could stall; at least 1 */
	uint64_t counted_ns;             /* (l) totals are complete until then */
	uint64_t total_ns[NR_PSI_KINDS]; /* (l) */
	uint64_t period_ns;              /* (l) the last period ended then */
	uint64_t before_ns[NR_PSI_KINDS]; /* (l) totals at that moment */
	uint32_t average[NR_PSI_KINDS][NR_PSI_WINDOWS]; /* (l) of the time; 1.0 is 1 << 24 */
};

struct psi_snapshot {
	uint64_t total_us[NR_PSI_KINDS];
	uint32_t average[NR_PSI_KINDS][NR_PSI_WINDOWS]; /* in hundredths of a percent */
};

void psi_init(struct psi *psi, uint64_t now_ns);
void psi_fini(struct psi *psi);
/* A thread begins to wait for memory, and goes on: in pairs. now_ns: os->now_ns(). */
void psi_enter(struct psi *psi, uint64_t now_ns);
void psi_leave(struct psi *psi, uint64_t now_ns);
/* How many threads there are that fault at times; from now on. */
void psi_set_tasks(struct psi *psi, uint32_t nr, uint64_t now_ns);
/* Brings totals and averages up to date. */
void psi_snapshot(struct psi *psi, uint64_t now_ns, struct psi_snapshot *out);
/* The two lines of a pressure file. */
void psi_format(const struct psi_snapshot *s, char out[PSI_TEXT_BYTES]);

#endif
