/* SPDX-License-Identifier: Apache-2.0 */
/*
 * types - page geometry, alignment and the numbers every floor shares
 *
 * Purpose     One place for page, pageblock and node limits, and for rounding.
 * Not here    pfn conversions (mm/phys/page.h).
 */
#ifndef MMB_BASE_TYPES_H
#define MMB_BASE_TYPES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PAGE_SHIFT = 12,
	PAGE_SIZE = 1 << PAGE_SHIFT,
	PAGEBLOCK_ORDER = 9,
	PAGEBLOCK_PAGES = 1 << PAGEBLOCK_ORDER,
	PAGEBLOCK_SHIFT = PAGE_SHIFT + PAGEBLOCK_ORDER,
	PAGEBLOCK_SIZE = 1 << PAGEBLOCK_SHIFT,
	MAX_ORDER = 10, /* largest order, inclusive, as in current kernels */
	NR_ORDERS = MAX_ORDER + 1,
	MAX_NUMNODES = 16,
	NAME_MAX_BYTES = 63,
	CACHELINE = 64,
};

static_assert(PAGEBLOCK_SIZE == 2 << 20, "a pageblock is an x86-64 huge page");

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define min_t(type, a, b) ((type)(a) < (type)(b) ? (type)(a) : (type)(b))
#define max_t(type, a, b) ((type)(a) > (type)(b) ? (type)(a) : (type)(b))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

static inline uint64_t round_down(uint64_t value, uint64_t step)
{
	return value - value % step;
}

/* The caller has made sure that value + step doesn't overflow. */
static inline uint64_t round_up(uint64_t value, uint64_t step)
{
	return round_down(value + step - 1, step);
}

static inline bool is_aligned(uint64_t value, uint64_t step)
{
	return value % step == 0;
}

#endif
