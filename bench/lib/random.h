/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random - reproducible numbers from a seed
 *
 * Purpose     splitmix64 (Steele, Lea, Flood 2014): any 64-bit state is a good seed, streams of
 *             different seeds are independent, and random_mix() is its finaliser, usable as a hash.
 */
#ifndef MMB_BENCH_LIB_RANDOM_H
#define MMB_BENCH_LIB_RANDOM_H

#include <stdint.h>

static inline uint64_t random_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline uint64_t random_next(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ull;
	return random_mix(*state);
}

/* 0 .. bound-1, bound > 0. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)random_next(state) * bound) >> 64);
}

/* order[0 .. nr-1] becomes a random permutation of 0 .. nr-1. */
static inline void random_permutation(uint64_t *state, uint32_t *order, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t j = (uint32_t)random_below(state, i + 1ull);

		order[i] = order[j];
		order[j] = i;
	}
}

#endif
