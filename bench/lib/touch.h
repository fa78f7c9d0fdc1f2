/* SPDX-License-Identifier: Apache-2.0 */
/*
 * touch - first touches of a range by one or more pinned threads, timed
 *
 * Purpose     The same touching code for the broker's regions, the bare userfaultfd floor and
 *             the kernel's own memory. Thread i runs on the i-th CPU. Random: the pages of the
 *             range in one shuffled order, dealt out to the threads, each touch timed.
 *             Sequential: the range in contiguous parts, only the whole is timed.
 */
#ifndef MMB_BENCH_LIB_TOUCH_H
#define MMB_BENCH_LIB_TOUCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bench.h"

/* What a touch gives as figures of a sample. */
enum { TOUCH_P50, TOUCH_P99, TOUCH_RATE, TOUCH_PAGE, TOUCH_VALUES }; /* ns, ns, pages/s, ns */

enum { TOUCH_THREADS_MAX = 8 };

struct touch {
	char        *base;
	size_t       page;
	uint32_t     pages;   /* of the range */
	uint32_t     touches; /* random: so many of them, each once; sequential: all */
	unsigned int threads;
	bool         random;
	bool         reads; /* else the first word of a page is written */
	uint32_t     pause_us; /* random: between two touches */
	int          file;     /* not 0: there is no range, pages of this file are read, O_DIRECT */
	uint64_t     seed;
};

int touch_run(const struct touch *t, struct sample *out);

#endif
