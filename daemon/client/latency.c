/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency - the histograms that other floors fill, as text
 */
#include "client/latency.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mm/balance/swap_io.h"
#include "mm/space/fault.h"

static const struct row {
	const char *name;
	const struct histogram *h;
} rows[] = {
	{ "fault", &fault_latency },
	{ "swap_in", &swap_io_stat.in_ns },
	{ "write_out", &swap_io_stat.out_ns },
};

static const double percents[] = { 50, 90, 99, 99.9 };

static void put_row(FILE *out, const struct row *row)
{
	fprintf(out, "%-10s %12" PRIu64 " %10" PRIu64, row->name, histogram_count(row->h),
		histogram_mean(row->h));
	for (unsigned int i = 0; i < ARRAY_SIZE(percents); i++)
		fprintf(out, " %10" PRIu64, histogram_percentile(row->h, percents[i]));
	fputc('\n', out);
}

static void put_buckets(FILE *out, const struct row *row)
{
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t nr = atomic_load_explicit(&row->h->buckets[i], memory_order_relaxed);

		if (nr)
			fprintf(out, "%s %" PRIu64 " %" PRIu64 "\n", row->name,
				histogram_bucket_last(i), nr);
	}
}

int report_latency(bool buckets, char **out, struct refusal *why)
{
	size_t length;
	FILE *f = open_memstream(out, &length);

	if (!f)
		return refuse(why, -ENOMEM, "the daemon is out of memory");
	fputs("operation         count    mean_ns     p50_ns     p90_ns     p99_ns   p99.9_ns\n",
	      f);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++)
		put_row(f, &rows[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows) && buckets; i++)
		put_buckets(f, &rows[i]);
	if (fclose(f)) {
		free(*out);
		return refuse(why, -ENOMEM, "the daemon is out of memory");
	}
	return 0;
}
