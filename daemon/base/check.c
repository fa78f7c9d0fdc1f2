/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check - failing, and collecting differences
 */
#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

void check_failed(const char *expression, const char *file, int line)
{
	log_emit(LOG_CRIT, "check_failed", "%s:%d: broken invariant: %s", file, line, expression);
	abort();
}

static char *next_report(struct validation *v)
{
	uint64_t slot = v->nr_differences++;

	return slot < VALIDATION_REPORTS ? v->reports[slot] : NULL;
}

void validation_compare(struct validation *v, uint64_t recomputed, uint64_t recorded,
			const char *what, ...)
{
	char    subject[VALIDATION_REPORT_BYTES];
	char   *report;
	va_list args;

	v->nr_checked++;
	if (recomputed == recorded)
		return;
	report = next_report(v);
	if (!report)
		return;
	va_start(args, what);
	vsnprintf(subject, sizeof(subject), what, args);
	va_end(args);
	snprintf(report, VALIDATION_REPORT_BYTES, "%.90s: recorded %llu, recomputed %llu", subject,
		 (unsigned long long)recorded, (unsigned long long)recomputed);
}

void validation_expect(struct validation *v, int ok, const char *what, ...)
{
	char   *report;
	va_list args;

	v->nr_checked++;
	if (ok)
		return;
	report = next_report(v);
	if (!report)
		return;
	va_start(args, what);
	vsnprintf(report, VALIDATION_REPORT_BYTES, what, args);
	va_end(args);
}
