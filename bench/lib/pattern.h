/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern - contents that tell whose they are
 *
 * Purpose     Every 8-byte word of a written page holds 40 bits that belong to this page of this
 *             object and to its place in the page, and a 24-bit generation that grows with every
 *             write. So another page's data, an older write and a lost write are all seen.
 * Invariants  T1  generation 0 is the page that was never written or was dropped: all zero.
 */
#ifndef MMB_BENCH_LIB_PATTERN_H
#define MMB_BENCH_LIB_PATTERN_H

#include <stddef.h>
#include <stdint.h>

enum {
	PATTERN_GENERATION_MAX = (1 << 24) - 2,
	PATTERN_ANY = (1 << 24) - 1, /* for checks: zero, or any generation, word by word */
};

/* object: a number of the region or run; page: index in it. */
uint64_t pattern_key(uint64_t object, uint64_t page);
void pattern_fill(void *at, size_t bytes, uint64_t key, uint32_t generation);
/* Byte offset of the first word that is wrong, or -1. */
ptrdiff_t pattern_check(const void *at, size_t bytes, uint64_t key, uint32_t generation);

#endif
