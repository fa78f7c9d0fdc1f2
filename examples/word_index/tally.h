/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tally - how often each word stands in the document a worker is at
 *
 * Purpose     Keeps the common words away from the shared table: that one is asked once for each
 *             word of a document. It lies in an unnamed region, so nobody else can see it, and it
 *             is gone with the worker, however the worker ends.
 */
#ifndef EXAMPLES_WORD_INDEX_TALLY_H
#define EXAMPLES_WORD_INDEX_TALLY_H

#include <mmbroker.h>
#include <stdbool.h>
#include <stdint.h>

struct tally_entry {
	const char *word; /* NULL: free */
	uint64_t    count;
};

enum { TALLY_ENTRIES = 1 << 17, TALLY_MAX = TALLY_ENTRIES / 4 * 3 };

/* The region's contents; zero, and so empty, when it is new. */
struct tally {
	uint64_t           nr;
	uint32_t           used[TALLY_MAX]; /* the entries in use, in the order of their words */
	struct tally_entry entries[TALLY_ENTRIES];
};

/* The region's length, in whole pages. */
#define TALLY_BYTES ((sizeof(struct tally) + 4095) / 4096 * 4096)

/* Makes the region, with every page in place: all of it will be used. 0 or a negative errno. */
int tally_open(struct mmb_pool *pool, struct tally **out);

/* false: full; take everything out first. */
bool tally_add(struct tally *tally, const char *word);

/* Takes the last entry out; its word is NULL when there is none. */
struct tally_entry tally_take(struct tally *tally);

#endif
