/* SPDX-License-Identifier: Apache-2.0 */
/* pattern - see pattern.h */
#include "lib/pattern.h"

#include <stdbool.h>

#include "lib/random.h"

enum { GENERATION_BITS = 24 };
#define PATTERN_GENERATIONS ((1ull << GENERATION_BITS) - 1)

uint64_t pattern_key(uint64_t object, uint64_t page)
{
	return random_mix(random_mix(object) + page * 0x9e3779b97f4a7c15ull);
}

static uint64_t word_of(uint64_t key, size_t i, uint32_t generation)
{
	return (key + i) << GENERATION_BITS | generation;
}

void pattern_fill(void *at, size_t bytes, uint64_t key, uint32_t generation)
{
	volatile uint64_t *words = at;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		words[i] = generation ? word_of(key, i, generation) : 0;
}

/* Words are read once: in a shared page they change under us, each as a whole. */
static bool word_is_right(uint64_t word, uint64_t key, size_t i, uint32_t generation)
{
	if (generation == PATTERN_ANY)
		return word == 0 || (word & ~PATTERN_GENERATIONS) == word_of(key, i, 0);
	return word == (generation ? word_of(key, i, generation) : 0);
}

ptrdiff_t pattern_check(const void *at, size_t bytes, uint64_t key, uint32_t generation)
{
	const volatile uint64_t *words = at;

	for (size_t i = 0; i < bytes / sizeof(*words); i++) {
		if (!word_is_right(words[i], key, i, generation))
			return (ptrdiff_t)(i * sizeof(*words));
	}
	return -1;
}
