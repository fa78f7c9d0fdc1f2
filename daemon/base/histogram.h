/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram - distribution of latencies: a power of two split into eight equal buckets
 *
 * Purpose     Counts values with a relative error of at most 1/8. Adding is two relaxed adds and
 *             needs no lock; readers see a recent, possibly slightly torn, picture.
 * Not here    Which latencies are measured, and their names.
 */
#ifndef MMB_BASE_HISTOGRAM_H
#define MMB_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	HISTOGRAM_SUB_BITS = 3,
	HISTOGRAM_SUBS = 1 << HISTOGRAM_SUB_BITS,
	HISTOGRAM_TOP_BITS = 40, /* values from 2^40 on (18 minutes in ns) share the last bucket */
	HISTOGRAM_BUCKETS = (HISTOGRAM_TOP_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUBS,
};

/* a: atomic, relaxed */
struct histogram {
	_Atomic uint64_t sum;                        /* (a) of all values */
	_Atomic uint64_t buckets[HISTOGRAM_BUCKETS]; /* (a) */
};

void histogram_init(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);
/* Adds all of `from` to `into`. */
void histogram_merge(struct histogram *into, const struct histogram *from);
uint64_t histogram_count(const struct histogram *h);
/* Upper end of the bucket below which `percent` (0 to 100) of the values lie; 0 when empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);
/* Largest value of bucket 0 to HISTOGRAM_BUCKETS - 1. */
uint64_t histogram_bucket_last(unsigned int bucket);
/* 0 when empty. */
uint64_t histogram_mean(const struct histogram *h);

#endif
