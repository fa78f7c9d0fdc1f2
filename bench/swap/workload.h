/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload - threads that read and write pages of a range in a pattern, and how fast they do it
 *
 * Purpose     The same accesses for the broker's memory and the kernel's. Every access is to one
 *             4 KiB page: a write changes a word of it, a read checks the page's mark.
 * Invariants  W1  word MARK_WORD of page i holds workload_mark(i) from workload_fill() on, and no
 *                 access changes it: a page that comes back wrong or zero ends the workload.
 *             W2  thread t runs on CPU place + t, modulo their number.
 * Locking     none; workers publish their counts, the caller reads them.
 */
#ifndef MMB_BENCH_SWAP_WORKLOAD_H
#define MMB_BENCH_SWAP_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

enum pattern {
	PATTERN_SEQUENTIAL, /* each thread sweeps its share, again and again */
	PATTERN_UNIFORM,
	PATTERN_ZIPF,   /* 0.99, ranks scattered over the range */
	PATTERN_HOT,    /* 7/8 of the accesses to one eighth of the range */
	PATTERN_MOVING, /* the same, and it moves by an eighth of itself every pages/16 */
	NR_PATTERNS
};

enum { WORKLOAD_PAGE = 4096, WORKLOAD_THREADS_MAX = 8, WORKLOAD_OUT_OF = 16 };

struct workload {
	char        *base;
	uint64_t     pages; /* of 4 KiB, a power of two */
	enum pattern pattern;
	unsigned int threads, place;
	unsigned int writes; /* of WORKLOAD_OUT_OF accesses */
	unsigned int warm_ms, ms;
	uint64_t     seed;
};

const char *workload_pattern_name(enum pattern pattern);
/* Writes every page, with words that differ. */
void workload_fill(char *base, uint64_t pages);
/* Every page holds its mark, or bench_because(). */
int workload_check(const char *base, uint64_t pages);
/* Accesses a second, after warm_ms of it. */
int workload_run(const struct workload *w, double *rate);
/* PATTERN_HOT for warm_ms, then its hot eighth jumps: how many ms until nine tenths of the rate
 * before are reached again; w->ms at most, which is the figure then. */
int workload_recover(const struct workload *w, double *recovered_ms);

#endif
