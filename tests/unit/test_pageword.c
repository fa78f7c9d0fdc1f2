/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pageword - the word of a page: state, node, BUSY and WAITERS
 */
#include "mm/map/pageword.h"

#include <pthread.h>

#include "lib/test.h"

enum { NR_THREADS = 3, ROUNDS = 2000 };

static _Atomic uint64_t word;
static uint64_t guarded; /* by the word's BUSY */

static void node_is_kept_in_present(void)
{
	for (int node = 0; node < MAX_NUMNODES; node++) {
		EXPECT_EQ(word_state(word_present(node)), PAGE_PRESENT);
		EXPECT_EQ(word_node(word_present(node)), node);
		EXPECT_EQ(word_present(node) & (WORD_BUSY | WORD_WAITERS | WORD_LOCKED), 0);
	}
}

static void fields_of_states_dont_touch_each_other(void)
{
	uint64_t word_now = word_swapped(0xdeadbee1, 0xface);

	EXPECT_EQ(word_state(word_now), PAGE_SWAPPED);
	EXPECT_EQ(word_high(word_now), 0xdeadbee1);
	EXPECT_EQ(word_shadow(word_now), 0xface);
	EXPECT_EQ(word_now & 0xfff8, 0);
	word_now = word_same_filled(UINT32_MAX, 1);
	EXPECT_EQ(word_state(word_now), PAGE_SAME_FILLED);
	EXPECT_EQ(word_high(word_now), UINT32_MAX);
	EXPECT_EQ(word_shadow(word_now), 1);
	word_now = word_with_high(word_present(255) | WORD_CLEAN | WORD_LOCKED, 5);
	for (unsigned int age = 0; age < 8; age++) {
		word_now = word_with_age(word_now, age);
		EXPECT_EQ(word_age(word_now), age);
		EXPECT_EQ(word_node(word_now), 255);
		EXPECT_EQ(word_high(word_now), 5);
		EXPECT_EQ(word_now & (WORD_CLEAN | WORD_LOCKED | WORD_ACTIVE),
			  WORD_CLEAN | WORD_LOCKED);
	}
	EXPECT_EQ(word_high(word_with_high(word_now, 0)), 0);
}

static void replacing_needs_the_very_same_word(void)
{
	uint64_t seen = word_present(0);

	atomic_store(&word, word_present(0) | WORD_ACTIVE);
	EXPECT(!word_replace(&word, &seen, PAGE_NONE));
	EXPECT_EQ(seen, word_present(0) | WORD_ACTIVE);
	EXPECT(word_replace(&word, &seen, seen | WORD_BUSY));
	EXPECT_EQ(word_load(&word), word_present(0) | WORD_ACTIVE | WORD_BUSY);
	atomic_store(&word, PAGE_NONE);
}

static void busy_lies_over_the_old_state(void)
{
	const uint64_t values[] = { PAGE_NONE, PAGE_POISONED, word_present(7),
				    word_present(3) | WORD_LOCKED,
				    word_swapped(9, 9), word_same_filled(0, 0) };
	uint64_t old;

	for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
		atomic_store(&word, values[i]);
		EXPECT(word_try_busy(&word, word_state(values[i]), &old));
		EXPECT_EQ(old, values[i]);
		EXPECT_EQ(word_load(&word), values[i] | WORD_BUSY);
		EXPECT(word_wait(&word));
		EXPECT_EQ(word_load(&word), values[i] | WORD_BUSY | WORD_WAITERS);
		EXPECT(word_end_busy(&word, values[i]));
		EXPECT_EQ(word_load(&word), values[i]);
	}
}

static void busy_is_had_once_and_in_the_state_wanted(void)
{
	uint64_t old = 77;

	atomic_store(&word, word_present(1));
	EXPECT(!word_try_busy(&word, PAGE_NONE, &old));
	EXPECT(!word_try_busy(&word, PAGE_POISONED, &old));
	EXPECT_EQ(old, 77);
	EXPECT_EQ(word_load(&word), word_present(1));
	EXPECT(word_try_busy(&word, PAGE_PRESENT, &old));
	EXPECT(!word_try_busy(&word, PAGE_PRESENT, &old));
	EXPECT(!word_end_busy(&word, PAGE_NONE));
}

static void nobody_waits_for_an_idle_page(void)
{
	uint64_t old;

	atomic_store(&word, PAGE_NONE);
	EXPECT(!word_wait(&word));
	EXPECT_EQ(word_load(&word), PAGE_NONE);
	EXPECT(word_try_busy(&word, PAGE_NONE, &old));
	EXPECT(word_wait(&word));
	EXPECT(word_wait(&word)); /* a second waiter */
	EXPECT(word_end_busy(&word, word_present(0)));
	EXPECT(!word_wait(&word));
	EXPECT(word_try_busy(&word, PAGE_PRESENT, &old));
	EXPECT(!word_end_busy(&word, old)); /* earlier waiters are not told twice */
}

static void *take_turns(void *unused)
{
	uint64_t old;

	for (int done = 0; done < ROUNDS;) {
		if (!word_try_busy(&word, PAGE_NONE, &old)) {
			word_wait(&word);
			continue;
		}
		guarded++;
		word_end_busy(&word, PAGE_NONE);
		done++;
	}
	return unused;
}

static void one_thread_at_a_time_is_busy(void)
{
	pthread_t threads[NR_THREADS];

	atomic_store(&word, PAGE_NONE);
	guarded = 0;
	for (int i = 0; i < NR_THREADS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, take_turns, NULL), 0);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(guarded, NR_THREADS * ROUNDS);
	EXPECT_EQ(word_load(&word), PAGE_NONE);
}

static const struct test_case cases[] = {
	{ "a present word says whose stock its frames came from (W3)", node_is_kept_in_present },
	{ "slot, value, shadow, age and node have bits of their own",
	  fields_of_states_dont_touch_each_other },
	{ "a word is replaced only while it is what was seen", replacing_needs_the_very_same_word },
	{ "BUSY and WAITERS lie over the old state (W1)", busy_lies_over_the_old_state },
	{ "a page becomes busy once, and only in the state wanted",
	  busy_is_had_once_and_in_the_state_wanted },
	{ "ending BUSY tells of its waiters once (W2)", nobody_waits_for_an_idle_page },
	{ "BUSY is a lock", one_thread_at_a_time_is_busy },
};
TEST_MAIN(cases)
