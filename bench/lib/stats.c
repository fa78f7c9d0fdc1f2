/* SPDX-License-Identifier: Apache-2.0 */
/* stats - see stats.h */
#include "lib/stats.h"

#include <stdlib.h>

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

double stats_median(double *values, size_t nr)
{
	qsort(values, nr, sizeof(*values), compare_double);
	return nr % 2 ? values[nr / 2] : (values[nr / 2 - 1] + values[nr / 2]) / 2;
}

void stats_sort(uint64_t *values, size_t nr)
{
	qsort(values, nr, sizeof(*values), compare_u64);
}

uint64_t stats_permille(const uint64_t *sorted, size_t nr, unsigned int permille)
{
	return sorted[(nr - 1) * permille / 1000];
}
