/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu - slots and their owners
 */
#include "base/cpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/test.h"

enum { THREADS = NR_CPU_SLOTS + 4 };

static _Atomic int       taken[NR_CPU_SLOTS];
static _Atomic int       nr_refused;
static pthread_barrier_t all_there;

static void slot_is_taken_and_left(void)
{
	EXPECT_EQ(this_cpu(), CPU_SLOT_NONE);
	EXPECT_EQ(cpu_slot_register(3), 0);
	EXPECT_EQ(this_cpu(), 0);
	EXPECT_EQ(cpu_index(), 1);
	EXPECT_EQ(cpu_slot_node(0), 3);
	EXPECT(cpu_slot_online(0));
	EXPECT_EQ(cpu_slots_used(), 1);
	cpu_slot_unregister();
	EXPECT_EQ(this_cpu(), CPU_SLOT_NONE);
	EXPECT_EQ(cpu_index(), 0);
	EXPECT(!cpu_slot_online(0));
	EXPECT_EQ(cpu_slots_used(), 1);
	cpu_slot_unregister();
}

static void *hold_slot(void *arg)
{
	int error = cpu_slot_register(0);

	if (error)
		atomic_fetch_add(&nr_refused, error == -EAGAIN ? 1 : 1000);
	else
		atomic_fetch_add(&taken[this_cpu()], 1);
	pthread_barrier_wait(&all_there);
	cpu_slot_unregister();
	return NULL;
}

static void every_slot_has_one_owner(void)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&all_there, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, hold_slot, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < NR_CPU_SLOTS; i++)
		EXPECT_EQ(taken[i], 1);
	EXPECT_EQ(nr_refused, THREADS - NR_CPU_SLOTS);
	EXPECT_EQ(cpu_slots_used(), NR_CPU_SLOTS);
	pthread_barrier_destroy(&all_there);
}

static const struct test_case cases[] = {
	{ "a thread takes the lowest free slot and leaves it", slot_is_taken_and_left },
	{ "a slot has one owner, and a thread too many is refused", every_slot_has_one_owner },
};
TEST_MAIN(cases)
