/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes - size classes of the pooled heap
 *
 * Purpose     See sizes.h. The table is checked against size_of_bin() by its test.
 */
#include "heap/sizes.h"

/* By (size + 7) / 8. */
const uint8_t size_table[SIZE_TABLE_MAX / 8 + 1] = {
	0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8,
	8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16,
	16, 17, 17, 17, 17, 18, 18, 18, 18, 19, 19, 19, 19, 20, 20, 20,
	20, 21, 21, 21, 21, 22, 22, 22, 22, 23, 23, 23, 23, 24, 24, 24,
	24, 25, 25, 25, 25, 25, 25, 25, 25, 26, 26, 26, 26, 26, 26, 26,
	26, 27, 27, 27, 27, 27, 27, 27, 27, 28, 28, 28, 28, 28, 28, 28,
	28, 29, 29, 29, 29, 29, 29, 29, 29, 30, 30, 30, 30, 30, 30, 30,
	30, 31, 31, 31, 31, 31, 31, 31, 31, 32, 32, 32, 32, 32, 32, 32,
	32,
};

uint32_t size_of_bin(unsigned int bin)
{
	unsigned int step = bin - 8;

	if (bin == 0)
		return 8;
	if (bin <= 8)
		return bin * 16;
	/* Eight steps a doubling: 128 << j, and (step - 8j) sixteenths of twice that. */
	return (128u << ((step - 1) / 8)) + (((step - 1) % 8 + 1) * (16u << ((step - 1) / 8)));
}

/* The least that leave at most a part of themselves over. */
static uint32_t units_leaving(uint32_t object, uint32_t part)
{
	uint32_t units = (object + SLAB_UNIT_BYTES - 1) >> SLAB_UNIT_SHIFT;

	while (slab_unit_bytes(units) % object > slab_unit_bytes(units) / part)
		units++;
	return units;
}

uint32_t size_slab_units(uint32_t object)
{
	return units_leaving(object, 8);
}

/* Larger objects are as a rule too few for slabs of many units. */
uint32_t size_slab_units_tight(uint32_t object)
{
	uint32_t units = object <= SLAB_UNIT_BYTES / 2 ? units_leaving(object, 32) : UINT32_MAX;

	return units <= SIZE_SLAB_UNITS_MAX ? units : size_slab_units(object);
}
