/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_gate - many pass at once, and nobody while it is closed
 */
#include "client/gate.h"

#include <pthread.h>
#include <stdatomic.h>

#include "lib/test.h"

enum { NR_THREADS = 3, ROUNDS = 2000 };

static _Atomic int inside, nr_passed;
static _Atomic bool closed;

static bool all_are_inside(void *unused)
{
	return atomic_load(&inside) == NR_THREADS;
}

static void *stay_until_all_are_inside(void *unused)
{
	gate_enter();
	atomic_fetch_add(&inside, 1);
	EXPECT(test_wait(all_are_inside, NULL, 20));
	gate_leave();
	return unused;
}

static void many_are_inside_at_once(void)
{
	pthread_t threads[NR_THREADS];

	atomic_store(&inside, 0);
	for (int i = 0; i < NR_THREADS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, stay_until_all_are_inside, NULL), 0);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void *pass_again_and_again(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		gate_enter();
		atomic_fetch_add(&inside, 1);
		EXPECT(!atomic_load(&closed));
		atomic_fetch_sub(&inside, 1);
		gate_leave();
		atomic_fetch_add(&nr_passed, 1);
	}
	return unused;
}

static void nobody_is_inside_while_it_is_closed(void)
{
	pthread_t threads[NR_THREADS];
	unsigned int nr_closed = 0;

	atomic_store(&inside, 0);
	atomic_store(&nr_passed, 0);
	for (int i = 0; i < NR_THREADS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, pass_again_and_again, NULL), 0);
	EXPECT(!gate_closes());
	do {
		gate_close(); /* gets its turn, however many come */
		atomic_store(&closed, true);
		EXPECT_EQ(atomic_load(&inside), 0);
		EXPECT(gate_closes());
		atomic_store(&closed, false);
		gate_open();
		nr_closed++;
	} while (atomic_load(&nr_passed) < NR_THREADS * ROUNDS);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT(nr_closed > 0);
	EXPECT(!gate_closes());
}

static const struct test_case cases[] = {
	{ "many are inside at once", many_are_inside_at_once },
	{ "nobody is inside while it is closed", nobody_is_inside_while_it_is_closed },
};
TEST_MAIN(cases)
