/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_sizes - size classes: S1 to S3 of libclient/heap/sizes.h for every size there is
 */
#include "heap/sizes.h"
#include "heap/slab.h"
#include "lib/test.h"

enum { CACHE_ALIGN = 8 };

/* The formula of sizes.h in words: 8, multiples of 16 to 128, then eight steps a doubling. */
static uint32_t class_of(uint32_t size)
{
	uint32_t step = 16;

	if (size <= 8)
		return 8;
	for (uint32_t top = 128; top < size; top *= 2)
		step = top / 8;
	return (size + step - 1) / step * step;
}

static void every_size(void)
{
	for (uint32_t size = 0; size <= SIZE_SLAB_MAX; size++) {
		unsigned int bin = size_bin(size);
		uint32_t object = size_of_bin(bin);

		if (bin >= SLAB_SIZE_CLASSES || object != class_of(size) || object < size ||
		    (size > 128 && (object - size) * 8 > object) ||
		    (object >= 16 && object % 16))
			EXPECT_EQ(size, -1);
	}
	EXPECT_EQ(size_bin(SIZE_SLAB_MAX), SLAB_SIZE_CLASSES - 1);
	EXPECT_EQ(size_of_bin(SLAB_SIZE_CLASSES - 1), SIZE_SLAB_MAX);
}

static void table(void)
{
	for (uint32_t size = 1; size <= SIZE_TABLE_MAX; size++) {
		EXPECT_EQ(size_of_bin(size_bin_small(size)), class_of(size));
		if (size > 128)
			EXPECT_EQ(size_bin_small(size), size_bin_medium(size));
	}
	EXPECT_EQ(size_bin_small(0), 0);
}

static void classes(void)
{
	for (unsigned int bin = 0; bin < SLAB_SIZE_CLASSES; bin++) {
		uint32_t object = size_of_bin(bin);

		EXPECT_EQ(size_bin(object), bin);
		EXPECT(bin == 0 || size_of_bin(bin - 1) < object);
		EXPECT(bin == 0 || size_bin(size_of_bin(bin - 1) + 1) == bin);
	}
}

/* Also what is no class: caches have any size. */
static void units(void)
{
	uint32_t most = 0;

	for (uint32_t object = CACHE_ALIGN; object <= SIZE_SLAB_MAX; object += CACHE_ALIGN) {
		uint32_t units = size_slab_units(object), bytes = units * SLAB_UNIT_BYTES;

		if (bytes / object == 0 || bytes % object > bytes / 8)
			EXPECT_EQ(object, -1);
		/* One fewer wouldn't do. */
		bytes -= SLAB_UNIT_BYTES;
		if (bytes >= object && bytes % object <= bytes / 8)
			EXPECT_EQ(object, -2);
		most = units > most ? units : most;
	}
	EXPECT_EQ(most, 10);
	EXPECT(most * SLAB_UNIT_BYTES <= 1u << SLAB_SPAN_SHIFT);
}

static void tight_units(void)
{
	unsigned int nr_tight = 0;

	for (uint32_t object = CACHE_ALIGN; object <= SIZE_SLAB_MAX; object += CACHE_ALIGN) {
		uint32_t units = size_slab_units_tight(object), bytes = units * SLAB_UNIT_BYTES;
		bool is_tight = bytes % object <= bytes / 32;

		EXPECT(units <= SIZE_SLAB_UNITS_MAX);
		EXPECT(is_tight || units == size_slab_units(object));
		nr_tight += is_tight && units > size_slab_units(object);
	}
	EXPECT(nr_tight > 0);
}

static const struct test_case cases[] = {
	{ "every size up to 256 KiB has the smallest class that fits, with at most 1/8 waste",
	  every_size },
	{ "the table says what the formula says", table },
	{ "classes rise, and each begins where the one before ends", classes },
	{ "a slab of any object is the fewest units that leave at most 1/8 over", units },
	{ "a tight one leaves at most 1/32 over, if ten units are enough for that", tight_units },
};
TEST_MAIN(cases)
