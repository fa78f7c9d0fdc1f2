/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats - order statistics of samples
 *
 * Purpose     Medians and percentiles (nearest rank). The arrays are sorted in place.
 */
#ifndef MMB_BENCH_LIB_STATS_H
#define MMB_BENCH_LIB_STATS_H

#include <stddef.h>
#include <stdint.h>

/* nr > 0. The middle one, or the mean of the two middle ones. */
double stats_median(double *values, size_t nr);
void stats_sort(uint64_t *values, size_t nr);
/* Of sorted values, nr > 0, permille 0 .. 1000. */
uint64_t stats_permille(const uint64_t *sorted, size_t nr, unsigned int permille);

#endif
