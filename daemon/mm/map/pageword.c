/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pageword - the compare-and-swap loops behind a word's BUSY
 */
#include "mm/map/pageword.h"

#include "base/check.h"

bool word_try_busy(_Atomic uint64_t *word, enum page_state state, uint64_t *old)
{
	uint64_t seen = word_load(word);

	do {
		if (word_state(seen) != state || seen & WORD_BUSY)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		word, &seen, seen | WORD_BUSY, memory_order_acq_rel, memory_order_acquire));
	*old = seen;
	return true;
}

bool word_end_busy(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t before = atomic_exchange_explicit(word, value, memory_order_acq_rel);

	CHECK(before & WORD_BUSY);
	return before & WORD_WAITERS;
}

void word_commit_busy(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t seen = word_load(word), keep;

	do {
		CHECK(seen & WORD_BUSY);
		keep = seen & (WORD_BUSY | WORD_WAITERS);
	} while (!atomic_compare_exchange_weak_explicit(
		word, &seen, value | keep, memory_order_acq_rel, memory_order_acquire));
}

bool word_wait(_Atomic uint64_t *word)
{
	uint64_t seen = word_load(word);

	do {
		if (!(seen & WORD_BUSY))
			return false;
		if (seen & WORD_WAITERS)
			return true;
	} while (!atomic_compare_exchange_weak_explicit(
		word, &seen, seen | WORD_WAITERS, memory_order_acq_rel, memory_order_acquire));
	return true;
}
