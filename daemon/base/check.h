/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check - assertions in three strengths, and the collector that _validate walks report to
 *
 * Purpose     CHECK: always on, O(1), a broken invariant ends the daemon with file and line.
 *             DCHECK: debug builds only. A _validate walk recomputes the truth and reports every
 *             difference to a struct validation instead of ending anything.
 */
#ifndef MMB_BASE_CHECK_H
#define MMB_BASE_CHECK_H

#include <stdint.h>

_Noreturn void check_failed(const char *expression, const char *file, int line);

#define CHECK(e) ((e) ? (void)0 : check_failed(#e, __FILE__, __LINE__))
#ifdef MMB_DEBUG
#define DCHECK(e) CHECK(e)
#else
#define DCHECK(e) ((void)sizeof(e))
#endif

enum { VALIDATION_REPORTS = 32, VALIDATION_REPORT_BYTES = 160 };

struct validation {
	uint64_t nr_checked;
	uint64_t nr_differences;
	char     reports[VALIDATION_REPORTS][VALIDATION_REPORT_BYTES]; /* the first ones */
};

/* Compares a recomputed value with the recorded one. `what` is a sentence's subject. */
void validation_compare(struct validation *v, uint64_t recomputed, uint64_t recorded,
			const char *what, ...) __attribute__((format(printf, 4, 5)));
/* Records a difference that isn't a pair of numbers when `ok` is 0. */
void validation_expect(struct validation *v, int ok, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

#endif
