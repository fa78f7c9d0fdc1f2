/* SPDX-License-Identifier: Apache-2.0 */
/*
 * word - what a word is: a run of the letters A to Z, in either case
 *
 * The same as coreutils' `tr -cs A-Za-z '\n' | tr A-Z a-z`. A word is named by the address of its
 * first letter; any other character ends it, so that an address is all the index has to keep.
 */
#ifndef EXAMPLES_WORD_INDEX_WORD_H
#define EXAMPLES_WORD_INDEX_WORD_H

#include <stdbool.h>
#include <stdint.h>

/* The letter in lower case, or 0. */
static inline unsigned char word_letter(char c)
{
	unsigned char lower = (unsigned char)c | 0x20;

	return lower >= 'a' && lower <= 'z' ? lower : 0;
}

/* The first word at or after text, or NULL. Text ends with a character that is no letter. */
static inline const char *word_next(const char *text, const char *end)
{
	while (text < end && !word_letter(*text))
		text++;
	return text < end ? text : NULL;
}

static inline const char *word_end(const char *word)
{
	while (word_letter(*word))
		word++;
	return word;
}

/* FNV-1a, then a multiplication that spreads it over the upper bits. */
static inline uint64_t word_hash(const char *word)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; word_letter(*word); word++)
		hash = (hash ^ word_letter(*word)) * 0x100000001b3;
	return (hash * 0x9e3779b97f4a7c15) >> 24;
}

static inline bool word_equal(const char *a, const char *b)
{
	while (word_letter(*a) && word_letter(*a) == word_letter(*b)) {
		a++;
		b++;
	}
	return word_letter(*a) == word_letter(*b);
}

#endif
