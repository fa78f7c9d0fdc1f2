/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_histogram - buckets and percentiles
 */
#include "base/histogram.h"
#include "lib/test.h"

static struct histogram a, b;

static void error_is_bounded(void)
{
	for (uint64_t value = 0; value < 1ULL << 39; value = value * 9 / 8 + 1) {
		uint64_t told;

		histogram_init(&a);
		histogram_add(&a, value);
		told = histogram_percentile(&a, 50);
		EXPECT(told >= value && told - value <= value / 8);
	}
}

static void percentiles(void)
{
	histogram_init(&a);
	EXPECT_EQ(histogram_percentile(&a, 50), 0);
	EXPECT_EQ(histogram_mean(&a), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		histogram_add(&a, i);
	EXPECT_EQ(histogram_count(&a), 1000);
	EXPECT_EQ(histogram_mean(&a), 500);
	EXPECT(histogram_percentile(&a, 50) >= 500 && histogram_percentile(&a, 50) < 563);
	EXPECT(histogram_percentile(&a, 99) >= 990 && histogram_percentile(&a, 99) <= 1114);
	EXPECT(histogram_percentile(&a, 0) == 1);
	EXPECT(histogram_percentile(&a, 100) >= 1000);
}

static void huge_values_share_the_last(void)
{
	histogram_init(&a);
	histogram_add(&a, UINT64_MAX);
	histogram_add(&a, 1ULL << HISTOGRAM_TOP_BITS);
	EXPECT_EQ(histogram_count(&a), 2);
	EXPECT_EQ(histogram_percentile(&a, 50), (1ULL << HISTOGRAM_TOP_BITS) - 1);
}

static void merging_adds(void)
{
	histogram_init(&a);
	histogram_init(&b);
	for (uint64_t i = 0; i < 100; i++) {
		histogram_add(&a, 100);
		histogram_add(&b, 10000);
	}
	histogram_merge(&a, &b);
	EXPECT_EQ(histogram_count(&a), 200);
	EXPECT_EQ(histogram_mean(&a), 5050);
	EXPECT(histogram_percentile(&a, 50) < 113);
	EXPECT(histogram_percentile(&a, 51) >= 10000);
}

static const struct test_case cases[] = {
	{ "a value is told with an error of at most an eighth", error_is_bounded },
	{ "percentiles and mean of a known distribution", percentiles },
	{ "values beyond the range are counted in the last bucket", huge_values_share_the_last },
	{ "merging adds counts and sums", merging_adds },
};
TEST_MAIN(cases)
