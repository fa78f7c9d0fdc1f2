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

static void busy_lies_over_the_old_state(void)
{
	const uint64_t values[] = { PAGE_NONE, PAGE_POISONED, word_present(7),
				    word_present(3) | WORD_LOCKED };
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
	{ "BUSY and WAITERS lie over the old state (W1)", busy_lies_over_the_old_state },
	{ "a page becomes busy once, and only in the state wanted",
	  busy_is_had_once_and_in_the_state_wanted },
	{ "ending BUSY tells of its waiters once (W2)", nobody_waits_for_an_idle_page },
	{ "BUSY is a lock", one_thread_at_a_time_is_busy },
};
TEST_MAIN(cases)
