/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram - value to bucket and back
 *
 * Invariants  H1  values below HISTOGRAM_SUBS have a bucket each; bucket numbers grow with values.
 */
#include "base/histogram.h"

#include "base/types.h"

/* Values whose highest bit is b (>= SUB_BITS) share 8 buckets, told apart by the next 3 bits. */
static unsigned int bucket_of(uint64_t value)
{
	unsigned int top, shift;

	if (value < HISTOGRAM_SUBS)
		return (unsigned int)value;
	top = 63 - (unsigned int)__builtin_clzll(value);
	if (top >= HISTOGRAM_TOP_BITS)
		return HISTOGRAM_BUCKETS - 1;
	shift = top - HISTOGRAM_SUB_BITS;
	return shift * HISTOGRAM_SUBS + (unsigned int)(value >> shift);
}

uint64_t histogram_bucket_last(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < 2 * HISTOGRAM_SUBS)
		return bucket;
	shift = bucket / HISTOGRAM_SUBS - 1;
	return ((uint64_t)(HISTOGRAM_SUBS + bucket % HISTOGRAM_SUBS + 1) << shift) - 1;
}

void histogram_init(struct histogram *h)
{
	atomic_init(&h->sum, 0);
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		atomic_init(&h->buckets[i], 0);
}

void histogram_add(struct histogram *h, uint64_t value)
{
	atomic_fetch_add_explicit(&h->buckets[bucket_of(value)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}

static uint64_t load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = load(&from->buckets[i]);

		if (n)
			atomic_fetch_add_explicit(&into->buckets[i], n, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&into->sum, load(&from->sum), memory_order_relaxed);
}

uint64_t histogram_count(const struct histogram *h)
{
	uint64_t count = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		count += load(&h->buckets[i]);
	return count;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
	uint64_t     count = histogram_count(h), seen = 0, wanted;
	double       rank = (double)count * percent / 100;
	unsigned int last = 0;

	if (!count)
		return 0;
	wanted = (uint64_t)rank;
	if ((double)wanted < rank || wanted == 0)
		wanted++;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS && seen < wanted; i++) {
		uint64_t n = load(&h->buckets[i]);

		if (n)
			last = i;
		seen += n;
	}
	return histogram_bucket_last(last);
}

uint64_t histogram_mean(const struct histogram *h)
{
	uint64_t count = histogram_count(h);

	return count ? load(&h->sum) / count : 0;
}
