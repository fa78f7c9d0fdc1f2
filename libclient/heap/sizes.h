/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes - size classes of the pooled heap
 *
 * Purpose     Size to bin and back, and how large a bin's slabs are. 8 bytes, then multiples of 16
 *             up to 128, then eight classes a doubling up to 256 KiB.
 * Invariants  S1  Above 128 bytes an object is at most 1/8 larger than what was asked for.
 *             S2  A size of 16 bytes and more is a multiple of 16, and so is every object's place.
 *             S3  A slab is as few units as leave at most 1/8 of it over: 10 of them at most. Of a
 *                 size up to 32 KiB that has many, as few as leave at most 1/32 if 10 do.
 * Source      The spacing is that of most allocators with size classes (first: P. R. Wilson et
 *             al., "Dynamic Storage Allocation: A Survey", section 3.6, segregated fits).
 */
#ifndef MMB_LIBCLIENT_HEAP_SIZES_H
#define MMB_LIBCLIENT_HEAP_SIZES_H

#include <stddef.h>
#include <stdint.h>

#include "proto/slab_map.h"

enum {
	SIZE_TABLE_MAX = 1024,     /* up to here a table tells */
	SIZE_SLAB_MAX = 256 << 10, /* larger objects are runs of units */
	SIZE_SLAB_UNITS_MAX = 10,
};

extern const uint8_t size_table[SIZE_TABLE_MAX / 8 + 1];

/* 1 to SIZE_TABLE_MAX; 0 counts as 1. */
static inline unsigned int size_bin_small(size_t size)
{
	return size_table[(size + 7) / 8];
}

/* 129 to SIZE_SLAB_MAX. */
static inline unsigned int size_bin_medium(size_t size)
{
	unsigned int log = 63 - (unsigned int)__builtin_clzll(size - 1);

	return (log - 6) * 8 + ((size - 1) >> (log - 3) & 7) + 1;
}

/* 0 to SIZE_SLAB_MAX. */
static inline unsigned int size_bin(size_t size)
{
	return size <= SIZE_TABLE_MAX ? size_bin_small(size) : size_bin_medium(size);
}

/* Bytes of an object of a size class. */
uint32_t size_of_bin(unsigned int bin);
/* Units of a slab of objects of that size. */
uint32_t size_slab_units(uint32_t object);
/* The same where there are many. */
uint32_t size_slab_units_tight(uint32_t object);

#endif
