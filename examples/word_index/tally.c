/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tally - a hash table that empties itself entry by entry
 *
 * Linear probing. Entries are taken out in the opposite order of their coming, so no probe ever
 * crosses a hole that wasn't there when its word came.
 */
#include "tally.h"

#include "word.h"

int tally_open(struct mmb_pool *pool, struct tally **out)
{
	struct mmb_region_options options = { .size = sizeof(options),
					      .flags = MMB_REGION_POPULATE };
	struct mmb_region *region;
	int r = mmb_region_create(pool, TALLY_BYTES, &options, &region);

	if (r == 0)
		*out = mmb_region_address(region);
	return r;
}

bool tally_add(struct tally *tally, const char *word)
{
	uint64_t at = word_hash(word) % TALLY_ENTRIES;

	while (tally->entries[at].word && !word_equal(tally->entries[at].word, word))
		at = (at + 1) % TALLY_ENTRIES;
	if (!tally->entries[at].word) {
		if (tally->nr == TALLY_MAX)
			return false;
		tally->used[tally->nr++] = (uint32_t)at;
		tally->entries[at].word = word;
	}
	tally->entries[at].count++;
	return true;
}

struct tally_entry tally_take(struct tally *tally)
{
	struct tally_entry *entry, taken = { 0 };

	if (tally->nr == 0)
		return taken;
	entry = &tally->entries[tally->used[--tally->nr]];
	taken = *entry;
	*entry = (struct tally_entry){ 0 };
	return taken;
}
